"""What time is worth: Detect-and-Track over clips against its twin over single frames, and linkers over its tubes.

python benchmarks/clip_accuracy.py                                  # both parts, one seed
python benchmarks/clip_accuracy.py --seeds 0 1 2 --epochs 8         # mean and spread of the first part
python benchmarks/clip_accuracy.py --parts linkers --checkpoint runs/NAME-1/best.safetensors

Drawn walking figures, 128×160, often hidden: two pillars, and a board before each figure for a tenth of the time.

models   detect_and_track_resnet18_3d (clips of three frames) and _2d (the same network without time), from scratch, the
    same videos, key frames, batch, steps and recipe. Scored on the key frames of held-out videos: COCO's AP of
    boxes and of poses (OKS), and PoseTrack's mAP of all detections from 0.1 on; "hidden" is the mAP over frames in
    which some figure is hidden as a whole.
linkers  one trained 3-D model (the first seed's, or --checkpoint) on held-out videos of figures who cross, and of
    figures who walk in line and nothing hides. "truth" links the annotated figures as if a model had found them:
    what is lost there is the linker's. In line it must be IDF1 100 but for linkers that wait before they begin.
"""

import argparse
import statistics
import tempfile
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch

from pagoda.data.drawn.walking import WalkingFigures
from pagoda.data.tracks.posetrack_joints import to_posetrack_15
from pagoda.detectors.detect_and_track import DetectAndTrack
from pagoda.evaluation.runner import evaluate
from pagoda.evaluation.tracks.posetrack import PoseTrackEvaluator
from pagoda.evaluation.tracks.result import text_columns
from pagoda.follow.clips import TUBE_MIN_SCORE
from pagoda.follow.score import FollowingResult, detect_video, score_followed, summary_table
from pagoda.models import create_model, load
from pagoda.recipes.datasets import dataset_for
from pagoda.recipes.training_run import train_on
from pagoda.structures.tracks import Tracks
from pagoda.structures.tubes import Tubes
from pagoda.tracking.linking import LINKERS, create_tracker, link, link_tracks
from pagoda.training.run_log import read_records
from pagoda.training.settings import AugmentSettings, OptimSettings, TrainSettings

SIDES = (128, 160)
OCCLUDED = {"num_pillars": 2, "hidden_share": 0.1}
SCENES = {
    "crossing": OCCLUDED,
    "in line": {"crossing": False, "num_pillars": 0, "hidden_share": 0.0},
}
MODELS = ("3d", "2d")
HELD_OUT = 1_000_003
"""added to the seed of what is learnt from"""


def main() -> None:
    arguments = read_arguments()
    models: dict[tuple[str, int], DetectAndTrack] = {}
    if "models" in arguments.parts:
        rows = []
        for seed in arguments.seeds:
            for neck in arguments.models:
                models[neck, seed], row = learn(neck, seed, arguments)
                rows.append((neck, row))
                print(f"{neck} seed {seed}: " + ", ".join(f"{k} {v:.1f}" for k, v in row.items()), flush=True)
        print(f"\n{model_table(rows)}")
    if "linkers" in arguments.parts:
        first = arguments.seeds[0]
        model = load(arguments.checkpoint) if arguments.checkpoint else models.get(("3d", first))
        if model is None:
            model, _ = learn("3d", first, arguments)
        assert isinstance(model, DetectAndTrack)
        for name, scene in SCENES.items():
            compare_linkers(model.eval(), name, scene, first, arguments)


def read_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--parts", nargs="+", default=["models", "linkers"], choices=["models", "linkers"])
    parser.add_argument("--models", nargs="+", default=list(MODELS), choices=MODELS)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--width", type=int, default=48)
    parser.add_argument("--head-depth", type=int, default=2)
    parser.add_argument("--batch-size", type=int, default=4)
    parser.add_argument("--train-videos", type=int, default=60, help="of 9 frames, each a key frame")
    parser.add_argument("--test-videos", type=int, default=12)
    parser.add_argument("--test-frames", type=int, default=24)
    parser.add_argument("--precision", default="fp32", choices=["fp32", "bf16"])
    parser.add_argument(
        "--min-score",
        type=float,
        default=TUBE_MIN_SCORE,
        help="from which detections are followed, by all alike",
    )
    parser.add_argument("--checkpoint", default="", help="for the linkers, instead of a training")
    return parser.parse_args()


