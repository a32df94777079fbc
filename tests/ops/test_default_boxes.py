"""SSD's default boxes: the numbers that ssd.pytorch, torchvision and Caffe's rule give, in their order."""

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from pagoda.ops.anchors import DefaultBoxes
from pagoda.zoo.flavours.ssd import SSD_FLAVOURS
from pagoda.zoo.ssd import VARIANTS

GRIDS = {
    "ssd300_vgg16": (38, 19, 10, 5, 3, 1),
    "ssd512_vgg16": (64, 32, 16, 8, 4, 2, 1),
    "ssdlite320_mobilenet_v3_large": (20, 10, 5, 3, 2, 1),
    "ssdlite320_mobilenet_v2": (20, 10, 5, 3, 2, 1),
}


def table(name: str, flavour: str, which: str | None = None) -> DefaultBoxes:
    kind = name.partition("_")[0]
    return VARIANTS[name].boxes(SSD_FLAVOURS[kind][flavour], which)


def shares(boxes: DefaultBoxes, name: str) -> Tensor:
    """(P, 4) cxcywh, as shares of the picture."""
    side = VARIANTS[name].side
    rows = [boxes.shares_of_level(level, (g, g), (side, side)) for level, g in enumerate(GRIDS[name])]
    corners = torch.cat(rows)
    return torch.cat([(corners[:, :2] + corners[:, 2:]) / 2, corners[:, 2:] - corners[:, :2]], dim=1)


def pixels(boxes: DefaultBoxes, name: str) -> Tensor:
    """(P, 4) xyxy."""
    side = VARIANTS[name].side
    return torch.cat([boxes.of_level(n, (g, g), (side, side)) for n, g in enumerate(GRIDS[name])])


def check(boxes: Tensor, wanted: dict[int, tuple[float | None, ...]], tolerance: float) -> None:
    for row, numbers in wanted.items():
        for found, number in zip(boxes[row].tolist(), numbers, strict=True):
            assert number is None or found == pytest.approx(number, abs=tolerance), f"{row}: {boxes[row]}"


VOC300 = {
    0: (0.0133333, 0.0133333, 0.1, 0.1),
    1: (None, None, 0.1414214, 0.1414214),
    2: (None, None, 0.1414214, 0.0707107),
    3: (None, None, 0.0707107, 0.1414214),
    5776: (0.0266667, 0.0266667, 0.2, 0.2),
    5777: (None, None, 0.2720294, 0.2720294),
    7942: (0.0533333, None, 0.37, 0.37),
    7943: (None, None, 0.4469899, 0.4469899),
    8542: (0.1066667, None, 0.54, 0.54),
    8543: (None, None, 0.6191930, 0.6191930),
    8692: (0.1666667, None, 0.71, 0.71),
    8693: (None, None, 0.7904429, 0.7904429),
    8728: (0.5, 0.5, 0.88, 0.88),
    8729: (None, None, 0.9612492, 0.9612492),
}
COCO300 = {
    0: (None, None, 0.07, 0.07),
    1: (None, None, 0.1024695, 0.1024695),
    2: (None, None, 0.0989949, 0.0494975),
    5776: (None, None, 0.15, 0.15),
    5777: (None, None, 0.2224860, 0.2224860),
    8728: (None, None, 0.87, 0.87),
    8729: (None, None, 0.9557719, 0.9557719),
}


@pytest.mark.parametrize(
    ("which", "rows", "sums"),
    [
        ("voc", {**VOC300, 8730: (0.5, 0.5, 1.0, 0.6222540)}, (4443.14667, 1510.14798)),
        ("coco", COCO300, (4443.14667, 1171.96768)),
    ],
)
def test_ssd300_clamped_as_ssd_pytorch(which: str, rows: dict, sums: tuple[float, float]) -> None:
    found = shares(table("ssd300_vgg16", "amdegroot", which), "ssd300_vgg16")
    assert len(found) == 8732
    check(found, rows, 1e-6)
    wanted = [sums[0]] * 2 + [sums[1]] * 2
    assert found.double().sum(0).tolist() == pytest.approx(wanted, abs=1e-3)


def test_ssd300_as_caffe_has_it() -> None:
    found = shares(table("ssd300_vgg16", "caffe"), "ssd300_vgg16")
    check(
        found, {**VOC300, 8730: (0.5, 0.5, 1.2445079, 0.6222540), 8541: (304 / 300, None, None, None)}, 1e-6
    )
    wanted = [4443.94667, 4443.94667, 1510.42931, 1510.42931]
    assert found.double().sum(0).tolist() == pytest.approx(wanted, abs=1e-3)
    clamped = shares(table("ssd300_vgg16", "amdegroot"), "ssd300_vgg16")
    assert int(((found - clamped).abs() > 1e-6).any(1).sum()) == 134


