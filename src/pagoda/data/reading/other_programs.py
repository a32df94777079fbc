"""Annotations that are not read: whose they are, told from the beginnings of files, and what to export instead."""

import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from pagoda.pictures.files import is_picture

MAX_LOOKED_INTO = 200
"""Files of each ending; what no beginning tells of a folder's first files, its others seldom do"""
MAX_DEPTH = 5
HEAD_BYTES = 2**16
NUMBER = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?")


class Unread(NamedTuple):
    """A format that is not read."""

    name: str
    """what a file of it is"""
    remedy: str
    """what to do to have it read"""
    is_it: Callable[[str], bool]
    """whether a file that begins so is of it"""


def describe_unread(path: Path) -> str:
    """Whose annotations lie in a folder, or a file is, and what to do; "" where nothing is recognised.

    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     file = Path(folder, "annotations.xml")
    ...     _ = file.write_text("<annotations><image id='0' name='a.jpg'></image></annotations>")
    ...     describe_unread(Path(folder)).partition(":")[0]
    "annotations.xml is a file of 'CVAT for images', which is not read"
    """
    for file in [path] if path.is_file() else _files(path):
        for unread in UNREAD.get(file.suffix.lower(), ()):
            if unread.is_it(_head(file)):
                place = file.relative_to(path).as_posix() if file != path else str(file)
                remedy = unread.remedy if file == path else unread.remedy.replace("DIR", str(path))
                return f"{place} is {unread.name}, which is not read: {remedy}"
    return ""


def label_file_kind(line: str) -> str:
    """Whose label files have lines like this, in words; "" for all but KITTI's and DOTA's.

    >>> label_file_kind("4 6 24 6 24 16 4 16 plane 0").partition(":")[0]
    'it is a line of a label file of DOTA, which is not read'
    """
    names = ("a label file of KITTI", "a label file of DOTA")
    found = next((each for each in UNREAD[".txt"] if each.name in names and each.is_it(line)), None)
    return f"it is a line of {found.name}, which is not read: {found.remedy}" if found else ""


def _files(folder: Path) -> Iterator[Path]:
    """Those of the endings that are known, at any depth up to `MAX_DEPTH`; the first ones of each."""
    counts = dict.fromkeys(UNREAD, 0)
    for above, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        if len(Path(above).relative_to(folder).parts) >= MAX_DEPTH:
            folders.clear()
        for name in sorted(names):
            ending = os.path.splitext(name)[1].lower()
            if ending in counts and counts[ending] < MAX_LOOKED_INTO:
                counts[ending] += 1
                yield Path(above, name)


def _head(file: Path) -> str:
    try:
        with file.open("rb") as opened:
            return opened.read(HEAD_BYTES).decode("utf-8-sig", errors="replace").lstrip()
    except OSError:
        return ""


def _anything(_: str) -> bool:
    return True


def _has(*words: str) -> Callable[[str], bool]:
    return lambda head: all(word in head for word in words)


def _has_keys(*keys: str) -> Callable[[str], bool]:
    return _has(*(f'"{key}"' for key in keys))


def _rows(head: str) -> list[list[str]]:
    """The words of the first lines that are whole."""
    lines = head.splitlines()
    whole = lines[:-1] if len(head) >= HEAD_BYTES // 2 else lines
    return [line.split() for line in whole[:20] if line.strip()]


def _are_numbers(words: list[str]) -> bool:
    return all(NUMBER.fullmatch(word) for word in words)


def _is_kitti(head: str) -> bool:
    rows = _rows(head)
    return bool(rows) and all(
        len(row) in (15, 16) and not _are_numbers(row[:1]) and _are_numbers(row[1:]) for row in rows
    )


def _is_dota(head: str) -> bool:
    rows = [row for row in _rows(head) if not row[0].lower().startswith(("imagesource", "gsd"))]
    return bool(rows) and all(
        len(row) in (9, 10) and _are_numbers(row[:8]) and not _are_numbers(row[8:9]) for row in rows
    )


def _is_yolo(head: str) -> bool:
    rows = _rows(head)
    return bool(rows) and all(
        len(row) >= 5
        and _are_numbers(row)
        and row[0].isdigit()
        and all(-1 <= float(word) <= 2 for word in row[1:])
        for row in rows
    )


def _is_wider(head: str) -> bool:
    rows = _rows(head)
    return (
        len(rows) > 2
        and len(rows[1]) == 1
        and rows[1][0].isdigit()
        and len(rows[2]) == 10
        and _are_numbers(rows[2])
    )


def _is_list_with_boxes(head: str) -> bool:
    rows = _rows(head)
    return bool(rows) and all(
        len(row) > 1
        and is_picture(row[0])
        and all(_are_numbers(word.split(",")) and "," in word for word in row[1:])
        for row in rows
    )


def _is_table_of_retinanet(head: str) -> bool:
    rows = [line.split(",") for line in head.splitlines()[:20] if line.strip()]
    return bool(rows) and all(
        len(row) == 6 and is_picture(row[0]) and (_are_numbers(row[1:5]) or row[1:] == [""] * 5)
        for row in rows
    )


def _columns(*names: str) -> Callable[[str], bool]:
    wanted = set(names)
    return lambda head: (
        wanted <= {word.strip(' "').lower() for word in head.partition("\n")[0].replace(";", ",").split(",")}
    )


