"""Random changes to training pictures: each is a callable `(picture, Targets) -> (picture, Targets)`.

Pictures are uint8 (3, H, W), or (4, H, W) with an opacity that changes of colour leave alone; boxes, masks,
keypoints, areas and the image size follow. Every draw comes from torch's CPU generator, so `torch.manual_seed`
decides the outcome. What happens to objects that leave the picture, and what `boxes_from_masks` does: see
`geometry.cut_targets`.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from pagoda.data.augment import geometry
from pagoda.data.augment.draws import below, between, happens, probability, scaled
from pagoda.data.augment.geometry import Window, frame_of
from pagoda.data.table.samples import Samples
from pagoda.plain import checked
from pagoda.preprocess import InputSpec
from pagoda.structures.instances import Targets

Transform = Callable[[Tensor, Targets], tuple[Tensor, Targets]]
PADDING_GREY = 114
"""Close to the mean of natural pictures, so that padding is near zero once normalised."""


@dataclass(frozen=True)
class Compose:
    """One transform after the other.

    >>> picture, targets = torch.zeros(3, 100, 200, dtype=torch.uint8), Targets.empty((100, 200))
    >>> tuple(Compose([Resize(50, 1000), ScaleJitter((64, 64))])(picture, targets)[0].shape)
    (3, 64, 64)
    """

    transforms: Sequence[Transform]
    """in the order in which they are applied"""

    def __call__(self, picture: Tensor, targets: Targets) -> tuple[Tensor, Targets]:
        for transform in self.transforms:
            picture, targets = transform(picture, targets)
        return picture, targets


@checked
@dataclass(frozen=True)
class Carry:
    """Boxes, and of masks and keypoints what is learnt: the rest need not be moved along.

    >>> masks, keypoints = torch.zeros(0, 4, 6, dtype=torch.bool), torch.zeros(0, 17, 2)
    >>> targets = replace(Targets.empty((4, 6)), keypoints=keypoints, masks=masks)
    >>> picture, kept = Carry(masks=True)(torch.zeros(3, 4, 6, dtype=torch.uint8), targets)
    >>> kept.masks is None, kept.keypoints is None
    (False, True)
    """

    masks: bool = False
    """False: they are dropped, which saves moving every pixel of them"""
    keypoints: bool = False
    """False: they are dropped, and with them their visibility"""

    def __call__(self, picture: Tensor, targets: Targets) -> tuple[Tensor, Targets]:
        dropped = [*(["masks"] * (not self.masks)), *(["keypoints", "visibility"] * (not self.keypoints))]
        return picture, replace(targets, **dict.fromkeys(dropped))


@dataclass(frozen=True)
class Resize:
    """The shorter side to `short` pixels, less where the longer would exceed `long`; aspect kept.

    >>> picture, targets = torch.zeros(3, 100, 300, dtype=torch.uint8), Targets.empty((100, 300))
    >>> tuple(Resize(50, 1000)(picture, targets)[0].shape), tuple(Resize(50, 60)(picture, targets)[0].shape)
    ((3, 50, 150), (3, 20, 60))
    """

    short: int
    """pixels of the shorter side"""
    long: int
    """the most pixels the longer side may have"""

    def __call__(self, picture: Tensor, targets: Targets) -> tuple[Tensor, Targets]:
        same_as_later = InputSpec(short_side=self.short, long_side=self.long)
        return geometry.resize(picture, targets, *same_as_later.resized(frame_of(picture, targets)))


@checked
@dataclass(frozen=True)
class JitteredResize:
    """`Resize`, then `low` … `high` times that; what exceeds the resized frame is cropped at a random place.

    Nothing is padded: smaller pictures leave that to their batch.

    >>> picture, targets = torch.zeros(3, 100, 200, dtype=torch.uint8), Targets.empty((100, 200))
    >>> JitteredResize(50, 1000, low=0.8, high=0.8)(picture, targets)[1].image_size
    (40, 80)
    >>> JitteredResize(50, 1000, low=1.5, high=1.5)(picture, targets)[1].image_size
    (50, 100)
    """

    short: int
    """pixels of the shorter side, before the jitter"""
    long: int
    """the most pixels the longer side may have, before the jitter"""
    low: float = 0.8
    """the smallest factor; 1 never shrinks"""
    high: float = 1.25
    """the largest factor; 1 never crops"""
    boxes_from_masks: bool = True
    """False: boxes of cropped objects end at the crop, whatever is left of their masks"""

    def __call__(self, picture: Tensor, targets: Targets) -> tuple[Tensor, Targets]:
        spec = InputSpec(short_side=self.short, long_side=self.long)
        height, width = spec.resized(frame_of(picture, targets))
        factor = between(self.low, self.high)
        picture, targets = geometry.resize(picture, targets, scaled(height, factor), scaled(width, factor))
        if factor <= 1:
            return picture, targets
        top, left = below(picture.shape[1] - height + 1), below(picture.shape[2] - width + 1)
        window = Window(top, left, height, width)
        return geometry.cut(picture, targets, window, PADDING_GREY, boxes_from_masks=self.boxes_from_masks)


@checked
@dataclass(frozen=True)
class HorizontalFlip:
    """Left to right with probability `p`. Keypoints need `pairs`: those that change places.

    >>> box, label, ignored = torch.tensor([[1.0, 0.0, 3.0, 2.0]]), torch.tensor([0]), torch.tensor([False])
    >>> targets = Targets(box, label, (4, 10), ignored)
    >>> HorizontalFlip(p=1)(torch.zeros(3, 4, 10, dtype=torch.uint8), targets)[1].boxes.tolist()
    [[7.0, 0.0, 9.0, 2.0]]
    """

    p: float = 0.5
    """share of the pictures that are flipped, 0 … 1"""
    pairs: Sequence[tuple[int, int]] | None = None
    """keypoints that change places, as (left eye, right eye); () where none do, None where nobody knows"""

    def __call__(self, picture: Tensor, targets: Targets) -> tuple[Tensor, Targets]:
        if not happens(self.p):
            return picture, targets
        return geometry.mirror(picture, targets, self.pairs)


@checked
@dataclass(frozen=True)
class VerticalFlip:
    """Top to bottom with probability `p`. Keypoints need `pairs` here too: this is a mirror as well.

    >>> box, label, ignored = torch.tensor([[1.0, 0.0, 3.0, 2.0]]), torch.tensor([0]), torch.tensor([False])
    >>> targets = Targets(box, label, (4, 10), ignored)
    >>> VerticalFlip(p=1)(torch.zeros(3, 4, 10, dtype=torch.uint8), targets)[1].boxes.tolist()
    [[1.0, 2.0, 3.0, 4.0]]
    """

    p: float = 0.5
    """share of the pictures that are flipped, 0 … 1"""
    pairs: Sequence[tuple[int, int]] | None = None
    """as in `HorizontalFlip`"""

    def __call__(self, picture: Tensor, targets: Targets) -> tuple[Tensor, Targets]:
        if not happens(self.p):
            return picture, targets
        return geometry.mirror(picture, targets, self.pairs, upside_down=True)


@checked
@dataclass(frozen=True)
class ScaleJitter:
    """Large-scale jitter (Ghiasi 2021): `low` … `high` times the scale that fits `size`, then `size` of it.

    What is larger is cropped at a random place, what is smaller padded at the bottom and right. The
    result is always `size`, (height, width). With `stretch` each side is scaled for itself, by what fits it to `size`.

    >>> picture, targets = torch.full((3, 10, 20), 255, dtype=torch.uint8), Targets.empty((10, 20))
    >>> small, _ = ScaleJitter((40, 40), low=0.5, high=0.5, fill=7)(picture, targets)
    >>> tuple(small.shape), small[0, 0, 0].item(), small[0, 30, 30].item()
    ((3, 40, 40), 255, 7)
    """

    size: tuple[int, int]
    """(height, width) of the result, in pixels"""
    low: float = 0.1
    """the smallest factor"""
    high: float = 2.0
    """the largest factor; above 1 pictures are cropped"""
    fill: int = PADDING_GREY
    """grey level of what is padded, 0 … 255"""
    boxes_from_masks: bool = True
    """False: boxes of cropped objects end at the crop, whatever is left of their masks"""
    stretch: bool = False
    """the picture's aspect gives way to that of `size`, as in models that stretch their pictures (SSD)"""

    def __call__(self, picture: Tensor, targets: Targets) -> tuple[Tensor, Targets]:
        sides = frame_of(picture, targets)
        fits = self.size[0] / sides[0], self.size[1] / sides[1]
        factor = between(self.low, self.high)
        scales = [fit * factor for fit in fits] if self.stretch else [min(fits) * factor] * 2
        # Cropped first, by whole pixels: enlarging what is then thrown away would take most of the time.
        seen = [
            min(side, scaled(limit, 1 / scale))
            for side, limit, scale in zip(sides, self.size, scales, strict=True)
        ]
        top, left = below(sides[0] - seen[0] + 1), below(sides[1] - seen[1] + 1)
        window = Window(top, left, *seen)
        picture, targets = geometry.cut(
            picture, targets, window, self.fill, boxes_from_masks=self.boxes_from_masks
        )
        height, width = (
            min(scaled(side, scale), limit)
            for side, scale, limit in zip(seen, scales, self.size, strict=True)
        )
        picture, targets = geometry.resize(picture, targets, height, width)
        return geometry.cut(picture, targets, Window(0, 0, *self.size), self.fill)


