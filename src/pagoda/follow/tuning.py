"""Which linker follows a model's objects best, and with what numbers: chosen on annotated videos, told on others.

The model looks at every frame once; what it found is linked again and again, with other numbers, and scored.
"""

from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from pagoda.data.tracks.posetrack_joints import to_posetrack_15
from pagoda.data.videos import Video
from pagoda.detectors.contract import Detector
from pagoda.evaluation.runner import in_classes_of
from pagoda.evaluation.tracks.evaluator import TrackEvaluator
from pagoda.evaluation.tracks.posetrack import PoseTrackEvaluator
from pagoda.evaluation.tracks.result import text_columns
from pagoda.follow.appearance import appearance_of
from pagoda.follow.clips import FOLLOWING_LIMITS, detect_frames
from pagoda.follow.score import Progress, check_followable
from pagoda.plain import JsonObject, check_counts, checked
from pagoda.structures.linker_settings import LinkerSettings
from pagoda.structures.tracks import Tracks
from pagoda.tracking.camera import CameraMotion
from pagoda.tracking.linking import tuned_tracker
from pagoda.tracking.tracker import Found, in_key_frame

LOOKS = {"appearance_weight": (0.0, 1.2), "max_look_cost": (0.0, 1.1), "reach": (0.2, 1.5)}
RANGES: dict[str, dict[str, tuple[float, float]]] = {
    "byte": {
        "min_score": (0.15, 0.95),
        "new_margin": (0.0, 0.2),
        "max_cost": (0.5, 0.95),
        "max_low_cost": (0.3, 0.8),
        "max_new_cost": (0.5, 0.95),
        "near": (0.0, 0.6),
        "max_lost_frames": (5, 90),
        **LOOKS,
    },
    "ocsort": {
        "min_score": (0.15, 0.95),
        "min_iou": (0.05, 0.5),
        "max_lost_frames": (5, 90),
        "min_seen": (1, 4),
        "direction_weight": (0.0, 0.5),
        **LOOKS,
    },
}
"""where numbers are looked for"""
LOCAL_SHARE = 0.5
"""of the trials, those near the best so far"""
NEAR = 0.15
"""of a number's range: how far such a trial goes to either side"""


@dataclass(frozen=True, eq=False)
class FoundVideo:
    """A video's truth, and all that linkers are told of it."""

    truth: Tracks
    """who is where"""
    found: Sequence[Found]
    """of each frame, with appearance where that was asked for"""
    camera: Sequence[np.ndarray]
    """(2, 3) how the picture moved into each frame; none where nobody looked"""


@dataclass(frozen=True)
class Trial:
    """One way to link, and how good it was."""

    settings: LinkerSettings
    """linker and numbers"""
    score: float
    """percent, on the videos that were chosen on"""


@dataclass(frozen=True, eq=False)
class TuningResult:
    """What was tried, and what it is worth on other videos."""

    metric: str
    """that was chosen by"""
    rows: tuple[tuple[str, float, float], ...]
    """(what, percent on the split that was chosen on, percent on the other): the linker without words of its own first,
    the best last"""
    best: LinkerSettings
    """of all that was tried"""
    num_trials: int
    """how many that were"""

    @property
    def gain(self) -> float:
        """Points on the other videos, against the linker that is taken where nobody says otherwise."""
        return self.rows[-1][2] - self.rows[0][2]

    def table(self) -> str:
        """Plain text: a line for each way, best last."""
        head = ["", f"{self.metric}, chosen on", "others"]
        rows = [[name, f"{chosen:.1f}", f"{other:.1f}"] for name, chosen, other in self.rows]
        return text_columns([head, *rows])

    def to_dict(self) -> JsonObject:
        """Ready for JSON."""
        return {
            "metric": self.metric,
            "rows": [{"what": name, "chosen_on": a, "others": b} for name, a, b in self.rows],
            "best": self.best.to_dict(),
            "trials": self.num_trials,
            "gain": self.gain,
        }


def find_videos(
    model: Detector,
    videos: Sequence[Video],
    *,
    appearance: str = "model",
    camera: str = "moving",
    progress: Progress | None = None,
) -> list[FoundVideo]:
    """What the model finds in annotated videos, and how their pictures move: all that `tune` asks.

    Raises ValueError before any work for classes that the model does not know, and for annotated objects without
    track ids; ImportError for camera="moving" without opencv.
    """
    labels = videos[0].tracks.label_map
    check_followable(model, videos, remedy="choose on videos that say who is who")
    look, moving = appearance_of(appearance, model), CameraMotion() if camera == "moving" else None
    done, result = 0, []
    for video in videos:
        waiting: deque[np.ndarray] = deque()  # a model of clips runs a few frames behind
        found, moves = [], []
        for each in detect_frames(model, _pictures(video, waiting), limits=FOLLOWING_LIMITS, appearance=look):
            picture = waiting.popleft()
            if model.label_map.names != labels.names:
                each = in_classes_of(each, model.label_map, labels)
            found.append(each)
            if moving is not None:
                objects = in_key_frame(each)
                strong = objects.boxes[objects.scores >= 0.5].numpy()
                moves.append(moving.update(picture, strong))
            if progress is not None:
                progress(done + len(found))
        if moving is not None:
            moving.reset()
        done += len(found)
        result.append(FoundVideo(video.tracks, found, moves))
    return result


