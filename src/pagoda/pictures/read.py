"""Pictures from anywhere as RGB arrays: (H, W, 3) uint8, upright, three channels whatever the file held.

One rule for every reader here: the EXIF rotation is applied, alpha is dropped, 16-bit grey is scaled from
0 … 65535, and a picture that cannot be read whole raises `PictureError` with its name and the reason. A LabelMe file
with imageData stands for the picture inside it.
"""

import base64
import http.client
import struct
import threading
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import BinaryIO, Literal, NamedTuple

import numpy as np
import torch
from PIL import Image, ImageFile

from pagoda.files.text import read_json
from pagoda.pictures.arrays import ReadPicture, from_array, from_tensor, with_alpha
from pagoda.pictures.bands import bands
from pagoda.pictures.errors import PictureError, instead_of_picture
from pagoda.pictures.files import (
    NOT_PICTURES,
    find_pictures,
    is_other_file,
    is_picture,
    list_pictures,
    natural_order,
    other_files,
    other_files_note,
    other_files_words,
    picture_endings,
)
from pagoda.pictures.orientation import orientation, upright, upright_and_stored
from pagoda.pictures.rgb import how_to_stretch, rgb_strips
from pagoda.pictures.samples import check_beside, file_of_sample, is_sample
from pagoda.pictures.strips import in_multiples, range_of_levels
from pagoda.plain import checked

__all__ = [
    "PictureError",
    "PictureFacts",
    "find_pictures",
    "how_to_stretch",
    "is_address",
    "is_other_file",
    "is_picture",
    "is_sample",
    "level_range",
    "list_pictures",
    "natural_order",
    "other_files",
    "other_files_note",
    "other_files_words",
    "picture_endings",
    "picture_facts",
    "picture_inside",
    "picture_size",
    "read_frames",
    "read_levels",
    "read_picture",
    "read_strips",
    "stored_size",
    "to_picture",
]

MAX_PIXELS = 2**29
"""Larger pictures are refused: 23 170 pixels squared, 1.6 GB as RGB."""

PNG_PIXELS_PER_BYTE = 8 * 1032
"""At most: deflate never makes more than 1032 bytes of one, and a pixel has at least a bit"""

SEQUENCES = frozenset(("GIF", "WEBP", "PNG", "AVIF", "FLI", "TIFF"))
"""Formats whose files may hold several frames of one size; in others further pictures are previews or layers"""

MAX_DOWNLOAD_BYTES = 64 * 2**20
DOWNLOAD_TIMEOUT_SECONDS = 20.0

_pillow_limit = threading.Lock()
# Pillow reports broken files by whichever exception its decoder met first.
_UNREADABLE = (OSError, SyntaxError, ValueError, EOFError, struct.error, Image.DecompressionBombError)


@checked
def read_picture(path: str | Path, *, channels: Literal[3, 4] = 3) -> np.ndarray:
    """The file as (H, W, 3) uint8 RGB, contiguous, upright by its EXIF orientation; with 4 channels as RGBA, opaque
    (255) where the file tells of no transparency.

    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     Image.new("L", (3, 2), 7).save(f"{folder}/a.png")
    ...     picture = read_picture(f"{folder}/a.png")
    >>> picture.shape, picture[0, 0].tolist()
    ((2, 3, 3), [7, 7, 7])
    """
    with _opened(path, str(path)) as image:
        return _to_pixels(image, str(path), channels)


