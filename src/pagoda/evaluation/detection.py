"""Box detections against a COCO ground truth: collected compactly, merged, scored by hotcoco."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import hotcoco
import numpy as np

from pagoda.evaluation.ground_truth import GroundTruth, shorten
from pagoda.evaluation.result import DetectionResult
from pagoda.structures.instances import Detections
from pagoda.structures.labels import LabelMap

_State = dict[str, np.ndarray]


class DetectionEvaluator:
    """Collects detections image by image; equals pycocotools on the same results.

    `ground_truth` is a COCO document (images, annotations, categories). Every image of it counts, also one
    that never gets an update: its objects are missed. Of each image and class the best `max_detections`
    count.
    """

    def __init__(
        self, ground_truth: dict[str, Any], label_map: LabelMap, *, max_detections: int = 100
    ) -> None:
        if max_detections < 1:
            raise ValueError(f"max_detections must be at least 1 per image, got {max_detections}")
        self.label_map = label_map
        self.max_detections = max_detections
        self._truth = GroundTruth(ground_truth)
        self._truth.check_labels(label_map)
        self._category_of_label = np.array([self._truth.category_index[i] for i in label_map.category_ids])
        self._parts: list[_State] = []
        self._answered = np.zeros(len(self._truth.image_ids), dtype=bool)
        self._num_repeated = 0

    def update(self, detections: Detections) -> None:
        """Add the detections of one image, with its image_id, in pixels of the original picture."""
        if detections.image_id is None:
            raise ValueError(
                "these detections carry no image_id; set it to the id the image has in the ground truth"
            )
        if detections.label_map != self.label_map:
            raise ValueError(
                f"the detections name their classes {shorten(list(detections.label_map.names), 5)},"
                f" the evaluator {shorten(list(self.label_map.names), 5)}; give both the same label map"
            )
        labels = detections.labels.cpu().numpy().astype(np.int64)
        if len(labels) and not 0 <= labels.min() <= labels.max() < len(self.label_map):
            raise ValueError(
                f"image {detections.image_id!r}: labels must lie in 0 … {len(self.label_map) - 1},"
                f" got {labels.min()} … {labels.max()}"
            )
        image = self._truth.indices_of_images([detections.image_id])
        boxes = detections.boxes.detach().double().cpu().numpy()
        self._add(
            image,
            np.repeat(image, len(boxes)),
            np.concatenate([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], 1),
            detections.scores.detach().double().cpu().numpy(),
            self._category_of_label[labels],
        )

    def update_results(self, results: list[dict[str, Any]]) -> None:
        """Add COCO results: image_id, category_id, bbox (xywh), score; all those of an image in one call."""
        for number, row in enumerate(results):
            missing = [key for key in ("image_id", "category_id", "bbox", "score") if key not in row]
            if missing:
                raise ValueError(f"result {number} has no {', '.join(missing)}; it has {sorted(row)}")
        ids = [row["category_id"] for row in results]
        self._truth.check_category_ids(ids, "the list of results")
        foreign = set(ids) - set(self.label_map.category_ids)
        if foreign:
            raise ValueError(
                f"the results use category ids {shorten(sorted(foreign))}, which the label map"
                f" ({shorten(list(self.label_map.category_ids))}) does not have; add these classes to it"
            )
        images = self._truth.indices_of_images([row["image_id"] for row in results])
        self._add(
            np.unique(images),
            images,
            np.array([row["bbox"] for row in results], dtype=np.float64).reshape(-1, 4),
            np.array([row["score"] for row in results], dtype=np.float64),
            np.array([self._truth.category_index[i] for i in ids], dtype=np.int64),
        )

    def _add(
        self,
        answered: np.ndarray,
        images: np.ndarray,
        boxes_xywh: np.ndarray,
        scores: np.ndarray,
        categories: np.ndarray,
    ) -> None:
        """All checks first, so that a refused update leaves no trace."""
        twice = answered[self._answered[answered]]
        if len(twice):
            raise ValueError(
                f"image {self._truth.image_ids[twice[0]]!r} already has its detections; give all"
                " detections of an image in one update, and each image once"
            )
        finite = np.isfinite(boxes_xywh).all(1) & np.isfinite(scores)
        valid = finite & (boxes_xywh[:, 2:] >= 0).all(1)
        if not valid.all():
            row = int((~valid).argmax())
            problem = "is inside out" if finite[row] else "is not finite"
            raise ValueError(
                f"image {self._truth.image_ids[images[row]]!r}: a detection {problem}: box x, y,"
                f" width, height {boxes_xywh[row].tolist()}, score {scores[row]};"
                " look for NaN or a broken decoder in the model"
            )
        self._answered[answered] = True
        self._parts.append(
            {"images": images, "boxes_xywh": boxes_xywh, "scores": scores, "categories": categories}
        )

    def state(self) -> _State:
        """All that was collected, as plain arrays that pickle small: for `merge` in another process."""
        empty = {
            "images": np.zeros(0, np.int64),
            "boxes_xywh": np.zeros((0, 4)),
            "scores": np.zeros(0),
            "categories": np.zeros(0, np.int64),
        }
        joined = {
            key: np.concatenate([none, *(part[key] for part in self._parts)]) for key, none in empty.items()
        }
        return {**joined, "answered": self._answered.copy(), "repeated": np.array(self._num_repeated)}

    def merge(self, states: Iterable[_State]) -> None:
        """Add what the evaluators of other processes collected; leave this evaluator's own state out.

        Samplers fill up the last round with images another process has too: of such an image what came first
        counts, and the protocol says how many there were.
        """
        for state in states:
            if len(state["answered"]) != len(self._answered):
                raise ValueError(
                    f"cannot merge evaluators of different data: {len(self._answered)} images here,"
                    f" {len(state['answered'])} in the other state"
                )
            fresh = ~self._answered[state["images"]]
            self._parts.append({k: state[k][fresh] for k in ("images", "boxes_xywh", "scores", "categories")})
            self._num_repeated += int((self._answered & state["answered"]).sum()) + int(state["repeated"])
            self._answered |= state["answered"]

    def result(self) -> DetectionResult:
        """Score what was collected so far; may be called again after further updates."""
        collected = self.state()
        limits = sorted({limit for limit in (1, 10) if limit < self.max_detections} | {self.max_detections})
        precision, recall = _score(self._truth, collected, limits)
        names = self._names()
        counts = np.bincount(collected["categories"], minlength=len(names)).tolist()
        objects = np.bincount(self._truth.categories[~self._truth.crowd], minlength=len(names)).tolist()
        per_class = {
            name: {
                "AP": _mean(precision[:, :, k, 0, -1]),
                "AP50": _mean(precision[0, :, k, 0, -1]),
                f"AR{limits[-1]}": _mean(recall[:, k, 0, -1]),
                "objects": objects[k],
                "detections": counts[k],
            }
            for k, name in enumerate(names)
        }
        at_50_and_75 = precision[[0, 5], :, :, 0, -1]
        curves = np.where(at_50_and_75 < 0, np.nan, at_50_and_75)
        return DetectionResult(
            metrics=_metrics(precision, recall, limits),
            per_class=per_class,
            recall=np.linspace(0, 1, 101),
            precision={name: curves[:, :, k] for k, name in enumerate(names)},
            protocol=self._protocol(len(collected["scores"])),
            num_images=len(self._truth.image_ids),
            num_objects=self._truth.num_objects,
        )

    def _names(self) -> list[str]:
        """One name per category of the ground truth; the id is added where two would be called the same."""
        known = dict(zip(self.label_map.category_ids, self.label_map.names, strict=True))
        names = [known.get(i, self._truth.category_names[i]) for i in self._truth.category_ids]
        return [
            f"{name} ({i})" if names.count(name) > 1 else name
            for name, i in zip(names, self._truth.category_ids, strict=True)
        ]

    def _protocol(self, num_detections: int) -> str:
        text = (
            f"COCO protocol: bbox IoU .50:.05:.95, 101 recall points, max {self.max_detections} detections"
            f" per image and class, crowd regions ignored, evaluated {len(self._truth.image_ids)} images,"
            f" {self._truth.num_objects} objects, {num_detections} detections"
            f" by hotcoco {hotcoco.__version__}"
        )
        unknown = [i for i in self._truth.category_ids if i not in self.label_map.category_ids]
        if unknown:
            missed = shorten([self._truth.category_names[i] for i in unknown])
            text += f"; classes of the ground truth that the model does not know, all missed: {missed}"
        if not self._answered.all():
            text += f"; {int((~self._answered).sum())} images without any detections submitted"
        if self._num_repeated:
            text += f"; {self._num_repeated} images answered by more than one process, counted once"
        return text


def evaluate_results_file(
    results_json: str | Path, ground_truth: dict[str, Any], label_map: LabelMap, *, max_detections: int = 100
) -> DetectionResult:
    """Score anybody's COCO results file: a list, or a COCO document with the results under "annotations"."""
    loaded = json.loads(Path(results_json).read_text(encoding="utf-8"))
    if isinstance(loaded, dict):
        if "annotations" not in loaded:
            raise ValueError(
                f"{results_json} holds neither a list of results nor 'annotations': {sorted(loaded)}"
            )
        loaded = loaded["annotations"]
    evaluator = DetectionEvaluator(ground_truth, label_map, max_detections=max_detections)
    evaluator.update_results(loaded)
    return evaluator.result()