@checked
@dataclass(frozen=True)
class ZoomOut:
    """SSD's expansion (Liu 2016): with probability `p` the picture becomes a part of a larger, empty one.

    Both sides are made up to `most` times smaller, and the picture lies at a random place of a frame of its own size:
    once resized that is what enlarging the frame would give, but in no more memory.

    >>> picture, targets = torch.full((3, 40, 60), 255, dtype=torch.uint8), Targets.empty((40, 60))
    >>> out, _ = ZoomOut(p=1.0)(picture, targets)
    >>> tuple(out.shape), bool((out == 255).float().mean() < 1)
    ((3, 40, 60), True)
    """

    p: float = 0.5
    """share of the pictures that are made smaller, 0 … 1"""
    most: float = 4.0
    """the largest factor; as likely as any from 1 on"""
    fill: int = PADDING_GREY
    """grey level around the picture, 0 … 255"""

    def __call__(self, picture: Tensor, targets: Targets) -> tuple[Tensor, Targets]:
        height, width = frame_of(picture, targets)
        if not happens(self.p):
            return picture, targets
        factor = 1 / between(1.0, self.most)
        picture, targets = geometry.resize(picture, targets, scaled(height, factor), scaled(width, factor))
        top, left = below(height - picture.shape[1] + 1), below(width - picture.shape[2] + 1)
        return geometry.cut(picture, targets, Window(-top, -left, height, width), self.fill)


