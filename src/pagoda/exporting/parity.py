"""Does an exported file find what the model finds? Detections are compared as sets.

Rounding differs between runtimes, and selection is made of verdicts (above the threshold? overlapping too much? among
the best?) that rounding can turn when they are close, of both stages where there are two. A detection that only one
side has is accepted when such a verdict was close and the other side's candidates contain it; all others are faults.
"""

import json
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from copy import copy
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TypeVar

import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from pagoda.detectors.appearance import PyramidWatch
from pagoda.detectors.contract import Detector
from pagoda.detectors.two_stage import TwoStageDetector, image_index_of
from pagoda.evaluating import evaluating
from pagoda.exporting.engines import Engine, open_engine
from pagoda.exporting.masks_keypoints_parity import ShapeComparison, with_shapes
from pagoda.exporting.parity_pictures import Picture, parity_batches, told_batches
from pagoda.messages import counted
from pagoda.ops.boxes import pairwise_iou
from pagoda.ops.tubes import tube_iou
from pagoda.plain import JsonObject, checked
from pagoda.postprocess.rcnn import SelectRoIs
from pagoda.postprocess.select import Candidates, Select, take
from pagoda.structures.images import ImageBatch
from pagoda.structures.instances import Detections
from pagoda.structures.outputs import DenseOutputs, RoIOutputs, TubeOutputs
from pagoda.structures.tubes import Tubes

Found = TypeVar("Found", Detections, Tubes)
"""objects of a picture or of a clip"""


@checked
@dataclass(frozen=True, kw_only=True)
class Tolerance:
    """How far two sides may be apart and count as equal."""

    box: float = 0.05
    """pixels by which a side of a box may differ"""
    score: float = 1e-4
    """by which a score may differ"""
    iou: float = 0.005
    """an overlap this near to the limit may be judged either way"""


APPEARANCE_TOLERANCE = 1e-3
"""1 - cosine, of two boxes that may lie apart a little"""
SINGLE = Tolerance()
"""of two programs that compute in float32"""
HALF = Tolerance(box=2.0, score=0.02, iou=0.05)
"""of one that computes in float16, whose numbers have eleven bits"""


class ParityError(RuntimeError):
    """The exported file and the model disagree; `report` says where."""

    def __init__(self, message: str, report: object) -> None:
        super().__init__(message)
        self.report = report


@dataclass(kw_only=True)
class ParityReport:
    """What was compared, and how far apart the two sides were.

    >>> report = ParityReport(min_score=0.2, batches=[(2, 130, 190), (1, 64, 64)], detections=7)
    >>> report.pictures, report.passed, report.summary().partition(":")[0]
    (3, True, '3 pictures (2×130×190, 1×64×64), scores above 0.2')
    """

    tolerance: Tolerance = SINGLE
    """what counts as equal"""
    min_score: float
    """the threshold compared at: the file's own, or 0 where that let (almost) nothing through"""
    batches: list[tuple[int, int, int]] = field(default_factory=list)
    """(pictures, height, width) of each run"""
    detections: int = 0
    """found by both sides and within tolerance"""
    close_calls: int = 0
    """found by one side, because rounding turned a close verdict"""
    max_box_difference: float = 0.0
    """pixels, over `detections`"""
    max_score_difference: float = 0.0
    """over `detections`"""
    masks: int = 0
    """of those detections, that agree"""
    mask_pixels: int = 0
    """of these masks, on one side only"""
    max_mask_probability_difference: float = 0.0
    """of the cells of all masks that are alike"""
    keypoints: int = 0
    """within `tolerance.box`"""
    max_keypoint_difference: float = 0.0
    """pixels, over `keypoints`"""
    max_appearance_difference: float = 0.0
    """1 - cosine, over `detections`, where the file says what they look like"""
    keypoint_close_calls: int = 0
    """further away, where the model's map is as high"""
    unmatched: list[str] = field(default_factory=list)
    """what one side found and the other had no reason to miss"""

    @property
    def pictures(self) -> int:
        return sum(batch for batch, _, _ in self.batches)

    @property
    def passed(self) -> bool:
        return not self.unmatched and self.detections > 0

    def summary(self) -> str:
        lines = [
            f"{self._told()}, scores above {self.min_score:g}:"
            f" {counted(self.detections, 'detection agrees', 'detections agree')}, within"
            f" {self.max_box_difference:.2g} px and {self.max_score_difference:.2g} in score",
            *self._summary_of_shapes(),
            f"{self.close_calls} close calls turned by rounding, {len(self.unmatched)} unmatched",
            *self.unmatched[:5],
        ]
        return "\n".join(lines)

    def _told(self) -> str:
        """What was compared on, in words."""
        return told_batches(self.batches)

    def _summary_of_shapes(self) -> Iterator[str]:
        if self.masks:
            yield (
                f"{counted(self.masks, 'mask agrees', 'masks agree')}, but for {self.mask_pixels} pixels;"
                f" probabilities within {self.max_mask_probability_difference:.2g}"
            )
        if self.keypoints:
            yield (
                f"{counted(self.keypoints, 'keypoint agrees', 'keypoints agree')}, within"
                f" {self.max_keypoint_difference:.2g} px;"
                f" {self.keypoint_close_calls} elsewhere, where the model's map is as high"
            )

    def to_dict(self) -> JsonObject:
        return asdict(self) | {"pictures": self.pictures, "passed": self.passed}


