"""Mask AP and keypoint AP: the same as pycocotools, from results files and from detections."""

import contextlib
import io
import json
import pickle
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from pagoda.evaluation.coco.evaluator import DetectionEvaluator, evaluate_results_file
from pagoda.evaluation.coco.result import DetectionResult
from pagoda.evaluation.coco.results_file import read_detections, write_results
from pagoda.structures.instances import Detections
from pagoda.structures.labels import LabelMap
from pagoda.structures.skeleton import COCO_17, CROWDPOSE_14, Skeleton

HAND = Skeleton(("wrist", "left_tip", "right_tip"), sigmas=(0.03, 0.06, 0.12))
SIZE = (60, 80)
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # pycocotools


def label_map_of(ground_truth, skeleton=None):
    categories = ground_truth["categories"]
    return LabelMap(tuple(c["name"] for c in categories), tuple(c["id"] for c in categories), skeleton)


def oracle(ground_truth, results, task, sigmas=None):
    """pycocotools' numbers: twelve for masks, ten for keypoints."""
    with contextlib.redirect_stdout(io.StringIO()):
        reference = COCO()
        reference.dataset = json.loads(json.dumps(ground_truth))
        reference.createIndex()
        scoring = COCOeval(reference, reference.loadRes(json.loads(json.dumps(results))), task)
        if sigmas is not None:
            scoring.params.kpt_oks_sigmas = np.array(sigmas)
        scoring.evaluate()
        scoring.accumulate()
        scoring.summarize()
    return scoring.stats


def assert_equal(result, expected):
    ours = [-1.0 if np.isnan(value) else value for value in result.metrics.values()]
    np.testing.assert_allclose(ours, expected, rtol=0, atol=1e-9)


def blob(random):
    """A mask with a hole, (H, W) bool, of one of three sizes."""
    y, x = np.mgrid[: SIZE[0], : SIZE[1]]
    radius = random.choice([4, 12, 30])
    distance = np.hypot(y - random.uniform(0, SIZE[0]), x - random.uniform(0, SIZE[1]))
    return (distance < radius) & (distance > radius / 3)


def rle(mask):
    found = coco_mask.encode(np.asfortranarray(mask.astype(np.uint8)))
    return {"size": list(SIZE), "counts": found["counts"].decode()}


def invent(seed, num_images=5):
    """Masks and poses of all sizes with crowd and unlabelled objects; results near them, with ties and strays."""
    random = np.random.default_rng(seed)
    images = [{"id": 3 * i + 1, "height": SIZE[0], "width": SIZE[1]} for i in range(num_images)]
    annotations, results = [], []
    for image in images:
        for _ in range(random.integers(0, 5)):
            mask, category = blob(random), int(random.choice([2, 7]))
            points = np.column_stack([random.uniform(0, 80, (3, 2)), random.integers(0, 3, 3)]).round(2)
            points[points[:, 2] == 0] = 0
            own = {
                "image_id": image["id"],
                "category_id": category,
                "bbox": coco_mask.toBbox(rle(mask)).tolist(),
                "segmentation": rle(mask),
            }
            annotations.append(
                {
                    **own,
                    "id": len(annotations) + 1,
                    "area": int(mask.sum()),
                    "iscrowd": int(random.random() < 0.15),
                    "keypoints": points.flatten().tolist(),
                    "num_keypoints": int((points[:, 2] > 0).sum()),
                }
            )
            for _ in range(random.integers(0, 4)):
                guess = np.roll(mask, tuple(random.integers(-2, 3, 2)), (0, 1))
                near = points[:, :2] + random.normal(size=(3, 2)) * 2
                score = float(np.round(random.random(), 1))
                results.append(
                    {
                        **own,
                        "segmentation": rle(guess),
                        "keypoints": np.column_stack([near, random.random(3)]).flatten().tolist(),
                        "score": score,
                    }
                )
    categories = [
        {"id": i, "name": f"kind {i}", "keypoints": list(HAND.names), "skeleton": []} for i in (2, 7)
    ]
    return {"images": images, "annotations": annotations, "categories": categories}, results


def score(ground_truth, results):
    evaluator = DetectionEvaluator(ground_truth, label_map_of(ground_truth, HAND))
    evaluator.update_results(results)
    return evaluator.result()


def without(rows, *keys):
    return [{key: value for key, value in row.items() if key not in keys} for row in rows]


