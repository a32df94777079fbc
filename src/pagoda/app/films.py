"""The objects of an uploaded video followed from frame to frame, and the video that shows them."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from time import perf_counter

from pagoda.app.looking import Looker
from pagoda.app.uploads import without_folder
from pagoda.drawing.objects import draw_detections
from pagoda.follow.follower import TrackOptions, VideoFollower
from pagoda.follow.outputs import TrackSummaries
from pagoda.messages import counted
from pagoda.pictures.read import PictureError
from pagoda.structures.tracks import UNLINKED
from pagoda.video.frames import VideoWriter

SECONDS_BETWEEN = 0.5
"""of what is said while a video is followed"""


@dataclass(frozen=True)
class FilmProgress:
    """How far a video has been followed."""

    said: str
    """in words; at the end with a table of the tracks"""
    path: Path | None = None
    """the video with its objects, once it is whole"""


def follow_film(
    looker: Looker,
    path: Path,
    out: Path,
    options: TrackOptions,
    is_over: Callable[[], bool] = lambda: False,
) -> Iterator[FilmProgress]:
    """Say every now and then how far it is, and at the end where the video with the objects is, a file in `out`.

    A frame that cannot be read is the end; what came before it is shown. Nothing more comes once `is_over`, which is
    asked before each frame. Raises PictureError where the first frame cannot be read.
    """
    try:
        source = options.open_video(path)
    except (PictureError, OSError) as error:
        raise PictureError(without_folder(str(error), path)) from error
    follower, summaries = VideoFollower(looker.model, source, options), TrackSummaries()
    frames, failure, number, told = follower.frames(), "", 0, perf_counter()
    total = min(len(source) or 10**9, options.max_frames or 10**9)
    with VideoWriter(out / "followed.mp4", frames_per_second=source.frames_per_second) as writer:
        for number in count(1):
            if is_over():
                return
            try:
                each = next(frames, None)
            except PictureError as error:
                failure, each = without_folder(str(error), path), None
            if each is None:
                number -= 1
                break
            assert each.linked.track_ids is not None
            followed = each.linked[each.linked.track_ids != UNLINKED]
            writer.add(draw_detections(each.frame.picture, followed), each.frame.seconds)
            summaries.add(followed, number - 1)
            if perf_counter() - told > SECONDS_BETWEEN:
                told = perf_counter()
                yield FilmProgress(f"{path.name}: frame {number}{f' of {total}' if total < 10**9 else ''}")
    if not number:
        raise PictureError(failure or f"{path.name} holds no frame")
    said = [f"{path.name}: {counted(number, 'frame')} followed", summaries.table()]
    if number == options.max_frames and len(source) > number:
        said.insert(1, f"the first of about {len(source)}; --max-frames follows more of them")
    if failure:
        said.insert(1, f"ended early: {failure}")
    yield FilmProgress("\n".join(said), writer.path)
