"""Edited detections score as the same results edited by hand do for pycocotools."""

import numpy as np
import pytest
from invented import LABELS, areas, invent, scored

from pagoda.evaluation.coco.evaluator import DetectionEvaluator
from pagoda.evaluation.errors.mending import Edits, Oracle, mended_ap

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # pycocotools
TASKS = ("bbox", "segm", "keypoints")
SHAPES = ("bbox", "segmentation", "keypoints")


def evaluator_of(truth, results, **options):
    evaluator = DetectionEvaluator(truth, LABELS, **options)
    evaluator.update_results(results)
    return evaluator


def by_hand(truth, results, edits):
    """The results as somebody would edit the file."""
    rows = [dict(row) for row in results]
    for found, onto in edits.moved.tolist():
        rows[found] |= {key: truth["annotations"][onto][key] for key in SHAPES}
    for found, category in edits.renamed.tolist():
        rows[found]["category_id"] = LABELS.category_ids[category]
    rows = [row for place, row in enumerate(rows) if place not in set(edits.dropped.tolist())]
    for onto, score in zip(edits.added.tolist(), edits.added_scores.tolist(), strict=True):
        annotation = truth["annotations"][onto]
        keys = ("image_id", "category_id", *SHAPES)
        rows.append({**{key: annotation[key] for key in keys}, "score": score})
    return rows


def check(mended, table):
    """`table`: pycocotools' (T, classes, S), of which keypoints have no small."""
    sizes = ("small", "medium", "large")[-len(mended.per_size) :]
    expected = {"ap": table[..., 0], "ap50": table[0, :, 0], "ap75": table[5, :, 0]}
    expected |= {size: table[..., 1 + place] for place, size in enumerate(sizes)}
    expected |= {name: table[:, place, 0] for place, name in enumerate(LABELS.names)}
    found = {"ap": mended.ap, "ap50": mended.ap50, "ap75": mended.ap75, **mended.per_size, **mended.per_class}
    assert set(found) == set(expected)
    for name, values in expected.items():
        known = values[~np.isnan(values)]
        np.testing.assert_allclose(
            found[name], known.mean() if known.size else np.nan, rtol=0, atol=1e-9, err_msg=name
        )


def some_edits(truth, results, task, seed):
    """Of every kind, at once: drawn anywhere, also among equal scores and what lies on crowds."""
    random = np.random.default_rng(seed)
    counts = ~np.array([each["iscrowd"] for each in truth["annotations"]], bool)
    if task == "keypoints":
        counts &= np.array([any(each["keypoints"]) for each in truth["annotations"]])
    rows = random.permutation(len(results))
    dropped, moving, renamed = rows[:10], rows[10:25], rows[20:30]
    moved = []
    for row in moving.tolist():
        here = [
            place
            for place, each in enumerate(truth["annotations"])
            if counts[place] and each["image_id"] == results[row]["image_id"]
        ]
        moved += [(row, int(random.choice(here)))] if here else []
    added = random.choice(np.flatnonzero(counts), 12, replace=False)
    scores = random.choice([0.3, 0.5, 1.0], 12)
    names = np.column_stack([renamed, random.integers(0, 2, len(renamed))])
    return Edits(dropped=dropped, moved=moved, renamed=names, added=added, added_scores=scores)


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("seed", range(5))
def test_edits_score_as_results_edited_by_hand(task, seed):
    truth, results = invent(seed, 20)
    edits = some_edits(truth, results, task, seed)
    oracle = Oracle(evaluator_of(truth, results), task)
    check(oracle.score(), areas(scored(truth, results, task)))
    expected = areas(scored(truth, by_hand(truth, results, edits), task))
    check(oracle.score(edits), expected)
    assert not np.allclose(np.nan_to_num(expected), np.nan_to_num(areas(scored(truth, results, task))))
    check(oracle.score(), areas(scored(truth, results, task)))


