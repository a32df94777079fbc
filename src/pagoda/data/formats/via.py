"""VGG Image Annotator 2: one JSON of regions per set of pictures, as a whole project or as annotations only."""

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from pagoda.data.reading.coco_document import coco_document
from pagoda.data.reading.outlines import box_corners, ellipse_corners, enclosing
from pagoda.files.text import read_json
from pagoda.plain import JsonObject

ONLY_CLASS = "object"
"""The class of regions without any attribute"""

CLASS_ATTRIBUTE = "class"
"""Chosen where regions have several attributes"""


def via_document(path: Path, every: Sequence[Path], notes: list[str], lost: list[str]) -> JsonObject:
    """One file as a COCO document; the classes are those of `every` file of the data set, sorted.

    Rectangles become boxes; polygons, circles and ellipses boxes and masks. Points and lines, and regions without a
    class, are left out, which `lost` tells. The class is the one attribute that regions have; where they have several,
    the one called "class"; `notes` say which others are not read. Raises ValueError where the class cannot be told, or
    a region is broken.
    """
    contents = {each: _pictures(each) for each in dict.fromkeys((path, *every))}
    attribute = _class_attribute(path, contents, notes)
    classes = {
        _class_of(path, region, attribute)
        for pictures in contents.values()
        for _, regions in pictures
        for region in regions
    }
    names = sorted(name for name in classes if name is not None)
    if not names:
        raise ValueError(f"{path}: no region has a class; there is nothing to detect")
    left_out: Counter[str] = Counter()
    pictures = (
        ({"file_name": picture}, _objects(path, picture, regions, attribute, left_out))
        for picture, regions in contents[path]
    )
    document = coco_document(pictures, names)
    lost += [f"{path}: {what} are no objects and are left out: {count}" for what, count in left_out.items()]
    return document


def _objects(
    path: Path, picture: str, regions: list[JsonObject], attribute: str | None, left_out: Counter[str]
) -> Iterator[tuple[str, JsonObject]]:
    """(class, COCO's bbox and segmentation) of each region of a picture that is an object."""
    for region in regions:
        name, outline = _class_of(path, region, attribute), _outline(path, picture, region)
        if name is not None and outline is not None:
            yield name, outline
            continue
        shape = region["shape_attributes"].get("name")
        kind = (
            "polygons of fewer than three points" if shape == "polygon" else f"regions of the shape {shape}"
        )
        left_out["regions without a class" if outline else kind] += 1


def _pictures(path: Path) -> list[tuple[str, list[JsonObject]]]:
    """(picture, its regions), in the order of the file."""
    content = read_json(path)
    if isinstance(content, dict):
        content = content.get("_via_img_metadata", content)
    pictures = []
    for key, entry in content.items() if isinstance(content, dict) else [("", content)]:
        regions = entry.get("regions", []) if isinstance(entry, dict) else None
        regions = (
            list(regions.values()) if isinstance(regions, dict) else regions
        )  # VIA 1 numbers them in a mapping
        if not isinstance(regions, list) or not isinstance(entry.get("filename"), str):
            raise ValueError(
                f"{path}: each picture needs filename and regions, got {str(entry)[:100]} for '{key}'"
            )
        for region in regions:
            if not isinstance(region, dict) or not isinstance(region.get("shape_attributes"), dict):
                raise ValueError(
                    f"{path}: {entry['filename']}: a region needs shape_attributes, got {str(region)[:100]}"
                )
        pictures.append((entry["filename"], regions))
    return pictures


def _class_attribute(
    path: Path, contents: dict[Path, list[tuple[str, list[JsonObject]]]], notes: list[str]
) -> str | None:
    """The attribute that is the class; None where no region has any."""
    every = [region for pictures in contents.values() for _, regions in pictures for region in regions]
    used = Counter(name for region in every for name in region.get("region_attributes") or {})
    if not used:
        notes.append(f"{path}: no region has an attribute; all are of one class, '{ONLY_CLASS}'")
        return None
    if len(used) == 1:
        return next(iter(used))
    if CLASS_ATTRIBUTE in used:
        others = ", ".join(sorted(set(used) - {CLASS_ATTRIBUTE}))
        notes.append(f"{path}: the class is the attribute '{CLASS_ATTRIBUTE}'; not read: {others}")
        return CLASS_ATTRIBUTE
    raise ValueError(
        f"{path}: regions have several attributes ({', '.join(sorted(used))}) and none is called '{CLASS_ATTRIBUTE}';"
        f" in VIA's attribute editor call the one that is the class '{CLASS_ATTRIBUTE}', or remove the others"
    )


def _class_of(path: Path, region: JsonObject, attribute: str | None) -> str | None:
    """The class of a region, of check boxes the one that is set; None where the attribute is empty."""
    if attribute is None:
        return ONLY_CLASS
    value = (region.get("region_attributes") or {}).get(attribute)
    if isinstance(value, dict):
        chosen = [name for name, is_set in value.items() if is_set]
        if len(chosen) > 1:
            raise ValueError(
                f"{path}: a region has several values of '{attribute}' ({', '.join(chosen)}), but an object has one"
                " class; choose one, or make it a dropdown in VIA"
            )
        value = chosen[0] if chosen else None
    return None if value is None else re.sub(r"\s+", " ", str(value)).strip() or None


def _outline(path: Path, picture: str, region: JsonObject) -> JsonObject | None:
    """COCO's bbox, and segmentation where it is no rectangle; None for points and lines."""
    shape = region["shape_attributes"]
    kind = shape.get("name")
    try:
        if kind == "rect":
            corners = box_corners(*(float(shape[key]) for key in ("x", "y", "width", "height")))
            return {"bbox": enclosing(corners)["bbox"]}
        if kind == "polygon":
            xs, ys = shape["all_points_x"], shape["all_points_y"]
            corners = np.array(list(zip(xs, ys, strict=True)), np.float64).reshape(-1, 2)
            return enclosing(corners) if len(corners) > 2 else None
        if kind in ("circle", "ellipse"):
            radii = (shape["r"],) * 2 if kind == "circle" else (shape["rx"], shape["ry"])
            center = (float(shape["cx"]), float(shape["cy"]))
            return enclosing(
                ellipse_corners(center, (float(radii[0]), float(radii[1])), float(shape.get("theta") or 0))
            )
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path}: {picture}: this {kind} is incomplete: {str(shape)[:150]}") from error
    return None
