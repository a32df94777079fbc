"""What all verbs of `pagoda data` begin with: a data set of pictures, or of videos."""

from collections.abc import Sequence
from pathlib import Path

from pagoda.data.formats.layouts import find_dataset
from pagoda.data.tracks.folders import splits_of_videos
from pagoda.data.writing.contents import Contents, open_contents
from pagoda.data.writing.holding import OF_VIDEOS
from pagoda.data.writing.videos import VideoContents, open_video_contents
from pagoda.plain import checked


@checked
def open_any(
    data: str, splits: Sequence[str] = (), *, to: str = "same", skip_missing: bool = False
) -> Contents | VideoContents:
    """All splits, or those that are named. Where a folder is both, videos are meant by a format of videos alone.

    Raises ValueError where pictures of videos are to be skipped.
    """
    if _are_videos(data, to):
        if skip_missing:
            raise ValueError(
                f"{data} holds videos, of which every frame is needed, so that --skip-missing cannot be followed; put"
                " the frames back, or take the annotations of a video without them out of the folder"
            )
        return open_video_contents(data, splits)
    return open_contents(data, splits, skip_missing=skip_missing)


def _are_videos(data: str, to: str) -> bool:
    if not splits_of_videos(Path(data)):
        return False
    if to in OF_VIDEOS:
        return True
    try:
        find_dataset(data)
    except ValueError:
        return True
    return False
