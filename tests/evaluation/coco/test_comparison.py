"""Two runs on the same pictures: the change of every part, how sure it is, and in which pictures it lies."""

import numpy as np
import pytest

from pagoda.evaluation.coco.comparison import compare_runs, error_changes
from pagoda.evaluation.coco.evaluator import DetectionEvaluator
from pagoda.evaluation.errors.kinds import kinds_of
from pagoda.structures.labels import LabelMap

LABELS = LabelMap.from_names(["cell", "plate"])


def world(seed, num_images, *skills):
    """Pictures of differing difficulty, and for each of `skills` what a detector finds that is as good."""
    random = np.random.default_rng(seed)
    annotations, found = [], [[] for _ in skills]
    for image in range(1, num_images + 1):
        difficulty = random.normal()
        for _ in range(random.poisson(5)):
            box = np.array([*random.uniform(0, 300, 2), *random.uniform(20, 80, 2)])
            own = {"image_id": image, "category_id": int(random.random() < 0.3) + 1}
            row = {**own, "bbox": box.tolist(), "area": float(box[2:].prod()), "iscrowd": 0}
            annotations.append({**row, "id": len(annotations) + 1})
            for rows, skill in zip(found, skills, strict=True):
                if random.random() < 1 / (1 + np.exp(0.7 * difficulty - skill)):
                    near = box + random.normal(size=4) * box[2:].min() * 0.06
                    rows.append({**own, "bbox": near.tolist(), "score": float(random.beta(4, 2))})
        for rows in found:
            for _ in range(random.poisson(2)):
                box = [*random.uniform(0, 300, 2), *random.uniform(20, 80, 2)]
                own = {"image_id": image, "category_id": int(random.random() < 0.3) + 1}
                rows.append({**own, "bbox": box, "score": float(random.beta(2, 3))})
    images = [{"id": image} for image in range(1, num_images + 1)]
    categories = [{"id": 1, "name": "cell"}, {"id": 2, "name": "plate"}]
    truth = {"images": images, "annotations": annotations, "categories": categories}
    return [evaluator(truth, rows) for rows in found]


def evaluator(truth, rows):
    made = DetectionEvaluator(truth, LABELS)
    made.update_results(rows)
    return made


def compared(first, second, **options):
    runs = ([each.matches() for each in side] for side in (first, second))
    return compare_runs(*runs, LABELS.names, **options)


def test_parts_are_those_that_val_prints():
    first, second = world(0, 30, 0.5, 1.5)
    parts = compared([first], [second], rounds=50).parts
    for name in ("AP", "AP50", "AP75", "APs", "APm", "APl"):
        for side, value in ((first, parts[name].other_ap), (second, parts[name].ap)):
            np.testing.assert_allclose(value, side.result().metrics[name], rtol=0, atol=1e-9)
    assert parts["AP of plate"].ap == pytest.approx(second.result().per_class["plate"]["AP"], abs=1e-9)


def test_much_better_is_told_in_words_and_by_picture():
    first, second = world(1, 150, -0.5, 2.5)
    found = compared([first], [second], rounds=300)
    ap = found.parts["AP"]
    assert 0.05 < ap.low < ap.difference < ap.high
    assert f"AP: the second is better by {100 * ap.difference:.1f} points" in found.table()
    assert (
        compared([second], [first], rounds=300).parts["AP"].verdict(150).startswith("the first is better by")
    )
    gains = [change.gain for change in found.pictures]
    assert gains == sorted(gains, reverse=True) and sum(gains) > 50
    assert found.to_dict()["num_images"] == 150


def test_hardly_better_says_how_many_pictures_would_tell():
    first, second = world(2, 60, 0.8, 0.9)
    told = compared([first], [second], rounds=300).parts["AP"].verdict(60)
    assert told.startswith("cannot be told: ") and "takes about" in told


