"""On what an exported file and its model are compared: pictures of several sizes and batch sizes."""

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn.functional import interpolate

from pagoda.messages import counted
from pagoda.pictures.read import to_picture
from pagoda.preprocess import InputSpec

MIN_PICTURES = 8
Picture = str | Path | Image.Image | np.ndarray | Tensor
"""whatever `pictures.read.to_picture` reads"""


def parity_batches(
    spec: InputSpec,
    pictures: Sequence[Picture],
    size: tuple[int, int] | None = None,
    *,
    largest: tuple[int, int] | None = None,
) -> Iterator[Tensor]:
    """uint8 (B, 3 or 4, H, W): the given pictures, up to four of a size together, and drawn ones up to eight.

    With `size` (height, width) all are of that size, one a batch. Drawn ones end at `largest` (height, width).
    """
    if size is not None:
        given = [fitted(spec, picture, size) for picture in pictures]
        drawn = drawn_pictures(size, MIN_PICTURES - len(given), spec.read_channels)
        yield from (picture[None] for picture in (*given, *drawn))
        return
    by_size: dict[tuple[int, ...], list[Tensor]] = defaultdict(list)
    for source in pictures:
        picture = spec.resize(
            torch.from_numpy(to_picture(source, channels=spec.read_channels)[0]).permute(2, 0, 1)
        )
        by_size[tuple(picture.shape)].append(picture)
    for same_size in by_size.values():
        for start in range(0, len(same_size), 4):
            yield torch.stack(same_size[start : start + 4])
    if len(pictures) < MIN_PICTURES:
        side = min(spec.canvas) if spec.canvas else spec.short_side
        height, width = largest or (None, None)
        yield from (batch[..., :height, :width] for batch in drawn_batches(side, spec.read_channels))


def fitted(spec: InputSpec, picture: Picture, size: tuple[int, int] | None) -> Tensor:
    """uint8 (3 or 4, H, W): a picture as an exported file takes it; of a fixed `size`, cut or filled up with zeros."""
    pixels, _ = to_picture(picture, channels=spec.read_channels)
    frame = spec.resize(torch.from_numpy(pixels).permute(2, 0, 1))
    if size is None:
        return frame
    canvas = frame.new_zeros(len(frame), *size)
    height, width = min(size[0], frame.shape[1]), min(size[1], frame.shape[2])
    canvas[:, :height, :width] = frame[:, :height, :width]
    return canvas


def told_batches(batches: Sequence[tuple[int, int, int]]) -> str:
    """How many pictures, and of which batches (pictures, height, width); those alike are counted.

    >>> told_batches([(1, 120, 160), (3, 60, 80), (1, 120, 160)])
    '5 pictures (2 of 1×120×160, 3×60×80)'
    """
    counts = Counter(batches)
    sizes = (
        "×".join(map(str, batch)) if count == 1 else f"{count} of {'×'.join(map(str, batch))}"
        for batch, count in counts.items()
    )
    return f"{counted(sum(batch for batch, _, _ in batches), 'picture')} ({', '.join(sizes)})"


def drawn_batches(short_side: int, channels: int = 3) -> Iterator[Tensor]:
    """Eight pictures of coarse noise and rectangles, the same every time; sides divisible by nothing.

    >>> [tuple(images.shape) for images in drawn_batches(32)]
    [(1, 3, 33, 44), (3, 3, 17, 23), (2, 3, 12, 18), (2, 3, 23, 32)]
    """
    random = torch.Generator().manual_seed(0)
    for batch, share in ((1, 1.0), (3, 0.5), (2, 0.37), (2, 0.71)):
        yield _draw(batch, (int(short_side * share) + 1, int(short_side * share * 1.3) + 3), channels, random)


def drawn_pictures(size: tuple[int, int], count: int, channels: int = 3) -> list[Tensor]:
    """`count` pictures (channels, height, width) of one size, the same every time.

    >>> [tuple(picture.shape) for picture in drawn_pictures((20, 30), 2)]
    [(3, 20, 30), (3, 20, 30)]
    """
    return list(_draw(max(count, 0), size, channels, torch.Generator().manual_seed(0)))


def _draw(batch: int, size: tuple[int, int], channels: int, random: torch.Generator) -> Tensor:
    """uint8 (batch, channels, height, width) of coarse noise and rectangles."""
    height, width = size
    noise = torch.rand(batch, channels, height // 8 + 1, width // 8 + 1, generator=random) * 255
    images = interpolate(noise, size=size, mode="bilinear") if batch else noise.new_zeros(0, channels, *size)
    for image in images:
        for _ in range(6):
            y, x = (torch.rand(2, generator=random) * torch.tensor([height, width]) * 0.8).long().tolist()
            h, w = (torch.rand(2, generator=random) * torch.tensor([height, width]) * 0.4).long().tolist()
            image[:, y : y + h + 2, x : x + w + 2] = torch.rand(channels, 1, 1, generator=random) * 255
    return images.to(torch.uint8)
