"""From what is said about clips to tubes: `postprocess.proposals` and `postprocess.rcnn` over frames (Girdhar 2018).

B clips, R tubes, N objects, T frames, K keypoints. What a rule asks of a box it asks of a tube's box in every
frame; tubes overlap by the mean IoU of their frames (`ops.tubes`).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from jaxtyping import Bool, Float, Int, Real
from torch import Tensor

from pagoda.ops.box_coding import BoxCoder
from pagoda.ops.tubes import batch_tube_survivors, tube_iou, tube_survivors
from pagoda.plain import checked
from pagoda.postprocess.proposals import SelectProposals
from pagoda.postprocess.rcnn import SelectSecondStage
from pagoda.postprocess.select import Candidates, Decode, take
from pagoda.structures.images import ImageBatch
from pagoda.structures.labels import LabelMap
from pagoda.structures.outputs import Proposals, RPNOutputs, TubeOutputs
from pagoda.structures.tubes import Tubes


@checked
@dataclass(frozen=True, kw_only=True)
class SelectTubeProposals(SelectProposals):
    """As `SelectProposals`, of deltas (B, P, T, 4) relative to anchors (P, 4) that stand still.

    >>> import torch
    >>> outputs = RPNOutputs(torch.zeros(1, 1), torch.zeros(1, 1, 3, 4), (torch.tensor([[0., 0., 8., 8.]]),))
    >>> SelectTubeProposals()(outputs, torch.tensor([[32, 32]]), BoxCoder()).boxes.shape
    torch.Size([1, 1, 3, 4])
    """

    suppress_equal: bool = False
    """an overlap of exactly `max_iou` is too much as well (Detect-and-Track on single frames)"""

    def __call__(self, outputs: RPNOutputs, sizes: Real[Tensor, "b 2"], coder: BoxCoder) -> Proposals:
        """Tubes (B, R, T, 4) in pixels of the batch, whose frames have (height, width) `sizes` (B, 2); exports."""
        return super().__call__(outputs, sizes[:, None], coder)  # one size for all frames

    def _decode(
        self, coder: BoxCoder, deltas: Float[Tensor, "b k t 4"], anchors: Float[Tensor, "b k 4"]
    ) -> Float[Tensor, "b k t 4"]:
        return coder.decode(deltas, anchors[:, :, None].expand(-1, -1, deltas.shape[2], -1))

    def _survivors(
        self,
        boxes: Float[Tensor, "b n t 4"],
        places: Float[Tensor, "b n"],
        levels: Int[Tensor, "b n"],
        num_levels: int,
    ) -> Bool[Tensor, "b n"]:
        most = _most_overlap(self.max_iou, self.suppress_equal)
        return batch_tube_survivors(boxes, places, levels, num_levels, most, self.inclusive)


@checked
@dataclass(frozen=True, kw_only=True)
class TubeProposalRules:
    """How many tubes a step of training looks at, and how many a clip to detect in.

    >>> rules = TubeProposalRules()
    >>> rules.training.max_candidates, rules.inference.max_candidates
    (2000, 1000)
    """

    training: SelectTubeProposals = field(default_factory=lambda: SelectTubeProposals(max_candidates=2000))
    """what the box head learns from; its criterion then draws a sample of it"""
    inference: SelectTubeProposals = field(default_factory=SelectTubeProposals)
    """what the box head judges in use"""


@checked
@dataclass(frozen=True, kw_only=True)
class SelectTubes(SelectSecondStage):
    """As `SelectRoIs`, of tubes, which have no masks.

    >>> import torch
    >>> places, scores = SelectTubes().keypoints(torch.zeros(2, 3, 17, 56, 56), torch.ones(2, 3, 4))
    >>> places.shape, scores.shape  # of two tubes over three frames
    (torch.Size([2, 3, 17, 2]), torch.Size([2, 3, 17]))
    """

    suppress_equal: bool = False
    """an overlap of exactly `max_iou` is too much as well (Detect-and-Track on single frames)"""

    def _cut(self, found: Candidates, sizes: Real[Tensor, "b 2"]) -> Candidates:
        return super()._cut(found, sizes[:, None])  # one size for all frames

    def overlaps(self, found: Candidates, others: Candidates) -> Float[Tensor, "n m"]:
        return tube_iou(found.boxes, others.boxes, inclusive=self.inclusive)

    def _batch_survivors(self, found: Candidates, num_classes: int) -> Bool[Tensor, "b n"]:
        most = _most_overlap(self.max_iou, self.suppress_equal)
        return batch_tube_survivors(
            found.boxes, found.scores, self._groups(found.labels), num_classes, most, self.inclusive
        )

    def _survivors(self, found: Candidates) -> Bool[Tensor, " n"]:
        return tube_survivors(
            found.boxes,
            found.scores,
            self._groups(found.labels),
            max_iou=_most_overlap(self.max_iou, self.suppress_equal),
            inclusive=self.inclusive,
        )

    def detect(  # type: ignore[override]
        self,
        outputs: TubeOutputs,
        images: ImageBatch,
        decode: Decode,
        label_map: LabelMap,
        frames: Sequence[tuple[int, ...]],
        key: int,
    ) -> list[Tubes]:
        """Tubes as ragged lists, one per clip; `frames` are the positions of each clip's frames in its video."""
        found = self.candidates(outputs, images.sizes, decode)
        clips = []
        for clip, (size, positions) in enumerate(zip(images.sizes, frames, strict=True)):
            best = self.best_of_one_image(take(found, clip), size)
            height, width = size.tolist()
            clips.append(
                Tubes(best.boxes, best.scores, best.labels, positions, key, (height, width), label_map)
            )
        return clips

    def keypoints(
        self, logits: Float[Tensor, "n t k s s"], boxes: Float[Tensor, "n t 4"]
    ) -> tuple[Float[Tensor, "n t k 2"], Float[Tensor, "n t k"]]:
        """(places, scores) from maps over the boxes of each frame."""
        places, scores = super().keypoints(logits.flatten(0, 1), boxes.flatten(0, 1))
        return places.unflatten(0, boxes.shape[:2]), scores.unflatten(0, boxes.shape[:2])


def _most_overlap(max_iou: float, suppress_equal: bool) -> float:
    """The largest overlap with a better tube that a tube survives."""
    return math.nextafter(max_iou, -math.inf) if suppress_equal else max_iou
