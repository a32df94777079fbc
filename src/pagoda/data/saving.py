"""Any data set of (picture, targets) saved as a COCO folder; and one cut into tiles."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path, PurePosixPath
from typing import Literal

import numpy as np
from PIL import Image

from pagoda.data.table.annotations import Annotations
from pagoda.data.table.assembly import tabulate
from pagoda.data.table.samples import PictureDataset
from pagoda.data.table.strings import PackedStrings
from pagoda.data.tiled_dataset import TiledDataset
from pagoda.data.tiles import Tiles, Tiling, cut_annotations
from pagoda.files.atomic import inside, safe_name, write_atomically, writing
from pagoda.files.text import json_text
from pagoda.messages import counted, short_list
from pagoda.pictures.read import PictureError
from pagoda.plain import checked
from pagoda.structures.instances import Targets

JPEG_QUALITY = 95
JPEG_ENDINGS = (".jpg", ".jpeg", ".jpe", ".jfif")


def write_coco_folder(
    dataset: PictureDataset, path: str | Path, *, split: str = "train", ending: str = "png"
) -> Path:
    """Save pictures and targets as images/<split>/ and annotations/<split>.json; returns the JSON file.

    Pictures are called 000001.png, 000002.png, … Masks are written as run lengths, keypoints where there are any.
    Raises FileExistsError rather than replace a split, ValueError for one that would lie outside `path`. With
    `ending` "jpg" the pixels lose a little.

    >>> from tempfile import TemporaryDirectory
    >>> from pagoda.data.drawn.synthetic import DrawnShapes
    >>> from pagoda.files.text import read_json
    >>> with TemporaryDirectory() as folder:
    ...     path = write_coco_folder(DrawnShapes(2, (32, 48)), folder, split="val")
    ...     path.relative_to(folder).as_posix(), list(read_json(path))
    ('annotations/val.json', ['info', 'images', 'categories', 'annotations'])
    """
    json_path, pictures = _new_split(Path(path), split)
    saved = _save_pictures(dataset, pictures, ending)
    table = tabulate(saved, label_map=dataset.label_map, root=pictures, source=str(json_path))
    text = json_text({**table.to_coco(), "info": {}})
    return write_atomically(json_path, lambda temporary: temporary.write_text(text, encoding="utf-8"))


def _save_pictures(dataset: PictureDataset, folder: Path, ending: str) -> Iterator[Targets]:
    """Each picture is written before its targets are handed on, with the file's name and number."""
    for index in range(len(dataset)):
        file = f"{index + 1:06d}.{ending}"
        targets = replace(dataset.targets(index), image_id=index + 1, file=file)
        _save(dataset.picture(index).permute(1, 2, 0).numpy(), folder / file)
        yield targets


@dataclass(frozen=True)
class TiledCopy:
    """What `write_tiles` wrote."""

    path: Path
    """the JSON file"""
    tiles: Tiles
    """what was cut, with its counts"""
    num_written: int
    """tiles that are there now"""
    num_jpeg: int
    """of these, whose pixels have lost a little"""
    unread: tuple[str, ...]
    """why pictures could not be read, whose tiles are not there"""

    def words(self) -> str:
        """What was cut, in which quality it was written, and what is not there."""
        told = [f"{counted(self.num_written, 'tile')} written", self.tiles.words()]
        if self.num_jpeg:
            told.append(
                f"{self.num_jpeg} as JPEG of quality {JPEG_QUALITY}, which loses a little (PNG loses nothing)"
            )
        if self.unread:
            pictures = counted(len(self.unread), "picture")
            told.append(
                f"{pictures} could not be read, and their tiles are not there: {short_list(self.unread, 3)}"
            )
        return "; ".join(told)


