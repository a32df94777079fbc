"""pagoda data convert DIR OUT --to FORMAT"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from pagoda.cli.arguments.parsing import parse
from pagoda.cli.data.ending import WriteOptions, finish
from pagoda.data.formats.layouts import find_dataset
from pagoda.data.tracks.folders import splits_of_videos
from pagoda.data.writing.contents import open_contents
from pagoda.data.writing.folder import check_place
from pagoda.data.writing.holding import OF_VIDEOS, FormatName
from pagoda.data.writing.videos import open_video_contents
from pagoda.plain import checked


@checked
@dataclass(frozen=True, kw_only=True)
class DataConvertCommand(WriteOptions):
    """Write a data set in another format; what that cannot hold is counted and told first.

    pagoda data convert DIR OUT --to yolo
    pagoda data convert DIR OUT --to voc --splits train val --link hard
    """

    data: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="DIR")]
    """a data set of any format that is read"""
    out: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="OUT")]
    """a new or empty folder"""
    to: FormatName
    """mot and posetrack are for videos"""
    splits: tuple[str, ...] = ()
    """only these; train+val makes one of both"""


def main(arguments: Sequence[str]) -> int:
    command = parse(DataConvertCommand, "data convert", arguments)
    check_place(command.out, [command.data])
    if _are_videos(command):
        videos = open_video_contents(command.data, command.splits)
        return finish(videos, command.to, command.out, command)
    contents = open_contents(command.data, command.splits, skip_missing=command.skip_missing)
    return finish(contents, command.to, command.out, command)


def _are_videos(command: DataConvertCommand) -> bool:
    """Where a folder is both, videos are meant by a format of videos alone."""
    if not splits_of_videos(Path(command.data)):
        return False
    if command.to in OF_VIDEOS:
        return True
    try:
        find_dataset(command.data)
    except ValueError:
        return True
    return False
