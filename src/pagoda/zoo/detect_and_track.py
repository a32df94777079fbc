"""Detect-and-Track on any ResNet. Necks: "3d" and "2d" a pyramid with and without time, "c4_3d" and "c4_2d" one level,
whose last stage is in the box head, "c5_3d" and "c5_2d" one level of all stages under fully connected layers.

The two that were published are resnet18 on c4_3d and resnet101 on 2d; the pyramid with time is our own.
"""

from dataclasses import dataclass, replace
from typing import Literal, Self

from torch import nn

from pagoda.backbones.resnet import ResNet
from pagoda.backbones.resnet3d import ResNet3D
from pagoda.backbones.resnet_options import Body
from pagoda.detectors.detect_and_track import DetectAndTrack
from pagoda.heads.roi_box import BoxHead, BoxTrunk, StageTrunk
from pagoda.heads.tube_box import TubeBoxHead
from pagoda.heads.tube_keypoint import TubeKeypointHead
from pagoda.heads.tube_rpn import TubeRPNHead
from pagoda.layers.inflate import Inflation
from pagoda.necks.fpn3d import FPN3D
from pagoda.plain import checked
from pagoda.structures.labels import LabelMap
from pagoda.zoo.flavours.base import BodyFlavour
from pagoda.zoo.flavours.detect_and_track import DetectAndTrackFlavour
from pagoda.zoo.inputs import of_sides
from pagoda.zoo.option_groups import KeypointOptions, NormOptions, PyramidOptions, RCNNOptions, SideOptions
from pagoda.zoo.options import ModelName, ModelOptions, given

BODIES = ("resnet18", "resnet34", "resnet50", "resnet101", "resnet152")
CLIP_MODELS = [
    f"detect_and_track_{body}_{neck}" for body in BODIES for neck in ("3d", "2d", "c4_3d", "c4_2d")
]


@checked
@dataclass(frozen=True, kw_only=True)
class DetectAndTrackOptions(RCNNOptions, KeypointOptions, NormOptions, SideOptions):
    """Detect-and-Track: clips instead of pictures."""

    of = "Detect-and-Track"
    inflation: Inflation | None = None
    """what the taps in time of the backbone make of those weights of pictures (center)"""
    num_frames: int | None = None
    """of a clip (3, in its two-dimensional form 1)"""
    frame_interval: int | None = None
    """frames of the video from one of a clip to the next (1)"""
    link: Literal["none", "center", "mean"] | None = None
    """between body and heads: all frames go on (none), the middle one, or their mean"""
    time_kernel: int | None = None
    """frames that the convolutions see, an odd number (3, in its two-dimensional form 1)"""

    def without_weights(self) -> Self:
        """The same without what says where the first weights come from: to be built again from a checkpoint."""
        return replace(self, backbone_weights=None, take=None, inflation=None)


@checked
@dataclass(frozen=True, kw_only=True)
class TimeStrideOptions(ModelOptions):
    """Detect-and-Track on one level over clips."""

    of = "Detect-and-Track on c4_3d and c5_3d, one level over clips"
    time_stride: bool = False
    """each stage from layer2 on halves the frames, an odd number rounded up, as Detect-and-Track's TIME_STRIDE_ON: on
    one level over clips (c4_3d, c5_3d); tubes then have the middle frames of a clip alone"""


def detect_and_track_options(
    name: ModelName, flavour: DetectAndTrackFlavour
) -> tuple[type[ModelOptions], ...]:
    """The option groups of a Detect-and-Track of this name."""
    if not name.neck.startswith("c"):
        return (DetectAndTrackOptions, PyramidOptions)
    return (
        (DetectAndTrackOptions, TimeStrideOptions) if name.neck.endswith("3d") else (DetectAndTrackOptions,)
    )


