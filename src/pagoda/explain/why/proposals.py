"""Where the first stage of an R-CNN lost an object that it did not propose."""

import torch
from torch import Tensor

from pagoda.explain.why.traced import Traced
from pagoda.ops.boxes import pairwise_iou


def lost_proposal(traced: Traced, box: Tensor, needed: float) -> str:
    """In words: of all anchors whose boxes overlap `box` (4,) by `needed`, what became of the best one."""
    stage = traced.first_stage
    assert stage is not None
    fits = pairwise_iou(stage.boxes, box[None])[:, 0] >= needed
    if not fits.any():
        return "no anchor's box fits it"
    best = int(stage.logits.masked_fill(~fits, -torch.inf).argmax())
    ends = torch.tensor(stage.counts).cumsum(0)
    place = int((ends <= best).sum())
    own = stage.logits[ends[place] - stage.counts[place] : ends[place]]
    rank = int((own > stage.logits[best]).sum()) + 1
    level = traced.model.levels[place]  # type: ignore[index]
    rules = traced.model.proposals.inference  # type: ignore[union-attr]
    score = float(stage.logits[best].sigmoid())
    where = f"the best anchor whose box fits has a score of {score:.3f}, number {rank:,} of P{level}"
    if rules.max_candidates is not None and rank > rules.max_candidates:
        return f"{where}, where {rules.max_candidates:,} go on"
    return f"{where}; suppression or the limit of {rules.max_proposals} proposals ended it"