def read_strips(path: str | Path, *, multiple: int = 1) -> Iterator[np.ndarray]:
    """What `read_picture` returns, as strips (h, W, 3) from top to bottom, of which none is held here.

    h is a multiple of `multiple`, but for the last strip. Of many TIFF and PNG files no more than a band of rows is
    ever decoded (`pictures.bands`); others Pillow holds whole, at four bytes a pixel.

    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     Image.new("L", (2**18, 9)).save(f"{folder}/a.png")
    ...     [strip.shape[0] for strip in read_strips(f"{folder}/a.png", multiple=3)]
    [3, 3, 3]
    """
    with _opened(path, str(path)) as image:
        is_plain = orientation(image) == 1 and not image.mode.startswith(("I", "F"))
        parts = (bands(image) if is_plain else None) or [upright(image)]
        found = (strip for part in parts for _, strip in rgb_strips(part, str(path)))
        for strip in in_multiples(found, multiple):
            yield np.array(np.broadcast_to(strip, (*strip.shape[:2], 3)))


def picture_size(path: str | Path) -> tuple[int, int]:
    """(height, width) of what `read_picture` would return, without decoding it.

    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     Image.new("RGB", (3, 2)).save(f"{folder}/a.png")
    ...     picture_size(f"{folder}/a.png")
    (2, 3)
    """
    with _opened(path, str(path)) as image:
        return upright_and_stored(image)[0]


def stored_size(path: str | Path) -> tuple[int, int]:
    """(height, width) as the pixels lie in the file, before any EXIF rotation."""
    with _opened(path, str(path)) as image:
        return upright_and_stored(image)[1]


class PictureFacts(NamedTuple):
    """What a file says of itself before its pixels are decoded."""

    size: tuple[int, int]
    """(height, width), upright"""
    stored: tuple[int, int]
    mode: str
    """Pillow's: "L", "RGB", "I;16" …"""
    orientation: int
    """EXIF: 1 upright"""
    num_frames: int
    """of an animation, or pages; `read_picture` reads the first"""
    is_deep: bool
    """more than 8 bits per channel, which are scaled to 8 by their full range"""

    @property
    def is_deep_grey(self) -> bool:
        """Pillow has all its bits; of deep colours it keeps the upper 8."""
        return self.mode.startswith(("I", "F"))


def read_levels(path: str | Path) -> np.ndarray:
    """The values of a grey picture of more than 8 bits, (H, W) as stored, upright."""
    with _opened(path, str(path)) as image:
        return np.asarray(upright(image))


def level_range(path: str | Path) -> tuple[float, float]:
    """(lowest, highest) value as Pillow reads them: all bits of greys, the upper 8 of colours; nan where one is.

    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     Image.new("I;16", (3, 2), 4095).save(f"{folder}/a.png")
    ...     low, high = level_range(f"{folder}/a.png")
    >>> int(low), int(high)
    (4095, 4095)
    """
    with _opened(path, str(path)) as image:
        return range_of_levels(image)


def picture_facts(path: str | Path) -> PictureFacts:
    """What a picture's header says; only frames of a GIF and pages of a TIFF have to be counted.

    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     Image.new("I;16", (3, 2)).save(f"{folder}/a.png")
    ...     picture_facts(f"{folder}/a.png")
    PictureFacts(size=(2, 3), stored=(2, 3), mode='I;16', orientation=1, num_frames=1, is_deep=True)
    """
    with _opened(path, str(path)) as image:
        size, stored = upright_and_stored(image)
        count = _num_frames(image) - bool(getattr(image, "default_image", False))
        is_deep = image.mode.startswith(("I", "F")) or any(";16" in str(tile) for tile in image.tile)
        return PictureFacts(size, stored, image.mode, orientation(image), max(1, count), is_deep)


def read_frames(path: str | Path, *, default_seconds: float) -> Iterator[tuple[np.ndarray, float]]:
    """((H, W, 3) uint8 RGB, seconds it is shown) of every frame of an animated picture, or page of a TIFF.

    A GIF, WebP or PNG frame of a hundredth of a second or less is shown for a tenth, as programs that show them do;
    pages have no times and take `default_seconds` each.
    """
    with _opened(path, str(path)) as image:
        # The picture an animated PNG has for programs that know no animation is no frame of it.
        first = 1 if getattr(image, "default_image", False) else 0
        turn = orientation(image)
        for number in range(first, _num_frames(image)):
            image.seek(number)
            if _is_reduced_page(image):
                continue
            pixels = _to_rgb(image, f"frame {number} of {path}", turn)
            yield pixels, _seconds_shown(image, default_seconds)


