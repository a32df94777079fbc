"""Linkers beside those of trackers 2.6 and boxmot 25: the same detections, one process, one thread.

    python benchmarks/linkers.py --checkpoint runs/demo_video-1/best.safetensors --data SHARED

Six sets: MOTChallenge's TUD-Campus and TUD-Stadtmitte with their public detections (one set), the poses of a PoseTrack
sample, and drawn walkers who cross and hide each other, found by the checkpoint of `pagoda demo --video`: two seeds,
with a camera that stands and one that swings. All linkers start tracks from the same score, and those of others run
with their own numbers besides; the better counts. HOTA is of boxes, on the PoseTrack sample of poses. Packages that
are not installed are left out: pip install trackers==2.6.1 boxmot==25.0.0 (AGPL, for this measurement alone).

"objects per second" counts those linked by update alone, the best of three runs; camera motion of any side is in it.
"relinked" is what `pagoda track --relink` makes of the same links once each video is known to its end.

    python benchmarks/linkers.py --drawn --checkpoint NONE --data SHARED

asks no model about the walkers: what is found is drawn by how much of a figure is seen, boxes and poses a little off.
"""

import logging
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
import tyro

from pagoda.data.drawn.walking import WalkingFigures
from pagoda.data.tracks.files import read_tracks
from pagoda.data.tracks.folders import open_videos
from pagoda.data.tracks.mot import read_mot
from pagoda.data.tracks.posetrack_joints import to_posetrack_15
from pagoda.data.videos import Video
from pagoda.evaluation.tracks.evaluator import TrackEvaluator
from pagoda.evaluation.tracks.posetrack import PoseTrackEvaluator
from pagoda.follow.tuning import FoundVideo, find_videos, tune
from pagoda.models import load
from pagoda.structures.instances import Detections
from pagoda.structures.labels import LabelMap
from pagoda.structures.linker_settings import LinkerSettings
from pagoda.structures.tracks import Tracks
from pagoda.tracking.camera import CameraMotion
from pagoda.tracking.linking import tuned_tracker
from pagoda.tracking.tracker import in_key_frame
from pagoda.tracking.tracklets import Relinker

HELD_OUT = 1_000_003
"""added to the seed of what the checkpoint has learnt from; tuning sees other seeds still"""


@dataclass(frozen=True)
class Benchmark:
    checkpoint: Path
    """of pagoda demo --video"""
    data: Path
    """folder with mot_tud and eval_cases/poseval_bonn"""
    videos: int = 12
    """of walkers in each set"""
    trials: int = 60
    """of tuning"""
    swing: float = 12.0
    """pixels to either side, of the camera"""
    only: tuple[str, ...] = ()
    """sets whose name begins so; default: all"""
    drawn: bool = False
    """of the walkers no model is asked; the camera stands"""
    speed: bool = False
    """nothing but the time of a frame, by the number of objects in it"""


@dataclass(frozen=True)
class Set:
    name: str
    videos: Sequence[FoundVideo]
    pictures: Sequence[Callable[[int], np.ndarray] | None]
    train: Sequence[FoundVideo]
    """to tune on; none: not tuned"""
    min_score: float
    is_pose: bool = False


def main(benchmark: Benchmark) -> None:
    warnings.filterwarnings("ignore")
    logging.disable(logging.WARNING)
    torch.set_num_threads(1)
    if benchmark.speed:
        print("| objects | linker | microseconds per frame |\n|--:|---|--:|")
        for count in (5, 10, 25, 50, 100, 200):
            each = crowd(count)
            for name, run in (*ours(each, 0), *theirs(each)):
                _, speed = run()
                mean = np.mean([len(found) for found in each.videos[0].found])
                print(f"| {count} | {name} | {1e6 * mean / speed:,.0f} |", flush=True)
        return
    for each in sets(benchmark):
        if benchmark.only and not each.name.startswith(benchmark.only):
            continue
        print(f"\n{each.name}: {len(each.videos)} videos, tracks from {each.min_score}\n", flush=True)
        print("| linker | HOTA | IDF1 | switches | objects per second |\n|---|--:|--:|--:|--:|")
        for name, run in (*ours(each, benchmark.trials), *theirs(each)):
            links, speed = run()
            hota, idf1, switches = judged(each, links)
            print(f"| {name} | {hota:.1f} | {idf1} | {switches} | {speed:,.0f} |", flush=True)


