"""Scores to cut at, confusions and calibration beside slow loops that know nothing of the code: over every score, over
pictures that stand several times, over every pair of boxes."""

import json
from collections import Counter, defaultdict

import numpy as np
import pytest

from pagoda.evaluation.coco.bootstrap import draw_samples
from pagoda.evaluation.coco.calibration import CALIBRATED_FROM, Reliability, temperature
from pagoda.evaluation.coco.evaluator import DetectionEvaluator
from pagoda.evaluation.coco.operating import OperatingOptions
from pagoda.evaluation.coco.thresholds import best_f1, thresholds
from pagoda.structures.labels import LabelMap

LABELS = LabelMap(("cat", "dog", "eel"), (2, 7, 9))


def invent(seed, num_images=14):
    """Objects, crowds among them, and results near them with equal scores, wrong classes and repetitions."""
    random = np.random.default_rng(seed)
    annotations, results = [], []
    for image in range(1, num_images + 1):
        for _ in range(random.integers(0, 6)):
            box = [*random.uniform(0, 150, 2), *random.uniform(20, 50, 2)]
            own = {"image_id": image, "category_id": int(random.choice([2, 7, 7]))}
            crowd = int(random.random() < 0.15)
            row = {**own, "bbox": box, "area": box[2] * box[3], "iscrowd": crowd, "id": len(annotations) + 1}
            annotations.append(row)
            for _ in range(random.integers(0, 4)):
                guess = [value + shift for value, shift in zip(box, random.normal(size=4) * 5, strict=True)]
                result = {**own, "bbox": guess, "score": float(round(random.random(), 1))}
                if random.random() < 0.3:
                    result["category_id"] = int(random.choice([2, 7, 9]))
                results.append(result)
    categories = [{"id": i, "name": n} for n, i in zip(LABELS.names, LABELS.category_ids, strict=True)]
    images = [{"id": image, "height": 250, "width": 250} for image in range(1, num_images + 1)]
    return {"images": images, "annotations": annotations, "categories": categories}, results


def overlap(one, other, crowd=False):
    sides = [min(one[k] + one[k + 2], other[k] + other[k + 2]) - max(one[k], other[k]) for k in (0, 1)]
    inside = max(sides[0], 0) * max(sides[1], 0)
    area = one[2] * one[3]
    return inside / (area if crowd else area + other[2] * other[3] - inside)


def matched(annotations, results):
    """[(result, annotation or None)], the best first; without those that lie on crowds alone."""
    taken, pairs = set(), []
    for result in sorted(results, key=lambda row: -row["score"]):
        best, at = 0.5, None
        for each in annotations:
            value = overlap(result["bbox"], each["bbox"])
            if not each["iscrowd"] and each["id"] not in taken and value >= best:
                best, at = value, each
        if at is not None:
            taken.add(at["id"])
        elif any(a["iscrowd"] and overlap(result["bbox"], a["bbox"], crowd=True) >= 0.5 for a in annotations):
            continue
        pairs.append((result, at))
    return pairs


def by_cells(rows, *keys):
    cells = defaultdict(list)
    for row in rows:
        cells[tuple(row[key] for key in keys)].append(row)
    return cells


def judged(document, results, category):
    """([(image, score, is it right)] of a class, {image: objects})."""
    keys = ("image_id", "category_id")
    objects, found = by_cells(document["annotations"], *keys), by_cells(results, *keys)
    rows = []
    for image in (each["id"] for each in document["images"]):
        pairs = matched(objects[image, category], found[image, category])
        rows += [(image, result["score"], annotation is not None) for result, annotation in pairs]
    counted = Counter(
        a["image_id"] for a in document["annotations"] if a["category_id"] == category and not a["iscrowd"]
    )
    return rows, counted


def worth(rows, objects, times, score):
    kept = [(right, times[image]) for image, own, right in rows if own >= score]
    right, total = sum(n for is_right, n in kept if is_right), sum(n for _, n in kept)
    return right, total, sum(number * times[image] for image, number in objects.items())


def slow_best_f1(rows, objects, times):
    best, at = 0.0, None
    for score in sorted({score for image, score, _ in rows if times[image]}, reverse=True):
        right, total, whole = worth(rows, objects, times, score)
        if right and 2 * right / (total + whole) > best:
            best, at = 2 * right / (total + whole), score
    return at


def slow_at_precision(rows, objects, times, precision):
    for score in sorted({score for image, score, _ in rows if times[image]}):
        right, total, _ = worth(rows, objects, times, score)
        if total and right / total >= precision:
            return score
    return None