def _num_frames(image: Image.Image) -> int:
    return getattr(image, "n_frames", 1) if image.format in SEQUENCES else 1


def _seconds_shown(image: Image.Image, default_seconds: float) -> float:
    if image.format == "TIFF":
        return default_seconds
    milliseconds = float(image.info.get("duration") or 0)
    return 0.1 if milliseconds <= 10 else milliseconds / 1000


def _is_reduced_page(image: Image.Image) -> bool:
    """A page of a TIFF that repeats another in small, or is its mask."""
    return image.format == "TIFF" and bool(getattr(image, "tag_v2", {}).get(254, 0) & 0b101)


@checked
def to_picture(source: object, *, channels: Literal[3, 4] = 3) -> tuple[np.ndarray, str | None]:
    """Any picture as ((H, W, 3) uint8 RGB, its name if it has one); with 4 channels as RGBA, as `read_picture` does.

    `source`: a path; an http(s) address; the bytes of a file, also as a BytesIO; a PIL image; an array (H, W),
    (H, W, 3) or (H, W, 4) in RGB order; a tensor (3, H, W) or (1, H, W), for RGBA also (4, H, W). Arrays and tensors
    are uint8, or floating point within 0 … 1. A sample of supervision's or FiftyOne's data sets stands for its file.
    Raises PictureError for a picture that cannot be read, TypeError for a source of another kind.

    >>> pixels, name = to_picture(torch.ones(3, 2, 5))
    >>> pixels.shape, int(pixels.max()), name
    ((2, 5, 3), 255, None)
    """
    if isinstance(source, ReadPicture):
        return source.pixels, source.name
    if isinstance(source, str) and is_address(source):
        with _opened(BytesIO(_download(source)), source) as image:
            name = Path(urllib.parse.unquote(urllib.parse.urlparse(source).path)).name
            return _to_pixels(image, source, channels), name or source
    if isinstance(source, str | Path):
        return read_picture(source, channels=channels), str(source)
    if isinstance(source, bytes | bytearray | memoryview | BytesIO):
        content = source.getvalue() if isinstance(source, BytesIO) else bytes(source)
        with _opened(BytesIO(content), "the given bytes") as image:
            return _to_pixels(image, "the given bytes", channels), None
    if isinstance(source, Image.Image):
        file_name = str(getattr(source, "filename", "")) or None
        return _to_pixels(source, file_name or "the given PIL image", channels), file_name
    if isinstance(source, torch.Tensor):
        return from_tensor(source, channels), None
    if isinstance(source, np.ndarray):
        return from_array(source, channels=channels), None
    if is_sample(source):
        file = file_of_sample(source)
        pixels = read_picture(file, channels=channels)
        check_beside(pixels, source)
        return pixels, file
    raise TypeError(
        f"a picture must be a path, an http(s) address, bytes of a file, a PIL image, a numpy array, a torch tensor or"
        f" a sample of supervision or FiftyOne, got {type(source).__name__}"
    )


def is_address(source: str) -> bool:
    """Whether a source is an http(s) address, which is fetched, and no path.

    >>> is_address("https://example.org/a.jpg"), is_address("a.jpg")
    (True, False)
    """
    return source.lower().startswith(("http://", "https://"))