def sets(benchmark: Benchmark) -> Iterator[Set]:
    yield from pedestrians(benchmark.data / "mot_tud")
    truths = read_tracks(benchmark.data / "eval_cases/poseval_bonn/gt", is_truth=True)
    found = read_tracks(benchmark.data / "eval_cases/poseval_bonn/pred", truths=truths)
    videos = []
    for truth, each in zip(truths, found, strict=True):
        sized = replace(each, image_size=(576, 1024))
        frames = [replace(sized.at(f), track_ids=None) for f in range(each.num_frames)]
        videos.append(FoundVideo(truth, frames, []))
    yield Set("PoseTrack sample", videos, [None] * len(videos), [], 0.5, is_pose=True)
    if benchmark.drawn:
        for seed in range(4):
            yield drawn_walkers(seed, benchmark.videos)
        return
    model = load(benchmark.checkpoint)
    for seed in (0, 1):
        for swing in (0.0, benchmark.swing):
            name = f"walkers, seed {seed}, camera {'swings' if swing else 'stands'}"
            if benchmark.only and not name.startswith(benchmark.only):
                continue
            videos, train = (
                list(
                    WalkingFigures(
                        num_videos=benchmark.videos, num_frames=24, seed=start + seed, num_pillars=2, hidden_share=0.1,
                        camera_swing=swing,
                    )
                )
                for start in (HELD_OUT, 2 * HELD_OUT)
            )  # fmt: skip
            pictures = [video.picture for video in videos]
            yield Set(name, find_videos(model, videos), pictures, find_videos(model, train), 0.9)


def drawn_walkers(seed: int, videos: int) -> Set:
    """A figure is found with a chance that grows with how much of it is seen: one half at 45 %."""
    walk = WalkingFigures(
        num_videos=videos, num_frames=24, seed=HELD_OUT + seed, num_pillars=2, hidden_share=0.1
    )
    rng, found = np.random.default_rng(seed), []
    for number, video in enumerate(walk):
        truth, shares = video.tracks, walk.shares_seen(number)
        chance = 0.97 / (1 + np.exp(-14 * (shares[truth.frames, truth.track_ids] - 0.45)))
        truth = truth.rows(np.flatnonzero(rng.random(len(truth)) < chance))
        heights = truth.boxes[:, 3:] - truth.boxes[:, 1:2]
        boxes = truth.boxes + rng.normal(0, 0.025, truth.boxes.shape) * heights
        poses = truth.keypoints + rng.normal(0, 0.03, truth.keypoints.shape) * heights[:, None]
        seen = replace(truth, boxes=boxes, keypoints=poses, scores=rng.uniform(0.95, 1, len(truth)))
        frames = [replace(seen.at(frame), track_ids=None) for frame in range(truth.num_frames)]
        found.append(FoundVideo(video.tracks, frames, []))
    return Set(f"walkers, seed {seed}, drawn detections", found, [None] * videos, [], 0.9)


def pedestrians(folder: Path) -> Iterator[Set]:
    """Each sequence is tuned on the other one."""
    found: list[FoundVideo] = []
    videos: list[Video] = []
    for name in ("TUD-Campus", "TUD-Stadtmitte"):
        (video,) = open_videos(folder, name)
        detections = read_mot(folder / name / "det" / "det.txt", score_range=(0, 100))
        frames, camera = [], CameraMotion()
        moves = []
        for frame in range(detections.num_frames):
            frames.append(replace(detections.at(frame), track_ids=None))
            strong = frames[-1].boxes[frames[-1].scores >= 0.3].numpy()
            moves.append(camera.update(video.picture(frame), strong))
        found.append(FoundVideo(read_mot(folder / name / "gt" / "gt.txt", is_truth=True), frames, moves))
        videos.append(video)
    pictures = [video.picture for video in videos]
    yield Set("TUD-Campus and TUD-Stadtmitte", found, pictures, found[::-1], 0.3)


def crowd(count: int) -> Set:
    """Boxes that go straight on, of which one in fourteen is missed, in 60 frames."""
    rng, frames = np.random.default_rng(0), []
    side = 200 * np.sqrt(count)
    places, speeds = rng.uniform(0, side, (count, 2)), rng.normal(0, 2, (count, 2))
    sides = rng.uniform(20, 40, (count, 1)) * [1, 2.2]
    for _ in range(60):
        places = places + speeds
        seen = rng.random(count) < 0.93
        boxes = np.concatenate([places[seen], places[seen] + sides[seen]], 1)
        boxes = torch.tensor(boxes + rng.normal(0, 0.7, boxes.shape), dtype=torch.float32)
        scores = torch.tensor(rng.uniform(0.6, 1, len(boxes)), dtype=torch.float32)
        labels = torch.zeros(len(boxes), dtype=torch.long)
        frames.append(Detections(boxes, scores, labels, (480, 640), LabelMap.from_names(["person"])))
    truth = Tracks.from_detections([replace(f, track_ids=torch.arange(len(f))) for f in frames], "crowd")
    return Set("crowd", [FoundVideo(truth, frames, [])], [None], [], 0.5)


