"""Pictures as Pagoda reads them: (H, W, 3) uint8 RGB, upright, or (H, W, 4) RGBA for networks that read it.

The EXIF or XMP rotation is applied, opacity is dropped, grey of 16 bits is scaled from 0 … 65535 and floats from
0 … 1; what cannot be read whole raises `PictureError` with its name and the reason.
"""

import struct
import threading
from pathlib import Path
from typing import Any

import numpy as np
from PIL import ExifTags, Image, ImageOps

from pagoda_runtime.errors import PictureError

MAX_PIXELS = 2**29
"""Larger pictures are refused"""
DEEPEST = 65535
"""The largest grey value of more than 8 bits, which becomes 255"""
_pillow_limit = threading.Lock()
# Pillow reports broken files by whichever exception its decoder met first.
_UNREADABLE = (OSError, SyntaxError, ValueError, EOFError, struct.error, MemoryError)


def to_picture(source: Any, channels: int = 3) -> tuple[np.ndarray, str | None]:
    """Any picture as ((H, W, channels) uint8, its name if it has one).

    `source`: a path; a PIL image; an array (H, W), (H, W, 3) or (H, W, 4) in RGB order, uint8 or floats within
    0 … 1. Raises PictureError for one that cannot be used, TypeError for what is none of these.
    """
    if isinstance(source, str | Path):
        return read_picture(source, channels), str(source)
    if isinstance(source, Image.Image):
        name = str(getattr(source, "filename", "")) or None
        return _to_pixels(source, name or "the given PIL image", channels), name
    if isinstance(source, np.ndarray):
        return from_array(source, channels), None
    raise TypeError(f"a picture must be a path, a PIL image or a numpy array, got {type(source).__name__}")


def read_picture(path: str | Path, channels: int = 3) -> np.ndarray:
    """The file as (H, W, 3) uint8 RGB, or (H, W, 4) RGBA, opaque where the file tells of no transparency."""
    try:
        with _open_large(path) as image:
            if image.width * image.height > MAX_PIXELS:
                raise PictureError(
                    f"cannot read {path}: {image.height}×{image.width} is more than the {MAX_PIXELS} pixels allowed;"
                    " cut it into tiles"
                )
            return _to_pixels(image, str(path), channels)
    except PictureError:
        raise
    except FileNotFoundError as error:
        raise PictureError(f"cannot read {path}: there is no such file") from error
    except IsADirectoryError as error:
        raise PictureError(
            f"cannot read {path}: it is a folder; name the pictures in it ({path}/*)"
        ) from error
    except Image.UnidentifiedImageError as error:
        raise PictureError(f"cannot read {path}: empty, or no picture in a known format") from error
    except _UNREADABLE as error:
        raise PictureError(f"cannot read {path}: {error or type(error).__name__}") from error


def _open_large(path: str | Path) -> Image.Image:
    """Image.open without Pillow's own limit, which is global and stops at 179 million pixels."""
    with _pillow_limit:
        before, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
        try:
            return Image.open(path)
        finally:
            Image.MAX_IMAGE_PIXELS = before


def _to_pixels(image: Image.Image, name: str, channels: int) -> np.ndarray:
    """Upright RGB or RGBA."""
    image.load()  # a PNG may tell of its rotation behind the pixels, and Pillow turns a TIFF while it decodes it
    if image.getexif().get(ExifTags.Base.Orientation, 1) != 1:
        image = ImageOps.exif_transpose(image)  # which copies what is upright, too
    if image.mode.startswith(("I", "F")):
        colors = np.repeat(_grey_to_bytes(np.asarray(image), name)[..., None], 3, axis=2)
    else:
        colors = np.array(image if image.mode == "RGB" else image.convert("RGB"))
    if channels == 3:
        return colors
    is_opaque = not image.has_transparency_data
    return with_alpha(colors, None if is_opaque else np.array(image.convert("RGBA").getchannel("A")))


def _grey_to_bytes(grey: np.ndarray, name: str) -> np.ndarray:
    """uint8 of whole values 0 … `DEEPEST`, or of floats 0 … 1: scaled by the full range, never by the content."""
    is_float = np.issubdtype(grey.dtype, np.floating)
    top = 1 if is_float else DEEPEST
    low, high = grey.min(), grey.max()
    if not (low >= 0 and high <= top):  # NaN fails this too
        raise PictureError(
            f"cannot read {name}: grey values must lie within 0 … {top}, got {low:g} … {high:g}; scale them"
        )
    if is_float:
        return np.rint(grey * 255).astype(np.uint8)
    return ((grey.astype(np.int64) * 255 + DEEPEST // 2) // DEEPEST).astype(np.uint8)


def from_array(array: np.ndarray, channels: int = 3) -> np.ndarray:
    """(H, W, channels) uint8 of (H, W), (H, W, 1), (H, W, 3) or (H, W, 4). Raises PictureError for any other array."""
    if array.ndim not in (2, 3) or (array.ndim == 3 and array.shape[2] not in (1, 3, 4)) or 0 in array.shape:
        raise PictureError(
            f"the array must be (H, W), (H, W, 3) or (H, W, 4) and not empty, got {array.shape}"
        )
    pixels = array[..., None] if array.ndim == 2 else array[..., :channels]
    if np.issubdtype(pixels.dtype, np.floating):
        low, high = pixels.min(), pixels.max()
        if not (low >= 0 and high <= 1):
            raise PictureError(
                f"the array of {pixels.dtype} must hold values within 0 … 1, got {low:g} … {high:g}"
            )
        pixels = np.rint(pixels * 255).astype(np.uint8)
    if pixels.dtype != np.uint8:
        raise PictureError(f"the array must be uint8, or floating point within 0 … 1, got {pixels.dtype}")
    colors = np.broadcast_to(pixels[..., :3], (*pixels.shape[:2], 3))
    if channels == 3:
        return np.array(colors, order="C")
    return with_alpha(colors, pixels[..., 3] if pixels.shape[2] == 4 else None)


def with_alpha(colors: np.ndarray, alpha: np.ndarray | None) -> np.ndarray:
    """(H, W, 4) from (H, W, 3) and (H, W), opaque for None."""
    alpha = np.full(colors.shape[:2], 255, np.uint8) if alpha is None else alpha
    return np.concatenate([colors, alpha[..., None]], axis=2)
