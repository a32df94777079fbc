"""EfficientDet's selection: the best of all levels together, suppressed hard or softly. D detections."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Real
from torch import Tensor

from pagoda.ops.boxes import pairwise_iou
from pagoda.ops.nms import soft_nms
from pagoda.plain import check_numbers, checked
from pagoda.postprocess.dense import SelectDense
from pagoda.postprocess.select import Candidates, Decode, Selected, Stages, pick, take
from pagoda.structures.images import ImageBatch
from pagoda.structures.instances import Detections
from pagoda.structures.labels import LabelMap
from pagoda.structures.outputs import DenseOutputs


@checked
@dataclass(frozen=True, kw_only=True)
class SelectFromAllLevels(SelectDense):
    """As `SelectDetections`, but levels are judged together: `max_candidates` is for all of them.

    EfficientDet's published accuracies are those of `suppression="soft"` and `min_score=0.001`. Raises ValueError for
    soft suppression with `clip="after"` or `order="location"`.

    >>> priors = torch.tensor([[0., 0., 8., 8.]]), torch.tensor([[0., 0., 8., 4.]])  # the same, and half of it
    >>> outputs = DenseOutputs(torch.zeros(1, 2, 1), torch.zeros(1, 2, 4), None, priors)
    >>> select = SelectFromAllLevels(suppression="soft", max_detections=2)
    >>> select(outputs, torch.tensor([[32, 32]]), lambda deltas, priors: priors).scores  # 0.5 · exp(−0.5² / 0.5)
    tensor([[0.5000, 0.3033]])
    """

    max_iou: float = 0.5
    """of hard suppression"""
    max_candidates: int | None = 5000
    """(location, class) pairs of a picture before suppression; None: all"""
    suppression: Literal["hard", "soft"] = "hard"
    """soft: boxes that others overlap lose score, perhaps below `min_score`, instead of vanishing"""
    sigma: float = 0.5
    """of soft suppression: the smaller, the more an overlap costs"""
    soft_min_score: float | None = None
    """what scores must exceed after soft suppression; None: `min_score` (mmdetection: .05 before, .001 after)"""
    levels_apart: bool = False
    """`max_candidates` is for each level after all (mmdetection)"""
    last_pixel: bool = False
    """pictures end at W − 1 and H − 1 (zylo117)"""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_numbers(self, 1e-6, 1e6, "sigma")
        check_numbers(self, -1, 1, "soft_min_score")
        if self.suppression == "soft" and (self.clip != "before" or self.order != "score"):
            raise ValueError(
                'soft suppression needs clip="before" and order="score",'
                f" got clip={self.clip!r} and order={self.order!r}"
            )

    def candidates(self, outputs: DenseOutputs, sizes: Real[Tensor, "b 2"], decode: Decode) -> Candidates:
        """(B, n) pairs of all levels, n ≤ max_candidates (· levels where they are apart)."""
        if self.levels_apart:
            return super().candidates(outputs, sizes, decode)
        as_one_level = outputs._replace(priors=(torch.cat(outputs.priors),))
        return super().candidates(as_one_level, sizes, decode)

    def competitors(self, outputs: DenseOutputs) -> list[int]:
        counts = super().competitors(outputs)
        return counts if self.levels_apart else [sum(counts)]

    @property
    def rivals_in_words(self) -> str:
        return "its level" if self.levels_apart else "the picture"

    def _cut(self, found: Candidates, sizes: Real[Tensor, "b 2"]) -> Candidates:
        return super()._cut(found, sizes - 1 if self.last_pixel else sizes)

    def __call__(self, outputs: DenseOutputs, sizes: Real[Tensor, "b 2"], decode: Decode) -> Selected:
        """Fixed-size detections in pixels of the batch; exports."""
        if self.suppression == "hard":
            return super().__call__(outputs, sizes, decode)
        found = self.candidates(outputs, sizes, decode)
        count = found.scores.shape[1] if self.max_detections is None else self.max_detections
        scores, rows = soft_nms(
            found.boxes, found.scores, self._groups(found.labels), sigma=self.sigma, max_count=count
        )
        floor = self.min_score if self.soft_min_score is None else self.soft_min_score
        real = (scores > floor) & (scores > 0)
        return Selected(
            pick(found.boxes, rows) * real[..., None],
            scores * real,
            found.labels.gather(1, rows).masked_fill(~real, -1),
        )

    def stages_of_one_image(self, found: Candidates, size: Real[Tensor, "2"]) -> Stages:
        """Soft suppression leaves what is still above the floor when the last one of `max_detections` is chosen."""
        candidates = take(found, found.scores > 0)
        count = len(candidates.scores)
        count = count if self.max_detections is None else min(count, self.max_detections)
        if self.suppression == "hard" or not count:
            return super().stages_of_one_image(found, size)
        groups = self._groups(candidates.labels)
        scores, rows = soft_nms(
            candidates.boxes[None], candidates.scores[None], groups[None], sigma=self.sigma, max_count=count
        )
        floor = max(0.0, float(self.min_score if self.soft_min_score is None else self.soft_min_score))
        rows, scores = rows[0][scores[0] > floor], scores[0][scores[0] > floor]
        detected = take(candidates, rows)._replace(scores=scores)
        iou = pairwise_iou(candidates.boxes, detected.boxes) * (groups[:, None] == groups[rows])
        left = candidates.scores * torch.exp(iou.square().sum(1) / -self.sigma) > floor
        left[rows] = True
        return Stages(candidates, take(candidates, left), detected)

    def detect(
        self, outputs: DenseOutputs, images: ImageBatch, decode: Decode, label_map: LabelMap
    ) -> list[Detections]:
        """Detections as ragged lists, one per image."""
        if self.suppression == "hard":
            return super().detect(outputs, images, decode, label_map)
        return ragged(self(outputs, images.sizes, decode), images.sizes, label_map)


def ragged(selected: Selected, sizes: Real[Tensor, "b 2"], label_map: LabelMap) -> list[Detections]:
    """One `Detections` per image, without the rows that hold no object; `sizes` are (height, width).

    >>> selected = Selected(torch.zeros(1, 2, 4), torch.tensor([[0.9, 0.0]]), torch.tensor([[3, -1]]))
    >>> ragged(selected, torch.tensor([[32, 48]]), LabelMap.numbered(4))
    [Detections(1 in 32×48: class_3 0.90)]
    """
    rows: Sequence[tuple[Tensor, Tensor, Tensor]] = list(zip(*selected, strict=True))
    return [
        Detections(boxes[scores > 0], scores[scores > 0], labels[scores > 0], (height, width), label_map)
        for (boxes, scores, labels), (height, width) in zip(rows, sizes.tolist(), strict=True)
    ]
