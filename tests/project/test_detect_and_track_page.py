"""The page on Detect-and-Track shows what the commands on it print, and names only what there is."""

import re

import numpy as np
import pytest
import torch

from pagoda.cli.main import VERBS, main
from pagoda.models import create_model
from pagoda.structures.posetrack_skeletons import PERSON_17
from pagoda.video.frames import VideoWriter


@pytest.fixture(scope="module")
def page(repository) -> str:
    return (repository / "docs" / "detect_and_track.md").read_text(encoding="utf-8")


def test_the_table_is_what_the_command_beside_it_prints(page, capsys):
    command = re.search(r"^    pagoda (info \S+\.original .*)$", page, flags=re.M)
    with pytest.raises(SystemExit) as exit_code:
        main(command.group(1).split())
    assert exit_code.value.code == 0
    shown = page[command.end() : page.index("A clip is a tensor of")]
    printed = capsys.readouterr().out
    assert [line.strip() for line in shown.split("\n") if line.strip()] == [
        line.strip() for line in printed.split("\n") if line.strip()
    ]


@pytest.mark.medium
def test_the_lines_of_python_run(page, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (code,) = re.findall(r"```python\n(.*?)```", page, flags=re.S)
    torch.manual_seed(0)
    sizes = {"width": 16, "head_depth": 1, "short_side": 48, "long_side": 64}
    model = create_model("detect_and_track_resnet18_3d", label_map=PERSON_17, **sizes)
    pictures = [np.full((48, 64, 3), 60 * number, np.uint8) for number in range(3)]
    with VideoWriter("video.mp4", frames_per_second=25) as writer:
        for number, picture in enumerate(pictures):
            writer.add(picture, number / 25)
    exec(code, {"model": model, "pictures": pictures})
    assert len(capsys.readouterr().out.splitlines()) == 1 + 3


def test_what_it_names_exists(page, repository):
    assert set(re.findall(r"^    pagoda (\w+)", page, flags=re.M)) <= set(VERBS)
    targets = re.findall(r"\]\(([^)#]+)\)", page)
    assert targets and all((repository / "docs" / target).is_file() for target in targets)
    assert all((repository / file).is_file() for file in re.findall(r"`(benchmarks/\w+\.py)`", page))
