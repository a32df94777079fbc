"""COCO metrics: the same as pycocotools, whatever comes in and however it is split over processes."""

import contextlib
import io
import json
import pickle
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from pagoda.evaluation.coco.evaluator import DetectionEvaluator, evaluate_results_file
from pagoda.structures.instances import Detections
from pagoda.structures.labels import LabelMap

pytestmark = pytest.mark.medium

NAMES = ["AP", "AP50", "AP75", "APs", "APm", "APl", "AR1", "AR10", "AR100", "ARs", "ARm", "ARl"]
CASES = {
    "coco_fake100": ("instances_val2014_100.json", "instances_val2014_fakebbox100_results.json"),
    "coco_bbox_area": ("sampled_gts_bbox_area.json", "sampled_bbox_results.json"),
    "voc100": ("gt.json", "dets.json"),
}


def label_map_of(ground_truth):
    categories = ground_truth["categories"]
    return LabelMap(tuple(c["name"] for c in categories), tuple(c["id"] for c in categories))


def oracle(ground_truth, results):
    """pycocotools: its twelve numbers and its precision array."""
    with contextlib.redirect_stdout(io.StringIO()):
        reference = COCO()
        reference.dataset = json.loads(json.dumps(ground_truth))
        reference.createIndex()
        scoring = COCOeval(reference, reference.loadRes(json.loads(json.dumps(results))), "bbox")
        scoring.evaluate()
        scoring.accumulate()
        scoring.summarize()
    return scoring.stats, scoring.eval["precision"]


def assert_same_as_oracle(result, ground_truth, results):
    stats, precision = oracle(ground_truth, results)
    assert list(result.metrics) == NAMES
    ours = [-1.0 if np.isnan(value) else value for value in result.metrics.values()]
    np.testing.assert_allclose(ours, stats, rtol=0, atol=1e-9)
    for k, row in enumerate(result.per_class.values()):
        for key, theirs in (("AP", precision[:, :, k, 0, 2]), ("AP50", precision[0, :, k, 0, 2])):
            theirs = theirs[theirs > -1]
            expected = theirs.mean() if theirs.size else float("nan")
            np.testing.assert_allclose(row[key], expected, rtol=0, atol=1e-9)
    curves = np.nan_to_num(np.stack(list(result.precision.values()), 2), nan=-1)
    np.testing.assert_allclose(curves, precision[[0, 5], :, :, 0, 2], rtol=0, atol=1e-9)


def invent(seed, num_images=8, category_ids=(3, 5, 6, 9)):
    """Objects of all sizes with crowd regions and empty images; results near them, with ties and strays."""
    random = np.random.default_rng(seed)
    images = [{"id": int(i) * 7 + 1, "height": 400, "width": 400} for i in random.permutation(num_images)]
    annotations, results = [], []
    for image in images:
        for _ in range(random.integers(0, 7)):
            x, y, w, h = (random.uniform(0, 1, 4) ** 2 * 300 + 1).tolist()
            category = int(random.choice(category_ids[:-1]))  # the last class never has an object
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": image["id"],
                    "category_id": category,
                    "bbox": [x, y, w, h],
                    "area": w * h * float(random.uniform(0.5, 1)),
                    "iscrowd": int(random.random() < 0.15),
                }
            )
            for _ in range(random.integers(0, 4)):
                box = [x + random.normal() * w / 9, y + random.normal() * h / 9, w, h]
                category = category if random.random() < 0.8 else int(random.choice(category_ids))
                score = float(np.round(random.random(), 1))  # one decimal: many equal scores
                results.append(
                    {"image_id": image["id"], "category_id": category, "bbox": box, "score": score}
                )
    return {
        "images": images,
        "annotations": annotations,
        "categories": [{"id": i, "name": f"kind {i}"} for i in category_ids],
    }, results


def score(ground_truth, results):
    evaluator = DetectionEvaluator(ground_truth, label_map_of(ground_truth))
    evaluator.update_results(results)
    return evaluator.result()


@pytest.mark.parametrize("case", CASES)
def test_published_cases(shared_data, case):
    folder = shared_data / "eval_cases" / case
    ground_truth = json.loads((folder / CASES[case][0]).read_text())
    results = json.loads((folder / CASES[case][1]).read_text())
    results = results["annotations"] if isinstance(results, dict) else results
    result = evaluate_results_file(folder / CASES[case][1], ground_truth, label_map_of(ground_truth))
    expected = json.loads((folder / "expected.json").read_text())
    expected = expected.get("bbox", expected)["recomputed_pycocotools"]
    np.testing.assert_allclose(list(result.metrics.values()), expected, rtol=0, atol=1e-9)
    assert_same_as_oracle(result, ground_truth, results)