def test_published_masks(shared_data):
    folder = shared_data / "eval_cases" / "coco_fake100"
    ground_truth = json.loads((folder / "instances_val2014_100.json").read_text())
    file = folder / "instances_val2014_fakesegm100_results.json"
    result = evaluate_results_file(file, ground_truth, label_map_of(ground_truth))
    expected = json.loads((folder / "expected.json").read_text())["segm"]["recomputed_pycocotools"]
    assert_equal(result.others["segm"], expected)
    assert "the results had no boxes: drawn around their masks" in result.protocol
    assert result.metrics["segm/AP75"] == result.others["segm"].metrics["AP75"]


def test_published_keypoints(shared_data):
    folder = shared_data / "eval_cases" / "keypoints_small"
    ground_truth = json.loads((folder / "gt.json").read_text())
    result = evaluate_results_file(folder / "dt.json", ground_truth, label_map_of(ground_truth, COCO_17))
    expected = json.loads((folder / "expected.json").read_text())["recomputed_pycocotools"]
    assert_equal(result.others["keypoints"], expected)


def test_crowdpose(shared_data):
    folder = shared_data / "eval_cases" / "crowdpose_small"
    ground_truth = json.loads((folder / "gt.json").read_text())
    expected = json.loads((folder / "expected.json").read_text())
    assert list(CROWDPOSE_14.sigmas) == expected["sigmas"]
    assert list(CROWDPOSE_14.names) == ground_truth["categories"][0]["keypoints"]
    labels = label_map_of(ground_truth, CROWDPOSE_14)
    result = evaluate_results_file(folder / "dt.json", ground_truth, labels, object_scale="box")
    found = result.others["keypoints"].metrics
    for name in ("AP", "AP50", "AP75", "AR", "AR50", "AR75"):
        assert found[name] == pytest.approx(expected["published"][name], abs=1e-9)
    results = json.loads((folder / "dt.json").read_text())
    levels = {"easy": (0.0, 0.1), "medium": (0.1, 0.8), "hard": (0.8, 1.1)}
    for name, (low, high) in levels.items():
        ids = {image["id"] for image in ground_truth["images"] if low <= image["crowdIndex"] < high}
        part = {
            **ground_truth,
            "images": [image for image in ground_truth["images"] if image["id"] in ids],
            "annotations": [row for row in ground_truth["annotations"] if row["image_id"] in ids],
        }
        evaluator = DetectionEvaluator(part, labels, object_scale="box")
        evaluator.update_results([row for row in results if row["image_id"] in ids])
        assert evaluator.result().metrics["keypoints/AP"] == pytest.approx(
            expected["published"][f"AP_{name}"], abs=5e-5
        )


@settings(max_examples=15)
@given(seed=st.integers(0, 10**6))
def test_invented_results_equal_pycocotools(seed):
    ground_truth, results = invent(seed)
    if not results:
        return
    result = score(ground_truth, results)
    # With a box in the row pycocotools takes its area for the object's; here a mask has its own.
    expected = oracle(ground_truth, without(results, "bbox", "keypoints"), "segm")
    assert_equal(result.others["segm"], expected)
    expected = oracle(ground_truth, without(results, "segmentation"), "keypoints", HAND.sigmas)
    assert_equal(result.others["keypoints"], expected)
    bare = score(ground_truth, without(results, "bbox", "segmentation"))
    expected = oracle(ground_truth, without(results, "bbox", "segmentation"), "keypoints", HAND.sigmas)
    assert_equal(bare.others["keypoints"], expected)


def as_detections(ground_truth, results, image_id):
    labels = label_map_of(ground_truth, HAND)
    rows = [row for row in results if row["image_id"] == image_id]
    xywh = torch.tensor([row["bbox"] for row in rows], dtype=torch.float64).reshape(-1, 4)
    masks = [torch.from_numpy(coco_mask.decode(row["segmentation"])).bool() for row in rows]
    triples = torch.tensor([row["keypoints"] for row in rows], dtype=torch.float64).reshape(-1, 3, 3)
    return Detections(
        boxes=torch.cat([xywh[:, :2], xywh[:, :2] + xywh[:, 2:]], 1),
        scores=torch.tensor([row["score"] for row in rows], dtype=torch.float64),
        labels=torch.tensor([labels.label_of(row["category_id"]) for row in rows], dtype=torch.long),
        image_size=SIZE,
        label_map=labels,
        masks=torch.stack(masks) if masks else torch.zeros(0, *SIZE, dtype=torch.bool),
        keypoints=triples[..., :2],
        keypoint_scores=triples[..., 2],
        image_id=image_id,
    )


