"""Pictures of more than 8 bits that use a small part of their range, and copies of them that use all of it.

Cameras and scanners write 12 bits into 16: their white is 4095, which is nearly black where 65535 is white.
"""

import shutil
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from PIL import Image

from pagoda.files.atomic import write_atomically
from pagoda.messages import counted
from pagoda.pictures.orientation import TURNS
from pagoda.pictures.read import (
    PictureError,
    how_to_stretch,
    is_picture,
    level_range,
    picture_facts,
    read_levels,
)
from pagoda.pictures.strips import DEEPEST

DARK_SHARE = 0.25
"""Where the largest value over all pictures is below this share of the range, they are remarked"""


def peak_level(path: str | Path) -> float | None:
    """The largest value of a picture of more than 8 bits, of colours by their upper 8; None for any other picture.

    Raises PictureError where the file cannot be read.
    """
    facts = picture_facts(path)
    if not facts.is_deep:
        return None
    return float(level_range(path)[1]) * (1.0 if facts.is_deep_grey else 257.0)


def dark_levels(peaks: dict[Path, float], folder: str | Path) -> str:
    """What `peaks`, the `peak_level` of pictures, say of them together: a remark with its remedy, or "".

    `folder`: that of the data set, which is copied with the labels.

    >>> dark_levels({}, "data")
    ''
    """
    if not peaks:
        return ""
    brightest = max(peaks, key=lambda path: peaks[path])
    peak, full = peaks[brightest], 1.0 if picture_facts(brightest).mode == "F" else float(DEEPEST)
    if peak <= 0 or peak >= DARK_SHARE * full:
        return ""
    shade, remedy = round(peak / full * 255), how_to_stretch(brightest, 0, peak, within=folder)
    reach = counted(len(peaks), "picture of more than 8 bits reaches", "pictures of more than 8 bits reach")
    return (
        f"{reach} only {peak:g} of {full:g}, values that become nearly black"
        f" (0 … {shade} of 255), the brightest is {brightest}; {remedy}"
    )


def stretch_levels(source: str | Path, out: str | Path, *, top: float, bottom: float = 0) -> list[Path]:
    """Copies the folder `source` to the new folder `out`, with its pictures of more than 8 bits stretched.

    `bottom` becomes black and `top` white, upright and in the picture's own format: greys of 16 bits, colours of 8.
    All other files, labels too, are copied as they are. Returns the stretched copies. Raises ValueError before
    anything is written where a picture has values outside `bottom` … `top` or several pages, FileExistsError where
    `out` exists.
    """
    source, out = Path(source), Path(out)
    if not source.is_dir():
        raise FileNotFoundError(f"there is no folder {source} to stretch the pictures of")
    if out.exists():
        raise FileExistsError(f"{out} is there already; give a new folder for the copies")
    if not bottom < top:
        raise ValueError(f"top must be above bottom, got top={top:g}, bottom={bottom:g}")
    files = sorted(path for path in source.rglob("*") if path.is_file())
    deep = {path for path in files if is_picture(path) and _is_deep(path)}
    _check_values(sorted(deep), bottom, top)
    for path in files:
        copy = out / path.relative_to(source)
        copy.parent.mkdir(parents=True, exist_ok=True)
        if path in deep:
            _write(copy, _stretched(path, bottom, top))
        else:
            shutil.copyfile(path, copy)
    return [out / path.relative_to(source) for path in sorted(deep)]


def _is_deep(path: Path) -> bool:
    try:
        return picture_facts(path).is_deep
    except PictureError:
        return False  # copied as it is; whoever reads it will say what is wrong


def _check_values(paths: Iterable[Path], bottom: float, top: float) -> None:
    for path in paths:
        if picture_facts(path).num_frames > 1:
            raise ValueError(
                f"{path} has several pages, of which only the first would be kept; split it first"
            )
        levels = _levels(path)
        if not (levels.min() >= bottom and levels.max() <= top):  # NaN fails this too
            raise ValueError(
                f"{path} holds values {levels.min():g} … {levels.max():g}, outside {bottom:g} … {top:g};"
                " give top and bottom that hold for all"
            )


def _levels(path: Path) -> np.ndarray:
    """All bits of a deep picture: (H, W) upright of a grey one, (H, W, 3) as stored of a colour one."""
    if picture_facts(path).is_deep_grey:
        return read_levels(path)
    import av  # takes memory, and few pictures need it

    try:
        with av.open(str(path)) as container:  # Pillow would keep 8 bits of each colour
            return next(container.decode(video=0)).to_ndarray(format="rgb48le")
    except (av.FFmpegError, StopIteration) as error:
        raise PictureError(f"cannot read all bits of {path}: {error or 'it holds no picture'}") from error


def _stretched(path: Path, bottom: float, top: float) -> Image.Image:
    levels = (_levels(path).astype(np.float64) - bottom) / (top - bottom)
    if levels.ndim == 2:
        return Image.fromarray(np.rint(levels * DEEPEST).astype(np.uint16))
    image, turn = (
        Image.fromarray(np.rint(levels * 255).astype(np.uint8)),
        TURNS.get(picture_facts(path).orientation),
    )
    return image if turn is None else image.transpose(turn)


def _write(path: Path, image: Image.Image) -> None:
    kind = Image.registered_extensions()[path.suffix.lower()]
    write_atomically(path, lambda temporary: image.save(temporary, format=kind))
