"""Losses of Detect-and-Track (Girdhar 2018): those of `criteria.rcnn` over the frames of clips.

P anchors over all levels, R sampled tubes, N objects, T frames, K keypoints. An object may be absent from some
frames of its clip. With T = 1 every loss is that of pictures.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

import torch
from jaxtyping import Bool, Float, Int
from torch import Generator, Tensor

from pagoda.criteria.masks_keypoints import KeypointCriterion
from pagoda.criteria.rcnn import LEARNT_IOU, RoICriterion, RoISample
from pagoda.criteria.rpn import RPNCriterion
from pagoda.ops.assign import sample_rows
from pagoda.ops.box_coding import BoxCoder
from pagoda.ops.heatmaps import keypoints_to_cells
from pagoda.ops.losses import coded_box_loss
from pagoda.ops.tubes import fill_absent, replicate_anchors, tube_iou
from pagoda.plain import check_counts, checked
from pagoda.structures.outputs import Proposals
from pagoda.structures.tubes import TubeTargets

OverlapFrames = Literal["visible", "all"]
"""frames that overlap with an object is the mean of: those it is visible in, or all, as the original program has
it; then an object seen in one frame of three overlaps nothing by more than a third"""


def _object_overlaps(
    tubes: Float[Tensor, "r t 4"], target: TubeTargets, over: OverlapFrames, inclusive: bool
) -> Float[Tensor, "r n"]:
    """IoU of tubes with the objects of a clip. Absent objects are empty boxes at the origin, where the legacy rule
    sees one pixel."""
    boxes = target.boxes * target.visible[..., None]
    return tube_iou(tubes, boxes, inclusive=inclusive, visible=target.visible if over == "visible" else None)


@checked
@dataclass(frozen=True, kw_only=True)
class TubeRPNCriterion(RPNCriterion[TubeTargets]):
    """As `RPNCriterion`, of anchors (P, 4) that stand still through the clip, and deltas (B, P, T, 4).

    Deltas of frames without the object cost nothing; those of the others count by 1 / T.

    >>> box, one = torch.tensor([[0., 0., 8., 8.]]), torch.tensor([0])
    >>> seen = torch.tensor([[True, False]])  # in one frame of two
    >>> walker = TubeTargets(box[:, None].expand(1, 2, 4), one, seen, (9, 9), one > 0, one, key=0)
    >>> TubeRPNCriterion().overlaps(box, walker), TubeRPNCriterion(over="all").overlaps(box, walker)
    (tensor([[1.]]), tensor([[0.5000]]))
    """

    over: OverlapFrames = "visible"
    """which frames an overlap is the mean of: see `OverlapFrames`"""

    def overlaps(self, anchors: Float[Tensor, "p 4"], target: TubeTargets) -> Float[Tensor, "p n"]:
        """IoU of every anchor, standing still, with every object, the mean of `over`'s frames."""
        tubes = replicate_anchors(anchors, target.num_frames)
        return _object_overlaps(tubes, target, self.over, self.inclusive)

    def box_sum(
        self,
        deltas: Float[Tensor, "n t 4"],
        anchors: Float[Tensor, "n 4"],
        target: TubeTargets,
        objects: Int[Tensor, " n"],
        coder: BoxCoder,
    ) -> Float[Tensor, ""]:
        """The loss of deltas of anchors that serve `objects`, summed and divided by T."""
        seen = target.visible[objects]
        tubes = replicate_anchors(anchors, target.num_frames)
        losses = coded_box_loss(
            deltas[seen],
            tubes[seen],
            target.boxes[objects][seen],
            coder,
            kind=self.box_loss,
            beta=self.smooth_l1_beta,
        )
        return losses.sum() / target.num_frames


class TubeSample(RoISample):
    """The tubes of a training step, all clips together: boxes (R, T, 4), clips (R,), objects (R,).

    >>> sample = TubeSample(torch.zeros(2, 3, 4), torch.tensor([0, 1]), torch.tensor([-1, 0]))
    >>> sample.positive().clips
    tensor([1])
    """

    @property
    def clips(self) -> Int[Tensor, " r"]:
        """(R,) the clip of each tube"""
        return self.images


