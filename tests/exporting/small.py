"""Small detectors, quickly traced, whose scores are spread as after training."""

import torch
from torch import Tensor, nn

from pagoda.backbones.resnet import ResNet
from pagoda.detectors.contract import Detector
from pagoda.detectors.detect_and_track import DetectAndTrack
from pagoda.detectors.fcos import FCOS
from pagoda.detectors.rcnn import RCNN
from pagoda.detectors.retinanet import RetinaNet
from pagoda.heads.dense import DenseHead
from pagoda.heads.roi_box import BoxHead, BoxTrunk
from pagoda.heads.roi_keypoint import KeypointHead
from pagoda.heads.roi_mask import MaskHead
from pagoda.heads.rpn import RPNHead
from pagoda.heads.tube_box import TubeBoxHead
from pagoda.heads.tube_keypoint import TubeKeypointHead
from pagoda.heads.tube_rpn import TubeRPNHead
from pagoda.layers.conv3d import TimeConv3d
from pagoda.layers.darknet_layer import DarknetLayer
from pagoda.models import create_model
from pagoda.necks.fpn import FPN
from pagoda.necks.fpn3d import FPN3D
from pagoda.ops.box_coding import BoxCoder, PointCoder
from pagoda.ops.roi import RoIPooling
from pagoda.postprocess.proposals import ProposalRules, SelectProposals
from pagoda.postprocess.tubes import SelectTubeProposals, SelectTubes, TubeProposalRules
from pagoda.preprocess import InputSpec
from pagoda.structures.labels import LabelMap
from pagoda.structures.posetrack_skeletons import PERSON_17
from pagoda.structures.skeleton import Skeleton

WALKERS = LabelMap(("person", "horse"), (1, 2), PERSON_17.skeleton)


class StridesInTime(nn.Module):
    """A convolution of each frame, then two that see its neighbours."""

    def __init__(self, time_kernel: int = 3) -> None:
        super().__init__()
        self.channels = {3: 16, 4: 24}
        self.alone = TimeConv3d(3, 12, 7, time_kernel=1, stride=4)
        self.first = TimeConv3d(12, 16, 3, time_kernel=time_kernel, stride=2)
        self.second = TimeConv3d(16, 24, 3, time_kernel=time_kernel, stride=2)

    def frame_features(self, frames: Tensor) -> Tensor:
        return self.alone(frames.to(self.alone.weight.dtype)).relu()

    def from_frame_features(self, x: Tensor) -> dict[int, Tensor]:
        fine = self.first(x).relu()
        return {3: fine, 4: self.second(fine).relu()}

    def forward(self, frames: Tensor) -> dict[int, Tensor]:
        return self.from_frame_features(self.frame_features(frames))


def small_clips(
    *,
    num_frames: int = 3,
    frame_interval: int = 1,
    poses: bool = True,
    suppress_equal: bool = False,
    spec: InputSpec | None = None,
) -> DetectAndTrack:
    """Detect-and-Track of two levels, quickly traced, whose scores are spread as after training."""
    torch.manual_seed(3)
    backbone = StridesInTime(1 if num_frames == 1 else 3)
    neck = FPN3D(backbone.channels, 16, time_kernel=1, top_level=4)
    head = TubeBoxHead(BoxHead(BoxTrunk(16, 7, width=32), 2, pooling=RoIPooling()))
    pooling = RoIPooling(resolution=7)
    few = SelectTubeProposals(max_proposals=60, suppress_equal=suppress_equal)
    model = DetectAndTrack(
        backbone,
        neck,
        rpn_head=TubeRPNHead(neck.channels, 3, time_kernel=1),
        box_head=head,
        keypoint_head=TubeKeypointHead(16, 17, pooling=pooling, depth=1, width=16) if poses else None,
        num_frames=num_frames,
        frame_interval=frame_interval,
        label_map=WALKERS,
        input_spec=spec or InputSpec(short_side=64, long_side=120),
        proposals=TubeProposalRules(inference=few),
        postprocess=SelectTubes(max_detections=25, suppress_equal=suppress_equal),
    ).eval()
    clip = torch.randint(0, 256, (num_frames, 3, 64, 90), dtype=torch.uint8)
    with torch.no_grad():
        model.rpn_head.objectness.weight.normal_(std=0.3)
        model.rpn_head.deltas.weight.normal_(std=0.1)
        outputs = model(model.input_spec.batch([clip]))
        head.head.classes.weight *= 4 / outputs.class_logits.std()
        head.head.deltas.weight *= 0.3 / outputs.box_outputs.std()
        if poses:
            model.keypoint_head.predict.weight.normal_(std=0.3)
    return model


LABELS = LabelMap(("cat", "dog", "größer"), (17, 18, 90))


