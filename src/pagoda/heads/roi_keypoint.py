"""From the pooled features of a region to one map per keypoint over its box (He 2017). R regions, K keypoints."""

from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import conv_transpose2d, interpolate

from pagoda.heads.towers import start_relu
from pagoda.ops.roi import RoIPooling
from pagoda.plain import checked

Upsampling = Literal["interpolate", "deconvolution"]
"""of the last doubling: bilinear, or Caffe2's fixed bilinear kernel, whose zeros beyond the border pull border
values down"""


@checked
class KeypointHead(nn.Module):
    """Convolutions, a transposed convolution to K maps of twice the resolution, bilinear to twice that.

    Args:
        channels: of the pooled features.
        depth, width: of the 3×3 convolutions.

    >>> head = KeypointHead(4, 17, pooling=RoIPooling(resolution=14), depth=0)
    >>> head(torch.zeros(2, 4, 14, 14)).shape
    torch.Size([2, 17, 56, 56])
    """

    profile: Tensor

    def __init__(
        self,
        channels: int,
        num_keypoints: int,
        *,
        pooling: RoIPooling,
        depth: int = 8,
        width: int = 512,
        upsampling: Upsampling = "interpolate",
    ) -> None:
        super().__init__()
        self.pooling, self.upsampling, self.num_keypoints = pooling, upsampling, num_keypoints
        layers: list[nn.Module] = []
        for _ in range(depth):
            layers += [nn.Conv2d(channels, width, 3, padding=1), nn.ReLU(inplace=True)]
            channels = width
        self.tower = nn.Sequential(*layers)
        self.predict = nn.ConvTranspose2d(channels, num_keypoints, 4, stride=2, padding=1)
        line = torch.tensor([0.25, 0.75, 0.75, 0.25])
        kernel = (line[:, None] * line).expand(num_keypoints, 1, 4, 4).clone()
        self.register_buffer("profile", kernel, persistent=False)
        start_relu(self)

    def forward(self, pooled: Float[Tensor, "r c h w"]) -> Float[Tensor, "r {self.num_keypoints} 4*h 4*w"]:
        """(R, K, S, S) logits, S four times the pooled resolution."""
        return self.maps(self.tower(pooled))

    def maps(self, x: Float[Tensor, "r c h w"]) -> Float[Tensor, "r {self.num_keypoints} 4*h 4*w"]:
        """The output layers: (R, K, S, S) logits of what the tower made of the regions."""
        maps = self.predict(x)
        if self.upsampling == "deconvolution":
            kernel = self.profile.to(maps.dtype)
            return conv_transpose2d(maps, kernel, stride=2, padding=1, groups=self.num_keypoints)
        return interpolate(maps, scale_factor=2.0, mode="bilinear")