Run = Callable[[], tuple[list[list[Detections]], float]]


def ours(each: Set, trials: int) -> Iterator[tuple[str, Run]]:
    start = {"min_score": each.min_score}
    has_looks = any(in_key_frame(f).appearance is not None for f in each.videos[0].found)
    has_camera = bool(each.videos[0].camera)
    for linker in ("byte", "ocsort"):
        for looks in ("none", "model")[: 1 + has_looks]:
            for camera in ("still", "moving")[: 1 + has_camera]:
                settings = LinkerSettings(
                    linker=linker, numbers=start, metric="HOTA", split="", appearance=looks, camera=camera
                )
                more = [" + appearance"] * (looks == "model") + [" + camera"] * (camera == "moving")
                name = f"Pagoda {linker}{''.join(more)}"
                run = partial(_ours, each, [settings] * len(each.videos))
                yield name, run
                yield f"{name}, relinked", partial(_relinked, each, run, camera == "moving")
    if not each.train or trials == 0:
        return
    if "TUD" in each.name:
        settings = [
            tune([other], [video], trials=trials, start=start).best
            for other, video in zip(each.train, each.videos, strict=True)
        ]
    else:
        settings = [tune(each.train, each.videos, trials=trials, start=start).best] * len(each.videos)
    yield "Pagoda, tuned on other videos", lambda: _ours(each, settings)


def _relinked(each: Set, run: Run, has_camera: bool) -> tuple[list[list[Detections]], float]:
    links, speed = run()
    count = sum(len(linked) for video in links for linked in video)
    seconds, again = count / speed, []
    for known, video in zip(each.videos, links, strict=True):
        tracks = Tracks.from_detections(video)
        begun = time.perf_counter()
        ids = torch.from_numpy(Relinker().new_ids(tracks, known.camera if has_camera else ()))
        seconds += time.perf_counter() - begun
        again.append([replace(one, track_ids=ids[tracks.frame_slice(f)]) for f, one in enumerate(video)])
    return again, count / seconds


def _ours(each: Set, settings: Sequence[LinkerSettings]) -> tuple[list[list[Detections]], float]:
    def link(video: FoundVideo, pictures: Any, how: LinkerSettings) -> Iterator[tuple[Detections, float]]:
        tracker, moving = tuned_tracker(how), CameraMotion() if how.camera == "moving" else None
        for number, found in enumerate(map(in_key_frame, video.found)):
            shown = found if how.appearance == "model" else replace(found, appearance=None)
            picture = None if moving is None else pictures(number)
            begun = time.perf_counter()
            moved = None
            if moving is not None:
                strong = shown.boxes[shown.scores >= how.numbers["min_score"]].numpy()
                moved = moving.update(picture, strong)
            linked = tracker.update(shown, camera=moved)
            yield linked, time.perf_counter() - begun

    return best_of_three(each, lambda n: link(each.videos[n], each.pictures[n], settings[n]))


def theirs(each: Set) -> Iterator[tuple[str, Run]]:
    if find_spec("trackers") is not None:
        import trackers

        for name, kind, more in (
            ("ByteTrack", trackers.ByteTrackTracker, {}),
            ("OC-SORT", trackers.OCSORTTracker, {}),
            ("BoT-SORT", trackers.BoTSORTTracker, {"enable_cmc": False}),
            ("BoT-SORT + camera", trackers.BoTSORTTracker, {"enable_cmc": True}),
            ("C-BIoU", trackers.CBIoUTracker, {}),
        ):
            if more.get("enable_cmc") and each.pictures[0] is None:
                continue
            names = kind.__init__.__code__.co_varnames
            wanted = ("track_activation_threshold", "high_conf_det_threshold")
            same = {word: each.min_score for word in wanted if word in names}
            for said, numbers in (("", {}), (", same score", same)):
                yield f"trackers {name}{said}", lambda k=kind, n={**more, **numbers}: _trackers(each, k, n)
    if find_spec("boxmot") is not None:
        import boxmot

        for name, kind, same, more in (
            ("ByteTrack", boxmot.ByteTrack, {"track_thresh": each.min_score}, {}),
            ("OcSort", boxmot.OcSort, {"det_thresh": each.min_score}, {}),
            (
                "BotSort",
                boxmot.BotSort,
                {"track_high_thresh": each.min_score, "new_track_thresh": each.min_score},
                {"use_embeddings": False},
            ),
            ("BoostTrack", boxmot.BoostTrack, {"det_thresh": each.min_score}, {}),
        ):
            for said, numbers in (("", {}), (", same score", same)):
                yield f"boxmot {name}{said}", lambda k=kind, n={**more, **numbers}: _boxmot(each, k, n)


