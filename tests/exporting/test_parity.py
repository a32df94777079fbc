"""The judge is judged: what counts as equal, what rounding excuses, what is a fault."""

import sys
from copy import copy
from pathlib import Path

import pytest
import torch
from torch import tensor

from pagoda.exporting.parity import HALF as HALF_PRECISION
from pagoda.exporting.parity import Candidacy, ParityReport, Tolerance, check_parity, compare
from pagoda.exporting.parity_pictures import drawn_batches
from pagoda.postprocess.dense import SelectDetections
from pagoda.postprocess.proposals import ProposalRules, SelectProposals
from pagoda.structures.images import ImageBatch
from pagoda.structures.instances import Detections
from pagoda.structures.labels import LabelMap
from pagoda.structures.outputs import DenseOutputs

sys.path.insert(0, str(Path(__file__).parent))
from small import two_levels_and_all_heads

SELECT = SelectDetections(min_score=0.1, max_iou=0.5, max_detections=4)
BOX, FAR = [10.0, 10, 30, 30], [60.0, 60, 90, 90]
HALF = [10.0, 10, 30, 50]  # IoU .5 with BOX: on the limit
MOST = [10.0, 10, 30, 32]  # IoU .91 with BOX
SLIVER = [65.0, 0.14, 65, 49]


class Considered:
    """Stands for the model's candidates: all boxes, or those of the given detections; of the scores `hanging` the first
    stage might have proposed another region."""

    def __init__(self, known: Detections | None, hanging: tuple[float, ...] = ()) -> None:
        self.known, self.hanging = known, hanging

    def includes(self, report, box, score, label) -> bool:
        if self.known is None:
            return True
        rows = zip(
            self.known.boxes.tolist(), self.known.scores.tolist(), self.known.labels.tolist(), strict=True
        )
        return (box.tolist(), score.item(), label.item()) in rows

    def is_last(self, report, box, score, label) -> bool:
        return False

    def hangs_by_its_region(self, report, box, score, label) -> bool:
        return any(abs(score.item() - each) < 1e-6 for each in self.hanging)


def found(*rows: tuple[list[float], float, int]) -> Detections:
    boxes, scores, labels = zip(*rows, strict=True) if rows else ([], [], [])
    return Detections(
        tensor(boxes).reshape(-1, 4), tensor(scores), tensor(labels).long(), (100, 100), LabelMap.numbered(3)
    )


def judged(ours: Detections, theirs: Detections, *, known: Detections | None = None) -> ParityReport:
    report = ParityReport(min_score=0.1)
    compare(report, ours, theirs, SELECT, Considered(known))
    return report


def test_order_of_near_ties_is_irrelevant_and_differences_are_measured():
    report = judged(
        found((BOX, 0.9, 0), (FAR, 0.89999, 1)),
        found(([60.0, 60, 90, 90.04], 0.9, 1), (BOX, 0.9, 0)),
    )
    assert report.detections == 2 and report.passed
    assert report.max_box_difference == pytest.approx(0.04, abs=1e-5)
    assert report.max_score_difference == pytest.approx(1e-5, abs=1e-7)


FAULTS = {
    "box beyond tolerance": (found((BOX, 0.9, 0)), found(([10.0, 10, 30, 30.1], 0.9, 0))),
    "score beyond tolerance": (found((BOX, 0.9, 0)), found((BOX, 0.8, 0))),
    "another class": (found((BOX, 0.9, 0)), found((BOX, 0.9, 1))),
    "found by the file alone": (found((BOX, 0.9, 0), (FAR, 0.5, 0)), found((BOX, 0.9, 0))),
    "missed by the file": (found(), found((FAR, 0.5, 0))),
    "found twice": (found((BOX, 0.9, 0), (BOX, 0.9, 0)), found((BOX, 0.9, 0))),
    "half overlap, but of another class": (found((BOX, 0.9, 0), (HALF, 0.5, 1)), found((BOX, 0.9, 0))),
}


