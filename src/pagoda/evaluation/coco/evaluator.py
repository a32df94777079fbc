"""Detections against a COCO ground truth: boxes, and masks and keypoints where there are any."""

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np

from pagoda.evaluation.coco.ground_truth import GroundTruth, shorten
from pagoda.evaluation.coco.matching import Matches, match
from pagoda.evaluation.coco.operating import OperatingOptions, operating_points
from pagoda.evaluation.coco.protocol import describe_protocol, too_many_objects
from pagoda.evaluation.coco.result import DetectionResult
from pagoda.evaluation.coco.results_file import (
    check_rows,
    plain_rows,
    read_columns,
    read_results_by_name,
    with_known_ids,
)
from pagoda.evaluation.coco.scoring import MAX_POSES, Task, mean, score, summarise
from pagoda.evaluation.coco.state import Collected, State
from pagoda.messages import counted
from pagoda.places import told_at
from pagoda.plain import JsonObject, checked
from pagoda.structures.instances import Detections
from pagoda.structures.labels import LabelMap

ObjectScale = Literal["annotated", "box"]
SCALE_OF_BOX = 0.53
"""Share of its box that CrowdPose takes for the area of a person."""


@checked
class DetectionEvaluator:
    """Collects detections image by image; equals pycocotools on the same results.

    Masks and keypoints are scored besides the boxes where both the detections and the ground truth have them;
    keypoints by the sigmas of `label_map.skeleton`.

    Args:
        ground_truth: a COCO document (images, annotations, categories). Every image of it counts, also one that never
            gets an update: its objects are missed. Raises ValueError where it contradicts itself or the label map.
        label_map: the classes that detections are in; its category ids are those of the document.
        max_detections: how many of each image and class count, the best first; of keypoints always 20. More than the
            usual 100 find more in crowded pictures, but do not compare with published numbers.
        object_scale: what keypoint distances are measured by: the annotated area (COCO), or a share of the box
            ("box", CrowdPose).

    >>> import torch
    >>> cat = {"id": 1, "image_id": 7, "category_id": 1, "bbox": [10, 10, 40, 40], "area": 1600}
    >>> truth = {"images": [{"id": 7}], "annotations": [cat], "categories": [{"id": 1, "name": "cat"}]}
    >>> evaluator = DetectionEvaluator(truth, LabelMap.from_names(["cat"]))
    >>> box = torch.tensor([[10.0, 10, 50, 42]])  # xyxy, 32 of the 40 pixels in height: IoU 0.8
    >>> evaluator.update(
    ...     Detections(box, torch.ones(1), torch.zeros(1, dtype=torch.long), (64, 64), evaluator.label_map, image_id=7)
    ... )
    >>> metrics = evaluator.result().metrics
    >>> round(metrics["AP"], 3), round(metrics["AP75"], 3)  # right at 7 of the 10 thresholds .50, .55 … .95
    (0.7, 1.0)
    """

    def __init__(
        self,
        ground_truth: JsonObject,
        label_map: LabelMap,
        *,
        max_detections: int = 100,
        object_scale: ObjectScale = "annotated",
    ) -> None:
        if max_detections < 1:
            raise ValueError(f"max_detections must be at least 1 per image, got {max_detections}")
        self.label_map = label_map
        self.max_detections = max_detections
        self._truth = GroundTruth(ground_truth)
        self._truth.check_labels(label_map)
        if object_scale == "box":
            self._truth.areas = SCALE_OF_BOX * self._truth.boxes_xywh[:, 2:].prod(1)
        self._category_of_label = np.array([self._truth.category_index[i] for i in label_map.category_ids])
        self._collected = Collected(len(self._truth.image_ids))
        self._boxes_around: str | None = None

    @property
    def ground_truth(self) -> GroundTruth:
        """What it scores against, annotations in the order of the document."""
        return self._truth

    def update(self, detections: Detections) -> None:
        """Add the detections of one image, with its image_id, in pixels of the original picture."""
        if detections.image_id is None:
            raise ValueError(
                "these detections carry no image_id; set it to the id the image has in the ground truth"
            )
        self._check_label_map(detections.label_map)
        labels = detections.labels.cpu().numpy().astype(np.int64)
        if len(labels) and not 0 <= labels.min() <= labels.max() < len(self.label_map):
            raise ValueError(
                f"image {detections.image_id!r}: labels must lie in 0 … {len(self.label_map) - 1},"
                f" got {labels.min()} … {labels.max()}"
            )
        image = self._truth.indices_of_images([detections.image_id])
        columns: State = {
            "images": np.repeat(image, len(detections)),
            "boxes_xywh": detections.boxes_xywh.numpy(),
            "scores": detections.scores.detach().double().cpu().numpy(),
            "categories": self._category_of_label[labels],
        }
        if self._truth.has_mask.any() and (texts := detections.mask_texts()) is not None:
            self._check_size(detections, int(image[0]))
            columns["masks"] = np.array(texts, dtype=object)
        if detections.keypoints is not None and self._truth.has_keypoints.any():
            columns["keypoints"] = detections.keypoint_triples().numpy()
        self._add(image, columns)

    def update_results(self, results: list[JsonObject]) -> None:
        """Add COCO results: image_id, category_id, score and at least one of bbox (xywh), segmentation and
        keypoints; all those of an image in one call. Missing boxes are drawn around mask or keypoints."""
        results = with_known_ids(plain_rows(results), self._truth.image_index)
        parts = check_rows(results)
        ids = [row["category_id"] for row in results]
        self._truth.check_category_ids(ids, "the list of results")
        foreign = set(ids) - set(self.label_map.category_ids)
        if foreign:
            raise ValueError(
                f"the results use category ids {shorten(sorted(foreign))}, which the label map"
                f" ({shorten(list(self.label_map.category_ids))}) does not have; add these classes to it"
            )
        columns = read_columns(results, self._truth)
        if parts and "bbox" not in parts:
            self._boxes_around = "masks" if "segmentation" in parts else "keypoints"
        self._add(np.unique(columns["images"]), columns)

    def update_results_file(self, results_json: str | Path) -> dict[str, int]:
        """Add a COCO results file; returns the detections of each class that the label map does not have."""
        rows, left_out = read_results_by_name(results_json, self.label_map)
        with told_at(Path(results_json)):
            self.update_results(rows)
        return left_out

    def _add(self, answered: np.ndarray, columns: State) -> None:
        """All checks first, so that a refused update leaves no trace."""
        twice = answered[self._collected.answered[answered]]
        if len(twice):
            raise ValueError(
                f"image {self._truth.image_ids[twice[0]]!r} already has its detections; give all"
                " detections of an image in one update, and each image once"
            )
        boxes, scores = columns["boxes_xywh"], columns["scores"]
        finite = np.isfinite(boxes).all(1) & np.isfinite(scores)
        valid = finite & (boxes[:, 2:] >= 0).all(1)
        if not valid.all():
            row = int((~valid).argmax())
            problem = "is inside out" if finite[row] else "is not finite"
            raise ValueError(
                f"image {self._truth.image_ids[columns['images'][row]]!r}: a detection {problem}: box x, y,"
                f" width, height {boxes[row].tolist()}, score {scores[row]};"
                " look for NaN or a broken decoder in the model"
            )
        if "keypoints" in columns:
            self._check_keypoints(columns)
        self._collected.add(answered, columns)

    def _check_label_map(self, other: LabelMap) -> None:
        mine = self.label_map
        if (other.names, other.category_ids) != (mine.names, mine.category_ids):
            raise ValueError(
                f"the detections name their classes {shorten(list(other.names), 5)},"
                f" the evaluator {shorten(list(mine.names), 5)}; give both the same label map"
            )

    def _check_size(self, detections: Detections, image: int) -> None:
        size = self._truth.size_of(image)
        if tuple(detections.image_size) != size:
            raise ValueError(
                f"image {detections.image_id!r} is of (height, width) {size} in the ground truth, the masks are of"
                f" {tuple(detections.image_size)}; restore them to the picture's size first"
            )

    def _check_keypoints(self, columns: State) -> None:
        skeleton, points = self.label_map.skeleton, columns["keypoints"]
        if skeleton is None:
            raise ValueError(
                "scoring keypoints needs their skeleton: give a label map with skeleton=Skeleton(names, sigmas=…)"
            )
        if len(points) and points.shape[1] != len(skeleton):
            raise ValueError(
                f"the detections have {counted(points.shape[1], 'keypoint')}, the skeleton of the ground truth"
                f" {len(skeleton)}: {shorten(list(skeleton.names), 5)}; the model is of another skeleton"
            )
        broken = ~np.isfinite(points).all((1, 2))
        if broken.any():
            image = self._truth.image_ids[columns["images"][int(broken.argmax())]]
            raise ValueError(f"image {image!r}: a detection has a keypoint that is not finite")

    def crowded(self, limit: int) -> tuple[int, int]:
        """(pictures with more objects of all classes together than `limit`, the most that one holds)."""
        return self._truth.crowded("bbox", limit, of_one_class=False)

    def state(self) -> State:
        """All that was collected, as plain arrays that pickle small: for `merge` in another process."""
        return self._collected.state()

    def merge(self, states: Iterable[State]) -> None:
        """Add what the evaluators of other processes collected; leave this evaluator's own state out.

        Samplers fill up the last round with images another process has too: of such an image what came first
        counts, and the protocol says how many there were.
        """
        self._collected.merge(states)

    def result(self, operating: OperatingOptions | None = None) -> DetectionResult:
        """Score what was collected so far; may be called again after further updates.

        `operating`: find out, too, where to cut scores and what is then taken for what (`DetectionResult.operating`).
        """
        collected = self.state()
        tasks = _tasks(collected)
        results = [self._result(task, collected) for task in tasks]
        if operating is not None:
            names = self.class_names()
            results = [
                replace(
                    result,
                    operating=operating_points(
                        self._matches(task, collected),
                        names,
                        operating,
                        collected=collected if task == "bbox" else None,
                    ),
                )
                for task, result in zip(tasks, results, strict=True)
            ]
        boxes, *more = results
        others = dict(zip(tasks[1:], more, strict=True))
        metrics = dict(boxes.metrics)
        for task, result in others.items():
            metrics |= {f"{task}/{name}": value for name, value in result.metrics.items()}
        return replace(boxes, metrics=metrics, others=others)

    def matches(self) -> dict[Task, Matches]:
        """What each detection was matched to, by boxes, and by masks and keypoints where there are any."""
        collected = self.state()
        return {task: self._matches(task, collected) for task in _tasks(collected)}

    def _matches(self, task: Task, collected: State) -> Matches:
        return match(self._truth, collected, task, self._limits(task)[-1], self.label_map.skeleton)

    def _limits(self, task: Task) -> list[int]:
        """Detections per picture and class that count, one after the other."""
        if task == "keypoints":
            return [MAX_POSES]
        return sorted({limit for limit in (1, 10) if limit < self.max_detections} | {self.max_detections})

    def _result(self, task: Task, collected: State) -> DetectionResult:
        limits = self._limits(task)
        precision, recall = score(self._truth, collected, task, limits, self.label_map.skeleton)
        names = self.class_names()
        counts = np.bincount(collected["categories"], minlength=len(names)).tolist()
        objects = np.bincount(
            self._truth.categories[self._truth.counted(task)], minlength=len(names)
        ).tolist()
        last = "AR" if task == "keypoints" else f"AR{limits[-1]}"
        per_class = {
            name: {
                "AP": mean(precision[:, :, k, 0, -1]),
                "AP50": mean(precision[0, :, k, 0, -1]),
                last: mean(recall[:, k, 0, -1]),
                "objects": objects[k],
                "detections": counts[k],
            }
            for k, name in enumerate(names)
        }
        at_50_and_75 = precision[[0, 5], :, :, 0, -1]
        curves = np.where(at_50_and_75 < 0, np.nan, at_50_and_75)
        return DetectionResult(
            metrics=summarise(task, precision, recall, limits),
            per_class=per_class,
            recall=np.linspace(0, 1, 101),
            precision={name: curves[:, :, k] for k, name in enumerate(names)},
            protocol=describe_protocol(
                task,
                self._truth,
                self.label_map,
                self._collected,
                num_detections=len(collected["scores"]),
                max_detections=self.max_detections,
                boxes_around=self._boxes_around,
            ),
            warnings=tuple(too_many_objects(task, self._truth, self.max_detections)),
            num_images=len(self._truth.image_ids),
            num_objects=int(self._truth.counted(task).sum()),
        )

    def class_names(self) -> list[str]:
        """One name per category of the ground truth; the id is added where two would be called the same."""
        known = dict(zip(self.label_map.category_ids, self.label_map.names, strict=True))
        names = [known.get(i, self._truth.category_names[i]) for i in self._truth.category_ids]
        return [
            f"{name} ({i})" if names.count(name) > 1 else name
            for name, i in zip(names, self._truth.category_ids, strict=True)
        ]