@checked
@dataclass(frozen=True, kw_only=True)
class TubeCriterion(RoICriterion[TubeTargets]):
    """As `RoICriterion`, of deltas (R, classes or 1, T, 4), each frame's counting by 1 / T.

    >>> boxes, one = torch.tensor([[[0., 0., 8., 8.], [0., 0., 0., 0.]]]), torch.tensor([0])
    >>> walker = TubeTargets(boxes, one, torch.tensor([[True, False]]), (9, 9), one > 0, one, key=0)
    >>> TubeCriterion().annotated(walker)  # gone in the second frame, it is believed to have stood still
    tensor([[[0., 0., 8., 8.],
             [0., 0., 8., 8.]]])
    """

    over: OverlapFrames = "visible"
    """which frames an overlap is the mean of: see `OverlapFrames`"""
    mask_absent: bool = True
    """deltas of frames without the object cost nothing; else the empty box is to be found there (the original,
    which needs `inclusive` coding: other boxes without extent have no deltas)"""
    fill_absent: bool = True
    """annotated tubes that serve as regions stay at the nearest visible frame's box where the object is absent;
    else they are empty there (the original)"""

    def check_coder(self, coder: BoxCoder) -> None:
        """Raises ValueError where the box head's coder cannot encode what its deltas shall learn."""
        if not self.mask_absent and not coder.inclusive:
            raise ValueError(
                "mask_absent=False teaches boxes without extent, which only a coder of legacy boxes can encode;"
                " use a box head with coder=BoxCoder(inclusive=True, …) or mask_absent=True"
            )

    def sample(
        self, proposals: Proposals, targets: Sequence[TubeTargets], *, generator: Generator | None = None
    ) -> TubeSample:
        """Some of each clip's proposals, whose boxes are (B, R, T, 4), and its objects, balanced."""
        return TubeSample(*super().sample(proposals, targets, generator=generator))

    def annotated(self, target: TubeTargets) -> Float[Tensor, "n t 4"]:
        """Tubes of a clip's objects that are anywhere visible."""
        there = target.visible.any(1)
        boxes, visible = target.boxes[there], target.visible[there]
        return fill_absent(boxes, visible) if self.fill_absent else boxes * visible[..., None]

    def overlaps(self, rois: Float[Tensor, "r t 4"], target: TubeTargets) -> Float[Tensor, "r n"]:
        """IoU of every tube with every object, the mean of `over`'s frames."""
        return _object_overlaps(rois, target, self.over, self.inclusive)

    def box_sum(
        self,
        deltas: Float[Tensor, "r t 4"],
        served: RoISample,
        targets: Sequence[TubeTargets],
        coder: BoxCoder,
    ) -> Float[Tensor, ""]:
        """The loss of deltas of tubes that all have an object, summed and divided by T."""
        seen = served.of_objects([target.visible for target in targets])
        boxes = served.of_objects([target.boxes for target in targets]) * seen[..., None]
        learnt = seen if self.mask_absent else torch.ones_like(seen)
        losses = coded_box_loss(
            deltas[learnt],
            served.boxes[learnt],
            boxes[learnt],
            coder,
            kind=self.box_loss,
            beta=self.smooth_l1_beta,
        )
        return losses.sum() / deltas.shape[1]


