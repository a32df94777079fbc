"""What COCO annotations hold beyond boxes: polygons, run lengths, keypoints and their skeleton."""

import math
from collections.abc import Sequence

import numpy as np

from pagoda.data.reading.category_ids import complain_of_trimming
from pagoda.data.reading.complaints import Complaints
from pagoda.data.reading.outlines import enclosing
from pagoda.data.table.assembly import NO_SIZE
from pagoda.data.table.keypoints import PackedKeypoints
from pagoda.data.table.masks import NO_PIXELS, PackedMasks
from pagoda.files.text import as_name, as_number, as_whole
from pagoda.messages import counted
from pagoda.ops.rle import check_polygons, check_run_lengths, mask_boxes
from pagoda.plain import JsonObject
from pagoda.structures.skeleton import Skeleton, known_skeleton


def read_masks(
    entries: Sequence[dict], sizes: Sequence[tuple[int, int]], source: str, complaints: Complaints
) -> PackedMasks | None:
    """The masks of all annotations, None where none has one; `sizes`: (height, width) of each one's picture.

    Nothing, an empty list, text or object is no mask. Polygons of fewer than three points are left out.

    >>> entries = [{"segmentation": [[0, 0, 2, 0, 2, 2]]}, {}]
    >>> read_masks(entries, [(4, 6), (4, 6)], "here", Complaints()).is_known.tolist()
    [True, False]
    """
    polygons: list[list[list[float]]] = []
    texts: list[str] = []
    for entry, size in zip(entries, sizes, strict=True):
        try:
            parts, text, num_short, way = _mask_of(entry.get("segmentation"), size)
        except ValueError as error:
            complaints.add("malformed_masks", f"{_place(entry, source)}: {error}")
            parts, text, num_short, way = [], NO_PIXELS, 0, ""
        if way:
            complaints.add("read_otherwise", f"{_place(entry, source)}: segmentation is {way}")
        if num_short:
            complaints.add("short_polygons", _too_few_points(entry, num_short, len(parts), source))
        polygons.append(parts)
        texts.append(text)
    masks = PackedMasks.pack(polygons, texts)
    return masks if masks.is_known.any() else None


def _mask_of(segmentation: object, size: tuple[int, int]) -> tuple[list[list[float]], str, int, str]:
    """(polygons, run lengths, polygons left out as too short, how the list was read) of one object.

    Raises ValueError for what is neither.
    """
    if isinstance(segmentation, list):
        written, way = _as_polygons(segmentation)
        parts = check_polygons(written)
        return parts, NO_PIXELS, len(written) - len(parts), way
    if segmentation or isinstance(segmentation, int | float):
        return [], check_run_lengths(segmentation, size if size != NO_SIZE else None), 0, ""
    return [], NO_PIXELS, 0, ""


def _as_polygons(segmentation: list) -> tuple[list, str]:
    """COCO's list of polygons [x1, y1, x2, y2, …], and how another list was read; unchanged where nothing tells.

    >>> _as_polygons([0, 0, 4, 0, 4, 4]), _as_polygons([[0, 0], [4, 0], [4, 4]])[0]
    (([[0, 0, 4, 0, 4, 4]], 'a flat list, read as one polygon'), [[0, 0, 4, 0, 4, 4]])
    """
    first = segmentation[0] if segmentation else None
    if first is None or (isinstance(first, list) and len(first) > 2 and not isinstance(first[0], list)):
        return segmentation, ""
    if not any(isinstance(value, list | dict) for value in segmentation):
        return [segmentation], "a flat list, read as one polygon"
    if len(segmentation) > 2 and all(map(_is_point, segmentation)):
        return [[value for point in segmentation for value in point]], "a list of points, read as one polygon"
    if all(isinstance(part, list) and part and all(map(_is_point, part)) for part in segmentation):
        parts = [[value for point in part for value in point] for part in segmentation]
        return parts, "lists of points, each read as one polygon"
    return segmentation, ""


def _is_point(value: object) -> bool:
    return isinstance(value, list) and len(value) == 2 and not any(isinstance(each, list) for each in value)


def box_of_mask(segmentation: object, size: tuple[int, int]) -> list[float] | None:
    """x, y, width, height around polygons or run lengths of a picture of `size`, (height, width).

    None where there are none that can be read.

    >>> box_of_mask([[1, 2, 4, 2, 4, 6]], (9, 9)), box_of_mask({"size": [2, 2], "counts": [0, 2, 2]}, (2, 2))
    ([1.0, 2.0, 3.0, 4.0], [0.0, 0.0, 1.0, 2.0])
    """
    try:
        polygons, text, _, _ = _mask_of(segmentation, size)
    except ValueError:
        return None
    if polygons:
        return enclosing(np.concatenate([np.reshape(each, (-1, 2)) for each in polygons]).astype(float))[
            "bbox"
        ]
    return mask_boxes([text], size)[0].tolist() if text and size != NO_SIZE else None


