"""Pictures cut into tiles, against a twin that cuts object by object and pixel by pixel; and what must always hold."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pagoda.data.drawn.synthetic import DrawnShapes
from pagoda.data.table.annotations import Annotations
from pagoda.data.table.assembly import ImageColumns, ObjectColumns, assemble
from pagoda.data.table.keypoints import PackedKeypoints
from pagoda.data.table.masks import NO_PIXELS, PackedMasks
from pagoda.data.tiles import Tiling, cut_annotations
from pagoda.ops.boxes import tile_windows
from pagoda.ops.rle import encode_masks
from pagoda.structures.labels import LabelMap
from pagoda.structures.skeleton import Skeleton

NAMES = LabelMap(("cat", "dog"), (3, 8), Skeleton(("nose", "tail")))
TILINGS = st.builds(
    Tiling,
    size=st.integers(5, 40),
    overlap=st.sampled_from([0.0, 0.2, 0.5]),
    min_share=st.sampled_from([0.0, 0.3, 0.5, 1.0]),
)


def random_table(seed: int) -> Annotations:
    """Three pictures of boxes within and beyond their borders; masks as run lengths, as polygons or none; keypoints."""
    rng = np.random.default_rng(seed)
    sizes = [(int(rng.integers(4, 40)), int(rng.integers(4, 40))) for _ in range(3)]
    objects = ObjectColumns(areas=[])
    polygons, texts, points = [], [], []
    for owner, (height, width) in enumerate(sizes):
        for _ in range(rng.integers(0, 6)):
            x, y = rng.uniform(-3, width), rng.uniform(-3, height)
            w, h = rng.uniform(0, width), rng.uniform(0, height)
            if rng.random() < 0.5:  # whole pixels, so that borders meet
                x, y, w, h = (float(round(value)) for value in (x, y, w, h))
            objects.add(owner, (x, y, w, h), int(rng.integers(2)), bool(rng.random() < 0.2))
            objects.areas.append(float(rng.uniform(0, 50)))
            kind = rng.integers(3)
            polygons.append([[x, y, x + w, y, x + w / 2, y + h]] if kind == 1 else [])
            texts.append(
                encode_masks(blob(rng, x, y, w, h, (height, width))[None])[0] if kind == 0 else NO_PIXELS
            )
            spots = [rng.uniform(-2, width + 2), rng.uniform(-2, height + 2), float(rng.integers(3))] * 2
            points.append(None if rng.random() < 0.3 else spots)
    objects.masks = PackedMasks.pack(polygons, texts)
    objects.keypoints = PackedKeypoints.pack(points, 2)
    images = ImageColumns([f"{k}.png" for k in range(3)], [11, 5, 7], sizes)
    return assemble(images, objects, label_map=NAMES, root=Path(), source="here")


def blob(rng, x: float, y: float, w: float, h: float, size: tuple[int, int]) -> np.ndarray:
    """Some pixels in and a little around a box; now and then none."""
    mask = np.zeros(size, bool)
    rows, columns = (
        slice(max(int(y), 0), max(int(y + h) + 1, 0)),
        slice(max(int(x), 0), max(int(x + w) + 1, 0)),
    )
    mask[rows, columns] = rng.random(mask[rows, columns].shape) < rng.choice([0.0, 0.3, 1.0])
    return mask


def twin(table: Annotations, index: int, window: list[int], min_share: float) -> list[dict]:
    """What is seen of each object of a picture, one after the other, by pixels where there are some."""
    left, top, right, bottom = window
    height, width = table.sizes[index].tolist()
    seen = []
    for row in range(table.offsets[index], table.offsets[index + 1]):
        x, y, w, h = table.boxes_xywh[row].tolist()
        box = [max(x, 0), max(y, 0), min(x + w, width), min(y + h, height)]
        part = [max(box[0], left), max(box[1], top), min(box[2], right), min(box[3], bottom)]
        if part[2] <= part[0] or part[3] <= part[1]:
            continue
        is_cut, has_mask = part != box, bool(table.masks.is_known[row])
        mask = table.masks.decode(np.array([row]), (height, width))[0]
        crop = mask[top:bottom, left:right]
        share = area(part) / area(box) if is_cut else 1.0
        if is_cut and mask.any():
            share = crop.sum() / mask.sum()
            if not crop.any():
                continue
            ys, xs = np.nonzero(crop)
            part = [
                max(part[0], left + xs.min()), max(part[1], top + ys.min()),
                min(part[2], left + xs.max() + 1), min(part[3], top + ys.max() + 1),
            ]  # fmt: skip
            if part[2] <= part[0] or part[3] <= part[1]:
                continue
        points = []
        for px, py, v in table.keypoints.dense(np.array([row]))[0].tolist():
            inside = left <= px <= right and top <= py <= bottom
            points.append(
                [px - left, py - top, v] if v and inside else [px, py, 0.0] if not v else [0.0, 0.0, 0.0]
            )
        seen.append(
            {
                "box": [part[0] - left, part[1] - top, part[2] - left, part[3] - top] if is_cut
                else [x - left, y - top, x + w - left, y + h - top],
                "label": int(table.labels[row]),
                "ignored": bool(table.ignored[row] or share < min_share),
                "area": float(table.areas[row] * share),
                "mask": crop if has_mask else None,
                "points": points if table.keypoints.rows[row] >= 0 else None,
            }
        )  # fmt: skip
    return seen


def area(box: list[float]) -> float:
    return (box[2] - box[0]) * (box[3] - box[1])


@given(seed=st.integers(0, 10_000), tiling=TILINGS)
@pytest.mark.medium
def test_tiles_against_a_twin_object_by_object(seed: int, tiling: Tiling) -> None:
    table = random_table(seed)
    tiles = cut_annotations(table, tiling)
    cut = tiles.annotations
    number = 0
    for index, size in enumerate(table.sizes.tolist()):
        for window in tile_windows(tuple(size), tiling.size, overlap=tiling.overlap).tolist():
            assert tiles.windows[number].tolist() == window and tiles.owners[number] == index
            assert cut.files[number] == f"{table.files[index]} at {window[0]}, {window[1]}"
            assert cut.image_id(number) == number + 1
            sides = (window[3] - window[1], window[2] - window[0])
            assert tuple(cut.sizes[number].tolist()) == sides
            rows = range(cut.offsets[number], cut.offsets[number + 1])
            expected = twin(table, index, window, tiling.min_share)
            assert len(rows) == len(expected)
            for row, want in zip(rows, expected, strict=True):
                np.testing.assert_allclose(cut.boxes[row], want["box"], atol=1e-9)
                assert cut.labels[row] == want["label"] and cut.ignored[row] == want["ignored"]
                np.testing.assert_allclose(cut.areas[row], want["area"])
                assert cut.masks.is_known[row] == (want["mask"] is not None)
                if want["mask"] is not None:
                    assert np.array_equal(cut.masks.decode(np.array([row]), sides)[0], want["mask"])
                assert (cut.keypoints.rows[row] >= 0) == (want["points"] is not None)
                if want["points"] is not None:
                    np.testing.assert_allclose(cut.keypoints.dense(np.array([row]))[0], want["points"])
            number += 1
    assert len(tiles) == len(cut) == number


@given(seed=st.integers(0, 1000), overlap=st.sampled_from([0.0, 0.2, 0.5]))
def test_what_fits_into_the_overlap_is_whole_somewhere(seed: int, overlap: float) -> None:
    rng = np.random.default_rng(seed)
    tile = 20
    objects, side = ObjectColumns(), overlap * tile
    for _ in range(30):
        w, h = rng.uniform(0.01, max(side, 0.02), 2)
        objects.add(0, (rng.uniform(0, 90 - w), rng.uniform(0, 70 - h), w, h), 0, False)
    fits = np.array([max(w, h) <= side for _, _, w, h in objects.boxes_xywh])
    table = assemble(
        ImageColumns(["a.png"], [1], [(70, 90)]), objects, label_map=NAMES, root=Path(), source="here"
    )
    whole_of = twin_whole(table, tile, overlap)
    assert whole_of[fits].all()
    counts = cut_annotations(table, Tiling(size=tile, overlap=overlap)).counts
    assert counts.never_whole == int((~whole_of).sum())


def twin_whole(table: Annotations, tile: int, overlap: float) -> np.ndarray:
    windows = tile_windows((70, 90), tile, overlap=overlap)
    boxes = table.boxes
    inside = (boxes[:, None, :2] >= windows[None, :, :2]) & (boxes[:, None, 2:] <= windows[None, :, 2:])
    return inside.all(2).any(1)


@given(seed=st.integers(0, 1000))
def test_a_tile_larger_than_every_picture_changes_nothing(seed: int) -> None:
    table = random_table(seed)
    tiles = cut_annotations(table, Tiling(size=40))
    assert not tiles.is_cut and tiles.counts.cut == tiles.counts.ignored == tiles.counts.never_whole == 0
    for index in range(len(table)):
        before, after = table.targets(index), tiles.annotations.targets(index)
        for name in ("boxes", "labels", "ignored", "areas", "masks", "keypoints", "visibility"):
            assert np.array_equal(getattr(before, name), getattr(after, name)), name


@given(seed=st.integers(0, 1000), tiling=TILINGS)
def test_counts_add_up(seed: int, tiling: Tiling) -> None:
    table = random_table(seed)
    tiles = cut_annotations(table, tiling)
    counts, cut = tiles.counts, tiles.annotations
    assert counts.whole + counts.cut == int((~cut.ignored).sum())
    assert counts.tiles == len(tiles) and counts.pictures == 3
    assert counts.objects + counts.crowds <= len(table.labels)
    owners = np.repeat(np.arange(len(cut)), np.diff(cut.offsets))
    assert counts.empty == len(cut) - len(np.unique(owners[~cut.ignored]))
    assert counts.never_learnt <= counts.never_whole <= counts.objects
    assert str(counts.tiles) in tiles.words()


def test_an_object_cut_in_two_is_learnt_where_half_of_it_is_seen() -> None:
    objects = ObjectColumns()
    objects.add(0, (6.0, 0.0, 10.0, 4.0), 1, False)  # 4 of 10 columns left of 10, 6 right of it
    table = assemble(
        ImageColumns(["a.png"], [1], [(4, 20)]), objects, label_map=NAMES, root=Path(), source="here"
    )
    tiles = cut_annotations(table, Tiling(size=10, overlap=0.0))
    left, right = tiles.annotations.targets(0), tiles.annotations.targets(1)
    assert (
        left.boxes.tolist() == [[6, 0, 10, 4]]
        and left.ignored.tolist() == [True]
        and left.areas.tolist() == [16]
    )
    assert (
        right.boxes.tolist() == [[0, 0, 6, 4]]
        and right.ignored.tolist() == [False]
        and right.areas.tolist() == [24]
    )
    told = tiles.words()
    assert "1 object, never whole in a tile, once cut and learnt by what is seen, once ignored" in told
    assert "1 object lies whole in no tile: larger tiles" in told
    strict = cut_annotations(table, Tiling(size=10, overlap=0.0, min_share=0.7))
    assert strict.annotations.ignored.all() and strict.counts.never_learnt == 1
    assert "whole in no tile, and 1 nowhere learnt" in strict.words()


@pytest.mark.parametrize(("share", "kept"), [(0.0, 0), (0.5, 2), (1.0, 4)])
def test_a_share_of_the_empty_tiles_is_kept(share: float, kept: int) -> None:
    objects = ObjectColumns()
    objects.add(0, (2.0, 2.0, 4.0, 4.0), 0, False)
    objects.add(0, (42.0, 2.0, 4.0, 4.0), 0, True)  # a crowd is nothing to learn
    table = assemble(
        ImageColumns(["a.png"], [1], [(10, 50)]), objects, label_map=NAMES, root=Path(), source="here"
    )
    tiles = cut_annotations(table, Tiling(size=10, overlap=0.0, empty_share=share))
    assert len(tiles) == 1 + kept and tiles.counts.empty == 4 and tiles.counts.left_out == 4 - kept
    assert tiles.windows[0].tolist() == [0, 0, 10, 10]
    assert tiles.annotations.sizes.shape == (1 + kept, 2) and len(tiles.owners) == 1 + kept
    assert ("left out" in tiles.words()) == (kept < 4)


def test_only_boxes_keep_the_shares_of_the_masks() -> None:
    tiles = cut_annotations(DrawnShapes(3, (64, 96), seed=3).annotations, Tiling(size=48))
    light = tiles.boxes_only()
    assert light.annotations.masks is None and light.annotations.keypoints is None
    assert np.array_equal(light.annotations.boxes_xywh, tiles.annotations.boxes_xywh)
    assert np.array_equal(light.annotations.ignored, tiles.annotations.ignored)


def test_a_data_set_without_pictures_has_no_tiles() -> None:
    table = assemble(ImageColumns(), ObjectColumns(), label_map=NAMES, root=Path(), source="here")
    assert len(cut_annotations(table, Tiling(size=10))) == 0


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"size": 0}, "size must be at least 1, got 0"),
        ({"size": 9, "overlap": 0.95}, "overlap must be from 0 to 0.9, got 0.95"),
        ({"size": 9, "min_share": 1.5}, "min_share must be from 0 to 1, got 1.5"),
        ({"size": 9, "min_share": float("nan")}, "min_share must be a number"),
        ({"size": 9, "empty_share": -0.1}, "empty_share must be from 0 to 1"),
        ({"size": "640"}, "size must be a whole number, got '640'; that is text: write 640"),
    ],
)
def test_what_cannot_be_cut_is_refused(options: dict, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        Tiling(**options)