def check_parity(report: ParityReport) -> None:
    """Raises ParityError unless something was compared and all of it agreed.

    >>> report = ParityReport(min_score=0.2, detections=7)
    >>> check_parity(report)
    >>> report.unmatched.append("only the file found a dog")
    >>> check_parity(report)  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    pagoda.exporting.parity.ParityError: the exported file disagrees with the model, so it was not kept...
    """
    if report.unmatched:
        raise ParityError(
            f"the exported file disagrees with the model, so it was not kept\n{report.summary()}", report
        )
    if not report.passed:
        raise ParityError(
            "neither the model nor the exported file found anything, so nothing was compared and nothing is"
            f" proven; hand over pictures=[…] of the kind the model knows\n{report.summary()}",
            report,
        )


def verify(
    path: str | Path,
    model: Detector,
    pictures: Sequence[Picture] | None = None,
    *,
    tolerance: Tolerance = SINGLE,
    size: tuple[int, int] | None = None,
    ending: str = "",
) -> ParityReport:
    """Run the exported file at `path` and `model` side by side on pictures of several sizes and batch sizes.

    `pictures` as for `export_onnx`; `size` where the file takes one (height, width) only, a picture a batch;
    `ending` as for `engines.open_engine`. The report says what agreed; nothing is raised for a difference.
    """
    limits = json.loads(open_engine(path, ending=ending).metadata["postprocess"])
    batches = list(parity_batches(model.input_spec, pictures or (), size, largest=model.fixed_size))
    for min_score in (limits["min_score"], 0.0):
        select = replace(model.postprocess, **{**limits, "min_score": min_score})
        report = ParityReport(tolerance=tolerance, min_score=min_score)
        _compare_all(report, open_engine(path, min_score=min_score, ending=ending), model, select, batches)
        if report.unmatched or report.detections >= report.pictures:
            break
    return report


def _compare_all(
    report: ParityReport, engine: Engine, model: Detector, select: Select, batches: Sequence[Tensor]
) -> None:
    """Fill `report` with the comparison of every picture."""
    model = evaluating(model)
    for pixels in batches:
        report.batches.append((pixels.shape[0], pixels.shape[2], pixels.shape[3]))
        found = engine(pixels)
        device = next(model.parameters()).device
        images = model.input_spec.batch(list(pixels), device=device)
        with (
            torch.inference_mode(),
            PyramidWatch(model) if model.exports_appearance else nullcontext() as watch,
        ):
            expected = model.detect(images, postprocess=select)
            if watch is not None:
                expected = _with_looks(expected, watch)
        for index, theirs in enumerate(expected):
            ours = _of_one_image({name: values[index] for name, values in found.items()}, theirs)
            one = ImageBatch(images.pixels[index : index + 1], images.sizes[index : index + 1])
            theirs = theirs.to("cpu")
            rows, columns = compare(report, ours, theirs, select, Candidacy(model, one, select))
            if model.exports_appearance:
                _compare_looks(report, ours[rows], theirs[columns])
            if isinstance(select, SelectRoIs):
                ShapeComparison(model, one, select, report)(ours[rows], theirs[columns])


def _with_looks(found: Sequence[Detections], watch: PyramidWatch) -> list[Detections]:
    looks = watch.appearance(torch.cat([each.boxes for each in found]), image_index_of(found))
    parts = looks.split([len(each) for each in found])
    return [replace(each, appearance=part) for each, part in zip(found, parts, strict=True)]