def test_detections_of_two_processes_equal_the_results_list():
    ground_truth, results = invent(4, num_images=8)
    whole = score(ground_truth, results)
    labels = label_map_of(ground_truth, HAND)
    halves = [DetectionEvaluator(ground_truth, labels) for _ in range(3)]  # the third sees no picture
    for position, image in enumerate(ground_truth["images"]):
        halves[position % 2].update(as_detections(ground_truth, results, image["id"]))
    halves[0].merge([pickle.loads(pickle.dumps(half.state())) for half in halves[1:]])
    assert halves[0].result().metrics == pytest.approx(whole.metrics, nan_ok=True)
    assert {name.split("/")[0] for name in whole.metrics if "/" in name} == {"segm", "keypoints"}


def test_results_files_go_both_ways(tmp_path):
    ground_truth, results = invent(5)
    found = [as_detections(ground_truth, results, image["id"]) for image in ground_truth["images"]]
    count = write_results(tmp_path / "results.json", iter(found))
    assert count == len(results) == len(json.loads((tmp_path / "results.json").read_text()))
    labels = label_map_of(ground_truth, HAND)
    direct = score(ground_truth, results).metrics
    scored = evaluate_results_file(tmp_path / "results.json", ground_truth, labels).metrics
    assert scored == pytest.approx(direct, nan_ok=True)
    sizes = {image["id"]: SIZE for image in ground_truth["images"]}
    again = list(read_detections(tmp_path / "results.json", labels, sizes))
    filled = [each for each in found if len(each)]
    for one, other in zip(filled, again, strict=True):
        best_first = one[one.scores.argsort(descending=True, stable=True)]
        assert torch.equal(best_first.masks, other.masks) and best_first.image_id == other.image_id
        torch.testing.assert_close(best_first.keypoints.float(), other.keypoints)
        torch.testing.assert_close(best_first.keypoint_scores.float(), other.keypoint_scores)
        torch.testing.assert_close(best_first.boxes.float(), other.boxes)


def test_an_empty_results_file_is_a_list(tmp_path):
    assert write_results(tmp_path / "none.json", []) == 0
    assert json.loads((tmp_path / "none.json").read_text()) == []


def test_a_write_that_fails_leaves_no_file(tmp_path):
    ground_truth, results = invent(5)
    bad = replace(as_detections(ground_truth, results, 1), image_id=None)
    with pytest.raises(ValueError, match="need the image_id"):
        write_results(tmp_path / "results.json", [bad])
    assert list(tmp_path.iterdir()) == []


def test_a_model_that_finds_nothing_scores_zero():
    ground_truth, _ = invent(6)
    evaluator = DetectionEvaluator(ground_truth, label_map_of(ground_truth, HAND))
    for image in ground_truth["images"]:
        evaluator.update(as_detections(ground_truth, [], image["id"]))
    metrics = evaluator.result().metrics
    assert metrics["AP"] == metrics["segm/AP"] == metrics["keypoints/AP"] == 0


def test_objects_without_a_mask_are_left_out_of_mask_ap():
    ground_truth, _ = invent(5)
    for row in ground_truth["annotations"]:
        row["iscrowd"] = 0
    hits = [{**row, "score": 0.9} for row in ground_truth["annotations"]]
    whole = score(ground_truth, hits)
    assert whole.metrics["segm/AP"] == pytest.approx(1)
    del ground_truth["annotations"][0]["segmentation"]
    result = score(ground_truth, hits[1:])
    assert result.metrics["segm/AP"] == pytest.approx(1)
    assert result.metrics["AP"] < 1
    assert "1 object without an annotated mask left out" in result.others["segm"].protocol


def test_boxes_alone_stay_boxes_alone():
    ground_truth, results = invent(5)
    result = score(ground_truth, without(results, "segmentation", "keypoints"))
    assert result.others == {} and not any("/" in name for name in result.metrics)
    assert "others" not in result.to_dict()


def test_tables_and_dictionaries_tell_every_task():
    ground_truth, results = invent(5)
    result = score(ground_truth, results)
    table = result.table()
    assert "\nMasks\n" in table and "\nKeypoints\n" in table and "OKS (sigmas 0.03, 0.06, 0.12)" in table
    plain = json.loads(json.dumps(result.to_dict(), allow_nan=False))
    assert plain["others"]["segm"]["metrics"]["AP"] == result.metrics["segm/AP"]


