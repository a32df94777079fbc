"""Are the masks and keypoints of an exported file the model's? Compared for the detections both sides found.

A mask is pasted where its box lies and a keypoint is the highest of many pixels: where boxes differ by rounding a
whole row of pixels may move, and of two pixels equally high either may win. So the model's mask is pasted into
the *file's* box, and a keypoint elsewhere is right where the model's own map is as high.
"""

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from pagoda.detectors.contract import Detector
from pagoda.ops.heatmaps import cubic_weights, heatmaps_to_keypoints
from pagoda.postprocess.rcnn import SelectRoIs
from pagoda.structures.images import ImageBatch
from pagoda.structures.instances import Detections

PROBABILITY_TOLERANCE = 0.02
"""a pixel whose probability is this near to the limit may be judged either way"""
MASK_TOLERANCE = 0.005
"""share of a mask's pixels, or of its probabilities, that may differ all the same; one or two of any mask besides"""
KEYPOINT_SCORE_TOLERANCE = 1e-3
"""relative where scores pass 1: they are logits, or the exponentials of logits, which rounding moves further"""
HEIGHT_TOLERANCE = 1e-3
"""of a map, relative to its range: as high as the highest; logits may differ by as much as scores may in any case"""


FIELDS = {
    "masks": "masks",
    "keypoints": "keypoints",
    "keypoint_scores": "keypoint_scores",
    "mask_probabilities": "mask_crops",
    "appearance": "appearance",
}
"""of `Detections`, by the output that fills them"""


def with_shapes(found: Detections, outputs: dict[str, Tensor], rows: Tensor) -> Detections:
    """The file's detections of one picture with what it says of them besides; `rows` hold objects."""
    return replace(found, **{field: outputs[name][rows] for name, field in FIELDS.items() if name in outputs})


