"""Masks between boxes and pictures: cut out of a picture to learn from, pasted back into one to show.

N objects, R regions, M × M cells of a mask inside its box.
"""

from typing import Literal

import torch
from jaxtyping import Bool, Float, Int, Shaped
from torch import Tensor
from torch.nn.functional import pad

from pagoda.ops.roi import roi_align
from pagoda.plain import checked

PasteRule = Literal["continuous", "whole_pixels"]
"""where the pixels of a picture lie in a box's mask: at their centres, the box as it is (detectron2, mmdet), or in a
box cut to whole pixels after mask and box have grown by a cell on each side (Caffe2, maskrcnn-benchmark,
torchvision)"""
# As many values of pasted probabilities are held at once.
CHUNK = 8_000_000


def crop_masks(
    masks: Shaped[Tensor, "n h w"],
    boxes: Float[Tensor, "r 4"],
    objects: Int[Tensor, " r"],
    *,
    size: int,
    aligned: bool = True,
    binary: bool = True,
) -> Float[Tensor, "r size size"]:
    """What a mask head is to predict for each box of the object it serves: the share covered, (R, size, size).

    `aligned` samples cells at their centres, see `ops.roi.roi_align`. `binary` turns shares of a half and more into 1
    and others into 0 (detectron2, mmdet); torchvision keeps them.

    >>> upper_half = torch.tensor([[[1, 1], [0, 0]]])
    >>> crop_masks(upper_half, torch.tensor([[0., 0., 2., 2.]]), torch.tensor([0]), size=2)
    tensor([[[1., 1.],
             [0., 0.]]])
    """
    found = roi_align(
        masks[:, None].to(boxes.dtype), boxes, objects, resolution=size, stride=1.0, aligned=aligned
    )[:, 0]
    return (found >= 0.5).to(boxes.dtype) if binary else found


@checked
def paste_masks(
    probabilities: Float[Tensor, "n m m"],
    boxes: Float[Tensor, "n 4"],
    image_size: tuple[int, int],
    *,
    rule: PasteRule = "continuous",
    min_probability: float = 0.5,
) -> Bool[Tensor, "n h w"]:
    """True for the pixels of a picture of (height, width) that belong to each object.

    Bilinear interpolation is a product of two matrices for each object, one for rows and one for columns. A pixel
    belongs to the object from `min_probability` on, or above it where `rule` is "whole_pixels".

    >>> paste_masks(torch.ones(1, 2, 2), torch.tensor([[1., 0., 3., 1.]]), (2, 4)).int()
    tensor([[[0, 1, 1, 0],
             [0, 0, 0, 0]]], dtype=torch.int32)
    """
    paste = paste_one_by_one if boxes.device.type == "cpu" else paste_in_parts
    return paste(probabilities, boxes, image_size, rule=rule, min_probability=min_probability)