def change(row, **changes):
    return [{**row, **changes}]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"segmentation": {"size": [9, 9], "counts": "0"}},
            r"result 0: the mask is of a picture of .* \(9, 9\)",
        ),
        (
            {"segmentation": {"size": list(SIZE), "counts": [5, 7]}},
            "result 0: the run lengths .* add up to 12",
        ),
        ({"segmentation": [[1, 2, 3]]}, "result 0: polygon 1 has 3 numbers"),
        ({"keypoints": [1.0, 2.0]}, "result 0: keypoints must be x, y, score of each, got 2 numbers"),
        (
            {"keypoints": [1.0, 2.0, 0.5]},
            "the detections have 1 keypoint, the skeleton of the ground truth 3",
        ),
        ({"keypoints": [float("nan")] * 9}, "image 1: a detection has a keypoint that is not finite"),
    ],
)
def test_bad_results_are_refused(changes, message):
    ground_truth, results = invent(5)
    row = next(row for row in results if row["image_id"] == 1)
    with pytest.raises(ValueError, match=message):
        score(ground_truth, [{**row, **changes}])


def test_rows_must_be_alike():
    ground_truth, results = invent(5)
    with pytest.raises(
        ValueError, match="result 1 has bbox, keypoints, those before bbox, keypoints, segmentation"
    ):
        score(ground_truth, [results[0], *without(results[1:2], "segmentation")])
    with pytest.raises(ValueError, match="different numbers of keypoints"):
        score(ground_truth, [results[0], {**results[1], "keypoints": [1.0, 2.0, 0.5]}])
    evaluator = DetectionEvaluator(ground_truth, label_map_of(ground_truth, HAND))
    filled = [
        image["id"] for image in ground_truth["images"] if any(r["image_id"] == image["id"] for r in results)
    ]
    evaluator.update(as_detections(ground_truth, results, filled[0]))
    bare = replace(as_detections(ground_truth, results, filled[1]), masks=None)
    with pytest.raises(ValueError, match="some detections come with masks and others without"):
        evaluator.update(bare)


def test_keypoints_need_their_skeleton():
    ground_truth, results = invent(5)
    evaluator = DetectionEvaluator(ground_truth, label_map_of(ground_truth))
    with pytest.raises(ValueError, match="scoring keypoints needs their skeleton"):
        evaluator.update_results(results)


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("keypoints", [1, 2, 2], "must have 9 numbers for the 3 keypoints of the skeleton, got 3"),
        ("segmentation", {"size": [3, 3], "counts": [9]}, "annotation 1 of the ground truth: the mask is of"),
    ],
)
def test_a_broken_ground_truth_is_named(field, value, message):
    ground_truth, results = invent(5)
    ground_truth["annotations"][0][field] = value
    with pytest.raises(ValueError, match=message):
        score(ground_truth, results)


def test_masks_of_another_frame_are_refused():
    ground_truth, results = invent(5)
    found = as_detections(ground_truth, results, 1)
    shrunk = replace(found, masks=found.masks[:, ::2, ::2], image_size=(30, 40))
    evaluator = DetectionEvaluator(ground_truth, label_map_of(ground_truth, HAND))
    with pytest.raises(
        ValueError, match=r"of \(height, width\) \(60, 80\) in the ground truth, the masks are of"
    ):
        evaluator.update(shrunk)


@pytest.mark.parametrize(
    ("metrics", "what", "value"),
    [
        ({"AP": 0.5}, "AP", 0.5),
        ({"AP": 0.5, "segm/AP": 0.3}, "segm/AP", 0.3),
        ({"AP": 0.5, "keypoints/AP": 0.2}, "keypoints/AP", 0.2),
        ({"AP": 0.5, "segm/AP": 0.3, "keypoints/AP": 0.2}, "segm/AP + keypoints/AP", 0.25),
        ({"AP": 0.5, "keypoints/AP": float("nan")}, "AP", 0.5),  # nobody annotated any
    ],
)
def test_models_are_compared_by_what_they_are_for(metrics, what, value):
    result = DetectionResult(metrics, {}, np.zeros(101), {}, "", 1, 1)
    assert result.deciding == (what, pytest.approx(value))
