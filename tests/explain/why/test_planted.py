"""Every reason planted at least twenty times in every family that can have it: the tracer names it."""

import random
from collections import Counter
from dataclasses import replace

import pytest
import torch
from scripted import SIDE, Picture, Said, ScriptedPictures, priors_of, scripted

from pagoda.detectors.contract import Detector
from pagoda.explain.doctor.coverage import assigned, priors_at
from pagoda.explain.why.examine import why
from pagoda.explain.why.records import Why

TIMES = 25
DENSE = ["fcos_resnet18_fpn", "retinanet_resnet18_fpn", "efficientdet_d0", "yolov1_resnet18", "ssd_resnet18"]
REGIONS = ["faster_rcnn_resnet18_fpn"]


class Planter:
    """Pictures for one model in which an object is lost in a way that is known."""

    def __init__(self, name: str, **options) -> None:
        self.draw = random.Random(name)
        model = scripted(name, [], **options)
        self.is_dense = name in DENSE
        self.priors = priors_of(model)
        self.select = model.postprocess
        counts = [
            len(level)
            for level in (model.points if hasattr(model, "points") else model.anchors)(
                {
                    level: torch.empty(1, 0, SIDE // model.strides[level], SIDE // model.strides[level])
                    for level in model.levels
                },
                (SIDE, SIDE),
            )
        ]
        self.first_level = range(counts[0])

    def box(self, low: int = 40, high: int = 90) -> list[float]:
        width, height = self.draw.uniform(low, high), self.draw.uniform(low, high)
        x, y = self.draw.uniform(5, SIDE - width - 60), self.draw.uniform(5, SIDE - height - 60)
        return [x, y, x + width, y + height]

    def shifted(self, box: list[float], share: float) -> list[float]:
        """The box moved to the right by a share of its width."""
        step = share * (box[2] - box[0])
        return [box[0] + step, box[1], box[2] + step, box[3]]

    def priors_near(self, box: list[float], count: int) -> list[int]:
        """Of the finest level, the nearest to the box's centre."""
        priors = self.priors[: len(self.first_level)]
        centres = priors if priors.shape[1] == 2 else (priors[:, :2] + priors[:, 2:]) / 2
        centre = torch.tensor([(box[0] + box[2]) / 2, (box[1] + box[3]) / 2])
        return (centres - centre).norm(dim=1).argsort()[:count].tolist()

    def far_corner(self, count: int) -> list[Said]:
        """Strong detections apart from each other and from everything."""
        near = self.priors_near([SIDE - 20, SIDE - 20, SIDE - 1, SIDE - 1], count)
        boxes = [
            [
                SIDE - 12.0 * (n % 4) - 11,
                SIDE - 12.0 * (n // 4) - 11,
                SIDE - 12.0 * (n % 4) - 1,
                SIDE - 12.0 * (n // 4) - 1,
            ]
            for n in range(count)
        ]
        return [Said(prior, box, {0: 0.95}) for prior, box in zip(near, boxes, strict=True)]

    def plant(self, reason: str) -> Picture:
        label, box = self.draw.randrange(2), self.box()
        if reason == "max_candidates":
            label = 0  # SSD has candidates of each class
        first, second, *_ = near = self.priors_near(box, 9)
        assert len(near) == 9
        other = (label + 1) % 2
        found = Picture([box], [label], expected={0: reason})
        match reason:
            case "low score":
                found.said = [Said(first, self.shifted(box, 0.1), {label: self.draw.uniform(0.005, 0.045)})]
            case "wrong class":
                found.said = [Said(first, self.shifted(box, 0.1), {label: 0.01, other: 0.8})]
            case "loose box":
                found.said = [Said(first, self.shifted(box, 0.5), {label: 0.8}, region=box)]
            case "suppressed":
                # 2/3 with the object and 2/3 with its suppressor, which overlaps the object by 3/7.
                found.said = [
                    Said(first, self.shifted(box, 0.2), {label: 0.5}),
                    Said(second, self.shifted(box, 0.4), {label: 0.9}),
                ]
            case "max_candidates" | "max_detections":
                found.said = [Said(first, box, {label: 0.3}), *self.far_corner(3)]
            case "taken":
                twin = self.shifted(box, 0.1)
                found = Picture(
                    [box, twin], [label, label], [Said(first, twin, {label: 0.9})], expected={0: reason}
                )
            case "no prior":
                # Between the locations of stride 8, which stand 4 pixels from the border and 8 apart.
                x, y = 8.0 * self.draw.randrange(4, 20), 8.0 * self.draw.randrange(4, 20)
                found = Picture([[x - 1.5, y - 1.5, x + 1.5, y + 1.5]], [label], expected={0: reason})
            case "no proposal":
                found.said = [Said(0, self.shifted(box, 0.8), {0: 0.001})]
            case _:
                found.said = [Said(first, box, {label: 0.7})]
                found.expected = {}
        return found


def check(name: str, reasons: list[str], limits: dict, **options) -> None:
    planter = Planter(name, **options)
    pictures = [planter.plant(reason) for reason in reasons for _ in range(TIMES)]
    agree(scripted(name, pictures, **options), ScriptedPictures(pictures), limits)


def agree(model: Detector, data: ScriptedPictures, limits: dict) -> Why:
    """What is told is what was planted, of each object."""
    told = why(model, data, limits=limits)
    got = {(miss.image_id - 1, miss.object): miss for miss in told.misses}
    want = {
        (number, row): reason
        for number, picture in enumerate(data.pictures)
        for row, reason in picture.expected.items()
    }
    wrong = [
        (reason, got[key].reason, got[key].words)
        for key, reason in want.items()
        if key in got and got[key].reason != reason
    ]
    assert not wrong, (Counter(pair[:2] for pair in wrong), wrong[:3])
    assert got.keys() == want.keys()
    assert all(len(miss.words) > 20 for miss in got.values())
    return told


COMMON = ["low score", "wrong class", "loose box", "suppressed", "taken", "found"]


@pytest.mark.parametrize("name", [*DENSE, *REGIONS])
def test_reasons_that_all_families_share(name):
    check(name, COMMON, {"min_score": 0.05, "max_iou": 0.5})


@pytest.mark.parametrize("name", [*DENSE, *REGIONS])
def test_limits(name):
    check(name, ["max_detections"], {"max_detections": 3})
    check(name, ["max_candidates"], {"max_candidates": 3})


def test_no_location_serves():
    check("fcos_resnet18_fpn", ["no prior", "found"], {})


def test_no_proposal():
    check("faster_rcnn_resnet18_fpn", ["no proposal", "found"], {})


def test_anchors_that_serve_nothing():
    """Where no anchor need be given to an object, a small one has none; a larger input has one, which is said."""
    name, planter = "retinanet_resnet18_fpn", Planter("retinanet_resnet18_fpn")
    pictures = [planter.plant("no prior") for _ in range(TIMES)]
    model = scripted(name, pictures)
    model.criterion = replace(model.criterion, match_low_quality="none")
    told = agree(model, ScriptedPictures(pictures), {})
    assert all("nor at 4 times" in miss.words or "--model.short-side" in miss.remedy for miss in told.misses)


def test_the_size_that_would_serve_does():
    name, planter = "fcos_resnet18_fpn", Planter("fcos_resnet18_fpn")
    pictures = [planter.plant("no prior") for _ in range(TIMES)]
    data = ScriptedPictures(pictures)
    told = why(scripted(name, pictures), data)
    for miss in told.misses:
        words = miss.remedy.split()
        short, long = int(words[1]), int(words[3])
        larger = scripted(name, pictures)
        larger.input_spec = replace(larger.input_spec, short_side=short, long_side=long)
        target = data.targets(miss.image_id - 1)
        frame = replace(target, boxes=larger.input_spec.to_frame(target.boxes, (SIDE, SIDE)))
        size = larger.input_spec.padded(larger.input_spec.frame((SIDE, SIDE))[0])
        assert (assigned(larger, priors_at(larger, (size, size)), frame) >= 0).any()


def test_soft_suppression():
    """At overlaps of 2/3 a score of .5 falls to .5 · exp(−(2/3)² / .5) = .21."""
    planter = Planter("efficientdet_d0")
    pictures = [
        planter.plant(reason) for reason in ("suppressed", "found", "low score") for _ in range(TIMES)
    ]
    model = scripted("efficientdet_d0", pictures)
    model.postprocess = replace(model.postprocess, suppression="soft", min_score=0.4)
    agree(model, ScriptedPictures(pictures), {})


@pytest.mark.parametrize("name", [*DENSE, *REGIONS])
def test_pictures_that_cannot_be_read_and_objects_that_do_not_count(name):
    planter = Planter(name)
    pictures = [planter.plant("found") for _ in range(2 * TIMES)]
    for number in range(TIMES):
        pictures[number].expected = {0: "unreadable"}
    for picture in pictures[TIMES:]:
        picture.boxes.append([1.0, 1.0, 9.0, 9.0])
        picture.labels.append(0)
        picture.ignored = [False, True]
    told = agree(scripted(name, pictures), ScriptedPictures(pictures, broken=range(TIMES)), {})
    assert told.left_out[1].startswith("25 pictures could not be read: 0000.png is broken; 0001.png")


@pytest.mark.parametrize(
    ("name", "reason"),
    [("mask_rcnn_resnet18_fpn", "poor mask"), ("keypoint_rcnn_resnet18_fpn", "poor keypoints")],
)
def test_right_boxes_with_poor_masks_and_keypoints(name, reason):
    planter = Planter("faster_rcnn_resnet18_fpn")
    pictures = [planter.plant("found") for _ in range(2 * TIMES)]
    for picture in pictures[:TIMES]:
        picture.expected, picture.is_poor = {0: reason}, True
    more = {"has_masks": True} if reason == "poor mask" else {"has_keypoints": True}
    agree(scripted(name, pictures), ScriptedPictures(pictures, **more), {})
