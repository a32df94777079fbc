"""The demonstration on video: people who walk about, found in clips, followed and scored.

Command: pagoda demo --video · two CPU cores, about ten minutes of processor time.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from pagoda.data.clips import ClipDataset
from pagoda.data.drawn.walking import WalkingFigures
from pagoda.data.videos import Video
from pagoda.detectors.contract import Detector
from pagoda.drawing.objects import draw_detections
from pagoda.files.atomic import write_atomically
from pagoda.files.text import json_text
from pagoda.follow.clips import TUBE_MIN_SCORE
from pagoda.follow.score import FollowingResult, detect_video, score_followed
from pagoda.models import create_model
from pagoda.progress import Progress
from pagoda.recipes.training_run import RunResult, train_on
from pagoda.structures.tracks import Tracks
from pagoda.structures.tubes import Tubes
from pagoda.tracking.linking import LINKERS, LinkerName, create_tracker, link
from pagoda.training.settings import AugmentSettings, OptimSettings, TrainSettings
from pagoda.video.frames import VideoWriter

EPOCHS = 3
MODEL = "detect_and_track_resnet18_3d"
OPTIONS = {"width": 48, "head_depth": 2, "short_side": 128, "long_side": 160}
SHOWN: LinkerName = "tubes"
"""the linker whose tracks are drawn"""
FRAMES_PER_SECOND = 12.0
MIN_KEYPOINT_SCORE = 0.2
"""of what is drawn"""


@dataclass(frozen=True)
class VideoDemo:
    """A finished video demonstration: what was trained, how well each linker followed, and a video to watch."""

    run: RunResult
    """the trained model, its folder and its scores picture by picture"""
    following: list[FollowingResult]
    """what each linker made of the held-out videos, in the order of `LINKERS`"""
    video: Path
    """the held-out videos with the tracks of the linker `SHOWN` drawn into them"""


def run_demo_video(
    *,
    epochs: int = EPOCHS,
    seed: int = 0,
    out: str = "runs",
    quiet: bool = False,
    num_videos: int = 48,
    num_held_out: int = 4,
) -> VideoDemo:
    """A narrow Detect-and-Track on 128×160 drawings of walking figures, who cross, hide each other and pass pillars.

    It learns from `num_videos` of 9 frames each, and follows people through `num_held_out` others of 24 frames. The
    run's folder gets video.mp4 and following.json besides the files of every run.
    """
    train_data = ClipDataset(WalkingFigures(num_videos=num_videos, num_frames=9, seed=seed), complete=True)
    val_data = ClipDataset(WalkingFigures(num_videos=3, num_frames=8, seed=seed + 1_000_003))
    held_out = list(WalkingFigures(num_videos=num_held_out, num_frames=24, seed=seed + 2_000_003))
    truths = [video.tracks for video in held_out]
    # The evaluators' packages are missed now and not when all is learnt.
    score_followed(SHOWN, truths, truths, poses=True, boxes=True)
    torch.manual_seed(seed)
    model = create_model(MODEL, label_map=train_data.label_map, **OPTIONS)
    run = train_on(model, train_data, val_data, _demo_settings(epochs, seed, out), quiet=quiet)
    found = _find(run.model, held_out, quiet=quiet)
    trackers = {linker: create_tracker(linker, min_score=TUBE_MIN_SCORE) for linker in LINKERS}
    linked = {
        linker: [link(f, tracker, t.name) for f, t in zip(found, truths, strict=True)]
        for linker, tracker in trackers.items()
    }
    scores = [
        score_followed(linker, truths, tracks, poses=True, boxes=True) for linker, tracks in linked.items()
    ]
    text = json_text([each.to_dict() for each in scores], indent=1)
    write_atomically(run.folder / "following.json", lambda path: path.write_text(text, encoding="utf-8"))
    return VideoDemo(run, scores, _write_video(run.folder / "video.mp4", held_out, linked[SHOWN]))


def _demo_settings(epochs: int, seed: int, out: str) -> TrainSettings:
    """Scored once, at the end: drawings never run out, so there is nothing to stop early for."""
    return TrainSettings(
        data="walking figures",
        epochs=epochs,
        batch_size=4,
        seed=seed,
        name="demo_video",
        out=out,
        val_every=epochs,
        optim=OptimSettings(warmup_steps=30, ema_decay=0.99),
        augment=AugmentSettings(scale_range=(1.0, 1.0)),
    )


def _find(model: Detector, videos: Sequence[Video], *, quiet: bool) -> list[list[Tubes]]:
    """The tubes of every frame of every video, with a bar that tells the time left."""
    with Progress(quiet=quiet) as bar:
        task = bar.task("following", sum(video.tracks.num_frames for video in videos))
        return [detect_video(model, video, progress=lambda _: task(task.done + 1)) for video in videos]


def _write_video(path: Path, videos: Sequence[Video], linked: Sequence[Tracks]) -> Path:
    """All videos one after the other, three times as large, everybody in the colour of his track."""
    number = 0
    with VideoWriter(path, frames_per_second=FRAMES_PER_SECOND) as writer:
        for video, tracks in zip(videos, linked, strict=True):
            followed = tracks.linked()
            for frame in range(video.tracks.num_frames):
                picture = draw_detections(
                    video.picture(frame),
                    followed.at(frame),
                    min_side=384,
                    min_keypoint_score=MIN_KEYPOINT_SCORE,
                )
                writer.add(picture, number / FRAMES_PER_SECOND)
                number += 1
    return path
