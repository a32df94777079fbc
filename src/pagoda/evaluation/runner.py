"""Run a model over a dataset and score it, on one process or several."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor, distributed

from pagoda.batch_size import AnyBatchSize, BatchSize
from pagoda.beside import ahead
from pagoda.data.table.samples import AnnotatedDataset, Samples
from pagoda.evaluating import evaluating
from pagoda.evaluation.coco.evaluator import DetectionEvaluator
from pagoda.evaluation.coco.ground_truth import shorten
from pagoda.evaluation.coco.operating import OperatingOptions
from pagoda.evaluation.coco.result import DetectionResult
from pagoda.evaluation.coco.results_file import write_results
from pagoda.messages import counted
from pagoda.pictures.read import PictureError
from pagoda.plain import checked
from pagoda.structures.instances import Detections
from pagoda.structures.labels import LabelMap
from pagoda.structures.tubes import AnyTargets, Tubes
from pagoda.tiling.detect import check_takes_tiles, detect_tiled
from pagoda.tiling.tiles import Tiles

Found = TypeVar("Found", Detections, Tubes)
Seen = TypeVar("Seen")
Limits = Mapping[str, float | int | None]
"""fields of a model's `postprocess`, such as min_score and max_detections; None keeps the model's own"""

# COCO's protocol integrates over the whole precision-recall curve, so far more boxes are kept than people look at.
EVALUATION_LIMITS: Limits = {"min_score": 0.001, "max_detections": 100}


@checked
def detect_dataset(
    model: Any,
    dataset: Samples[AnyTargets],
    *,
    indices: Sequence[int] | None = None,
    batch_size: AnyBatchSize = "auto",
    limits: Limits = EVALUATION_LIMITS,
    tiles: Tiles | None = None,
    progress: Callable[[int], None] | None = None,
    skipped: list[str] | None = None,
) -> Iterator[Detections]:
    """Detections in pixels of the pictures, with `image_id`, in the order of `indices`, on the CPU.

    Args:
        model: any detector; one in training mode is looked at through a twin in evaluation mode.
        indices: of the pictures to look at; None: all, in order.
        batch_size: pictures at a time: more are quicker, and take more memory; fewer are taken, which is said, where
            they do not fit. "auto" suits the device.
        limits: fields of the model's `postprocess` that hold here.
        tiles: cut large pictures so; `batch_size` is then of tiles, and `max_detections` of each tile, too.
        progress: called with the number of pictures done, after each batch.
        skipped: gets the reason for every picture that cannot be read, which is then left out. Without it such a
            picture raises PictureError.

    >>> import pagoda
    >>> from pagoda.data.drawn.synthetic import DrawnShapes
    >>> shapes = DrawnShapes(3, image_size=(32, 32), seed=1)
    >>> model = pagoda.create_model("fcos_resnet18_fpn", num_classes=3, base_channels=8, width=8, norm_groups=4)
    >>> [found.image_id for found in detect_dataset(model, shapes, indices=[2, 0])]
    [3, 1]
    """
    postprocess = model.postprocess.with_limits(**limits)
    device = next(model.parameters()).device
    model = evaluating(model)
    together = BatchSize(batch_size, device)
    if tiles is not None:
        check_takes_tiles(model)

    def look_at_tiles(samples: Sequence[tuple[Tensor, AnyTargets]]) -> list[Detections]:
        assert tiles is not None
        found = []
        for picture, targets in samples:
            each = detect_tiled(
                model,
                [picture],
                targets.image_size,
                tiles,
                whole=partial(model.input_spec.prepare, [picture], device=device),
                postprocess=postprocess,
                together=together,
            )
            found.append(each[: postprocess.max_detections])
        return found

    def look(samples: Sequence[tuple[Tensor, AnyTargets]]) -> list[Detections]:
        images = model.input_spec.prepare([picture for picture, _ in samples], device=device)
        sizes = [targets.image_size for _, targets in samples]
        return model.detect(images, postprocess=postprocess, sizes=sizes)

    indices = range(len(dataset)) if indices is None else indices
    through = look_through(
        look if tiles is None else look_at_tiles,
        dataset,
        indices=indices,
        together=together if tiles is None else BatchSize(1),
        frame=model.input_spec.frame,
        progress=progress,
        skipped=skipped,
    )
    for detections, targets in through:
        yield replace(detections.to("cpu"), image_id=targets.image_id, file=targets.file)


def look_through(
    look: Callable[[Sequence[tuple[Tensor, AnyTargets]]], Sequence[Seen]],
    dataset: Samples[AnyTargets],
    *,
    indices: Sequence[int],
    together: BatchSize,
    frame: Callable[[tuple[int, int]], tuple[int, int]],
    progress: Callable[[int], None] | None = None,
    skipped: list[str] | None = None,
) -> Iterator[tuple[Seen, AnyTargets]]:
    """What `look` makes of each sample that can be read, batch by batch, the next one read meanwhile. `frame` gives the
    (height, width) that the model looks at for that of a picture.

    >>> from pagoda.data.drawn.synthetic import DrawnShapes
    >>> shapes = DrawnShapes(3, image_size=(32, 48), seed=1)
    >>> widths = lambda batch: [picture.shape[2] for picture, _ in batch]
    >>> seen = look_through(widths, shapes, indices=[2, 0], together=BatchSize(2), frame=lambda size: size)
    >>> [(width, targets.image_id) for width, targets in seen]
    [(48, 3), (48, 1)]
    """
    groups = [indices[start : start + together.size] for start in range(0, len(indices), together.size)]
    read = partial(_read_samples, dataset, skipped=skipped)
    num_done = 0
    for group, samples in zip(groups, ahead(read, groups), strict=True):
        num_done += len(group)
        with torch.inference_mode():
            most = min((together.of(frame(targets.image_size)) for _, targets in samples), default=1)
            seen = together.run(look, samples, most=most)
        for each, (_, targets) in zip(seen, samples, strict=True):
            yield each, targets
        if progress is not None:
            progress(num_done)


def _read_samples(
    dataset: Samples[AnyTargets], indices: Sequence[int], *, skipped: list[str] | None
) -> list[tuple[Tensor, AnyTargets]]:
    """(picture, targets) of each index that can be read; see `detect_dataset`."""
    samples = []
    for index in indices:
        try:
            samples.append(dataset[index])
        except PictureError as error:
            if skipped is None:
                raise
            skipped.append(str(error))
    return samples


@checked
def evaluate(
    model: Any,
    dataset: AnnotatedDataset[AnyTargets],
    *,
    batch_size: AnyBatchSize = "auto",
    limits: Limits = EVALUATION_LIMITS,
    progress: Callable[[int], None] | None = None,
    save_results: str | Path | None = None,
    operating: OperatingOptions | None = None,
    tiles: Tiles | None = None,
) -> DetectionResult:
    """COCO metrics of `model` on `dataset`; with several processes each runs its share and all get the result.

    Classes meet by their names: the dataset may have them in another order, with other ids, or only some of the
    model's; detections of the others are left out and counted in the protocol. Pictures that cannot be read count
    as missed and are named there, too. `save_results` writes the detections as a COCO results file while they come
    (one process only). Raises ValueError before any work when the model does not know a class of the dataset.

    `limits` are fields of the model's `postprocess`: a lower `min_score` adds the tail of the precision-recall curve,
    `max_detections` is also how many the protocol counts per picture. `progress` is called with the pictures done.
    `operating`: find out where to cut scores, too (`DetectionResult.operating`). `tiles`: cut large pictures so, which
    the protocol says.

    >>> import pagoda
    >>> from pagoda.data.drawn.synthetic import DrawnShapes
    >>> shapes = DrawnShapes(2, image_size=(32, 32), seed=1)
    >>> options = {"label_map": shapes.label_map, "base_channels": 8, "width": 8, "norm_groups": 4}
    >>> result = evaluate(pagoda.create_model("fcos_resnet18_fpn", **options), shapes)
    >>> result.num_images, result.num_objects, list(result.metrics)[:3]
    (2, 8, ['AP', 'AP50', 'AP75'])
    """
    check_known_classes(model.label_map, dataset)
    is_shared = distributed.is_available() and distributed.is_initialized()
    rank, world = (distributed.get_rank(), distributed.get_world_size()) if is_shared else (0, 1)
    if save_results is not None and world > 1:
        raise ValueError(
            "save_results needs one process: each of several sees only its share of the pictures"
        )
    evaluator = evaluator_of(dataset, limits)
    skipped: list[str] = []
    found = detect_dataset(
        model,
        dataset,
        indices=by_aspect(dataset.annotations.sizes)[rank::world],
        batch_size=batch_size,
        limits=limits,
        tiles=tiles,
        progress=progress,
        skipped=skipped,
    )
    left_out: list[int] = []
    collected = _collect(found, evaluator, model.label_map, dataset.label_map, left_out)
    if save_results is None:
        for _ in collected:
            pass
    else:
        write_results(save_results, collected)
    if is_shared:
        mine = (evaluator.state(), skipped, left_out)
        shares = [mine] * world
        distributed.all_gather_object(shares, mine)
        evaluator.merge([state for index, (state, _, _) in enumerate(shares) if index != rank])
        skipped = [reason for _, reasons, _ in shares for reason in reasons]
        left_out = [count for _, _, counts in shares for count in counts]
    result = _with_left_out(evaluator.result(operating), model.label_map, dataset.label_map, sum(left_out))
    result = _with_crowded(result, *evaluator.crowded(evaluator.max_detections), evaluator.max_detections)
    if tiles is not None:
        result = replace(result, protocol=f"{result.protocol}; {tiles.text(model.input_spec)}")
    if skipped:
        told = f"{result.protocol}; {counted(len(skipped), 'picture')} could not be read: {'; '.join(skipped[:10])}"
        result = replace(result, protocol=told)
    return result


@checked
def collect(
    model: Any,
    dataset: AnnotatedDataset[AnyTargets],
    *,
    indices: Sequence[int] | None = None,
    batch_size: AnyBatchSize = "auto",
    limits: Limits = EVALUATION_LIMITS,
    progress: Callable[[int], None] | None = None,
    skipped: list[str] | None = None,
) -> tuple[DetectionEvaluator, int]:
    """(an evaluator that has seen all detections of `model`, how many are of classes that the data do not have).

    Arguments and errors are those of `evaluate`; `indices` and `skipped` are those of `detect_dataset`.
    """
    check_known_classes(model.label_map, dataset)
    evaluator = evaluator_of(dataset, limits)
    found = detect_dataset(
        model,
        dataset,
        indices=indices,
        batch_size=batch_size,
        limits=limits,
        progress=progress,
        skipped=skipped,
    )
    left_out: list[int] = []
    for _ in _collect(found, evaluator, model.label_map, dataset.label_map, left_out):
        pass
    return evaluator, sum(left_out)


def evaluator_of(dataset: AnnotatedDataset[AnyTargets], limits: Limits) -> DetectionEvaluator:
    """One that counts as many detections of a picture as a model may give."""
    limit = limits.get("max_detections")
    return DetectionEvaluator(
        dataset.annotations.to_coco(), dataset.label_map, max_detections=100 if limit is None else int(limit)
    )


def _with_left_out(
    result: DetectionResult, known: LabelMap, wanted: LabelMap, num_detections: int
) -> DetectionResult:
    """Says which of the model's classes the data do not have, and how many detections of them there were."""
    absent = [name for name in known.names if name not in wanted.names]
    if not absent:
        return result
    told = f"{counted(num_detections, 'detection')} of classes that the data do not have left out: {shorten(absent)}"
    return replace(result, protocol=f"{result.protocol}; {told}")


