"""What all selections share: suppression and the best of a picture. B images, n candidates, D detections."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Generic, Literal, NamedTuple, TypedDict, TypeVar

import torch
from jaxtyping import Bool, Float, Int, Real, Shaped
from torch import Tensor

from pagoda.ops.anchors import Side
from pagoda.ops.boxes import clip_boxes, pairwise_iou
from pagoda.ops.nms import batch_survivors, nms_survivors
from pagoda.plain import check_counts, checked
from pagoda.structures.images import ImageBatch
from pagoda.structures.instances import Detections
from pagoda.structures.labels import LabelMap
from pagoda.structures.outputs import ClassOutputs

Outputs = TypeVar("Outputs", bound=ClassOutputs)
Decode = Callable[[Tensor, Tensor], Tensor]
"""(n, 4) box outputs and (n, 2 or 4) priors to (n, 4) boxes; leading axes may be more."""


class Limits(TypedDict, total=False):
    """What people change of a selection, by name; None leaves a limit as it is.

    >>> limits: Limits = {"min_score": 0.5, "max_detections": None}
    >>> Select().with_limits(**limits).max_detections
    100
    """

    min_score: float | None
    max_iou: float | None
    max_candidates: int | None
    max_detections: int | None


class Selected(NamedTuple):
    """Objects as always D rows per image, best first; rows beyond the last object have score 0 and label −1.

    >>> selected = Selected(torch.zeros(1, 2, 4), torch.tensor([[0.9, 0.0]]), torch.tensor([[3, -1]]))
    >>> (selected.scores > 0).sum(1)  # objects in each image
    tensor([1])
    """

    boxes: Tensor
    """(B, D, 4)"""
    scores: Tensor
    """(B, D)"""
    labels: Tensor
    """(B, D)"""


class Candidates(NamedTuple):
    """The best (location, class) pairs before suppression, of a batch or of one image.

    >>> pairs = Candidates(torch.zeros(2, 4), torch.tensor([0.2, -1.0]), torch.tensor([1, 0]), torch.tensor([7, 6]))
    >>> take(pairs, pairs.scores > 0).places // 3  # the location, where there are three classes
    tensor([2])
    """

    boxes: Tensor
    """(B, n, 4) or (n, 4); of clips T before the 4"""
    scores: Tensor
    """(B, n) or (n,); −1 where there is none"""
    labels: Tensor
    """as `scores`"""
    places: Tensor
    """as `scores`: location · classes + label, locations counted over all levels: the order of the raw outputs"""


class Stages(NamedTuple):
    """One image's candidates on their way to detections; each part is what the one before it leaves.

    >>> boxes = torch.tensor([[0., 0., 8., 8.], [0., 0., 8., 9.]])
    >>> pairs = Candidates(boxes, torch.tensor([0.9, 0.8]), *torch.tensor([[0, 0], [4, 5]]))
    >>> Select().stages_of_one_image(pairs, torch.tensor([32, 32])).survivors.places
    tensor([4])
    """

    candidates: Candidates
    """that pass `min_score` and are among the best `max_candidates`"""
    survivors: Candidates
    """of suppression"""
    detected: Candidates
    """at most `max_detections`, in the order asked for"""


class Pairs(NamedTuple):
    """Every pair of prior and class that a network speaks of, whatever the limits. P locations, anchors or proposals.

    >>> points = (torch.zeros(1, 4),)
    >>> from pagoda.postprocess.dense import SelectDense
    >>> from pagoda.structures.outputs import DenseOutputs
    >>> outputs = DenseOutputs(torch.tensor([[[2.0, -4.0]]]), torch.zeros(1, 1, 4), None, points)
    >>> SelectDense().pairs(outputs, torch.tensor([[9, 9]]), lambda deltas, priors: priors).passes
    tensor([[[ True, False]]])
    """

    boxes: Tensor
    """(B, P, 4), or (B, P, classes, 4) where each class has its own; of clips T before the 4"""
    scores: Tensor
    """(B, P, classes) final ones"""
    passes: Tensor
    """(B, P, classes) bool: above `min_score`"""


@checked
@dataclass(frozen=True, kw_only=True)
class Select(Generic[Outputs]):
    """From candidates to objects: per-class NMS, top-k per picture, all of fixed size.

    Each kind says what its candidates are, and has its own options besides these. Raises ValueError for limits below
    1, a `min_score` above 1 and a `max_iou` below 0.

    >>> Select(max_iou=0.6).with_limits(max_detections=10, max_iou=None).max_iou
    0.6
    """

    min_score: float | Tensor = 0.05
    """a tensor without axes where an exported graph shall keep it adjustable"""
    max_iou: float = 0.5
    """with a better box of the same class"""
    max_candidates: int | None = 1000
    """before suppression; None: all"""
    max_detections: int | None = 100
    """None: all"""
    across_classes: bool = False
    """boxes suppress each other whatever their classes (toandaominh1997)"""
    clip: Literal["before", "after", "never"] = "before"
    """boxes are cut to the picture before or after suppression (detectron2, AdelaiDet), or not (ssd.pytorch)"""
    drop_empty: bool = False
    """boxes without area once cut are dropped (detectron2, mmdet)"""
    order: Literal["score", "location"] = "score"
    """of `detect`'s rows; "location": the order of levels, cells and classes, where all that equal the last
    one's score stay (maskrcnn-benchmark, FCOS)"""
    inclusive: bool = False
    """legacy boxes: overlaps count sides + 1, and pictures end at W − 1"""

    def __post_init__(self) -> None:
        check_counts(max_candidates=self.max_candidates, max_detections=self.max_detections)
        if not isinstance(self.min_score, Tensor) and self.min_score > 1:
            raise ValueError(f"min_score must be at most 1, as scores are, got {self.min_score}")
        if self.max_iou < 0:
            raise ValueError(f"max_iou must be a share of overlap from 0 on, got {self.max_iou}")

    def with_limits(
        self,
        *,
        min_score: float | Tensor | None = None,
        max_iou: float | None = None,
        max_candidates: int | None = None,
        max_detections: int | None = None,
    ) -> "Select[Outputs]":
        """A copy with the given limits; None leaves one as it is."""
        return replace(
            self,
            min_score=self.min_score if min_score is None else min_score,
            max_iou=self.max_iou if max_iou is None else max_iou,
            max_candidates=self.max_candidates if max_candidates is None else max_candidates,
            max_detections=self.max_detections if max_detections is None else max_detections,
        )

    def candidates(self, outputs: Outputs, sizes: Real[Tensor, "b 2"], decode: Decode) -> Candidates:
        """(B, n) pairs, n ≤ `max_candidates` for all that compete with each other."""
        raise TypeError(f"{type(self).__name__} defines no candidates")

    def pairs(self, outputs: Outputs, sizes: Real[Tensor, "b 2"], decode: Decode) -> Pairs:
        """All that `candidates` chooses from; pair (p, class) has the place p · classes + class."""
        raise TypeError(f"{type(self).__name__} defines no pairs")

    def competitors(self, outputs: Outputs) -> list[int]:
        """How many pairs compete for `max_candidates` places, group by group, in the order of `places`."""
        raise TypeError(f"{type(self).__name__} defines no competitors")

    def rivals(self, outputs: Outputs, places: Int[Tensor, " n"]) -> Int[Tensor, " n"]:
        """A number for each place, equal where pairs compete for the same `max_candidates`."""
        ends = torch.tensor(self.competitors(outputs), device=places.device).cumsum(0)
        return torch.bucketize(places, ends, right=True)

    @property
    def rivals_in_words(self) -> str:
        """Among whom a pair has to be one of the best `max_candidates`."""
        return "the picture"

    def ranks(self, found: Candidates, class_logits: Float[Tensor, "p classes"]) -> Float[Tensor, " n"]:
        """What `max_candidates` are the best by, of candidates of one image and its raw logits."""
        return found.scores

    def _clipped(
        self, boxes: Float[Tensor, "b n *t 4"], sizes: Real[Tensor, "b *ones 2"]
    ) -> Float[Tensor, "b n *t 4"]:
        """Boxes ending at the borders of pictures of (height, width) `sizes`."""
        return clip_boxes(boxes, sizes, inclusive=self.inclusive)

    def _cut(self, found: Candidates, sizes: Real[Tensor, "b *one 2"]) -> Candidates:
        """Boxes ending at their picture's borders; where none is left and that counts, the score is −1."""
        boxes = self._clipped(found.boxes, sizes[:, None])
        if not self.drop_empty:
            return found._replace(boxes=boxes)
        empty = (boxes[..., 2:] <= boxes[..., :2]).flatten(2).any(-1)
        return found._replace(boxes=boxes, scores=found.scores.masked_fill(empty, -1.0))

    def _groups(self, labels: Int[Tensor, "*n"]) -> Int[Tensor, "*n"]:
        """What suppression keeps apart."""
        return torch.zeros_like(labels) if self.across_classes else labels

    def _compared(self, boxes: Float[Tensor, "*n 4"]) -> Float[Tensor, "*n 4"]:
        """Boxes as suppression sees them."""
        return boxes

    def overlaps(self, found: Candidates, others: Candidates) -> Float[Tensor, "n m"]:
        """Of candidates of one image, each with each, as suppression sees it."""
        boxes, theirs = self._compared(found.boxes), self._compared(others.boxes)
        return pairwise_iou(boxes, theirs, inclusive=self.inclusive)

    def _batch_survivors(self, found: Candidates, num_classes: int) -> Bool[Tensor, "b n"]:
        """Which candidates of each image suppression leaves."""
        return batch_survivors(
            self._compared(found.boxes),
            found.scores,
            self._groups(found.labels),
            num_classes,
            self.max_iou,
            self.inclusive,
        )

    def _survivors(self, found: Candidates) -> Bool[Tensor, " n"]:
        """Which candidates of one image suppression leaves."""
        return nms_survivors(
            self._compared(found.boxes),
            found.scores,
            self._groups(found.labels),
            max_iou=self.max_iou,
            inclusive=self.inclusive,
        )

    def __call__(self, outputs: Outputs, sizes: Real[Tensor, "b 2"], decode: Decode) -> Selected:
        """Fixed-size detections in pixels of the batch; exports."""
        found = self.candidates(outputs, sizes, decode)
        kept = self._batch_survivors(found, outputs.class_logits.shape[-1])
        scores = torch.where(kept, found.scores, -1.0)
        best, index = scores.topk(at_most(self.max_detections, scores.shape[1]), dim=1)
        found = Candidates(pick(found.boxes, index), best, found.labels.gather(1, index), index)
        if self.clip == "after":
            found = self._cut(found, sizes)
        real = found.scores > 0
        boxes = not_inside_out(found.boxes) if self.inclusive else found.boxes
        return Selected(boxes * beside(real, boxes), found.scores * real, found.labels.masked_fill(~real, -1))

    def detect(
        self, outputs: Outputs, images: ImageBatch, decode: Decode, label_map: LabelMap
    ) -> list[Detections]:
        """Detections as ragged lists, one per image; suppression sees only real candidates, so it is quick."""
        found = self.candidates(outputs, images.sizes, decode)
        return [
            self.of_one_image(take(found, image), size, label_map) for image, size in enumerate(images.sizes)
        ]

    def of_one_image(self, found: Candidates, size: Real[Tensor, "2"], label_map: LabelMap) -> Detections:
        """What survives of one image's candidates; `size` is its (height, width)."""
        found = self.best_of_one_image(found, size)
        height, width = size.tolist()
        return Detections(found.boxes, found.scores, found.labels, (height, width), label_map)

    def best_of_one_image(self, found: Candidates, size: Real[Tensor, "2"]) -> Candidates:
        """The candidates that survive, at most `max_detections`, in the order asked for."""
        return self.stages_of_one_image(found, size).detected

    def stages_of_one_image(self, found: Candidates, size: Real[Tensor, "2"]) -> Stages:
        """The same with what was left on the way; `size` is the image's (height, width)."""
        candidates = take(found, found.scores > 0)
        survivors = take(candidates, self._survivors(candidates))
        return Stages(candidates, survivors, self._ended(self._best(survivors), size))

    def _ended(self, found: Candidates, size: Real[Tensor, "2"]) -> Candidates:
        """Boxes as they are reported."""
        if self.clip == "after":
            found = self._cut(Candidates(*(part[None] for part in found)), size[None])
            found = take(take(found, 0), found.scores[0] > 0)
        return found._replace(boxes=not_inside_out(found.boxes)) if self.inclusive else found

    def _best(self, found: Candidates) -> Candidates:
        """At most `max_detections` rows, in the order asked for."""
        best, index = found.scores.topk(at_most(self.max_detections, len(found.scores)))
        if self.order == "score":
            return take(found, index)
        found = take(found, found.scores >= best[-1]) if len(best) else found
        return take(found, found.places.argsort())


