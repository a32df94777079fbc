"""pagoda data subset DIR OUT"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

import tyro

from pagoda.cli.arguments.parsing import parse
from pagoda.cli.data.ending import KeptFormat, WriteOptions, finish, kept_format
from pagoda.cli.data.opening import open_any
from pagoda.data.arranging.choosing import first, fraction, of_classes, of_names, without_empty
from pagoda.data.writing.folder import check_place
from pagoda.files.text import read_text
from pagoda.plain import check_counts, checked


@checked
@dataclass(frozen=True, kw_only=True)
class DataSubsetCommand(WriteOptions):
    """Take some of a data set: some classes, some pictures, or both.

    pagoda data subset DIR OUT --classes cat dog --drop-empty
    pagoda data subset DIR OUT --fraction 0.1 --splits train

    Objects of other classes are left out and counted; pictures that have none any more stay, unless --drop-empty. Of
    annotated videos each is taken whole or not at all.
    """

    data: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="DIR")]
    """a data set of any format that is read"""
    out: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="OUT")]
    """a new or empty folder"""
    classes: tuple[str, ...] = ()
    """only objects of these classes, by name"""
    pictures: tuple[str, ...] = ()
    """only these pictures, or videos, by name; or a text file with a name per line"""
    first: int | None = None
    """only so many pictures, or videos, of each split, in their order"""
    fraction: float | None = None
    """only this share of the pictures, or videos, of each split, drawn by --seed"""
    seed: int = 0
    """another one draws other pictures"""
    drop_empty: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """leave out pictures without objects"""
    splits: tuple[str, ...] = ()
    """only these; train+val makes one of both"""
    to: KeptFormat = "same"
    """format; same: the one that is read, or COCO where that is not written"""


def main(arguments: Sequence[str]) -> int:
    command = parse(DataSubsetCommand, "data subset", arguments)
    check_place(command.out, [command.data])
    check_counts(first=command.first)
    if command.first is not None and command.fraction is not None:
        raise ValueError("--first and --fraction each say how many pictures are taken; give one of them")
    whole = contents = open_any(
        command.data, command.splits, to=command.to, skip_missing=command.skip_missing
    )
    if command.classes:
        contents = of_classes(contents, command.classes)
    if command.pictures:
        contents = of_names(contents, _names(command.pictures))
    if command.drop_empty:
        contents = without_empty(contents)
    if command.first is not None:
        contents = first(contents, command.first)
    if command.fraction is not None:
        contents = fraction(contents, command.fraction, command.seed)
    if contents is not whole:
        unread = (
            replace(loss, text=f"{loss.text}; counted in all of {whole.source}") for loss in whole.unread
        )
        contents = replace(contents, unread=tuple(unread))
    return finish(contents, kept_format(contents, command.to), command.out, command)


def _names(words: Sequence[str]) -> list[str]:
    """The names themselves, or those of a text file."""
    if len(words) == 1 and words[0].lower().endswith(".txt") and Path(words[0]).is_file():
        return [line.strip() for line in read_text(words[0]).splitlines() if line.strip()]
    return list(words)
