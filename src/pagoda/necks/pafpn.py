"""Path aggregation network (Liu 2018, arXiv 1803.01534) as a neck: an FPN whose merged levels climb up again."""

from collections.abc import Mapping, Sequence
from functools import partial

from torch import Tensor, nn

from pagoda.layers.norm import Norm
from pagoda.necks.fpn import FPN, Convolutions, ExtraFrom, conv_norm, start_convolutions
from pagoda.plain import checked


@checked
class PAFPN(FPN):
    """FPN, then bottom up: each level adds a strided 3×3 of the one below and passes a 3×3 of its own.

    Above a level of the same stride (a dilated stage) the former does not stride either.

    The lowest level is FPN's. Extra levels read what has climbed up ("P5", "max_pool") or the backbone ("C5").
    The arguments are those of `FPN`; `norm` and `relu_after` also hold for the convolutions added here.

    >>> neck = PAFPN({3: 8, 4: 16}, 8, top_level=4)
    >>> list(neck.output), list(neck.up), neck.up["4"].stride
    (['3', '4'], ['4'], (2, 2))
    """

    def __init__(
        self,
        channels: dict[int, int],
        out_channels: int = 256,
        *,
        top_level: int = 7,
        extra_from: ExtraFrom = "P5",
        relu_before_extra: bool = True,
        norm: Norm = "none",
        norm_on: Sequence[Convolutions] = ("lateral", "output"),
        relu_after: bool = False,
        groups: int = 32,
    ) -> None:
        super().__init__(
            channels,
            out_channels,
            top_level=top_level,
            extra_from=extra_from,
            relu_before_extra=relu_before_extra,
            norm=norm,
            norm_on=norm_on,
            relu_after=relu_after,
            groups=groups,
        )
        conv = partial(conv_norm, norm=norm, relu_after=relu_after, groups=groups)
        upper = [str(level) for level in self.inputs[1:]]
        self.up = nn.ModuleDict({level: conv(out_channels, out_channels, 3, stride=2) for level in upper})
        self.climbed = nn.ModuleDict({level: conv(out_channels, out_channels, 3) for level in upper})
        start_convolutions(self.up)
        start_convolutions(self.climbed)

    def set_strides(self, strides: Mapping[int, int]) -> None:
        super().set_strides(strides)
        for level in self.inputs[1:]:
            up = self.up[str(level)]
            conv = up[0] if isinstance(up, nn.Sequential) else up
            step = self.strides[level] // self.strides[level - 1]
            conv.stride = (step, step)

    def forward(self, features: dict[int, Tensor]) -> dict[int, Tensor]:
        pyramid = self.merge(features)
        below = pyramid[self.inputs[0]]
        for level in self.inputs[1:]:
            below = pyramid[level] + self.up[str(level)](below)
            pyramid[level] = self.climbed[str(level)](below)
        return self.add_extras(features, pyramid)