class ShapeComparison:
    """Of one picture: `ours` are the file's detections, `theirs` the model's, row by row the same objects."""

    def __init__(self, model: Detector, image: ImageBatch, select: SelectRoIs, report: Any) -> None:
        self.model, self.image, self.select, self.report = model, image, select, report

    def __call__(self, ours: Detections, theirs: Detections) -> None:
        """Add to the report what agrees, and a line for each object of which something does not."""
        if len(ours) and theirs.masks is not None:
            self.compare_masks(ours, theirs)
        if len(ours) and ours.mask_crops is not None:
            self.compare_probabilities(ours, theirs)
        if len(ours) and theirs.keypoints is not None:
            self.compare_keypoints(ours, theirs)

    def compare_masks(self, ours: Detections, theirs: Detections) -> None:
        assert ours.masks is not None and theirs.mask_crops is not None
        limit = self.select.min_mask_probability
        least, expected, most = (
            replace(self.select, min_mask_probability=limit + more).masks(
                theirs.mask_crops, ours.boxes, ours.image_size
            )
            for more in (PROBABILITY_TOLERANCE, 0.0, -PROBABILITY_TOLERANCE)
        )
        wrong = ((ours.masks & ~most) | (least & ~ours.masks)).flatten(1).sum(1)
        area = (ours.masks | expected).flatten(1).sum(1)
        is_fault = (wrong > 2) & (wrong > MASK_TOLERANCE * area)
        self.report.masks += int((~is_fault).sum())
        self.report.mask_pixels += int((ours.masks ^ expected)[~is_fault].sum())
        for row in is_fault.nonzero().flatten().tolist():
            self.report.unmatched.append(
                f"the mask of {ours.names[row]} {ours.scores[row]:.4f} differs in {wrong[row]} of {area[row]}"
                " pixels"
            )

    def compare_probabilities(self, ours: Detections, theirs: Detections) -> None:
        """What masks are pasted from elsewhere; a box that moved within its tolerance sees another mask by rounding."""
        assert ours.mask_crops is not None and theirs.mask_crops is not None
        difference = (ours.mask_crops - theirs.mask_crops).abs().flatten(1)
        near = difference <= max(PROBABILITY_TOLERANCE, 5 * self.report.tolerance.score)
        wrong = (~near).sum(1)
        is_fault = (wrong > 2) & (wrong > MASK_TOLERANCE * difference.shape[1])
        if bool(near.any()):
            worst = difference[near].max().item()
            self.report.max_mask_probability_difference = max(
                self.report.max_mask_probability_difference, worst
            )
        for row in is_fault.nonzero().flatten().tolist():
            self.report.unmatched.append(
                f"mask_probabilities of {ours.names[row]} {ours.scores[row]:.4f} differ in {wrong[row]} of"
                f" {difference.shape[1]} cells"
            )

    def compare_keypoints(self, ours: Detections, theirs: Detections) -> None:
        assert ours.keypoints is not None and theirs.keypoints is not None
        assert ours.keypoint_scores is not None and theirs.keypoint_scores is not None
        scale = theirs.keypoint_scores.abs().clamp(min=1)
        score_difference = (ours.keypoint_scores - theirs.keypoint_scores).abs()
        off_score = score_difference > KEYPOINT_SCORE_TOLERANCE * scale
        distance = (ours.keypoints - theirs.keypoints).abs().amax(-1)
        near = distance <= self.report.tolerance.box
        self.report.keypoints += int((near & ~off_score).sum())
        worst = distance[near].max().item() if bool(near.any()) else 0.0
        self.report.max_keypoint_difference = max(self.report.max_keypoint_difference, worst)
        for row in (~near | off_score).any(1).nonzero().flatten().tolist():
            faults = off_score[row] | ~(near[row] | self.as_high(ours, theirs, row))
            self.report.keypoint_close_calls += int((~near[row] & ~faults).sum())
            if bool(faults.any()):
                where = ", ".join(map(str, faults.nonzero().flatten().tolist()))
                self.report.unmatched.append(
                    f"keypoints {where} of {ours.names[row]} {ours.scores[row]:.4f} are up to"
                    f" {distance[row][faults].max():.2g} px away, {score_difference[row][faults].max():.2g} in score"
                )

    def as_high(self, ours: Detections, theirs: Detections, row: int) -> Tensor:
        """(K,) bool: the model's map of this object is as high at the file's keypoints as anywhere.

        Over the model's box, or over the file's: one of 3.00001 pixels has four where one of 2.99999 has three.
        """
        maps = self.maps_of(row, theirs)
        assert ours.keypoints is not None
        span = maps.flatten(1).amax(1) - maps.flatten(1).amin(1)
        least = (
            self.report.tolerance.score
        )  # of logits: a map that is flat has no place that would be the highest
        far = (HEIGHT_TOLERANCE * span).clamp(min=least)
        is_high = torch.zeros_like(span, dtype=torch.bool)
        for box in (theirs.boxes[row], ours.boxes[row]):
            _, (highest,), _ = heatmaps_to_keypoints(maps[None], box[None])
            is_high |= heights_at(maps, box, ours.keypoints[row]) >= highest - far
        return is_high

    def maps_of(self, row: int, theirs: Detections) -> Tensor:
        """(K, S, S) heat maps of the model over the box of one of its objects."""
        return self.maps(theirs.boxes[row : row + 1])[0]

    def maps(self, boxes: Tensor) -> Tensor:
        """(N, K, S, S) heat maps of the model over (N, 4) boxes."""
        boxes = boxes.to(self.image.pixels.device)
        with torch.inference_mode():
            pyramid = self.model.propose(self.image, self.model.proposals.inference).pyramid
            pictures = torch.zeros(len(boxes), dtype=torch.long, device=boxes.device)
            return self.model.keypoint_logits(pyramid, boxes, pictures).float().cpu()


def heights_at(maps: Tensor, box: Tensor, places: Tensor) -> Tensor:
    """(K,) values of (K, S, S) maps, enlarged to the pixels of a box (4,), at the pixels of (K, 2) places."""
    sides = (box[2:] - box[:2]).clamp(min=1)
    pixels = sides.ceil()
    width, height = pixels.int().tolist()
    column, row = ((places - box[:2]) * (pixels / sides)).floor().long().unbind(-1)
    across = cubic_weights(pixels[:1], width, maps.shape[-1])[0, column.clamp(0, width - 1)]
    down = cubic_weights(pixels[1:], height, maps.shape[-1])[0, row.clamp(0, height - 1)]
    return (down[:, None] @ maps @ across[..., None])[:, 0, 0]
