"""Why an object was missed by an exported file, of which only detections are known: as far as these tell.

A file gives weaker detections when it is asked for them, but not what its suppression and limits left out.
"""

import torch
from torch import Tensor

from pagoda.explain.why.misses import LOOSE_IOU, WRONG_CLASS_REMEDY, Reason
from pagoda.explain.why.records import Evidence, plain_box
from pagoda.ops.boxes import pairwise_iou, xywh_to_xyxy
from pagoda.structures.instances import Detections

LEAST_SCORE = 0.001
"""down to which a file is asked for detections"""


def reason_of_reported(
    weak: Detections,
    num_found: int,
    box: Tensor,
    label: int,
    *,
    iou: float,
    taken: dict[int, int | None],
    min_score: float,
) -> Reason:
    """Why an object with `box` (4,) of class `label` was missed.

    `weak`: all that the file gives from LEAST_SCORE on, the best first, of which the first `num_found` pass
    `min_score`; `taken`: what objects these find, None for ignored ones.
    """
    overlaps = pairwise_iou(xywh_to_xyxy(weak.boxes_xywh), box[None])[:, 0]
    is_own, fits = weak.labels == label, overlaps >= iou
    rows = torch.arange(len(weak))
    free = torch.tensor([row not in taken for row in range(len(weak))], dtype=torch.bool)
    if (own := (fits & is_own & (rows < num_found)).nonzero().flatten()).numel():
        row = int(own[0])
        what = "an ignored object" if taken.get(row) is None else f"object {taken[row]}"
        return Reason(
            "taken",
            f"{_told(weak, row, overlaps)}, but it finds {what}, which it fits as well",
            evidence=_evidence(weak, row, overlaps, label),
            detection=row,
        )
    if (other := (fits & ~is_own & free & (rows < num_found)).nonzero().flatten()).numel():
        row = int(other[0])
        return Reason(
            "wrong class",
            f"detection {row} takes it for a {weak.names[row]} with {float(weak.scores[row]):.2f}",
            WRONG_CLASS_REMEDY,
            _evidence(weak, row, overlaps, label),
            row,
        )
    if (loose := is_own & free & (overlaps >= LOOSE_IOU) & (rows < num_found)).any():
        row = int(overlaps.masked_fill(~loose, -1).argmax())
        return Reason(
            "loose box",
            f"detection {row} of its class, score {float(weak.scores[row]):.2f}, overlaps it by"
            f" {float(overlaps[row]):.2f} only",
            evidence=_evidence(weak, row, overlaps, label),
            detection=row,
        )
    if (hidden := (fits & is_own & free).nonzero().flatten()).numel():
        row = int(hidden[0])
        score = float(weak.scores[row])
        return Reason(
            "low score",
            f"{_told(weak, row, overlaps)}, {max(0.0, min_score - score):.3f} below min_score {min_score:g}",
            f"min_score below {score:.3f} (--min-score) shows it, with all else of that score",
            _evidence(weak, row, overlaps, label),
        )
    return Reason(
        "not told",
        f"down to a score of {LEAST_SCORE:g} the file gives nothing of its class that fits it",
        "pagoda why of the checkpoint that the file was made of tells more",
    )


def _told(weak: Detections, row: int, overlaps: Tensor) -> str:
    return f"a box of IoU {float(overlaps[row]):.2f} has a score of {float(weak.scores[row]):.3f}"


def _evidence(weak: Detections, row: int, overlaps: Tensor, label: int) -> Evidence:
    score = float(weak.scores[row])
    is_own = int(weak.labels[row]) == label
    return Evidence(
        box=plain_box(xywh_to_xyxy(weak.boxes_xywh)[row]),
        iou=float(overlaps[row]),
        score=score if is_own else 0.0,
        best_label=weak.names[row],
        best_score=score,
    )