def test_the_same_twice_changes_nothing():
    (only,) = world(3, 20, 0.5)
    found = compared([only], [only], rounds=20)
    assert all(each.low in (0, None) or np.isnan(each.low) for each in found.parts.values())
    assert found.pictures == [] and found.parts["AP"].verdict(20).endswith("(95 % interval +0.0 … +0.0)")


def test_seeds_widen_the_interval_where_they_differ():
    first, weak, strong = world(4, 80, 0.8, 0.2, 1.4)
    alone = compared([first], [strong], rounds=300).parts["AP"]
    both = compared([first], [weak, strong], rounds=300)
    assert both.parts["AP"].ap == pytest.approx(
        (weak.result().metrics["AP"] + strong.result().metrics["AP"]) / 2, abs=1e-9
    )
    widths = [each.high - each.low for each in (alone, both.parts["AP"])]
    assert (
        widths[1] > 1.5 * widths[0]
        and "runs: 1 and 2; the intervals cover other pictures and seeds" in both.table()
    )


def counts(made, min_scores=None):
    (run,) = made.matches().values()
    return kinds_of(run, made.state(), "bbox", min_scores=min_scores).counts(len(run.truth.image_ids))


def test_errors_change_with_the_skill():
    first, second, other = world(6, 150, -0.5, 2.5, 2.5)
    found = error_changes([counts(first)], [counts(second)], rounds=400)
    missed = found["missed: nothing there"]
    assert missed.first == counts(first)["missed: nothing there"].sum() and missed.verdict == "fewer"
    assert missed.low < missed.change < missed.high < 0
    assert found["wrong: background"].verdict == "cannot be told"
    same = error_changes([counts(first)], [counts(first)], rounds=50)
    assert all((each.low, each.change, each.high) == (0, 0, 0) for each in same.values())
    both = error_changes([counts(first)], [counts(second), counts(other)], rounds=400)
    mean = (counts(second)["missed: nothing there"].sum() + counts(other)["missed: nothing there"].sum()) / 2
    assert both["missed: nothing there"].second == mean
    assert both["missed: nothing there"].to_dict()["verdict"] == "fewer"


@pytest.mark.slow
@pytest.mark.parametrize("skills", [(0.8, 1.2), (0.8, 0.8)])
def test_intervals_of_errors_hold_the_truth(skills):
    """200 pairs on 100 pictures; the truth is the mean change of all pairs, which differ by chance alone."""
    changes = []
    for seed in range(200):
        sides = [counts(each) for each in world(5000 + seed, 100, *skills)]
        changes.append(error_changes([sides[0]], [sides[1]], rounds=300, seed=seed)["missed: nothing there"])
    truth = np.mean([each.change for each in changes])
    held = np.mean([each.low <= truth <= each.high for each in changes])
    assert 0.9 <= held <= 0.985
    assert skills[0] != skills[1] or np.mean([each.verdict != "cannot be told" for each in changes]) <= 0.09


def test_sides_without_a_run_are_refused():
    (only,) = world(5, 5, 0.5)
    with pytest.raises(ValueError, match="a comparison needs a run on both sides"):
        compared([], [only])


@pytest.mark.slow
@pytest.mark.parametrize(("skills", "change"), [((0.8, 1.1), 0.034), ((0.8, 0.8), 0.0)])
def test_intervals_hold_the_truth_as_often_as_they_say(skills, change):
    """400 pairs on 300 pictures each; `change` is that of three worlds of 20,000 pictures.

    Of 1,100 pairs without a gap, other seeds among them, 93.4 % of the intervals held 0; these 400 are among the worse.
    Verdicts are more careful than intervals: no more than one in twenty is false.
    """
    held = told = 0
    for seed in range(400):
        first, second = world(1000 + seed, 300, *skills)
        ap = compared([first], [second], rounds=400, seed=seed).parts["AP"]
        held += ap.low <= change <= ap.high
        told += not ap.verdict(300).startswith("cannot be told")
    assert 0.91 <= held / 400 <= 0.975
    assert told / 400 <= 0.05 or change