def learn(neck: str, seed: int, arguments: argparse.Namespace) -> tuple[DetectAndTrack, dict[str, float]]:
    """A trained model, and its scores in percent with the seconds of training."""
    videos = list(WalkingFigures(num_videos=arguments.train_videos, num_frames=9, seed=seed, **OCCLUDED))
    held_out = test_videos(OCCLUDED, seed, arguments)
    torch.manual_seed(seed)
    model = create_model(
        f"detect_and_track_resnet18_{neck}",
        label_map=videos[0].tracks.label_map,
        width=arguments.width,
        head_depth=arguments.head_depth,
        short_side=SIDES[0],
        long_side=SIDES[1],
    )
    assert isinstance(model, DetectAndTrack)
    train, val = dataset_for(model, videos, is_complete=True), dataset_for(model, [held_out[0]])
    with tempfile.TemporaryDirectory() as out:
        run = train_on(model, train, val, settings(seed, out, arguments), quiet=True)
        (seconds,) = [
            row["seconds"] for row in read_records(run.folder / "metrics.jsonl") if row["kind"] == "val"
        ]
    best = run.model
    assert isinstance(best, DetectAndTrack)
    metrics = evaluate(best, dataset_for(best, list(held_out)), batch_size=arguments.batch_size).metrics
    row = {name: 100 * metrics[name] for name in ("AP", "AP50", "keypoints/AP")}
    return best, {**row, **pose_rows(best, held_out), "seconds": seconds}


def settings(seed: int, out: str, arguments: argparse.Namespace) -> TrainSettings:
    """Only the last epoch is scored, and little of it: nothing is chosen by the score."""
    return TrainSettings(
        data="walking figures",
        epochs=arguments.epochs,
        batch_size=arguments.batch_size,
        seed=seed,
        out=out,
        precision=arguments.precision,
        val_every=arguments.epochs,
        optim=OptimSettings(warmup_steps=30, ema_decay=0.99),
        augment=AugmentSettings(scale_range=(1.0, 1.0)),
    )


def test_videos(scene: dict, seed: int, arguments: argparse.Namespace) -> WalkingFigures:
    return WalkingFigures(
        num_videos=arguments.test_videos,
        num_frames=arguments.test_frames,
        seed=seed + HELD_OUT,
        image_size=SIDES,
        **scene,
    )


def pose_rows(model: DetectAndTrack, videos: WalkingFigures) -> dict[str, float]:
    """PoseTrack's mAP over all frames, and over those in which somebody is hidden; nan where there are none."""
    pairs, hiding = [], []
    for number, video in enumerate(videos):
        truth = to_posetrack_15(video.tracks)
        pairs.append((truth, to_posetrack_15(each_alone(detect_video(model, video), truth.name))))
        hiding.append(frames_of_hiding(videos, number))
    some = [
        (replace(truth, labelled_frames=rows), found)
        for (truth, found), rows in zip(pairs, hiding, strict=True)
        if rows.any()
    ]
    return {"pose mAP": pose_map(pairs), "hidden": pose_map(some) if some else float("nan")}


def pose_map(pairs: Sequence[tuple[Tracks, Tracks]]) -> float:
    evaluator = PoseTrackEvaluator()
    for truth, found in pairs:
        evaluator.update(truth, found)
    return evaluator.result().metrics["mAP"]


def each_alone(found: Sequence[Tubes], name: str) -> Tracks:
    """Every detection as a track of its own: mAP does not ask who is who."""
    tracks = Tracks.from_detections((tubes.at(tubes.key) for tubes in found), name)
    return replace(tracks, track_ids=np.arange(len(tracks)))


def frames_of_hiding(videos: WalkingFigures, number: int) -> np.ndarray:
    """(num_frames,) whether somebody is annotated who cannot be seen."""
    annotated, seen = (each.tracks(number).frames for each in (videos, replace(videos, bridged_frames=0)))
    length = videos.num_frames
    return np.bincount(annotated, minlength=length) > np.bincount(seen, minlength=length)


def compare_linkers(
    model: DetectAndTrack, name: str, scene: dict, seed: int, arguments: argparse.Namespace
) -> None:
    """Two tables: what each linker makes of the model's tubes, and of the truth."""
    videos = list(test_videos(scene, seed, arguments))
    found = [detect_video(model, video) for video in videos]
    truths = [video.tracks for video in videos]
    of_model, of_truth = [], []
    for linker in LINKERS:
        tracker = create_tracker(linker, min_score=arguments.min_score)
        linked = [link(f, tracker, t.name) for f, t in zip(found, truths, strict=True)]
        of_model.append(score(linker, truths, linked))
        relinked = [link_tracks(truth, create_tracker(linker)) for truth in truths]
        of_truth.append(score(linker, truths, relinked))
    print(f"\nfigures {name}, detections of the model\n{summary_table(of_model)}")
    print(f"\nfigures {name}, the truth as detections\n{summary_table(of_truth)}")


def score(linker: str, truths: list[Tracks], found: list[Tracks]) -> FollowingResult:
    return score_followed(linker, truths, found, poses=True, boxes=True)


def model_table(rows: list[tuple[str, dict[str, float]]]) -> str:
    """Means over the seeds, with the spread where there are several."""
    names = list(rows[0][1])
    lines = [["model", *names]]
    for neck in dict.fromkeys(neck for neck, _ in rows):
        columns = [[row[name] for each, row in rows if each == neck] for name in names]
        cells = [
            f"{statistics.mean(c):.1f}" + (f" ± {statistics.stdev(c):.1f}" if len(c) > 1 else "")
            for c in columns
        ]
        lines.append([neck, *cells])
    return text_columns(lines)


if __name__ == "__main__":
    main()
