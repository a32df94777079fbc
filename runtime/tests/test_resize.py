"""Resizing is torchvision's to the bit, whatever the sizes; Pillow's where that is asked for; and quick."""

import time

import numpy as np
import pytest
from PIL import Image

from pagoda_runtime.resize import antialias, resize, resize_mask, rounded_weights

pytestmark = pytest.mark.medium


def draw(rng: np.random.Generator, *shape: int) -> np.ndarray:
    """Noise, black and white, or all white: rounding shows in the first, overflow in the last."""
    kind = rng.integers(3)
    if kind == 0:
        return rng.integers(0, 256, shape, dtype=np.uint8)
    return (rng.integers(0, 2, shape) * 255).astype(np.uint8) if kind == 1 else np.full(shape, 255, np.uint8)


def sizes(rng: np.random.Generator, count: int) -> list[tuple[int, int, int, int]]:
    """Heights and widths before and after: small and large, up and down, sides of 1, sides that stay."""
    drawn = []
    for number in range(count):
        height, width, tall, wide = (int(side) for side in rng.integers(1, (4, 40, 300, 700)[number % 4], 4))
        drawn.append((height, width, height if number % 11 == 0 else tall, 1 if number % 13 == 0 else wide))
    return [*drawn, (1, 1, 50, 70), (9000, 3, 7, 5), (40000, 2, 3, 1), (3, 30000, 900, 11), (1, 500, 1, 499)]


def test_antialiased_bytes_are_those_of_torchvision(rng):
    torch = pytest.importorskip("torch")
    transforms = pytest.importorskip("torchvision.transforms.v2.functional")
    if torch.backends.cpu.get_cpu_capability() not in ("AVX2", "AVX512"):
        pytest.skip("torchvision resizes in single precision on this processor")
    for height, width, tall, wide in sizes(rng, 200):
        picture = draw(rng, height, width, 3 + height % 2)
        # Laid out as a picture is; torch 2.14 refuses some planes of a few pixels with an internal assertion.
        expected = transforms.resize(torch.from_numpy(picture).permute(2, 0, 1), [tall, wide], antialias=True)
        found = resize(np.ascontiguousarray(picture.transpose(2, 0, 1)), (tall, wide))
        assert np.array_equal(found, expected), (picture.shape, tall, wide)


def slow_antialias(row: np.ndarray, after: int) -> list[int]:
    """One row by whole numbers alone, as the processor adds them."""
    first, weights = rounded_weights(len(row), after)
    places = next(p for p in range(23) if (weights * 2.0**p == np.rint(weights * 2.0**p)).all())
    whole = np.rint(weights * 2.0**places).astype(int)
    sums = [
        sum(int(weight) * int(row[start + k]) for k, weight in enumerate(each) if weight)
        for start, each in zip(first, whole, strict=True)
    ]
    return [min(255, (total + (1 << places >> 1)) >> places) for total in sums]


def test_products_of_matrices_are_sums_of_whole_numbers(rng):
    """Needs no torch: what is computed in floating point is exact."""
    for before, after in ((7, 3), (100, 9), (5, 64), (3000, 2), (640, 640 * 3 // 5)):
        row = draw(rng, before)
        assert antialias(row[None, None], (1, after))[0, 0].tolist() == slow_antialias(row, after)


def test_weights_use_the_bits_there_are():
    for before, after in ((100, 50), (100, 99), (50, 100), (4000, 10)):
        _, weights = rounded_weights(before, after)
        assert np.abs(weights.sum(1) - 1).max() < 1e-3 and (weights >= 0).all()
        assert weights.dtype == (np.float64 if before > 4 * after else np.float32)


def test_bicubic_is_pillows_and_opacity_weighs_no_colours(rng):
    picture = draw(rng, 33, 47, 4)
    planes = np.ascontiguousarray(picture.transpose(2, 0, 1))
    colors = Image.fromarray(np.ascontiguousarray(picture[..., :3])).resize(
        (20, 71), Image.Resampling.BICUBIC
    )
    found = resize(planes, (71, 20), "bicubic")
    assert np.array_equal(found[:3], np.asarray(colors).transpose(2, 0, 1)) and found.shape == (4, 71, 20)


def test_float_is_interpolate_rounded(rng):
    torch = pytest.importorskip("torch")
    for height, width, tall, wide in (
        (40, 60, 100, 151),
        (120, 90, 70, 61),
        (3, 200, 66, 80),
        (64, 64, 128, 128),
    ):
        planes = draw(rng, 3, height, width)
        floats = torch.from_numpy(planes).float()[None]
        expected = torch.nn.functional.interpolate(floats, size=(tall, wide), mode="bilinear")[0].round()
        difference = resize(planes, (tall, wide), "float") != expected.to(torch.uint8).numpy()
        # Processors without a fused multiply and add may turn a tie.
        assert difference.mean() < 1e-4


def test_a_mask_keeps_its_place_and_an_empty_one_is_empty():
    mask = np.zeros((40, 60), bool)
    mask[10:20, 30:50] = True
    for size in ((80, 120), (20, 30), (41, 59), (40, 60)):
        found = resize_mask(mask, size)
        rows, columns = np.flatnonzero(found.any(1)), np.flatnonzero(found.any(0))
        share = size[0] / 40, size[1] / 60
        assert np.abs(np.array([rows[0], rows[-1] + 1]) - np.array([10, 20]) * share[0]).max() <= 0.75
        assert np.abs(np.array([columns[0], columns[-1] + 1]) - np.array([30, 50]) * share[1]).max() <= 0.75
    assert not resize_mask(np.zeros((40, 60), bool), (80, 120)).any()
    assert resize_mask(np.ones((3, 5), bool), (7, 2)).all()


def test_a_large_picture_takes_no_time(rng):
    """24 ms of a processor on AMD EPYC (Zen 3); the limit leaves room for slower ones."""
    planes = draw(rng, 3, 1080, 1920)
    resize(planes, (750, 1333))
    spent = []
    for _ in range(5):
        start = time.process_time()
        resize(planes, (750, 1333))
        spent.append(time.process_time() - start)
    assert min(spent) < 0.1


def test_corners_stay_corners_as_in_pagoda(rng):
    pytest.importorskip("torch")
    preprocess = pytest.importorskip("pagoda.preprocess")
    import torch

    for height, width, tall, wide in sizes(rng, 120):
        planes = draw(rng, 3, height, width)
        spec = preprocess.InputSpec(fit="stretch", canvas=(min(tall, 2**15), wide), resample="corners")
        expected = spec.resize(torch.from_numpy(planes)).numpy()
        assert np.array_equal(resize(planes, spec.canvas, "corners"), expected), (height, width, tall, wide)
