"""SSD's selection: softmax with a background, the best of every class. B images, P default boxes, D detections."""

from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float, Int, Real
from torch import Tensor

from pagoda.plain import checked
from pagoda.postprocess.dense import SelectDense
from pagoda.postprocess.select import Candidates, Decode, Pairs, at_most, pick
from pagoda.structures.outputs import DenseOutputs


@checked
@dataclass(frozen=True, kw_only=True)
class SelectSSD(SelectDense):
    """Softmax, threshold, top-k per class, decode, clip, per-class NMS, top-k per picture: all of fixed size.

    The last column of `class_logits` is the background, of which nothing is reported. With `max_detections` None, at
    most `max_candidates` of each class are left, as in ssd.pytorch. Raises ValueError for what speaks of sigmoids:
    `combine`, `threshold_on`, `rank_on`, `best_class_only` and `keep_equal` stay as they are.

    >>> boxes = torch.tensor([[0., 0., 8., 8.], [0., 0., 8., 9.], [9., 9., 40., 40.]])
    >>> logits = torch.tensor([[[2.0, 0.0], [1.0, 0.0], [0.0, 0.0]]])  # .88, .73 and .5 beside the background
    >>> outputs = DenseOutputs(logits, torch.zeros(1, 3, 4), None, (boxes,))
    >>> select, take_boxes = SelectSSD(max_detections=2), lambda deltas, boxes: boxes
    >>> select(outputs, torch.tensor([[32, 32]]), take_boxes).boxes
    tensor([[[ 0.,  0.,  8.,  8.],
             [ 9.,  9., 32., 32.]]])
    """

    min_score: float | Tensor = 0.01
    """what scores must exceed"""
    max_iou: float = 0.45
    """with a better box of the same class"""
    max_candidates: int | None = 400
    """of each class, or of each level, before suppression; None: all"""
    candidates_of: Literal["class", "level"] = "class"
    """whose best `max_candidates` are: of each class over all levels, or (box, class) pairs of each level
    (mmdetection)"""
    max_detections: int | None = 200
    """of a picture; None: all"""

    def __post_init__(self) -> None:
        super().__post_init__()
        of_sigmoids = {
            "threshold_on": "score", "rank_on": "score", "combine": "root", "keep_equal": False,
            "best_class_only": False,
        }  # fmt: skip
        for name, usual in of_sigmoids.items():
            if getattr(self, name) != usual:
                raise ValueError(f"SSD's scores are a softmax: leave {name} at {usual!r}")

    def probabilities(self, class_logits: Float[Tensor, "*n classes"]) -> Float[Tensor, "*n _"]:
        return class_logits.float().softmax(-1)[..., :-1]

    def candidates(self, outputs: DenseOutputs, sizes: Real[Tensor, "b 2"], decode: Decode) -> Candidates:
        """(B, n) pairs, n ≤ classes · max_candidates, or ≤ levels · max_candidates."""
        scores = self.probabilities(outputs.class_logits)
        scores = scores.masked_fill(scores <= self.min_score, -1.0)
        best = (
            self._best_of_classes(scores)
            if self.candidates_of == "class"
            else self._best_of_levels(scores, [level.shape[0] for level in outputs.priors])
        )
        scores, rows, labels = best
        priors = torch.cat(outputs.priors)
        boxes = decode(pick(outputs.box_outputs, rows).float(), priors[rows])
        num_classes = outputs.class_logits.shape[-1] - 1
        found = Candidates(boxes, scores, labels, rows * num_classes + labels)
        return self._cut(found, sizes) if self.clip == "before" else found

    def _best_of_classes(
        self, scores: Float[Tensor, "b p classes"]
    ) -> tuple[Float[Tensor, "b n"], Int[Tensor, "b n"], Int[Tensor, "b n"]]:
        """(scores, default boxes, labels)."""
        by_class = scores.transpose(1, 2)
        best, rows = by_class.topk(at_most(self.max_candidates, by_class.shape[2]), dim=2)
        labels = torch.arange(by_class.shape[1], device=scores.device)[None, :, None].expand_as(rows)
        return best.flatten(1), rows.flatten(1), labels.flatten(1)

    def _best_of_levels(
        self, scores: Float[Tensor, "b p classes"], counts: list[int]
    ) -> tuple[Float[Tensor, "b n"], Int[Tensor, "b n"], Int[Tensor, "b n"]]:
        """(scores, default boxes, labels)."""
        num_classes, first = scores.shape[-1], 0
        parts = []
        for level in scores.split(counts, dim=1):
            pairs = level.flatten(1)
            best, index = pairs.topk(at_most(self.max_candidates, pairs.shape[1]), dim=1)
            parts.append((best, first + index // num_classes, index % num_classes))
            first += level.shape[1]
        best, rows, labels = (torch.cat(part, dim=1) for part in zip(*parts, strict=True))
        return best, rows, labels

    def pairs(self, outputs: DenseOutputs, sizes: Real[Tensor, "b 2"], decode: Decode) -> Pairs:
        scores = self.probabilities(outputs.class_logits)
        priors = torch.cat(outputs.priors).expand(len(outputs.box_outputs), -1, -1)
        boxes = decode(outputs.box_outputs.float(), priors)
        if self.clip != "never":
            none = torch.zeros_like(boxes[..., 0])
            boxes = self._cut(Candidates(boxes, none, none, none), sizes).boxes
        return Pairs(boxes, scores, scores > self.min_score)

    def competitors(self, outputs: DenseOutputs) -> list[int]:
        """Of each level; of classes, whose places lie apart, `rivals` tells."""
        num_classes = outputs.class_logits.shape[-1] - 1
        return [len(priors) * num_classes for priors in outputs.priors]

    def rivals(self, outputs: DenseOutputs, places: Int[Tensor, " n"]) -> Int[Tensor, " n"]:
        if self.candidates_of == "class":
            return places % (outputs.class_logits.shape[-1] - 1)
        return super().rivals(outputs, places)

    @property
    def rivals_in_words(self) -> str:
        return f"its {self.candidates_of}"

    def ranks(self, found: Candidates, class_logits: Float[Tensor, "p classes"]) -> Float[Tensor, " n"]:
        return found.scores
