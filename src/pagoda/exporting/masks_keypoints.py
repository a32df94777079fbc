"""Masks and keypoints in tensors of fixed size, for graphs that leave the house. B images, D detections."""

import torch
from torch import Tensor

from pagoda.detectors.contract import Detector
from pagoda.ops.heatmaps import heatmaps_to_keypoints
from pagoda.ops.masks import paste_together
from pagoda.postprocess.rcnn import SelectRoIs
from pagoda.structures.outputs import RoIOutputs


def shape_names(model: Detector) -> list[str]:
    """What a graph of this model gives besides boxes, scores and labels.

    >>> shape_names(Detector())
    []
    """
    masks, keypoints = "masks" in model.learns, "keypoints" in model.learns
    # Probabilities last: programs that go by position find all others where they were before there were any.
    shapes = ["masks"] * masks + ["keypoints", "keypoint_scores"] * keypoints + ["mask_probabilities"] * masks
    return shapes + ["appearance"] * model.exports_appearance


def shapes_of(outputs: RoIOutputs, select: SelectRoIs, image_size: tuple[int, int]) -> list[Tensor]:
    """The tensors of `shape_names`: (B, D, H, W) bool; (B, D, K, 2) pixels and (B, D, K) scores; (B, D, M, M) 0 … 1.

    Rows that hold no object are False and zero. As `detect` has them, but pasted at (height, width) of the batch.
    """
    batch, count = outputs.labels.shape[0], outputs.labels.shape[1]
    boxes, real = outputs.boxes.flatten(0, 1), outputs.labels.flatten() >= 0
    shapes, last = [], []
    if outputs.mask_logits is not None:
        probabilities = outputs.mask_logits.flatten(0, 1).float().sigmoid()
        masks = paste_together(
            probabilities,
            boxes,
            image_size,
            rule=select.paste,
            min_probability=select.min_mask_probability,
        )
        shapes.append(masks & real[:, None, None])
        last.append(torch.where(real[:, None, None], probabilities, 0.0))  # 0 times NaN is none
    if outputs.keypoint_logits is not None:
        places, logits, shares = decode_keypoints(outputs.keypoint_logits.flatten(0, 1).float(), boxes)
        scores = shares if select.keypoint_score == "probability" else logits
        shapes += [places * real[:, None, None], scores * real[:, None]]
    return [shape.unflatten(0, (batch, count)) for shape in shapes + last]


@torch.library.custom_op("pagoda::decode_keypoints", mutates_args=())
def decode_keypoints(maps: Tensor, boxes: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """`ops.heatmaps.heatmaps_to_keypoints` as one operator: its maps are as large as their boxes, so no graph of
    fixed sizes holds it. The ONNX export puts a scan over the objects in its place (`onnx_keypoints`).
    """
    return heatmaps_to_keypoints(maps, boxes)


@decode_keypoints.register_fake
def _decoded_shapes(maps: Tensor, boxes: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    count, keypoints = maps.shape[0], maps.shape[1]
    scores = (maps.new_empty(count, keypoints) for _ in range(2))
    return maps.new_empty(count, keypoints, 2), *scores
