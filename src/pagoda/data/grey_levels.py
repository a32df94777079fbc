"""Grey pictures of more than 8 bits that use a small part of their range, and copies of them that use all of it.

Cameras and scanners write 12 bits into 16: their white is 4095, which is nearly black where 65535 is white.
"""

import shutil
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from PIL import Image

from pagoda.atomic import write_atomically
from pagoda.pictures import DEEPEST, PictureError, how_to_stretch, is_picture, picture_facts, read_levels

DARK_SHARE = 0.25
"""Where the largest value over all pictures is below this share of the range, they are remarked"""


def grey_peak(path: str | Path) -> float | None:
    """The largest value of a grey picture of more than 8 bits; None for any other picture.

    Raises PictureError where the file cannot be read.
    """
    return float(read_levels(path).max()) if picture_facts(path).is_deep_grey else None


def dark_greys(peaks: dict[Path, float], folder: str | Path) -> str:
    """What `peaks`, the `grey_peak` of pictures, say of them together: a remark with its remedy, or "".

    `folder`: that of the data set, which is copied with the labels.
    """
    if not peaks:
        return ""
    brightest = max(peaks, key=lambda path: peaks[path])
    peak, full = peaks[brightest], white_of(brightest)
    if peak <= 0 or peak >= DARK_SHARE * full:
        return ""
    shade, remedy = round(peak / full * 255), how_to_stretch(brightest, 0, peak, within=folder)
    return (
        f"{len(peaks)} grey pictures of more than 8 bits reach only {peak:g} of {full:g}, so they become nearly"
        f" black (0 … {shade} of 255), the brightest is {brightest}; {remedy}"
    )


def white_of(path: str | Path) -> float:
    """The value that becomes 255."""
    return 1.0 if picture_facts(path).mode == "F" else float(DEEPEST)


def stretch_greys(source: str | Path, out: str | Path, *, top: float, bottom: float = 0) -> list[Path]:
    """Copies the folder `source` to the new folder `out`, with its deep grey pictures stretched to 16 bits.

    Of pictures of more than 8 bits `bottom` becomes 0 and `top` 65535, upright and in their own format; all other
    files, labels too, are copied as they are. Returns the stretched copies. Raises ValueError before anything is
    written where `out` exists, or where a picture has values outside `bottom` … `top` or several pages.
    """
    source, out = Path(source), Path(out)
    if not source.is_dir():
        raise FileNotFoundError(f"there is no folder {source} to stretch the grey pictures of")
    if out.exists():
        raise FileExistsError(f"{out} is there already; give a new folder for the copies")
    if not bottom < top:
        raise ValueError(f"top must be above bottom, got top={top:g}, bottom={bottom:g}")
    files = sorted(path for path in source.rglob("*") if path.is_file())
    deep = {path for path in files if is_picture(path) and _is_deep(path)}
    _check_values(deep, bottom, top)
    for path in files:
        copy = out / path.relative_to(source)
        copy.parent.mkdir(parents=True, exist_ok=True)
        if path in deep:
            _write(copy, _stretched(read_levels(path), bottom, top))
        else:
            shutil.copyfile(path, copy)
    return [out / path.relative_to(source) for path in sorted(deep)]


def _is_deep(path: Path) -> bool:
    try:
        return picture_facts(path).is_deep_grey
    except PictureError:
        return False  # copied as it is; whoever reads it will say what is wrong


def _check_values(paths: Iterable[Path], bottom: float, top: float) -> None:
    for path in paths:
        if picture_facts(path).num_frames > 1:
            raise ValueError(
                f"{path} has several pages, of which only the first would be kept; split it first"
            )
        levels = read_levels(path)
        if not (levels.min() >= bottom and levels.max() <= top):  # NaN fails this too
            raise ValueError(
                f"{path} holds values {levels.min():g} … {levels.max():g}, outside {bottom:g} … {top:g};"
                " give top and bottom that hold for all"
            )


def _stretched(levels: np.ndarray, bottom: float, top: float) -> np.ndarray:
    return np.rint((levels.astype(np.float64) - bottom) * (DEEPEST / (top - bottom))).astype(np.uint16)


def _write(path: Path, levels: np.ndarray) -> None:
    kind = Image.registered_extensions()[path.suffix.lower()]
    write_atomically(path, lambda temporary: Image.fromarray(levels).save(temporary, format=kind))
