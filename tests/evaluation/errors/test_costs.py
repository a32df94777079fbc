"""What errors cost: each kind as its edits by hand, all of them together everything that is missing."""

import numpy as np
import pytest
from invented import LABELS, invent

from pagoda.evaluation.coco.evaluator import DetectionEvaluator
from pagoda.evaluation.errors.costs import BOX_ACCURACY, costs_of, error_costs
from pagoda.evaluation.errors.kinds import error_kinds
from pagoda.evaluation.errors.mending import Edits, mended_ap


def evaluator_of(truth, results, **options):
    evaluator = DetectionEvaluator(truth, LABELS, **options)
    evaluator.update_results(results)
    return evaluator


@pytest.mark.parametrize("task", ["bbox", "segm", "keypoints"])
@pytest.mark.parametrize("seed", range(4))
def test_everything_mended_leaves_nothing_to_wish_for(task, seed):
    truth, results = invent(seed, 30)
    costs = error_costs(evaluator_of(truth, results), task)
    assert costs.mended_ap == 1 and costs.untold_missed == costs.untold_wrong == 0
    assert 0 < costs.ap < 0.9
    assert costs.overlap == pytest.approx(sum(each.ap for each in costs.kinds) - (1 - costs.ap), abs=1e-12)
    assert [each.ap for each in costs.kinds] == sorted((each.ap for each in costs.kinds), reverse=True)
    by_kind = {(each.kind, each.is_miss): each for each in costs.kinds}
    assert by_kind[BOX_ACCURACY, False].ap > 0 and by_kind["background", False].ap >= 0
    assert f"{100 * (1 - costs.ap):.1f} points are missing" in costs.words()


def test_a_kind_is_what_its_edits_are():
    truth, results = invent(9, 40)
    evaluator = evaluator_of(truth, results)
    kinds = error_kinds(evaluator)
    costs = {(each.kind, each.is_miss): each for each in error_costs(evaluator).kinds}
    as_is = mended_ap(evaluator, Edits())
    for is_miss, rows in ((True, kinds.missed()), (False, kinds.wrong())):
        for name, mine in rows.items():
            edits = Edits(added=mine) if is_miss else Edits(forgiven=mine)
            after, cost = mended_ap(evaluator, edits), costs[name, is_miss]
            assert cost.count == len(mine)
            assert cost.ap == pytest.approx(after.ap - as_is.ap, abs=1e-12)
            for part in ("per_class", "per_size"):
                assert getattr(cost, part) == pytest.approx(
                    {key: value - getattr(as_is, part)[key] for key, value in getattr(after, part).items()}
                )
    assert set(costs["duplicate", False].per_class) == {"cat", "dog"}
    assert set(costs["duplicate", False].per_size) == {"small", "medium", "large"}


def test_what_was_missed_by_somebody_who_looked_at_fewer_scores():
    """The evaluator has found it, by a weak detection: what is added stands in its place, and everything is mended."""
    truth, results = invent(2, 30)
    evaluator = evaluator_of(truth, results)
    kinds = error_kinds(evaluator, min_scores=np.full(2, 0.5))
    all_kinds = error_kinds(evaluator)
    costs = costs_of(evaluator, kinds.missed(), all_kinds.wrong())
    assert sum(map(len, kinds.missed().values())) > sum(map(len, all_kinds.missed().values()))
    assert costs.mended_ap == 1


def test_what_is_of_no_kind_is_told():
    truth, results = invent(2, 30)
    evaluator = evaluator_of(truth, results)
    kinds = error_kinds(evaluator)
    missed, wrong = kinds.missed(), kinds.wrong()
    left = len(missed.pop("nothing there")), len(wrong.pop("background"))
    costs = costs_of(evaluator, missed, wrong)
    assert (costs.untold_missed, costs.untold_wrong) == left and costs.mended_ap < 1
    assert costs_of(evaluator, {}, {}).kinds[0].kind == BOX_ACCURACY


def test_rows_that_do_not_fit():
    truth, results = invent(2, 10)
    evaluator = evaluator_of(truth, results)
    kinds = error_kinds(evaluator)
    missed = kinds.missed()["nothing there"]
    right = int(np.flatnonzero(kinds.verdicts == 1)[0])
    crowd = next(place for place, each in enumerate(truth["annotations"]) if each["iscrowd"])
    for misses, wrong, told in (
        ({"a": missed, "b": missed[:1]}, {}, "annotation .* is named twice"),
        ({}, {"a": [0], "b": [0]}, "detection 0 is named twice"),
        ({}, {"a": [right]}, f"detection {right} is right at an overlap of .5"),
        ({"a": [crowd]}, {}, "can be neither found nor missed"),
        ({}, {"a": [9999]}, "an edit names detection 9999"),
    ):
        with pytest.raises(ValueError, match=told):
            costs_of(evaluator, misses, wrong)


def test_no_objects_and_no_detections():
    truth, results = invent(2, 10)
    costs = error_costs(evaluator_of({**truth, "annotations": []}, results))
    assert np.isnan(costs.ap) and costs.words() == "no objects: nothing can be missing"
    assert all(each.per_class == each.per_size == {} for each in costs.kinds)
    costs = error_costs(evaluator_of(truth, []))
    assert costs.ap == 0 and costs.mended_ap == 1 and costs.kinds[0].kind == "nothing there"
    assert costs.kinds[0].ap == 1 and costs.overlap == 0