def detect_and_track(
    name: ModelName, labels: LabelMap, options: DetectAndTrackOptions, flavour: DetectAndTrackFlavour
) -> DetectAndTrack:
    """A Detect-and-Track: one flavour's conventions around the parts that the options describe.

    Raises ValueError for a backbone that has no form over clips.
    """
    if name.backbone not in BODIES:
        raise ValueError(
            f"clips go through a ResNet with time, one of {', '.join(BODIES)}; got {name.backbone}."
            " Detectors of single frames can be followed with `pagoda track`, too"
        )
    is_pyramid, has_time = not name.neck.startswith("c"), name.neck.endswith("3d")
    time_kernel = _kernel_in_time(options, has_time=has_time)
    flavour = flavour if has_time else flavour.of_pictures()
    depth = int(name.backbone.removeprefix("resnet"))
    width = given(options.width, 256)
    body = _clip_body(
        depth, options, flavour.body, (2, 3, 4, 5) if is_pyramid else (int(name.neck[1]),), time_kernel
    )
    neck = None
    if isinstance(options, PyramidOptions):
        neck = FPN3D(body.channels, width, time_kernel=time_kernel, top_level=given(options.top_level, 6))
    channels = neck.channels if neck is not None else body.channels
    anchors = flavour.anchors(pyramid=is_pyramid)
    if name.neck.startswith("c5"):  # the same sizes in pixels, from 64 on, at twice the stride
        anchors = replace(anchors, scales=tuple(scale / 2 for scale in anchors.scales))
    has_stage = name.neck.startswith("c4")
    features = next(iter(channels.values()))
    spec = flavour.input_spec if is_pyramid else flavour.one_level_input
    num_keypoints = given(options.num_keypoints, len(labels.skeleton) if labels.skeleton is not None else 0)
    return DetectAndTrack(
        body,
        neck,
        rpn_head=TubeRPNHead(
            channels, len(anchors.of_cell(16)), time_kernel=time_kernel, coder=flavour.rpn_coder
        ),
        box_head=TubeBoxHead(box_head(depth, features, labels, options, flavour, last_stage=has_stage)),
        keypoint_head=keypoint_head(features, num_keypoints, time_kernel, options, flavour)
        if num_keypoints
        else None,
        num_frames=given(options.num_frames, time_kernel),
        frame_interval=given(options.frame_interval, 1),
        link=options.link or "none",
        label_map=labels,
        input_spec=of_sides(options, spec),
        anchors=anchors,
        proposals=flavour.proposals,
        criterion=flavour.criterion,
        postprocess=flavour.postprocess,
    )


def _kernel_in_time(options: DetectAndTrackOptions, *, has_time: bool) -> int:
    """Raises ValueError for an even number, and for more than one frame in a network without time."""
    kernel = given(options.time_kernel, 3 if has_time else 1)
    if kernel < 1 or kernel % 2 == 0 or (kernel == 1) == has_time:
        wanted = "an odd number above 1 for necks called …3d" if has_time else "1 for necks called …2d"
        raise ValueError(f"time_kernel must be {wanted}, got {kernel}")
    return kernel


def _clip_body(
    depth: int,
    options: DetectAndTrackOptions,
    flavour: BodyFlavour,
    levels: tuple[int, ...],
    time_kernel: int,
) -> ResNet3D:
    """The backbone over these levels."""
    norm = options.norm or flavour.norm
    return ResNet3D(
        depth,
        levels=levels,
        time_kernel=time_kernel,
        time_stride=isinstance(options, TimeStrideOptions) and options.time_stride,
        norm=norm,
        eps=flavour.eps if norm == flavour.norm else BodyFlavour.eps,
        style=flavour.style,
        frozen_stages=given(options.frozen_stages, flavour.frozen_stages),
    )


def box_head(
    depth: int,
    features: int,
    labels: LabelMap,
    options: DetectAndTrackOptions,
    flavour: DetectAndTrackFlavour,
    *,
    last_stage: bool,
) -> BoxHead:
    """The box head of single frames: fully connected layers, or the backbone's last stage."""
    trunk: nn.Module
    if not last_stage:
        trunk = BoxTrunk(features, flavour.pooling.resolution, width=4 * given(options.width, 256))
    else:
        norm = options.norm or flavour.body.norm
        whole = ResNet(
            depth,
            levels=(5,),
            norm=norm,
            eps=flavour.body.eps if norm == flavour.body.norm else BodyFlavour.eps,
            style=flavour.body.style,
            body=Body(strides=(1, 2, 2, 1)),
        )
        trunk = StageTrunk(whole.layer4, whole.channels[5])
    return BoxHead(
        trunk,
        len(labels),
        pooling=flavour.pooling,
        class_agnostic=options.class_agnostic,
        background=flavour.background,
        background_box=flavour.background_box,
        coder=flavour.box_coder,
    )


def keypoint_head(
    features: int,
    num_keypoints: int,
    time_kernel: int,
    options: DetectAndTrackOptions,
    flavour: DetectAndTrackFlavour,
) -> TubeKeypointHead:
    """The keypoint head, on tubes pooled twice as fine."""
    return TubeKeypointHead(
        features,
        num_keypoints,
        pooling=replace(flavour.pooling, resolution=2 * flavour.pooling.resolution),
        depth=given(options.head_depth, 8),
        width=2 * given(options.width, 256),
        time_kernel=time_kernel,
        upsampling=flavour.upsampling,
    )
