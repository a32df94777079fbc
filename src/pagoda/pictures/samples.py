"""Samples of other programs' data sets, each of which names the file of its picture."""

from pathlib import Path
from typing import Any, TypeGuard

import numpy as np

from pagoda.pictures.errors import PictureError

MOST_APART = 8.0
"""grey values of 255, on average: two programs read one JPEG a little differently, another picture is further off"""


def is_sample(source: object) -> bool:
    """Whether a source is a sample: supervision's (path, array, annotations), or anything with a `filepath`, as
    FiftyOne's have.

    >>> from types import SimpleNamespace
    >>> is_sample(SimpleNamespace(filepath="a.jpg")), is_sample(("a.jpg", "b.jpg"))
    (True, False)
    """
    return _is_triple(source) or isinstance(getattr(source, "filepath", None), str)


def _is_triple(source: object) -> TypeGuard[tuple[str | Path, np.ndarray, Any]]:
    if not isinstance(source, tuple) or len(source) != 3:
        return False
    path, array, annotations = source
    return isinstance(path, str | Path) and isinstance(array, np.ndarray) and hasattr(annotations, "xyxy")


def file_of_sample(sample: Any) -> str:
    """The path of a sample's picture.

    >>> from types import SimpleNamespace
    >>> file_of_sample(SimpleNamespace(filepath="a.jpg"))
    'a.jpg'
    """
    return str(sample[0]) if _is_triple(sample) else sample.filepath


def check_beside(pixels: np.ndarray, sample: Any) -> None:
    """Raises PictureError unless the array of a supervision sample is the picture of its file, `pixels` (H, W, C) RGB.

    The array tells nobody whether it is BGR, as supervision reads files, or RGB, as others fill it in: the file is what
    counts, and an array that is another picture may not be passed over.
    """
    if not _is_triple(sample):
        return
    path, array = sample[0], sample[1]
    told = f"in the sample of {path} stands an array that is not the picture of the file"
    remedy = "hand over the array alone, in RGB order: array[..., ::-1] where it is BGR"
    if array.ndim != 3 or array.shape[:2] != pixels.shape[:2] or array.shape[2] < 3:
        raise PictureError(f"{told}: {array.shape} beside {pixels.shape}; {remedy}")
    seen = pixels[..., :3].astype(np.int16)
    apart = min(float(np.abs(seen - array[..., order]).mean()) for order in ([2, 1, 0], [0, 1, 2]))
    if apart > MOST_APART:
        raise PictureError(f"{told}: they differ by {apart:.0f} of 255 on average; {remedy}")
