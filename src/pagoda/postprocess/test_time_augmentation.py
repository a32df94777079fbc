"""Several views of one picture (mirrored, at other sizes) and what is found in them, put together.

Test-time augmentation as published with FCOS's best result (49.0 AP): every view gives its candidates before
suppression, all are moved into the first view, and one suppression decides. Scores and boxes are not averaged.
V views, B images, n candidates.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from pagoda.plain import checked
from pagoda.postprocess.efficientdet import SelectFromAllLevels
from pagoda.postprocess.select import Candidates, Select, take
from pagoda.structures.images import ImageBatch
from pagoda.structures.instances import Detections
from pagoda.structures.labels import LabelMap


@checked
@dataclass(frozen=True, kw_only=True)
class PictureViews:
    """The picture at the model's own size and at further ones, each mirrored too where asked for.

    >>> views = PictureViews.published()
    >>> (len(views.scales) + 1) * 2  # with the model's own size, and every mirror image
    18
    """

    scales: tuple[int, ...] = ()
    """further short sides, pixels"""
    max_size: int = 2000
    """the longer side at those, pixels"""
    flip: bool = True
    """each view is also looked at mirrored, left to right"""

    @classmethod
    def published(cls) -> "PictureViews":
        """The 18 views of FCOS's published result."""
        return cls(scales=(400, 500, 600, 700, 900, 1000, 1100, 1200))


class ViewCandidates(NamedTuple):
    """The candidates of one view of a batch.

    >>> box = Candidates(torch.tensor([[[0., 0., 4., 4.]]]), *torch.ones(3, 1, 1))
    >>> small, large = torch.tensor([[10, 10]]), torch.tensor([[20, 20]])
    >>> join_views([ViewCandidates(box, small, False), ViewCandidates(box, large, True)]).boxes
    tensor([[[ 0.,  0.,  4.,  4.],
             [ 8.,  0., 10.,  2.]]])
    """

    candidates: Candidates
    sizes: Tensor
    """(B, 2) height and width of the pictures in this view"""
    is_mirrored: bool


def mirror_images(images: ImageBatch) -> ImageBatch:
    """Pictures mirrored left to right, each within its own size; the padding stays at the right.

    >>> mirror_images(ImageBatch(torch.tensor([[[[1., 2., 3., 0.]]]]), torch.tensor([[1, 3]]))).pixels
    tensor([[[[3., 2., 1., 0.]]]])
    """
    pixels = images.pixels.clone()
    for image, (height, width) in enumerate(images.sizes.tolist()):
        pixels[image, :, :height, :width] = images.pixels[image, :, :height, :width].flip(-1)
    return ImageBatch(pixels, images.sizes)


def mirror_boxes(
    boxes: Float[Tensor, "*n 4"], widths: Int[Tensor, "*#n"] | int, *, inclusive: bool = False
) -> Float[Tensor, "*n 4"]:
    """Boxes mirrored left to right in pictures of these widths (*n or broadcastable).

    x' = W − x, or W − 1 − x of pixel indices (`inclusive`).

    >>> box = torch.tensor([[1., 2., 4., 5.]])
    >>> mirror_boxes(box, 10), mirror_boxes(box, 10, inclusive=True)
    (tensor([[6., 2., 9., 5.]]), tensor([[5., 2., 8., 5.]]))
    """
    x1, y1, x2, y2 = boxes.unbind(-1)
    end = widths - int(inclusive)
    return torch.stack([end - x2, y1, end - x1, y2], dim=-1)


def join_views(found: Sequence[ViewCandidates], *, inclusive: bool = False) -> Candidates:
    """(B, V·n) candidates of all views, in pixels of the first, view by view; see `ViewCandidates`.

    `places` go on counting from view to view, so that a picture's candidates keep an order. `inclusive` mirrors legacy
    boxes.
    """
    first_sizes, parts = found[0].sizes, []
    first_place = torch.zeros((), dtype=torch.long, device=first_sizes.device)
    for candidates, sizes, is_mirrored in found:
        boxes = candidates.boxes
        if is_mirrored:
            boxes = mirror_boxes(boxes, sizes[:, 1:], inclusive=inclusive)
        scale = (first_sizes.to(boxes.dtype) / sizes).flip(1).repeat(1, 2)  # (B, 4) of x, y, x, y
        boxes = boxes * scale[:, None]
        parts.append(candidates._replace(boxes=boxes, places=candidates.places + first_place))
        first_place = parts[-1].places.amax() + 1
    return Candidates(*(torch.cat(part, dim=1) for part in zip(*parts, strict=True)))


def select_from_views(
    found: Sequence[ViewCandidates], select: Select, label_map: LabelMap
) -> list[Detections]:
    """The detections of each image that one suppression leaves of all views, in pixels of the first.

    Raises ValueError for soft suppression, where every view's copy of a box would cost the others their score.
    """
    if isinstance(select, SelectFromAllLevels) and select.suppression == "soft":
        raise ValueError('views are put together by hard suppression, but the model has suppression="soft"')
    joined = join_views(found, inclusive=select.inclusive)
    return [
        select.of_one_image(take(joined, image), size, label_map) for image, size in enumerate(found[0].sizes)
    ]
