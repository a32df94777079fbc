"""What becomes of masks in formats that cannot hold all of them: counted and carried out."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from pagoda.data.table.annotations import Annotations
from pagoda.data.table.masks import NO_PIXELS, PackedMasks
from pagoda.data.writing.contents import Contents
from pagoda.data.writing.holding import CLOSE, FormatName
from pagoda.data.writing.mask_outlines import (
    cut,
    draws_alike,
    joined_alike,
    pixel_outlines,
    shares_of,
    without_holes,
)
from pagoda.data.writing.naming import Counted
from pagoda.ops.rle import decode_masks, draw_polygons, encode_masks, mask_areas, mask_boxes
from pagoda.plain import checked

Shape = tuple[list[list[float]], str]
"""the polygons of an object, or its run lengths"""
Size = tuple[int, int]


@checked
def drop_masks(contents: Contents, name: FormatName) -> Counted:
    """All of them in VOC; in YOLO where there are keypoints."""
    if name == "yolo" and all(table.keypoints is None for table in contents.splits.values()):
        return 0, contents
    known = [table.masks.is_known for table in contents.splits.values() if table.masks is not None]
    return sum(int(each.sum()) for each in known), contents.changed(lambda table: replace(table, masks=None))


@checked
def drop_empty(table: Annotations, name: FormatName) -> tuple[int, Annotations]:
    """Run lengths without a pixel. Of polygons the outline counts, whatever pixels it meets."""

    def change(shape: Shape, size: Size) -> Shape:
        _, text = shape
        return ([], NO_PIXELS) if text and not mask_areas([text], size)[0] else shape

    return _each(table, change)


@checked
def fill_holes(table: Annotations, name: FormatName) -> tuple[int, Annotations]:
    """Masks lose their holes, which no outline can say: those of run lengths, and those between parts that overlap, so
    that only the outline of all of them is one."""

    def change(shape: Shape, size: Size) -> Shape:
        polygons, text = shape
        parts = [part for part in (cut(polygon, size) for polygon in polygons) if _has_area(part)]
        if not text and (len(parts) < 2 or draws_alike(parts, size)):
            return shape
        mask = decode_masks([text or draw_polygons(polygons, size)], size)[0]
        filled = without_holes(mask)
        if (filled == mask).all():
            return shape
        return ([], encode_masks(filled[None])[0]) if text else (pixel_outlines(filled), NO_PIXELS)

    return _each(table, change)


@checked
def trace_pixels(table: Annotations, name: FormatName) -> tuple[int, Annotations]:
    """Run lengths become outlines around their pixels."""

    def change(shape: Shape, size: Size) -> Shape:
        _, text = shape
        return (pixel_outlines(decode_masks([text], size)[0]), NO_PIXELS) if text else shape

    return _each(table, change)


@checked
def cut_outlines(table: Annotations, name: FormatName) -> tuple[int, Annotations]:
    """What of a polygon has no area within the picture goes."""

    def change(shape: Shape, size: Size) -> Shape:
        polygons, text = shape
        limits = np.array(size[::-1], np.float64)
        points = [np.reshape(polygon, (-1, 2)) for polygon in polygons]
        if all(((each >= -CLOSE) & (each <= limits + CLOSE)).all() for each in points):
            return shape
        parts = [part for part in (cut(polygon, size) for polygon in polygons) if _has_area(part)]
        return parts, text

    return _each(table, change)


def _has_area(polygon: list[float]) -> bool:
    return len(polygon) >= 6 and bool((np.ptp(np.reshape(polygon, (-1, 2)), axis=0) > CLOSE).all())


@checked
def join_parts(table: Annotations, name: FormatName) -> tuple[int, Annotations]:
    """Several outlines of a mask become one, joined by lines there and back."""

    def change(shape: Shape, size: Size) -> Shape:
        polygons, text = shape
        return ([joined_alike(polygons, size)], text) if len(polygons) > 1 else shape

    return _each(table, change)


@checked
def round_shares(table: Annotations, name: FormatName) -> tuple[int, Annotations]:
    """Outlines as their shares give them again; only where other pixels are drawn does that count."""
    if table.masks is None:
        return 0, table
    owners, count, polygons = table.owners, 0, []
    for row, owner in enumerate(owners.tolist()):
        height, width = table.sizes[owner].tolist()
        before = [polygon.tolist() for polygon in table.masks.polygons(row)]
        after = [
            (shares_of(np.array(polygon), (height, width)) * (width, height)).ravel().tolist()
            for polygon in before
        ]
        polygons.append(after)
        if after != before:
            count += draw_polygons(after, (height, width)) != draw_polygons(before, (height, width))
    masks = PackedMasks.pack(polygons, [NO_PIXELS] * len(polygons))
    return count, replace(table, masks=masks)


@checked
def box_outlines(table: Annotations, name: FormatName) -> tuple[int, Annotations]:
    """Boxes around the masks of objects that have one, as readers make them of outlines and of pixels."""
    if table.masks is None:
        return 0, table
    boxes, owners = table.boxes_xywh.copy(), table.owners
    for row in np.flatnonzero(table.masks.is_known).tolist():
        polygons = table.masks.polygons(row)
        if polygons:
            points = np.concatenate(polygons).reshape(-1, 2)
            boxes[row] = [*points.min(0), *np.ptp(points, axis=0)]
        else:
            height, width = table.sizes[owners[row]].tolist()
            boxes[row] = mask_boxes([table.masks.run_lengths[row]], (height, width))[0]
    differs = (np.abs(boxes - table.boxes_xywh) > CLOSE).any(1)
    return int(differs.sum()), replace(table, boxes_xywh=boxes)


def _each(table: Annotations, change: Callable[[Shape, Size], Shape]) -> tuple[int, Annotations]:
    """How many masks a change is for, and the table with all of them changed."""
    if table.masks is None:
        return 0, table
    shapes, count, owners = [], 0, table.owners
    for row, owner in enumerate(owners.tolist()):
        height, width = table.sizes[owner].tolist()
        polygons = [polygon.tolist() for polygon in table.masks.polygons(row)]
        before = polygons, table.masks.run_lengths[row]
        after = change(before, (height, width))
        count += after is not before
        shapes.append(after)
    if not count:
        return 0, table
    masks = PackedMasks.pack([polygons for polygons, _ in shapes], [text for _, text in shapes])
    return count, replace(table, masks=masks if masks.is_known.any() else None)
