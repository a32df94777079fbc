"""Attention by contents and positions, with each of its four terms to be switched (Zhu 2019, "empirical study").

Letters: q a place that asks, k a place that is looked at, h a head, d the channels of one head.
Attribute names are mmcv's, so its weights load by name.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

from pagoda.plain import checked

# Wavelengths of the position code grow geometrically up to this many pixels.
LONGEST_WAVE = 1000.0


@checked
class GeneralizedAttention(nn.Module):
    """x + γ · what every place reads from all others; γ starts at 0, so that nothing changes at first.

    mmcv computes the same except for terms "?1?0", where it mixes up the two axes and fails on maps that are
    not square; the published networks have "1111" and "0010".

    Args:
        heads: read separately, `channels // heads` channels each.
        terms: four digits, 1 for each term that counts towards the attention: contents of both places; content
            of the asking place and relative position; content of the place looked at; relative position.
        key_stride, query_stride: only every n-th row and column is looked at, or asks; answers between those
            that ask are interpolated.
        spatial_range: look no further than this many places up, down, left and right; None for everywhere.
        position_channels: of the position code, divisible by four; None for `channels`.
        position_scale: multiplies distances before they are coded.

    Raises ValueError for other `terms`, for position channels that four does not divide, and for a
    `spatial_range` with terms "0010" alone.

    >>> x = torch.rand(1, 8, 4, 6)
    >>> torch.equal(GeneralizedAttention(8, heads=2)(x), x)
    True
    """

    def __init__(
        self,
        channels: int,
        *,
        heads: int = 9,
        terms: str = "1111",
        key_stride: int = 2,
        query_stride: int = 1,
        spatial_range: int | None = None,
        position_channels: int | None = None,
        position_scale: float = 1.0,
    ) -> None:
        super().__init__()
        if len(terms) != 4 or set(terms) - {"0", "1"} or "1" not in terms:
            raise ValueError(f"terms must be four digits 0 or 1, one of them 1, got {terms!r}")
        if spatial_range is not None and terms == "0010":
            raise ValueError(
                "terms '0010' gives all places the same answer; spatial_range needs another term"
            )
        self.heads, self.key_stride, self.query_stride = heads, key_stride, query_stride
        self.spatial_range, self.position_scale = spatial_range, position_scale
        self.both, self.asker_place, self.key_only, self.place_only = (digit == "1" for digit in terms)
        self.position_channels = position_channels or channels
        width = channels // heads * heads
        if self.position_channels % 4:
            raise ValueError(f"position_channels must be divisible by 4, got {self.position_channels}")
        if self.both or self.asker_place:
            self.query_conv = _conv(channels, width)
        if self.both or self.key_only:
            self.key_conv = _conv(channels, width)
        self.value_conv = _conv(channels, width)
        if self.asker_place or self.place_only:
            self.appr_geom_fc_x = _linear(self.position_channels // 2, width)
            self.appr_geom_fc_y = _linear(self.position_channels // 2, width)
        bound = 1 / math.sqrt(2 * (channels // heads))
        if self.key_only:
            self.appr_bias = nn.Parameter(torch.empty(width).uniform_(-bound, bound))
        if self.place_only:
            self.geom_bias = nn.Parameter(torch.empty(width).uniform_(-bound, bound))
        self.proj_conv = _conv(width, channels, bias=True)
        self.gamma = nn.Parameter(torch.zeros(1))

    def forward(self, x: Tensor) -> Tensor:
        asking = x[..., :: self.query_stride, :: self.query_stride]
        looked_at = x[..., :: self.key_stride, :: self.key_stride]
        attention = self.energy(asking, looked_at).flatten(4).softmax(dim=4).flatten(2, 3)  # (B, h, q, k)
        values = self._by_head(self.value_conv(looked_at)).flatten(3).transpose(2, 3)  # (B, h, k, d)
        # With key contents alone, attention is the same for all that ask: one answer for the whole map.
        size = (1, 1) if attention.shape[2] == 1 else asking.shape[2:]
        answer = (attention @ values).transpose(2, 3).flatten(1, 2).unflatten(2, size)
        answer = self.proj_conv(answer)
        if self.query_stride > 1:
            answer = interpolate(answer, size=x.shape[2:], mode="bilinear", align_corners=False)
        return x + self.gamma * answer

    def energy(self, asking: Tensor, looked_at: Tensor) -> Tensor:
        """(B | 1, h, rows, columns, key rows, key columns) before the softmax; q's axes may be 1 and 1."""
        query = self._by_head(self.query_conv(asking)) if self.both or self.asker_place else None
        total: Tensor | None = None
        if self.both or self.key_only:
            asks = _sum(query if self.both else None, self._bias("appr_bias") if self.key_only else None)
            keys = self._by_head(self.key_conv(looked_at))
            total = torch.einsum("bhdyx,bhdvu->bhyxvu", asks, keys)
        if self.asker_place or self.place_only:
            asks = _sum(
                query if self.asker_place else None, self._bias("geom_bias") if self.place_only else None
            )
            rows = self._position(self.appr_geom_fc_y, asking, looked_at, axis=2)
            columns = self._position(self.appr_geom_fc_x, asking, looked_at, axis=3)
            vertical = torch.einsum("bhdyx,yvhd->bhyxv", asks, rows).unsqueeze(5)
            horizontal = torch.einsum("bhdyx,xuhd->bhyxu", asks, columns).unsqueeze(4)
            total = _sum(total, vertical + horizontal)
        assert total is not None  # __init__ wants one term
        return total if self.spatial_range is None else self._nearby(total, asking, looked_at)

    def _by_head(self, x: Tensor) -> Tensor:
        return x.unflatten(1, (self.heads, -1))  # (B, h, d, H, W)

    def _bias(self, name: str) -> Tensor:
        return getattr(self, name).reshape(1, self.heads, -1, 1, 1)

    def _places(self, asking: Tensor, looked_at: Tensor, axis: int) -> tuple[Tensor, Tensor]:
        """(q, 1) and (1, k): pixels of `x` along one axis."""
        q = torch.arange(asking.shape[axis], device=asking.device, dtype=torch.float32) * self.query_stride
        k = torch.arange(looked_at.shape[axis], device=asking.device, dtype=torch.float32) * self.key_stride
        return q[:, None], k[None, :]

    def _position(self, linear: nn.Linear, asking: Tensor, looked_at: Tensor, *, axis: int) -> Tensor:
        """(q, k, h, d): what the distances along one axis mean to each head."""
        q, k = self._places(asking, looked_at, axis)
        quarter = self.position_channels // 4
        steps = torch.arange(quarter, device=asking.device, dtype=torch.float32) / quarter
        angles = ((q - k) * self.position_scale)[..., None] / LONGEST_WAVE**steps
        code = torch.cat([angles.sin(), angles.cos()], dim=2).to(linear.weight.dtype)
        # Rows and columns share the variance of one term.
        return linear(code).unflatten(2, (self.heads, -1)) / math.sqrt(2)

    def _nearby(self, energy: Tensor, asking: Tensor, looked_at: Tensor) -> Tensor:
        """No attention outside a square around the asking place, its sides rounded out to places looked at."""
        inside = []
        for axis in (2, 3):
            q, k = self._places(asking, looked_at, axis)
            low = torch.floor((q - self.spatial_range) / self.key_stride) * self.key_stride
            high = torch.floor((q + self.spatial_range + 1) / self.key_stride) * self.key_stride
            inside.append((k >= low) & (k <= high))
        near = inside[0][:, None, :, None] & inside[1][None, :, None, :]  # (rows, columns, key rows, …)
        return energy.masked_fill(~near, -math.inf)


def _sum(first: Tensor | None, second: Tensor | None) -> Tensor | None:
    if first is None or second is None:
        return second if first is None else first
    return first + second


def _conv(inputs: int, outputs: int, *, bias: bool = False) -> nn.Conv2d:
    conv = nn.Conv2d(inputs, outputs, 1, bias=bias)
    nn.init.kaiming_uniform_(conv.weight, a=1)
    if conv.bias is not None:
        nn.init.zeros_(conv.bias)
    return conv


def _linear(inputs: int, outputs: int) -> nn.Linear:
    linear = nn.Linear(inputs, outputs, bias=False)
    nn.init.kaiming_uniform_(linear.weight, a=1)
    return linear
