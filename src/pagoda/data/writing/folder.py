"""A data set written into a new folder: annotations, pictures byte for byte, and what was lost; whole or not at all."""

import errno
import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pagoda.data.writing.coco import write_coco_files
from pagoda.data.writing.contents import Contents
from pagoda.data.writing.holding import TITLES, FormatName, Loss
from pagoda.data.writing.labelme import write_labelme_files
from pagoda.data.writing.losses import hold
from pagoda.data.writing.videos import (
    Pairs,
    VideoContents,
    as_frames,
    hold_videos,
    write_mot_files,
    write_posetrack_files,
)
from pagoda.data.writing.voc import write_voc_files
from pagoda.data.writing.yolo import write_yolo_files
from pagoda.files.atomic import refuse_occupied, whole_folder, writing
from pagoda.files.text import json_text
from pagoda.messages import counted
from pagoda.pictures.read import PictureError, picture_inside, picture_size
from pagoda.plain import JsonObject, checked

LinkKind = Literal["copy", "hard", "sym"]
"""how pictures come into the folder: copied, or as links to where they are"""
REPORT = "losses.json"

WRITERS: Mapping[str, tuple[Callable[[Contents, Path], None], str]] = {
    "coco": (write_coco_files, "images/{split}"),
    "voc": (write_voc_files, "JPEGImages"),
    "yolo": (write_yolo_files, "images/{split}"),
    "labelme": (write_labelme_files, "{split}"),
}
"""format → what writes its files, and the folder of a split's pictures"""


VIDEO_WRITERS: Mapping[str, Callable[[VideoContents, Path], Pairs]] = {
    "mot": write_mot_files,
    "posetrack": write_posetrack_files,
}


@checked
@dataclass(frozen=True, eq=False)
class Plan:
    """A data set as it will stand in a format, and what will be lost; nothing is written yet."""

    held: Contents | VideoContents
    """what will come back"""
    name: FormatName
    """the format"""
    losses: tuple[Loss, ...]
    """what the format cannot hold, counted"""
    source: Contents | VideoContents
    """what was read"""

    def text(self) -> str:
        """What is written and what is lost, a line each."""
        counts = self._counts()
        told = f"{counted(sum(counts.values()), 'picture')}, {counted(self._num_objects(), 'object')}"
        head = f"{self.source.source} as {TITLES[self.name]}: {told}, {', '.join(counts)}"
        lines = [f"  {loss.text}" for loss in self.losses] or ["  nothing is lost"]
        return "\n".join([head, *lines])

    def to_dict(self) -> JsonObject:
        """The same, with what readers had to say, for losses.json."""
        return {
            "source": self.source.source,
            "to": self.name,
            "splits": self._counts(),
            "objects": self._num_objects(),
            "losses": [loss.to_dict() for loss in self.losses],
            "notes": list(self.source.notes),
        }

    def _counts(self) -> dict[str, int]:
        """Split → its pictures."""
        if isinstance(self.held, Contents):
            return {split: len(table) for split, table in self.held.splits.items()}
        return {
            split: sum(video.tracks.num_frames for video in each) for split, each in self.held.splits.items()
        }

    def _num_objects(self) -> int:
        if isinstance(self.held, Contents):
            return self.held.num_objects
        return sum(len(video.tracks) for video in self.held.videos)


@checked
def plan(contents: Contents | VideoContents, name: FormatName) -> Plan:
    """What writing the data set in that format would keep and lose. Raises ValueError where it cannot be written:
    pictures as videos, and what the format has no place for at all."""
    if isinstance(contents, Contents):
        held, losses = hold(contents, name)
        return Plan(held, name, (*contents.unread, *losses), contents)
    videos, of_videos = hold_videos(contents, name)
    if name in VIDEO_WRITERS:
        return Plan(videos, name, (*contents.unread, *of_videos), contents)
    frames, losses = hold(as_frames(contents), name)
    return Plan(frames, name, (*contents.unread, *of_videos, *losses), contents)


