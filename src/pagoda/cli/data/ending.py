"""What all verbs of `pagoda data` end with: the report, and the folder."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

import tyro

from pagoda.data.writing.contents import Contents
from pagoda.data.writing.folder import VIDEO_WRITERS, WRITERS, LinkKind, plan, write_dataset
from pagoda.data.writing.holding import FormatName
from pagoda.data.writing.videos import VideoContents
from pagoda.files.text import json_text
from pagoda.messages import counted
from pagoda.plain import checked

KeptFormat = Literal["same", "coco", "voc", "yolo", "labelme", "mot", "posetrack"]
SHOWN_NOTES = 5
"""of what readers had to say; all of it stands in losses.json"""


@checked
@dataclass(frozen=True, kw_only=True)
class WriteOptions:
    """How a data set is written."""

    link: LinkKind = "copy"
    """hard, sym: link the pictures instead of copying them"""
    strict: bool = False
    """write nothing where something would be lost"""
    dry_run: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """say what would be lost, and write nothing"""
    skip_missing: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """leave out pictures that are not on disk, instead of stopping"""
    json: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """print the report as JSON"""


@checked
def kept_format(contents: Contents | VideoContents, to: KeptFormat) -> FormatName:
    """The format that is asked for; else the one that was read, or COCO, where that cannot be written."""
    if to != "same":
        return to
    is_written = contents.kind in WRITERS or contents.kind in VIDEO_WRITERS
    return contents.kind if is_written else "coco"  # type: ignore[return-value]


@checked
def say_notes(notes: Sequence[str]) -> None:
    """The first of what readers had to say, and how many more there are."""
    for note in notes[:SHOWN_NOTES]:
        print(f"note: {note}", file=sys.stderr)
    rest = len(notes) - SHOWN_NOTES
    if rest > 0:
        print(f"note: {counted(rest, 'further note')} in losses.json", file=sys.stderr)


@checked
def finish(
    contents: Contents | VideoContents, name: FormatName, out: str, options: WriteOptions, said: str = ""
) -> int:
    """Tell what is written and lost, then write it; 0."""
    planned = plan(contents, name)
    if options.json:
        print(json_text(planned.to_dict(), indent=1))
    else:
        print("\n".join(part for part in (said, planned.text()) if part), flush=True)
    say_notes(contents.notes)
    if options.dry_run:
        return 0
    write_dataset(planned, out, link=options.link, strict=options.strict)
    print(f"written: {out}", file=sys.stderr)
    return 0
