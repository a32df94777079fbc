"""From what is said about regions to objects, their masks and keypoints. B images, R regions, N objects."""

from dataclasses import dataclass, replace
from typing import Literal

import torch
from jaxtyping import Bool, Float, Real
from torch import Tensor

from pagoda.ops.heatmaps import heatmaps_to_keypoints
from pagoda.ops.masks import PasteRule, paste_masks
from pagoda.plain import check_numbers, checked
from pagoda.postprocess.select import Candidates, Decode, Pairs, Select, at_most, pick
from pagoda.structures.instances import Detections
from pagoda.structures.outputs import RoIOutputs, TubeOutputs


@checked
@dataclass(frozen=True, kw_only=True)
class SelectSecondStage(Select[RoIOutputs | TubeOutputs]):
    """What selections from proposals share: the softmax of each proposal's classes, background among them.

    >>> maps = torch.zeros(1, 1, 2, 2)
    >>> maps[0, 0, 1, 0] = 9.0  # the lower left cell
    >>> SelectSecondStage().keypoints(maps, torch.tensor([[0., 0., 2., 2.]]))  # its centre, its share of the softmax
    (tensor([[[0.5000, 1.5000]]]), tensor([[0.9996]]))
    """

    max_candidates: int | None = 2000
    """(region, class) pairs per picture before suppression; None: all, as every published program has it"""
    min_side: float = 0.0
    """pixels: an object must be as wide and high (torchvision: .01)"""
    keypoint_score: Literal["probability", "logit"] = "probability"
    """of a keypoint: see `ops.heatmaps`"""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_numbers(self, 0, 1e6, "min_side")

    def candidates(
        self, outputs: RoIOutputs | TubeOutputs, sizes: Real[Tensor, "b 2"], decode: Decode
    ) -> Candidates:
        """(B, n) pairs, n = R · classes or `max_candidates`."""
        probability = outputs.class_logits.float().softmax(-1)[..., :-1]  # (B, R, classes)
        num_classes = probability.shape[-1]
        failed = (probability <= self.min_score) | ~outputs.proposals.valid[..., None]
        scores = probability.masked_fill(failed, -1.0).flatten(1)
        if self.max_candidates is None:
            pairs = torch.arange(scores.shape[1], device=scores.device).expand(scores.shape[0], -1)
        else:
            scores, pairs = scores.topk(at_most(self.max_candidates, scores.shape[1]), dim=1)
        regions, labels = pairs // num_classes, pairs % num_classes
        deltas = outputs.box_outputs
        of_class = pairs if deltas.shape[2] == num_classes else regions  # else one box for all classes
        boxes = decode(pick(deltas.flatten(1, 2), of_class).float(), pick(outputs.proposals.boxes, regions))
        found = Candidates(boxes, scores, labels, pairs)
        found = self._cut(found, sizes) if self.clip == "before" else found
        if self.min_side > 0:
            small = ((found.boxes[..., 2:] - found.boxes[..., :2]) < self.min_side).flatten(2).any(-1)
            found = found._replace(scores=found.scores.masked_fill(small, -1.0))
        return found

    def pairs(self, outputs: RoIOutputs | TubeOutputs, sizes: Real[Tensor, "b 2"], decode: Decode) -> Pairs:
        scores = outputs.class_logits.float().softmax(-1)[..., :-1]
        passes = (scores > self.min_score) & outputs.proposals.valid[..., None]
        deltas = outputs.box_outputs  # (B, R, classes or 1, …, 4)
        of_class = torch.arange(deltas.shape[1] * deltas.shape[2], device=deltas.device) // deltas.shape[2]
        boxes = decode(deltas.flatten(1, 2).float(), outputs.proposals.boxes[:, of_class])
        none = torch.zeros_like(boxes.flatten(2)[..., 0])
        boxes = self._cut(Candidates(boxes, none, none, none), sizes).boxes.unflatten(1, deltas.shape[1:3])
        return Pairs(boxes[:, :, 0] if deltas.shape[2] == 1 else boxes, scores, passes)

    def competitors(self, outputs: RoIOutputs | TubeOutputs) -> list[int]:
        """How many (region, class) pairs compete for `max_candidates` places: all of a picture."""
        _, regions, classes = outputs.class_logits.shape
        return [regions * (classes - 1)]

    def keypoints(
        self, logits: Float[Tensor, "n k s s"], boxes: Float[Tensor, "n 4"]
    ) -> tuple[Float[Tensor, "n k 2"], Float[Tensor, "n k"]]:
        """(places, scores) from maps over boxes."""
        places, values, probabilities = heatmaps_to_keypoints(logits.float(), boxes)
        return places, probabilities if self.keypoint_score == "probability" else values


@checked
@dataclass(frozen=True, kw_only=True)
class SelectRoIs(SelectSecondStage):
    """Threshold, top-k per picture, decode, clip, per-class NMS, top-k again; then masks are pasted.

    >>> SelectRoIs().masks(torch.ones(1, 2, 2), torch.tensor([[1., 0., 3., 1.]]), (2, 4)).int()
    tensor([[[0, 1, 1, 0],
             [0, 0, 0, 0]]], dtype=torch.int32)
    """

    paste: PasteRule = "continuous"
    """see `ops.masks`"""
    min_mask_probability: float = 0.5
    """from which on a pixel belongs to the object"""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_numbers(self, 0, 1, "min_mask_probability")

    def masks(
        self, probabilities: Float[Tensor, "n m m"], boxes: Float[Tensor, "n 4"], image_size: tuple[int, int]
    ) -> Bool[Tensor, "n h w"]:
        """Pixels of a picture of (height, width) from probabilities inside boxes."""
        return paste_masks(
            probabilities, boxes, image_size, rule=self.paste, min_probability=self.min_mask_probability
        )

    def with_masks(self, found: Detections) -> Detections:
        """With what the mask head said of the inside of each box pasted, where it said something.

        By the limits the objects were found with; where nobody knows these, by the ones at hand.
        """
        if found.mask_crops is None:
            return found
        select = found.found_by or self
        return replace(found, masks=select.masks(found.mask_crops, found.boxes, found.image_size))

    def with_masks_of(self, before: Detections, after: Detections) -> Detections:
        """`after`, the objects of `before` at another place or size, with their masks: pasted anew where one moved.

        Raises ValueError for masks that must move and carry no `mask_crops`, which nobody can paste.
        """
        has_moved = after.image_size != before.image_size or not torch.equal(after.boxes, before.boxes)
        if before.masks is not None and not has_moved:
            return replace(after, masks=before.masks)
        if before.masks is not None and before.mask_crops is None:
            raise ValueError(
                "these masks cannot be moved to another size: the detections carry no mask_crops; give what detect"
                " returned, or leave the masks out"
            )
        return self.with_masks(after)
