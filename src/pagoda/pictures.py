"""Pictures from anywhere as RGB arrays: (H, W, 3) uint8, upright, three channels whatever the file held.

One rule for every reader here: the EXIF rotation is applied, alpha is dropped, 16-bit grey is scaled from
0 … 65535, and a picture that cannot be read whole raises `PictureError` with its name and the reason. A LabelMe file
with imageData stands for the picture inside it.
"""

import base64
import glob
import struct
import threading
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import BinaryIO

import numpy as np
import torch
from PIL import ExifTags, Image, ImageOps

from pagoda.text_files import read_json

EXTENSIONS = frozenset(
    (".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp", ".gif", ".ppm", ".pgm", ".pbm")
)
"""What counts as a picture when a folder is listed; a file given by itself may end in anything."""

MAX_PIXELS = 2**29
"""Larger pictures are refused: 23 170 pixels squared, 1.6 GB as RGB."""

MAX_DOWNLOAD_BYTES = 64 * 2**20
DOWNLOAD_TIMEOUT_SECONDS = 20.0

_pillow_limit = threading.Lock()
# Pillow reports broken files by whichever exception its decoder met first.
_UNREADABLE = (OSError, SyntaxError, ValueError, EOFError, struct.error, Image.DecompressionBombError)


class PictureError(ValueError):
    """A picture cannot be used; the message names it and says why."""


def read_picture(path: str | Path) -> np.ndarray:
    """The file as (H, W, 3) uint8 RGB, contiguous, upright by its EXIF orientation."""
    with _opened(path, str(path)) as image:
        return _to_rgb(image, str(path))


def picture_size(path: str | Path) -> tuple[int, int]:
    """(height, width) of what `read_picture` would return, from the header alone."""
    with _opened(path, str(path)) as image:
        width, height = image.size
        # Pillow already reports TIFF sizes turned upright.
        is_turned = image.format != "TIFF" and _orientation(image) in (5, 6, 7, 8)
        return (width, height) if is_turned else (height, width)


def stored_size(path: str | Path) -> tuple[int, int]:
    """(height, width) as the pixels lie in the file, before any EXIF rotation."""
    with _opened(path, str(path)) as image:
        width, height = image.size
        is_turned_already = image.format == "TIFF" and _orientation(image) in (5, 6, 7, 8)
        return (width, height) if is_turned_already else (height, width)


def to_picture(source: str | Path | Image.Image | np.ndarray | torch.Tensor) -> tuple[np.ndarray, str | None]:
    """Any picture as ((H, W, 3) uint8 RGB, its name if it has one).

    `source`: a path; an http(s) address; a PIL image; an array (H, W), (H, W, 3) or (H, W, 4) in RGB order;
    a tensor (3, H, W) or (1, H, W). Arrays and tensors are uint8, or floating point within 0 … 1.
    """
    if isinstance(source, str) and source.lower().startswith(("http://", "https://")):
        name = Path(urllib.parse.urlparse(source).path).name or source
        with _opened(BytesIO(_download(source)), source) as image:
            return _to_rgb(image, source), name
    if isinstance(source, str | Path):
        return read_picture(source), str(source)
    if isinstance(source, Image.Image):
        file_name = str(getattr(source, "filename", "")) or None
        return _to_rgb(source, file_name or "the given PIL image"), file_name
    if isinstance(source, torch.Tensor):
        return _from_tensor(source), None
    if isinstance(source, np.ndarray):
        return _from_array(source), None
    raise TypeError(
        f"a picture must be a path, an http(s) address, a PIL image, a numpy array or a torch tensor,"
        f" got {type(source).__name__}"
    )


def list_pictures(source: str | Path) -> list[Path]:
    """The pictures `source` stands for, sorted: one file, a folder (its own files only) or a glob pattern."""
    path = Path(source).expanduser()
    if path.is_file():
        return [path]
    if path.is_dir():
        entries = sorted(path.iterdir())
        what = f"no pictures in the folder {path}; {_contents(entries)}"
    elif glob.has_magic(str(path)):
        entries = sorted(Path(name) for name in glob.glob(str(path), recursive=True))
        what = f"nothing that is a picture matches {path}; {_contents(entries)}"
    else:
        raise FileNotFoundError(f"expected a picture, a folder or a glob pattern, but there is no {path}")
    pictures = [entry for entry in entries if entry.suffix.lower() in EXTENSIONS and entry.is_file()]
    if not pictures:
        raise FileNotFoundError(f"{what} (pictures end in {', '.join(sorted(EXTENSIONS))})")
    return pictures


def _contents(entries: list[Path]) -> str:
    if not entries:
        return "nothing is there"
    folders = [entry for entry in entries if entry.is_dir()]
    hint = f"; for the pictures one level down give '{folders[0].parent}/*/*'" if folders else ""
    return f"found {len(entries)} entries, the first is {entries[0].name}{hint}"


