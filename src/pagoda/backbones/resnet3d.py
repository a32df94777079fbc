"""ResNet over clips (Girdhar 2018): (B, 3, T, H, W) to {level: (B, C, T, h, w)}.

State-dict names are `resnet.ResNet`'s; kernels have a time axis, and `layers.inflate` gives stored ones theirs.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from pagoda.backbones.resnet import ResNet
from pagoda.backbones.resnet_blocks import Style
from pagoda.layers.inflate import inflate_convolution
from pagoda.layers.norm import FrameGroupNorm, Norm
from pagoda.plain import checked


@checked
class ResNet3D(ResNet):
    """A ResNet whose 3×3 convolutions from layer2 on look at neighbouring frames, too.

    Stem and layer1 see each frame alone (`frame_features`), so that sliding clips need them once per frame; the
    rest is `from_frame_features`. Fresh kernels are the two-dimensional network's in the middle tap: each frame
    starts as a picture.

    Args:
        depth, levels, norm, eps, style, frozen_stages: as `resnet.ResNet` has them.
        time_kernel: frames that those convolutions see; 1 is the two-dimensional network on every frame.
        time_stride: each stage from layer2 on halves the frames with the sides, an odd number rounded up.

    >>> body = ResNet3D(18, levels=(2, 3))
    >>> body.layer1[0].conv1.kernel_size, body.layer2[0].conv1.kernel_size
    ((1, 3, 3), (3, 3, 3))
    """

    def __init__(
        self,
        depth: int,
        *,
        levels: Sequence[int] = (3, 4, 5),
        time_kernel: int = 3,
        time_stride: bool = False,
        norm: Norm = "frozen",
        eps: float = 1e-5,
        style: Style = "caffe",
        frozen_stages: int = 2,
    ) -> None:
        super().__init__(depth, levels=levels, norm=norm, eps=eps, style=style, frozen_stages=frozen_stages)
        _give_time(self, time_kernel, time_stride)
        self.maxpool = nn.MaxPool3d((1, 3, 3), (1, 2, 2), padding=(0, 1, 1))
        self.train()  # freezes the new modules, too

    def frame_features(self, frames: Tensor) -> Tensor:
        """(B, C, T, h, w) at stride 4 from the frames (B, 3, T, H, W), each for itself."""
        # In this layout the pooling is up to fifteen times quicker on a CPU; it lasts through the network. A network
        # in half precision takes pixels in full.
        frames = frames.to(self.conv1.weight.dtype, memory_format=torch.channels_last_3d)
        return self.layer1(self.maxpool(self.relu(self.bn1(self.conv1(frames)))))

    def from_frame_features(self, x: Tensor) -> dict[int, Tensor]:
        """The pyramid of a clip from the `frame_features` of its frames."""
        pyramid = {}
        for level, stage in self.stages().items():
            x = x if level == 2 else stage(x)
            if level in self.channels:
                pyramid[level] = x
        return pyramid

    def forward(self, images: Tensor) -> dict[int, Tensor]:
        return self.from_frame_features(self.frame_features(images))


def _give_time(network: ResNet, time_kernel: int, time_stride: bool) -> None:
    """Put convolutions and norms over clips in the place of those over pictures."""
    for name, module in list(network.named_modules()):
        is_late = name.startswith(("layer2", "layer3", "layer4"))
        if isinstance(module, nn.Conv2d):
            joins = is_late and module.kernel_size == (3, 3)
            deep = inflate_convolution(
                module,
                time_kernel if joins else 1,
                time_stride=module.stride[0] if is_late and time_stride else 1,
            )
            network.set_submodule(name, deep)
        elif isinstance(module, nn.BatchNorm2d):
            network.set_submodule(name, nn.BatchNorm3d(module.num_features, eps=module.eps))
        elif isinstance(module, nn.GroupNorm):
            network.set_submodule(
                name, FrameGroupNorm(module.num_groups, module.num_channels, eps=module.eps)
            )
