"""VGG16 (Simonyan 2014), whole or reduced and dilated as SSD reads it: pictures (B, 3, H, W) to {level: features}."""

from collections.abc import Mapping, Sequence
from typing import Self

import torch
from torch import Tensor, nn

from pagoda.layers.norm import freeze
from pagoda.plain import checked

ROWS = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512))
"""channels of the 3×3 convolutions between the poolings"""
ENDS = {2: 16, 3: 23, 4: 30, 5: 31}
"""level → how many of `features` it comes after: the ReLU before a pooling, of C5 the last pooling"""
STAGE_ENDS = (10, 17, 24, 31, 31)
"""how many of `features` each frozen stage takes: two blocks, and then all that a level is made of"""
REDUCED_WIDTH = 1024


@checked
class VGG16(nn.Module):
    """Thirteen 3×3 convolutions with bias, ReLU and no norm, in five blocks with a pooling behind each.

    State-dict names are torchvision's (`features.0.weight` …). `reduced` makes of the classifier's two layers two
    convolutions, `fc6` (3×3, dilated by 6) and `fc7` (1×1), behind a last pooling that keeps the size: C4 is then
    what `fc7` gives, 1024 channels 16 pixels apart, and there is no C5 (Liu 2016, after Chen 2015).

    Poolings round up, so that 75 cells become 38, as Caffe's do; of those with pictures of other sides than 300 and
    512, ssd.pytorch and torchvision round up the third alone.

    Args:
        levels: which of C2 … C5 to return (reduced: C2 … C4); blocks beyond the last are not built.
        frozen_stages: 1 the first two blocks, 2 what C2 is made of, 3 what C3 is, …: never trained.
        in_channels: of the pictures.

    Raises ValueError for levels or frozen stages there are not.

    >>> VGG16(levels=(3, 4), reduced=True).channels, VGG16(levels=(2, 3)).strides
    ({3: 512, 4: 1024}, {2: 4, 3: 8})
    """

    def __init__(
        self,
        *,
        levels: Sequence[int] = (3, 4, 5),
        reduced: bool = False,
        frozen_stages: int = 0,
        in_channels: int = 3,
    ) -> None:
        super().__init__()
        known = (2, 3, 4) if reduced else (2, 3, 4, 5)
        if not levels or not set(levels) <= set(known):
            raise ValueError(
                f"{'a reduced VGG16' if reduced else 'VGG16'} has the levels {', '.join(map(str, known))},"
                f" got {tuple(levels)}"
            )
        if not 0 <= frozen_stages <= len(STAGE_ENDS):
            raise ValueError(f"frozen_stages counts stages: 0 … {len(STAGE_ENDS)}, got {frozen_stages}")
        self.levels = tuple(sorted(levels))
        self.reduced = reduced and self.levels[-1] == 4
        self.frozen_stages = frozen_stages
        layers = build_layers(in_channels, same_size_end=self.reduced)
        self.features = nn.Sequential(*layers[: 31 if self.reduced else ENDS[self.levels[-1]]])
        self.channels = {level: ROWS[min(level, 4)][-1] for level in self.levels}
        self.strides = {level: 2**level for level in self.levels}
        if self.reduced:
            self.fc6 = nn.Conv2d(ROWS[-1][-1], REDUCED_WIDTH, 3, padding=6, dilation=6)
            self.fc7 = nn.Conv2d(REDUCED_WIDTH, REDUCED_WIDTH, 1)
            self.channels[4] = REDUCED_WIDTH
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
                nn.init.zeros_(module.bias)  # type: ignore[arg-type]
        self._freeze()

    def _freeze(self) -> None:
        if self.frozen_stages > 0:
            freeze(self.features[: STAGE_ENDS[self.frozen_stages - 1]])
        if self.reduced and self.frozen_stages > 3:
            freeze(self.fc6)
            freeze(self.fc7)

    def train(self, mode: bool = True) -> Self:
        super().train(mode)
        self._freeze()
        return self

    def forward(self, pictures: Tensor) -> dict[int, Tensor]:
        ends = {ENDS[level]: level for level in self.levels if not (self.reduced and level == 4)}
        x, pyramid = pictures, {}
        for count, layer in enumerate(self.features, start=1):
            x = layer(x)
            if count in ends:
                pyramid[ends[count]] = x
        if self.reduced:
            pyramid[4] = torch.relu(self.fc7(torch.relu(self.fc6(x))))
        return pyramid


def build_layers(in_channels: int, *, same_size_end: bool) -> list[nn.Module]:
    """The 31 layers; with `same_size_end` the last pooling is 3×3 and keeps the size.

    >>> [type(layer).__name__ for layer in build_layers(3, same_size_end=False)[:5]]
    ['Conv2d', 'ReLU', 'Conv2d', 'ReLU', 'MaxPool2d']
    """
    layers: list[nn.Module] = []
    inputs = in_channels
    for block, widths in enumerate(ROWS, start=1):
        for width in widths:
            layers += [nn.Conv2d(inputs, width, 3, padding=1), nn.ReLU(inplace=True)]
            inputs = width
        is_end = block == len(ROWS) and same_size_end
        layers.append(nn.MaxPool2d(3, 1, 1) if is_end else nn.MaxPool2d(2, 2, ceil_mode=True))
    return layers


FULL = {"fc6": (512, 7, 7), "fc7": (4096, 1, 1)}
"""what each output of the classifier's layers reads: channels and cells"""


def reduce_classifier(state: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The state with a classifier's `fc6` and `fc7` thinned out to the convolutions of a reduced VGG16.

    Of 4096 outputs every fourth is kept, of 7×7 cells every third, as the weights that SSD began with were made.
    What is as large as `wanted` has it already, or is not of these layers, stays.

    >>> full = {"fc6.weight": torch.zeros(4096, 512 * 7 * 7), "fc7.bias": torch.arange(4096.0)}
    >>> wanted = {"fc6.weight": torch.zeros(1024, 512, 3, 3), "fc7.bias": torch.zeros(1024)}
    >>> thin = reduce_classifier(full, wanted)
    >>> thin["fc6.weight"].shape, thin["fc7.bias"][:3]
    (torch.Size([1024, 512, 3, 3]), tensor([0., 4., 8.]))
    """
    reduced = dict(state)
    for name, tensor in state.items():
        layer, _, kind = name.partition(".")
        fits = name not in wanted or tensor.shape == wanted[name].shape
        if fits or layer not in FULL or len(tensor) != 4096:
            continue
        kept = tensor[::4]
        if kind == "weight":
            kept = kept.reshape(len(kept), *FULL[layer])
            kept = kept[:, ::4] if layer == "fc7" else kept[:, :, ::3, ::3]
        reduced[name] = kept.contiguous()
    return reduced
