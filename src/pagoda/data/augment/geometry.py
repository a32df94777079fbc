"""Moving a picture and everything annotated on it together. N objects.

A picture is uint8 (3, H, W) and its `Targets` are in pixels of that same frame. Every function returns
new targets; fields that did not change are shared with the old ones, so nobody may write into them.
"""

from collections.abc import Sequence
from dataclasses import fields, replace
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn.functional import interpolate

from pagoda.ops.boxes import box_areas, clip_boxes
from pagoda.ops.resize import antialiased
from pagoda.structures.instances import Targets

MIN_SIDE = 1.0
"""Pixels: an object whose box is thinner than this cannot be learned from and is dropped."""
MIN_SHARE = 0.1
"""An object of which less than this share is left inside the frame is dropped."""


class Window(NamedTuple):
    """A rectangle of whole pixels looked at in a picture; it may reach beyond every side of it.

    >>> look_through(torch.tensor([[5, 6]]), Window(top=-1, left=0, height=2, width=1), fill=0).tolist()
    [[0], [5]]
    """

    top: int
    left: int
    height: int
    width: int


def frame_of(picture: Tensor, targets: Targets) -> tuple[int, int]:
    """(height, width) of the picture; ValueError unless it is uint8 (3 or 4, H, W) and the targets are its own.

    >>> frame_of(torch.zeros(3, 4, 6, dtype=torch.uint8), Targets.empty((4, 6)))
    (4, 6)
    """
    if picture.dtype != torch.uint8 or picture.ndim != 3 or len(picture) not in (3, 4):
        raise ValueError(f"a picture must be uint8 (3, H, W), got {picture.dtype} {tuple(picture.shape)}")
    size = (picture.shape[1], picture.shape[2])
    if tuple(targets.image_size) != size:
        raise ValueError(
            f"targets are of an image of (height, width) {tuple(targets.image_size)}, the picture has {size};"
            " transform both together"
        )
    return size


def resize(picture: Tensor, targets: Targets, height: int, width: int) -> tuple[Tensor, Targets]:
    """Both scaled to the new size: the picture bilinear with antialiasing, masks by their nearest pixel.

    >>> box, label, ignored = torch.tensor([[1.0, 1.0, 3.0, 2.0]]), torch.tensor([0]), torch.tensor([False])
    >>> targets = Targets(box, label, (4, 6), ignored)
    >>> picture, resized = resize(torch.zeros(3, 4, 6, dtype=torch.uint8), targets, 8, 12)
    >>> tuple(picture.shape), resized.boxes.tolist()
    ((3, 8, 12), [[2.0, 2.0, 6.0, 4.0]])
    """
    if frame_of(picture, targets) == (height, width):
        return picture, targets
    picture = antialiased(picture, (height, width))
    old_height, old_width = targets.image_size
    scale_y, scale_x = height / old_height, width / old_width
    factors = targets.boxes.new_tensor([scale_x, scale_y, scale_x, scale_y])
    boxes = clip_boxes(targets.boxes * factors, (height, width))
    kept = _wide_enough(boxes)
    targets, boxes = _select(replace(targets, boxes=boxes), kept), boxes[kept]
    return picture, replace(
        targets,
        image_size=(height, width),
        areas=None if targets.areas is None else targets.areas * (scale_x * scale_y),
        masks=None if targets.masks is None else _resize_masks(targets.masks, height, width),
        keypoints=None if targets.keypoints is None else targets.keypoints * factors[:2],
    )


def look_through(pixels: Tensor, window: Window, fill: int) -> Tensor:
    """What the window shows of (…, H, W) pixels, `fill` beyond their edge; always fresh memory.

    >>> look_through(torch.tensor([[1, 2], [3, 4]]), Window(0, 1, 3, 2), fill=9).tolist()
    [[2, 9], [4, 9], [9, 9]]
    """
    height, width = pixels.shape[-2:]
    top, bottom = max(window.top, 0), min(window.top + window.height, height)
    left, right = max(window.left, 0), min(window.left + window.width, width)
    view = pixels.new_full((*pixels.shape[:-2], window.height, window.width), fill)
    if top < bottom and left < right:
        rows = slice(top - window.top, bottom - window.top)
        columns = slice(left - window.left, right - window.left)
        view[..., rows, columns] = pixels[..., top:bottom, left:right]
    return view