@contextmanager
def _opened(file: str | Path | BinaryIO, name: str) -> Iterator[Image.Image]:
    """The lazily opened picture; whatever Pillow raises inside becomes a `PictureError` with the name."""
    try:
        with _open_large(_picture_inside(file)) as image:
            if image.width * image.height > MAX_PIXELS:
                raise PictureError(
                    f"cannot read {name}: {image.height}×{image.width} is more than the {MAX_PIXELS} pixels"
                    " allowed (pagoda.pictures.MAX_PIXELS); cut it into tiles"
                )
            yield image
    except PictureError:
        raise
    except FileNotFoundError as error:
        raise PictureError(f"cannot read {name}: there is no such file") from error
    except Image.UnidentifiedImageError as error:
        raise PictureError(f"cannot read {name}: empty, or no picture in a known format") from error
    except _UNREADABLE as error:
        raise PictureError(f"cannot read {name}: {error or type(error).__name__}") from error


def _picture_inside(file: str | Path | BinaryIO) -> str | Path | BinaryIO:
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


def _open_large(file: str | Path | BinaryIO) -> Image.Image:
    """Image.open without Pillow's own limit, which is global and stops at 179 million pixels."""
    with _pillow_limit:
        before = Image.MAX_IMAGE_PIXELS
        Image.MAX_IMAGE_PIXELS = None
        try:
            return Image.open(file)
        finally:
            Image.MAX_IMAGE_PIXELS = before


def _orientation(image: Image.Image) -> int:
    # The base class reads what the header gave; the PNG subclass would decode all pixels to look for more.
    return Image.Image.getexif(image).get(ExifTags.Base.Orientation, 1)


def _to_rgb(image: Image.Image, name: str) -> np.ndarray:
    """Upright RGB. Greys of more than 8 bits are scaled by their full range, never by their content."""
    is_turned = image.getexif().get(ExifTags.Base.Orientation, 1) != 1
    upright = ImageOps.exif_transpose(image) if is_turned else image
    if upright.mode == "F":
        return _from_array(np.asarray(upright), name)
    if upright.mode.startswith("I"):
        grey = np.asarray(upright).astype(np.int64)
        if grey.size and (grey.min() < 0 or grey.max() > 65535):
            raise PictureError(
                f"cannot read {name}: grey values must lie within 0 … 65535, got {grey.min()} … {grey.max()}"
            )
        return _three_channels(((grey * 255 + 32767) // 65535).astype(np.uint8))
    return np.array(upright if upright.mode == "RGB" else upright.convert("RGB"))


def _from_array(array: np.ndarray, name: str = "the array") -> np.ndarray:
    if array.ndim not in (2, 3) or (array.ndim == 3 and array.shape[2] not in (1, 3, 4)) or 0 in array.shape:
        raise PictureError(f"{name} must be (H, W), (H, W, 3) or (H, W, 4) and not empty, got {array.shape}")
    pixels = array[..., :3] if array.ndim == 3 else array
    if array.dtype != np.uint8:
        pixels = _floats_to_bytes(pixels, name)
    return _three_channels(pixels)


def _from_tensor(tensor: torch.Tensor) -> np.ndarray:
    if tensor.ndim != 3 or tensor.shape[0] not in (1, 3):
        raise PictureError(f"the tensor must be (3, H, W) or (1, H, W), got {tuple(tensor.shape)}")
    tensor = tensor.detach().cpu()
    pixels = tensor.float() if tensor.is_floating_point() else tensor
    return _from_array(pixels.permute(1, 2, 0).numpy(), "the tensor")


def _floats_to_bytes(pixels: np.ndarray, name: str) -> np.ndarray:
    if not np.issubdtype(pixels.dtype, np.floating):
        raise PictureError(f"{name} must be uint8, or floating point within 0 … 1, got {pixels.dtype}")
    low, high = float(pixels.min()), float(pixels.max())
    if not (low >= 0 and high <= 1):  # NaN fails this too
        raise PictureError(f"{name} of {pixels.dtype} must hold values within 0 … 1, got {low:g} … {high:g}")
    return np.rint(pixels * 255).astype(np.uint8)


def _three_channels(pixels: np.ndarray) -> np.ndarray:
    """A copy with three channels, contiguous."""
    if pixels.ndim == 2:
        pixels = pixels[..., None]
    return np.array(np.broadcast_to(pixels, (*pixels.shape[:2], 3)), order="C")


def _download(address: str) -> bytes:
    try:
        with urllib.request.urlopen(address, timeout=DOWNLOAD_TIMEOUT_SECONDS) as answer:
            content = answer.read(MAX_DOWNLOAD_BYTES + 1)
    except (urllib.error.URLError, TimeoutError, ConnectionError) as error:
        raise PictureError(f"cannot fetch {address}: {error}") from error
    if len(content) > MAX_DOWNLOAD_BYTES:
        raise PictureError(
            f"cannot fetch {address}: it has more than {MAX_DOWNLOAD_BYTES} bytes; save it first"
        )
    return content
