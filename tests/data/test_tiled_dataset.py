"""Tiles as a data set: pixels and targets of the same place, read as seldom as promised, and a copy of them on disk."""

import json
import pickle
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from pagoda.data import tiled_dataset
from pagoda.data.dataset import DetectionDataset
from pagoda.data.drawn.synthetic import DrawnShapes
from pagoda.data.formats.reader import open_annotations
from pagoda.data.loading import BatchPlan, Parts
from pagoda.data.saving import write_coco_folder, write_tiles
from pagoda.data.table.annotations import Annotations
from pagoda.data.tiled_dataset import TiledDataset
from pagoda.data.tiles import Tiling, cut_annotations
from pagoda.pictures.read import PictureError, read_picture

SHAPES = DrawnShapes(5, (80, 120), seed=4, max_objects=9)
TILING = Tiling(size=48)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_coco_folder(SHAPES, tmp_path / "whole")
    return tmp_path / "whole"


@pytest.fixture
def tiles(folder: Path) -> TiledDataset:
    return TiledDataset(cut_annotations(open_annotations(folder), TILING))


def test_pixels_and_masks_are_crops_of_the_picture(tiles: TiledDataset) -> None:
    for index in range(len(tiles)):
        left, top, right, bottom = tiles.tiles.windows[index].tolist()
        owner = int(tiles.tiles.owners[index])
        picture, targets = tiles[index]
        whole = SHAPES.targets(owner)
        assert torch.equal(picture, SHAPES.picture(owner)[:, top:bottom, left:right])
        assert targets.image_size == (bottom - top, right - left)
        assert targets.file == f"{owner + 1:06d}.png at {left}, {top}"
        crops = whole.masks[:, top:bottom, left:right]
        assert torch.equal(targets.masks, crops[crops.flatten(1).any(1)])


def test_a_picture_is_read_once_for_the_tiles_that_are_drawn_together(tiles, monkeypatch) -> None:
    monkeypatch.setattr(tiled_dataset, "KEPT_BYTES", 2 * 80 * 120 * 3)
    fresh, read = TiledDataset(tiles.tiles), Counter()
    pixels = fresh.recent.dataset.pixels
    monkeypatch.setattr(fresh.recent.dataset, "pixels", lambda index: read.update([index]) or pixels(index))
    assert fresh.parts.at_once == 2
    drawn = [
        d.index
        for batch in BatchPlan(images=len(fresh), batch_size=4, seed=3, parts=fresh.parts).epoch(1)
        for d in batch
    ]
    assert sorted(drawn) == list(range(len(fresh)))
    for index in drawn:
        fresh[index]
    assert set(read) == set(range(5)) and sum(read.values()) <= 8
    together = [{int(fresh.tiles.owners[k]) for k in drawn[at : at + 6]} for at in range(0, len(drawn), 6)]
    assert any(len(each) == 2 for each in together), "pictures of one block are mixed"


@given(
    owners=st.lists(st.integers(0, 9), min_size=1, max_size=60),
    at_once=st.integers(1, 12),
    seed=st.integers(0, 99),
    wide=st.booleans(),
    data=st.data(),
)
def test_a_plan_of_parts_draws_everything_block_by_block(owners, at_once, seed, wide, data) -> None:
    owners = np.array(owners)
    sizes = np.array([[4, 6]] * len(owners)) if wide else len(owners)
    plan = BatchPlan(
        images=sizes, batch_size=3, seed=seed, parts=Parts(owners, at_once), group_by_aspect=wide
    )
    indices = [draw.index for batch in plan.epoch(2) for draw in batch]
    assert sorted(indices) == list(range(len(owners)))
    order = owners[indices].tolist()
    first_seen = list(dict.fromkeys(order))
    last = {owner: len(order) - 1 - order[::-1].index(owner) for owner in first_seen}
    # When a picture comes for the first time, at most `at_once` are begun and not ended.
    for owner in first_seen:
        start = order.index(owner)
        assert sum(order.index(each) <= start <= last[each] for each in first_seen) <= at_once
    assert plan.epoch(2) == plan.epoch(2) and plan.epoch(2, 1) == plan.epoch(2)[1:]
    batch_size = data.draw(st.sampled_from([1, 2]))
    halves = [
        BatchPlan(
            images=sizes, batch_size=batch_size, seed=seed, parts=Parts(owners, at_once), num_processes=2,
            process_index=rank,
        ).epoch(0)
        for rank in range(2)
    ]  # fmt: skip
    one = BatchPlan(images=sizes, batch_size=2 * batch_size, seed=seed, parts=Parts(owners, at_once)).epoch(0)
    for whole, *parts in zip(one, *halves, strict=True):
        if len(whole) > 1:
            assert [*parts[0], *parts[1]] == whole


def test_a_plan_with_more_at_once_than_pictures_mixes_all() -> None:
    owners = np.arange(40) // 8
    plan = BatchPlan(images=40, batch_size=40, seed=0, parts=Parts(owners, 5))
    (batch,) = plan.epoch(0)
    assert [draw.index for draw in batch] == [
        draw.index for draw in BatchPlan(images=40, batch_size=40, seed=0).epoch(0)[0]
    ]


def test_pixels_do_not_travel_to_other_processes(tiles: TiledDataset) -> None:
    tiles[0]
    before = len(pickle.dumps(tiles))
    again = pickle.loads(pickle.dumps(tiles))
    assert before < 80 * 120 * 3 and torch.equal(again[0][0], tiles[0][0])