def cut(
    picture: Tensor,
    targets: Targets,
    window: Window,
    fill: int,
    min_share: float = MIN_SHARE,
    *,
    boxes_from_masks: bool = True,
) -> tuple[Tensor, Targets]:
    """What the window shows of both: see `look_through` and `cut_targets`."""
    if window == (0, 0, *frame_of(picture, targets)):
        return picture, targets
    left_over = cut_targets(targets, window, min_share, boxes_from_masks=boxes_from_masks)
    return look_through(picture, window, fill), left_over


def cut_targets(
    targets: Targets, window: Window, min_share: float = MIN_SHARE, *, boxes_from_masks: bool = True
) -> Targets:
    """The objects seen through the window, in its frame.

    Boxes end at the window; where a mask is cut, its box shrinks around what is left of it, unless
    `boxes_from_masks` is off (as in programs that never look at the masks for that). Objects left
    with a side below `MIN_SIDE` or less than `min_share` of themselves (mask pixels, else box area) are
    dropped. Ignored regions stay however little is left of them: they say where not to learn. `areas`
    shrink with the object, and keypoints outside of the window count as not labelled.

    >>> boxes = torch.tensor([[0.0, 0.0, 10.0, 4.0], [8.0, 0.0, 10.0, 4.0]])
    >>> targets = Targets(boxes, torch.tensor([0, 1]), (4, 10), torch.tensor([False, False]))
    >>> seen = cut_targets(targets, Window(top=0, left=2, height=4, width=5))
    >>> seen.boxes.tolist(), seen.labels.tolist()
    ([[0.0, 0.0, 5.0, 4.0]], [0])
    """
    origin = targets.boxes.new_tensor([window.left, window.top])
    whole = targets.boxes - origin.repeat(2)
    boxes = clip_boxes(whole, (window.height, window.width))
    seen = _wide_enough(boxes)  # before the masks, which are what costs time
    targets, whole, boxes = _select(targets, seen), whole[seen], boxes[seen]
    share = box_areas(boxes) / box_areas(whole)
    masks = None
    if targets.masks is not None:
        masks = look_through(targets.masks, window, False)
        tight, share = _follow_masks(boxes, share, targets.masks, masks)
        boxes = tight if boxes_from_masks else boxes
    keypoints = None if targets.keypoints is None else targets.keypoints - origin
    left_over = replace(
        targets,
        boxes=boxes,
        image_size=(window.height, window.width),
        areas=None if targets.areas is None else targets.areas * share,
        masks=masks,
        keypoints=keypoints,
        visibility=_hide_outside(keypoints, targets.visibility, window),
    )
    enough = targets.ignored | (share >= min_share)
    return _select(left_over, _wide_enough(boxes) & (share > 0) & enough)


def mirror(
    picture: Tensor, targets: Targets, pairs: Sequence[tuple[int, int]] | None, *, upside_down: bool = False
) -> tuple[Tensor, Targets]:
    """Both mirrored left to right, or top to bottom; no object is lost.

    A mirrored left hand looks like a right hand, whichever the axis: `pairs` names the keypoints that change
    places. ValueError where there are keypoints and `pairs` is None.

    >>> box, label, ignored = torch.tensor([[1.0, 0.0, 3.0, 2.0]]), torch.tensor([0]), torch.tensor([False])
    >>> targets = Targets(box, label, (4, 10), ignored)
    >>> mirror(torch.zeros(3, 4, 10, dtype=torch.uint8), targets, None)[1].boxes.tolist()
    [[7.0, 0.0, 9.0, 2.0]]
    """
    height, width = frame_of(picture, targets)
    axis, side = (1, height) if upside_down else (0, width)
    boxes = targets.boxes.clone()
    boxes[:, axis], boxes[:, axis + 2] = side - targets.boxes[:, axis + 2], side - targets.boxes[:, axis]
    keypoints, visibility = targets.keypoints, targets.visibility
    if keypoints is not None:
        order = _swapped(pairs, keypoints.shape[1])
        keypoints = keypoints[:, order]
        keypoints[..., axis] = side - keypoints[..., axis]
        visibility = None if visibility is None else visibility[:, order]
    masks = None if targets.masks is None else targets.masks.flip(-1 - axis)
    moved = replace(targets, boxes=boxes, masks=masks, keypoints=keypoints, visibility=visibility)
    return picture.flip(-1 - axis), moved