def _score(truth: GroundTruth, collected: _State, limits: list[int]) -> tuple[np.ndarray, np.ndarray]:
    """Precision (10 IoUs, 101 recalls, classes, 4 sizes, limits), recall without that axis; -1: undefined."""
    if not truth.image_ids or not truth.category_ids:
        raise ValueError("the ground truth has no images or no categories; there is nothing to evaluate")
    # Everything is counted from 1: matching takes id 0 for "no match", and ids may be text in the document.
    reference = hotcoco.COCO.from_arrays(
        [{"id": index + 1} for index in range(len(truth.image_ids))],
        [{"id": index + 1, "name": str(i)} for index, i in enumerate(truth.category_ids)],
        truth.images + 1,
        truth.categories + 1,
        truth.boxes_xywh,
        ids=np.arange(1, len(truth.images) + 1),
        area=truth.areas,
        iscrowd=truth.crowd.astype(np.int64),
    )
    order = np.argsort(collected["images"], kind="stable")
    table = np.column_stack(
        [collected["images"] + 1, collected["boxes_xywh"], collected["scores"], collected["categories"] + 1]
    )[order]
    scoring = hotcoco.COCOeval(reference, reference.load_res(table), "bbox")
    scoring.params.max_dets = limits
    scoring.evaluate()
    scoring.accumulate()
    return scoring.eval["precision"], scoring.eval["recall"]


def _metrics(precision: np.ndarray, recall: np.ndarray, limits: list[int]) -> dict[str, float]:
    sizes = {"s": 1, "m": 2, "l": 3}
    return {
        "AP": _mean(precision[:, :, :, 0, -1]),
        "AP50": _mean(precision[0, :, :, 0, -1]),
        "AP75": _mean(precision[5, :, :, 0, -1]),
        **{f"AP{letter}": _mean(precision[:, :, :, size, -1]) for letter, size in sizes.items()},
        **{f"AR{limit}": _mean(recall[:, :, 0, index]) for index, limit in enumerate(limits)},
        **{f"AR{letter}": _mean(recall[:, :, size, -1]) for letter, size in sizes.items()},
    }


def _mean(values: np.ndarray) -> float:
    """Mean of the defined entries; -1 marks the others."""
    defined = values[values > -1]
    return float(defined.mean()) if defined.size else float("nan")
