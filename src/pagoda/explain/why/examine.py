"""Why a model misses what it misses: every picture looked at once, every miss traced to its first reason."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from math import isnan
from typing import Any, NamedTuple

import torch
from torch import Tensor

from pagoda.batch_size import AnyBatchSize, BatchSize
from pagoda.data.table.samples import AnnotatedDataset
from pagoda.detectors.contract import Detector
from pagoda.evaluating import evaluating
from pagoda.evaluation.runner import Limits, check_known_classes, look_through
from pagoda.explain.why.matching import Matched, Matcher
from pagoda.explain.why.misses import Missed, Reason
from pagoda.explain.why.objects import Annotated, AnnotatedObjects
from pagoda.explain.why.records import Miss, SeenPicture, Why
from pagoda.explain.why.reported import LEAST_SCORE, reason_of_reported
from pagoda.explain.why.second_look import scores_again
from pagoda.explain.why.serving import Serving, Servings
from pagoda.explain.why.suspects import Doubt, doubts_of, missing, ranked, typical_scores, unexplained
from pagoda.explain.why.traced import Traced, trace
from pagoda.explain.why.wrong import Collected
from pagoda.exporting.exported import ExportedDetector
from pagoda.messages import counted
from pagoda.ops.boxes import pairwise_iou
from pagoda.plain import checked
from pagoda.structures.instances import Detections
from pagoda.structures.tubes import AnyTargets, TubeTargets

IOU = 0.5
"""from which on an object is found"""


class Explained(NamedTuple):
    """What is said of one picture."""

    picture: SeenPicture
    misses: list[Miss]
    doubts: list[Doubt]
    found: Detections | None
    """boxes of all classes of the model; None: the picture could not be read"""


@checked
def why(
    model: Any,
    dataset: AnnotatedDataset[AnyTargets],
    *,
    indices: Sequence[int] | None = None,
    limits: Limits | None = None,
    batch_size: AnyBatchSize = "auto",
    progress: Callable[[int], None] | None = None,
) -> Why:
    """Explain every object that `model` misses in `dataset`, and every detection that finds nothing, at an IoU of .5.

    Args:
        model: a detector; of one of clips the key frames are explained, of an exported file what its detections tell.
        dataset: annotated pictures; every class of it that has objects must be known to the model.
        indices: of the pictures to look at; None: all.
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
    return _Examination(model, dataset, limits or {}).over(indices, batch_size, progress)


