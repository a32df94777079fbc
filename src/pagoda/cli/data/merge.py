"""pagoda data merge A B … OUT"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import tyro

from pagoda.cli.arguments.parsing import parse
from pagoda.cli.data.ending import PictureFormat, WriteOptions, finish, kept_format
from pagoda.data.arranging.merging import merge
from pagoda.data.writing.contents import open_contents
from pagoda.data.writing.folder import check_place
from pagoda.plain import checked


@checked
@dataclass(frozen=True, kw_only=True)
class DataMergeCommand(WriteOptions):
    """Put data sets together, split by split, with all classes by their names.

    pagoda data merge A B OUT

    Pictures that share a name are named anew; those that are there twice byte for byte, and classes that look
    alike, are told.
    """

    folders: Annotated[tuple[str, ...], tyro.conf.Positional, tyro.conf.arg(metavar="FOLDER")]
    """two data sets or more, of any format, and at last OUT, a new or empty folder"""
    to: PictureFormat = "same"
    """format; same: the one that all have, or COCO"""


def main(arguments: Sequence[str]) -> int:
    command = parse(DataMergeCommand, "data merge", arguments)
    if len(command.folders) < 3:
        raise ValueError(f"two data sets and OUT are needed, got {' '.join(command.folders) or 'nothing'}")
    *sources, out = command.folders
    check_place(out, sources)
    contents = merge([open_contents(source, skip_missing=command.skip_missing) for source in sources])
    return finish(contents, kept_format(contents, command.to), out, command)