def _compare_looks(report: ParityReport, ours: Detections, theirs: Detections) -> None:
    """Of objects that are the same; their boxes may lie apart as far as `report.tolerance` says."""
    assert ours.appearance is not None and theirs.appearance is not None
    for row, apart in enumerate((1 - (ours.appearance * theirs.appearance).sum(1)).tolist()):
        report.max_appearance_difference = max(report.max_appearance_difference, apart)
        if apart > max(APPEARANCE_TOLERANCE, report.tolerance.score):
            report.unmatched.append(
                f"appearance of {ours.names[row]} {ours.scores[row]:.4f} differs: 1 - cosine is {apart:.2g}"
            )


def _of_one_image(outputs: dict[str, Tensor], theirs: Detections) -> Detections:
    """The file's objects in one picture, where the model has found `theirs`."""
    real = outputs["labels"] >= 0
    boxes, scores, labels = (outputs[name][real] for name in ("boxes", "scores", "labels"))
    return with_shapes(Detections(boxes, scores, labels, theirs.image_size, theirs.label_map), outputs, real)


class Candidacy:
    """All that the model considered in one picture, worked out when first asked for."""

    def __init__(self, model: Detector, image: ImageBatch, select: Select) -> None:
        self.model, self.image, self.select = model, image, select

    def includes(self, report: ParityReport, box: Tensor, score: Tensor, label: Tensor) -> bool:
        """Whether the model has such a pair of box and class at all."""
        return len(self._pairs_like(report, box, score, label).scores) > 0

    def is_last(self, report: ParityReport, box: Tensor, score: Tensor, label: Tensor) -> bool:
        """Whether it is no better than the last that `max_candidates` admits: of equals any may be taken."""
        if self.select.max_candidates is None:
            return False
        taken = self._candidates(self.select, self.outputs)
        group_of_taken = self.select.rivals(self.outputs, taken.places)
        ranks = self._ranks(taken)
        pairs = self._pairs_like(report, box, score, label)
        groups = self.select.rivals(self.considered, pairs.places)
        for group, rank in zip(groups, self._ranks(pairs), strict=True):
            rivals = ranks[(group_of_taken == group) & (taken.scores > 0)]
            is_full = len(rivals) >= self.select.max_candidates
            if is_full and rank <= rivals.min() + report.tolerance.score:
                return True
        return False

    def hangs_by_its_region(self, report: ParityReport, box: Tensor, score: Tensor, label: Tensor) -> bool:
        """Whether rounding decides if the first of two stages proposes the region that it is seen in."""
        if not isinstance(self.model, TwoStageDetector) or self.model.sees_clips:
            return False
        pairs, regions = self._pairs_like(report, box, score, label), self.considered.proposals
        rows, by = pairs.places.to(regions.boxes.device) // len(self.model.label_map), report.tolerance
        return self.model.proposals.inference.hangs_by(rows, regions, score=by.score, iou=by.iou)

    @cached_property
    def outputs(self) -> DenseOutputs | RoIOutputs | TubeOutputs:
        with torch.inference_mode():
            return self.model(self.image)

    @cached_property
    def considered(self) -> DenseOutputs | RoIOutputs | TubeOutputs:
        """As `outputs`; of two stages with regions that the first one might have proposed as well, suppressed ones and
        some beyond the last."""
        if not isinstance(self.model, TwoStageDetector):
            return self.outputs
        rules = self.model.proposals
        most = rules.inference.max_candidates + max(10, rules.inference.max_candidates // 10)
        every = replace(
            rules.inference,
            max_candidates=most,
            max_iou=1.0,
            max_per_level=None,
            max_proposals=len(self.model.levels) * most,
        )
        twin = copy(self.model)
        twin.proposals = replace(rules, inference=every)
        with torch.inference_mode():
            return twin(self.image)

    @cached_property
    def all(self) -> Candidates:
        return self._candidates(replace(self.select, max_candidates=None), self.considered)

    def _candidates(self, select: Select, outputs: DenseOutputs | RoIOutputs | TubeOutputs) -> Candidates:
        with torch.inference_mode():
            found = select.candidates(outputs, self.image.sizes, self.model.decode)
        return Candidates(*(part[0].cpu() for part in found))

    def _ranks(self, pairs: Candidates) -> Tensor:
        """The numbers by which `max_candidates` are chosen, the largest first."""
        return self.select.ranks(pairs, self.outputs.class_logits[0].cpu())

    def _pairs_like(self, report: ParityReport, box: Tensor, score: Tensor, label: Tensor) -> Candidates:
        """All that the model considered and that equal the given one."""
        near = (self.all.boxes - box).abs().flatten(1).amax(1) <= report.tolerance.box
        alike = (self.all.scores - score).abs() <= report.tolerance.score
        return take(self.all, near & alike & (self.all.labels == label))


def compare(
    report: ParityReport, ours: Found, theirs: Found, select: Select, candidacy: Candidacy
) -> tuple[Tensor, Tensor]:
    """Pair the detections of one picture, or the tubes of one clip, and judge what is left over. `ours` are the file's.

    Returns rows of ours and of theirs that are the same object.
    """
    box_difference = (ours.boxes[:, None] - theirs.boxes[None]).abs().flatten(2).amax(-1)
    score_difference = (ours.scores[:, None] - theirs.scores[None]).abs()
    same = (box_difference <= report.tolerance.box) & (score_difference <= report.tolerance.score)
    same &= ours.labels[:, None] == theirs.labels[None]
    cost = torch.where(same, score_difference + box_difference / 1000, 1e6).numpy()
    rows, columns = map(torch.from_numpy, linear_sum_assignment(cost))
    paired = same[rows, columns]
    rows, columns = rows[paired], columns[paired]
    report.detections += len(rows)
    if len(rows):
        worst_box, worst_score = (d[rows, columns].max().item() for d in (box_difference, score_difference))
        report.max_box_difference = max(report.max_box_difference, worst_box)
        report.max_score_difference = max(report.max_score_difference, worst_score)
    only_ours = torch.ones(len(ours), dtype=torch.bool).index_fill(0, rows, False)
    only_theirs = torch.ones(len(theirs), dtype=torch.bool).index_fill(0, columns, False)
    for side, has, here, lacks, there in (
        ("file", ours, only_ours, theirs, only_theirs),
        ("model", theirs, only_theirs, ours, only_ours),
    ):
        for index in here.nonzero().flatten().tolist():
            pair = has.boxes[index], has.scores[index], has.labels[index]
            known = candidacy.includes(report, *pair)
            if known and (
                _is_close_call(report, has[[index]], lacks, there, select)
                or candidacy.is_last(report, *pair)
                or candidacy.hangs_by_its_region(report, *pair)
            ):
                report.close_calls += 1
            else:
                report.unmatched.append(describe(side, has[[index]], lacks, known))
    return rows, columns


def _is_close_call(report: ParityReport, one: Found, others: Found, unpaired: Tensor, select: Select) -> bool:
    """Could rounding alone have kept `one` out of `others`, of which `unpaired` were found there only?"""
    score = one.scores.item()
    if score <= select.min_score + report.tolerance.score:
        return True
    if len(others) == select.max_detections and score <= others.scores[-1].item() + report.tolerance.score:
        return True
    overlaps = tube_iou if one.boxes.ndim == 3 else pairwise_iou
    overlap = overlaps(one.boxes, others.boxes, inclusive=select.inclusive)[0]
    at_limit = (overlap - select.max_iou).abs() <= report.tolerance.iou
    # Whether two slivers in one place overlap at all is a matter of rounding.
    if (one.boxes[..., 2:] - one.boxes[..., :2]).amin() <= report.tolerance.box:
        at_limit |= (one.boxes - others.boxes).abs().flatten(1).amax(1) <= report.tolerance.box
    # A box that only the others kept, whose own verdict was close, suppresses in turn.
    replaced = unpaired & (overlap > select.max_iou - report.tolerance.iou)
    rival = (others.labels == one.labels) & (others.scores >= score - report.tolerance.score)
    return bool((rival & (at_limit | replaced)).any())


def describe(side: str, one: Found, others: Found, is_candidate: bool) -> str:
    """One line about a detection that only `side` found; of a tube, where it is in the frame the clip is about."""
    if isinstance(one, Tubes) and isinstance(others, Tubes):
        return describe(side, one.at(one.key), others.at(others.key), is_candidate)
    assert isinstance(one, Detections) and isinstance(others, Detections)
    box = [round(value, 2) for value in one.boxes[0].tolist()]
    text = f"only the {side} found {one.names[0]} {one.scores.item():.4f} at {box} in {one.image_size}"
    same = others[others.labels == one.labels]
    if len(same):
        nearest, best = (same.boxes - one.boxes).abs().amax(1).min(0)
        text += f"; nearest on the other side {nearest:.2g} px away, score {same.scores[best]:.4f}"
    return text if is_candidate else f"{text}; the model considered no such box"