class _Examination:
    """One model on one data set."""

    def __init__(self, model: Detector, dataset: AnnotatedDataset[AnyTargets], limits: Limits) -> None:
        check_known_classes(model.label_map, dataset)
        if not len(dataset.annotations.labels):
            raise ValueError(
                f"nothing is annotated in {dataset.annotations.source}, so nothing can be missed"
            )
        self.model, self.dataset = evaluating(model), dataset
        self.select = model.postprocess.with_limits(**limits)
        most = self.select.max_detections
        self.objects = AnnotatedObjects(dataset, model.label_map)
        self.matcher = Matcher(dataset.annotations, 10**9 if most is None else most)
        self.is_file = isinstance(model, ExportedDetector)
        self.servings = None if model.sees_clips or self.is_file else Servings(model)

    def over(
        self,
        indices: Sequence[int] | None,
        batch_size: AnyBatchSize,
        progress: Callable[[int], None] | None,
    ) -> Why:
        chosen = range(len(self.dataset)) if indices is None else indices
        table, skipped = self.dataset.annotations, []
        collected = Collected(self.matcher.evaluator(chosen))
        seen: dict[int | str, Explained] = {}
        through = look_through(
            self._look_at_file if self.is_file else self._look,
            self.dataset,
            indices=chosen,
            together=BatchSize(batch_size, self._device),
            frame=self.model.input_spec.frame,
            progress=progress,
            skipped=skipped,
        )
        for each, targets in through:
            assert targets.image_id is not None
            seen[targets.image_id] = each
            assert each.found is not None
            collected.add(*self.objects.in_data_classes(each.found, targets.image_id))
        told = [seen.get(table.image_id(index)) or self._unreadable(index) for index in chosen]
        pictures = [each.picture for each in told]
        misses = [miss for each in told for miss in each.misses]
        typical = typical_scores(pictures)
        doubts = [doubt for each in told for doubt in each.doubts]
        suspects = ranked([*doubts, *self._missing(told, chosen, typical, batch_size)], typical)
        wrong = collected.wrong(pictures, suspects)
        costs = collected.costs(misses, wrong)
        return Why(
            pictures=pictures,
            misses=misses,
            wrong=wrong,
            suspects=suspects,
            costs=[each for each in costs.kinds if each.count],
            ap=None if isnan(costs.ap) else costs.ap,
            num_objects=sum(not each for picture in pictures for each in picture.ignored),
            limits={
                "iou": IOU,
                "min_score": float(self.select.min_score),
                "max_iou": self.select.max_iou,
                "max_candidates": self.select.max_candidates,
                "max_detections": self.select.max_detections,
            },
            left_out=[costs.words(), *self._left_out(skipped)],
        )

    def _left_out(self, skipped: Sequence[str]) -> list[str]:
        told = []
        if skipped:
            told.append(f"{counted(len(skipped), 'picture')} could not be read: {'; '.join(skipped[:10])}")
        if self.is_file:
            told.append(
                "an exported file gives detections alone: what its suppression and limits left out, and which"
                " annotations are suspect, is told of its checkpoint"
            )
        return told

    @property
    def _device(self) -> torch.device:
        return next(self.model.parameters()).device

    def _look(self, samples: Sequence[tuple[Tensor, AnyTargets]]) -> list[Explained]:
        images = self.model.input_spec.prepare([picture for picture, _ in samples], device=self._device)
        traced = trace(self.model, images, [targets.image_size for _, targets in samples], self.select)
        annotated = [self.objects.of(self.objects.index_of[targets.image_id]) for _, targets in samples]  # type: ignore[index]
        matched = self._matched([each.found for each in traced], annotated)
        return [
            Explained(
                self.objects.picture(own.index, each.found, pairs.found_by),
                self._misses(own, pairs, partial(self._reason, own, each, pairs, targets)),
                doubts_of(each, own, self.objects.known),
                _boxes_of(each.found),
            )
            for own, each, pairs, (_, targets) in zip(annotated, traced, matched, samples, strict=True)
        ]

    def _look_at_file(self, samples: Sequence[tuple[Tensor, AnyTargets]]) -> list[Explained]:
        images = self.model.input_spec.prepare([picture for picture, _ in samples])
        weakest = self.select.with_limits(min_score=min(LEAST_SCORE, float(self.select.min_score)))
        weak = self.model.detect(
            images, postprocess=weakest, sizes=[targets.image_size for _, targets in samples]
        )
        counts = [int((each.scores > self.select.min_score).sum()) for each in weak]
        found = [each[:count] for each, count in zip(weak, counts, strict=True)]
        annotated = [self.objects.of(self.objects.index_of[targets.image_id]) for _, targets in samples]  # type: ignore[index]
        matched = self._matched(found, annotated)
        return [
            Explained(
                self.objects.picture(own.index, each, pairs.found_by),
                self._misses(own, pairs, partial(self._reported_reason, own, all_, len(each), pairs)),
                [],
                _boxes_of(each),
            )
            for own, each, pairs, all_ in zip(annotated, found, matched, weak, strict=True)
        ]

    def _matched(self, found: Sequence[Detections], annotated: Sequence[Annotated]) -> list[Matched]:
        """What detections find, with rows counted among all, though those of other classes find nothing."""
        parts = [
            self.objects.in_data_classes(each, own.image_id)
            for each, own in zip(found, annotated, strict=True)
        ]
        matched = self.matcher.match([each for each, _ in parts])
        return [each.with_rows(rows) for each, (_, rows) in zip(matched, parts, strict=True)]

    def _misses(self, own: Annotated, matched: Matched, reason: Callable[[int], Reason]) -> list[Miss]:
        misses = []
        for row in own.counted:
            reasons = matched.poor_reasons(row, IOU) if row in matched.found_by else [reason(row)]
            misses += [self.objects.miss(own.index, row, each) for each in reasons]
        return misses

    def _reason(
        self, own: Annotated, traced: Traced, matched: Matched, targets: AnyTargets, row: int
    ) -> Reason:
        """Why the object in `row` was missed."""
        if self.servings is None:
            serving = Serving(proposal_iou=self.model.criterion.tubes.min_iou)  # type: ignore[union-attr, operator]
        else:
            rows = own.counted
            serving = self.servings.of(
                own.boxes[rows], own.labels[rows], rows.index(row), traced.found.image_size
            )
        box, label = own.boxes[row], int(own.labels[row])
        tube = _tube_of(box, targets)
        return Missed(traced, box, label, IOU, matched.taken, serving, tube).reason()

    def _reported_reason(
        self, own: Annotated, weak: Detections, num_found: int, matched: Matched, row: int
    ) -> Reason:
        return reason_of_reported(
            weak,
            num_found,
            own.boxes[row],
            int(own.labels[row]),
            iou=IOU,
            taken=matched.taken,
            min_score=float(self.select.min_score),
        )

    def _missing(
        self,
        told: Sequence[Explained],
        chosen: Sequence[int],
        typical: Mapping[str, float],
        batch_size: AnyBatchSize,
    ) -> list[Doubt]:
        """Objects that perhaps nobody annotated: as sure as half of what is right, and looked for once more."""
        rows, found = {}, {}
        for index, each in zip(chosen, told, strict=True) if not self.is_file else ():
            own = unexplained(each.picture, typical) if each.found is not None else []
            own = [row for row in own if each.picture.labels[row] in self.dataset.label_map.names]
            if own:
                rows[index], found[index] = own, each.found[own]
        if not found:
            return []
        together = BatchSize(batch_size, self._device)
        again = scores_again(self.model, self.dataset, self.select, found, together)
        pictures = {index: each.picture for index, each in zip(chosen, told, strict=True)}
        return [
            missing(pictures[index], row, score)
            for index, scores in again.items()
            for row, score in zip(rows[index], scores.tolist(), strict=True)
        ]

    def _unreadable(self, index: int) -> Explained:
        reason = Reason(
            "unreadable", "the picture cannot be read", "pagoda doctor names what is wrong with the file"
        )
        misses = [self.objects.miss(index, row, reason) for row in self.objects.of(index).counted]
        return Explained(self.objects.picture(index), misses, [], None)


def _boxes_of(found: Detections) -> Detections:
    """Without masks and keypoints, which are not looked at again."""
    return replace(found, masks=None, mask_crops=None, keypoints=None, keypoint_scores=None)


def _tube_of(box: Tensor, targets: AnyTargets) -> Tensor | None:
    """(T, 4) the object's boxes in every frame of its clip, nan where it is absent; None of a picture."""
    if not isinstance(targets, TubeTargets) or not len(targets):
        return None
    row = int(pairwise_iou(targets.boxes[:, targets.key].double(), box[None])[:, 0].argmax())
    return targets.boxes[row].double().masked_fill(~targets.visible[row][:, None], torch.nan)
