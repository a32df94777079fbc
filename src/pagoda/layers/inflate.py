"""From pictures to clips: two-dimensional weights given a time axis (Girdhar 2018; the mean is Carreira 2017)."""

from collections.abc import Mapping
from typing import Literal

from jaxtyping import Float
from torch import Tensor, nn

from pagoda.layers.conv3d import TimeConv3d
from pagoda.plain import checked

Inflation = Literal["center", "mean", "repeat", "center_rest_random"]
"""what the taps hold. "center": the middle one everything, the others zeros; the network then says of every frame
of any clip what it said of the picture. "mean": each an equal share, which changes even a clip that stands still,
because zeros lie beyond its ends. "repeat": each everything. "center_rest_random": the middle one everything, the
others noise of deviation 0.001, and all of it divided by the number of taps"""


@checked
def inflate(
    weight: Float[Tensor, "outputs inputs h w"], time: int, mode: Inflation = "center"
) -> Float[Tensor, "outputs inputs {time} h w"]:
    """The kernel with `time` taps; the middle one of an even number is the later of the two.

    Raises ValueError for less than one tap.

    >>> inflate(Tensor([[[[6.0]]]]), 3, "mean").flatten()
    tensor([2., 2., 2.])
    """
    if time < 1:
        raise ValueError(f"a kernel has at least one tap in time, got {time}")
    if mode in ("repeat", "mean"):
        taps = weight.unsqueeze(2).repeat(1, 1, time, 1, 1)
        return taps / time if mode == "mean" else taps
    taps = weight.new_zeros(*weight.shape[:2], time, *weight.shape[2:])
    if mode == "center_rest_random":
        taps.normal_(std=0.001)
    taps[:, :, time // 2] = weight
    return taps / time if mode == "center_rest_random" else taps


@checked
def inflate_state(
    state: Mapping[str, Tensor], wanted: Mapping[str, Tensor], mode: Inflation = "center"
) -> dict[str, Tensor]:
    """`state` with a time axis on every (O, I, h, w) tensor that has five axes under its name in `wanted`.

    One tap in time is none: (O, I, 1, h, w) is a kernel of pictures, too. All other tensors pass as they are;
    whether they fit is for `load_state_dict` to say.

    >>> wanted = nn.Conv3d(1, 1, (3, 1, 1)).state_dict()
    >>> inflate_state({"weight": Tensor([[[[6.0]]]])}, wanted)["weight"].flatten()
    tensor([0., 6., 0.])
    """
    result = dict(state)
    for name, value in state.items():
        if name not in wanted or wanted[name].ndim != 5:
            continue
        if value.ndim == 4:
            result[name] = inflate(value, wanted[name].shape[2], mode)
        elif value.ndim == 5 and value.shape[2] == 1:
            result[name] = inflate(value[:, :, 0], wanted[name].shape[2], mode)
    return result


def inflate_convolution(conv: nn.Conv2d, time_kernel: int, *, time_stride: int = 1) -> TimeConv3d:
    """The same convolution over clips, its weights in the middle tap.

    >>> inflate_convolution(nn.Conv2d(1, 2, 3, padding=1), 5).kernel_size
    (5, 3, 3)
    """
    deep = TimeConv3d(
        conv.in_channels,
        conv.out_channels,
        conv.kernel_size[0],
        time_kernel=time_kernel,
        stride=conv.stride[0],
        time_stride=time_stride,
        dilation=conv.dilation[0],
        groups=conv.groups,
        bias=conv.bias is not None,
    )
    deep.load_state_dict(inflate_state(conv.state_dict(), deep.state_dict()))
    return deep
