"""A batch of pictures, or of clips, as a network sees them. B images or clips, T frames, H height, W width."""

from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor


class ImageBatch(NamedTuple):
    """Normalised pixels, padded at the bottom and right, with the true sizes they came from.

    >>> batch = ImageBatch(torch.zeros(1, 3, 32, 32), torch.tensor([[30, 20]]))
    >>> height, width = batch.sizes[0].tolist()
    >>> batch.pixels[0, :, :height, :width].shape  # without the padding
    torch.Size([3, 30, 20])
    """

    pixels: Float[Tensor, "b c *t h w"]
    """clips carry T before H"""
    sizes: Int[Tensor, "b 2"]
    """(height, width) of each picture before padding, in pixels of this batch."""

    def to(
        self, device: torch.device | str | None = None, memory_format: torch.memory_format | None = None
    ) -> "ImageBatch":
        """The same batch on `device`; `memory_format` (channels_last, say) goes to the pixels.

        For clips channels_last means its like with one more axis, channels_last_3d.
        """
        pixels = self.pixels.to(device, non_blocking=True)
        if memory_format == torch.channels_last and pixels.ndim == 5:
            memory_format = torch.channels_last_3d
        if memory_format is not None:
            pixels = pixels.to(memory_format=memory_format)
        return ImageBatch(pixels, self.sizes.to(device, non_blocking=True))