def cover_targets(targets: Targets, covered: Bool[Tensor, "h w"], min_share: float) -> Targets:
    """The objects that can still be seen where something was put over the `covered` pixels of their picture.

    Masks lose what is covered, and their boxes shrink around the rest. Boxes without a mask keep their edges:
    nobody knows which part of them the object fills. Objects of which less than `min_share` is seen (mask
    pixels, else the box's pixels by their centres) are dropped, ignored regions never. `areas` shrink with the
    share that is seen; labelled keypoints on covered pixels become hidden (1).

    >>> boxes = torch.tensor([[0.0, 0.0, 4.0, 2.0], [6.0, 0.0, 8.0, 2.0]])
    >>> targets = Targets(boxes, torch.tensor([0, 1]), (2, 8), torch.tensor([False, False]))
    >>> covered = torch.zeros(2, 8, dtype=torch.bool)
    >>> covered[:, 3:8] = True
    >>> cover_targets(targets, covered, min_share=0.3).boxes.tolist()
    [[0.0, 0.0, 4.0, 2.0]]
    """
    if not len(targets) or not covered.any():
        return targets
    share = _uncovered_share(targets.boxes, covered)
    boxes, masks = targets.boxes, targets.masks
    if masks is not None:
        masks = masks & ~covered
        boxes, share = _follow_masks(boxes, share, targets.masks, masks)
    seen = replace(
        targets,
        boxes=boxes,
        masks=masks,
        areas=None if targets.areas is None else targets.areas * share,
        visibility=_hide_covered(targets, covered),
    )
    enough = _wide_enough(boxes) & (share > 0) & (share >= min_share)
    return _select(seen, targets.ignored | (share == 1) | enough)


def join_targets(parts: Sequence[Targets]) -> Targets:
    """All objects of `parts`, which share one frame, under the image id and file of the first.

    ValueError where some of the parts carry masks (areas, keypoints) and others do not.

    >>> box, label, ignored = torch.tensor([[1.0, 0.0, 3.0, 2.0]]), torch.tensor([4]), torch.tensor([False])
    >>> targets = Targets(box, label, (4, 10), ignored)
    >>> join_targets([Targets.empty((4, 10)), targets, targets]).labels.tolist()
    [4, 4]
    """
    with_objects = [part for part in parts if len(part)] or parts[:1]
    joined: dict[str, Tensor] = {}
    for name in (f.name for f in fields(Targets)):
        values = [getattr(part, name) for part in with_objects]
        lacking = [part.image_id for part, value in zip(with_objects, values, strict=True) if value is None]
        if any(isinstance(value, Tensor) for value in values):
            if lacking:
                raise ValueError(
                    f"pictures joined into one must all carry {name}; image {lacking[0]} has none"
                )
            joined[name] = torch.cat(values)
    return replace(with_objects[0], **joined, image_id=parts[0].image_id, file=parts[0].file)


def _select(targets: Targets, kept: Bool[Tensor, " n"]) -> Targets:
    return targets if bool(kept.all()) else targets[kept]  # indexing copies the masks


def _wide_enough(boxes: Float[Tensor, "n 4"]) -> Bool[Tensor, " n"]:
    return ((boxes[:, 2:] - boxes[:, :2]) >= MIN_SIDE).all(1)


