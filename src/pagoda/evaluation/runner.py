"""Run a model over a dataset and score it, on one process or several."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor, distributed

from pagoda.data.table.samples import AnnotatedDataset, AnyTargets, Samples
from pagoda.evaluating import evaluating
from pagoda.evaluation.coco.evaluator import DetectionEvaluator, DetectionResult
from pagoda.evaluation.coco.ground_truth import shorten
from pagoda.evaluation.coco.results_file import write_results
from pagoda.pictures.read import PictureError
from pagoda.plain import check_counts
from pagoda.structures.instances import Detections
from pagoda.structures.labels import LabelMap
from pagoda.structures.tracks import Tubes

Found = TypeVar("Found", Detections, Tubes)
Limits = Mapping[str, float | int | None]

# COCO's protocol integrates over the whole precision-recall curve, so far more boxes are kept than people look at.
EVALUATION_LIMITS: Limits = {"min_score": 0.001, "max_detections": 100}


def detect_dataset(
    model: Any,
    dataset: Samples[AnyTargets],
    *,
    indices: Sequence[int] | None = None,
    batch_size: int = 8,
    limits: Limits = EVALUATION_LIMITS,
    progress: Callable[[int], None] | None = None,
    skipped: list[str] | None = None,
) -> Iterator[Detections]:
    """Detections in pixels of the pictures, with `image_id`, in the order of `indices`.

    A picture that cannot be read raises PictureError, or is left out and named in `skipped` where that is given.
    """
    check_counts(batch_size=batch_size)
    postprocess = model.postprocess.with_limits(**limits)
    device = next(model.parameters()).device
    indices = range(len(dataset)) if indices is None else indices
    model = evaluating(model)
    for start in range(0, len(indices), batch_size):
        samples = read_samples(dataset, indices[start : start + batch_size], skipped)
        if not samples:
            continue
        with torch.inference_mode():
            images = model.input_spec.prepare([picture for picture, _ in samples], device=device)
            sizes = [targets.image_size for _, targets in samples]
            restored = model.detect(images, postprocess=postprocess, sizes=sizes)
        for detections, (_, targets) in zip(restored, samples, strict=True):
            yield replace(detections.to("cpu"), image_id=targets.image_id, file=targets.file)
        if progress is not None:
            progress(min(start + batch_size, len(indices)))


def read_samples(
    dataset: Samples[AnyTargets], indices: Sequence[int], skipped: list[str] | None
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


def evaluate(
    model: Any,
    dataset: AnnotatedDataset[AnyTargets],
    *,
    batch_size: int = 8,
    limits: Limits = EVALUATION_LIMITS,
    progress: Callable[[int], None] | None = None,
    save_results: str | Path | None = None,
) -> DetectionResult:
    """COCO metrics of `model` on `dataset`; with several processes each runs its share and all get the result.

    Classes meet by their names: the dataset may have them in another order, with other ids, or only some of the
    model's; detections of the others are left out and counted in the protocol. Pictures that cannot be read count
    as missed and are named there, too. `save_results` writes the detections as a COCO results file while they come
    (one process only). Raises ValueError before any work when the model does not know a class of the dataset.
    """
    check_known_classes(model.label_map, dataset)
    is_shared = distributed.is_available() and distributed.is_initialized()
    rank, world = (distributed.get_rank(), distributed.get_world_size()) if is_shared else (0, 1)
    if save_results is not None and world > 1:
        raise ValueError(
            "save_results needs one process: each of several sees only its share of the pictures"
        )
    limit = limits.get("max_detections")
    max_detections = 100 if limit is None else int(limit)
    evaluator = DetectionEvaluator(
        dataset.annotations.to_coco(),
        dataset.label_map,
        max_detections=max_detections,
    )
    skipped: list[str] = []
    found = detect_dataset(
        model,
        dataset,
        indices=by_aspect(dataset.annotations.sizes)[rank::world],
        batch_size=batch_size,
        limits=limits,
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
        shares: list[Any] = [None] * world
        distributed.all_gather_object(shares, (evaluator.state(), skipped, left_out))
        evaluator.merge([state for index, (state, _, _) in enumerate(shares) if index != rank])
        skipped = [reason for _, reasons, _ in shares for reason in reasons]
        left_out = [count for _, _, counts in shares for count in counts]
    result = _with_left_out(evaluator.result(), model.label_map, dataset.label_map, sum(left_out))
    result = _with_crowded(result, *evaluator.crowded(max_detections), max_detections)
    if skipped:
        told = f"{result.protocol}; {len(skipped)} pictures could not be read: {'; '.join(skipped[:10])}"
        result = replace(result, protocol=told)
    return result


def _with_left_out(
    result: DetectionResult, known: LabelMap, wanted: LabelMap, num_detections: int
) -> DetectionResult:
    """Says which of the model's classes the data do not have, and how many detections of them there were."""
    absent = [name for name in known.names if name not in wanted.names]
    if not absent:
        return result
    told = f"{num_detections} detections of classes that the data do not have left out: {shorten(absent)}"
    return replace(result, protocol=f"{result.protocol}; {told}")


