"""Kinds of errors: what a loop says that looks at one detection after the other, and what hotcoco says."""

import hotcoco
import numpy as np
import pytest
from invented import LABELS, SIDE, invent
from pycocotools import mask as coco_mask

from pagoda.evaluation.coco.evaluator import DetectionEvaluator
from pagoda.evaluation.coco.matching import RIGHT
from pagoda.evaluation.errors.kinds import ERRORS, FATES, VERDICTS, error_kinds


def crowded(seed, num_images=25):
    """`invent` with more that is wrong: loose ones, and boxes anywhere."""
    truth, results = invent(seed, num_images)
    random = np.random.default_rng(seed)
    for row in list(results):
        for shift in (0.35, 0.8):
            x, y, w, h = row["bbox"]
            category = int(random.choice([2, 7]))
            box = [x + shift * w, y, w, h]
            more = {"score": float(round(random.random(), 1)), "category_id": category, "bbox": box}
            results.append({**row, **more, "segmentation": filled(box)})
    return truth, results


def filled(box):
    x, y, w, h = box
    (mask,) = coco_mask.frPyObjects([[x, y, x + w, y, x + w, y + h, x, y + h]], SIDE, SIDE)
    return {"size": [SIDE, SIDE], "counts": mask["counts"].decode()}


def box_iou(one, other, crowd):
    wide = min(one[0] + one[2], other[0] + other[2]) - max(one[0], other[0])
    high = min(one[1] + one[3], other[1] + other[3]) - max(one[1], other[1])
    inside = max(wide, 0) * max(high, 0)
    return inside / (one[2] * one[3] if crowd else one[2] * one[3] + other[2] * other[3] - inside)


def mask_iou(one, other, crowd):
    return float(coco_mask.iou([one], [other], [int(crowd)])[0, 0])


def slow_loop(truth, results, task, floor):
    """(verdict and annotation of each result, fate and detection of each annotation), picture by picture."""
    key, iou = {"bbox": ("bbox", box_iou), "segm": ("segmentation", mask_iou)}[task]
    annotations = truth["annotations"]
    verdicts = [("not counted", -1)] * len(results)
    fates = [("not counted" if each["iscrowd"] else "nothing there", -1) for each in annotations]
    for image in truth["images"]:
        mine = [
            i for i, row in enumerate(results) if row["image_id"] == image["id"] and row["score"] >= floor
        ]
        mine.sort(key=lambda i: (-results[i]["score"], i))
        there = [j for j, each in enumerate(annotations) if each["image_id"] == image["id"]]
        overlap = {
            (i, j): iou(results[i][key], annotations[j][key], annotations[j]["iscrowd"])
            for i in mine
            for j in there
        }
        taken = set()
        for i in mine:
            own = [j for j in there if annotations[j]["category_id"] == results[i]["category_id"]]
            free = [
                j for j in own if not annotations[j]["iscrowd"] and j not in taken and overlap[i, j] >= 0.5
            ]
            crowds = [j for j in own if annotations[j]["iscrowd"] and overlap[i, j] >= 0.5]
            if free:
                best = max(free, key=lambda j: overlap[i, j])
                taken.add(best)
                verdicts[i], fates[best] = ("right", best), ("found", -1)
            elif crowds:
                verdicts[i] = ("crowd", max(crowds, key=lambda j: overlap[i, j]))
            else:
                verdicts[i] = verdict(i, there, overlap, annotations, results)
        for j in there:
            if fates[j][0] == "nothing there":
                wrong = [i for i in mine if verdicts[i][0] not in ("right", "crowd")]
                fates[j] = fate(j, wrong, overlap, annotations, results)
    return verdicts, fates


