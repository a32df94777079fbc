"""pagoda data tile DIR OUT --size PIXELS"""

import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from pagoda.cli.arguments.parsing import parse
from pagoda.cli.data.ending import say_notes
from pagoda.data.saving import JPEG_QUALITY, TiledCopy, write_tiles
from pagoda.data.tiles import TileCounts, Tiling, cut_annotations
from pagoda.data.writing.contents import Contents, open_contents
from pagoda.data.writing.folder import REPORT, check_place
from pagoda.data.writing.holding import Loss
from pagoda.files.atomic import whole_folder
from pagoda.files.text import json_text
from pagoda.messages import counted
from pagoda.plain import JsonObject, checked
from pagoda.progress import Progress


@checked
@dataclass(frozen=True, kw_only=True)
class DataTileCommand:
    """Cut large pictures into tiles, as a COCO data set of their own.

    pagoda data tile DIR OUT --size 640 --empty-share 0.2
    pagoda data tile DIR OUT --size 640 --splits train --picture-format png

    An object that a border cuts keeps what is seen of it, or is ignored where that is little. What becomes of all is
    counted and told, and stands in OUT/losses.json. `pagoda train --tiles` does the same without writing anything.
    """

    data: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="DIR")]
    """a data set of any format that is read"""
    out: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="OUT")]
    """a new or empty folder"""
    size: int
    """side of a tile in pixels; pictures that are shorter are not cut along that side"""
    overlap: float = Tiling.overlap
    """share of its side that neighbours have in common at least: an object up to so long lies whole in some tile"""
    min_share: float = Tiling.min_share
    """an object is kept in a tile that shows at least this share of it (of its mask, else of its box), and ignored
    where less is seen"""
    empty_share: float = Tiling.empty_share
    """share of the tiles without an object that are written"""
    splits: tuple[str, ...] = ()
    """only these; train+val makes one of both"""
    picture_format: Literal["source", "png", "jpg"] = "source"
    """of the tiles; source: JPEG of JPEG files, which loses a little, PNG of all others"""
    dry_run: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """say what would be cut, and write nothing"""
    skip_missing: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """leave out pictures that are not on disk, instead of stopping"""


def main(arguments: Sequence[str]) -> int:
    command = parse(DataTileCommand, "data tile", arguments)
    check_place(command.out, [command.data])
    tiling = Tiling(
        size=command.size,
        overlap=command.overlap,
        min_share=command.min_share,
        empty_share=command.empty_share,
    )
    contents = open_contents(command.data, command.splits, skip_missing=command.skip_missing)
    say_notes([*contents.notes, *(loss.text for loss in contents.unread)])
    if command.dry_run:
        for split, table in contents.splits.items():
            print(f"{split}: {cut_annotations(table, tiling).words()}")
        return 0
    copies: list[TiledCopy] = []
    with whole_folder(command.out) as draft, Progress() as bar:
        for split, table in contents.splits.items():
            task = bar.task(f"cutting {split}", len(table))
            copy = write_tiles(
                table, draft, tiling, split=split, ending=command.picture_format, progress=task
            )
            task(len(table))
            print(f"{split}: {copy.words()}", flush=True)
            copies.append(copy)
        report = json_text(_report(contents, tiling, copies), indent=1)
        (draft / REPORT).write_text(report, encoding="utf-8")
    print(f"written: {Path(command.out)}", file=sys.stderr)
    return 1 if any(copy.unread for copy in copies) else 0


def _report(contents: Contents, tiling: Tiling, copies: Sequence[TiledCopy]) -> JsonObject:
    """What was cut, what of it is not there, and what readers had to say, for losses.json."""
    return {
        "source": contents.source,
        "to": "coco",
        "tiles": asdict(tiling),
        "splits": {
            split: {**copy.tiles.counts._asdict(), "written": copy.num_written, "as_jpeg": copy.num_jpeg}
            for split, copy in zip(contents.splits, copies, strict=True)
        },
        "losses": [loss.to_dict() for loss in (*contents.unread, *_losses(tiling, copies))],
        "unread": [why for copy in copies for why in copy.unread],
        "notes": list(contents.notes),
    }


def _losses(tiling: Tiling, copies: Sequence[TiledCopy]) -> list[Loss]:
    """What is not in the tiles as it was in the pictures, over all splits; the lines of what there is."""
    total = {name: sum(copy.tiles.counts._asdict()[name] for copy in copies) for name in TileCounts._fields}
    unread, as_jpeg = sum(len(copy.unread) for copy in copies), sum(copy.num_jpeg for copy in copies)
    told = (
        (
            "cut",
            total["cut"],
            "object in a tile",
            "objects in tiles",
            "cut by a border, what is seen of it is kept",
        ),
        (
            "little_seen",
            total["ignored"],
            "object in a tile",
            "objects in tiles",
            f"ignored, for less than {tiling.min_share:g} of it is seen",
        ),
        ("never_whole", total["never_whole"], "object", "objects", "whole in no tile"),
        ("never_learnt", total["never_learnt"], "object", "objects", "learnt in no tile"),
        ("empty_tiles", total["left_out"], "tile", "tiles", "without an object to learn: left out"),
        ("jpeg", as_jpeg, "tile", "tiles", f"as JPEG of quality {JPEG_QUALITY}, which loses a little"),
        (
            "unread_pictures",
            unread,
            "picture",
            "pictures",
            "could not be read, so that its tiles are not there",
        ),
        (
            "ids",
            total["tiles"] - total["left_out"],
            "tile",
            "tiles",
            "numbered anew, and so are their objects",
        ),
    )
    return [Loss(key, n, f"{counted(n, one, many)}: {text}") for key, n, one, many, text in told if n]