def read_skeleton(
    categories: Sequence[object], entries: Sequence[dict], source: str, complaints: Complaints
) -> Skeleton | None:
    """The one skeleton of all categories that have keypoints; None where there is none, or more than one.

    Sigmas and flip pairs are those of the published skeleton with the same names, unless the category has keys
    `sigmas` and `flip_pairs`. Edges count keypoints from 1. Keypoints that no category names are numbered.

    >>> category = {"name": "hand", "keypoints": ["wrist", "thumb"], "skeleton": [[1, 2]]}
    >>> read_skeleton([category], [], "here", Complaints()).edges
    ((0, 1),)
    """
    with_keypoints = [entry for entry in categories if isinstance(entry, dict) and entry.get("keypoints")]
    name_lists = {_keypoint_names(entry) for entry in with_keypoints}
    if () in name_lists:
        place = "keypoints of a category must be a list of names"
        complaints.add("broken_skeletons", f"{source}: {place}, got {str(with_keypoints)[:100]}")
        return None
    if len(name_lists) > 1:
        listed = ", ".join(f"'{entry.get('name')}' {len(entry['keypoints'])}" for entry in with_keypoints)
        complaints.add(
            "bad_skeletons",
            f"{source}: the categories have different keypoints ({listed}); keypoints are read only where all"
            " categories share one list, so they are left out",
        )
        return None
    if not with_keypoints:
        return _numbered(entries, source, complaints)
    category = with_keypoints[0]
    names = next(iter(name_lists))
    for written, name in zip(category["keypoints"], names, strict=True):
        complain_of_trimming(written, name, source, complaints)
    known = known_skeleton(names)
    edges = _read_edges(category, len(names), source, complaints)
    plain: JsonObject = {} if known is None else known.to_dict()
    plain |= {key: category[key] for key in ("sigmas", "flip_pairs") if category.get(key) is not None}
    plain |= {"names": names, "edges": plain.get("edges", ()) if edges is None else edges}
    try:
        return Skeleton.from_dict(plain)
    except (ValueError, TypeError, OverflowError) as error:
        complaints.add("broken_skeletons", f"{source}: category '{category.get('name')}': {error}")
        return None


def _keypoint_names(category: dict) -> tuple[str, ...]:
    """The names of a category's keypoints; () where they are no list of names."""
    written = category["keypoints"]
    names = [as_name(name) for name in written] if isinstance(written, list) else []
    return () if None in names else tuple(names)  # type: ignore[arg-type]


def _numbered(entries: Sequence[dict], source: str, complaints: Complaints) -> Skeleton | None:
    lists = [entry["keypoints"] for entry in entries if isinstance(entry.get("keypoints"), list)]
    count = max(map(len, lists), default=0) // 3
    if not count:
        return None
    last = f"point_{count - 1}"
    complaints.add(
        "bad_skeletons", f"{source}: no category names its keypoints; they are called point_0 … {last}"
    )
    return Skeleton(tuple(f"point_{k}" for k in range(count)))


def read_keypoints(
    entries: Sequence[dict], skeleton: Skeleton, source: str, complaints: Complaints
) -> PackedKeypoints | None:
    """The keypoints of all annotations, None where nothing is labelled.

    >>> entries = [{"keypoints": [3, 4, 2, 0, 0, 0]}, {}]
    >>> keypoints = read_keypoints(entries, Skeleton(("wrist", "thumb")), "here", Complaints())
    >>> keypoints.rows.tolist(), keypoints.triples.tolist()
    ([0, -1], [[[3.0, 4.0, 2.0], [0.0, 0.0, 0.0]]])
    """
    rows = [_read_triples(entry, skeleton, source, complaints) for entry in entries]
    keypoints = PackedKeypoints.pack([row if row and any(row) else None for row in rows], len(skeleton))
    return keypoints if len(keypoints.triples) else None


def _read_triples(entry: dict, skeleton: Skeleton, source: str, complaints: Complaints) -> list[float] | None:
    """x, y, visibility, … of one annotation; None where it has none or impossible ones."""
    written = entry.get("keypoints") or None
    if written is None:
        return None
    if not isinstance(written, list) or len(written) != 3 * len(skeleton):
        count = len(written) if isinstance(written, list) else type(written).__name__
        complaints.add(
            "malformed_keypoints",
            f"{_place(entry, source)}: keypoints must be x, y, visibility of each of {len(skeleton)} keypoints,"
            f" {3 * len(skeleton)} numbers, got {count}",
        )
        return None
    values = [value if type(value) is float else as_number(value) for value in written]
    is_sound = None not in values and all(map(math.isfinite, values))  # type: ignore[arg-type]
    if not is_sound or not {0, 1, 2}.issuperset(values[2::3]):
        complaints.add(
            "malformed_keypoints",
            f"{_place(entry, source)}: keypoints must be finite numbers with visibility 0 (not labelled),"
            f" 1 (hidden) or 2 (visible), got {str(written)[:100]}",
        )
        return None
    return values  # type: ignore[return-value]


def _read_edges(category: dict, count: int, source: str, complaints: Complaints) -> list[list[int]] | None:
    """Pairs counted from 0; None where the file has none or impossible ones, which is noted."""
    edges = category.get("skeleton") or None
    if edges is None:
        return None
    pairs = [_as_pair(edge, count) for edge in edges] if isinstance(edges, list) else [None]
    if None not in pairs:
        return pairs  # type: ignore[return-value]
    complaints.add(
        "bad_skeletons",
        f"{source}: the skeleton of category '{category.get('name')}' must join its keypoints 1 … {count},"
        f" got {str(edges)[:100]}; it is left out",
    )
    return None


def _as_pair(edge: object, count: int) -> list[int] | None:
    ends = [as_whole(end) for end in edge] if isinstance(edge, list) else []
    if len(ends) != 2 or None in ends or ends[0] == ends[1]:
        return None
    return [end - 1 for end in ends] if all(1 <= end <= count for end in ends) else None  # type: ignore[operator]


def _too_few_points(entry: dict, left_out: int, kept: int, source: str) -> str:
    rest = "" if kept else ", and with them its whole mask"
    few = counted(
        left_out, "polygon of fewer than three points is", "polygons of fewer than three points are"
    )
    return f"{_place(entry, source)}: {few} left out{rest}"


def _place(entry: dict, source: str) -> str:
    return f"{source}: annotation {entry.get('id')} of image {entry.get('image_id')!r}"
