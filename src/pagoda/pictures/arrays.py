"""Arrays and tensors as pictures: (H, W, 3) or (H, W, 4) uint8, contiguous."""

from dataclasses import dataclass

import numpy as np
import torch

from pagoda.pictures.errors import PictureError


@dataclass(frozen=True)
class ReadPicture:
    """A picture that was read before, which `Detector.predict` takes as it is: a large one is not held twice.

    >>> ReadPicture(np.zeros((2, 5, 3), np.uint8), "a.png").name
    'a.png'
    """

    pixels: np.ndarray
    """(H, W, 3 or 4) uint8, as `read.to_picture` gave it"""
    name: str | None
    """of its file"""


def with_alpha(colors: np.ndarray, alpha: np.ndarray | None) -> np.ndarray:
    """(H, W, 4) from (H, W, 3) and (H, W), opaque for None.

    >>> with_alpha(np.zeros((1, 1, 3), np.uint8), None).tolist()
    [[[0, 0, 0, 255]]]
    """
    alpha = np.full(colors.shape[:2], 255, np.uint8) if alpha is None else alpha
    return np.concatenate([colors, alpha[..., None]], axis=2)


def from_array(array: np.ndarray, name: str = "the array", *, channels: int = 3) -> np.ndarray:
    """(H, W, channels) uint8 of (H, W), (H, W, 3) or (H, W, 4) uint8, or floats within 0 … 1.

    Raises PictureError, which calls it `name`, for any other array.

    >>> from_array(np.array([[0.0, 0.5, 1.0]]))[..., 0], from_array(np.zeros((2, 3, 4), np.uint8)).shape
    (array([[  0, 128, 255]], dtype=uint8), (2, 3, 3))
    """
    if array.ndim not in (2, 3) or (array.ndim == 3 and array.shape[2] not in (1, 3, 4)) or 0 in array.shape:
        raise PictureError(f"{name} must be (H, W), (H, W, 3) or (H, W, 4) and not empty, got {array.shape}")
    pixels = array[..., :channels] if array.ndim == 3 else array
    if array.dtype != np.uint8:
        pixels = _floats_to_bytes(pixels, name)
    if channels == 3:
        return _three_channels(pixels)
    has_alpha = pixels.ndim == 3 and pixels.shape[2] == 4
    return with_alpha(
        _three_channels(pixels[..., :3] if has_alpha else pixels), pixels[..., 3] if has_alpha else None
    )


def from_tensor(tensor: torch.Tensor, channels: int) -> np.ndarray:
    """(H, W, channels) uint8 of (3, H, W), (1, H, W) or, for 4 channels, (4, H, W). Raises PictureError.

    >>> from_tensor(torch.zeros(1, 2, 5, dtype=torch.uint8), 3).shape
    (2, 5, 3)
    """
    if tensor.ndim != 3 or tensor.shape[0] not in {1, 3, channels}:
        wanted = "(3, H, W) or (1, H, W)" if channels == 3 else "(4, H, W), (3, H, W) or (1, H, W)"
        raise PictureError(f"the tensor must be {wanted}, got {tuple(tensor.shape)}")
    tensor = tensor.detach().cpu()
    pixels = tensor.float() if tensor.is_floating_point() else tensor
    return from_array(pixels.permute(1, 2, 0).numpy(), "the tensor", channels=channels)


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
