"""What COCO annotations hold beyond boxes: polygons, run lengths, keypoints and their skeleton."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from pagoda.data.packed_keypoints import PackedKeypoints
from pagoda.data.packed_masks import NO_PIXELS, PackedMasks
from pagoda.structures.run_lengths import check_polygons, check_run_lengths
from pagoda.structures.skeleton import Skeleton, known_skeleton


def read_masks(
    entries: Sequence[dict], sizes: Sequence[tuple[int, int]], source: str, notes: list[str]
) -> PackedMasks | None:
    """The masks of all annotations, None where none has one; `sizes`: (height, width) of each one's picture.

    Polygons of fewer than three points are left out and noted. Raises ValueError naming the annotation where a
    segmentation is broken or of a picture of another size.
    """
    polygons: list[list[list[float]]] = []
    texts: list[str] = []
    for entry, size in zip(entries, sizes, strict=True):
        segmentation = entry.get("segmentation")
        parts, text = [], NO_PIXELS
        try:
            if isinstance(segmentation, list):
                parts = check_polygons(segmentation)
                if len(parts) < len(segmentation):
                    notes.append(_too_few_points(entry, len(segmentation) - len(parts), len(parts), source))
            elif segmentation is not None:
                text = check_run_lengths(segmentation, size)
        except ValueError as error:
            raise ValueError(f"{_place(entry, source)}: {error}") from error
        polygons.append(parts)
        texts.append(text)
    masks = PackedMasks.pack(polygons, texts)
    return masks if masks.is_known.any() else None


def read_skeleton(
    categories: Sequence[dict], entries: Sequence[dict], source: str, notes: list[str]
) -> Skeleton | None:
    """The one skeleton of all categories that have keypoints; None where there is none, or more than one.

    Sigmas and flip pairs are those of the published skeleton with the same names, unless the category has keys
    `sigmas` and `flip_pairs`. Edges count keypoints from 1. Keypoints that no category names are numbered.
    """
    with_keypoints = [entry for entry in categories if entry.get("keypoints")]
    name_lists = {tuple(map(str, entry["keypoints"])) for entry in with_keypoints}
    if len(name_lists) > 1:
        listed = ", ".join(f"'{entry['name']}' {len(entry['keypoints'])}" for entry in with_keypoints)
        notes.append(
            f"{source}: the categories have different keypoints ({listed}); keypoints are read only where all"
            " categories share one list, so they are left out"
        )
        return None
    if not with_keypoints:
        count = max((len(entry.get("keypoints") or ()) for entry in entries), default=0) // 3
        if count:
            notes.append(
                f"{source}: no category names its keypoints; they are called point_0 … point_{count - 1}"
            )
        return Skeleton(tuple(f"point_{k}" for k in range(count))) if count else None
    category = with_keypoints[0]
    names = next(iter(name_lists))
    known = known_skeleton(names)
    edges = _read_edges(category, len(names), source, notes)
    plain: dict[str, Any] = {} if known is None else known.to_dict()
    plain |= {key: category[key] for key in ("sigmas", "flip_pairs") if category.get(key) is not None}
    plain |= {"names": names, "edges": plain.get("edges", ()) if edges is None else edges}
    try:
        return Skeleton.from_dict(plain)
    except ValueError as error:
        raise ValueError(f"{source}: category '{category['name']}': {error}") from error


def read_keypoints(entries: Sequence[dict], skeleton: Skeleton, source: str) -> PackedKeypoints | None:
    """The keypoints of all annotations, None where nothing is labelled.

    Raises ValueError naming the annotation where their number or their visibility is impossible.
    """
    values = [entry.get("keypoints") or None for entry in entries]
    for entry, row in zip(entries, values, strict=True):
        if row is not None and (not isinstance(row, list) or len(row) != 3 * len(skeleton)):
            count = len(row) if isinstance(row, list) else type(row).__name__
            raise ValueError(
                f"{_place(entry, source)}: keypoints must be x, y, visibility of each of {len(skeleton)} keypoints,"
                f" {3 * len(skeleton)} numbers, got {count}"
            )
    keypoints = PackedKeypoints.pack([row if row and any(row) else None for row in values], len(skeleton))
    broken = ~np.isfinite(keypoints.triples).all((1, 2)) | ~np.isin(keypoints.triples[..., 2], (0, 1, 2)).all(
        1
    )
    if broken.any():
        row = int(np.flatnonzero(keypoints.rows == broken.argmax())[0])
        raise ValueError(
            f"{_place(entries[row], source)}: keypoints must be finite numbers with visibility 0 (not labelled),"
            f" 1 (hidden) or 2 (visible), got {keypoints.triples[broken.argmax()].tolist()}"
        )
    return keypoints if len(keypoints.triples) else None


def _read_edges(category: dict, count: int, source: str, notes: list[str]) -> list[list[int]] | None:
    """Pairs counted from 0; None where the file has none or impossible ones, which is noted."""
    edges = category.get("skeleton") or None
    if edges is None:
        return None
    if all(len(edge) == 2 and edge[0] != edge[1] and all(1 <= k <= count for k in edge) for edge in edges):
        return [[a - 1, b - 1] for a, b in edges]
    notes.append(
        f"{source}: the skeleton of category '{category['name']}' must join its keypoints 1 … {count}, got {edges};"
        " it is left out"
    )
    return None


def _too_few_points(entry: dict, left_out: int, kept: int, source: str) -> str:
    rest = "" if kept else ", and with them its whole mask"
    return f"{_place(entry, source)}: {left_out} polygons of fewer than three points are left out{rest}"


def _place(entry: dict, source: str) -> str:
    return f"{source}: annotation {entry.get('id')} of image {entry.get('image_id')!r}"