def at_most(limit: int | None, count: Side) -> Side:
    """`count` itself, or `limit` if there are more; exports.

    >>> at_most(1000, 77), at_most(50, 77), at_most(None, 77)
    (77, 50, 77)
    """
    return count if limit is None else torch.sym_min(limit, count)


def take(found: Candidates, rows: Shaped[Tensor, " k"] | int) -> Candidates:
    """The rows of one image that a mask or an index names; of a batch the image of that number.

    >>> pairs = Candidates(torch.zeros(2, 4), torch.tensor([0.2, 0.9]), *torch.arange(4).view(2, 2))
    >>> take(pairs, torch.tensor([1])).labels, take(pairs, pairs.scores > 0.5).places
    (tensor([1]), tensor([3]))
    """
    return Candidates(*(part[rows] for part in found))


def pick(values: Shaped[Tensor, "b n *rest"], rows: Int[Tensor, "b k"]) -> Shaped[Tensor, "b k *rest"]:
    """The values of each image at its own rows.

    >>> pick(torch.tensor([[10., 11., 12.], [20., 21., 22.]]), torch.tensor([[2, 0], [1, 1]]))
    tensor([[12., 10.],
            [21., 21.]])
    """
    return values.gather(1, beside(rows, values).expand(-1, -1, *values.shape[2:]))


def not_inside_out(boxes: Float[Tensor, "*n 4"]) -> Float[Tensor, "*n 4"]:
    """Legacy boxes, empty where they are narrower than the pixel that ends them: those end before they begin.

    >>> not_inside_out(torch.tensor([[4., 4., 3., 9.]]))
    tensor([[4., 4., 4., 9.]])
    """
    return torch.cat([boxes[..., :2], torch.maximum(boxes[..., :2], boxes[..., 2:])], dim=-1)


def beside(rows: Shaped[Tensor, "b n"], values: Shaped[Tensor, "b _ *rest"]) -> Shaped[Tensor, "b n *ones"]:
    """Rows with as many axes of one behind as `values` have.

    >>> beside(torch.zeros(2, 5), torch.zeros(2, 5, 3, 4)).shape
    torch.Size([2, 5, 1, 1])
    """
    return rows[(..., *[None] * (values.ndim - 2))]