@pytest.mark.parametrize("case", FAULTS)
def test_faults(case):
    ours, theirs = FAULTS[case]
    report = judged(ours, theirs, known=theirs)
    assert report.unmatched and not report.passed


FULL = [(FAR, 0.9, 0), (BOX, 0.8, 1), (BOX, 0.7, 2), (FAR, 0.6, 2)]
CLOSE_CALLS = {
    "at the threshold": (found((FAR, 0.9, 0), (BOX, 0.10005, 0)), found((FAR, 0.9, 0))),
    "overlap at the limit": (found((BOX, 0.9, 0), (HALF, 0.5, 0)), found((BOX, 0.9, 0))),
    "a sliver overlaps nothing, not even itself": (
        found((SLIVER, 0.9, 0), ([65.0, 0.1, 65, 49], 0.5, 0)),
        found((SLIVER, 0.9, 0)),
    ),
    "last of a full list": (found(*FULL), found(*FULL[:3], (BOX, 0.60005, 0))),
    "two near-equal boxes, each side kept its own": (
        found((FAR, 0.9, 1), (BOX, 0.80001, 0)),
        found((FAR, 0.9, 1), (MOST, 0.8, 0)),
    ),
}


@pytest.mark.parametrize("case", CLOSE_CALLS)
def test_close_calls_are_accepted_and_counted(case):
    report = judged(*CLOSE_CALLS[case])
    assert report.passed and report.close_calls >= 1
    assert f"{report.close_calls} close calls" in report.summary()


@pytest.mark.parametrize("case", CLOSE_CALLS)
def test_nothing_excuses_a_box_the_model_never_considered(case):
    report = judged(*CLOSE_CALLS[case], known=found())
    assert not report.passed and "considered no such box" in report.unmatched[0]


def test_a_region_that_either_side_might_propose_is_a_close_call():
    report = ParityReport(min_score=0.1)
    compare(
        report,
        found((FAR, 0.9, 0)),
        found((FAR, 0.9, 0), (BOX, 0.7, 0), (BOX, 0.5, 1)),
        SELECT,
        Considered(None, (0.7,)),
    )
    assert report.close_calls == 1 and len(report.unmatched) == 1 and "class_1 0.5000" in report.unmatched[0]


class EqualScores:
    """Eight cells of one class in two levels, boxes that do not meet: .9, then .8 for the rest of its level."""

    def __call__(self, images):
        scores = tensor([0.9, 0.8, 0.8, 0.8, 0.8, 0.8, 0.3, 0.2])
        return DenseOutputs(
            scores.logit()[None, :, None],
            torch.zeros(1, 8, 4),
            None,
            (tensor([[10.0 * x, 10.0] for x in range(1, 7)]), tensor([[10.0 * x, 50.0] for x in (1, 2)])),
        )

    def decode(self, encoded, points):
        return torch.cat([points - 4, points + 4], dim=-1).expand(len(encoded), -1, -1)


def cell(x: int, score: float, y: int = 10) -> tuple[list[float], float, int]:
    return [10.0 * x - 4, y - 4.0, 10.0 * x + 4, y + 4.0], score, 0


@pytest.mark.parametrize("rank_on", ["score", "class"])
def test_of_equals_at_the_last_place_either_may_be_taken(rank_on):
    """Three of six cells of a level are candidates: the best, and any two of the five that are equal."""
    select = SelectDetections(min_score=0.1, max_candidates=3, max_detections=9, rank_on=rank_on)
    image = ImageBatch(torch.zeros(1, 3, 100, 100), tensor([[100, 100]]))

    def judge(ours, theirs):
        report = ParityReport(min_score=0.1)
        compare(report, ours, theirs, select, Candidacy(EqualScores(), image, select))
        return report

    theirs = found(cell(1, 0.9), cell(2, 0.8), cell(3, 0.8))
    report = judge(found(cell(1, 0.9), cell(5, 0.8), cell(6, 0.8)), theirs)
    assert report.passed and report.close_calls == 4
    # The best of the level has a place of its own, a level that is not full admits all, and .7 nobody has.
    for fault in (
        found(cell(2, 0.8), cell(3, 0.8)),
        found(*CELLS, cell(1, 0.3, 50)),
        found(*CELLS, cell(4, 0.7)),
    ):
        assert judge(fault, theirs).unmatched