def evaluated(document, results, **options):
    evaluator = DetectionEvaluator(document, LABELS)
    evaluator.update_results(results)
    return evaluator.result(OperatingOptions(**options)), evaluator


@pytest.mark.parametrize("seed", range(8))
def test_scores_are_those_of_a_loop_over_every_score(seed):
    document, results = invent(seed)
    precision, rounds = (0.5, 0.75, 0.9)[seed % 3], 60
    evaluator = DetectionEvaluator(document, LABELS)
    evaluator.update_results(results)
    found = thresholds(evaluator.matches()["bbox"], precision=precision, rounds=rounds, seed=seed)
    images = [each["id"] for each in document["images"]]
    samples = [
        dict(zip(images, row, strict=True)) for row in draw_samples(len(images), rounds, seed).tolist()
    ]
    once = dict.fromkeys(images, 1)
    for category, each, score in zip(
        LABELS.category_ids, found, best_f1(evaluator.matches()["bbox"]), strict=True
    ):
        rows, objects = judged(document, results, category)
        best = slow_best_f1(rows, objects, once)
        wished = slow_at_precision(rows, objects, once, precision)
        assert score == (1 if best is None else best)
        check(each.best_f1, best, rows, objects, samples, lambda r, o, t: slow_best_f1(r, o, t))
        check(
            each.at_precision,
            wished,
            rows,
            objects,
            samples,
            lambda r, o, t: slow_at_precision(r, o, t, precision),
        )
        precisions = [r / t for r, t, _ in (worth(rows, objects, once, score) for _, score, _ in rows)]
        assert each.most_precision == (max(precisions) if rows else pytest.approx(np.nan, nan_ok=True))


def check(point, score, rows, objects, samples, slow):
    """A point beside the score that the loop finds, and its intervals beside those of pictures drawn several times."""
    assert (point is None) == (score is None)
    if point is None:
        return
    once = dict.fromkeys(samples[0], 1)
    right, total, whole = worth(rows, objects, once, score)
    values = (point.precision.value, point.recall.value, point.f1.value)
    assert point.score.value == score
    assert values == pytest.approx((right / total, right / whole, 2 * right / (total + whole)), abs=1e-12)
    chosen = [slow(rows, objects, times) for times in samples]
    chosen = sorted(np.inf if each is None else each for each in chosen)
    assert (point.score.low, point.score.high) == ends(chosen)
    counts = [worth(rows, objects, times, score) for times in samples]
    assert (point.recall.low, point.recall.high) == ends(sorted(r / w for r, _, w in counts if w))
    assert (point.precision.low, point.precision.high) == ends(sorted(r / t for r, t, _ in counts if t))


def ends(ordered):
    """The least values below or at which 2.5 % and 97.5 % lie."""
    places = [max(int(np.ceil(len(ordered) * share - 1e-9)), 1) - 1 for share in (0.025, 0.975)]
    return tuple(pytest.approx(ordered[place], abs=1e-12) for place in places)


def test_equal_scores_are_taken_together_and_a_precision_may_not_be_reached():
    boxes = [[40.0 * k, 0, 30, 30] for k in range(4)]
    row = {"image_id": 1, "category_id": 2}
    document = {
        "images": [{"id": 1, "height": 99, "width": 200}],
        "annotations": [{**row, "bbox": box, "area": 900, "id": k + 1} for k, box in enumerate(boxes[:3])],
        "categories": [{"id": 2, "name": "cat"}, {"id": 7, "name": "dog"}, {"id": 9, "name": "eel"}],
    }
    results = [{**row, "bbox": box, "score": 0.5} for box in boxes] + [
        {**row, "bbox": boxes[0], "score": 0.4}
    ]
    result, _ = evaluated(document, results, precision_at=0.8, rounds=5)
    cat, dog, _ = result.operating.thresholds.values()
    assert cat.best_f1.score.value == 0.5 and cat.best_f1.precision.value == 0.75
    assert cat.at_precision is None and cat.most_precision == 0.75 and dog.best_f1 is None
    text = result.table()
    assert "not reached; at most 0.750" in text and "none is right" in text and "nothing found" in text
    assert result.operating.score_thresholds(LABELS.names, split="val", counted_from=0.0).scores == {}
    at_three_quarters, _ = evaluated(document, results, precision_at=0.75, rounds=5)
    chosen = at_three_quarters.operating.score_thresholds(["cat", "fox"], split="val", counted_from=0.0)
    assert chosen.scores == {"cat": 0.5} and chosen.kind == "precision" and chosen.precision == 0.75