def verdict(i, there, overlap, annotations, results):
    real = [j for j in there if not annotations[j]["iscrowd"] and overlap[i, j] > 0]
    own = [j for j in real if annotations[j]["category_id"] == results[i]["category_id"]]
    other = [j for j in real if j not in own]
    for name, candidates, least in (
        ("duplicate", own, 0.5),
        ("wrong class", other, 0.5),
        ("loose box", own, 0.1),
        ("wrong class, loose box", other, 0.1),
        ("background", real, 0),
    ):
        best = max(candidates, key=lambda j: overlap[i, j], default=None)
        if best is not None and overlap[i, best] >= least:
            return name, best
    return "background", -1


def fate(j, wrong, overlap, annotations, results):
    same = [i for i in wrong if results[i]["category_id"] == annotations[j]["category_id"]]
    for name, candidates, least in (
        ("wrong class", [i for i in wrong if i not in same], 0.5),
        ("loose box", same, 0.1),
    ):
        best = max(candidates, key=lambda i: overlap[i, j], default=None)
        if best is not None and overlap[best, j] >= least:
            return name, best
    return "nothing there", -1


@pytest.mark.parametrize("task", ["bbox", "segm"])
@pytest.mark.parametrize(("seed", "floor"), [(0, 0), (1, 0), (2, 0.45)])
def test_kinds_are_those_of_a_loop(task, seed, floor):
    truth, results = crowded(seed)
    evaluator = DetectionEvaluator(truth, LABELS)
    evaluator.update_results(results)
    kinds = error_kinds(evaluator, task, min_scores=np.full(2, floor) if floor else None)
    verdicts, fates = slow_loop(truth, results, task, floor)
    found = [(VERDICTS[kind], row) for kind, row in zip(kinds.verdicts, kinds.objects.tolist(), strict=True)]
    key, iou = {"bbox": ("bbox", box_iou), "segm": ("segmentation", mask_iou)}[task]
    for row, (mine, expected) in enumerate(zip(found, verdicts, strict=True)):
        # Of two objects that a detection overlaps equally either may be named.
        assert mine[0] == expected[0] and (mine[1] < 0) == (expected[1] < 0), row
        if mine[1] >= 0:
            pair = [
                iou(results[row][key], truth["annotations"][j][key], truth["annotations"][j]["iscrowd"])
                for j in (mine[1], expected[1])
            ]
            assert pair == pytest.approx([kinds.overlaps[row]] * 2, abs=1e-9)
    assert [FATES[kind] for kind in kinds.fates] == [name for name, _ in fates]
    assert (kinds.blamed >= 0).tolist() == [row >= 0 for _, row in fates]
    assert {name for name, _ in verdicts} >= {"right", "crowd", *ERRORS["wrong"]} and len(
        {name for name, _ in fates}
    ) == 5
    counts = kinds.counts(len(truth["images"]))
    assert list(counts) == [f"{side}: {name}" for side, names in ERRORS.items() for name in names]
    assert sum(int(each.sum()) for each in counts.values()) == sum(
        name in ERRORS["wrong"] for name, _ in verdicts
    ) + sum(name in ERRORS["missed"] for name, _ in fates)


@pytest.mark.parametrize("task", ["bbox", "segm", "keypoints"])
def test_what_is_right_and_found_is_what_coco_counts(task):
    truth, results = crowded(7)
    evaluator = DetectionEvaluator(truth, LABELS)
    evaluator.update_results(results)
    kinds, matches = error_kinds(evaluator, task), evaluator.matches()[task]
    right = (kinds.verdicts == VERDICTS.index("right")).sum()
    assert right == (matches.status[0, 0] == RIGHT).sum() == (kinds.fates == FATES.index("found")).sum()
    assert (kinds.fates != FATES.index("not counted")).sum() == matches.counted[0].sum()
    assert (kinds.verdicts != VERDICTS.index("not counted")).sum() == len(matches.rows)


def hotcoco_counts(truth, results):
    reference = hotcoco.COCO(truth)
    scoring = hotcoco.COCOeval(reference, reference.load_res(results), "bbox")
    scoring.evaluate()
    return scoring.tide_errors(pos_thr=0.5, bg_thr=0.1)["counts"]


