"""pagoda val CKPT --data DIR"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, NamedTuple

import tyro

from pagoda.batch_size import AnyBatchSize
from pagoda.cli.arguments.parsing import AnyPrecision, open_ready, parse
from pagoda.cli.arguments.tile_options import TileOptions
from pagoda.data.formats.reader import open_annotations
from pagoda.data.reading.splits import chosen_with
from pagoda.data.table.annotations import Annotations
from pagoda.data.tracks.folders import open_videos
from pagoda.data.tracks.mot_classes import Benchmark
from pagoda.data.videos import Video
from pagoda.detectors.contract import Detector
from pagoda.evaluation.coco.evaluator import DetectionResult, evaluate_results_file
from pagoda.evaluation.coco.operating import OperatingOptions
from pagoda.evaluation.runner import EVALUATION_LIMITS, evaluate
from pagoda.files.atomic import make_folder
from pagoda.files.text import json_text
from pagoda.plain import checked
from pagoda.progress import Progress
from pagoda.recipes.datasets import dataset_for
from pagoda.recipes.remarks import data_remarks
from pagoda.recipes.thresholds_file import Seen, check_takes_thresholds, save_thresholds
from pagoda.structures.labels import LabelMap
from pagoda.tiling.detect import check_takes_tiles
from pagoda.tracking.linking import LinkerName
from pagoda.training.settings import to_plain
from pagoda.visualization.report import write_report

if TYPE_CHECKING:
    from pagoda.follow.score import FollowingResult

DEFAULT_LINKER: LinkerName = "tubes"


@checked
@dataclass(frozen=True, kw_only=True)
class ValCommand(TileOptions):
    """Score a checkpoint, or anybody's COCO results file, on a dataset.

    pagoda val runs/NAME-1/best.safetensors --data DIR --split test
    pagoda val --results results.json --data DIR
    pagoda val runs/detect_and_track_resnet18_3d-1/best.safetensors --data VIDEOS --linker byte

    Models of clips are scored on the annotated frames of PoseTrack or MOT folders, and on how well they follow.

    Below AP stand the scores to cut at, class by class, and what is taken for what; to keep the scores in the file
    (`--min-score card` of pagoda predict and pagoda track takes them from there):

    pagoda val runs/NAME-1/best.safetensors --data DIR --precision-at 0.95 --save-thresholds
    """

    common = (
        "split",
        "results",
        "save_results",
        "tiles",
        "precision_at",
        "save_thresholds",
        "report",
        "linker",
        "json",
    )

    checkpoint: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="CHECKPOINT")] = ""
    """a .safetensors file of a run, another program's checkpoint, or an exported .onnx or .xml"""
    data: str
    """dataset folder"""
    split: str = "val"
    """which part of it; join several with +"""
    inside_only: bool = False
    """refuse pictures outside the data set's folder: named by `..`, by an absolute path or through a link"""
    results: str = ""
    """COCO results (JSON) to score instead of a checkpoint: boxes, masks and keypoints, as far as it has them"""
    save_results: str = ""
    """write the checkpoint's detections to this file as COCO results"""
    device: str = "auto"
    """auto, cpu, cuda, cuda:1, mps; auto: the accelerator, where there is one"""
    precision: AnyPrecision = "fp32"
    """of the network; half of it may be quicker: auto takes what this machine does best, as measured once (see pagoda
    bench); boxes and scores stay fp32"""
    model: str = ""
    """FILE.py:FUNCTION that composes the model, when it is not one of the zoo's"""
    take: str = ""
    """which weights of another program's file, where it holds several: their key, or ema for the averaged ones"""
    batch_size: AnyBatchSize = "auto"
    """pictures, or clips, that are looked at together; auto: 8, on an accelerator 16; fewer where memory ends"""
    min_score: float = float(EVALUATION_LIMITS["min_score"] or 0)
    """detections below are not counted; COCO's protocol wants this low"""
    max_detections: int = int(EVALUATION_LIMITS["max_detections"] or 0)
    """of a picture that a model gives, and of a picture and class that count; COCO's protocol has 100"""
    precision_at: float | None = None
    """tell, too, the lowest score of each class that reaches this precision, 0.95 say"""
    confusion_from: float | None = None
    """score from which detections count in the confusion matrix; default: that of best F1 of their class"""
    rounds: int = 2000
    """bootstrap samples of the pictures, for the intervals of these scores; 0: none"""
    save_thresholds: bool = False
    """write the scores of best F1, or those of --precision-at, into the checkpoint's card or the exported file, for
    pagoda predict | track --min-score card; nothing else of the file changes"""
    calibration: bool = False
    """print whether scores mean what they say, and the temperature of each class that would mend it"""
    report: str = ""
    """write tables, curves and pictures to this file as one HTML page"""
    linker: Literal[LinkerName, "none"] | None = None
    """for models of clips: follow the objects through whole videos and score the tracks, poses by PoseTrack's rules
    where the data have some, else boxes; none: single frames only; default: tubes"""
    benchmark: Benchmark = "auto"
    """for models of clips on MOT folders: whose rules say which rows count, as in pagoda track eval"""
    json: bool = False
    """print metrics, per-class scores and curves as JSON"""