def _trackers(each: Set, kind: Any, numbers: dict[str, Any]) -> tuple[list[list[Detections]], float]:
    import supervision

    def link(video: FoundVideo, pictures: Any) -> Iterator[tuple[Detections, float]]:
        tracker = kind(**numbers)
        for number, found in enumerate(map(in_key_frame, video.found)):
            rows = {"row": np.arange(len(found))}
            given = supervision.Detections(
                xyxy=found.boxes.float().numpy(), confidence=found.scores.float().numpy(),
                class_id=found.labels.numpy().astype(int), data=rows,
            )  # fmt: skip
            frame = (
                {"frame": np.ascontiguousarray(pictures(number)[..., ::-1])}
                if numbers.get("enable_cmc")
                else {}
            )
            begun = time.perf_counter()
            linked = tracker.update(given, **frame)
            spent = time.perf_counter() - begun
            ids = np.full(len(found), -1)
            if len(linked) and linked.tracker_id is not None:
                ids[linked.data["row"]] = linked.tracker_id
            yield replace(found, track_ids=torch.from_numpy(ids)), spent

    return best_of_three(each, lambda n: link(each.videos[n], each.pictures[n]))


def _boxmot(each: Set, kind: Any, numbers: dict[str, Any]) -> tuple[list[list[Detections]], float]:
    def link(video: FoundVideo, pictures: Any) -> Iterator[tuple[Detections, float]]:
        tracker = kind(**numbers)
        for number, found in enumerate(map(in_key_frame, video.found)):
            height, width = found.image_size
            image = np.zeros((height, width, 3), np.uint8) if pictures is None else pictures(number)
            image = np.ascontiguousarray(image[..., ::-1])
            rows = torch.cat(
                [found.boxes.float(), found.scores.float()[:, None], found.labels.float()[:, None]], 1
            )
            begun = time.perf_counter()
            linked = np.asarray(tracker.update(rows.numpy(), image))
            spent = time.perf_counter() - begun
            ids = np.full(len(found), -1)
            if linked.size:
                ids[linked[:, 7].astype(int)] = linked[:, 4].astype(int)
            yield replace(found, track_ids=torch.from_numpy(ids)), spent

    return best_of_three(each, lambda n: link(each.videos[n], each.pictures[n]))


def best_of_three(
    each: Set, link: Callable[[int], Iterator[tuple[Detections, float]]]
) -> tuple[list[list[Detections]], float]:
    best, links = np.inf, []
    for _ in range(3):
        runs = [list(link(number)) for number in range(len(each.videos))]
        links = [[linked for linked, _ in run] for run in runs]
        best = min(best, sum(seconds for run in runs for _, seconds in run))
    return links, sum(len(linked) for run in links for linked in run) / best


def judged(each: Set, links: list[list[Detections]]) -> tuple[float, str, str]:
    """(HOTA, IDF1, switches), the last two of boxes alone."""
    boxes, poses = TrackEvaluator(), PoseTrackEvaluator(with_hota=True)
    for video, linked in zip(each.videos, links, strict=True):
        tracks = replace(Tracks.from_detections(linked, video.truth.name).linked(), name=video.truth.name)
        if each.is_pose:
            poses.update(to_posetrack_15(video.truth), to_posetrack_15(tracks))
        else:
            boxes.update(video.truth, tracks)
    if each.is_pose:
        return poses.result().metrics["HOTA"], "–", "–"
    scores = boxes.result().metrics
    return 100 * scores["HOTA"], f"{100 * scores['IDF1']:.1f}", f"{scores['IDSW']:.0f}"


if __name__ == "__main__":
    main(tyro.cli(Benchmark))