def _pictures(video: Video, waiting: deque[np.ndarray]) -> Iterator[np.ndarray]:
    """Its pixels, each read once; each frame waits for its objects."""
    for frame in range(video.tracks.num_frames):
        waiting.append(video.picture(frame))
        yield waiting[-1]


@checked
def tune(
    train: Sequence[FoundVideo],
    val: Sequence[FoundVideo],
    *,
    trials: int = 100,
    seed: int = 0,
    is_pose: bool = False,
    start: Mapping[str, float] | None = None,
    split: str = "train",
    progress: Progress | None = None,
) -> TuningResult:
    """Choose linker and numbers by HOTA of boxes, or by PoseTrack's MOTA of poses, on `train`; told on `val`.

    First byte and ocsort with their own numbers, with and without appearance and camera motion, as far as the videos
    have them; then, of the better half of ways, numbers at random, half of them near the best so far. The same seed
    tries the same. `start`: numbers that hold instead of the linkers' own, such as {"min_score": 0.9}.

    Raises ValueError for no videos on one side.
    """
    check_counts(trials=trials)
    if not train or not val:
        raise ValueError(
            "tuning needs videos to choose on and others to tell what it is worth, got none of one kind"
        )
    metric = "pose MOTA" if is_pose else "HOTA"
    tried: list[Trial] = []

    def rated(settings: LinkerSettings) -> Trial:
        tried.append(Trial(settings, score(settings, train)))
        if progress is not None:
            progress(len(tried))
        return tried[-1]

    def plain(linker: str, appearance: str, camera: str) -> LinkerSettings:
        return LinkerSettings(
            linker=linker,  # type: ignore[arg-type]
            numbers=dict(start or {}),
            metric=metric,  # type: ignore[arg-type]
            split=split,
            appearance=appearance,  # type: ignore[arg-type]
            camera=camera,  # type: ignore[arg-type]
        )

    looks = ["none", *["model"] * any(in_key_frame(each).appearance is not None for each in train[0].found)]
    cameras = ["still", *["moving"] * bool(train[0].camera)]
    ways = [rated(plain(linker, a, c)) for linker in RANGES for a in looks for c in cameras]
    best = max(ways, key=lambda trial: trial.score)
    good = sorted(ways, key=lambda trial: -trial.score)[: max(1, len(ways) // 2)]
    rng = np.random.default_rng(seed)
    for number in range(trials):
        near = rng.uniform() < LOCAL_SHARE and number > 0
        around = best.settings if near else good[number % len(good)].settings
        best = max(best, rated(_other_numbers(around, rng, near=near)), key=lambda trial: trial.score)
    first = ways[0]
    told = [("byte, its own numbers", first)]
    for what, settings in (
        ("with appearance", replace(first.settings, appearance="model")),
        ("with camera motion", replace(first.settings, camera="moving")),
        ("with both", replace(first.settings, appearance="model", camera="moving")),
    ):
        told += [(f"byte, {what}", trial) for trial in ways[1:] if trial.settings == settings]
    told.append((f"{best.settings.linker}, tuned", best))
    rows = tuple((name, trial.score, score(trial.settings, val)) for name, trial in told)
    return TuningResult(metric, rows, best.settings, len(tried))


def score(settings: LinkerSettings, videos: Sequence[FoundVideo]) -> float:
    """Percent of the settings' metric over all videos, each linked with them."""
    tracker = tuned_tracker(settings)
    box_scores, pose_scores = TrackEvaluator(), PoseTrackEvaluator(with_hota=False)
    for video in videos:
        tracker.reset()
        linked = []
        for number, found in enumerate(video.found):
            shown = found if settings.appearance == "model" else replace(found, appearance=None)
            moved = video.camera[number] if settings.camera == "moving" and number else None
            linked.append(tracker.update(shown, camera=moved))
        tracks = Tracks.from_detections(linked, video.truth.name).linked()
        if settings.metric == "HOTA":
            box_scores.update(video.truth, tracks)
        else:
            pose_scores.update(to_posetrack_15(video.truth), to_posetrack_15(tracks))
    if settings.metric == "HOTA":
        return 100 * box_scores.result().metrics["HOTA"]
    return pose_scores.result().metrics["MOTA"]


def _other_numbers(settings: LinkerSettings, rng: np.random.Generator, *, near: bool) -> LinkerSettings:
    """Numbers at random from their ranges, or near those that are there; looks only where they are compared."""
    own, numbers = tuned_tracker(settings), dict(settings.numbers)
    for name, (low, high) in RANGES[settings.linker].items():
        if name in LOOKS and settings.appearance == "none":
            continue
        if near:
            if rng.uniform() < 0.5:
                continue
            middle, reach = float(getattr(own, name)), NEAR * (high - low)
            low, high = max(low, middle - reach), min(high, middle + reach)
        value = rng.uniform(min(low, high), max(low, high))
        numbers[name] = float(round(value)) if isinstance(getattr(own, name), int) else round(value, 3)
    return replace(settings, numbers=numbers)
