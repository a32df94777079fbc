"""pagoda data split DIR OUT"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import tyro

from pagoda.cli.arguments.parsing import parse
from pagoda.cli.data.ending import KeptFormat, WriteOptions, finish, kept_format
from pagoda.cli.data.opening import open_any
from pagoda.data.arranging.splitting import GroupBy, divide, shares_text
from pagoda.data.writing.folder import check_place
from pagoda.plain import checked


@checked
@dataclass(frozen=True, kw_only=True)
class DataSplitCommand(WriteOptions):
    """Divide a data set into train and val (and test), so that each class has its share in each.

    pagoda data split DIR OUT --val 0.2
    pagoda data split DIR OUT --val 0.1 --test 0.1 --of train+val --by folder

    Pictures that are the same byte for byte stay together; so do those of a group with --by, and a video whole.
    """

    data: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="DIR")]
    """a data set of any format that is read"""
    out: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="OUT")]
    """a new or empty folder"""
    val: float
    """the share of pictures and objects for val"""
    test: float = 0.0
    """for test; 0: there is none"""
    of: str = ""
    """what is divided, where there are splits already: train, or train+val for both"""
    by: GroupBy = "picture"
    """what stays together: a folder, or a prefix, the name before its last number"""
    seed: int = 0
    """another one divides otherwise"""
    to: KeptFormat = "same"
    """format; same: the one that is read, or COCO where that is not written"""


def main(arguments: Sequence[str]) -> int:
    command = parse(DataSplitCommand, "data split", arguments)
    check_place(command.out, [command.data])
    contents = open_any(
        command.data, [command.of] if command.of else (), to=command.to, skip_missing=command.skip_missing
    )
    if len(contents.splits) > 1:
        names = "+".join(contents.splits)
        raise ValueError(
            f"{command.data} has the splits {', '.join(contents.splits)}; say what is to be divided: --of {names} for"
            " all of them, or one"
        )
    shares = {"train": 1 - command.val - command.test, "val": command.val}
    if command.test:
        shares["test"] = command.test
    divided = divide(contents, shares, seed=command.seed, by=command.by)
    said = "" if command.json else shares_text(divided)
    return finish(divided, kept_format(divided, command.to), command.out, command, said)