@checked
def write_tiles(
    annotations: Annotations,
    path: str | Path,
    tiling: Tiling,
    *,
    split: str = "train",
    ending: Literal["source", "png", "jpg"] = "source",
    progress: Callable[[int], None] | None = None,
) -> TiledCopy:
    """Save the tiles of pictures as a data set of its own: images/<split>/ and annotations/<split>.json in `path`.

    What becomes of the objects: `tiles.cut_annotations`. A tile is called by its picture and by where its left upper
    corner lies, photo_480_0.png, and its entry in the JSON says both, as `tile_of` and `tile_at`. Pixels are RGB of
    8 bits, as they are learnt from; by "source" tiles of JPEG files become JPEG, all others PNG. A picture that cannot
    be read is left out with its tiles, and told. `progress` is called with how
    many pictures are done.

    Raises FileExistsError rather than replace a split, ValueError for one that would lie outside `path`, PictureError
    where no picture could be read.

    >>> from tempfile import TemporaryDirectory
    >>> from pagoda.data.drawn.synthetic import DrawnShapes
    >>> from pagoda.data.formats.reader import open_annotations
    >>> with TemporaryDirectory() as folder:
    ...     _ = write_coco_folder(DrawnShapes(2, (64, 96)), f"{folder}/whole")
    ...     copy = write_tiles(open_annotations(f"{folder}/whole"), f"{folder}/tiles", Tiling(size=64))
    ...     open_annotations(f"{folder}/tiles").files.tolist()
    ['000001_0_0.png', '000001_32_0.png', '000002_0_0.png', '000002_32_0.png']
    >>> copy.num_written, copy.num_jpeg, copy.unread
    (4, 0, ())
    """
    json_path, pictures = _new_split(Path(path), split)
    tiles = cut_annotations(annotations, tiling)
    names = _tile_names(tiles, ending)
    unread = _save_tiles(tiles, [pictures / name for name in names], progress)
    kept = ~np.isin(tiles.owners, list(unread))
    if unread and not kept.any():
        raise PictureError(f"none of the pictures could be read: {short_list(unread.values(), 3)}")
    table = replace(tiles.annotations, files=PackedStrings.pack(names)).subset(kept)
    document = {**table.to_coco(), "info": {"description": f"{annotations.source}, cut: {tiles.words()}"}}
    for entry, owner, window in zip(
        document["images"], tiles.owners[kept], tiles.windows[kept].tolist(), strict=True
    ):
        entry |= {"tile_of": annotations.files[int(owner)], "tile_at": window[:2]}
    write_atomically(json_path, lambda draft: draft.write_text(json_text(document), encoding="utf-8"))
    num_jpeg = sum(name.endswith(".jpg") for name in table.files)
    return TiledCopy(json_path, tiles, len(table), num_jpeg, tuple(unread.values()))


def _tile_names(tiles: Tiles, ending: str) -> list[str]:
    """A name for every tile, all different, also on disks that do not tell a from A."""
    taken: set[str] = set()
    stems, endings = [], []
    for file in tiles.pictures.files:
        stem = safe_name(str(PurePosixPath(file).with_suffix("")), max_bytes=150)
        free = next(
            name for n in count(1) if (name := stem if n == 1 else f"{stem}-{n}").casefold() not in taken
        )
        taken.add(free.casefold())
        stems.append(free)
        as_jpeg = file.lower().endswith(JPEG_ENDINGS) if ending == "source" else ending == "jpg"
        endings.append("jpg" if as_jpeg else "png")
    return [
        f"{stems[owner]}_{left}_{top}.{endings[owner]}"
        for owner, (left, top, _, _) in zip(tiles.owners.tolist(), tiles.windows.tolist(), strict=True)
    ]


def _save_tiles(tiles: Tiles, paths: list[Path], progress: Callable[[int], None] | None) -> dict[int, str]:
    """The tiles written to `paths`; of each picture that could not be read why."""
    dataset, unread = TiledDataset(tiles), dict[int, str]()
    for index, (owner, path) in enumerate(zip(tiles.owners.tolist(), paths, strict=True)):
        if progress is not None and index and owner != tiles.owners[index - 1]:
            progress(owner)
        if owner in unread:
            continue
        try:
            pixels = dataset.pixels(index)
        except PictureError as error:
            unread[owner] = str(error)
            continue
        _save(pixels, path)
    return unread


def _new_split(path: Path, split: str) -> tuple[Path, Path]:
    """(JSON file, folder of pictures) of a split that is not there yet; the folder is made."""
    json_path, pictures = inside(path, "annotations", f"{split}.json"), inside(path, "images", split)
    if json_path.exists() or (pictures.is_dir() and any(pictures.iterdir())):
        there = json_path if json_path.exists() else f"a folder {pictures} with files"
        raise FileExistsError(f"{there} is there already; remove it or choose another split")
    pictures.mkdir(parents=True, exist_ok=True)
    return json_path, pictures


def _save(pixels: np.ndarray, path: Path) -> None:
    with writing(path):
        Image.fromarray(pixels).save(path, quality=JPEG_QUALITY)  # of no effect on PNG
