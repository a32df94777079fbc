"""The pyramid over clips: the FPN of pictures on every frame, and frames that meet in its outputs only."""

import pytest
import torch
from torch import Tensor

from pagoda.exporting.program import trace
from pagoda.layers.inflate import inflate_state
from pagoda.necks.fpn import FPN
from pagoda.necks.fpn3d import FPN3D

CHANNELS = {3: 8, 4: 16, 5: 24}


def pyramid_of(size: tuple[int, int], frames: int = 3, clips: int = 2) -> dict[int, Tensor]:
    return {
        level: torch.randn(clips, count, frames, *(-(-side // 2**level) for side in size))
        for level, count in CHANNELS.items()
    }


@pytest.mark.parametrize("clips", [1, 2])
@pytest.mark.parametrize("time_kernel", [1, 3])
def test_inflated_at_the_center_it_is_the_fpn_of_every_frame(time_kernel: int, clips: int) -> None:
    flat = FPN(CHANNELS, 12, top_level=7, extra_from="max_pool")
    deep = FPN3D(CHANNELS, 12, time_kernel=time_kernel, top_level=7)
    deep.load_state_dict(inflate_state(flat.state_dict(), deep.state_dict()))
    features = pyramid_of((75, 113), clips=clips)
    found = deep(features)
    assert list(found) == list(deep.channels) == [3, 4, 5, 6, 7] and set(deep.channels.values()) == {12}
    for frame in range(3):
        for level, x in flat({level: x[:, :, frame] for level, x in features.items()}).items():
            torch.testing.assert_close(found[level][:, :, frame], x)


def test_frames_meet_in_the_outputs() -> None:
    neck, features = FPN3D(CHANNELS, 8), pyramid_of((64, 64), frames=4)
    features[5].requires_grad_()
    (gradient,) = torch.autograd.grad(neck(features)[3][:, :, 0].sum(), features[5])
    assert (gradient.abs().amax((0, 1, 3, 4)) > 0).tolist() == [True, True, False, False]


@pytest.mark.parametrize(
    ("time_kernel", "parameters"), [(1, 3_344_384), (3, 3_344_384 + 4 * 2 * 256 * 256 * 9)]
)
def test_parameters_behind_bottlenecks(time_kernel: int, parameters: int) -> None:
    with torch.device("meta"):
        neck = FPN3D({2: 256, 3: 512, 4: 1024, 5: 2048}, time_kernel=time_kernel)
        shapes = {2: (200, 336), 3: (100, 168), 4: (50, 84), 5: (25, 42)}
        inputs = {2: 256, 3: 512, 4: 1024, 5: 2048}
        pyramid = neck({level: torch.empty(1, inputs[level], 3, *shape) for level, shape in shapes.items()})
    assert sum(p.numel() for p in neck.parameters()) == parameters
    assert {level: tuple(x.shape) for level, x in pyramid.items()} == {
        level: (1, 256, 3, *shape) for level, shape in {**shapes, 6: (13, 21)}.items()
    }


def test_fresh_weights_are_those_of_the_fpn() -> None:
    neck = FPN3D(CHANNELS, 32)
    weight = neck.output["3"].weight.detach()
    assert float(weight.abs().max()) == pytest.approx((3 / (32 * 27)) ** 0.5, rel=0.01)
    assert not any(p.any() for name, p in neck.named_parameters() if name.endswith("bias"))


def test_levels_with_different_frames_are_refused() -> None:
    features = pyramid_of((64, 64))
    features[5] = features[5][:, :, :2]
    with pytest.raises(
        ValueError, match=r"same frames on every level, got \{3: 3, 4: 3, 5: 2\}; .* time_stride"
    ):
        FPN3D(CHANNELS, 8)(features)


@pytest.mark.medium
def test_export() -> None:
    class OfOneTensor(torch.nn.Module):
        """The coarser levels are every second cell of the finest."""

        def __init__(self) -> None:
            super().__init__()
            self.neck = FPN3D({3: 8, 4: 8}, 8, top_level=5)

        def forward(self, x: Tensor) -> dict[int, Tensor]:
            return self.neck({3: x, 4: x[..., ::2, ::2]})

    module, any_size = OfOneTensor().eval(), torch.export.Dim.DYNAMIC
    graph = trace(module, torch.zeros(2, 8, 3, 16, 17), {0: any_size, 3: any_size, 4: any_size}).module()
    x = torch.randn(1, 8, 3, 11, 8)
    with torch.no_grad():
        torch.testing.assert_close(graph(x), module(x))
