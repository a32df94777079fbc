"""Any picture of Pillow as upright RGB, strip by strip; greys of more than 8 bits are scaled to it."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from pagoda.pictures.errors import PictureError
from pagoda.pictures.strips import DEEPEST, grey_to_bytes, range_of_levels, strips


def rgb_strips(image: Image.Image, name: str) -> Iterator[tuple[slice, np.ndarray]]:
    """(rows, (h, W, 3) or of deep greys (h, W, 1) uint8) of an upright picture called `name`.

    Greys of more than 8 bits are scaled by their full range, never by their content. Raises PictureError where one is
    out of it.

    >>> [(rows, strip.shape) for rows, strip in rgb_strips(Image.new("L", (3, 2)), "a.png")]
    [(slice(None, None, None), (2, 3, 3))]
    """
    if is_deep := image.mode.startswith(("I", "F")):
        _check_levels(image, name)
    for rows, strip in strips(image):
        if is_deep:
            yield rows, grey_to_bytes(np.asarray(strip))[..., None]
        else:
            yield rows, np.asarray(strip if strip.mode == "RGB" else strip.convert("RGB"))


def _check_levels(image: Image.Image, name: str) -> None:
    """Raises PictureError where a deep picture holds values that are none of the full range."""
    low, high = range_of_levels(image)
    if not np.isfinite((low, high)).all():
        raise PictureError(
            f"cannot read {name}: it holds NaN or infinity; replace them by numbers within 0 … 1"
        )
    if image.mode == "F" and (low < 0 or high > 1):
        raise PictureError(
            f"cannot read {name}: it must hold values within 0 … 1, got {low:g} … {high:g};"
            f" {how_to_stretch(name, low, high)}"
        )
    if low < 0 or high > DEEPEST:
        raise PictureError(
            f"cannot read {name}: grey values must lie within 0 … {DEEPEST}, got {low} … {high};"
            f" {how_to_stretch(name, low, high)}"
        )


def how_to_stretch(name: str | Path, low: float, high: float, *, within: str | Path | None = None) -> str:
    """The command that copies `within`, the folder of the file `name` where not given, to use the whole range."""
    if not Path(name).is_file():
        return f"scale them to 0 … {DEEPEST} and 16 bits first"
    file = Path(name).absolute()
    whole = file.parent if within is None else Path(within).absolute()
    folder = (whole if file.is_relative_to(whole) else file.parent).as_posix()
    # The bits a camera has; a range that begins elsewhere or is no whole number has no such end.
    has_bits = low >= 0 and high <= DEEPEST and high == int(high)
    top = 2 ** int(high).bit_length() - 1 if has_bits else high
    limits = f"top={_plain(top)}" + (f", bottom={_plain(low)}" if low < 0 else "")
    call = f"stretch_levels('{folder}', '{folder}-stretched', {limits})"
    return (
        "to make copies that use the whole range: python -c"
        f' "from pagoda.data.levels import stretch_levels; {call}"'
    )


def _plain(value: float) -> str:
    return repr(int(value) if value == int(value) else float(value))
