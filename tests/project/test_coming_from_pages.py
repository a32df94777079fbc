"""The pages for people who come from another program: every line of ours runs, in the order of the page."""

import re
import shlex
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from pagoda.cli.arguments.described import describe_program
from pagoda.cli.main import MODULES, VERBS, main
from pagoda.convert.write_checkpoint import write_for
from pagoda.data.drawn.synthetic import DrawnShapes
from pagoda.data.saving import write_coco_folder
from pagoda.models import create_model
from pagoda.structures.labels import LabelMap

NAMES = ("circle", "square", "triangle")
PAGES = ("detectron2", "mmdetection", "torchvision", "ultralytics")
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", flags=re.M | re.S)
# The same words, for a network that learns and is exported in seconds.
SMALLER = {
    "resnet50": "resnet18",
    "--epochs 12": "--epochs 1",
    "--epochs 24": "--epochs 2",
    "512 512": "64 64",
}
TINY = "--model.width 16 --batch-size 4 --workers 0"
OF_SIDES = "--model.short-side 64 --model.long-side 64"
OF_DENSE = "--model.head-depth 1"
LOADED = 'model = pagoda.load("fcos.pth", label_map=labels)'
SMALLER_INPUT = (LOADED, f"{LOADED}\nmodel.input_spec = type(model.input_spec)(short_side=64, long_side=96)")
THEIRS = {"--cfg-options", "--resume"}
"""flags that a page names and that are another program's, too"""


def blocks(page: str, repository: Path) -> list[tuple[str, str]]:
    text = (repository / "docs" / "coming_from" / f"{page}.md").read_text(encoding="utf-8")
    return BLOCK.findall(text)


def commands_of(language: str, text: str) -> list[str]:
    """What stands behind "$ pagoda " in a block of ours."""
    lines = text.splitlines() if language == "console" else []
    assert all(line.startswith("$ pagoda ") for line in lines)
    return [line.removeprefix("$ pagoda ") for line in lines]


def small(command: str) -> str:
    """The command of a page as it is run here."""
    for word, smaller in SMALLER.items():
        command = command.replace(word, smaller)
    if re.match(r"train \w+\.safetensors", command):
        return f"{command} {OF_SIDES} --batch-size 2"
    model = re.match(r"train (fcos|retinanet|efficientdet)_", command)
    if model is None:
        return command
    sides = "" if model[1] == "efficientdet" else f"{OF_SIDES} {OF_DENSE}"
    return f"{command} {TINY} {sides}"


def run(command: str) -> None:
    """Raises where it fails; `doctor` says by its exit code what is wrong with the data."""
    with pytest.raises(SystemExit) as stop:
        main(shlex.split(command))
    assert not stop.value.code or command.startswith("doctor"), command


@pytest.fixture
def place(tmp_path, monkeypatch) -> Path:
    """What the pages speak of: annotated pictures in two forms, one to look at, and others' checkpoints."""
    monkeypatch.chdir(tmp_path)
    for split, count in (("train", 4), ("val", 2)):
        shapes = DrawnShapes(count, image_size=(64, 64), seed=1, classes=NAMES)
        write_coco_folder(shapes, tmp_path / "DIR", split=split)
        for part in ("images", "labels"):
            Path("yolo", part, split).mkdir(parents=True)
        for number in range(count):
            picture, targets = shapes[number]
            image = Image.fromarray(picture.permute(1, 2, 0).numpy())
            image.save(f"yolo/images/{split}/{number}.png")
            centers = (targets.boxes[:, :2] + targets.boxes[:, 2:]) / 128
            sides = (targets.boxes[:, 2:] - targets.boxes[:, :2]) / 64
            rows = torch.cat([targets.labels[:, None], centers, sides], 1).tolist()
            text = "".join(f"{int(row[0])} {' '.join(map(str, row[1:]))}\n" for row in rows)
            Path(f"yolo/labels/{split}/{number}.txt").write_text(text)
    Path("data.yaml").write_text(f"path: yolo\ntrain: images/train\nval: images/val\nnames: {list(NAMES)}\n")
    Path("names.txt").write_text("\n".join(NAMES))
    Image.fromarray(np.zeros((48, 64, 3), np.uint8)).save("photo.jpg")
    Path("frames").mkdir()
    for number in range(2):
        Image.fromarray(np.full((64, 64, 3), number, np.uint8)).save(f"frames/{number}.png")
    return tmp_path


def checkpoint_of(page: str) -> None:
    """A checkpoint as the program of the page would have written it."""
    torch.manual_seed(0)
    made = {
        "detectron2": ("retinanet_resnet18_fpn.detectron2", "detectron2", "model_final.pth"),
        "mmdetection": ("fcos_resnet18_fpn.mmdet", "mmdet", "epoch_12.pth"),
    }
    if page in made:
        name, program, file = made[page]
        model = create_model(name, label_map=LabelMap.from_names(NAMES), width=16, head_depth=4)
        write_for(model, program, file)


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES)
def test_every_line_runs(page, place, repository):
    """Only what is asked of networks is made smaller; results of the other program are those of ours."""
    checkpoint_of(page)
    found = blocks(page, repository)
    results = re.findall(r"--results (\S+)", str(found))
    scope: dict = {}
    for language, text in found:
        if language == "python":
            exec(compile(text.replace(*SMALLER_INPUT), page, "exec"), scope)
        for command in commands_of(language, text):
            saved = f" --save-results {results[0]}" if results and command.startswith("val runs") else ""
            run(small(command) + saved)


@pytest.fixture(scope="module")
def flags() -> dict[str, set[str]]:
    """{verb: its flags, those of every model among them}"""
    described = describe_program(VERBS, MODULES)["commands"]
    known = {row["command"]: row["options"] for row in described}
    return {verb: {option["flag"] for option in options} for verb, options in known.items()}


@pytest.mark.medium
@pytest.mark.parametrize("page", PAGES)
def test_a_page_shows_ours_beside_theirs(page, repository, flags):
    found = blocks(page, repository)
    assert {"text", "console", "python"} <= {language for language, _ in found}
    commands = [shlex.split(command) for block in found for command in commands_of(*block)]
    assert {"train", "val", "export"} <= {verb for verb, *_ in commands} <= set(VERBS)
    for verb, *words in commands:
        assert {word for word in words if word.startswith("--")} <= flags[verb]
    text = (repository / "docs" / "coming_from" / f"{page}.md").read_text(encoding="utf-8")
    named = {flag for flag in re.findall(r"`(--[a-z][\w.-]*)", re.sub(BLOCK, "", text)) if flag not in THEIRS}
    assert named <= set().union(*flags.values())
