"""EfficientDet's head: separable convolutions shared by all levels, a norm of its own for each level."""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from pagoda.heads.towers import prior_logit, shared_width
from pagoda.layers.conv import Activation, SeparableConv2d, build_activation, build_slow_norm
from pagoda.layers.norm import Norm
from pagoda.plain import checked


@checked
class SeparableHead(nn.Module):
    """A tower over every pyramid level, then one prediction per location (Tan 2020, section 4.2).

    Levels differ in their statistics, so the tower's convolutions are shared but its batch norms are not:
    there is one per (repeat, level).

    Args:
        channels: the neck's, {level: C}; all levels must have the same C.
        outputs: numbers per location.
        depth: convolutions in the tower.
        conv_bias: of the tower's convolutions; without effect in front of a batch norm, but part of
            TensorFlow's weights.

    >>> head = SeparableHead({3: 8, 4: 8}, 2, depth=1)
    >>> head.set_prior(0.01)
    >>> outputs = head({3: torch.zeros(1, 8, 4, 4), 4: torch.zeros(1, 8, 2, 2)})
    >>> outputs.shape, round(outputs.sigmoid().mean().item(), 4)
    (torch.Size([1, 20, 2]), 0.01)
    """

    def __init__(
        self,
        channels: dict[int, int],
        outputs: int,
        *,
        depth: int = 3,
        norm: Norm = "batch",
        activation: Activation = "silu",
        conv_bias: bool = False,
    ) -> None:
        super().__init__()
        width = shared_width(channels)
        self.levels, self.outputs = sorted(channels), outputs
        has_bias = conv_bias or norm == "none"
        self.convs = nn.ModuleList(
            SeparableConv2d(width, width, bias=has_bias, fan="in") for _ in range(depth)
        )
        self.norms = nn.ModuleList(
            nn.ModuleList(build_slow_norm(norm, width) for _ in self.levels) for _ in range(depth)
        )
        self.activation = build_activation(activation)
        self.predict = SeparableConv2d(width, outputs, fan="in")

    def set_prior(self, probability: float, count: int | None = None) -> None:
        """Start the first `count` outputs (all) at `probability` after a sigmoid."""
        with torch.no_grad():
            self.predict.conv_pw.bias[:count].fill_(prior_logit(probability))

    def forward(self, pyramid: dict[int, Float[Tensor, "b c _ _"]]) -> Float[Tensor, "b p {self.outputs}"]:
        """(B, P, outputs), finest level first, row by row.

        Raises ValueError for a level that the head has no norms for.
        """
        unknown = sorted(set(pyramid) - set(self.levels))
        if unknown:
            raise ValueError(
                f"this head has norms for levels {self.levels}, got features of level {unknown[0]}"
            )
        maps = [self._of_level(self.levels.index(level), pyramid[level]) for level in sorted(pyramid)]
        return torch.cat([x.flatten(2).transpose(1, 2) for x in maps], dim=1)

    def _of_level(self, number: int, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b {self.outputs} h w"]:
        for conv, norms in zip(self.convs, self.norms, strict=True):
            x = self.activation(norms[number](conv(x)))
        return self.predict(x)