def test_edits_beside_a_limit_of_detections():
    truth, results = invent(3, 20)
    many = [{**row, "score": row["score"] / 2} for row in results for _ in range(3)]
    edits = some_edits(truth, many, "bbox", 3)
    found = mended_ap(evaluator_of(truth, many, max_detections=2), edits)
    scoring = scored(truth, by_hand(truth, many, edits), "bbox", max_dets=[1, 2])
    check(found, areas(scoring))


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("seed", range(2))
def test_what_is_forgiven_is_dropped_wherever_it_finds_nothing(task, seed):
    """By hand: for each overlap and range of sizes alone, without those rows that pycocotools matches to nothing."""
    truth, results = invent(seed, 12)
    forgiven = np.random.default_rng(seed).permutation(len(results))[: len(results) // 3]
    scoring = scored(truth, results, task)
    table = areas(scoring).copy()
    num_images, num_sizes = len(truth["images"]), table.shape[2]
    for size in range(num_sizes):
        for overlap in range(10):
            found = [
                each
                for place, each in enumerate(scoring.evalImgs)
                if each is not None and place // num_images % num_sizes == size
            ]
            matched = {
                row
                for each in found
                for row, to in zip(each["dtIds"], each["dtMatches"][overlap], strict=True)
                if to
            }
            gone = {row for row in forgiven.tolist() if row + 1 not in matched}
            kept = [row for place, row in enumerate(results) if place not in gone]
            table[overlap, :, size] = areas(scored(truth, kept, task))[overlap, :, size]
    check(Oracle(evaluator_of(truth, results), task).score(Edits(forgiven=forgiven)), table)


def test_forgiving_and_changing_at_once():
    truth, results = invent(5, 20)
    edits = some_edits(truth, results, "bbox", 5)
    oracle = Oracle(evaluator_of(truth, results))
    with_rows = Edits(
        **{name: getattr(edits, name) for name in ("dropped", "moved", "renamed", "added", "added_scores")},
        forgiven=range(len(results)),
    )
    changed, forgiving = oracle.score(edits), oracle.score(with_rows)
    assert forgiving.ap > changed.ap
    nothing_wrong = oracle.score(Edits(forgiven=range(len(results))))
    assert nothing_wrong.ap > oracle.score().ap


def test_nothing_edited_is_what_val_prints():
    truth, results = invent(4, 15)
    evaluator = evaluator_of(truth, results)
    metrics = evaluator.result().metrics
    for found in (mended_ap(evaluator, Edits()), Oracle(evaluator).score()):
        np.testing.assert_allclose(
            [found.ap, found.ap50, found.ap75, *found.per_size.values()],
            [metrics[name] for name in ("AP", "AP50", "AP75", "APs", "APm", "APl")],
            rtol=0,
            atol=1e-9,
        )


@pytest.mark.parametrize(
    ("edits", "told"),
    [
        ({"dropped": [999]}, "an edit names detection 999, but there are"),
        ({"forgiven": [-1]}, "an edit names detection -1"),
        ({"added": [999]}, "an edit names annotation 999"),
        ({"renamed": [(0, 2)]}, "an edit names class 2, but there are 2, counted from 0"),
        ({"dropped": [0.5]}, "dropped must be "),
        ({"dropped": np.array([0.5])}, "dropped must be whole numbers, got float64 of shape \\(1,\\)"),
        ({"dropped": np.array([True])}, "dropped must be whole numbers, got bool"),
        ({"moved": [3, 4]}, "moved must be "),
        ({"moved": np.array([3, 4])}, "moved must be pairs of whole numbers, got int64 of shape \\(2,\\)"),
        ({"moved": [(0, 1), (0, 2)]}, "a detection is moved twice"),
        ({"added": [0, 1], "added_scores": [1, 2, 3]}, "one for each of the 2 detections added"),
        ({"added": [0], "added_scores": float("nan")}, "added_scores must be "),
        ({"dropped": [0], "renamed": [(0, 1)]}, "detection 0 cannot be dropped and changed at once"),
    ],
)
def test_edits_that_do_not_fit(edits, told):
    truth, results = invent(0, 8)
    with pytest.raises(ValueError, match=told):
        mended_ap(evaluator_of(truth, results), Edits(**edits))


def test_crowds_other_pictures_and_shapes_that_are_not_there():
    truth, results = invent(0, 12)
    crowd = next(place for place, each in enumerate(truth["annotations"]) if each["iscrowd"])
    other = next(
        place
        for place, each in enumerate(truth["annotations"])
        if not each["iscrowd"] and each["image_id"] != results[0]["image_id"]
    )
    oracle = Oracle(evaluator_of(truth, results))
    with pytest.raises(ValueError, match=f"annotation {crowd} .* can be neither found nor missed by 'bbox'"):
        oracle.score(Edits(added=[crowd]))
    with pytest.raises(ValueError, match=f"detection 0 cannot move to annotation {other}: .* two pictures"):
        oracle.score(Edits(moved=[(0, other)]))
    boxes = [{key: row[key] for key in ("image_id", "category_id", "bbox", "score")} for row in results]
    with pytest.raises(ValueError, match="cannot be scored by 'segm': they have no masks"):
        Oracle(evaluator_of(truth, boxes), "segm")
    with pytest.raises(ValueError, match="task must be one of"):
        Oracle(evaluator_of(truth, boxes), "mask")


def test_nothing_found_at_all():
    truth, _ = invent(1, 6)
    evaluator = DetectionEvaluator(truth, LABELS)
    oracle = Oracle(evaluator)
    counts = [place for place, each in enumerate(truth["annotations"]) if not each["iscrowd"]]
    assert oracle.score().ap == 0 and oracle.score(Edits(added=counts)).ap == 1
