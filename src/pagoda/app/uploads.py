"""Files that somebody hands over: which are videos, and their pixels within what a page can show."""

from pathlib import Path
from typing import Literal

import numpy as np

from pagoda.drawing.objects import MAX_DRAWN_PIXELS
from pagoda.pictures.read import PictureError, is_picture, picture_facts, picture_size, read_picture
from pagoda.plain import checked
from pagoda.video.frames import VideoSource

MAX_FRAME_PIXELS = 2**23
"""of a video's frame: nearly 4K"""


@checked
def is_film(path: str | Path) -> bool:
    """Whether a file is followed frame by frame: a video, or a picture of several frames.

    What is broken counts by its ending, so that reading it says what is wrong.

    >>> is_film("street.mp4"), is_film("street.jpg")
    (True, False)
    """
    if not is_picture(path):
        return True
    try:
        return picture_facts(path).num_frames > 1
    except PictureError:
        return False


@checked
def read_upload(path: str | Path, *, channels: Literal[3, 4] = 3) -> np.ndarray:
    """(H, W, 3) RGB uint8, upright, or RGBA with 4 channels; of a video its first frame.

    Raises PictureError, which names the file without its folder, for what cannot be read, and for pictures of more than
    MAX_DRAWN_PIXELS and frames of more than MAX_FRAME_PIXELS, before any pixel of a picture is decoded.

    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     path = Path(folder, "a.png")
    ...     _ = path.write_bytes(b"")
    ...     read_upload(path)
    Traceback (most recent call last):
    pagoda.pictures.errors.PictureError: cannot read a.png: empty, or no picture in a known format
    """
    path = Path(path)
    try:
        if is_film(path):
            return _first_frame(path)
        _check_size(path, picture_size(path), MAX_DRAWN_PIXELS, "pagoda predict takes larger ones")
        return read_picture(path, channels=channels)
    except (PictureError, OSError) as error:
        raise PictureError(without_folder(str(error), path)) from error


def without_folder(text: str, path: str | Path) -> str:
    """What is said of an uploaded file, whose folder is nobody's concern.

    >>> without_folder("cannot read /tmp/x/a.png: empty", "/tmp/x/a.png")
    'cannot read a.png: empty'
    """
    return text.replace(str(path), Path(path).name)


def _first_frame(path: Path) -> np.ndarray:
    frame = next(iter(VideoSource(path))).picture
    _check_size(path, frame.shape[:2], MAX_FRAME_PIXELS, "pagoda track follows larger ones")
    return frame


def _check_size(path: Path, size: tuple[int, ...], most: int, remedy: str) -> None:
    if size[0] * size[1] > most:
        raise PictureError(
            f"{path} has {size[0]}×{size[1]} pixels, and a page shows at most {most} of one; {remedy}"
        )