def _with_crowded(result: DetectionResult, crowded: int, most: int, max_detections: int) -> DetectionResult:
    """Warns where pictures hold more objects, up to `most`, than a model may give detections."""
    if not crowded or result.warnings:
        return result
    told = (
        f"{counted(crowded, 'picture holds', 'pictures hold')} more objects (up to {most}) than the {max_detections}"
        f" detections that the model gives of a picture, so AP cannot reach 1; --max-detections {most}"
        f" (max_detections={most}) gives all"
    )
    return replace(result, warnings=(told,))


def _collect(
    found: Iterator[Detections],
    evaluator: DetectionEvaluator,
    model_labels: LabelMap,
    label_map: LabelMap,
    left_out: list[int],
) -> Iterator[Detections]:
    """Each goes to the evaluator, with the classes, ids and keypoints of the data set, and is passed on."""
    for detections in found:
        if detections.keypoints is not None:
            check_same_keypoints(detections.label_map, label_map)
        ours = in_classes_of(detections, model_labels, label_map)
        left_out.append(len(detections) - len(ours))
        evaluator.update(ours)
        yield ours


def by_aspect(sizes: np.ndarray) -> list[int]:
    """Indices from the tallest to the widest of (n, 2) height and width: alike pictures share a batch,
    which saves padding. Equal ones stay in order.

    >>> by_aspect(np.array([[2, 3], [3, 2], [4, 6]]))
    [1, 0, 2]
    """
    return np.argsort(sizes[:, 1] / sizes[:, 0], kind="stable").tolist()