@given(seed=st.integers(0, 10**6))
def test_invented_results_equal_pycocotools(seed):
    ground_truth, results = invent(seed)
    if not results:  # pycocotools cannot load an empty list
        results = [
            {
                "image_id": ground_truth["images"][0]["id"],
                "category_id": 3,
                "bbox": [0, 0, 1, 1],
                "score": 0.5,
            }
        ]
    assert_same_as_oracle(score(ground_truth, results), ground_truth, results)


def test_more_than_a_hundred_detections_of_an_image():
    ground_truth, _ = invent(1)
    random = np.random.default_rng(2)
    results = [
        {
            "image_id": a["image_id"],
            "category_id": a["category_id"],
            "score": float(np.round(random.random(), 2)),
            "bbox": [v + float(random.normal()) for v in a["bbox"][:2]] + a["bbox"][2:],
        }
        for a in ground_truth["annotations"]
        for _ in range(150)
    ]
    assert_same_as_oracle(score(ground_truth, results), ground_truth, results)


def test_max_detections_names_its_recall():
    ground_truth, results = invent(3)
    evaluator = DetectionEvaluator(ground_truth, label_map_of(ground_truth), max_detections=5)
    evaluator.update_results(results)
    result = evaluator.result()
    assert [key for key in result.metrics if key.startswith("AR")] == ["AR1", "AR5", "ARs", "ARm", "ARl"]
    assert "max 5 detections per image" in result.protocol
    assert set(result.per_class["kind 3"]) == {"AP", "AP50", "AR5", "objects", "detections"}


def as_detections(ground_truth, results, image_id):
    labels = label_map_of(ground_truth)
    rows = [row for row in results if row["image_id"] == image_id]
    xywh = torch.tensor([row["bbox"] for row in rows], dtype=torch.float64).reshape(-1, 4)
    return Detections(
        boxes=torch.cat([xywh[:, :2], xywh[:, :2] + xywh[:, 2:]], 1),
        scores=torch.tensor([row["score"] for row in rows], dtype=torch.float64),
        labels=torch.tensor([labels.label_of(row["category_id"]) for row in rows], dtype=torch.long),
        image_size=(400, 400),
        label_map=labels,
        image_id=image_id,
    )


def test_detections_in_any_order_and_split_equal_the_results_list():
    ground_truth, results = invent(4, num_images=12)
    whole = score(ground_truth, results)
    image_ids = [image["id"] for image in ground_truth["images"]]
    halves = [DetectionEvaluator(ground_truth, label_map_of(ground_truth)) for _ in range(2)]
    for position, image_id in enumerate(reversed(image_ids)):
        halves[position % 2].update(as_detections(ground_truth, results, image_id))
    # A sampler that fills up: the second process has an image of the first as well.
    halves[1].update(as_detections(ground_truth, results, image_ids[-1]))
    states = [pickle.loads(pickle.dumps(half.state())) for half in halves]
    halves[0].merge(states[1:])
    merged = halves[0].result()
    for key, value in whole.metrics.items():
        assert merged.metrics[key] == pytest.approx(value, abs=1e-9, nan_ok=True)
    assert "1 image answered by more than one process" in merged.protocol
    assert (
        whole.num_objects == merged.num_objects == sum(not a["iscrowd"] for a in ground_truth["annotations"])
    )


def test_image_ids_may_be_text():
    ground_truth, results = invent(5)
    whole = score(ground_truth, results)
    # Same order as the numbers had, so equal scores are ranked alike.
    for row in [*results, *ground_truth["annotations"]]:
        row["image_id"] = f"{row['image_id']:04d}"
    for image in ground_truth["images"]:
        image["id"] = f"{image['id']:04d}"
    assert score(ground_truth, results).metrics == pytest.approx(whole.metrics, nan_ok=True)


def test_annotation_with_id_zero_counts():
    """pycocotools takes a match with annotation 0 for no match; the score must not depend on ids."""
    ground_truth, _ = invent(6)
    ground_truth["annotations"] = [
        {"id": 0, "image_id": ground_truth["images"][0]["id"], "category_id": 3, "bbox": [1, 2, 30, 40]}
    ]
    hit = {**ground_truth["annotations"][0], "score": 0.9}
    assert score(ground_truth, [hit]).metrics["AP"] == pytest.approx(1.0)