def _tasks(collected: State) -> list[Task]:
    """What detections may be scored by: boxes, then masks and keypoints where there are any."""
    shapes: tuple[tuple[str, Task], ...] = (("masks", "segm"), ("keypoints", "keypoints"))
    return ["bbox", *(task for name, task in shapes if name in collected)]


@checked
def evaluate_results_file(
    results_json: str | Path,
    ground_truth: JsonObject,
    label_map: LabelMap,
    *,
    max_detections: int = 100,
    object_scale: ObjectScale = "annotated",
    operating: OperatingOptions | None = None,
) -> DetectionResult:
    """Score anybody's COCO results file: a list, or a COCO document with the results under "annotations".

    The classes of a document with categories meet those of the label map by name, whatever their ids. Options are
    those of `DetectionEvaluator` and of its `result`. Raises ValueError that names the file and the row for what is no
    result.

    >>> import json
    >>> from tempfile import TemporaryDirectory
    >>> cat = {"id": 1, "image_id": 7, "category_id": 1, "bbox": [10, 10, 40, 40], "area": 1600}
    >>> truth = {"images": [{"id": 7}], "annotations": [cat], "categories": [{"id": 1, "name": "cat"}]}
    >>> found = {"image_id": 7, "category_id": 1, "bbox": [10, 10, 40, 40], "score": 0.9}
    >>> with TemporaryDirectory() as folder:
    ...     file = Path(folder, "results.json")
    ...     _ = file.write_text(json.dumps([found]))
    ...     round(evaluate_results_file(file, truth, LabelMap.from_names(["cat"])).metrics["AP"], 3)
    1.0
    """
    evaluator = DetectionEvaluator(
        ground_truth, label_map, max_detections=max_detections, object_scale=object_scale
    )
    left_out = evaluator.update_results_file(results_json)
    result = evaluator.result(operating)
    if not left_out:
        return result
    count, names = sum(left_out.values()), shorten(list(left_out))
    told = f"{counted(count, 'detection')} of classes that the data do not have left out: {names}"
    return replace(result, protocol=f"{result.protocol}; {told}")
