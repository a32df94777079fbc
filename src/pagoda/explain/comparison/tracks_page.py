"""compare.html of two sets of tracks: every score with its interval, and video by video what became of it."""

from html import escape
from pathlib import Path

from pagoda.evaluation.comparing_tracks import TrackComparison, VideoChange
from pagoda.explain.comparison.parts import (
    Scale,
    bar,
    folded_table,
    headline,
    parts_table,
    points,
    scale_of,
    signed,
)
from pagoda.visualization.page import notes, section, shipped, write_program_page

HEADS = ("HOTA", "IDF1", "MOTA")


def write_track_comparison(path: str | Path, comparison: TrackComparison, *, names: tuple[str, str]) -> Path:
    """Write the page to `path`, whole or not at all, and return the path; `names`: what the two are called.

    >>> from tempfile import TemporaryDirectory
    >>> from pagoda.evaluation.coco.result import ApDifference
    >>> better = ApDifference(ap=0.6, other_ap=0.5, low=0.02, high=0.2)
    >>> compared = TrackComparison(
    ...     parts=dict.fromkeys(HEADS, better), videos=[], num_videos=30, rounds=100, protocol_of_scores="boxes"
    ... )
    >>> with TemporaryDirectory() as folder:
    ...     page = write_track_comparison(f"{folder}/compare.html", compared, names=("old", "new"))
    ...     "new beside old" in page.read_text()
    True
    """
    first, second = map(escape, names)
    told = [f"{text}." for text in (comparison.protocol(), comparison.protocol_of_scores)]
    body = (
        f"<main>\n<h1>{second} beside {first}</h1>\n{_headline(comparison)}\n"
        f"{section('Every score', parts_table(comparison.parts, 'videos'), name='parts')}\n"
        f"{section('Video by video', _videos(comparison.videos), name='videos')}\n"
        f"{section('How it was looked at', notes(told), name='how')}\n</main>"
    )
    return write_program_page(
        path,
        title=f"{names[1]} beside {names[0]}",
        body=body,
        data={},
        script="",
        style=shipped("page.css", "pagoda.explain.comparison"),
    )


def _headline(comparison: TrackComparison) -> str:
    main = comparison.parts["HOTA"]
    return headline(
        {
            "points of HOTA": signed(main.difference),
            "HOTA of the first": points(main.other_ap),
            "HOTA of the second": points(main.ap),
            f"of {comparison.num_videos:,} videos are otherwise": f"{len(comparison.videos):,}",
        },
        {name: comparison.verdict(name) for name in HEADS},
    )


def _videos(videos: list[VideoChange]) -> str:
    """Those in which anything is otherwise, the greatest gain of HOTA first."""
    if not videos:
        return notes(["In no video anything is otherwise."])
    scale = scale_of([video.hota for video in videos])
    rows = [_video(video, scale) for video in videos]
    return folded_table(("video", "HOTA", "", "MOTA", "IDF1"), rows) + notes(
        ["Changes in points; a video alone has no interval."]
    )


def _video(video: VideoChange, scale: Scale) -> str:
    kind = "better" if video.hota > 0 else "worse" if video.hota < 0 else "open"
    return (
        f'<tr class="{kind}"><th scope="row">{escape(video.video)}</th><td>{signed(video.hota)}</td>'
        f"<td>{bar(video.hota, scale)}</td><td>{signed(video.mota)}</td><td>{signed(video.idf1)}</td></tr>"
    )
