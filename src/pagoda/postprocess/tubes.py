"""From what is said about clips to tubes: `postprocess.proposals` and `postprocess.rcnn` over frames (Girdhar 2018).

B clips, R tubes, N objects, T frames, K keypoints. What a rule asks of a box it asks of a tube's box in every
frame; tubes overlap by the mean IoU of their frames (`ops.tubes`).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from torch import Tensor

from pagoda.ops.box_coding import BoxCoder
from pagoda.ops.tubes import batch_tube_survivors, tube_survivors
from pagoda.plain import checked
from pagoda.postprocess.proposals import SelectProposals
from pagoda.postprocess.rcnn import SelectSecondStage
from pagoda.postprocess.select import Candidates, Decode
from pagoda.structures.images import ImageBatch
from pagoda.structures.labels import LabelMap
from pagoda.structures.outputs import Proposals, RPNOutputs, TubeOutputs
from pagoda.structures.tracks import Tubes


@checked
@dataclass(frozen=True, kw_only=True)
class SelectTubeProposals(SelectProposals):
    """As `SelectProposals`, of deltas (B, P, T, 4) relative to anchors (P, 4) that stand still."""

    suppress_equal: bool = False
    """an overlap of exactly `max_iou` is too much as well (Detect-and-Track on single frames)"""

    def __call__(self, outputs: RPNOutputs, sizes: Tensor, coder: BoxCoder) -> Proposals:
        """Tubes (B, R, T, 4) in pixels of the batch, whose frames have (height, width) `sizes` (B, 2); exports."""
        return super().__call__(outputs, sizes[:, None], coder)  # one size for all frames

    def _decode(self, coder: BoxCoder, deltas: Tensor, anchors: Tensor) -> Tensor:
        """(B, k, T, 4)"""
        return coder.decode(deltas, anchors[:, :, None].expand(-1, -1, deltas.shape[2], -1))

    def _survivors(self, boxes: Tensor, places: Tensor, levels: Tensor, num_levels: int) -> Tensor:
        most = most_overlap(self.max_iou, self.suppress_equal)
        return batch_tube_survivors(boxes, places, levels, num_levels, most, self.inclusive)


@checked
@dataclass(frozen=True, kw_only=True)
class TubeProposalRules:
    """How many tubes a step of training looks at, and how many a clip to detect in."""

    training: SelectTubeProposals = field(default_factory=lambda: SelectTubeProposals(max_candidates=2000))
    inference: SelectTubeProposals = field(default_factory=SelectTubeProposals)


@checked
@dataclass(frozen=True, kw_only=True)
class SelectTubes(SelectSecondStage):
    """As `SelectRegions`, of tubes, which have no masks."""

    suppress_equal: bool = False
    """an overlap of exactly `max_iou` is too much as well (Detect-and-Track on single frames)"""

    def _cut(self, found: Candidates, sizes: Tensor) -> Candidates:
        return super()._cut(found, sizes[:, None])  # one size for all frames

    def _batch_survivors(self, found: Candidates, num_classes: int) -> Tensor:
        most = most_overlap(self.max_iou, self.suppress_equal)
        return batch_tube_survivors(
            found.boxes, found.scores, self._groups(found.labels), num_classes, most, self.inclusive
        )

    def _survivors(self, found: Candidates) -> Tensor:
        return tube_survivors(
            found.boxes,
            found.scores,
            self._groups(found.labels),
            max_iou=most_overlap(self.max_iou, self.suppress_equal),
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
        """Ragged lists, one per clip; `frames` are the positions of each clip's frames in its video."""
        found = self.candidates(outputs, images.sizes, decode)
        clips = []
        for clip, (size, positions) in enumerate(zip(images.sizes, frames, strict=True)):
            best = self.best_of_one_image(Candidates(*(part[clip] for part in found)), size)
            height, width = size.tolist()
            clips.append(
                Tubes(best.boxes, best.scores, best.labels, positions, key, (height, width), label_map)
            )
        return clips

    def keypoints(self, logits: Tensor, boxes: Tensor) -> tuple[Tensor, Tensor]:
        """((N, T, K, 2) places, (N, T, K) scores) from (N, T, K, S, S) maps over (N, T, 4) boxes."""
        places, scores = super().keypoints(logits.flatten(0, 1), boxes.flatten(0, 1))
        return places.unflatten(0, boxes.shape[:2]), scores.unflatten(0, boxes.shape[:2])


def most_overlap(max_iou: float, suppress_equal: bool) -> float:
    """The largest overlap with a better tube that a tube survives."""
    return math.nextafter(max_iou, -math.inf) if suppress_equal else max_iou