def test_no_detections_at_all():
    ground_truth, _ = invent(7)
    result = DetectionEvaluator(ground_truth, label_map_of(ground_truth)).result()
    assert result.metrics["AP"] == result.metrics["AR100"] == 0.0
    assert np.isnan(result.per_class["kind 9"]["AP"])  # no object of it
    assert "8 images without any detections submitted" in result.protocol


def test_nothing_annotated_is_undefined_not_zero():
    ground_truth, results = invent(8)
    result = score({**ground_truth, "annotations": []}, results)
    assert all(np.isnan(value) for value in result.metrics.values())
    assert result.per_class["kind 3"]["detections"] > 0
    json.dumps(result.to_dict(), allow_nan=False)


def test_images_without_objects_count():
    ground_truth, _ = invent(9)
    first, second = (image["id"] for image in ground_truth["images"][:2])
    ground_truth["annotations"] = [{"id": 1, "image_id": first, "category_id": 3, "bbox": [1, 2, 30, 40]}]
    hit = {**ground_truth["annotations"][0], "score": 0.5}
    stray = {**hit, "image_id": second, "score": 0.9}
    assert score(ground_truth, [hit, stray]).metrics["AP"] == pytest.approx(0.5)


def test_class_the_model_does_not_know_counts_and_is_named():
    ground_truth, results = invent(10)
    known = LabelMap(("a", "b"), (3, 5))
    evaluator = DetectionEvaluator(ground_truth, known)
    evaluator.update_results([row for row in results if row["category_id"] in (3, 5)])
    result = evaluator.result()
    assert result.per_class["kind 6"]["AP"] == 0.0
    assert "does not know, all missed: 'kind 6'" in result.protocol
    with pytest.raises(ValueError, match=r"category ids 6.*label map .3, 5. does not have"):
        DetectionEvaluator(ground_truth, known).update_results(
            [r for r in results if r["category_id"] == 6][:1]
        )


def test_table_and_dict_carry_numbers_and_protocol():
    ground_truth, results = invent(11)
    result = score(ground_truth, results)
    table = result.table()
    assert f"{result.metrics['AP']:.3f}" in table and "kind 9" in table and result.protocol in table
    assert f"{result.num_objects} objects, {len(results)} detections by hotcoco" in result.protocol
    back = json.loads(json.dumps(result.to_dict(), allow_nan=False))
    assert back["metrics"]["AP"] == result.metrics["AP"] and back["per_class"]["kind 9"]["AP"] is None
    assert len(back["pr_curves"]["recall"]) == 101


def row(ground_truth, **changes):
    plain = {
        "image_id": ground_truth["images"][0]["id"],
        "category_id": 3,
        "bbox": [1, 1, 5, 5],
        "score": 0.5,
    }
    return {**plain, **changes}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"image_id": 999}, r"1 image ids .* not in the ground truth: 999; it has 8 images with ids like"),
        ({"category_id": 77}, r"category ids 77, the ground truth has 3, 5, 6, 9: 77 do not meet"),
        ({"score": float("nan")}, r"image \d+: a detection is not finite.*score nan"),
        ({"bbox": [0, float("inf"), 1, 1]}, r"image \d+: a detection is not finite"),
        ({"bbox": [9, 9, -3, 1]}, r"image \d+: a detection is inside out"),
    ],
)
def test_bad_results_are_refused(changes, message):
    ground_truth, _ = invent(12)
    with pytest.raises(ValueError, match=message):
        score(ground_truth, [row(ground_truth, **changes)])


def test_labels_counted_from_zero_are_recognised():
    ground_truth, _ = invent(13, category_ids=(1, 2, 3, 4))
    with pytest.raises(
        ValueError, match=r"0, 3, the ground truth has 1, 2, 3, 4: 0 do not.*labels counted from 0"
    ):
        score(ground_truth, [row(ground_truth, category_id=0), row(ground_truth, category_id=3)])
    with pytest.raises(ValueError, match="the label map uses category ids 0, 1"):
        DetectionEvaluator(ground_truth, LabelMap(("a", "b"), (0, 1)))


def test_exchanged_classes_are_recognised():
    ground_truth, _ = invent(14)
    with pytest.raises(
        ValueError, match="'kind 5' has category id 3 in the label map but 5 in the ground truth"
    ):
        DetectionEvaluator(ground_truth, LabelMap(("kind 5", "kind 3"), (3, 5)))