def main(arguments: Sequence[str]) -> int:
    command = parse(ValCommand, "val", arguments)
    if bool(command.checkpoint) == bool(command.results):
        raise ValueError("pagoda val needs either a checkpoint or --results FILE, and not both")
    operating = OperatingOptions(
        precision_at=command.precision_at, confusion_from=command.confusion_from, rounds=command.rounds
    )
    seen = _check_places(command)
    with Progress() as bar, chosen_with("--split"):
        scored = (
            _score_results(command, operating)
            if command.results
            else _score_checkpoint(command, operating, bar)
        )
    _print(command, scored.result, scored.followed)
    if command.report:
        _write_report(command, scored.result)
    if seen is not None and scored.label_map is not None:
        _save(command, scored.result, scored.label_map, seen)
    return 0


def _print(command: ValCommand, result: DetectionResult, followed: "FollowingResult | None") -> None:
    if command.json:
        more = {} if followed is None else {"following": followed.to_dict()}
        print(json_text({**result.to_dict(), **more}), flush=True)
        return
    print(result.table())
    if command.calibration and result.operating is not None:
        print(f"\n{result.operating.calibration.table()}")
    if followed is not None:
        print(f"\n{followed.table()}")
    sys.stdout.flush()


def _check_places(command: ValCommand) -> Seen | None:
    """What is to be written at the end can be. What tells the file from a later one, where thresholds go into it."""
    if command.report:
        page = Path(command.report)
        if page.exists():
            raise FileExistsError(f"--report: {page} exists, and nothing is overwritten; choose another name")
        make_folder(page.parent)
    if not command.save_thresholds:
        return None
    if command.results:
        raise ValueError(
            "--save-thresholds writes into a model's file, and --results has none; leave one out"
        )
    return check_takes_thresholds(command.checkpoint)


def _save(command: ValCommand, result: DetectionResult, labels: LabelMap, seen: Seen) -> None:
    """Thresholds into the file, and a word on what was written."""
    assert result.operating is not None
    chosen = result.operating.score_thresholds(
        labels.names, split=command.split, counted_from=command.min_score
    )
    save_thresholds(command.checkpoint, chosen, seen=seen)
    print(f"{command.checkpoint} now holds {chosen.text(labels)}", file=sys.stderr)


def _write_report(command: ValCommand, result: DetectionResult) -> None:
    write_report(
        command.report,
        title=f"{command.checkpoint or command.results} on {command.data}, split {command.split}",
        settings=to_plain(command),
        records=[],
        before=None,
        result=result,
        pictures=[],
    )
    print(f"report: {command.report}", file=sys.stderr)


class _Scored(NamedTuple):
    result: DetectionResult
    followed: "FollowingResult | None" = None
    """of models of clips"""
    label_map: LabelMap | None = None
    """the model's"""


def _score_results(command: ValCommand, operating: OperatingOptions) -> _Scored:
    _refuse_linker(command, "--results of single pictures")
    if command.cut() is not None:
        raise ValueError(
            "--tiles is for a checkpoint that looks at pictures; --results have been found already"
        )
    annotations = open_annotations(command.data, command.split, inside_only=command.inside_only)
    for line in data_remarks(annotations, command.data):
        print(line, file=sys.stderr)
    result = evaluate_results_file(
        command.results,
        annotations.to_coco(),
        annotations.label_map,
        max_detections=command.max_detections,
        operating=operating,
    )
    return _Scored(result)


def _score_checkpoint(command: ValCommand, operating: OperatingOptions, bar: Progress) -> _Scored:
    """Tracks first: what makes them impossible to score is then told at once."""
    tiles = command.cut()
    model = open_ready(
        command.checkpoint, command.model, command.take, device=command.device, precision=command.precision
    )
    if tiles is not None:
        check_takes_tiles(model)
    if not model.sees_clips:
        _refuse_linker(command, f"{type(model).__name__}, which looks at single pictures")
        annotations = open_annotations(command.data, command.split, inside_only=command.inside_only)
        return _Scored(_score(command, model, annotations, operating, bar), None, model.label_map)
    videos = open_videos(
        command.data, command.split, benchmark=command.benchmark, inside_only=command.inside_only
    )
    followed = None if command.linker == "none" else _score_tracks(command, model, videos, bar)
    return _Scored(_score(command, model, videos, operating, bar), followed, model.label_map)


def _refuse_linker(command: ValCommand, what: str) -> None:
    if command.benchmark != "auto":
        raise ValueError(f"--benchmark is for checkpoints of clips, not for {what}")
    if command.linker is not None:
        raise ValueError(
            f"--linker is for checkpoints of clips, not for {what}; any detector's tracks are scored by"
            " pagoda track, then pagoda track eval"
        )


def _score(
    command: ValCommand,
    model: Detector,
    source: Annotations | list[Video],
    operating: OperatingOptions,
    bar: Progress,
) -> DetectionResult:
    """Every annotated picture, or frame of a video; what should be known of them is said first."""
    for line in data_remarks(source, command.data):
        print(line, file=sys.stderr)
    dataset = dataset_for(model, source)
    return evaluate(
        model,
        dataset,
        batch_size=command.batch_size,
        limits={"min_score": command.min_score, "max_detections": command.max_detections},
        progress=bar.task("validating", len(dataset)),
        save_results=command.save_results or None,
        operating=operating,
        tiles=command.cut(),
    )


def _score_tracks(
    command: ValCommand, model: Detector, videos: list[Video], bar: Progress
) -> "FollowingResult":
    """Every frame, annotated or not."""
    from pagoda.follow.score import follow  # which pictures do not ask for

    task = bar.task("following", sum(video.tracks.num_frames for video in videos))
    linker = command.linker or DEFAULT_LINKER
    return follow(model, videos, linker, progress=task)
