"""Detect-and-Track (Girdhar 2018): Mask R-CNN over clips.

Which tubes may hold an object, what is in them over all their frames, where is it in each, and where are its
keypoints? The detector speaks of one clip; `tracking` links what it says of neighbouring ones.
"""

from collections.abc import Sequence
from typing import Literal

from jaxtyping import Float, Int
from torch import Tensor, nn

from pagoda.criteria.tubes import DetectAndTrackCriterion
from pagoda.detectors.contract import Learnt
from pagoda.detectors.two_stage import (
    Proposed,
    TwoStageDetector,
    image_index,
)
from pagoda.ops.anchors import AnchorShapes
from pagoda.ops.tubes import pool_tubes
from pagoda.plain import checked
from pagoda.postprocess.tubes import SelectTubeProposals, SelectTubes, TubeProposalRules
from pagoda.preprocess import InputSpec
from pagoda.structures.images import ImageBatch
from pagoda.structures.instances import Detections
from pagoda.structures.labels import LabelMap
from pagoda.structures.outputs import TubeOutputs
from pagoda.structures.tubes import Tubes, TubeTargets

Link = Literal["none", "center", "mean"]
"""between body and heads: all frames go on, or the middle one alone, or the mean of all; then tubes have one frame"""


@checked
class DetectAndTrack(TwoStageDetector):
    """Faster R-CNN whose regions are tubes: one class for all frames, one box in each. T frames of a clip.

    A single picture is looked at as a clip that stands still.

    Args:
        backbone: (B, 3, T, H, W) to {level: (B, C, T, h, w)}; with `frame_features` and `from_frame_features`, so
            that clips which share frames share the work on them.
        neck: such a pyramid to another; None: the backbone's own levels (C4 networks have one).
        rpn_head, box_head, keypoint_head: from `heads.tube_…`; each brings its pooling, and its coder of boxes.
        num_frames, frame_interval: of the clips that `tracking` hands over: T, and frames from one to the next.
        link: what the heads see of the time.
        anchors, proposals, criterion, postprocess: as in `RCNN`, of tubes.

    Raises ValueError for a proposal head of other anchors, and a label map of other classes.

    >>> from pagoda.backbones.resnet3d import ResNet3D
    >>> from pagoda.heads.roi_box import BoxHead, BoxTrunk
    >>> from pagoda.heads.tube_box import TubeBoxHead
    >>> from pagoda.heads.tube_rpn import TubeRPNHead
    >>> from pagoda.necks.fpn3d import FPN3D
    >>> from pagoda.ops.roi import RoIPooling
    >>> body = ResNet3D(18, levels=(2,))
    >>> neck = FPN3D(body.channels, 16, top_level=3)
    >>> head = TubeBoxHead(BoxHead(BoxTrunk(16, 7, width=16), 1, pooling=RoIPooling()))
    >>> rpn_head = TubeRPNHead(neck.channels, 3)
    >>> model = DetectAndTrack(body, neck, rpn_head=rpn_head, box_head=head, frame_interval=2)
    >>> model.sees_clips, model.frames_around
    (True, (-2, 0, 2))
    """

    postprocess: SelectTubes
    sees_clips = True

    def __init__(
        self,
        backbone: nn.Module,
        neck: nn.Module | None,
        *,
        rpn_head: nn.Module,
        box_head: nn.Module,
        keypoint_head: nn.Module | None = None,
        num_frames: int = 3,
        frame_interval: int = 1,
        link: Link = "none",
        label_map: LabelMap | None = None,
        input_spec: InputSpec | None = None,
        anchors: AnchorShapes | None = None,
        proposals: TubeProposalRules | None = None,
        criterion: DetectAndTrackCriterion | None = None,
        postprocess: SelectTubes | None = None,
    ) -> None:
        super().__init__()
        self.backbone, self.neck = backbone, neck
        self.rpn_head, self.box_head, self.keypoint_head = rpn_head, box_head, keypoint_head
        self.num_frames, self.frame_interval, self.link = num_frames, frame_interval, link
        self._fit_parts(anchors, label_map, input_spec)
        self.proposals = proposals or TubeProposalRules()
        self.criterion = criterion or DetectAndTrackCriterion()
        self.criterion.tubes.check_coder(box_head.coder)
        self.postprocess = postprocess or SelectTubes()

    @property
    def frames_around(self) -> tuple[int, ...]:  # type: ignore[override]
        """T positions, `frame_interval` apart, the key frame (0) in their middle."""
        before = self.num_frames // 2
        return tuple((number - before) * self.frame_interval for number in range(self.num_frames))

    @property
    def learns(self) -> frozenset[Learnt]:
        return frozenset[Learnt]() if self.keypoint_head is None else frozenset[Learnt]({"keypoints"})

    def frame_features(self, pixels: Float[Tensor, "b c *t h w"]) -> Float[Tensor, "b _ _ _ _"]:
        """(B, C, T, h, w): what is computed of each frame alone. Pictures (B, 3, H, W) stand still for T frames."""
        if pixels.ndim == 4:
            pixels = pixels[:, :, None].expand(-1, -1, self.num_frames, -1, -1)
        return self.backbone.frame_features(pixels)

    def pyramid(self, frame_features: Float[Tensor, "b _ _ _ _"]) -> dict[int, Float[Tensor, "b c t _ _"]]:
        """What the heads read, with as many frames as tubes will have."""
        features = self.backbone.from_frame_features(frame_features)
        pyramid = features if self.neck is None else self.neck(features)
        if self.link == "none":
            return pyramid
        return {level: self._linked(x) for level, x in pyramid.items()}

    def _linked(self, x: Float[Tensor, "b c t h w"]) -> Float[Tensor, "b c 1 h w"]:
        middle = x.shape[2] // 2
        return x[:, :, middle : middle + 1] if self.link == "center" else x.mean(2, keepdim=True)

    def propose(
        self, frame_features: Float[Tensor, "b c t h w"], images: ImageBatch, select: SelectTubeProposals
    ) -> Proposed:
        """The first stage, for training and use alike: pyramid, outputs, and the tubes that `select` takes."""
        return self._propose(self.pyramid(frame_features), images, select)

    def pool(
        self,
        head: nn.Module,
        pyramid: dict[int, Float[Tensor, "b c t _ _"]],
        regions: Float[Tensor, "r t 4"],
        images: Int[Tensor, " r"],
    ) -> Float[Tensor, "r t c h w"]:
        return pool_tubes(head.pooling, pyramid, self.strides, regions.detach(), images)

    def look(
        self, frame_features: Float[Tensor, "b c t h w"], images: ImageBatch
    ) -> tuple[Proposed, TubeOutputs]:
        """The first stage, and all that is said about its tubes; no objects chosen yet."""
        first = self.propose(frame_features, images, self.proposals.inference)
        classes, boxes = self._judge(first.pyramid, first.proposals.boxes)
        batch, frames = boxes.shape[0], first.proposals.boxes.shape[2]
        none = boxes.new_zeros(batch, 0)
        return first, TubeOutputs(
            classes, boxes, first.proposals, boxes.new_zeros(batch, 0, frames, 4), none, none, None
        )

    def forward(self, images: ImageBatch) -> TubeOutputs:
        (pyramid, _, _), outputs = self.look(self.frame_features(images.pixels), images)
        found = self.postprocess(outputs, images.sizes, self.decode)
        outputs = outputs._replace(boxes=found.boxes, scores=found.scores, labels=found.labels)
        if self.keypoint_head is None:
            return outputs
        maps = self.keypoint_logits(pyramid, found.boxes.flatten(0, 1), image_index(found.boxes))
        sizes = (found.labels.shape[0], found.labels.shape[1])
        return outputs._replace(keypoint_logits=maps.unflatten(0, sizes))

    def losses(self, images: ImageBatch, targets: Sequence[TubeTargets]) -> dict[str, Float[Tensor, ""]]:  # type: ignore[override]
        criterion = self.criterion
        features = self.frame_features(images.pixels)
        pyramid, rpn, proposals = self.propose(features, images, self.proposals.training)
        targets = [target.around_key(proposals.boxes.shape[2]) for target in targets]
        sample = criterion.tubes.sample(proposals, targets)
        losses = criterion.rpn(rpn, targets, images.sizes, coder=self.rpn_head.coder)
        pooled = self.pool(self.box_head, pyramid, sample.boxes, sample.clips)
        losses |= criterion.tubes(*self.box_head(pooled), sample, targets, coder=self.box_head.coder)
        if self.keypoint_head is None:
            return losses
        served = criterion.keypoints.sample(sample.positive(), targets)
        return losses | self._keypoint_loss(pyramid, served, targets, criterion.keypoints)

    def detect_tubes(
        self,
        images: ImageBatch,
        *,
        frames: Sequence[tuple[int, ...]] | None = None,
        frame_features: Float[Tensor, "b c t h w"] | None = None,
        postprocess: SelectTubes | None = None,
    ) -> list[Tubes]:
        select = postprocess or self.postprocess
        known = self.frame_features(images.pixels) if frame_features is None else frame_features
        (pyramid, _, _), outputs = self.look(known, images)
        length = outputs.proposals.boxes.shape[2]
        positions = frames or [tuple(range(known.shape[2]))] * len(images.sizes)
        first = known.shape[2] // 2 - length // 2  # as TubeTargets.around_key has it
        positions = [each[first : first + length] for each in positions]
        found = select.detect(outputs, images, self.decode, self.label_map, positions, length // 2)
        return self.finish(found, pyramid, select)

    def finish(
        self, found: list[Tubes], pyramid: dict[int, Float[Tensor, "b c t _ _"]], select: SelectTubes
    ) -> list[Tubes]:
        """Tubes with what the keypoint head, if there is one, says of them."""
        return self._with_keypoints(found, pyramid, select)

    def detect(  # type: ignore[override]
        self,
        images: ImageBatch,
        *,
        postprocess: SelectTubes | None = None,
        sizes: Sequence[tuple[int, int]] | None = None,
    ) -> list[Detections]:
        """One `Detections` per clip: what is there in its key frame."""
        found = [tubes.at(tubes.key) for tubes in self.detect_tubes(images, postprocess=postprocess)]
        return found if sizes is None else self.restore(found, sizes)