def in_classes_of(found: Found, model_labels: LabelMap, label_map: LabelMap) -> Found:
    """The same objects in the classes of `label_map`, by name; those of a class that it does not have left out.

    >>> model, data = LabelMap.from_names(["cat", "dog"]), LabelMap.from_names(["dog", "bird"])
    >>> boxes = torch.tensor([[0.0, 0, 2, 2], [1, 1, 3, 3]])
    >>> found = Detections(boxes, torch.tensor([0.9, 0.8]), torch.tensor([0, 1]), (4, 4), model)
    >>> in_classes_of(found, model, data).labels, in_classes_of(found, model, data).names
    (tensor([0]), ['dog'])
    """
    if model_labels.names == label_map.names:
        return replace(found, label_map=label_map)
    known = {name: label for label, name in enumerate(label_map.names)}
    labels = torch.tensor([known.get(name, -1) for name in model_labels.names], device=found.labels.device)[
        found.labels
    ]
    kept = labels >= 0
    return replace(found[kept], labels=labels[kept], label_map=label_map)


def check_known_classes(model_labels: LabelMap, dataset: AnnotatedDataset[AnyTargets]) -> None:
    """Raises ValueError where the dataset has objects of a class that the model does not know by name.

    >>> from pagoda.data.drawn.synthetic import DrawnShapes
    >>> check_known_classes(LabelMap.from_names(["triangle", "circle", "square"]), DrawnShapes(2))  # in any order
    """
    unknown = {name for name in dataset.label_map.names if name not in model_labels.names}
    if not unknown:
        return
    present = {annotation["category_id"] for annotation in dataset.annotations.to_coco()["annotations"]}
    pairs = zip(dataset.label_map.names, dataset.label_map.category_ids, strict=True)
    if any(name in unknown and category_id in present for name, category_id in pairs):
        check_same_classes(model_labels.names, dataset.label_map.names)


