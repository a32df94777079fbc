"""Clips on their way into a network: frame by frame what single pictures are, in one tensor."""

from dataclasses import replace

import pytest
import torch

from pagoda.preprocess import InputSpec
from pagoda.structures.images import ImageBatch
from pagoda.structures.labels import LabelMap
from pagoda.structures.tubes import Tubes

SPECS = {
    "default": InputSpec(short_side=40, long_side=64),
    "float": InputSpec(short_side=40, long_side=64, resample="float", channel_order="BGR"),
    "bicubic": InputSpec(short_side=40, long_side=64, resample="bicubic", rounding="torchvision"),
    "letterbox": InputSpec(fit="letterbox", canvas=(48, 64), resample="bicubic"),
    "corner": InputSpec(fit="corner", canvas=(48, 64), border=(1, 60, 200)),
}


def clip(num_frames, height, width):
    return torch.randint(0, 256, (num_frames, 3, height, width), dtype=torch.uint8)


@pytest.mark.parametrize("name", SPECS)
@pytest.mark.parametrize("verb", ["batch", "prepare"])
def test_each_frame_is_what_the_picture_would_be(name, verb):
    spec, clips = SPECS[name], [clip(3, 30, 40), clip(3, 44, 33)]
    found = getattr(spec, verb)(clips)
    for position in range(3):
        expected = getattr(spec, verb)([each[position] for each in clips])
        assert torch.equal(found.pixels[:, :, position], expected.pixels)
        assert torch.equal(found.sizes, expected.sizes)
    assert found.pixels.is_contiguous(memory_format=torch.channels_last_3d)
    assert torch.equal(spec.resize(clips[0]), torch.stack([spec.resize(frame) for frame in clips[0]]))


@pytest.mark.parametrize("name", ["default", "corner"])
def test_padding_of_ready_pixels_is_that_of_the_batch(name):
    spec, frames = SPECS[name], clip(2, 40, 50)
    assert torch.equal(spec.pad(spec.normalize(frames).movedim(1, 0)[None]), spec.batch([frames]).pixels)


def test_a_clip_of_one_frame_keeps_its_axis():
    spec, picture = SPECS["default"], clip(1, 30, 40)
    assert spec.prepare([picture]).pixels.shape == (1, 3, 1, 64, 64)
    assert torch.equal(spec.prepare([picture]).pixels[:, :, 0], spec.prepare([picture[0]]).pixels)


@pytest.mark.parametrize("others", [[(2, 3, 9, 9)], [(3, 9, 9)], [(1, 1, 3, 9, 9)] * 2])
def test_clips_of_one_length_make_a_batch_and_nothing_else_does(others):
    pictures = [torch.zeros(shape, dtype=torch.uint8) for shape in [*others, (1, 3, 9, 9)]]
    with pytest.raises(ValueError, match=r"clips \(T, 3, H, W\) of equal length, got \("):
        SPECS["default"].batch(pictures)
    with pytest.raises(ValueError, match="got nothing"):
        SPECS["default"].batch([])


@pytest.mark.parametrize("name", ["default", "letterbox"])
def test_tubes_come_back_to_the_pixels_of_the_video(name):
    spec, size = SPECS[name], (60, 100)
    boxes = torch.tensor([[[10.0, 20, 50, 40], [0, 0, 100, 60]], [[1, 2, 3, 4], [5, 6, 7, 8]]])
    points = boxes.unflatten(2, (2, 2))
    inside = spec.to_frame(boxes, size)
    moved = Tubes(
        inside,
        torch.ones(2),
        torch.zeros(2, dtype=torch.long),
        (4, 5),
        1,
        spec.frame(size),
        LabelMap.from_names(["person"]),
        keypoints=inside.unflatten(2, (2, 2)),
    )
    (found,) = spec.restore([moved], [size])
    torch.testing.assert_close(found.boxes, boxes)
    torch.testing.assert_close(found.keypoints, points)
    assert found.image_size == size and found.frames == (4, 5)
    beyond = replace(moved, boxes=inside + 1000)
    assert spec.restore([beyond], [size])[0].boxes.amax((0, 1)).tolist() == [100, 60, 100, 60]


def test_channels_last_means_clips_too():
    batch = ImageBatch(torch.rand(2, 3, 4, 8, 8), torch.zeros(2, 2, dtype=torch.long))
    moved = batch.to(memory_format=torch.channels_last)
    assert moved.pixels.is_contiguous(memory_format=torch.channels_last_3d)
    assert moved.to(memory_format=torch.contiguous_format).pixels.is_contiguous()
