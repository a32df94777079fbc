"""Which object somebody has clicked, and its numbers. N objects, boxes (N, 4) xyxy pixels of the picture."""

from torch import Tensor

from pagoda.ops.boxes import box_areas
from pagoda.structures.instances import Detections


def object_at(boxes: Tensor, x: float, y: float) -> int | None:
    """The row of the smallest box around a point, None where there is none.

    >>> import torch
    >>> boxes = torch.tensor([[0.0, 0.0, 40.0, 40.0], [10.0, 10.0, 20.0, 20.0]])
    >>> object_at(boxes, 15, 15), object_at(boxes, 30, 30), object_at(boxes, 50, 5)
    (1, 0, None)
    """
    boxes = boxes.double()
    around = (boxes[:, 0] <= x) & (x <= boxes[:, 2]) & (boxes[:, 1] <= y) & (y <= boxes[:, 3])
    if not around.any():
        return None
    return int(box_areas(boxes).masked_fill(~around, float("inf")).argmin())


def box_words(box: Tensor) -> str:
    """A box (4,) as people read it.

    >>> import torch
    >>> box_words(torch.tensor([1.0, 2.0, 11.0, 22.0]))
    'box 1.0, 2.0 … 11.0, 22.0 (10.0×20.0 pixels)'
    """
    x1, y1, x2, y2 = box.tolist()
    return f"box {x1:.1f}, {y1:.1f} … {x2:.1f}, {y2:.1f} ({x2 - x1:.1f}×{y2 - y1:.1f} pixels)"


def detection_words(found: Detections, row: int) -> str:
    """Class, score and box of one detection, and what it has besides."""
    words = f"{found.names[row]}, score {float(found.scores[row]):.3f}, {box_words(found.boxes[row])}"
    if found.masks is not None:
        words += f", mask of {int(found.masks[row].sum())} pixels"
    if found.keypoints is not None:
        words += f", {found.keypoints.shape[1]} keypoints"
    return words
