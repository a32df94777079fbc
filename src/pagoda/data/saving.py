"""Any data set of (picture, targets) saved as a COCO folder."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from PIL import Image

from pagoda.data.table.assembly import tabulate
from pagoda.data.table.samples import PictureDataset
from pagoda.files.atomic import inside, write_atomically, writing
from pagoda.files.text import json_text
from pagoda.structures.instances import Targets


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
    path = Path(path)
    json_path, pictures = inside(path, "annotations", f"{split}.json"), inside(path, "images", split)
    if json_path.exists() or (pictures.is_dir() and any(pictures.iterdir())):
        there = json_path if json_path.exists() else f"a folder {pictures} with files"
        raise FileExistsError(f"{there} is there already; remove it or choose another split")
    pictures.mkdir(parents=True, exist_ok=True)
    saved = _save_pictures(dataset, pictures, ending)
    table = tabulate(saved, label_map=dataset.label_map, root=pictures, source=str(json_path))
    text = json_text({**table.to_coco(), "info": {}})
    return write_atomically(json_path, lambda temporary: temporary.write_text(text, encoding="utf-8"))


def _save_pictures(dataset: PictureDataset, folder: Path, ending: str) -> Iterator[Targets]:
    """Each picture is written before its targets are handed on, with the file's name and number."""
    for index in range(len(dataset)):
        file = f"{index + 1:06d}.{ending}"
        targets = replace(dataset.targets(index), image_id=index + 1, file=file)
        pixels = dataset.picture(index).permute(1, 2, 0).numpy()
        with writing(folder / file):
            Image.fromarray(pixels).save(folder / file, quality=95)  # of no effect on PNG
        yield targets