def test_ssd300_in_torchvision_s_pixels() -> None:
    found = pixels(table("ssd300_vgg16", "torchvision"), "ssd300_vgg16")
    rows = {
        0: (-6.5, -6.5, 14.5, 14.5),
        1: (-11.370427, None, 19.370426, None),
        5776: (-14.5, None, 30.5, None),
        7942: (-33.5, None, 65.5, None),
        8542: (-44.5, None, 108.5, None),
        8692: (-53.5, None, 153.5, None),
        8728: (19.5, 19.5, 280.5, 280.5),
        8731: (57.722569, 0, 242.277435, 300),
    }
    check(found, rows, 3e-5)
    assert found.double().sum(0).tolist() == pytest.approx([1157388.84] * 2 + [1508979.16] * 2, abs=0.03)


def test_ssd512_has_whole_sizes_in_caffe() -> None:
    boxes = table("ssd512_vgg16", "caffe")
    assert sum(g * g * count for g, count in zip(GRIDS["ssd512_vgg16"], boxes.counts, strict=True)) == 24564
    sides = [tuple((512 * boxes.shapes(level)[:2, 0]).tolist()) for level in range(7)]
    wanted = zip(
        (35, 76, 153, 230, 307, 384, 460),
        (51.5752, 107.8332, 187.59, 265.7254, 343.3482, 420.2856, 497.0111),
        strict=True,
    )
    for found, both in zip(sides, wanted, strict=True):
        assert found == pytest.approx(both, abs=1e-4)
    offsets = (0, 16384, 22528, 24064, 24448, 24544, 24560)
    assert [len(pixels(boxes, "ssd512_vgg16")), offsets[-1] + 4] == [24564] * 2
    floats = table("ssd512_vgg16", "lufficc")
    assert (512 * floats.shapes(0)[0, 0]).item() == pytest.approx(35.84, abs=1e-4)


def test_ssdlite_without_steps() -> None:
    name = "ssdlite320_mobilenet_v3_large"
    found = pixels(table(name, "torchvision"), name)
    rows = {
        0: (-24, -24, 40, 40),
        1: (-34.33202, None, 50.33202, None),
        5: (-10.475208, -47.425621, 26.475208, 63.425629),
        2400: (-40, None, 72, None),
        3000: (-48, None, 112, None),
        3150: (-50.66666, None, 157.33334, None),
        3204: (-48, None, 208, None),
        3228: (8, 8, 312, 312),
        3233: (72.242752, 0, 247.757248, 320),
    }
    assert len(found) == 3234
    check(found, rows, 5e-5)
    assert found.double().sum(0).tolist() == pytest.approx([370975.72] * 2 + [663904.28] * 2, abs=0.02)
    second = "ssdlite320_mobilenet_v2"
    assert len(pixels(table(second, "lufficc"), second)) == 3234


SMALL = DefaultBoxes(min_sizes=(30.0,), max_sizes=(70.0,), ratios=((2.0, 3.0),), steps=(16.0,), image_size=64)


def by_hand(boxes: DefaultBoxes, rows: int, columns: int, height: float, width: float) -> list[list[float]]:
    """A loop over cells and shapes."""
    found, (low, high), step = [], (boxes.min_sizes[0], boxes.max_sizes[0]), boxes.steps[0]
    sides = [(low, low), (math.sqrt(low * high),) * 2]
    for ratio in boxes.ratios[0]:
        root = math.sqrt(ratio)
        sides += [(low * root, low / root), (low / root, low * root)]
    for row in range(rows):
        for column in range(columns):
            for w, h in sides:
                x, y = (column + 0.5) * step / width, (row + 0.5) * step / height
                w, h = w / boxes.image_size, h / boxes.image_size
                if boxes.clip == "centers_and_sides":
                    x, y = min(x, 1), min(y, 1)
                if boxes.clip in ("sides", "centers_and_sides"):
                    w, h = min(w, 1), min(h, 1)
                corners = [x - w / 2, y - h / 2, x + w / 2, y + h / 2]
                if boxes.clip == "corners":
                    corners = [min(max(corner, 0), 1) for corner in corners]
                found.append(
                    [corner * side for corner, side in zip(corners, (width, height) * 2, strict=True)]
                )
    return found


@pytest.mark.parametrize("clip", ["none", "sides", "centers_and_sides", "corners"])
def test_slow_twin(clip: str) -> None:
    boxes = replace(SMALL, clip=clip)
    found = boxes.of_level(0, (3, 5), (40, 70))
    torch.testing.assert_close(found, torch.tensor(by_hand(boxes, 3, 5, 40, 70)), rtol=1e-5, atol=1e-4)


def test_each_level_needs_its_numbers() -> None:
    with pytest.raises(ValueError, match="an entry for each level, got 2, 1, 1 and none"):
        DefaultBoxes(min_sizes=(30.0, 60.0), max_sizes=(60.0,), ratios=((2.0,),))
    with pytest.raises(ValueError, match=r"ratios are at most 64 numbers from 0\.01 to 100"):
        DefaultBoxes(min_sizes=(30.0,), max_sizes=(60.0,), ratios=((0.0,),))