def one_level_fcos() -> Detector:
    """A stem, one stage and one level, so that it is quickly traced; scores are spread as after training."""
    torch.manual_seed(1)
    backbone = ResNet(18, levels=(3,), norm="batch")
    neck = FPN(backbone.channels, 32, top_level=4)
    class_head, box_head = (DenseHead(neck.channels, outputs, depth=1) for outputs in (3, 5))
    model = FCOS(
        backbone,
        neck,
        class_head=class_head,
        box_head=box_head,
        coder=PointCoder(steps="padded"),
        label_map=LABELS,
        input_spec=InputSpec(short_side=120, long_side=200, channel_order="BGR", scale=1.0),
    )
    with torch.no_grad():
        class_head.predict.weight.normal_(std=0.4)
        class_head.predict.bias.fill_(-2)
        box_head.predict.bias.fill_(1.0)
    return model


FACE = Skeleton(("left_eye", "right_eye", "nose"), edges=((0, 2), (1, 2)), sigmas=(0.03, 0.03, 0.04))
RIDERS = LabelMap(("person", "horse", "cart"), (1, 2, 3), FACE)


def spread_out(model: RCNN, size: tuple[int, int] = (128, 160)) -> RCNN:
    """Class scores as far apart as after training, which random heads are not; masks with holes."""
    images = model.input_spec.batch([torch.randint(0, 256, (3, *size), dtype=torch.uint8)])
    layer = model.box_head.classes
    for name, scale in model.backbone.state_dict().items():
        if name.endswith("bn3.weight"):  # else fifty layers amplify what they see, and rounding with it
            scale.fill_(0.2)
    with torch.no_grad():
        layer.weight *= 3 / model.eval()(images).class_logits.std()
        if model.mask_head is not None:
            model.mask_head.predict.weight.normal_(std=0.2)
    return model


class Strides(nn.Module):
    """Two strided convolutions: tracing costs by the layer, and test_onnx.py has a network of many."""

    def __init__(self) -> None:
        super().__init__()
        self.channels = {3: 16, 4: 24}
        self.first, self.second = nn.Conv2d(3, 16, 15, 8, padding=7), nn.Conv2d(16, 24, 3, 2, padding=1)

    def forward(self, pictures: Tensor) -> dict[int, Tensor]:
        fine = self.first(pictures).relu()
        return {3: fine, 4: self.second(fine).relu()}


def two_levels_and_all_heads() -> RCNN:
    """Small, so that it is quickly traced."""
    torch.manual_seed(0)
    backbone = Strides()
    neck = FPN(backbone.channels, 16, top_level=4)
    fine = RoIPooling(resolution=14)
    model = RCNN(
        backbone,
        neck,
        rpn_head=RPNHead(neck.channels, 3),
        box_head=BoxHead(BoxTrunk(16, 7, width=32), 3, pooling=RoIPooling()),
        mask_head=MaskHead(16, 3, pooling=fine, depth=1, width=16),
        keypoint_head=KeypointHead(16, 3, pooling=fine, depth=1, width=16),
        label_map=RIDERS,
        input_spec=InputSpec(short_side=128, long_side=200),
        proposals=ProposalRules(inference=SelectProposals(max_proposals=100)),
    )
    return spread_out(model)


def two_levels_of_anchors() -> Detector:
    """A RetinaNet of legacy boxes, small and with scores spread as after training."""
    torch.manual_seed(2)
    backbone = Strides()
    neck = FPN(backbone.channels, 32, top_level=4)
    class_head, box_head = (DenseHead(neck.channels, 9 * outputs, depth=1) for outputs in (3, 4))
    model = RetinaNet(
        backbone,
        neck,
        class_head=class_head,
        box_head=box_head,
        coder=BoxCoder(weights=(10.0, 10.0, 5.0, 5.0), inclusive=True, limit_shrinking=True),
        label_map=LABELS,
        input_spec=InputSpec(short_side=120, long_side=200),
    )
    with torch.no_grad():
        class_head.predict.weight.normal_(std=0.4)
        class_head.predict.bias.fill_(-2)
        box_head.predict.weight.normal_(std=0.4)
    return model


def small_darknet() -> Detector:
    """Convolution, local and connected layers, and pictures stretched to one size as darknet does it."""
    torch.manual_seed(1)
    layers = (
        DarknetLayer(
            kind="convolutional", outputs=12, size=5, stride=4, padding=2, batch_norm=True, activation="leaky"
        ),
        DarknetLayer(kind="maxpool", size=2, stride=2, padding=1),
        DarknetLayer(kind="local", outputs=6, size=3, padding=1, activation="leaky"),
        DarknetLayer(kind="dropout"),
        DarknetLayer(kind="connected"),
    )
    model = create_model(
        "yolov1.darknet", label_map=LABELS, layers=layers, side=7, num_boxes=3, canvas=(96, 128)
    )
    with torch.no_grad():
        norm = model.backbone.layers[0].norm
        norm.running_mean.normal_(std=0.1)
        norm.running_var.uniform_(1e-6, 0.2)
        last = model.head.last
        last.weight.normal_(std=0.02)
        last.bias.fill_(0.5)
        last.bias[: 49 * 3].uniform_(0.1, 0.9)
    return model.eval()