def test_hotcoco_counts_the_same_where_every_error_has_one_kind():
    """Objects far apart, and on each of them one thing that is wrong."""
    truth = {
        "images": [{"id": i, "height": SIDE, "width": SIDE} for i in range(1, 31)],
        "annotations": [],
        "categories": [{"id": 2, "name": "cat"}, {"id": 7, "name": "dog"}],
    }
    results, planted = [], {"Cls": 0, "Loc": 0, "Both": 0, "Dupe": 0, "Bkg": 0, "Miss": 0}
    random = np.random.default_rng(0)
    for image in range(1, 31):
        for x in (10.0, 70.0, 130.0):
            own = {"image_id": image, "category_id": int(random.choice([2, 7]))}
            row = {**own, "bbox": [x, 20.0, 40.0, 40.0], "area": 1600.0, "iscrowd": 0}
            truth["annotations"].append({**row, "id": len(truth["annotations"]) + 1})
            kind = str(random.choice(list(planted)))
            planted[kind] += 1
            other, near, loose = 9 - own["category_id"], [x, 24.0, 40.0, 40.0], [x + 20, 20.0, 40.0, 40.0]
            said = {
                "Cls": [(other, near)],
                "Loc": [(own["category_id"], loose)],
                "Both": [(other, loose), (own["category_id"], near)],
                "Dupe": [(own["category_id"], near)] * 2,
                "Bkg": [(own["category_id"], [x, 120.0, 40.0, 40.0]), (own["category_id"], near)],
                "Miss": [],
            }[kind]
            results += [
                {"image_id": image, "category_id": category, "bbox": box, "score": float(random.random())}
                for category, box in said
            ]
    evaluator = DetectionEvaluator(truth, LABELS)
    evaluator.update_results(results)
    kinds = error_kinds(evaluator)
    names = dict(
        zip(
            ("Dupe", "Cls", "Loc", "Both", "Bkg"),
            ("duplicate", "wrong class", "loose box", "wrong class, loose box", "background"),
            strict=True,
        )
    )
    found = {short: len(kinds.wrong()[name]) for short, name in names.items()}
    found["Miss"] = len(kinds.missed()["nothing there"])
    assert found == planted == {name: int(count) for name, count in hotcoco_counts(truth, results).items()}
    assert len(kinds.missed()["wrong class"]) == planted["Cls"]
    assert len(kinds.missed()["loose box"]) == planted["Loc"]


@pytest.mark.parametrize("seed", range(3))
def test_hotcoco_names_otherwise_what_is_of_two_kinds(seed):
    """It says "loose" of a detection that is on an object of another class and touches one of its own."""
    truth, results = crowded(seed)
    truth = {**truth, "annotations": [each for each in truth["annotations"] if not each["iscrowd"]]}
    evaluator = DetectionEvaluator(truth, LABELS)
    evaluator.update_results(results)
    wrong = {name: len(rows) for name, rows in error_kinds(evaluator).wrong().items()}
    theirs = hotcoco_counts(truth, results)
    assert (wrong["background"], wrong["wrong class, loose box"]) == (theirs["Bkg"], theirs["Both"])
    assert wrong["wrong class"] > theirs["Cls"] and wrong["loose box"] < theirs["Loc"]
    shared = sum(wrong[name] for name in ("duplicate", "wrong class", "loose box"))
    assert shared == theirs["Dupe"] + theirs["Cls"] + theirs["Loc"]


def test_nothing_annotated_and_nothing_found():
    truth, results = invent(0, 5)
    for document, rows in (({**truth, "annotations": []}, results), (truth, [])):
        evaluator = DetectionEvaluator(document, LABELS)
        evaluator.update_results(rows)
        kinds = error_kinds(evaluator)
        assert len(kinds.wrong()["background"]) == len(rows)
        assert len(kinds.missed()["nothing there"]) == sum(
            not each["iscrowd"] for each in document["annotations"]
        )
