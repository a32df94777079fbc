"""Pixels at another size: (…, C, H, W) bytes or floats, by bilinear rules that differ in what lies between."""

import platform
from functools import cache

import torch
from torch import Tensor
from torch.nn.functional import interpolate

OF_BYTES = ("AVX2", "AVX512")
"""instruction sets for which torch resizes bytes as bytes"""


@cache
def resizes_across_first() -> bool:
    """Whether bytes are resized row by row and then column by column, with bytes in between, as torch does with AVX2;
    with floats in between, some values would be one more or less."""
    if torch.backends.cpu.get_cpu_capability() not in OF_BYTES:
        return False
    picture = torch.randint(
        0, 256, (97, 89, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)
    )
    picture, size = picture.permute(2, 0, 1), (41, 31)
    across = [antialiased(row, (1, size[1])) for row in picture.split(1, dim=1)]
    return torch.equal(antialiased(torch.cat(across, 1), size), antialiased(picture, size))


def antialiased(picture: Tensor, size: tuple[int, int]) -> Tensor:
    """What torchvision's resize makes of bytes (…, C, H, W), to the bit, without its import of a second and a half.

    Processors that torch has an operator of bytes for compute in bytes, all others in floats.
    """
    if picture.shape[-2:] == size:
        return picture
    batch = picture.reshape(-1, *picture.shape[-3:])
    if len(batch) == 1 and batch.is_contiguous(memory_format=torch.channels_last):
        # A batch of one has any stride; with this one torch sees that channels come last, and keeps them there.
        batch = batch.as_strided(batch.shape, (batch.numel(), *batch.stride()[1:]))
    in_bytes = picture.device.type == "cpu" and _computes_in_bytes() and size != (1, 1)  # which torch refuses
    resized = interpolate(
        batch if in_bytes else batch.to(torch.float32), size=size, mode="bilinear", antialias=True
    )
    resized = resized if in_bytes else resized.round_().to(torch.uint8)
    return resized.reshape(*picture.shape[:-2], *size)


@cache
def _computes_in_bytes() -> bool:
    """As torchvision decides."""
    is_known = torch.backends.cpu.get_cpu_capability() in OF_BYTES
    return is_known or platform.machine() in ("aarch64", "arm64")


def bilinear(pixels: Tensor, size: tuple[int, int]) -> Tensor:
    """Floats (…, 3, H, W) without antialiasing: where it shrinks, pixels between the grid points are lost."""
    if pixels.ndim == 4:
        return interpolate(pixels, size=size, mode="bilinear")
    return interpolate(pixels[None], size=size, mode="bilinear")[0]


def between_corners(pixels: Tensor, size: tuple[int, int]) -> Tensor:
    """Floats (…, C, H, W) whose first and last pixels stay first and last, bilinear between the nearest (darknet).

    >>> picture = torch.tensor([[[0.0, 1.0, 4.0], [9.0, 16.0, 25.0]]])
    >>> between_corners(picture, (4, 5))[0]
    tensor([[ 0.0000,  0.5000,  1.0000,  2.5000,  4.0000],
            [ 3.0000,  4.5000,  6.0000,  8.5000, 11.0000],
            [ 6.0000,  8.5000, 11.0000, 14.5000, 18.0000],
            [ 9.0000, 12.5000, 16.0000, 20.5000, 25.0000]])
    """
    return _along(_along(pixels, size[1], -1), size[0], -2)


def _along(pixels: Tensor, after: int, axis: int) -> Tensor:
    """One axis; the place of each new pixel is computed in single precision, as darknet does."""
    before = pixels.shape[axis]
    step = torch.tensor((before - 1) / (after - 1) if after > 1 else 0.0, dtype=torch.float32)
    place = torch.arange(after, dtype=torch.float32) * step
    low = place.long().clamp(max=before - 1)
    share = place - low
    low[-1], share[-1] = before - 1, 0.0  # the last is a copy
    high = (low + 1).clamp(max=before - 1)
    share = share.to(pixels.device)
    if axis == -2:
        share = share[:, None]
    first = pixels.index_select(axis, low.to(pixels.device))
    second = pixels.index_select(axis, high.to(pixels.device))
    return first * (1 - share) + second * share