def check_same_classes(model_names: Sequence[str], data_names: Sequence[str]) -> None:
    """Raises ValueError unless label i means the same in both; says where they part.

    >>> check_same_classes(["cat", "dog"], ["cat", "bird"])
    Traceback (most recent call last):
    ValueError: the model's 2 classes are not the dataset's 2: unknown to the model: bird; not in the data: dog
    """
    if tuple(model_names) == tuple(data_names):
        return
    missing = [name for name in data_names if name not in model_names]
    extra = [name for name in model_names if name not in data_names]
    raise ValueError(
        f"the model's {counted(len(model_names), 'class is', 'classes are')} not the dataset's {len(data_names)}:"
        f" unknown to the model: {', '.join(missing) or 'none'}; not in the data: {', '.join(extra) or 'none'}"
        f"{'; same names in another order' if not missing and not extra else ''}"
    )


def check_same_keypoints(model_labels: LabelMap, data_labels: LabelMap) -> None:
    """Raises ValueError unless keypoint k means the same in both, where both name theirs; says where they part.

    >>> from pagoda.structures.skeleton import Skeleton
    >>> model, data = (LabelMap(("cat",), (1,), Skeleton(names)) for names in (("nose", "tail"), ("tail", "nose")))
    >>> check_same_keypoints(model, data)  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    ValueError: ... the first that differ are 'nose' and 'tail'; ... rename and reorder the keypoints of the data
    """
    if model_labels.skeleton is None or data_labels.skeleton is None:
        return
    mine, theirs = model_labels.skeleton.names, data_labels.skeleton.names
    if mine == theirs:
        return
    parted = next((pair for pair in zip(mine, theirs, strict=False) if pair[0] != pair[1]), None)
    where = f"; the first that differ are '{parted[0]}' and '{parted[1]}'" if parted else ""
    raise ValueError(
        f"the model's {counted(len(mine), 'keypoint is', 'keypoints are')} not the dataset's"
        f" {len(theirs)}{where}; train the model on this"
        " skeleton, or rename and reorder the keypoints of the data"
    )
