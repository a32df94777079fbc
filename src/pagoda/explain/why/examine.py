"""Why a model misses what it misses: every picture looked at once, every miss traced to its first reason."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from pagoda.batch_size import AnyBatchSize, BatchSize
from pagoda.data.table.annotations import Annotations
from pagoda.data.table.samples import AnnotatedDataset
from pagoda.detectors.contract import Detector
from pagoda.evaluating import evaluating
from pagoda.evaluation.coco.scoring import SIZES
from pagoda.evaluation.runner import Limits, check_known_classes, in_classes_of, look_through
from pagoda.explain.why.matching import Matched, Matcher
from pagoda.explain.why.misses import Missed, Reason
from pagoda.explain.why.records import Miss, SeenPicture, SizeName, Suspect, Why, plain_box
from pagoda.explain.why.serving import Serving, Servings
from pagoda.explain.why.suspects import Annotated, suspects_of, unexplained
from pagoda.explain.why.traced import Traced, scores_again, trace
from pagoda.messages import counted
from pagoda.ops.boxes import pairwise_iou, xywh_to_xyxy
from pagoda.plain import checked
from pagoda.structures.instances import Detections
from pagoda.structures.tubes import AnyTargets, TubeTargets


class Explained(NamedTuple):
    """What is said of one picture."""

    picture: SeenPicture
    misses: list[Miss]
    suspects: list[Suspect]


SIZE_NAMES: dict[str, SizeName] = {"s": "small", "m": "medium", "l": "large"}


@checked
def why(
    model: Any,
    dataset: AnnotatedDataset[AnyTargets],
    *,
    indices: Sequence[int] | None = None,
    iou: float = 0.5,
    limits: Limits | None = None,
    batch_size: AnyBatchSize = "auto",
    progress: Callable[[int], None] | None = None,
) -> Why:
    """Explain every object that `model` misses in `dataset`, and every detection that finds nothing.

    Args:
        model: a detector; of one of clips the key frames are explained.
        dataset: annotated pictures; every class of it that has objects must be known to the model.
        indices: of the pictures to look at; None: all.
        iou: from which on an object is found; one of .50, .55 … .95.
        limits: fields of the model's `postprocess` that hold here; None: its own, as in `predict`.
        progress: called with the number of pictures done.

    Raises ValueError for a class that the model does not know, and for pictures without any annotation.

    >>> import pagoda
    >>> from pagoda.data.drawn.synthetic import DrawnShapes
    >>> shapes = DrawnShapes(2, image_size=(32, 32), seed=1)
    >>> options = {"label_map": shapes.label_map, "base_channels": 8, "width": 8, "norm_groups": 4}
    >>> told = why(pagoda.create_model("fcos_resnet18_fpn", **options), shapes)
    >>> told.num_objects, told.miss_counts()
    (8, Counter({'loose box': 8}))
    """
    return _Examination(model, dataset, iou, limits or {}).over(indices, batch_size, progress)


class _Examination:
    """One model on one data set."""

    def __init__(
        self, model: Detector, dataset: AnnotatedDataset[AnyTargets], iou: float, limits: Limits
    ) -> None:
        check_known_classes(model.label_map, dataset)
        self.model, self.dataset, self.iou = evaluating(model), dataset, iou
        self.annotations: Annotations = dataset.annotations
        if not len(self.annotations.labels):
            raise ValueError(f"nothing is annotated in {self.annotations.source}, so nothing can be missed")
        self.select = model.postprocess.with_limits(**limits)
        most = self.select.max_detections
        self.matcher = Matcher(self.annotations, iou, 10**9 if most is None else most)
        self.servings = None if model.sees_clips else Servings(model)
        self.model_labels = torch.tensor(
            [
                model.label_map.names.index(name) if name in model.label_map.names else -1
                for name in dataset.label_map.names
            ]
        )
        self.known = torch.tensor([name in dataset.label_map.names for name in model.label_map.names])
        self.index_of = {
            image_id: index for index, image_id in enumerate(self.annotations.image_ids.tolist())
        }

    def over(
        self,
        indices: Sequence[int] | None,
        batch_size: AnyBatchSize,
        progress: Callable[[int], None] | None,
    ) -> Why:
        device = next(self.model.parameters()).device
        chosen = range(len(self.dataset)) if indices is None else indices
        skipped: list[str] = []
        seen: dict[int | str, Explained] = {}
        through = look_through(
            self._look,
            self.dataset,
            indices=chosen,
            together=BatchSize(batch_size, device),
            progress=progress,
            skipped=skipped,
        )
        for each, targets in through:
            assert targets.image_id is not None
            seen[targets.image_id] = each
        told = [seen.get(self.annotations.image_id(index)) or self._unreadable(index) for index in chosen]
        pictures = [each.picture for each in told]
        left_out = (
            [f"{counted(len(skipped), 'picture')} could not be read: {'; '.join(skipped[:10])}"]
            if skipped
            else []
        )
        return Why(
            pictures=pictures,
            misses=[miss for each in told for miss in each.misses],
            wrong=[],
            suspects=sorted(
                (each for own in told for each in own.suspects), key=lambda each: -each.suspicion
            ),
            costs=[],
            ap=None,
            num_objects=sum(not each for picture in pictures for each in picture.ignored),
            limits={
                "iou": self.iou,
                "min_score": float(self.select.min_score),
                "max_iou": self.select.max_iou,
                "max_candidates": self.select.max_candidates,
                "max_detections": self.select.max_detections,
            },
            left_out=left_out,
        )

    def _look(self, samples: Sequence[tuple[Tensor, AnyTargets]]) -> list[Explained]:
        device = next(self.model.parameters()).device
        images = self.model.input_spec.prepare([picture for picture, _ in samples], device=device)
        traced = trace(self.model, images, [targets.image_size for _, targets in samples], self.select)
        found, rows = zip(
            *(
                self._in_data_classes(each.found, targets)
                for each, (_, targets) in zip(traced, samples, strict=True)
            ),
            strict=True,
        )
        matched = [_with_rows(each, own) for each, own in zip(self.matcher.match(found), rows, strict=True)]
        annotated = [self._annotated(self.index_of[targets.image_id]) for _, targets in samples]  # type: ignore[index]
        stable = self._stable(traced, annotated, [picture for picture, _ in samples])
        return [
            self._explained(own, each, pairs, again, targets)
            for own, each, pairs, again, (_, targets) in zip(
                annotated, traced, matched, stable, samples, strict=True
            )
        ]

    def _stable(
        self, traced: Sequence[Traced], annotated: Sequence[Annotated], pictures: Sequence[Tensor]
    ) -> list[dict[int, float]]:
        """Least scores of what no annotation explains; only pictures with some of it are looked at again."""
        rows = [unexplained(each, own) for each, own in zip(traced, annotated, strict=True)]
        chosen = [number for number, own in enumerate(rows) if own]
        stable: list[dict[int, float]] = [{} for _ in rows]
        if chosen:
            again = scores_again(
                self.model,
                [pictures[number] for number in chosen],
                [rows[number] for number in chosen],
                [traced[number] for number in chosen],
            )
            for number, least in zip(chosen, again, strict=True):
                stable[number] = least
        return stable

    def _annotated(self, index: int) -> Annotated:
        boxes, labels, ignored, _ = self._objects(index)
        return Annotated(
            self.annotations.image_id(index),
            boxes,
            self.model_labels[labels],
            ignored,
            self.model.label_map.names,
            self.known,
        )

    def _in_data_classes(self, found: Detections, targets: AnyTargets) -> tuple[Detections, list[int]]:
        """(detections of the classes that the data have, their rows among all)."""
        known = torch.tensor([name in self.dataset.label_map.names for name in found.names], dtype=torch.bool)
        ours = in_classes_of(found, self.model.label_map, self.dataset.label_map)
        return replace(ours, image_id=targets.image_id), known.nonzero().flatten().tolist()

    def _explained(
        self,
        annotated: Annotated,
        traced: Traced,
        matched: Matched,
        stable: dict[int, float],
        targets: AnyTargets,
    ) -> Explained:
        index, boxes = self.index_of[annotated.image_id], annotated.boxes
        counted_rows = (~annotated.ignored).nonzero().flatten().tolist()
        misses = []
        for row in counted_rows:
            if row in matched.found_by:
                misses += self._poor(index, row, matched)
                continue
            missed = Missed(
                traced,
                boxes[row],
                int(annotated.labels[row]),
                self.iou,
                matched.finds,
                self._serving(annotated, row, counted_rows, traced),
                _tube_of(boxes[row], targets),
            )
            misses.append(self._miss(index, row, missed.reason()))
        found = traced.found
        picture = self._picture(index, found.image_size)
        picture = replace(
            picture,
            found_by=[matched.found_by.get(row) for row in range(len(boxes))],
            boxes=[plain_box(box) for box in xywh_to_xyxy(found.boxes_xywh)],
            scores=[round(score, 4) for score in found.scores.tolist()],
            labels=found.names,
        )
        return Explained(picture, misses, suspects_of(traced, annotated, stable))

    def _serving(self, annotated: Annotated, row: int, counted_rows: list[int], traced: Traced) -> Serving:
        if self.servings is None:
            return Serving(proposal_iou=self.model.criterion.tubes.min_iou)  # type: ignore[union-attr, operator]
        boxes, labels = annotated.boxes[counted_rows], annotated.labels[counted_rows]
        return self.servings.of(boxes, labels, counted_rows.index(row), traced.found.image_size)

    def _poor(self, index: int, row: int, matched: Matched) -> list[Miss]:
        words = {"segm": ("poor mask", "mask"), "keypoints": ("poor keypoints", "keypoints")}
        return [
            self._miss(
                index,
                row,
                Reason(
                    words[task][0],  # type: ignore[arg-type]
                    f"detection {matched.found_by[row]} has its box, but its {words[task][1]} overlap by less than"
                    f" {self.iou:g}",
                    detection=matched.found_by[row],
                ),
            )
            for task, rows in matched.poor.items()
            if row in rows
        ]

    def _unreadable(self, index: int) -> Explained:
        height, width = self.annotations.sizes[index].tolist()
        picture = self._picture(index, (height, width))
        reason = Reason(
            "unreadable", "the picture cannot be read", "pagoda doctor names what is wrong with the file"
        )
        misses = [
            self._miss(index, row, reason) for row, is_ignored in enumerate(picture.ignored) if not is_ignored
        ]
        return Explained(picture, misses, [])

    def _picture(self, index: int, size: tuple[int, int]) -> SeenPicture:
        boxes, labels, ignored, _ = self._objects(index)
        names = self.dataset.label_map.names
        return SeenPicture(
            image_id=self.annotations.image_id(index),
            file=str(self.annotations.files[index]),
            image_size=(int(size[0]), int(size[1])),
            object_boxes=[plain_box(box) for box in boxes],
            object_labels=[names[label] for label in labels.tolist()],
            found_by=[None] * len(boxes),
            ignored=ignored.tolist(),
            boxes=[],
            scores=[],
            labels=[],
        )

    def _objects(self, index: int) -> tuple[Tensor, Tensor, Tensor, np.ndarray]:
        """Boxes (N, 4) xyxy, labels of the data set, ignored, areas, as they are annotated."""
        rows = slice(self.annotations.offsets[index], self.annotations.offsets[index + 1])
        return (
            xywh_to_xyxy(torch.from_numpy(self.annotations.boxes_xywh[rows].astype(np.float64))),
            torch.from_numpy(self.annotations.labels[rows].astype(np.int64)),
            torch.from_numpy(self.annotations.ignored[rows].astype(bool)),
            self.annotations.areas[rows],
        )

    def _miss(self, index: int, row: int, reason: Reason) -> Miss:
        _, labels, _, areas = self._objects(index)
        return Miss(
            image_id=self.annotations.image_id(index),
            object=row,
            label=self.dataset.label_map.names[int(labels[row])],
            size=size_name(float(areas[row])),
            reason=reason.reason,
            words=reason.words,
            remedy=reason.remedy,
            evidence=reason.evidence,
            detection=reason.detection,
        )


def _tube_of(box: Tensor, targets: AnyTargets) -> Tensor | None:
    """(T, 4) the object's boxes in every frame of its clip, nan where it is absent; None of a picture."""
    if not isinstance(targets, TubeTargets) or not len(targets):
        return None
    row = int(pairwise_iou(targets.boxes[:, targets.key].double(), box[None])[:, 0].argmax())
    return targets.boxes[row].double().masked_fill(~targets.visible[row][:, None], torch.nan)


def size_name(area: float) -> SizeName:
    """COCO's word for an area in pixels².

    >>> size_name(30.0 * 30), size_name(32.0 * 32), size_name(100.0 * 100)
    ('small', 'medium', 'large')
    """
    return next((SIZE_NAMES[key] for key, (_, high) in SIZES["bbox"].items() if key and area < high), "large")


def _with_rows(matched: Matched, rows: Sequence[int]) -> Matched:
    """The same with detections counted among all, of which those of the data's classes have `rows`."""
    return Matched(
        {rows[row]: own for row, own in matched.finds.items()},
        {own: rows[row] for own, row in matched.found_by.items()},
        {rows[row] for row in matched.left_out},
        matched.poor,
    )
