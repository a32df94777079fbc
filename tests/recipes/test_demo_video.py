"""The video demonstration leaves what it promises; that it learns is seen by running it."""

import json
from dataclasses import replace

import pytest

from pagoda.cli import demo as command
from pagoda.models import create_model
from pagoda.recipes import demo_video
from pagoda.recipes.demo_video import run_demo_video
from pagoda.tracking.linking import LINKERS
from pagoda.video.frames import VideoSource


@pytest.fixture
def narrow(monkeypatch):
    for name, value in {"width": 16, "head_depth": 1, "short_side": 64, "long_side": 80}.items():
        monkeypatch.setitem(demo_video.OPTIONS, name, value)
    monkeypatch.setattr(demo_video, "create_model", finds_few)


def finds_few(name, **options):
    """Four tubes of twenty proposals: a fresh network says no more with a hundred of a thousand."""
    model = create_model(name, **options)
    rules = model.proposals
    model.proposals = replace(rules, inference=replace(rules.inference, max_proposals=20))
    model.postprocess = model.postprocess.with_limits(max_detections=4)
    return model


@pytest.mark.slow
def test_a_run_a_video_and_the_scores_of_every_linker(narrow, tmp_path, monkeypatch, capsys):
    runs = []

    def short(**chosen):
        runs.append(run_demo_video(**chosen, quiet=True, num_videos=1, num_held_out=1))
        return runs[0]

    monkeypatch.setattr(demo_video, "run_demo_video", short)
    words = ["--video", "--epochs", "1", "--out", str(tmp_path)]
    assert command.main(words) == 1, "nothing is learnt in three steps"
    demo = runs[0]
    left = {path.name for path in demo.run.folder.iterdir()}
    assert {"video.mp4", "following.json", "best.safetensors", "report.html", "config.yaml"} <= left
    frames = list(VideoSource(demo.video))
    assert len(frames) == 24 and frames[0].picture.shape == (384, 480, 3)
    scores = json.loads((demo.run.folder / "following.json").read_text())
    assert tuple(each["linker"] for each in scores) == LINKERS
    assert all({"mAP", "MOTA"} <= set(each["poses"]["metrics"]) for each in scores)
    said = capsys.readouterr().out
    assert "pose mAP" in said and str(demo.video) in said and "AP50 is below 0.6" in said
