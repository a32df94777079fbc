"""Masks are Pagoda's pixels, whatever the boxes; without PyTorch, those of a slow loop; and quick, in little memory."""

import time
import tracemalloc

import numpy as np
import pytest

from pagoda_runtime.masks import RULES, paste_masks

pytestmark = pytest.mark.medium

TIE = 1e-5
"""a pixel whose probability is this near to the limit may be judged either way: sums of four products, in float32"""
KINDS = ("free", "clipped", "whole", "huge", "odd")


def draw(rng: np.random.Generator, count: int, size: tuple[int, int], kind: str) -> np.ndarray:
    """Boxes of every width from a twentieth of a pixel up, across borders, on whole pixels, or far larger than the
    picture; "odd" ones are empty, inside out, or not finite."""
    height, width = size
    center = rng.random((count, 2)) * [width, height]
    side = np.exp(rng.uniform(np.log(0.05), np.log(2 * max(height, width)), (count, 2)))
    if kind == "huge":
        center, side = rng.uniform(-3000, 3000, (count, 2)), rng.uniform(0, 6000, (count, 2))
    boxes = np.concatenate([center - side / 2, center + side / 2], axis=1)
    boxes = np.clip(boxes, 0, [width, height] * 2) if kind == "clipped" else boxes
    boxes = np.round(boxes) if kind == "whole" else boxes
    if kind == "odd":
        boxes[::2, 2:] = boxes[::2, :2]  # without area
        boxes[1::4] = boxes[1::4, [2, 3, 0, 1]]  # inside out
        boxes[3::8, 1] = np.nan
        boxes[7::8, 2] = np.inf
    return boxes.astype(np.float32)


def cells(rng: np.random.Generator, count: int, side: int = 28) -> np.ndarray:
    return (1 / (1 + np.exp(-rng.normal(0, 3, (count, side, side))))).astype(np.float32)


def probability(inside: np.ndarray, box: np.ndarray, y: int, x: int, rule: str) -> float:
    """Of one pixel, in float64; boxes are cut to whole pixels in float32, as everywhere."""
    if rule == "whole_pixels":
        count = len(inside)
        half = (box[2:] - box[:2]) / 2 * np.float32((count + 2) / count)
        center = (box[:2] + box[2:]) / 2
        box = np.trunc(np.concatenate([center - half, center + half]))
        inside = np.pad(inside, 1)
    total = 0.0
    places = []
    for at, start, end in ((y, box[1], box[3]), (x, box[0], box[2])):
        start, end = float(start), float(end)
        if rule == "whole_pixels":
            length = max(end - start + 1, 1)
            if not start <= at < start + length:
                return 0.0
            places.append(min(max((at - start + 0.5) * len(inside) / length - 0.5, 0), len(inside) - 1))
        elif end == start:
            return 0.0
        else:
            places.append((at + 0.5 - start) / (end - start) * len(inside) - 0.5)
    for row in range(int(np.floor(places[0])), int(np.floor(places[0])) + 2):
        for column in range(int(np.floor(places[1])), int(np.floor(places[1])) + 2):
            if 0 <= row < len(inside) and 0 <= column < len(inside):
                weight = (1 - abs(places[0] - row)) * (1 - abs(places[1] - column))
                total += weight * float(inside[row, column])
    return total


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("kind", KINDS)
def test_pixels_are_those_of_pagoda(rng, rule, kind):
    """Of some 25 million pixels for each rule; those that differ lie at the limit."""
    torch = pytest.importorskip("torch")
    masks = pytest.importorskip("pagoda.ops.masks")
    differing = total = inside = 0
    for number in range(8):
        size = tuple(int(side) for side in rng.integers(1, 320, 2))
        boxes, probabilities = draw(rng, 30, size, kind), cells(rng, 30, (28, 14, 7, 56)[number % 4])
        limit = float(rng.choice([0.5, 0.5, 0.3, 0.05]))
        options = {"rule": rule, "min_probability": limit}
        expected = masks.paste_masks(
            torch.from_numpy(probabilities), torch.from_numpy(boxes), size, **options
        ).numpy()
        found = paste_masks(probabilities, boxes, size, **options)
        assert found.shape == expected.shape and found.dtype == bool
        for row, y, x in np.argwhere(found != expected):
            assert abs(probability(probabilities[row], boxes[row], y, x, rule) - limit) < TIE
        differing, total, inside = (
            differing + (found != expected).sum(),
            total + found.size,
            inside + found.sum(),
        )
    assert differing <= 1e-6 * total and inside > (0 if kind == "odd" else 5_000)


@pytest.mark.parametrize("rule", RULES)
def test_pixels_are_those_of_a_slow_loop(rng, rule):
    """Needs no torch."""
    compared = 0
    for kind in KINDS[:4]:
        boxes, probabilities = draw(rng, 6, (11, 17), kind), cells(rng, 6, 5)
        found = paste_masks(probabilities, boxes, (11, 17), rule=rule)
        for row, y, x in np.ndindex(found.shape):
            value = probability(probabilities[row], boxes[row], y, x, rule)
            if abs(value - 0.5) > TIE:
                compared += 1
                assert found[row, y, x] == (value > 0.5), (kind, boxes[row], y, x, value)
    assert compared > 0.99 * 4 * 6 * 11 * 17


def test_the_limit_itself_belongs_to_one_rule_and_not_to_the_other():
    half, box = np.full((1, 4, 4), 0.5, np.float32), np.array([[0, 0, 8, 8]], np.float32)
    assert paste_masks(half, box, (8, 8))[0, 2:6, 2:6].all()
    assert not paste_masks(half, box, (8, 8), rule="whole_pixels").any()
    assert paste_masks(half[:0], box[:0], (8, 8)).shape == (0, 8, 8)


def test_other_rules_are_refused():
    with pytest.raises(ValueError, match="rule must be continuous or whole_pixels, got 'glue'"):
        paste_masks(np.ones((1, 2, 2), np.float32), np.ones((1, 4), np.float32), (3, 3), rule="glue")


def hundred(rng: np.random.Generator, size: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Masks in boxes of a twentieth to six tenths of the picture's sides."""
    frame = np.array([size[1], size[0]])
    center, side = rng.random((100, 2)) * frame, rng.uniform(0.05, 0.6, (100, 2)) * frame
    boxes = np.clip(np.concatenate([center - side / 2, center + side / 2], axis=1), 0, np.tile(frame, 2))
    return cells(rng, 100), boxes.astype(np.float32)


@pytest.mark.parametrize("rule", RULES)
def test_a_hundred_masks_take_no_time(rng, rule):
    """13 and 16 ms of an Intel Xeon with AMX; the limit leaves room for slower processors."""
    probabilities, boxes = hundred(rng, (480, 640))
    spent = []
    for _ in range(5):
        start = time.process_time()
        paste_masks(probabilities, boxes, (480, 640), rule=rule)
        spent.append(time.process_time() - start)
    assert min(spent) < 0.1


def test_little_is_held_besides_the_masks(rng):
    """Of masks as large as a picture of 12 megapixels, whose probabilities would take 48 MB each."""
    boxes = np.array([[-100, -100, 5000, 4000], [1000, 10, 3900, 2990]], np.float32)
    tracemalloc.start()
    try:
        pasted = paste_masks(cells(rng, 2), boxes, (3000, 4000))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak - pasted.nbytes < 8e6
