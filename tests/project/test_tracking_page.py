"""The lines of Python on the page about tracking run, one block after the other."""

import re

import numpy as np
import pytest
import torch

from pagoda.cli.main import VERBS
from pagoda.models import create_model
from pagoda.video.frames import VideoWriter


@pytest.fixture(scope="module")
def page(repository) -> str:
    return (repository / "docs" / "tracking.md").read_text(encoding="utf-8")


@pytest.mark.medium
def test_the_lines_of_python_run(page, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    sizes = {"width": 16, "head_depth": 1, "short_side": 48, "long_side": 64}
    model = create_model("fcos_resnet18_fpn", num_classes=1, **sizes).eval()
    model.postprocess = model.postprocess.with_limits(max_detections=2)
    torch.nn.init.constant_(model.class_head.predict.bias, 2.0)  # untrained, and sure to see something
    pictures = list(np.random.default_rng(0).integers(0, 255, (4, 48, 64, 3), dtype=np.uint8))
    with VideoWriter("street.mp4", frames_per_second=25) as writer:
        for number, picture in enumerate(pictures):
            writer.add(picture, number / 25)
    known = {"model": model, "pictures": pictures}
    blocks = re.findall(r"```python\n(.*?)```", page, flags=re.S)
    assert "pagoda.track" in blocks[0]
    for block in blocks:
        exec(block, known)
    assert known["result"].num_frames == known["tracks"].num_frames == 4
    assert " class_0 " in capsys.readouterr().out and len(known["objects"].track_ids)
    assert {file.name for file in (tmp_path / "DIR").glob("[!.]*")} == {
        "video.mp4",
        "tracks.txt",
        "posetrack18.json",
        "tracks.csv",
    }


def test_what_it_names_exists(page, repository):
    assert set(re.findall(r"^    pagoda (\w+)", page, flags=re.M)) <= set(VERBS)
    targets = re.findall(r"\]\(([^)#]+)\)", page)
    assert targets and all((repository / "docs" / target).is_file() for target in targets)
