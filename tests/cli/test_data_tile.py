"""pagoda data tile: a data set cut into another one, and told what became of it."""

import json

import numpy as np
import pytest
from PIL import Image

from pagoda.cli.main import main
from pagoda.data.drawn.synthetic import DrawnShapes
from pagoda.data.formats.reader import open_annotations
from pagoda.data.saving import write_coco_folder
from pagoda.data.tiles import Tiling, cut_annotations


def run(*words):
    with pytest.raises(SystemExit) as exit_code:
        main([str(word) for word in words])
    return exit_code.value.code


@pytest.fixture
def folder(tmp_path):
    for split, seed in (("train", 1), ("val", 2)):
        write_coco_folder(DrawnShapes(3, (60, 100), seed=seed), tmp_path / "whole", split=split)
    return tmp_path / "whole"


def test_every_split_is_cut_as_training_would(folder, tmp_path, capsys):
    assert run("data", "tile", folder, tmp_path / "tiles", "--size", 48, "--overlap", 0.25) == 0
    said = capsys.readouterr().out
    for split in ("train", "val"):
        wanted = cut_annotations(open_annotations(folder, split), Tiling(size=48, overlap=0.25))
        assert f"{split}: {len(wanted)} tiles written; {wanted.words()}" in said
        got = open_annotations(tmp_path / "tiles", split)
        np.testing.assert_allclose(got.boxes_xywh, wanted.annotations.boxes_xywh, rtol=0, atol=1e-6)
        assert got.ignored.tolist() == wanted.annotations.ignored.tolist()
        for file, owner, (left, top, right, bottom) in zip(
            got.files, wanted.owners.tolist(), wanted.windows.tolist(), strict=True
        ):
            whole = np.asarray(Image.open(folder / "images" / split / wanted.pictures.files[owner]))
            tile = np.asarray(Image.open(tmp_path / "tiles" / "images" / split / file))
            assert (tile == whole[top:bottom, left:right]).all()


def test_a_dry_run_writes_nothing(folder, tmp_path, capsys):
    assert run("data", "tile", folder, tmp_path / "tiles", "--size", 48, "--splits", "val", "--dry-run") == 0
    assert capsys.readouterr().out.startswith("val: 3 pictures in ")
    assert not (tmp_path / "tiles").exists()


def test_a_damaged_picture_is_told_and_the_others_are_there(folder, tmp_path, capsys):
    (folder / "images/val/000002.png").write_bytes(b"not a picture")
    assert run("data", "tile", folder, tmp_path / "tiles", "--size", 48) == 1
    assert "1 picture could not be read, and their tiles are not there" in capsys.readouterr().out
    names = {file.split("_")[0] for file in open_annotations(tmp_path / "tiles", "val").files}
    assert names == {"000001", "000003"}
    report = json.loads((tmp_path / "tiles" / "losses.json").read_text())
    assert len(report["unread"]) == 1 and "000002.png" in report["unread"][0]
    assert report["splits"]["val"]["written"] == len(open_annotations(tmp_path / "tiles", "val"))
    assert report["tiles"]["size"] == 48 and report["splits"]["train"]["pictures"] == 3


def test_what_is_cut_and_dropped_stands_in_the_report(folder, tmp_path):
    words = ["--size", 30, "--empty-share", 0, "--picture-format", "jpg"]
    assert run("data", "tile", folder, tmp_path / "tiles", *words) == 0
    report = json.loads((tmp_path / "tiles" / "losses.json").read_text())
    told = {loss["what"]: loss["count"] for loss in report["losses"]}
    tiling = Tiling(size=30, empty_share=0)
    cuts = [cut_annotations(open_annotations(folder, split), tiling) for split in ("train", "val")]
    there = sum(map(len, cuts))
    wanted = {"cut": 0, "little_seen": 0, "never_whole": 0, "empty_tiles": 0, "jpeg": there, "ids": there}
    for key, field in (("cut", "cut"), ("little_seen", "ignored"), ("never_whole", "never_whole")):
        wanted[key] = sum(getattr(each.counts, field) for each in cuts)
    wanted["empty_tiles"] = sum(each.counts.left_out for each in cuts)
    assert all(wanted.values())
    assert {key: count for key, count in told.items() if key != "never_learnt"} == wanted
    assert any(loss["text"].endswith("for less than 0.5 of it is seen") for loss in report["losses"])


def test_many_notes_are_cut_short_and_all_in_the_report(tmp_path, capsys):
    """As with the other verbs of `pagoda data`."""
    write_coco_folder(DrawnShapes(8, (60, 100), seed=1), tmp_path / "whole", split="train")
    file = tmp_path / "whole" / "annotations" / "train.json"
    content = json.loads(file.read_text())
    for number, entry in enumerate(content["annotations"][:8]):
        entry["bbox"] = [5000.0 + number, 5.0, 9.0, 9.0]
    file.write_text(json.dumps(content))
    run("data", "tile", tmp_path / "whole", tmp_path / "tiles", "--size", 48)
    printed = [line for line in capsys.readouterr().err.splitlines() if line.startswith("note: ")]
    report = json.loads((tmp_path / "tiles" / "losses.json").read_text())
    assert len(printed) == 6 and printed[-1] == "note: 3 further notes in losses.json"
    assert len(report["notes"]) == 8


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--size", "0"], "size"),
        (["--size", "48", "--overlap", "0.95"], "overlap"),
        (["--size", "48", "--splits", "tset"], "test|train|val"),
    ],
)
def test_what_cannot_be_cut_leaves_nothing_behind(folder, tmp_path, capsys, words, said):
    assert run("data", "tile", folder, tmp_path / "tiles", *words) == 1
    assert any(word in capsys.readouterr().err for word in said.split("|"))
    assert not (tmp_path / "tiles").exists()


def test_what_is_there_is_not_replaced(folder, tmp_path, capsys):
    (tmp_path / "tiles").mkdir()
    (tmp_path / "tiles" / "mine.txt").write_text("mine")
    assert run("data", "tile", folder, tmp_path / "tiles", "--size", 48) == 1
    assert (tmp_path / "tiles" / "mine.txt").read_text() == "mine"
