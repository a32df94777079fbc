"""Convolution over clips: a loop over frames and taps says the same, whichever way it is computed."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d, conv3d

from pagoda.layers.conv3d import TimeConv3d


def frame_by_frame(conv: TimeConv3d, clip: Tensor) -> Tensor:
    """One picture at a time; frames beyond the ends add nothing."""
    middle, frames = conv.kernel_size[0] // 2, clip.shape[2]
    outputs = []
    for frame in range(0, frames, conv.stride[0]):
        total = 0 if conv.bias is None else conv.bias[None, :, None, None]
        for tap in range(conv.kernel_size[0]):
            at = frame + tap - middle
            if 0 <= at < frames:
                weight, (_, padding, _), (_, dilation, _) = (
                    conv.weight[:, :, tap],
                    conv.padding,
                    conv.dilation,
                )
                total = total + conv2d(
                    clip[:, :, at], weight, None, conv.stride[1:], padding, dilation, conv.groups
                )
        outputs.append(total)
    return torch.stack(outputs, dim=2)


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last_3d])
@pytest.mark.parametrize("clips", [0, 1, 2])
@pytest.mark.parametrize("frames", [1, 2, 3, 5])
@pytest.mark.parametrize(
    "options",
    [
        {"kernel": 3, "time_kernel": 3},
        {"kernel": 3, "time_kernel": 5, "stride": 2, "bias": False},
        {"kernel": 1, "time_kernel": 1, "stride": 2},
        {"kernel": 7, "time_kernel": 1},
        {"kernel": 3, "time_kernel": 3, "stride": 2, "time_stride": 2},
        {"kernel": 1, "time_kernel": 1, "time_stride": 2},
        {"kernel": 3, "time_kernel": 3, "dilation": 2, "groups": 2},
    ],
    ids=str,
)
def test_every_way_is_the_sum_over_frames_and_taps(
    options: dict, frames: int, clips: int, layout: torch.memory_format
) -> None:
    conv = TimeConv3d(4, 6, **options)
    clip = torch.randn(clips, 4, frames, 9, 6).contiguous(memory_format=layout).requires_grad_()
    found, wanted = conv(clip), frame_by_frame(conv, clip)
    torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(found, conv3d(clip, conv.weight, conv.bias, *geometry(conv)))
    cotangent = torch.randn_like(wanted)
    torch.testing.assert_close(
        gradients(conv, clip, found, cotangent),
        gradients(conv, clip, wanted, cotangent),
        rtol=1e-4,
        atol=1e-4,
    )


def geometry(conv: TimeConv3d) -> tuple:
    return conv.stride, conv.padding, conv.dilation, conv.groups


def gradients(conv: TimeConv3d, clip: Tensor, output: Tensor, cotangent: Tensor) -> tuple[Tensor, ...]:
    return torch.autograd.grad(output, (clip, *conv.parameters()), cotangent, retain_graph=True)


@pytest.mark.parametrize("frames", [1, 3])
@pytest.mark.parametrize("time_kernel", [1, 3])
def test_channels_last_clips_stay_so(time_kernel: int, frames: int) -> None:
    clip = torch.randn(1, 4, frames, 8, 8).contiguous(memory_format=torch.channels_last_3d)
    pooled = nn.MaxPool3d((1, 3, 3), (1, 2, 2))(TimeConv3d(4, 6, 3, time_kernel=time_kernel)(clip))
    assert pooled.stride(1) == 1  # pooling, unlike `is_contiguous`, is not content with axes of one frame


def test_half_precision_computes_the_same() -> None:
    conv, clip = TimeConv3d(8, 8, 3, time_kernel=3), torch.randn(1, 8, 3, 8, 8)
    with torch.autocast("cpu", torch.bfloat16):
        half = conv(clip)
    assert half.dtype == torch.bfloat16
    torch.testing.assert_close(half.float(), conv(clip), rtol=0.05, atol=0.05)


@pytest.mark.parametrize("time_kernel", [0, 2, -1])
def test_even_kernels_in_time_are_refused(time_kernel: int) -> None:
    with pytest.raises(ValueError, match=f"time_kernel must be odd, .* got {time_kernel}"):
        TimeConv3d(2, 2, 3, time_kernel=time_kernel)
