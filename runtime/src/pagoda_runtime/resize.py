"""Pixels at another size, equal to the bit to what the model was trained on. H, W sides of a picture.

Antialiased bilinear resizing of bytes is whole-number arithmetic in PyTorch (and so in torchvision): the weights of
each output pixel are rounded to 16 bits, with as many binary places as the largest of them leaves room for; columns
first, then rows, each rounded to bytes. Sums of whole numbers are exact in floating point as long as the mantissa
holds them, in whatever order they are added, so that matrix products give the very same bytes. PyTorch computes so on
x86 processors with AVX2 and on ARM; on x86 without AVX2 torchvision goes through single precision, and may round one
grey value otherwise.
"""

from collections.abc import Iterator
from functools import lru_cache
from math import ceil, floor
from typing import Literal

import numpy as np
from PIL import Image

Resample = Literal["antialias", "bicubic", "float", "corners"]
BLOCK = 16
"""output pixels that are computed by one matrix product, from the input pixels which any of them sees"""
SERIAL = 2**18
"""multiplications of one product at most: beyond, OpenBLAS starts threads, which cost more than they bring here"""
MAX_PRECISION = 22
"""binary places of the weights at most, however small they are"""
SINGLE_PRECISION = 16
"""binary places up to which 255 times the weights' sum and its half fit into the 24 bits of a float32"""


def resize(planes: np.ndarray, size: tuple[int, int], resample: Resample = "antialias") -> np.ndarray:
    """uint8 (C, H, W) at another (height, width); the same array where it has that size.

    "antialias": bilinear over all pixels that shrink into one; "bicubic": Pillow's; "float": bilinear between the
    four nearest pixels in single precision, then rounded; "corners": likewise, the outermost pixels staying outermost.
    """
    if planes.shape[1:] == size:
        return planes
    if resample == "float":
        return bilinear(planes, size)
    if resample == "corners":
        return between_corners(planes, size)
    if resample == "bicubic":
        return bicubic(planes, size)
    return antialias(planes, size)