@contextmanager
def _opened(file: str | Path | BinaryIO, name: str) -> Iterator[ImageFile.ImageFile]:
    """The lazily opened picture; whatever Pillow raises inside becomes a `PictureError` with the name."""
    try:
        with _open_large(picture_inside(file)) as image:
            if image.width * image.height > MAX_PIXELS:
                raise PictureError(
                    f"cannot read {name}: {image.height}×{image.width} is more than the {MAX_PIXELS} pixels"
                    " allowed (pagoda.pictures.read.MAX_PIXELS); cut it into tiles"
                )
            if (
                image.format == "PNG"
                and image.width * image.height > _file_bytes(image) * PNG_PIXELS_PER_BYTE
            ):
                raise PictureError(
                    f"cannot read {name}: {_file_bytes(image)} bytes cannot hold the {image.height}×{image.width}"
                    " pixels that its header tells of; it is damaged or cut off"
                )
            if image.format in NOT_PICTURES:
                raise PictureError(f"cannot read {name}: {image.format} is no format of pictures")
            yield image
    except PictureError:
        raise
    except FileNotFoundError as error:
        raise PictureError(f"cannot read {name}: there is no such file") from error
    except Image.UnidentifiedImageError as error:
        raise PictureError(f"cannot read {name}: {instead_of_picture(file)}") from error
    except MemoryError as error:
        raise PictureError(
            f"cannot read {name}: there is too little memory for its pixels; cut it into tiles"
        ) from error
    except _UNREADABLE as error:
        raise PictureError(f"cannot read {name}: {error or type(error).__name__}") from error


def _file_bytes(image: ImageFile.ImageFile) -> int:
    """The size of the file, told without reading it."""
    assert image.fp is not None
    at = image.fp.tell()
    size = image.fp.seek(0, 2)
    image.fp.seek(at)
    return size


def picture_inside(file: str | Path | BinaryIO) -> str | Path | BinaryIO:
    """The picture within a LabelMe file; any other file is its own picture."""
    if not isinstance(file, str | Path) or not str(file).lower().endswith(".json"):
        return file
    content = read_json(file)
    data = content.get("imageData") if isinstance(content, dict) else None
    if not isinstance(data, str) or not data:
        raise PictureError(
            f"cannot read {file}: a JSON file is a picture only where it has imageData, as LabelMe's"
        )
    return BytesIO(base64.b64decode(data.rpartition(",")[2]))


def _open_large(file: str | Path | BinaryIO) -> ImageFile.ImageFile:
    """Image.open without Pillow's own limit, which is global and stops at 179 million pixels."""
    with _pillow_limit:
        before = Image.MAX_IMAGE_PIXELS
        Image.MAX_IMAGE_PIXELS = None
        try:
            return Image.open(file)
        finally:
            Image.MAX_IMAGE_PIXELS = before


def _to_pixels(image: Image.Image, name: str, channels: int) -> np.ndarray:
    """Upright RGB, or RGBA."""
    if channels == 3:
        return _to_rgb(image, name)
    image = upright(image)
    colors = _to_rgb(image, name, turn=1)
    alpha = np.array(image.convert("RGBA").getchannel("A")) if image.has_transparency_data else None
    return with_alpha(colors, alpha)


def _to_rgb(image: Image.Image, name: str, turn: int | None = None) -> np.ndarray:
    """Upright RGB."""
    image = upright(image, turn)
    pixels = np.empty((image.height, image.width, 3), np.uint8)
    for rows, strip in rgb_strips(image, name):
        pixels[rows] = strip
    return pixels


def _download(address: str) -> bytes:
    # As browsers do it: spaces and letters beyond ASCII are written in %XX, what is so already stays.
    asked = urllib.parse.quote(address, safe="%/:?#[]@!$&'()*+,;=~")
    try:
        with urllib.request.urlopen(asked, timeout=DOWNLOAD_TIMEOUT_SECONDS) as answer:
            content = answer.read(MAX_DOWNLOAD_BYTES + 1)
    except (OSError, http.client.HTTPException, ValueError) as error:  # ValueError: no address at all
        raise PictureError(f"cannot fetch {address}: {error}") from error
    if len(content) > MAX_DOWNLOAD_BYTES:
        raise PictureError(
            f"cannot fetch {address}: it has more than {MAX_DOWNLOAD_BYTES} bytes; save it first"
        )
    return content