def _with_crowded(result: DetectionResult, crowded: int, most: int, max_detections: int) -> DetectionResult:
    """Warns where pictures hold more objects, up to `most`, than a model may give detections."""
    if not crowded or result.warnings:
        return result
    told = (
        f"{crowded} pictures hold more objects (up to {most}) than the {max_detections} detections that the model"
        f" gives of a picture, so AP cannot reach 1; --max-detections {most} (max_detections={most}) gives all"
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
    """The same objects in the classes of `label_map`, by name; those of a class that it does not have left out."""
    if model_labels.names == label_map.names:
        return replace(found, label_map=label_map)
    known = {name: label for label, name in enumerate(label_map.names)}
    labels = torch.tensor([known.get(name, -1) for name in model_labels.names], device=found.labels.device)[
        found.labels
    ]
    kept = labels >= 0
    return replace(found[kept], labels=labels[kept], label_map=label_map)


def check_known_classes(model_labels: LabelMap, dataset: AnnotatedDataset[AnyTargets]) -> None:
    """Raises ValueError where the dataset has objects of a class that the model does not know by name."""
    present = {name for name, count in dataset.annotations.counts().items() if count}
    if not present <= set(model_labels.names):
        check_same_classes(model_labels.names, dataset.label_map.names)


def check_same_classes(model_names: Sequence[str], data_names: Sequence[str]) -> None:
    """Label i must mean the same in both; says where they part."""
    if tuple(model_names) == tuple(data_names):
        return
    missing = [name for name in data_names if name not in model_names]
    extra = [name for name in model_names if name not in data_names]
    raise ValueError(
        f"the model's {len(model_names)} classes are not the dataset's {len(data_names)}:"
        f" unknown to the model: {', '.join(missing) or 'none'}; not in the data: {', '.join(extra) or 'none'}"
        f"{'; same names in another order' if not missing and not extra else ''}"
    )


def check_same_keypoints(model_labels: LabelMap, data_labels: LabelMap) -> None:
    """Keypoint k must mean the same in both, where both name theirs; says where they part."""
    if model_labels.skeleton is None or data_labels.skeleton is None:
        return
    mine, theirs = model_labels.skeleton.names, data_labels.skeleton.names
    if mine == theirs:
        return
    parted = next((pair for pair in zip(mine, theirs, strict=False) if pair[0] != pair[1]), None)
    where = f"; the first that differ are '{parted[0]}' and '{parted[1]}'" if parted else ""
    raise ValueError(
        f"the model's {len(mine)} keypoints are not the dataset's {len(theirs)}{where}; train the model on this"
        " skeleton, or rename and reorder the keypoints of the data"
    )