def slow_confusion(document, results, bars):
    places = {category: place for place, category in enumerate(LABELS.category_ids)}
    counts = np.zeros((4, 4), int)
    kept = [row for row in results if row["score"] >= bars[places[row["category_id"]]]]
    objects, found = by_cells(document["annotations"], "image_id"), by_cells(kept, "image_id")
    for image in (each["id"] for each in document["images"]):
        pairs = matched(objects[image,], found[image,])
        for result, annotation in pairs:
            row = 3 if annotation is None else places[annotation["category_id"]]
            counts[row, places[result["category_id"]]] += 1
        seen = {annotation["id"] for _, annotation in pairs if annotation is not None}
        for each in objects[image,]:
            counts[places[each["category_id"]], 3] += not each["iscrowd"] and each["id"] not in seen
    return counts


@pytest.mark.parametrize("seed", range(8))
def test_confusions_are_those_of_a_loop_over_every_pair(seed):
    document, results = invent(seed)
    given = None if seed % 2 else 0.3
    result, evaluator = evaluated(document, results, confusion_from=given, rounds=0)
    bars = best_f1(evaluator.matches()["bbox"]) if given is None else [given] * 3
    matrix = result.operating.confusion
    np.testing.assert_array_equal(matrix.counts, slow_confusion(document, results, bars))
    objects = sum(not each["iscrowd"] for each in document["annotations"])
    assert matrix.counts[:3].sum() == objects and matrix.counts[3, 3] == 0
    json.dumps(result.to_dict(), allow_nan=False)


def test_nothing_found_and_nothing_annotated():
    document, results = invent(0)
    nothing, _ = evaluated(document, [], precision_at=0.9)
    assert nothing.operating.confusion.counts[:3, 3].sum() == nothing.num_objects
    assert all(each.best_f1 is None for each in nothing.operating.thresholds.values())
    bare, _ = evaluated({**document, "annotations": []}, results, precision_at=0.9, confusion_from=0.0)
    assert bare.operating.confusion.counts[3, :3].sum() == len(results)
    for each in (nothing, bare):
        json.dumps(each.to_dict(), allow_nan=False)
        assert each.table() and each.operating.calibration.table()


@pytest.mark.parametrize("seed", range(3))
def test_calibration_is_that_of_a_loop(seed):
    document, results = invent(seed, 60)
    result, _ = evaluated(document, results, rounds=0)
    found = result.operating.calibration
    every = []
    for name, category in zip(LABELS.names, LABELS.category_ids, strict=True):
        rows = [row for row in judged(document, results, category)[0] if row[1] >= CALIBRATED_FROM]
        every += rows
        assert found.per_class[name].error == pytest.approx(slow_error(rows), abs=1e-12, nan_ok=True)
        assert found.temperatures[name] == pytest.approx(slow_temperature(rows), rel=0.02)
    assert found.overall.error == pytest.approx(slow_error(every), abs=1e-12)


def slow_error(rows):
    bins = defaultdict(list)
    for _, score, right in rows:
        bins[min(int(score * 15), 14)].append((score, right))
    off = [abs(sum(s for s, _ in each) - sum(r for _, r in each)) for each in bins.values()]
    return sum(off) / len(rows) if rows else np.nan


def slow_temperature(rows):
    scores, right = (np.array(column) for column in list(zip(*rows, strict=True))[1:])
    logits = np.log(np.clip(scores, 1e-6, 1 - 1e-6) / (1 - np.clip(scores, 1e-6, 1 - 1e-6)))
    heats = np.exp(np.linspace(np.log(0.05), np.log(20), 3000))
    chances = 1 / (1 + np.exp(-logits / heats[:, None]))
    likely = np.where(right, np.log(chances), np.log(1 / (1 + np.exp(logits / heats[:, None])))).sum(1)
    return heats[likely.argmax()]


def test_a_temperature_undoes_what_made_scores_too_sure():
    random = np.random.default_rng(0)
    honest = random.uniform(0.02, 0.98, 40_000)
    is_right = random.random(len(honest)) < honest
    sure = 1 / (1 + np.exp(-2.5 * np.log(honest / (1 - honest))))
    assert temperature(sure, is_right) == pytest.approx(2.5, rel=0.03)
    assert temperature(honest, is_right) == pytest.approx(1, rel=0.03)
    assert Reliability.of(sure, is_right).error > 0.1 > 0.02 > Reliability.of(honest, is_right).error


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"precision_at": 95.0}, "95 % is 0.95"),
        ({"precision_at": 0.0}, "a share above 0"),
        ({"confusion_from": 1.5}, "confusion_from must be from 0 to 1"),
        ({"rounds": -1}, "rounds must be from 0"),
    ],
)
def test_what_is_no_share_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        OperatingOptions(**options)
