"""Which objects a model's locations or anchors miss, against a plain loop and against the network itself."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from pagoda.data.table.annotations import Annotations
from pagoda.data.table.assembly import ImageColumns, ObjectColumns, assemble
from pagoda.detectors.contract import Detector
from pagoda.explain.doctor.coverage import examine_coverage, priors_at
from pagoda.models import create_model
from pagoda.structures.labels import LabelMap

pytestmark = pytest.mark.medium

FCOS, RETINANET = "fcos_resnet18_fpn", "retinanet_resnet18_fpn"


def small_model(name: str, **options):
    sizes = {"width": 16, "short_side": 128, "long_side": 256}
    depth = {} if name.startswith("faster_rcnn") else {"head_depth": 1}
    return create_model(name, num_classes=2, **{**sizes, **depth, **options})


def annotations_of(*pictures: list[tuple], size: tuple[int, int] = (128, 128)) -> Annotations:
    """Each picture: a list of (x1, y1, x2, y2, label)."""
    images, objects = ImageColumns(ids=list(range(1, len(pictures) + 1))), ObjectColumns()
    for index, boxes in enumerate(pictures):
        images.files.append(f"{index}.png")
        images.sizes.append(size)
        for x1, y1, x2, y2, label in boxes:
            objects.add(index, (x1, y1, x2 - x1, y2 - y1), label, False)
    return assemble(images, objects, label_map=LabelMap.numbered(2), root=Path(), source="drawn")


def random_annotations(seed: int, size: tuple[int, int] = (100, 150)) -> Annotations:
    rng = np.random.default_rng(seed)
    pictures = []
    for _ in range(4):
        corners = rng.uniform(0, [size[1] - 3, size[0] - 3], (6, 2))
        sides = np.exp(rng.uniform(np.log(2), np.log(80), (6, 2)))
        ends = np.minimum(corners + sides, [size[1], size[0]])
        pictures.append(
            [(*start, *end, int(rng.integers(2))) for start, end in zip(corners, ends, strict=True)]
        )
    return annotations_of(*pictures, size=size)


@pytest.mark.parametrize("name", [FCOS, RETINANET])
@pytest.mark.parametrize("size", [(128, 128), (96, 160), (104, 72)])
def test_locations_are_those_of_the_network(name, size):
    model = small_model(name).eval()
    with torch.inference_mode():
        pyramid = model.neck(model.backbone(torch.zeros(1, 3, *size)))
    real = model.anchors(pyramid, size) if name == RETINANET else model.points(pyramid, size)
    assert all(torch.equal(a, b) for a, b in zip(priors_at(model, size), real, strict=True))


def test_an_object_between_locations_is_uncovered():
    # Locations of the finest level sit at 4, 12, 20 …: the first box lies between them, the second on one.
    report = examine_coverage(small_model(FCOS), annotations_of([(6, 6, 10, 10, 0), (40, 40, 80, 80, 0)]))
    assert (report.objects, report.uncovered, report.hidden) == (2, 1, 0)
    assert report.by_size["network"] == {
        "small": {"objects": 1, "uncovered": 1},
        "medium": {"objects": 1, "uncovered": 0},
        "large": {"objects": 0, "uncovered": 0},
    }
    assert report.examples == ["0.png: x1, y1, x2, y2 = 6, 6, 10, 10: no point fits"]
    assert report.uncovered_sides["median"] == 4
    # 1.5 strides of 8 pixels over a side of 4: three times as large.
    assert "raise short_side from 128 to about 384 and long_side from " in report.remedies[0]


def test_a_larger_input_covers_it():
    boxes = annotations_of([(6, 6, 10, 10, 0)])
    assert examine_coverage(small_model(FCOS, short_side=384, long_side=384), boxes).uncovered == 0


def test_sizes_are_told_before_and_after_resizing():
    report = examine_coverage(small_model(FCOS, short_side=256), annotations_of([(10, 10, 40, 40, 0)]))
    assert report.by_size["original"]["small"]["objects"] == 1
    assert report.by_size["network"]["medium"]["objects"] == 1


def test_objects_that_others_hide_are_told_apart():
    twice = annotations_of([(40, 40, 80, 80, 0), (40, 40, 80, 80, 0)])
    report = examine_coverage(small_model(FCOS), twice)
    assert (report.uncovered, report.hidden, report.suppressed) == (1, 1, 2)
    assert "taken by other objects" in report.examples[0]
    assert any("suppression" in remedy for remedy in report.remedies)


def test_overlap_of_different_classes_is_no_danger():
    report = examine_coverage(small_model(FCOS), annotations_of([(40, 40, 80, 80, 0), (40, 40, 80, 81, 1)]))
    assert report.suppressed == 0


def slow_fcos_counts(boxes: np.ndarray, size: tuple[int, int]) -> list[dict[int, int]]:
    """Per object: level → positive locations, by the words of the paper."""
    counts: list[dict[int, int]] = [{} for _ in boxes]
    for level in (3, 4, 5, 6, 7):
        stride = 2**level
        low, high = {3: (-1, 64), 4: (64, 128), 5: (128, 256), 6: (256, 512), 7: (512, 1e9)}[level]
        for row in range(-(-size[0] // stride)):
            for column in range(-(-size[1] // stride)):
                x, y = (column + 0.5) * stride, (row + 0.5) * stride
                winner, smallest = None, 1e18
                for number, (x1, y1, x2, y2) in enumerate(boxes):
                    sides = (x - x1, y - y1, x2 - x, y2 - y)
                    near = max(abs(x - (x1 + x2) / 2), abs(y - (y1 + y2) / 2)) < 1.5 * stride
                    area = (x2 - x1) * (y2 - y1)
                    if min(sides) > 0 and near and low < max(sides) < high and area < smallest:
                        winner, smallest = number, area
                if winner is not None:
                    counts[winner][level] = counts[winner].get(level, 0) + 1
    return counts


@pytest.mark.parametrize("seed", range(3))
def test_fcos_equals_the_slow_twin(seed):
    annotations = random_annotations(seed)  # 100 × 150 becomes 128 × 192, padded as it is
    report = examine_coverage(small_model(FCOS), annotations)
    levels, uncovered = dict.fromkeys((3, 4, 5, 6, 7), 0), 0
    for index in range(len(annotations)):
        boxes = annotations.targets(index).boxes.numpy() * np.float32(1.28)
        for counts in slow_fcos_counts(boxes, (128, 192)):
            if counts:
                levels[max(counts, key=counts.get)] += 1
            else:
                uncovered += 1
    assert (report.uncovered, report.by_level) == (uncovered, levels)


def slow_iou(a, b) -> float:
    width, height = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    common = max(width, 0) * max(height, 0)
    return common / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - common)


@pytest.mark.parametrize(("name", "min_iou"), [(RETINANET, 0.5), ("faster_rcnn_resnet18_fpn", 0.7)])
def test_anchors_equal_the_slow_twin(name, min_iou):
    """Of two stages, those of the proposal network."""
    annotations = random_annotations(5)
    model = small_model(name)
    report = examine_coverage(model, annotations)
    anchors = torch.cat(priors_at(model, (128, 192))).tolist()
    best_of_all, uncovered = [], 0
    for index in range(len(annotations)):
        boxes = (annotations.targets(index).boxes * 1.28).tolist()
        table = [[slow_iou(anchor, box) for box in boxes] for anchor in anchors]
        best_of_box = [max(row[number] for row in table) for number in range(len(boxes))]
        served = set()
        for row in table:
            number = max(range(len(boxes)), key=row.__getitem__)
            is_some_best = any(abs(row[k] - best_of_box[k]) < 1e-6 and row[k] > 0 for k in range(len(boxes)))
            if row[number] >= min_iou or is_some_best:
                served.add(number)
        uncovered += len(boxes) - len(served)
        best_of_all += best_of_box
    assert report.uncovered == uncovered
    assert report.anchor_fit["median"] == pytest.approx(
        sorted(best_of_all)[(len(best_of_all) - 1) // 2], abs=1e-4
    )
    assert report.anchor_fit["share_below_half"] == pytest.approx(np.mean(np.array(best_of_all) < 0.5))


def test_small_objects_fit_no_anchor():
    report = examine_coverage(small_model(RETINANET), annotations_of([(60, 60, 64, 64, 0)]))
    assert report.kind == "anchors"
    assert report.anchor_fit["share_below_half"] == 1
    assert any("base_scale" in remedy for remedy in report.remedies)


def test_crowds_beyond_max_detections_are_told():
    model = small_model(FCOS)
    model.postprocess = model.postprocess.with_limits(max_detections=3)
    boxes = [(20 * n, 10, 20 * n + 16, 30, 0) for n in range(5)]
    report = examine_coverage(model, annotations_of(boxes, boxes[:2]))
    assert (report.max_objects_in_picture, report.crowded_pictures) == (5, 1)
    assert any("raise it to 5" in remedy for remedy in report.remedies)


def test_no_more_than_asked_for_are_examined():
    annotations = annotations_of(*[[(10, 10, 50, 50, 0)]] * 10)
    report = examine_coverage(small_model(FCOS), annotations, max_objects=4)
    assert (report.objects, report.objects_in_all, report.pictures) == (4, 10, 4)


def test_a_fitting_model_needs_nothing():
    report = examine_coverage(small_model(FCOS), annotations_of([(20, 20, 70, 70, 0)], []))
    assert report.uncovered == 0 and report.remedies == []
    assert report.text().splitlines()[-1].endswith("nothing to do")
    assert json.loads(json.dumps(report.to_dict()))["by_level"]["3"] == 1


def test_no_objects_at_all():
    report = examine_coverage(small_model(FCOS), annotations_of([], []))
    assert report.objects == 0 and report.text()


def test_models_that_assign_nothing_are_refused():
    with pytest.raises(ValueError, match="got Detector"):
        examine_coverage(Detector(), annotations_of([]))
    clips = small_model("detect_and_track_resnet18_3d")
    with pytest.raises(ValueError, match="DetectAndTrack sees clips"):
        examine_coverage(clips, annotations_of([(20, 20, 70, 70, 0)]))
    with pytest.raises(ValueError, match="max_objects must be at least 1, got 0"):
        examine_coverage(small_model(FCOS), annotations_of([]), max_objects=0)


@pytest.mark.parametrize("name", ["yolov1_resnet18", "yolov1.darknet"])
def test_cells_that_hold_two_objects_lose_one_and_say_so(name: str) -> None:
    """64-pixel cells of a picture of 128: three objects in the first, one of them too narrow, one in the last."""
    options: dict = {"width": 16, "head_depth": 1, "levels": (5,)}
    if name == "yolov1.darknet":
        layers = [{"kind": "maxpool", "size": 32, "stride": 32}, {"kind": "connected"}]
        options = {"layers": layers, "side": 2}
    canvas = (128, 128) if "side" in options else (64, 64)
    model = create_model(name, num_classes=2, canvas=canvas, **options)
    data = annotations_of(
        [(4, 4, 60, 60, 0), (10, 10, 40, 44, 1), (20, 20, 20.5, 60, 0), (70, 70, 120, 126, 1)], []
    )
    report = examine_coverage(model, data)
    assert (report.kind, report.objects, report.uncovered, report.hidden) == ("cells", 4, 2, 1)
    assert len(priors_at(model, canvas)[0]) == 4 * model.head.num_boxes
    assert "of them 1 because others took their cells" in report.text()
    assert "too narrow or low to be learnt: 1" in report.remedies[0]
    assert "lose their cell to another: 1" in report.remedies[1] and "--model.canvas" in report.remedies[1]
    assert report.max_detections == (100 if name == "yolov1_resnet18" else None)