CVAT = "export the task from CVAT again as 'COCO 1.0'"
DATUMARO = (
    "convert it with Datumaro (pip install 'datumaro[cli]'):"
    " datum convert -i DIR -if {} -f coco -o NEW -- --save-media"
)
AS_COCO = (
    "write one COCO file of it beside the pictures: images (id, file_name), annotations (id, image_id, category_id and"
    " bbox [x, y, width, height] in pixels), categories (id, name)"
)
OWN_EXPORT = "export it again as COCO from the program it is from"

UNREAD: dict[str, tuple[Unread, ...]] = {
    ".xml": (
        Unread("a file of 'CVAT for images'", CVAT, _has("<annotations>", "<image ")),
        Unread(
            "a file of 'CVAT for video'",
            f"{CVAT} to learn from its frames, or as 'MOT 1.1' to score tracks",
            _has("<annotations>", "<track "),
        ),
        Unread("a file of CVAT", CVAT, _has("<annotations>", "<version>", "<meta>")),
    ),
    ".json": (
        Unread(
            "an annotation of Supervisely",
            "export the project from Supervisely with its app 'Export to COCO'",
            _has_keys("objects", "classTitle", "points"),
        ),
        Unread(
            "a file of BDD100K or Scalabel",
            "convert each file with BDD100K's own program (github.com/bdd100k/bdd100k): python -m bdd100k.label.to_coco"
            " -m det -i FILE -o annotations/train.json",
            _has_keys("labels", "box2d", "category"),
        ),
        Unread(
            "a file of Datumaro", DATUMARO.format("datumaro"), _has_keys("items", "categories", "label_id")
        ),
        Unread(
            "a file of VoTT",
            "export the project from VoTT again as 'Pascal VOC'",
            _has_keys("asset", "regions", "tags"),
        ),
        Unread(
            "a file of V7 Darwin",
            "convert it with V7's own program (pip install darwin-py): darwin convert coco FOLDER_OF_JSON_FILES NEW",
            _has_keys("item", "annotations", "bounding_box"),
        ),
        Unread("a project of VIA 3", OWN_EXPORT, _has_keys("project", "fid_list", "metadata")),
        Unread(
            "a list of COCO results",
            "these are predictions; a data set needs ground truth with the lists images, annotations and categories",
            lambda head: head.startswith("[") and _has_keys("image_id", "category_id", "score")(head),
        ),
        Unread(
            "a COCO file without one of the lists images, annotations and categories",
            'add it: "images": [{"id": 1, "file_name": "a.jpg"}], "categories": [{"id": 1, "name": "cat"}]',
            _has_keys("image_id", "category_id", "bbox"),
        ),
    ),
    ".txt": (
        Unread(
            "a label file of KITTI",
            "put the pictures into DIR/training/image_2 and the labels into DIR/training/label_2, and"
            f" {DATUMARO.format('kitti')}",
            _is_kitti,
        ),
        Unread(
            "a label file of DOTA",
            "write each object as `class x1 y1 x2 y2 x3 y3 x4 y4`, the class by its number from 0 and the corners in"
            " shares of the picture's sides (YOLO), with the names in a data.yaml",
            _is_dota,
        ),
        Unread("a list of pictures with boxes (as keras-yolo3 has it)", AS_COCO, _is_list_with_boxes),
        Unread("a list of WIDER FACE", DATUMARO.format("wider_face"), _is_wider),
        Unread(
            "a label file of YOLO without the names of its classes",
            "write them into DIR/classes.txt, one in each line, in the order of their numbers",
            _is_yolo,
        ),
    ),
    ".csv": (
        Unread(
            "a CSV file of VIA",
            "export the project from VIA again: Annotation, Export Annotations (as json)",
            _columns("filename", "region_shape_attributes"),
        ),
        Unread(
            "a table of boxes (Roboflow's CSV, TensorFlow's tutorials)",
            "export the version from Roboflow again as COCO, or take the XML files that the table was made of",
            _columns("filename", "class", "xmin", "ymax"),
        ),
        Unread("a table of Open Images", AS_COCO, _columns("imageid", "labelname", "xmin", "ymax")),
        Unread("a table of boxes (as keras-retinanet has it)", AS_COCO, _is_table_of_retinanet),
    ),
    ".ndjson": (
        Unread("an export of Labelbox", AS_COCO, _has_keys("data_row", "projects")),
        Unread(
            "a data set of Ultralytics' platform",
            "download it from there again in the YOLO format",
            _has_keys("type", "class_names"),
        ),
    ),
    ".jsonl": (Unread("metadata of Hugging Face", AS_COCO, _has_keys("file_name", "objects", "bbox")),),
    ".manifest": (Unread("a manifest of SageMaker Ground Truth", AS_COCO, _has_keys("source-ref")),),
    ".parquet": (
        Unread(
            "a Parquet table",
            f"open it with the program it is from (datasets.load_dataset of Hugging Face), and {AS_COCO}",
            _anything,
        ),
    ),
    **dict.fromkeys((".tfrecord", ".tfrecords", ".record"), (Unread("a TFRecord", OWN_EXPORT, _anything),)),
    **dict.fromkeys(
        (".zip", ".tar", ".tgz", ".gz", ".7z", ".rar"), (Unread("an archive", "unpack it", _anything),)
    ),
}