def _resize_masks(masks: Bool[Tensor, "n h w"], height: int, width: int) -> Bool[Tensor, "n h2 w2"]:
    # "nearest" of torch picks the corner of each pixel and so moves masks by up to half a pixel against
    # boxes and picture; "nearest exact" picks the centre
    resized = interpolate(masks.view(torch.uint8)[:, None], (height, width), mode="nearest-exact")
    return resized[:, 0].view(torch.bool)


def _follow_masks(
    boxes: Float[Tensor, "n 4"],
    share: Float[Tensor, " n"],
    before: Bool[Tensor, "n h w"],
    after: Bool[Tensor, "n h2 w2"],
) -> tuple[Float[Tensor, "n 4"], Float[Tensor, " n"]]:
    """Boxes around what is left of cut masks, and the share of their pixels that is left.

    Whole objects, and those that had no mask pixel to begin with, keep both.
    """
    cut = (share < 1).nonzero().flatten()
    pixels = before[cut].flatten(1).sum(1)
    cut, pixels = cut[pixels > 0], pixels[pixels > 0]
    boxes, share = boxes.clone(), share.clone()
    left = after[cut]
    share[cut] = left.flatten(1).sum(1) / pixels
    tight = _mask_boxes(left).to(boxes.dtype)
    boxes[cut, :2] = torch.maximum(boxes[cut, :2], tight[:, :2])
    boxes[cut, 2:] = torch.minimum(boxes[cut, 2:], tight[:, 2:])
    return boxes, share


def _mask_boxes(masks: Bool[Tensor, "n h w"]) -> Float[Tensor, "n 4"]:
    """The box around the pixels of each mask; the whole frame where there are none."""
    height, width = masks.shape[1:]
    if len(masks) == 0:
        return torch.zeros(0, 4)
    columns, rows = masks.view(torch.uint8).amax(1), masks.view(torch.uint8).amax(2)
    first = [columns.argmax(1), rows.argmax(1)]
    last = [width - columns.flip(1).argmax(1), height - rows.flip(1).argmax(1)]
    return torch.stack(first + last, 1).float()


def _hide_outside(
    keypoints: Float[Tensor, "n k 2"] | None, visibility: Tensor | None, window: Window
) -> Tensor | None:
    if keypoints is None or visibility is None:
        return visibility
    outside = ((keypoints < 0) | (keypoints > keypoints.new_tensor([window.width, window.height]))).any(-1)
    return visibility.masked_fill(outside, 0)


def _uncovered_share(boxes: Float[Tensor, "n 4"], covered: Bool[Tensor, "h w"]) -> Float[Tensor, " n"]:
    """Of the pixels with their centre in each box, those that are not covered; 1 for a box without any."""
    share = boxes.new_ones(len(boxes))
    edges = (boxes - 0.5).ceil().long().clamp(min=0)
    for number, (x1, y1, x2, y2) in enumerate(edges.tolist()):
        pixels = covered[y1:y2, x1:x2]
        if pixels.numel():
            share[number] = 1 - int(pixels.count_nonzero()) / pixels.numel()
    return share


def _hide_covered(targets: Targets, covered: Bool[Tensor, "h w"]) -> Tensor | None:
    if targets.keypoints is None or targets.visibility is None:
        return targets.visibility
    height, width = covered.shape
    columns, rows = targets.keypoints.floor().long().unbind(-1)
    inside = (columns >= 0) & (columns < width) & (rows >= 0) & (rows < height)
    hidden = inside & covered[rows.clamp(0, height - 1), columns.clamp(0, width - 1)]
    return torch.where(hidden, targets.visibility.clamp(max=1), targets.visibility)


def _swapped(pairs: Sequence[tuple[int, int]] | None, num_keypoints: int) -> list[int]:
    """The order of the keypoints after a flip."""
    if pairs is None:
        raise ValueError(
            "flipping keypoints needs to know which change places, e.g. left and right eye: give the flip"
            " pairs=((1, 2), …), or pairs=() where none do"
        )
    order = list(range(num_keypoints))
    for a, b in pairs:
        if max(a, b) >= num_keypoints:
            raise ValueError(
                f"flip pair {(a, b)} names a keypoint that is not there: objects have {num_keypoints}"
            )
        order[a], order[b] = b, a
    return order
