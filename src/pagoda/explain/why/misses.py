"""Why an object was not found: the stage at which the last pair that fits it was lost.

A pair (prior, class) fits an object if its class is the object's and its box overlaps the object's by the IoU from
which an object counts as found. While some fitting pair passes `min_score`, the reason lies behind: it was cut by
`max_candidates`, suppressed, cut by `max_detections`, or what was reported fits another object better. Else it lies
before: no prior can serve the object, no proposal was made of it, it was taken for another class, the box is loose, or
the score too low, looked at in this order.
"""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from pagoda.explain.why.proposals import lost_proposal
from pagoda.explain.why.records import Evidence, MissReason, plain_box
from pagoda.explain.why.serving import Serving
from pagoda.explain.why.traced import Traced
from pagoda.ops.boxes import pairwise_iou, xywh_to_xyxy
from pagoda.postprocess.efficientdet import SelectFromAllLevels
from pagoda.postprocess.select import Candidates, Select, take

LOOSE_IOU = 0.1
"""from which on a detection of an object's class is meant for it"""
WRONG_CLASS_REMEDY = (
    "look at the annotation, or at how alike both classes are; --balance where its class is rare"
)


class Reason(NamedTuple):
    """Why an object was missed; fields as in `records.Miss`."""

    reason: MissReason
    words: str
    remedy: str = ""
    evidence: Evidence | None = None
    detection: int | None = None


