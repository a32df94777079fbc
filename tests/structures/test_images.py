"""A batch moves as a whole."""

import torch

from pagoda.structures.images import ImageBatch


def test_moving_keeps_both_parts_and_the_values():
    batch = ImageBatch(torch.randn(2, 3, 8, 6), torch.tensor([[8, 6], [5, 4]]))
    moved = batch.to("cpu", memory_format=torch.channels_last)
    assert moved.pixels.is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(moved.pixels, batch.pixels) and torch.equal(moved.sizes, batch.sizes)
    assert batch.to("meta").sizes.device.type == "meta"
