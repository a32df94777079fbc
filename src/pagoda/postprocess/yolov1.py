"""From cells to objects: the class's share of a box's confidence, each class by itself (YOLOv1). B images, P boxes."""

from dataclasses import dataclass

from jaxtyping import Float, Real
from torch import Tensor

from pagoda.plain import checked
from pagoda.postprocess.dense import SelectDense
from pagoda.postprocess.select import Candidates, Decode, Pairs
from pagoda.structures.outputs import DenseOutputs


@checked
@dataclass(frozen=True, kw_only=True)
class SelectFromCells(SelectDense):
    """Scores are class · confidence as they are, then `min_score`, per-class suppression, clipping, the best.

    Darknet's probabilities are numbers of a regression: they may exceed 1, and two negative ones make a positive.

    >>> import torch
    >>> outputs = DenseOutputs(
    ...     torch.tensor([[[0.9, 0.1]]]), torch.zeros(1, 1, 4), torch.tensor([[0.5]]), (torch.zeros(1, 2),)
    ... )
    >>> take_box = lambda offsets, points: torch.tensor([4.0, 4.0, 9.0, 9.0]).expand(*offsets.shape)
    >>> SelectFromCells(max_detections=1)(outputs, torch.tensor([[32, 32]]), take_box).scores
    tensor([[0.4500]])
    """

    min_score: float | Tensor = 0.2
    """what class · confidence must exceed"""
    max_iou: float = 0.4
    """with a better box of the same class"""
    max_candidates: int | None = None
    """(box, class) pairs of a picture before suppression; None: all"""

    def probabilities(self, class_logits: Float[Tensor, "*n classes"]) -> Float[Tensor, "*n _"]:
        """They are none but probabilities already."""
        return class_logits.float()

    def candidates(self, outputs: DenseOutputs, sizes: Real[Tensor, "b 2"], decode: Decode) -> Candidates:
        """(B, n) pairs of a box and a class."""
        return super().candidates(_with_scores(outputs), sizes, decode)

    def pairs(self, outputs: DenseOutputs, sizes: Real[Tensor, "b 2"], decode: Decode) -> Pairs:
        return super().pairs(_with_scores(outputs), sizes, decode)

    def _scores(
        self,
        logits: Float[Tensor, "b n classes"],
        quality: Float[Tensor, "b n 1"] | None,
        bar: float | Float[Tensor, ""],
    ) -> tuple[Float[Tensor, "b n classes"], Float[Tensor, "b n classes"]]:
        """(what ranks, final scores) of what are scores already; −1 where the bar is not passed."""
        scores = logits.float().masked_fill(logits.float() <= bar, -1.0)
        return scores, scores


def _with_scores(outputs: DenseOutputs) -> DenseOutputs:
    """Class · confidence in place of both."""
    assert outputs.quality_logits is not None
    scores = outputs.class_logits.float() * outputs.quality_logits.float()[..., None]
    return outputs._replace(class_logits=scores, quality_logits=None)