@checked
def paste_in_parts(
    probabilities: Float[Tensor, "n m m"],
    boxes: Float[Tensor, "n 4"],
    image_size: tuple[int, int],
    *,
    rule: PasteRule,
    min_probability: float,
) -> Bool[Tensor, "n h w"]:
    """`paste_masks` of as many objects together as memory is meant to hold: few calls, for accelerators."""
    height, width = image_size
    pasted = probabilities.new_zeros((len(boxes), height, width), dtype=torch.bool)
    step = max(1, CHUNK // max(1, height * width))
    for first in range(0, len(boxes), step):
        part = slice(first, first + step)
        pasted[part] = paste_together(
            probabilities[part], boxes[part], image_size, rule=rule, min_probability=min_probability
        )
    return pasted


@checked
def paste_one_by_one(
    probabilities: Float[Tensor, "n m m"],
    boxes: Float[Tensor, "n 4"],
    image_size: tuple[int, int],
    *,
    rule: PasteRule,
    min_probability: float,
) -> Bool[Tensor, "n h w"]:
    """`paste_masks` inside each box only: on a processor the pixels count, not the calls."""
    height, width = image_size
    pasted = probabilities.new_zeros((len(boxes), height, width), dtype=torch.bool)
    rows, columns, probabilities, boxes = _pasting_weights(probabilities, boxes, image_size, rule)
    tall, columns = rows @ probabilities, columns.transpose(1, 2)  # (N, H, M), (N, M, W)
    # Masks reach half a cell beyond their boxes, and boxes cut to whole pixels one pixel.
    reach = (boxes[:, 2:] - boxes[:, :2]) / probabilities.shape[-1] + 2
    corners = torch.cat([boxes[:, :2] - reach, boxes[:, 2:] + reach], dim=1)
    frame = corners.new_tensor([width, height, width, height])
    windows = corners.nan_to_num(0.0).clamp(min=0).minimum(frame).long()
    for number, (x1, y1, x2, y2) in enumerate(windows.tolist()):
        values = tall[number, y1:y2] @ columns[number, :, x1:x2]
        pasted[number, y1:y2, x1:x2] = _passes(values, min_probability, rule)
    return pasted


@checked
def paste_together(
    probabilities: Float[Tensor, "n m m"],
    boxes: Float[Tensor, "n 4"],
    image_size: tuple[int, int],
    *,
    rule: PasteRule,
    min_probability: float,
) -> Bool[Tensor, "n h w"]:
    """`paste_masks` of all objects at once, whose pixels must fit into memory as floats; exports."""
    rows, columns, probabilities, _ = _pasting_weights(probabilities, boxes, image_size, rule)
    return _passes(rows @ probabilities @ columns.transpose(1, 2), min_probability, rule)


def join_mask_crops(
    probabilities: Float[Tensor, "n m m"], boxes: Float[Tensor, "n 4"], box: Float[Tensor, "4"]
) -> Float[Tensor, "m m"]:
    """What the masks of an object's parts, each inside its own box, say of the inside of `box` around them all.

    Cells are read at their centres, bilinearly; where parts overlap the surer one counts, where there is none, 0.

    >>> halves = torch.tensor([[0., 0., 2., 4.], [2., 0., 4., 4.]])
    >>> masks = torch.tensor([[[1., 1.], [1., 1.]], [[0., 0.], [1., 1.]]])
    >>> join_mask_crops(masks, halves, torch.tensor([0., 0., 4., 4.]))
    tensor([[1., 0.],
            [1., 1.]])
    """
    cells = probabilities.shape[-1]
    steps = (torch.arange(cells, device=box.device, dtype=box.dtype) + 0.5) / cells
    x, y = box[0] + steps * (box[2] - box[0]), box[1] + steps * (box[3] - box[1])
    rows, columns = (
        _weights_at(at, boxes[:, axis], boxes[:, axis + 2], cells) for axis, at in ((1, y), (0, x))
    )
    return (rows @ probabilities @ columns.transpose(1, 2)).amax(0)


def _weights_at(
    places: Float[Tensor, " side"], start: Float[Tensor, " n"], end: Float[Tensor, " n"], cells: int
) -> Float[Tensor, "n side cells"]:
    """How much each cell between `start` and `end` counts at places between them; elsewhere none does."""
    place = (places - start[:, None]) / (end - start).clamp(min=1e-6)[:, None] * cells
    inside = (place >= 0) & (place <= cells)
    distance = ((place - 0.5).clamp(0, cells - 1)[..., None] - torch.arange(cells, device=place.device)).abs()
    return (1 - distance).clamp(min=0) * inside[..., None]


def _pasting_weights(
    probabilities: Float[Tensor, "n m m"],
    boxes: Float[Tensor, "n 4"],
    image_size: tuple[int, int],
    rule: PasteRule,
) -> tuple[
    Float[Tensor, "n h cells"],
    Float[Tensor, "n w cells"],
    Float[Tensor, "n cells cells"],
    Float[Tensor, "n 4"],
]:
    """(weights of rows, of columns, the masks and boxes they are for)."""
    height, width = image_size
    if rule == "whole_pixels":
        probabilities, boxes = _grow(probabilities, boxes)
    rows = _axis_weights(boxes[:, 1], boxes[:, 3], height, probabilities.shape[1], rule)
    columns = _axis_weights(boxes[:, 0], boxes[:, 2], width, probabilities.shape[1], rule)
    return rows, columns, probabilities, boxes


def _passes(values: Float[Tensor, "*n"], min_probability: float, rule: PasteRule) -> Bool[Tensor, "*n"]:
    """Whether pixels of these probabilities belong to the object."""
    return values > min_probability if rule == "whole_pixels" else values >= min_probability


def _grow(
    probabilities: Float[Tensor, "n m m"], boxes: Float[Tensor, "n 4"]
) -> tuple[Float[Tensor, "n grown grown"], Float[Tensor, "n 4"]]:
    """A border of zeros one cell wide around each mask, its box enlarged alike and cut to whole pixels."""
    cells = probabilities.shape[-1]
    half = (boxes[:, 2:] - boxes[:, :2]) / 2 * ((cells + 2) / cells)
    center = (boxes[:, :2] + boxes[:, 2:]) / 2
    return pad(probabilities, (1, 1, 1, 1)), torch.cat([center - half, center + half], dim=1).trunc()


def _axis_weights(
    start: Float[Tensor, " n"], end: Float[Tensor, " n"], side: int, cells: int, rule: PasteRule
) -> Float[Tensor, "n side cells"]:
    """How much each cell of a mask counts at every pixel of one axis; a pixel outside has no weight at all."""
    pixel = torch.arange(side, device=start.device, dtype=start.dtype)
    if rule == "continuous":
        place = (pixel + 0.5 - start[:, None]) / (end - start)[:, None] * cells - 0.5
        inside = torch.isfinite(place)
    else:
        length = (end - start + 1).clamp(min=1)[:, None]
        place = (pixel - start[:, None] + 0.5) * (cells / length) - 0.5
        place = place.clamp(0, cells - 1)
        inside = (pixel >= start[:, None]) & (pixel < start[:, None] + length)
    place = torch.where(inside, place, -2.0)  # further than a cell from all
    distance = (place[..., None] - torch.arange(cells, device=start.device, dtype=start.dtype)).abs()
    return (1 - distance).clamp(min=0)
