"""pagoda track compare FIRST SECOND --gt TRUTH"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from pagoda.cli.arguments.parsing import parse
from pagoda.cli.tracks import evaluate
from pagoda.data.tracks.mot_classes import Benchmark
from pagoda.evaluation.comparing_tracks import TrackComparison, compare_tracks
from pagoda.explain.comparison.tracks_page import write_track_comparison
from pagoda.files.atomic import make_folder, write_free
from pagoda.files.text import json_text
from pagoda.plain import check_counts, checked

SHOWN = 5
"""videos that are listed at either end"""


@checked
@dataclass(frozen=True, kw_only=True)
class CompareTracksCommand:
    """Which of two sets of tracks is better, by how much, and how surely: boxes, by HOTA, MOTA and IDF1.

    pagoda track compare runs/track-1/ runs/track-2/ --gt MOT/

    Both are scored on the same samples of the videos. Each score is told with the 95 % interval of its change; with
    fewer than five videos there is none.
    """

    common = ("classes", "benchmark", "out", "json")

    first: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="FIRST")]
    """tracks: MOT text, PoseTrack JSON, the folder of pagoda track or pagoda track link"""
    second: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="SECOND")]
    """the same, that is to be better"""
    gt: str
    """ground truth of the same videos: MOT text or sequences, or PoseTrack JSON"""
    classes: tuple[str, ...] = ()
    """only these classes of the ground truth, by name or number"""
    benchmark: Benchmark = "auto"
    """for MOT text: whose rules say which rows count, as in pagoda track eval"""
    min_iou: float = 0.5
    """CLEAR and identity metrics match a prediction with an object it overlaps this much"""
    matches_survive_gaps: bool = False
    """count CLEAR as py-motmetrics does, not as TrackEval"""
    rounds: int = 2000
    """samples of the videos"""
    out: str = ""
    """folder for compare.html, scores and videos to look at, and compare.json; free names are taken"""
    json: bool = False
    """print scores and videos as JSON"""


def main(arguments: Sequence[str]) -> int:
    command = parse(CompareTracksCommand, "track compare", arguments)
    check_counts(rounds=command.rounds)
    if command.out:
        make_folder(command.out)
    first, second = (_side(command, side) for side in (command.first, command.second))
    truths = evaluate.truths_of(first)
    if any(truth.keypoints is not None and len(truth) for truth in truths):
        print("the ground truth holds poses; their boxes are compared", file=sys.stderr)
    result = compare_tracks(
        evaluate.boxes(first, truths), evaluate.boxes(second, truths), rounds=command.rounds
    )
    print(json_text(result.to_dict()) if command.json else f"{result.table()}\n\n{_videos(result)}")
    if command.out:
        for path in _write(result, command):
            print(path, file=sys.stderr)
    return 0


def _write(result: TrackComparison, command: CompareTracksCommand) -> list[Path]:
    """The page and its numbers, under names that are free."""
    names = (command.first, command.second)
    numbers = json_text(result.to_dict(), indent=1)
    folder = make_folder(command.out)
    return [
        write_free(folder / "compare.html", lambda draft: write_track_comparison(draft, result, names=names)),
        write_free(folder / "compare.json", lambda draft: draft.write_text(numbers, encoding="utf-8")),
    ]


def _side(command: CompareTracksCommand, tracks: str) -> evaluate.EvalCommand:
    return evaluate.EvalCommand(
        gt=command.gt,
        pred=tracks,
        classes=command.classes,
        benchmark=command.benchmark,
        task="boxes",
        min_iou=command.min_iou,
        matches_survive_gaps=command.matches_survive_gaps,
    )


def _videos(result: TrackComparison) -> str:
    """Those that gained most and lost most."""
    lines = [f"{len(result.videos)} of {result.num_videos} videos are otherwise"]
    better = [each for each in result.videos if each.hota > 0][:SHOWN]
    worse = [each for each in result.videos if each.hota < 0][: -SHOWN - 1 : -1]
    for title, changes in (("better", better), ("worse", worse)):
        lines += [
            f"{title}  {each.video}: HOTA {100 * each.hota:+.1f}, MOTA {100 * each.mota:+.1f},"
            f" IDF1 {100 * each.idf1:+.1f}"
            for each in changes
        ]
    return "\n".join(lines)