def antialias(planes: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """uint8 (C, H, W) resized as `torchvision.transforms.v2.functional.resize(…, antialias=True)` does."""
    channels, height, width = planes.shape
    if width != size[1]:
        wide = np.empty((channels, height, size[1]), np.uint8)
        for out, seen, weights in blocks(width, size[1]):
            step = max(1, SERIAL // weights.size)
            for rows in _slices(height, step):
                _to_bytes(planes[:, rows, seen].astype(weights.dtype) @ weights.T, wide[:, rows, out])
        planes = wide
    if height == size[0]:
        return planes
    tall = np.empty((channels, *size), np.uint8)
    for out, seen, weights in blocks(height, size[0]):
        step = max(1, SERIAL // weights.size)
        for columns in _slices(size[1], step):
            _to_bytes(weights @ planes[:, seen, columns].astype(weights.dtype), tall[:, out, columns])
    return tall


def _slices(length: int, step: int) -> Iterator[slice]:
    return (slice(start, start + step) for start in range(0, length, step))


def _to_bytes(sums: np.ndarray, out: np.ndarray) -> None:
    sums += 0.5
    np.minimum(sums, 255, out=sums)
    out[...] = sums


@lru_cache(maxsize=16)
def blocks(before: int, after: int) -> list[tuple[slice, slice, np.ndarray]]:
    """(output pixels, input pixels they see, weights (outputs, inputs)) along a side that is resized."""
    first, weights = rounded_weights(before, after)
    parts = []
    for start in range(0, after, BLOCK):
        out = slice(start, min(start + BLOCK, after))
        low = int(first[out].min())
        place = first[out, None] - low + np.arange(weights.shape[1])
        matrix = np.zeros((out.stop - start, int(place.max()) + 1), weights.dtype)
        np.put_along_axis(matrix, place, weights[out], axis=1)
        end = min(before, low + matrix.shape[1])
        parts.append((out, slice(low, end), matrix[:, : end - low]))
    return parts


def rounded_weights(before: int, after: int) -> tuple[np.ndarray, np.ndarray]:
    """(first input pixel (after,), weights (after, n) of it and those that follow) along a side.

    Triangles as wide as the pixels that shrink into one, each sum 1, rounded to whole multiples of 2⁻ᵖ; p is the
    largest for which the largest weight is below 2¹⁵ such multiples.
    """
    scale = before / after
    support = max(scale, 1.0)
    centers = scale * (np.arange(after) + 0.5)
    first = np.maximum((centers - support + 0.5).astype(np.int64), 0)
    count = np.minimum((centers + support + 0.5).astype(np.int64), before) - first
    places = np.arange(int(count.max()))
    distance = np.abs((places + first[:, None] - centers[:, None] + 0.5) * (1 / support))
    weights = np.where(places < count[:, None], np.maximum(1 - distance, 0), 0)
    total = np.zeros(after)
    for column in weights.T:  # added up one after the other, as rounding depends on it
        total += column
    weights /= total[:, None]
    precision = 0
    while precision < MAX_PRECISION and int(0.5 + weights.max() * 2 ** (precision + 1)) < 2**15:
        precision += 1
    weights = np.floor(weights * 2**precision + 0.5) / 2**precision
    return first, weights.astype(np.float32 if precision <= SINGLE_PRECISION else np.float64)


def bicubic(planes: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """uint8 (C, H, W) resized by Pillow, a fourth channel by itself: Pillow would weigh colours by their opacity."""
    side = (size[1], size[0])
    parts = [Image.fromarray(plane).resize(side, Image.Resampling.BICUBIC) for plane in planes]
    return np.stack([np.asarray(part) for part in parts])


def bilinear(planes: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """uint8 (C, H, W) between the four nearest pixels, in single precision, then rounded to even.

    As `torch.nn.functional.interpolate` has it on processors that multiply and add in one step; where the new height
    and width are below 129 together, PyTorch adds in another order and may round one of 50,000 values otherwise.
    """
    low, high, down = _neighbours(planes.shape[1], size[0])
    left, right, across = _neighbours(planes.shape[2], size[1])
    resized = np.empty((len(planes), *size), np.uint8)
    for plane, out in zip(planes.astype(np.float32), resized, strict=True):
        rows = _between(plane[:, left], plane[:, right], across)
        out[...] = np.rint(_between(rows[low], rows[high], down[:, None]))
    return resized


def between_corners(planes: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """uint8 (C, H, W) whose first and last pixels stay first and last, bilinear in single precision, then rounded.

    >>> between_corners(np.array([[[0, 10, 40]]], np.uint8), (1, 5)).tolist()
    [[[0, 5, 10, 25, 40]]]
    """
    wide = _along(planes.astype(np.float32), size[1], 2)
    return np.rint(_along(wide, size[0], 1)).astype(np.uint8)


def _along(pixels: np.ndarray, after: int, axis: int) -> np.ndarray:
    before = pixels.shape[axis]
    step = np.float32((before - 1) / (after - 1) if after > 1 else 0)
    place = np.arange(after, dtype=np.float32) * step
    low = np.minimum(place.astype(np.int64), before - 1)
    share = place - low.astype(np.float32)
    low[-1], share[-1] = before - 1, 0  # the last is a copy
    high = np.minimum(low + 1, before - 1)
    share = share[:, None] if axis == 1 else share
    return pixels.take(low, axis) * (1 - share) + pixels.take(high, axis) * share


def _between(before: np.ndarray, after: np.ndarray, share: np.ndarray) -> np.ndarray:
    """float32 `before` · (1 - share) + `after` · share, of which only the second product is rounded by itself."""
    return (before.astype(np.float64) * (1 - share) + after * share).astype(np.float32)


def _neighbours(before: int, after: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(pixel before, pixel after, share of the latter) of each output pixel, all (after,)."""
    scale = float(np.float32(before) / np.float32(after))
    place = np.maximum((scale * (np.arange(after) + 0.5) - 0.5).astype(np.float32), np.float32(0))
    low = np.minimum(place.astype(np.int64), before - 1)
    share = np.clip(place - low.astype(np.float32), np.float32(0), np.float32(1))
    return low, np.minimum(low + 1, before - 1), share


def resize_mask(mask: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """(H, W) bool at another (height, width): bilinear over all pixels that shrink into one, inside from a half on.

    Of Pillow's filters this comes nearest to masks that are pasted at `size`, for small objects and large ones.
    """
    resized = np.zeros(size, bool)
    sides = [_window(np.asarray(mask.any(axis=1 - axis)), size[axis]) for axis in (0, 1)]
    if None in sides:
        return resized
    (rows, down, (top, bottom)), (columns, across, (left, right)) = sides  # type: ignore[misc]
    image = Image.fromarray(mask[rows, columns].view(np.uint8) * np.uint8(255))
    shown = image.resize(
        (across.stop - across.start, down.stop - down.start),
        Image.Resampling.BILINEAR,
        box=(left, top, right, bottom),
    )
    resized[down, across] = np.asarray(shown) >= 128
    return resized


def _window(is_inside: np.ndarray, after: int) -> tuple[slice, slice, tuple[float, float]] | None:
    """(pixels before, pixels after, where the latter begin and end within the former) around what is inside along a
    side; None where nothing is."""
    inside, before = np.flatnonzero(is_inside), len(is_inside)
    if not len(inside):
        return None
    scale = before / after
    start = max(0, floor(inside[0] / scale) - 1)
    stop = min(after, ceil((inside[-1] + 1) / scale) + 1)
    reach = ceil(max(1.0, scale)) + 1
    first = max(0, floor(start * scale) - reach)
    last = min(before, ceil(stop * scale) + reach)
    return slice(first, last), slice(start, stop), (start * scale - first, min(stop * scale, before) - first)