@checked
def write_dataset(planned: Plan, out: str | Path, *, link: LinkKind = "copy", strict: bool = False) -> Path:
    """Write what is planned into `out`, a new or empty folder, which appears when all of it is there.

    Pictures are copied byte for byte, or linked. Raises ValueError where `strict` and something would be lost, where
    `out` lies in the folder that was read, and for pictures of another size than annotated in a format that knows
    shares alone; FileExistsError where `out` is not empty, OSError where there is no room.

    >>> from tempfile import TemporaryDirectory
    >>> from pagoda.data.drawn.synthetic import DrawnShapes
    >>> from pagoda.data.saving import write_coco_folder
    >>> from pagoda.data.writing.contents import open_contents
    >>> with TemporaryDirectory() as folder:
    ...     _ = write_coco_folder(DrawnShapes(1, (32, 48)), f"{folder}/coco")
    ...     planned = plan(open_contents(f"{folder}/coco"), "yolo")
    ...     path = write_dataset(planned, f"{folder}/yolo")
    ...     sorted(file.relative_to(path).as_posix() for file in path.rglob("*.*"))
    ['data.yaml', 'images/train/000001.png', 'labels/train/000001.txt', 'losses.json']
    """
    out = Path(out)
    if strict and planned.losses:
        raise ValueError(
            f"nothing is written, for with --strict nothing may be lost: "
            f"{'; '.join(loss.text for loss in planned.losses)}"
        )
    check_place(out, planned.source.folders)
    if planned.name == "yolo" and isinstance(planned.held, Contents):
        _check_sizes(planned.held)
        if link == "sym":
            raise ValueError(
                "YOLO finds the labels of a picture by its path, and that of a link is the file it leads to; choose"
                " --link hard, or copy"
            )
    with whole_folder(out) as draft, writing(out):
        for source, place in _write(planned, draft):
            _bring(source, draft / place, link)
        (draft / REPORT).write_text(json_text(planned.to_dict(), indent=1), encoding="utf-8")
    return out


def _write(planned: Plan, folder: Path) -> Pairs:
    """All files but the pictures; returns where these go."""
    if not isinstance(planned.held, Contents):
        return VIDEO_WRITERS[planned.name](planned.held, folder)
    write, place = WRITERS[planned.name]
    write(planned.held, folder)
    return [
        (source, f"{place.format(split=split)}/{file}")
        for split, table in planned.held.splits.items()
        for file, source in zip(table.files, planned.held.pictures[split], strict=True)
    ]


def check_place(out: str | Path, sources: Sequence[str | Path]) -> None:
    """Raises FileExistsError where `out` is there and no empty folder, ValueError where it lies in one of the folders
    that are read, whose reader would find it there."""
    out = Path(out)
    refuse_occupied(out)
    for place in map(Path, sources):
        folder = place if place.is_dir() else place.parent
        if out.resolve().is_relative_to(folder.resolve()):
            raise ValueError(f"{out} lies in {folder}, which is read; choose a folder outside the data set")


def _check_sizes(contents: Contents) -> None:
    """The sizes of pictures are not in YOLO's files, so that those of the pictures must be the annotated ones."""
    for split, table in contents.splits.items():
        for path, size in zip(contents.pictures[split], table.sizes.tolist(), strict=True):
            found = picture_size(path)
            if found != tuple(size):
                raise PictureError(
                    f"{path} is {found[0]}×{found[1]} (height×width), but annotated as {size[0]}×{size[1]}, and YOLO"
                    " has no sizes of its own; restore the annotated picture (pagoda doctor lists all)"
                )


def _bring(source: Path, target: Path, link: LinkKind) -> None:
    """The picture to its place: copied, or linked where it is a file of its own."""
    if target.exists():  # a picture of two splits in VOC's one folder
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    inside = picture_inside(source)
    if not isinstance(inside, str | Path):
        target.write_bytes(inside.read())
    elif link == "sym":
        os.symlink(source.resolve(), target)
    elif link == "hard":
        _hard_link(source.resolve(), target)
    else:
        try:
            with source.open("rb"):
                pass
        except OSError as error:
            raise PictureError(f"cannot read {source}: {error}; nothing is written") from error
        shutil.copyfile(source, target)


def _hard_link(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except OSError as error:
        if error.errno not in (errno.EXDEV, errno.EPERM, errno.EMLINK, errno.ENOTSUP):
            raise
        raise ValueError(
            f"{source} cannot be linked from here ({error.strerror}): the folders are on different disks, or the"
            " disk knows no such links; copy (leave out --link), or choose --link sym"
        ) from error