@checked
@dataclass(frozen=True, kw_only=True)
class TubeKeypointCriterion(KeypointCriterion[TubeTargets]):
    """As `KeypointCriterion`, of one map per frame and keypoint, which all count alike.

    >>> undecided, cells = torch.zeros(1, 2, 1, 2, 2), torch.tensor([[[3], [0]]])  # one tube of two frames
    >>> TubeKeypointCriterion()(undecided, cells, cells > 0, 1)["loss_keypoint"]  # ln of 4 cells, in one frame
    tensor(1.3863)
    """

    count: int | None = None
    """tubes of a clip that the head sees, at most; None: all that are worth it. Its cost is that of them."""
    seen_in: Literal["own_frame", "first_frame"] = "own_frame"
    """worth it is a tube with a known keypoint inside its box: that of the keypoint's frame, or the tube's first,
    whatever the keypoint's frame (the original)"""
    or_objects: bool = False
    """a clip without any such tube sends its annotated ones (the original)"""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_counts(count=self.count)

    def sample(
        self, served: TubeSample, targets: Sequence[TubeTargets], *, generator: Generator | None = None
    ) -> TubeSample:
        """The tubes with an object that are worth the keypoint head's work, clip by clip; `generator` draws them."""
        boxes, clips, objects = [served.boxes[:0]], [served.clips[:0]], [served.objects[:0]]
        for clip, target in enumerate(targets):
            here = served.clips == clip
            tubes, index = served.boxes[here], served.objects[here]
            worth = self._is_worth_it(target, tubes, index)
            if self.or_objects and not worth.any():
                tubes, index = target.boxes.to(tubes), torch.arange(len(target), device=index.device)
                worth = torch.ones_like(index, dtype=torch.bool)
            limit = len(index) if self.count is None else self.count
            counts = worth.sum().clamp(max=limit)[None]
            rows = sample_rows(worth[None], counts, most=limit, generator=generator)[0]
            boxes.append(tubes[rows])
            clips.append(torch.full_like(index[rows], clip))
            objects.append(index[rows])
        return TubeSample(torch.cat(boxes), torch.cat(clips), torch.cat(objects))

    def _is_worth_it(
        self, target: TubeTargets, tubes: Float[Tensor, "r t 4"], objects: Int[Tensor, " r"]
    ) -> Bool[Tensor, " r"]:
        points, known = self.annotated(target, objects)  # (R, T, K, 2), (R, T, K)
        boxes = (tubes[:, :1] if self.seen_in == "first_frame" else tubes)[:, :, None]
        inside = ((points >= boxes[..., :2]) & (points <= boxes[..., 2:])).all(-1)
        return (inside & known).flatten(1).any(1)

    def targets(
        self, target: TubeTargets, boxes: Float[Tensor, "r t 4"], objects: Int[Tensor, " r"], size: int
    ) -> tuple[Int[Tensor, "r t k"], Bool[Tensor, "r t k"]]:
        """(cell of the map, whether it counts) of one clip's tubes, each serving one of its objects."""
        points, known = (part.flatten(0, 1) for part in self.annotated(target, objects))
        cells, counts = keypoints_to_cells(
            points.to(boxes), known, boxes.flatten(0, 1), size=size, inclusive=self.inclusive
        )
        return cells.unflatten(0, boxes.shape[:2]), counts.unflatten(0, boxes.shape[:2])

    def __call__(
        self,
        logits: Float[Tensor, "r t k s s"],
        cells: Int[Tensor, "r t _"],
        counts: Bool[Tensor, "r t _"],
        num_clips: int,
    ) -> dict[str, Float[Tensor, ""]]:
        """{"loss_keypoint": scalar} of logits, the target cells and whether each counts."""
        flat_logits, flat_cells, flat_counts = (part.flatten(0, 1) for part in (logits, cells, counts))
        return super().__call__(flat_logits, flat_cells, flat_counts, num_clips * logits.shape[1])


@checked
@dataclass(frozen=True, kw_only=True)
class DetectAndTrackCriterion:
    """The losses of both stages, as `detectors.detect_and_track` learns by them.

    >>> DetectAndTrackCriterion(tubes=TubeCriterion(count=128)).rpn.count  # each stage its own
    256
    """

    rpn: TubeRPNCriterion = field(default_factory=TubeRPNCriterion)
    """of the proposal network"""
    tubes: TubeCriterion = field(default_factory=TubeCriterion)
    """of the box head; it also draws the tubes that all heads are trained on"""
    keypoints: TubeKeypointCriterion = field(default_factory=TubeKeypointCriterion)
    """of the keypoint head; does not count without one"""

    def as_learnt(self) -> "DetectAndTrackCriterion":
        """With as many tubes for each object, from a fresh proposal network, as one gives that has learnt."""
        return replace(self, tubes=replace(self.tubes, min_iou=min(self.tubes.min_iou, LEARNT_IOU)))