CELLS = (cell(1, 0.9), cell(2, 0.8), cell(3, 0.8))


def test_what_the_model_considered_is_told_from_what_it_did_not():
    image = ImageBatch(torch.zeros(1, 3, 100, 100), tensor([[100, 100]]))
    candidacy, report = Candidacy(EqualScores(), image, SELECT), ParityReport(min_score=0.1)

    def known(*row) -> bool:
        (box,), (score,), (label,) = (getattr(found(row), name) for name in ("boxes", "scores", "labels"))
        return candidacy.includes(report, box, score, label)

    assert known(*cell(4, 0.8)) and known(*cell(1, 0.3, 50))
    assert not (known(*cell(4, 0.7)) or known(*cell(7, 0.8)) or known(BOX, 0.8, 0))


def test_of_two_stages_regions_that_might_have_been_proposed_are_considered_too():
    """The last place among proposals, and suppression of proposals, are verdicts that rounding can turn as well."""
    model = two_levels_and_all_heads()

    def proposing(count: int, max_iou: float):
        other = copy(model)
        other.proposals = ProposalRules(inference=SelectProposals(max_proposals=count, max_iou=max_iou))
        return other

    images = model.input_spec.batch([next(drawn_batches(100))[0]])
    select, report = model.postprocess, ParityReport(min_score=0.05)
    candidacy, blind = Candidacy(proposing(20, 0.7), images, select), Candidacy(EqualScores(), images, SELECT)
    (others,) = proposing(200, 0.8).detect(images)
    (few,) = proposing(20, 0.7).detect(images)
    rows = list(zip(others.boxes, others.scores, others.labels, strict=True))
    assert len(rows) > len(few) > 5 and all(candidacy.includes(report, *row) for row in rows)
    assert not any(blind.includes(report, *row) for row in rows)


def test_what_hangs_by_its_region_is_told_from_what_does_not():
    """With half precision's tolerance the regions of a detector that has learnt nothing are much alike; with no
    tolerance none of them is."""
    model = two_levels_and_all_heads()
    images = model.input_spec.batch([next(drawn_batches(100))[0]])
    candidacy = Candidacy(model, images, model.postprocess)
    (found_here,) = model.detect(images)
    rows = list(zip(found_here.boxes, found_here.scores, found_here.labels, strict=True))
    exact = ParityReport(min_score=0.05, tolerance=Tolerance(score=0.0, iou=0.0))
    half = ParityReport(min_score=0.05, tolerance=HALF_PRECISION)
    assert not any(candidacy.hangs_by_its_region(exact, *row) for row in rows)
    assert any(candidacy.hangs_by_its_region(half, *row) for row in rows)
    blind = Candidacy(EqualScores(), images, SELECT)  # one stage, which proposes nothing
    assert not blind.hangs_by_its_region(half, *rows[0])


def test_a_fault_names_side_class_score_and_nearest():
    (message,) = judged(found((BOX, 0.9, 0)), found((BOX, 0.9, 0), (MOST, 0.5, 0))).unmatched
    assert message == (
        "only the model found class_0 0.5000 at [10.0, 10.0, 30.0, 32.0] in (100, 100);"
        " nearest on the other side 2 px away, score 0.9000"
    )


def test_empty_comparison_does_not_pass():
    report = judged(found(), found())
    assert not report.passed
    with pytest.raises(RuntimeError, match="nothing was compared"):
        check_parity(report)


def test_drawn_pictures_are_eight_and_always_the_same():
    first, again = list(drawn_batches(100)), list(drawn_batches(100))
    assert sum(len(batch) for batch in first) == 8
    assert all((a == b).all() for a, b in zip(first, again, strict=True))
    assert len({batch.shape[2:] for batch in first}) == 4
