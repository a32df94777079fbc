"""What is said of the data before a run: what was left out, what is read in part, what goes black."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pagoda.cli.main import main
from pagoda.data.formats.reader import open_annotations
from pagoda.recipes import training_run
from pagoda.recipes.remarks import data_remarks
from pagoda.training.settings import TrainSettings


def yolo(folder: Path, *names: str, levels: np.ndarray | None = None, **options: object) -> Path:
    (folder / "images").mkdir(parents=True)
    (folder / "labels").mkdir()
    (folder / "classes.txt").write_text("box\n")
    pixels = np.full((32, 32, 3), 90, np.uint8) if levels is None else levels
    for name in names:
        Image.fromarray(pixels).save(folder / "images" / name, **options)
        (folder / "labels" / name).with_suffix(".txt").write_text("0 .5 .5 .4 .4\n")
    return folder


@pytest.fixture
def dark(tmp_path: Path) -> Path:
    return yolo(tmp_path / "data", "1.png", "2.png", levels=np.full((32, 32), 4000, np.uint16))


def test_nothing_is_said_where_all_is_well(tmp_path: Path) -> None:
    assert data_remarks(open_annotations(yolo(tmp_path / "data", "1.png")), tmp_path / "data") == []


def test_greys_that_become_black_are_remarked_with_the_command(dark: Path) -> None:
    (said,) = data_remarks(open_annotations(dark), dark)
    assert "2 pictures of more than 8 bits reach only 4000 of 65535" in said
    assert f"stretch_levels('{dark.as_posix()}', '{dark.as_posix()}-stretched', top=4095)" in said


def test_files_left_out_and_frames_left_out_are_counted(tmp_path: Path) -> None:
    more = {"save_all": True, "append_images": [Image.new("RGB", (32, 32))]}
    data = yolo(tmp_path / "data", "1.gif", "2.gif", **more)
    (data / "images" / "3.heic").touch()
    said = "\n".join(data_remarks(open_annotations(data), data))
    assert "1 file is left out, being no picture that Pillow reads (1 .heic)" in said
    assert "1.gif holds 2 frames or pages, of which the first is read (and 1 like it, of 2 looked at)" in said


def test_many_notes_are_counted(tmp_path: Path) -> None:
    data = yolo(tmp_path / "data", "1.png")
    for number in range(5):
        (data / "labels" / f"lone{number}.txt").touch()
    lines = data_remarks(open_annotations(data), data)
    assert len(lines) == 4 and lines[-1] == f"… and 2 notes more on these data: pagoda doctor {data}"


def test_training_says_so_before_it_begins(dark: Path, monkeypatch, capsys) -> None:
    monkeypatch.setattr(training_run, "train_on", lambda *arguments, **options: None)
    settings = TrainSettings(data=str(dark), val_split="train")
    training_run.train("fcos_resnet18_fpn", settings)
    assert "become nearly black" in capsys.readouterr().err
    training_run.train("fcos_resnet18_fpn", settings, quiet=True)
    assert "become nearly black" not in capsys.readouterr().err


def test_the_doctor_says_so_too(dark: Path, capsys) -> None:
    with pytest.raises(SystemExit):
        main(["doctor", str(dark)])
    assert "dark pictures (2)" in capsys.readouterr().out