@dataclass(frozen=True)
class Missed:
    """An object that was not found, and the picture it is in."""

    traced: Traced
    """its picture"""
    box: Tensor
    """(4,) float64"""
    label: int
    """of the model's classes"""
    iou: float
    """from which on it would be found"""
    taken: dict[int, int | None]
    """{row of a detection: the row of the object it finds, None for an ignored one}"""
    serving: Serving
    """what can serve it"""
    tube: Tensor | None = None
    """(T, 4) of clips: its box in every frame, nan where it is absent"""

    def reason(self) -> Reason:
        """The first that holds, see the module."""
        traced = self.traced
        overlaps = pairwise_iou(traced.boxes_of(self.label), self.box[None])[:, 0]
        fits = overlaps >= self.iou
        passing = fits & traced.pairs.passes[:, self.label]
        if passing.any():
            return self._lost_behind(overlaps, passing)
        return (
            self._no_prior(overlaps)
            or self._no_proposal(overlaps)
            or self._wrong_class(overlaps)
            or self._broken_tube(overlaps)
            or self._loose_box(overlaps, fits)
            or self._low_score(overlaps, fits)
        )

    def _lost_behind(self, overlaps: Tensor, passing: Tensor) -> Reason:
        """Of pairs that fit and pass `min_score`."""
        priors = passing.nonzero().flatten()
        scores = self.traced.pairs.scores[priors, self.label]
        priors = priors[scores.argsort(descending=True, stable=True)]
        places = priors * self.traced.num_classes + self.label
        stages = self.traced.stages
        ranked, left, reported = (torch.isin(places, stage.places) for stage in stages)
        if reported.any():
            return self._taken(overlaps, priors[reported])
        if left.any():
            return self._beyond_max_detections(overlaps, int(priors[left][0]), int(places[left][0]))
        if ranked.any():
            return self._suppressed(overlaps, int(priors[ranked][0]), int(places[ranked][0]))
        return self._beyond_max_candidates(overlaps, int(priors[0]), int(places[0]))

    def _taken(self, overlaps: Tensor, priors: Tensor) -> Reason:
        places = self.traced.stages.detected.places.tolist()
        prior = int(priors[0])
        row = places.index(prior * self.traced.num_classes + self.label)
        other = self.taken.get(row)
        what = "an ignored object" if other is None else f"object {other}"
        return Reason(
            "taken",
            f"{self._had(prior, overlaps)}, but it finds {what}, which it fits as well; no other is left",
            "",
            self._evidence(prior, overlaps),
            row,
        )

    def _beyond_max_detections(self, overlaps: Tensor, prior: int, place: int) -> Reason:
        survivors = self.traced.stages.survivors
        own = survivors.scores[(survivors.places == place).nonzero()[0, 0]]
        rank = int((survivors.scores > own).sum()) + 1
        most = self.traced.select.max_detections
        return Reason(
            "max_detections",
            f"{self._had(prior, overlaps)}, number {rank:,} of the picture; max_detections is {most}",
            f"max_detections of {rank} or more (--max-detections)",
            self._evidence(prior, overlaps),
        )

    def _suppressed(self, overlaps: Tensor, prior: int, place: int) -> Reason:
        candidates, survivors, detected = self.traced.stages
        own = candidates.places.tolist().index(place)
        by, iou = self._suppressor(candidates, survivors, own)
        rows = detected.places.tolist()
        row = rows.index(int(survivors.places[by])) if int(survivors.places[by]) in rows else None
        label = self.traced.found.label_map.names[int(survivors.labels[by])]
        who = f"a {label}" if row is None else f"detection {row}, a {label},"
        select = self.traced.select
        told = (
            f"overlaps it by {iou:.2f} and takes its share of that score, as others may"
            if _is_soft(select)
            else f"overlaps it by {iou:.2f}, more than max_iou {select.max_iou:g}"
        )
        return Reason(
            "suppressed",
            f"{self._had(prior, overlaps)}; {who} of score {float(survivors.scores[by]):.2f} {told}",
            f"max_iou above {iou:.2f} (--max-iou), where objects of a class stand so close",
            self._evidence(prior, overlaps),
            row,
        )

    def _suppressor(self, candidates: Candidates, survivors: Candidates, own: int) -> tuple[int, float]:
        """(row among the survivors of what suppressed a candidate, their overlap as suppression sees it)."""
        select = self.traced.select
        overlaps = select.overlaps(take(candidates, torch.tensor([own])), survivors)[0]
        rivals = survivors.places != candidates.places[own]
        if not select.across_classes:
            rivals &= survivors.labels == candidates.labels[own]
        if _is_soft(select):
            by = int(overlaps.masked_fill(~rivals, -1).argmax())
        else:
            is_strong = rivals & (overlaps >= select.max_iou)
            by = int(survivors.scores.masked_fill(~is_strong, -1).argmax())
        return by, float(overlaps[by])

    def _beyond_max_candidates(self, overlaps: Tensor, prior: int, place: int) -> Reason:
        select, pairs = self.traced.select, self.traced.pairs
        scores = torch.where(pairs.passes, pairs.scores, -1.0).flatten()
        every = torch.arange(len(scores))
        groups = select.rivals(self.traced.outputs, every)
        own = groups == groups[place]
        logits = self.traced.outputs.class_logits[0].cpu()
        ranks = select.ranks(Candidates(torch.zeros(len(scores), 4), scores, every, every), logits)
        ranks = ranks.masked_fill(scores <= 0, -1)
        rank = int((ranks[own] > ranks[place]).sum()) + 1
        return Reason(
            "max_candidates",
            f"{self._had(prior, overlaps)}, number {rank:,} of {select.rivals_in_words} before suppression;"
            f" max_candidates is {select.max_candidates:,}",
            f"max_candidates of {rank} or more, or a higher min_score, which leaves fewer",
            self._evidence(prior, overlaps),
        )

    def _no_prior(self, overlaps: Tensor) -> Reason | None:
        if self.serving.can:
            return None
        best = int(overlaps.argmax())
        return Reason(
            "no prior",
            self.serving.words,
            self.serving.remedy,
            self._evidence(best, overlaps) if len(overlaps) else None,
        )

    def _no_proposal(self, overlaps: Tensor) -> Reason | None:
        first = self.traced.first_stage
        if first is None:
            return None
        needed = self.serving.proposal_iou
        proposed = pairwise_iou(first.proposals, self.box[None])[:, 0]
        if len(proposed) and float(proposed.max()) >= needed:
            return None
        best = int(proposed.argmax()) if len(proposed) else None
        told = (
            "nothing was proposed at all"
            if best is None
            else f"the nearest proposal, number {best + 1}, overlaps it by {float(proposed[best]):.2f}, less than the"
            f" {needed:g} that the box head learns from"
        )
        return Reason(
            "no proposal",
            f"{told}; {lost_proposal(self.traced, self.box, needed)}",
            "",
            None if best is None else self._evidence(self._row_of_proposal(best), overlaps),
        )

    def _row_of_proposal(self, number: int) -> int:
        valid = self.traced.outputs.proposals.valid[0].nonzero().flatten()  # type: ignore[union-attr]
        return int(valid[number])

    def _free(self) -> tuple[Tensor, Tensor]:
        """Of all detections (bool: it finds nothing, IoU with the object)."""
        found = self.traced.found
        free = torch.tensor([row not in self.taken for row in range(len(found))], dtype=torch.bool)
        return free, pairwise_iou(xywh_to_xyxy(found.boxes_xywh), self.box[None])[:, 0]

    def _wrong_class(self, overlaps: Tensor) -> Reason | None:
        found = self.traced.found
        free, iou = self._free()
        right = (found.labels != self.label) & free & (iou >= self.iou)
        if not right.any():
            return None
        row = int(found.scores.masked_fill(~right, -1).argmax())
        prior = int(self.traced.stages.detected.places[row]) // self.traced.num_classes
        own = float(self.traced.pairs.scores[prior, self.label])
        return Reason(
            "wrong class",
            f"detection {row} takes it for a {found.names[row]} with {float(found.scores[row]):.2f}; its own class has"
            f" {own:.2f} there",
            WRONG_CLASS_REMEDY,
            self._evidence(prior, overlaps),
            row,
        )

    def _broken_tube(self, overlaps: Tensor) -> Reason | None:
        """Of clips: a tube that passes and follows the object in other frames, but not in this one."""
        if self.tube is None:
            return None
        own = self.traced.tubes_of(self.label)  # (P, T, 4)
        by_frame = torch.stack(
            [
                pairwise_iou(own[:, frame], box[None])[:, 0]
                if not box.isnan().any()
                else torch.zeros(len(own))
                for frame, box in enumerate(self.tube)
            ],
            dim=1,
        )
        follows = (by_frame >= self.iou).any(1) & self.traced.pairs.passes[:, self.label]
        if not follows.any():
            return None
        best = int(by_frame.sum(1).masked_fill(~follows, -1).argmax())
        key = self.traced.key or 0
        told = ", ".join(
            f"{iou:.2f} {f'in frame {frame - key:+d}' if frame != key else 'here'}"
            for frame, iou in enumerate(by_frame[best].tolist())
            if not self.tube[frame].isnan().any()
        )
        score = float(self.traced.pairs.scores[best, self.label])
        return Reason(
            "broken tube",
            f"the tube of proposal {best}, score {score:.2f}, overlaps it by {told}",
            "",
            self._evidence(best, overlaps),
        )

    def _loose_box(self, overlaps: Tensor, fits: Tensor) -> Reason | None:
        found = self.traced.found
        free, iou = self._free()
        meant = (found.labels == self.label) & free & (iou >= LOOSE_IOU)
        if meant.any():
            row = int(iou.masked_fill(~meant, -1).argmax())
            prior = int(self.traced.stages.detected.places[row]) // self.traced.num_classes
            return Reason(
                "loose box",
                f"detection {row} of its class, score {float(found.scores[row]):.2f}, overlaps it by"
                f" {float(iou[row]):.2f} only",
                "",
                self._evidence(prior, overlaps),
                row,
            )
        if fits.any() or not len(overlaps):
            return None
        best = int(overlaps.argmax())
        return Reason(
            "loose box",
            f"of all {len(overlaps):,} boxes none overlaps it by {self.iou:g}; {self._had(best, overlaps)}",
            "",
            self._evidence(best, overlaps),
        )

    def _low_score(self, overlaps: Tensor, fits: Tensor) -> Reason:
        scores = self.traced.pairs.scores[:, self.label].masked_fill(~fits, -1)
        best = int(scores.argmax())
        score, least = float(scores[best]), float(self.traced.select.min_score)
        evidence = self._evidence(best, overlaps)
        judged = "" if score <= least else " by what it is judged by"
        won = (
            ""
            if evidence.best_label == self._name
            else f"; {evidence.best_label} has {evidence.best_score:.3f} there"
        )
        return Reason(
            "low score",
            f"{self._had(best, overlaps)}, {max(0.0, least - score):.3f} below min_score {least:g}{judged}{won}"
            f"{self.serving.hidden}",
            f"min_score below {score:.3f} (--min-score) shows it, with all else of that score",
            evidence,
        )

    @property
    def _name(self) -> str:
        return self.traced.found.label_map.names[self.label]

    def _had(self, prior: int, overlaps: Tensor) -> str:
        """What a pair made of the object."""
        levels = self.traced.levels
        where = f"proposal {prior}" if levels is None else f"P{int(levels[prior])}"
        score = float(self.traced.pairs.scores[prior, self.label])
        return f"{where} has a box of IoU {float(overlaps[prior]):.2f} and score {score:.3f}"

    def _evidence(self, prior: int, overlaps: Tensor) -> Evidence:
        traced, levels = self.traced, self.traced.levels
        scores = traced.pairs.scores[prior]
        best = int(scores.argmax())
        return Evidence(
            box=plain_box(traced.boxes_of(self.label)[prior]),
            iou=float(overlaps[prior]),
            score=float(scores[self.label]),
            best_label=traced.found.label_map.names[best],
            best_score=float(scores[best]),
            level=None if levels is None else int(levels[prior]),
            prior=plain_box(traced.priors[prior]),
        )


def _is_soft(select: Select) -> bool:
    return isinstance(select, SelectFromAllLevels) and select.suppression == "soft"
