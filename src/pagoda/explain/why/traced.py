"""One picture on its way through a detector, stage by stage. Boxes: xyxy, pixels of the picture, as they are scored.

P locations, anchors or proposals, n candidates.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import torch
from torch import Tensor

from pagoda.detectors.contract import Detector
from pagoda.detectors.dense import DenseDetector
from pagoda.detectors.detect_and_track import DetectAndTrack
from pagoda.detectors.rcnn import RCNN
from pagoda.detectors.two_stage import Proposed
from pagoda.ops.boxes import xywh_to_xyxy
from pagoda.postprocess.select import Candidates, Pairs, Select, Stages, take
from pagoda.structures.images import ImageBatch
from pagoda.structures.instances import Detections
from pagoda.structures.outputs import DenseOutputs, Proposals, RoIOutputs, RPNOutputs, TubeOutputs
from pagoda.structures.tubes import Tubes


class FirstStage(NamedTuple):
    """What a proposal network said of one picture. P anchors, R proposals."""

    boxes: Tensor
    """(P, 4) of its anchors, moved by their deltas"""
    logits: Tensor
    """(P,)"""
    counts: list[int]
    """anchors of each level"""
    proposals: Tensor
    """(R, 4) what it proposed, the best first"""


@dataclass(frozen=True)
class Traced:
    """What a detector said of one picture and what became of it."""

    model: Detector
    """that looked"""
    select: Select
    """by which limits"""
    found: Detections
    """what it reports"""
    frame: tuple[int, int]
    """(height, width) of what the network saw"""
    stages: Stages
    """in pixels of the frame; rows of `detected` are those of `found`"""
    outputs: DenseOutputs | RoIOutputs | TubeOutputs
    """of this picture alone, in pixels of the frame"""
    rpn: RPNOutputs | None = None
    """of a detector of two stages"""
    key: int | None = None
    """of clips: which of the frames of a tube is looked at"""

    @cached_property
    def pairs(self) -> Pairs:
        """Of this picture (no axis B), boxes float64 in pixels of the picture."""
        pairs = self.select.pairs(
            self.outputs, torch.tensor([self.frame], device=self.device), self.model.decode
        )
        boxes, scores, passes = (part[0] for part in pairs)
        in_picture = self.in_picture(boxes.reshape(-1, 4)).reshape(boxes.shape)
        return Pairs(in_picture, scores.cpu(), passes.cpu())

    @property
    def device(self) -> torch.device:
        """Where the model is."""
        return self.outputs.class_logits.device

    @property
    def num_classes(self) -> int:
        """That places count."""
        return self.pairs.scores.shape[1]

    def boxes_of(self, label: int) -> Tensor:
        """(P, 4) what each prior makes of an object of this class; of clips in the key frame."""
        boxes = self.tubes_of(label)
        return boxes if self.key is None else boxes[:, self.key]

    def tubes_of(self, label: int) -> Tensor:
        """The same of clips in every frame, (P, T, 4)."""
        boxes = self.pairs.boxes
        return boxes[:, label] if boxes.ndim > (2 if self.key is None else 3) else boxes

    def in_picture(self, boxes: Tensor) -> Tensor:
        """(n, 4) float64 on the processor, of boxes (n, 4) in the frame; cut to the picture as detections are."""
        none = boxes.new_zeros(len(boxes))
        inside = Detections(boxes.float(), none, none.long(), self.frame, self.found.label_map)
        return xywh_to_xyxy(self.model.restore([inside], [self.found.image_size])[0].boxes_xywh)

    @cached_property
    def levels(self) -> Tensor | None:
        """(P,) the level of each prior, None for proposals."""
        if not isinstance(self.outputs, DenseOutputs):
            return None
        counts = torch.tensor([len(prior) for prior in self.outputs.priors])
        return torch.tensor(self.model.levels).repeat_interleave(counts)  # type: ignore[arg-type]

    @cached_property
    def priors(self) -> Tensor:
        """(P, 4) in pixels of the picture, uncut; locations are boxes without area."""
        if isinstance(self.outputs, DenseOutputs):
            priors = torch.cat(self.outputs.priors).cpu().double()
            priors = priors if priors.shape[1] == 4 else torch.cat([priors, priors], dim=1)
        else:
            priors = self._at_key(self.outputs.proposals.boxes[0]).cpu().double()
        spec, size = self.model.input_spec, self.found.image_size
        (height, width), (top, left) = spec.resized(size), spec.offset(size)
        shift, scale = priors.new_tensor([left, top]), priors.new_tensor([size[1] / width, size[0] / height])
        return (priors - shift.repeat(2)) * scale.repeat(2)

    @cached_property
    def first_stage(self) -> FirstStage | None:
        """None for a detector of one stage."""
        if self.rpn is None or isinstance(self.outputs, DenseOutputs):
            return None
        deltas, anchors = self._at_key(self.rpn.deltas[0]).float(), torch.cat(self.rpn.anchors)
        proposals = self.outputs.proposals
        return FirstStage(
            self.in_picture(self.model.rpn_head.coder.decode(deltas, anchors)),  # type: ignore[union-attr, operator]
            self.rpn.logits[0].float().cpu(),
            [len(level) for level in self.rpn.anchors],
            self.in_picture(self._at_key(proposals.boxes[0][proposals.valid[0]])),
        )

    def _at_key(self, values: Tensor) -> Tensor:
        """(n, 4) of boxes or tubes."""
        return values if self.key is None else values[:, self.key]


def trace(
    model: Detector, images: ImageBatch, sizes: Sequence[tuple[int, int]], select: Select
) -> list[Traced]:
    """What becomes of each picture of a batch; `sizes` are the pictures' own (height, width).

    Raises TypeError for a detector whose stages are not known.
    """
    first, outputs = _look(model, images)
    candidates = select.candidates(outputs, images.sizes, model.decode)
    stages = [
        select.stages_of_one_image(take(candidates, image), size) for image, size in enumerate(images.sizes)
    ]
    frames = [(int(height), int(width)) for height, width in images.sizes.tolist()]
    key = candidates.boxes.shape[2] // 2 if model.sees_clips else None
    found = [
        Detections(best.boxes, best.scores, best.labels, frame, model.label_map)
        if key is None
        else Tubes(
            best.boxes,
            best.scores,
            best.labels,
            tuple(range(best.boxes.shape[1])),
            key,
            frame,
            model.label_map,
        )
        for (_, _, best), frame in zip(stages, frames, strict=True)
    ]
    if first is not None:
        found = model.finish(found, first.pyramid, select)
    shown = found if key is None else [tubes.at(key) for tubes in found]
    return [
        Traced(
            model,
            select,
            each.to("cpu"),
            frame,
            Stages(*(Candidates(*(part.cpu() for part in stage)) for stage in stages[image])),
            _of_image(outputs, image),
            None if first is None else _of_image(first.rpn, image),
            key,
        )
        for image, (each, frame) in enumerate(zip(model.restore(shown, sizes), frames, strict=True))
    ]


def _look(model: Any, images: ImageBatch) -> tuple[Proposed | None, Any]:
    """(the first stage of two, all that the network says of the batch)."""
    match model:
        case RCNN():
            return model.look(images)
        case DetectAndTrack():
            return model.look(model.frame_features(images.pixels), images)
        case DenseDetector():
            return None, model(images)
        case _:
            raise TypeError(f"the stages of {type(model).__name__} are not known")


def _of_image(outputs: Any, image: int) -> Any:
    """A NamedTuple of batches of tensors, cut to one image; anchors and points are those of all."""
    return type(outputs)(
        *(
            _of_image(part, image)
            if isinstance(part, Proposals)
            else part[image : image + 1]
            if isinstance(part, Tensor)
            else part
            for part in outputs
        )
    )