@checked
@dataclass(frozen=True)
class RandomIoUCrop:
    """The crop of SSD (Liu 2016): with probability `p`, look for one that overlaps an object well.

    The IoU asked for is drawn from `min_ious` and from "no crop at all". Sides are `min_scale` …
    `max_scale` of the picture's. Objects whose centre is outside are dropped. A picture without learnable
    objects stays whole.

    >>> picture, targets = torch.zeros(3, 40, 60, dtype=torch.uint8), Targets.empty((40, 60))
    >>> RandomIoUCrop()(picture, targets)[1].image_size  # nothing to learn: stays whole
    (40, 60)
    """

    p: float = 1.0
    """share of the pictures for which a crop is looked for, 0 … 1"""
    min_ious: tuple[float, ...] = (0.0, 0.1, 0.3, 0.5, 0.7, 0.9)
    """the least IoU of the crop with some object, each as likely as the others"""
    min_scale: float = 0.3
    """share of the picture's sides that those of the crop have at least"""
    max_scale: float = 1.0
    """share that they have at most"""
    min_aspect: float = 0.5
    """the least width / height of the crop"""
    max_aspect: float = 2.0
    """the most"""
    boxes_from_masks: bool = True
    """False: boxes of cropped objects end at the crop, whatever is left of their masks"""

    def __call__(self, picture: Tensor, targets: Targets) -> tuple[Tensor, Targets]:
        height, width = frame_of(picture, targets)
        learnable = targets.boxes[~targets.ignored]
        has_room = min(height, width) * self.min_scale >= 1  # a crop of no pixels has no aspect
        if not (happens(self.p) and len(learnable) and has_room):
            return picture, targets
        from torchvision.transforms import v2  # takes seconds, which who only looks at pictures is spared
        from torchvision.tv_tensors import BoundingBoxes

        options = [*self.min_ious, 1.0]
        crop = v2.RandomIoUCrop(self.min_scale, self.max_scale, self.min_aspect, self.max_aspect, options)
        boxes = BoundingBoxes(learnable, format="XYXY", canvas_size=(height, width))
        found = crop.make_params([picture, boxes])
        if not found:
            return picture, targets
        window = Window(found["top"], found["left"], found["height"], found["width"])
        # The centre decides here, not the share left: a crop inside one big object shows little of it
        # and yet nothing else.
        targets = targets[targets.ignored | _centred_in(targets.boxes, window)]
        return geometry.cut(
            picture, targets, window, fill=0, min_share=0.0, boxes_from_masks=self.boxes_from_masks
        )


