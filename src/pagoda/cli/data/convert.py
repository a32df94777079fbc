"""pagoda data convert DIR OUT --to FORMAT"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import tyro

from pagoda.cli.arguments.parsing import parse
from pagoda.cli.data.ending import WriteOptions, finish
from pagoda.cli.data.opening import open_any
from pagoda.data.writing.folder import check_place
from pagoda.data.writing.holding import FormatName
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
    contents = open_any(command.data, command.splits, to=command.to, skip_missing=command.skip_missing)
    return finish(contents, command.to, command.out, command)
