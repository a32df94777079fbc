"""Large pictures strip by strip: what is computed of their pixels is never held of all of them."""

from collections.abc import Iterable, Iterator

import numpy as np
from PIL import Image

STRIP_PIXELS = 2**20

DEEPEST = 65535
"""The largest grey value of more than 8 bits, which becomes 255"""


def strips(image: Image.Image) -> Iterator[tuple[slice, Image.Image]]:
    """(rows, the picture there) from top to bottom, whole where it is small.

    >>> [(rows, part.size) for rows, part in strips(Image.new("L", (2**19, 5)))]
    [(slice(0, 2, None), (524288, 2)), (slice(2, 4, None), (524288, 2)), (slice(4, 5, None), (524288, 1))]
    """
    height = max(1, STRIP_PIXELS // max(1, image.width))
    if image.height <= height:
        yield slice(None), image
        return
    for top in range(0, image.height, height):
        bottom = min(top + height, image.height)
        yield slice(top, bottom), image.crop((0, top, image.width, bottom))


def in_multiples(parts: Iterable[np.ndarray], multiple: int) -> Iterator[np.ndarray]:
    """The same rows in parts of which each has a multiple of so many, but for the last.

    >>> [len(part) for part in in_multiples([np.zeros(2), np.zeros(9), np.zeros(3)], 4)]
    [8, 4, 2]
    """
    left: np.ndarray | None = None
    for part in parts:
        joined = part if left is None or not len(left) else np.concatenate([left, part])
        whole = len(joined) // multiple * multiple
        if whole:
            yield joined[:whole]
        left = joined[whole:]
    if left is not None and len(left):
        yield left


def range_of_levels(image: Image.Image) -> tuple[float, float]:
    """(lowest, highest) value of a picture; nan where one is, (0, 0) where there is none.

    >>> low, high = range_of_levels(Image.fromarray(np.array([[3, 9]], np.uint8)))
    >>> int(low), int(high)
    (3, 9)
    """
    values = (np.asarray(strip) for _, strip in strips(image))
    ends = [(part.min(), part.max()) for part in values if part.size]
    return (np.min(ends), np.max(ends)) if ends else (0, 0)


def grey_to_bytes(grey: np.ndarray) -> np.ndarray:
    """uint8 of whole values 0 … `DEEPEST`, or of floats 0 … 1.

    >>> grey_to_bytes(np.array([0, 257, 65535])), grey_to_bytes(np.array([0.5, 1.0]))
    (array([  0,   1, 255], dtype=uint8), array([128, 255], dtype=uint8))
    """
    if np.issubdtype(grey.dtype, np.floating):
        return np.rint(grey * 255).astype(np.uint8)
    return ((grey.astype(np.int64) * 255 + DEEPEST // 2) // DEEPEST).astype(np.uint8)