def test_updates_that_do_not_fit_are_refused():
    ground_truth, results = invent(15)
    image_id = ground_truth["images"][0]["id"]
    detections = as_detections(ground_truth, results, image_id)
    evaluator = DetectionEvaluator(ground_truth, label_map_of(ground_truth))
    evaluator.update(detections)
    with pytest.raises(ValueError, match=f"image {image_id} already has its detections"):
        evaluator.update(detections)
    with pytest.raises(ValueError, match="carry no image_id"):
        evaluator.update(replace(detections, image_id=None))
    with pytest.raises(ValueError, match="give both the same label map"):
        evaluator.update(replace(detections, label_map=LabelMap.numbered(4)))
    other = DetectionEvaluator(invent(15, num_images=3)[0], label_map_of(ground_truth))
    with pytest.raises(ValueError, match="cannot merge evaluators of different data: 8 images here, 3"):
        evaluator.merge([other.state()])


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("image_id", 999, "annotation 1 of the ground truth is on image 999, which 'images' does not list"),
        ("category_id", 8, "annotation 1 of the ground truth has category id 8; 'categories' lists 3, 5"),
        (
            "bbox",
            [0, 0, float("nan"), 1],
            "annotation 1 of the ground truth has a box or area that is not finite",
        ),
    ],
)
def test_ground_truth_that_contradicts_itself(key, value, message):
    ground_truth, _ = invent(16)
    ground_truth["annotations"][0][key] = value
    with pytest.raises(ValueError, match=message):
        DetectionEvaluator(ground_truth, label_map_of(ground_truth))


SMALL_TRUTH = {
    "images": [{"id": 7, "height": 50, "width": 60}, {"id": "seven", "height": 50, "width": 60}],
    "categories": [{"id": 1, "name": "cat"}],
    "annotations": [
        {"id": 1, "image_id": 7, "category_id": 1, "bbox": [10, 10, 20, 20], "iscrowd": "0"},
        {"id": 2, "image_id": "seven", "category_id": 1, "bbox": [10, 10, 20, 20], "iscrowd": "false"},
    ],
}
SMALL_RESULTS = [
    {"image_id": 7, "category_id": 1, "bbox": [10, 10, 20, 20], "score": 0.9},
    {"image_id": "seven", "category_id": 1, "bbox": [10, 10, 20, 20], "score": 0.8},
]


def score_file(tmp_path, **changes):
    rows = [SMALL_RESULTS[0] | changes, SMALL_RESULTS[1]]
    (tmp_path / "results.json").write_text("\ufeff" + json.dumps(rows), encoding="utf-8")
    return evaluate_results_file(tmp_path / "results.json", SMALL_TRUTH, label_map_of(SMALL_TRUTH))


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"image_id": "7"},
        {"image_id": 7.0},
        {"category_id": "1"},
        {"category_id": 1.0},
        {"score": "0.9"},
        {"score": 1},
        {"bbox": ["10", "10.0", 20, "2e1"]},
    ],
)
def test_results_whose_numbers_are_text_count_all_the_same(tmp_path, changes):
    result = score_file(tmp_path, **changes)
    assert result.metrics["AP"] == 1.0 and result.num_objects == 2, (
        "flags of the truth that are text are no crowd"
    )


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"score": "high"}, r"results\.json: result 0: score must be a number, got 'high'"),
        ({"score": True}, "score must be a number, got 'True'"),
        ({"bbox": [1, 2, "x", 4]}, "result 0: bbox must be numbers, got"),
        ({"bbox": [1, 2, 3]}, r"result 0: bbox must be \[x, y, width, height\], got \[1, 2, 3\]"),
        ({"category_id": "cat"}, "result 0: category_id must be a whole number, got 'cat'"),
        ({"image_id": [7]}, "result 0: image_id must be text or a whole number"),
        ({"image_id": "8"}, "image ids of the detections are not in the ground truth: '8'"),
    ],
)
def test_results_that_mean_nothing_certain_are_named(tmp_path, changes, message):
    with pytest.raises(ValueError, match=message):
        score_file(tmp_path, **changes)


def test_flags_of_the_ground_truth_that_say_neither_are_named(tmp_path):
    truth = {**SMALL_TRUTH, "annotations": [{**SMALL_TRUTH["annotations"][0], "iscrowd": "maybe"}]}
    with pytest.raises(ValueError, match="annotation 1 of the ground truth: iscrowd must be 0 or 1"):
        DetectionEvaluator(truth, label_map_of(truth))