def test_a_broken_picture_fails_with_each_of_its_tiles(folder: Path) -> None:
    (folder / "images/train/000002.png").write_bytes(b"no picture")
    tiles = TiledDataset(cut_annotations(open_annotations(folder), TILING))
    of_broken = np.flatnonzero(tiles.tiles.owners == 1)
    for index in of_broken.tolist():
        with pytest.raises(PictureError, match=r"000002\.png"):
            tiles[index]
    assert tiles[0][0].shape == (3, 48, 48)
    Image.new("RGB", (60, 60)).save(folder / "images/train/000003.png")
    with pytest.raises(PictureError, match="60×60"):
        TiledDataset(tiles.tiles)[int(np.flatnonzero(tiles.tiles.owners == 2)[0])]


def columns(table: Annotations) -> list:
    """What a table says of pictures and objects, in plain values; masks as pixels."""
    masks = [
        table.masks.decode(np.arange(*table.offsets[index : index + 2]), tuple(size)).tolist()
        for index, size in enumerate(table.sizes.tolist())
    ]
    named = (table.sizes, table.offsets, table.boxes_xywh, table.labels, table.ignored, table.areas)
    points = table.keypoints.dense(np.arange(len(table.labels)))
    return [*(column.tolist() for column in named), masks, points.tolist(), table.label_map]


def test_a_copy_in_tiles_is_what_was_cut(folder: Path, tmp_path: Path) -> None:
    source = open_annotations(folder)
    copy = write_tiles(source, tmp_path / "tiles", TILING, split="train")
    again = open_annotations(tmp_path / "tiles", "train")
    cut = TiledDataset(cut_annotations(source, TILING))
    assert columns(again) == columns(cut.annotations)
    for index in range(len(cut)):
        left, top = cut.tiles.windows[index, :2].tolist()
        assert again.files[index] == f"{int(cut.tiles.owners[index]) + 1:06d}_{left}_{top}.png"
        assert torch.equal(DetectionDataset(again).picture(index), cut.picture(index))
    entry = json.loads(copy.path.read_text())["images"][1]
    assert entry["tile_of"] == "000001.png" and entry["tile_at"] == cut.tiles.windows[1, :2].tolist()
    assert copy.num_written == len(cut) and copy.num_jpeg == 0 and copy.unread == ()
    assert f"{len(cut)} tiles written; 5 pictures in {len(cut)} tiles of 48×48" in copy.words()
    with pytest.raises(FileExistsError, match="is there already; remove it or choose another split"):
        write_tiles(source, tmp_path / "tiles", TILING, split="train")
    with pytest.raises(ValueError, match="is not inside"):
        write_tiles(source, tmp_path / "tiles", TILING, split="../../../elsewhere")


def test_tiles_of_jpeg_files_are_jpeg_and_told(tmp_path: Path) -> None:
    write_coco_folder(SHAPES, tmp_path / "whole", ending="jpg")
    source = open_annotations(tmp_path / "whole")
    copy = write_tiles(source, tmp_path / "as_source", TILING)
    assert copy.num_jpeg == copy.num_written and "as JPEG of quality 95, which loses a little" in copy.words()
    path = copy.path.parents[1] / "images/train/000001_0_0.jpg"
    exact, written = TiledDataset(copy.tiles).picture(0).numpy(), read_picture(path).transpose(2, 0, 1)
    assert np.abs(exact.astype(int) - written).mean() < 8
    exactly = write_tiles(source, tmp_path / "as_png", TILING, ending="png")
    assert exactly.num_jpeg == 0
    path = exactly.path.parents[1] / "images/train/000001_0_0.png"
    assert np.array_equal(exact, read_picture(path).transpose(2, 0, 1))
    with pytest.raises(ValueError, match="ending must be one of 'source', 'png', 'jpg'"):
        write_tiles(source, tmp_path / "other", TILING, ending="gif")


def test_pictures_that_cannot_be_read_are_left_out_and_told(folder: Path, tmp_path: Path) -> None:
    (folder / "images/train/000002.png").write_bytes(b"no picture")
    copy = write_tiles(open_annotations(folder), tmp_path / "tiles", TILING)
    assert "1 picture could not be read, and their tiles are not there: cannot read" in copy.words()
    again = open_annotations(tmp_path / "tiles")
    assert len(again) == copy.num_written == len(copy.tiles) - int((copy.tiles.owners == 1).sum())
    assert not [file for file in again.files if file.startswith("000002")]
    for path in (folder / "images/train").iterdir():
        path.write_bytes(b"no picture")
    with pytest.raises(PictureError, match="none of the pictures could be read"):
        write_tiles(open_annotations(folder), tmp_path / "none", TILING)


def test_pictures_of_alike_names_get_tiles_of_their_own(tmp_path: Path) -> None:
    files = ["a/x.png", "a_x.png", "A/x.png", "x.jpg", "x.png"]
    root = tmp_path / "whole"
    for number, file in enumerate(files):
        (root / file).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (60, 40), (number, 0, 0)).save(root / file, quality=100)
    shapes = DrawnShapes(5, (40, 60)).annotations
    table = replace(shapes, files=type(shapes.files).pack(files), root=root)
    copy = write_tiles(table, tmp_path / "tiles", Tiling(size=40, overlap=0), ending="png")
    again = open_annotations(tmp_path / "tiles")
    assert len({file.casefold() for file in again.files}) == len(again) == copy.num_written == 10
    reds = [int(DetectionDataset(again).picture(index)[0, 0, 0]) for index in range(10)]
    assert np.abs(np.array(reds) - np.repeat(np.arange(5), 2)).max() <= 1
