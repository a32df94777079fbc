"""SSD's heads: a convolution of its own for every level, which may have another number of boxes per cell."""

import math
from collections.abc import Mapping

import torch
from jaxtyping import Float
from torch import Tensor, nn

from pagoda.layers.norm import Norm, build_norm
from pagoda.plain import checked


@checked
class PerLevelHead(nn.Module):
    """One 3×3 prediction per level, or a depthwise 3×3 and a 1×1 (SSDlite).

    Args:
        channels: the neck's, {level: C}, which may differ.
        boxes: {level: boxes per cell}.
        outputs: numbers per box.
        separable: depthwise 3×3, norm, ReLU6 and 1×1 instead of the 3×3.
        plain_last: of separable heads the coarsest level has a plain 1×1 (lufficc).
        depthwise_bias: the depthwise convolutions have a bias in front of their norm (lufficc).
        eps, momentum: of the batch norms in separable heads.

    Raises ValueError where levels and boxes differ.

    >>> head = PerLevelHead({3: 8, 4: 16}, {3: 4, 4: 6}, 5)
    >>> head({3: torch.zeros(1, 8, 2, 2), 4: torch.zeros(1, 16, 1, 1)}).shape  # 4 · 4 + 6 boxes
    torch.Size([1, 22, 5])
    """

    def __init__(
        self,
        channels: Mapping[int, int],
        boxes: Mapping[int, int],
        outputs: int,
        *,
        separable: bool = False,
        plain_last: bool = False,
        depthwise_bias: bool = False,
        norm: Norm = "batch",
        eps: float = 1e-5,
        momentum: float = 0.1,
    ) -> None:
        super().__init__()
        if set(channels) != set(boxes):
            raise ValueError(f"a head needs boxes for the levels {sorted(channels)}, got {sorted(boxes)}")
        self.boxes, self.outputs = {level: boxes[level] for level in sorted(boxes)}, outputs
        self.predict = nn.ModuleDict()
        for level, count in self.boxes.items():
            inputs, rows = channels[level], count * outputs
            if not separable:
                self.predict[str(level)] = nn.Conv2d(inputs, rows, 3, padding=1)
            elif plain_last and level == max(boxes):
                self.predict[str(level)] = nn.Conv2d(inputs, rows, 1)
            else:
                has_bias = depthwise_bias or norm == "none"
                built = build_norm(norm, inputs, eps=eps, groups=math.gcd(32, max(1, inputs // 4), inputs))
                if isinstance(built, nn.BatchNorm2d | nn.SyncBatchNorm):
                    built.momentum = momentum
                self.predict[str(level)] = nn.Sequential(
                    nn.Conv2d(inputs, inputs, 3, padding=1, groups=inputs, bias=has_bias),
                    built,
                    nn.ReLU6(inplace=True),
                    nn.Conv2d(inputs, rows, 1),
                )
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.xavier_uniform_(module.weight)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)

    def set_background_prior(self, probability: float) -> None:
        """Start so that the softmax of each box's outputs, the last of them background, gives all the others
        `probability` together, nearly alike whatever the features: weights are small."""
        odds = (self.outputs - 1) * (1 - probability) / probability
        with torch.no_grad():
            for level, count in self.boxes.items():
                layer = self.predict[str(level)]
                last = layer if isinstance(layer, nn.Conv2d) else layer[-1]  # type: ignore[index]
                nn.init.normal_(last.weight, std=0.01)  # type: ignore[union-attr, arg-type]
                last.bias.view(count, self.outputs)[:, -1] = math.log(odds)  # type: ignore[union-attr, operator]

    def forward(self, pyramid: dict[int, Float[Tensor, "b _ _ _"]]) -> Float[Tensor, "b p {self.outputs}"]:
        """(B, P, outputs) of every box: finest level first, row by row, boxes of one cell together.

        Raises ValueError for a level that the head has no layer for.
        """
        unknown = sorted(set(pyramid) - set(self.boxes))
        if unknown:
            raise ValueError(
                f"this head has layers for levels {list(self.boxes)}, got features of level {unknown[0]}"
            )
        batch = next(iter(pyramid.values())).shape[0]
        rows = [
            self.predict[str(level)](pyramid[level]).permute(0, 2, 3, 1).reshape(batch, -1, self.outputs)
            for level in sorted(pyramid)
        ]
        return torch.cat(rows, dim=1)