@checked
@dataclass(frozen=True)
class PhotometricDistort:
    """SSD's changes of brightness, contrast, saturation, hue and channel order, each with probability `p`.

    >>> picture, targets = torch.full((4, 8, 8), 90, dtype=torch.uint8), Targets.empty((8, 8))
    >>> changed, _ = PhotometricDistort(p=1)(picture, targets)
    >>> tuple(changed.shape), bool((changed[3] == 90).all())  # the opacity stays
    ((4, 8, 8), True)
    """

    p: float = 0.5
    """of each change by itself, 0 … 1"""

    def __call__(self, picture: Tensor, targets: Targets) -> tuple[Tensor, Targets]:
        frame_of(picture, targets)
        from torchvision.transforms import v2

        colors = v2.RandomPhotometricDistort(p=probability(self.p))(picture[:3])
        return colors if len(picture) == 3 else torch.cat([colors, picture[3:]]), targets


@checked
@dataclass(frozen=True, eq=False)
class Mosaic:
    """With probability `p`, this picture and three others of `dataset` around a random point of one canvas.

    The canvas is `size`, (height, width). Each picture is scaled to `low` … `high` times what fits the
    canvas, lies with one corner at the point, and ends at the borders of its quarter. `prepare` is applied to
    the pictures that are drawn, as it has been to the one that is given.

    >>> box, label, ignored = torch.tensor([[0.0, 0.0, 20.0, 20.0]]), torch.tensor([0]), torch.tensor([False])
    >>> sample = torch.zeros(3, 20, 20, dtype=torch.uint8), Targets(box, label, (20, 20), ignored)
    >>> picture, targets = Mosaic([sample], size=(64, 96), p=1.0)(*sample)
    >>> tuple(picture.shape), len(targets)
    ((3, 64, 96), 4)
    """

    dataset: Samples[Targets]
    """what the three other pictures are drawn from, each picture as likely as the others"""
    size: tuple[int, int]
    """(height, width) of the canvas, in pixels"""
    p: float = 0.5
    """share of the pictures that become a mosaic, 0 … 1"""
    low: float = 0.4
    """the smallest factor on what fits the canvas"""
    high: float = 1.0
    """the largest"""
    fill: int = PADDING_GREY
    """grey level between and beside the pictures, 0 … 255"""
    boxes_from_masks: bool = True
    """False: boxes of cut objects end at their quarter, whatever is left of their masks"""
    prepare: Transform | None = None
    """what is done to the drawn pictures first; the given one has had it already"""

    def __call__(self, picture: Tensor, targets: Targets) -> tuple[Tensor, Targets]:
        if not happens(self.p):
            return picture, targets
        height, width = self.size
        others = [self.dataset[below(len(self.dataset))] for _ in range(3)]
        if self.prepare is not None:
            others = [self.prepare(*sample) for sample in others]
        y, x = int(height * between(0.25, 0.75)), int(width * between(0.25, 0.75))
        quarters = [
            Window(top, left, bottom - top, right - left)
            for top, bottom in ((0, y), (y, height))
            for left, right in ((0, x), (x, width))
        ]
        canvas = picture.new_full((len(picture), height, width), self.fill)
        parts = []
        for quarter, sample in zip(quarters, [(picture, targets), *others], strict=True):
            pixels, part = self._fill_quarter(quarter, *sample)
            rows = slice(quarter.top, quarter.top + quarter.height)
            canvas[:, rows, quarter.left : quarter.left + quarter.width] = pixels
            parts.append(geometry.cut_targets(part, Window(-quarter.top, -quarter.left, height, width)))
        return canvas, geometry.join_targets(parts)

    def _fill_quarter(self, quarter: Window, picture: Tensor, targets: Targets) -> tuple[Tensor, Targets]:
        """The picture with its inner corner at the inner corner of the quarter."""
        height, width = frame_of(picture, targets)
        scale = min(self.size[0] / height, self.size[1] / width) * between(self.low, self.high)
        height, width = scaled(height, scale), scaled(width, scale)
        picture, targets = geometry.resize(picture, targets, height, width)
        top = height - quarter.height if quarter.top == 0 else 0
        left = width - quarter.width if quarter.left == 0 else 0
        window = Window(top, left, quarter.height, quarter.width)
        return geometry.cut(picture, targets, window, self.fill, boxes_from_masks=self.boxes_from_masks)


def _centred_in(boxes: Tensor, window: Window) -> Tensor:
    centers = (boxes[:, :2] + boxes[:, 2:]) / 2
    first = centers.new_tensor([window.left, window.top])
    last = first + centers.new_tensor([window.width, window.height])
    return ((first < centers) & (centers < last)).all(1)
