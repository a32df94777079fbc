"""pagoda data merge A B … OUT"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import tyro

from pagoda.cli.arguments.parsing import parse
from pagoda.cli.data.ending import KeptFormat, WriteOptions, finish, kept_format
from pagoda.cli.data.opening import open_any
from pagoda.data.arranging.merging import merge, merge_videos
from pagoda.data.writing.contents import Contents
from pagoda.data.writing.folder import check_place
from pagoda.data.writing.videos import VideoContents
from pagoda.plain import checked


@checked
@dataclass(frozen=True, kw_only=True)
class DataMergeCommand(WriteOptions):
    """Put data sets together, split by split, with all classes by their names.

    pagoda data merge A B OUT

    Pictures, or videos, that share a name are named anew; those that are there twice byte for byte, and classes that
    look alike, are told.
    """

    folders: Annotated[tuple[str, ...], tyro.conf.Positional, tyro.conf.arg(metavar="FOLDER")]
    """two data sets or more, of any format, and at last OUT, a new or empty folder"""
    to: KeptFormat = "same"
    """format; same: the one that all have, or COCO"""


def main(arguments: Sequence[str]) -> int:
    command = parse(DataMergeCommand, "data merge", arguments)
    if len(command.folders) < 3:
        raise ValueError(f"two data sets and OUT are needed, got {' '.join(command.folders) or 'nothing'}")
    *sources, out = command.folders
    check_place(out, sources)
    parts = [open_any(source, to=command.to, skip_missing=command.skip_missing) for source in sources]
    contents = _merged(parts)
    return finish(contents, kept_format(contents, command.to), out, command)


def _merged(parts: Sequence[Contents | VideoContents]) -> Contents | VideoContents:
    pictures = [part for part in parts if isinstance(part, Contents)]
    videos = [part for part in parts if isinstance(part, VideoContents)]
    if pictures and videos:
        raise ValueError(
            f"{videos[0].source} holds videos and {pictures[0].source} pictures, which are not put together; make"
            f" pictures of the videos first: pagoda data convert {videos[0].source} FRAMES --to coco"
        )
    return merge_videos(videos) if videos else merge(pictures)
