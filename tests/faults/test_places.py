"""What is wrong in a file is told with the file, the entry and what stands there: a row for each kind of fault."""

import io
import json
import warnings
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

import pytest
from annotations import KINDS
from rich_layouts import MOT_ROWS

from pagoda.data.formats.reader import open_annotations
from pagoda.explain.doctor.examine import examine


def in_json(change: Callable[[Any], object]) -> Callable[[str], str]:
    """What changes a value of the document."""

    def edit(text: str) -> str:
        document = json.loads(text)
        change(document)
        return json.dumps(document)

    return edit


def setting(*path: Any) -> Callable[[str], str]:
    """The last of `path` becomes the value at the place that the others lead to."""

    def change(document: Any) -> None:
        for key in path[:-2]:
            document = document[key]
        document[path[-2]] = path[-1]

    return in_json(change)


def swapped(old: str, new: str) -> Callable[[str], str]:
    return lambda text: text.replace(old, new, 1)


WALK = "found/walk.json"
ROWS = [
    ("tracks of 2017", WALK, setting("annolist", 2, "x"), "'annolist' must be a list of objects"),
    ("tracks of 2017", WALK, setting("annolist", 1, "annorect", 0, "x"), "frame 2 of annolist: a value is of another"),
    ("tracks of 2017", WALK, setting("annolist", 1, "annorect", 0, "track_id", [0.5], ), "track_id must be a whole"),
    ("tracks of 2018", WALK, setting("annotations", 0, "keypoints", 4, "x"), "annotation 1 of image 1: keypoints must"),
    ("tracks of 2018", WALK, setting("annotations", 1, "keypoints", 4, 1e300), r"within ±1e\+09 pixels, got"),
    ("tracks of 2018", WALK, setting("images", 0, "frame_id", [1]), "frame_id must be a whole number, got"),
    ("tracks of 2018", WALK, setting("images", 0, "height", "tall"), "image 1: height and width must be those of"),
    ("tracks of ours", WALK, setting("predictions", 1, "objects", 0, "label", [0]), "prediction 2: object 1: label"),
    ("tracks of ours", WALK, setting("predictions", 1, "objects", 0, "label", 10**9), "prediction 2: object 1: label"),
    ("tracks of ours", WALK, setting("predictions", 0, "file", {"a": 1}), "prediction 1: file must be text"),
    ("tracks of ours", WALK, setting("predictions", 0, "objects", 0, "score", "?"), "object 1: score must"),
    ("tracks of ours", WALK, setting("failed", 7), "walk.json: 'failed' must be a list with a sentence"),
    ("tracks in text", "found/walk.txt", swapped("2,7,", "2,1e300,"), "walk.txt line 2: expected an id"),
    ("tracks in text", "found/walk.txt", swapped("2,7,", "1000000000,7,"), "walk.txt line 2: expected a frame"),
    ("tracks in text", "truth/walk/seqinfo.ini", swapped("=3", "=" + "3" * 5000), "seqinfo.ini: expected a whole"),
    ("tracks in text", "truth/walk/seqinfo.ini", swapped("name=walk", "name=run"), "have no partner; without pred"),
    ("mot videos", "train/walk/gt/gt.txt", swapped(MOT_ROWS[:19], "1,7,11,6,10,9,1,1e300,1"), "expected a whole"),
    ("results, boxes", "results.json", setting("categories", 7.5), "its categories, which need id and name"),
    ("results, boxes", "results.json", setting("annotations", 2, "image_id", 9), "results.json: 1 image ids of the"),
    ("results, shapes", "results.json", in_json(lambda rows: rows[2].pop("score")), "result 2 has no score; it has"),
    ("names of classes", "names.txt", swapped("人", "cat"), "names.txt: name given twice in the label map: cat"),
    ("record", "found.jsonl", swapped('"model": "x"', '"model": '), "found.jsonl: line 1: Expecting value"),
    ("record", "found.jsonl", swapped("[20, 40]", "[20]"), "found.jsonl: line 2: a value is of another kind"),
    ("record", "found.jsonl", swapped('"float32"', '"007"'), "found.jsonl: line 2: expected numbers of"),
    ("yolo_poses", "data.yaml", swapped("[3, 3]", "[3000000000, 3]"), "at most 10000 keypoints"),
    ("yolo_poses", "labels/a.txt", swapped("0.3 0.4 2", "inf 0.4 2"), "a.txt, line 1: keypoints must be finite"),
    ("yolo_polygons", "data.yaml", swapped("path: .", 'path: "\\0"'), "data.yaml: "),
    ("yolo_polygons", "data.yaml", swapped("val: images/val", "val: " + "y" * 5000), None),
    ("labelme_of_shapes", "a.json", setting("shapes", 4, "points", [[39, 19]] * 2), "mask of 'cat' is 4×6"),
]  # fmt: skip
"""(kind of data, its file, what happens to it, what is said: None where it is still read)"""


@pytest.mark.parametrize(
    ("kind", "file", "edit", "said"), ROWS, ids=lambda value: "" if callable(value) else str(value)[:40]
)
def test_file_entry_and_value_are_told(
    tmp_path: Path, kind: str, file: str, edit: Callable[[str], str], said: str | None
) -> None:
    KINDS[kind].draw(tmp_path)
    path = tmp_path / file
    whole = path.read_text(encoding="utf-8")
    path.write_text(edit(whole), encoding="utf-8")
    assert path.read_text(encoding="utf-8") != whole
    read = KINDS[kind].reads[0]
    with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
        if said is None:
            return read(tmp_path)
        with pytest.raises(ValueError, match=said) as error:
            read(tmp_path)
    assert str(tmp_path) in str(error.value)


@pytest.mark.parametrize("value", [1e308, float("inf"), float("nan")])
@pytest.mark.parametrize(
    ("kind", "file", "path"),
    [
        ("coco_with_shapes", "annotations/train.json", ("annotations", 1, "bbox", 3)),
        ("via_of_shapes", "via_project.json", ("_via_img_metadata", "a.png99", "regions", 2, "shape_attributes", "rx")),
        ("label_studio_of_shapes", "project-1.json", (0, "annotations", 0, "result", 3, "value", "y")),
    ],
)  # fmt: skip
def test_numbers_beyond_all_measure_are_noted_without_a_warning(
    tmp_path: Path, kind: str, file: str, path: tuple[Any, ...], value: float
) -> None:
    KINDS[kind].draw(tmp_path)
    (tmp_path / file).write_text(setting(*path, value)((tmp_path / file).read_text()))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        json.dumps(examine(tmp_path).statistics, allow_nan=False)
        try:
            told = "\n".join(open_annotations(tmp_path).notes)
        except ValueError as error:
            told = str(error)
    assert "a.png" in told or file in told
