"""What reading accepts the doctor calls readable, and the reverse, whatever has been done to the files."""

import copy
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from pagoda.data.formats.layouts import find_dataset
from pagoda.data.formats.reader import open_annotations
from pagoda.explain.doctor.examine import examine

pytestmark = pytest.mark.medium

SETTINGS = settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
ODD = st.one_of(
    st.sampled_from(
        [
            None, True, False, 0, 1, -1, 2, 3.5, 1.0, 1e400, -1e400, float("nan"), 2**31, 2**63, 2**64, 10**400, 1e300,
            "", "0", "1", "true", "no", "maybe", "cat", " cat ", "a.png", "b.png", "10.5", "nan", "\ufeff", "\0",
            "\ud800", "../a.png", "x" * 300, [], {}, [[]], [1], [1, 2, 3, 4], ["1", "2", "3", "4"], [0, 0, "x", 1],
            [[1, 2, 3, 4, 5, 6]], [["1", 2, 3, 4, 5, 6]], [[1, 2]], [[1, 2, 3]], [[1, 1], [5, 5], [1, 5]],
            {"size": [8, 9], "counts": [72]}, {"size": [8, 9], "counts": [0, 72.0]}, {"size": [8, 9], "counts": "R2"},
            {"size": ["8", 9], "counts": "?"}, {"counts": [1]}, {"size": 3, "counts": [1]}, {"difficult": "x"},
        ]
    ),
    st.integers(-3, 12),
    st.floats(-20, 20),
    st.text(max_size=3),
)  # fmt: skip

COCO: dict[str, Any] = {
    "images": [
        {"id": 1, "file_name": "a.png", "height": 8, "width": 9},
        {"id": 2, "file_name": "b.png", "height": 8, "width": 9},
    ],
    "categories": [{"id": 1, "name": "cat", "keypoints": ["l", "r"], "skeleton": [[1, 2]]}],
    "annotations": [
        {
            "id": 1, "image_id": 1, "category_id": 1, "bbox": [1, 1, 3, 3], "area": 9, "iscrowd": 0, "ignore": 0,
            "segmentation": [[1, 1, 4, 1, 4, 4]], "keypoints": [1, 1, 2, 2, 2, 1],
        },
        {
            "id": 2, "image_id": 2, "category_id": 1, "bbox": [1, 1, 4, 4], "iscrowd": 1,
            "segmentation": {"size": [8, 9], "counts": [10, 3, 59]},
        },
    ],
}  # fmt: skip

LABELME: dict[str, Any] = {
    "imagePath": "a.png",
    "imageData": None,
    "imageHeight": 8,
    "imageWidth": 9,
    "shapes": [
        {
            "label": "cat",
            "shape_type": "polygon",
            "points": [[1, 1], [5, 1], [5, 5]],
            "group_id": 1,
            "flags": {},
        },
        {"label": "nose", "shape_type": "point", "points": [[2, 2]], "group_id": 1},
        {"label": "cat", "shape_type": "rectangle", "points": [[1, 1], [5, 5]], "difficult": False},
        {"label": "cat", "shape_type": "mask", "points": [[1, 1], [5, 5]], "mask": ""},
    ],
}


VIA: dict[str, Any] = {
    "a.png1": {
        "filename": "a.png",
        "regions": [
            {
                "shape_attributes": {"name": "rect", "x": 1, "y": 1, "width": 3, "height": 3},
                "region_attributes": {"class": "a"},
            },
            {"shape_attributes": {"name": "circle", "cx": 4, "cy": 4, "r": 2}, "region_attributes": {"class": "b"}},
            {
                "shape_attributes": {"name": "polygon", "all_points_x": [1, 4, 4], "all_points_y": [1, 1, 4]},
                "region_attributes": {"class": "b"},
            },
        ],
    },
    "b.png1": {"filename": "b.png", "regions": []},
}  # fmt: skip

BOX = {"x": 4, "y": 4, "width": 3, "height": 3}
CREATEML: list[Any] = [
    {"image": name, "annotations": [{"label": name[0], "coordinates": dict(BOX)}]} for name in ("a.png", "b.png")
]  # fmt: skip

SIZE = {"original_width": 9, "original_height": 8}
LABEL_STUDIO: list[Any] = [
    {
        "id": 1,
        "data": {"image": "a.png"},
        "annotations": [
            {
                "result": [
                    {"type": "rectanglelabels", **SIZE, "value": {**BOX, "rotation": 0, "rectanglelabels": ["a"]}},
                    {"type": "polygonlabels", **SIZE, "value": {"points": [[1, 1], [9, 1]], "polygonlabels": "b"}},
                ]
            }
        ],
    },
    {"id": 2, "data": {"image": "b.png"}, "annotations": []},
]  # fmt: skip


def places(value: Any, above: tuple = ()) -> list[tuple]:
    """The path of every value in a document."""
    if isinstance(value, dict | list):
        items = value.items() if isinstance(value, dict) else enumerate(value)
        inner = [place for key, each in items for place in places(each, (*above, key))]
        return [above, *inner] if above else inner
    return [above]


@st.composite
def spoilt(draw: st.DrawFn, document: Any) -> Any:
    """The document with one to three values removed or replaced."""
    changed = copy.deepcopy(document)
    for _ in range(draw(st.integers(1, 3))):
        *above, last = draw(st.sampled_from(places(changed)))
        holder = changed
        for key in above:
            holder = holder[key]
        if draw(st.booleans()) and isinstance(holder, dict) and draw(st.booleans()):
            del holder[last]
        else:
            holder[last] = copy.deepcopy(draw(ODD))
    return changed


def pictures(folder: Path, *names: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        Image.new("RGB", (9, 8)).save(folder / name)


def check(folder: Path) -> None:
    """Both agree; neither stops with anything but a sentence that names a file or folder of the data set."""
    try:
        splits = find_dataset(folder).splits
    except (ValueError, OSError) as refusal:
        with pytest.raises(type(refusal)):
            examine(folder)
        return
    report = examine(folder, max_pictures=0)
    refusals = []
    for split in splits:
        try:
            open_annotations(folder, split)
        except (ValueError, OSError) as refusal:
            assert folder.name in str(refusal), f"which file? {refusal}"
            refusals.append(refusal)
    assert report.is_readable == (not refusals), f"{refusals}\n{report.text()}"
    report.text(), json.dumps(report.to_dict())


@SETTINGS
@given(document=spoilt(COCO))
def test_coco(tmp_path: Path, document: dict) -> None:
    pictures(tmp_path / "images", "a.png", "b.png")
    (tmp_path / "annotations").mkdir(exist_ok=True)
    (tmp_path / "annotations/train.json").write_text(json.dumps(document))
    check(tmp_path)


@SETTINGS
@given(document=spoilt(LABELME))
def test_labelme(tmp_path: Path, document: dict) -> None:
    pictures(tmp_path, "a.png", "b.png")
    (tmp_path / "a.json").write_text(json.dumps(document))
    (tmp_path / "b.json").write_text(
        json.dumps({**LABELME, "imagePath": "b.png", "shapes": LABELME["shapes"][:1]})
    )
    check(tmp_path)


@SETTINGS
@given(document=st.sampled_from([VIA, CREATEML, LABEL_STUDIO]).flatmap(spoilt))
def test_documents_of_other_programs(tmp_path: Path, document: Any) -> None:
    pictures(tmp_path, "a.png", "b.png")
    (tmp_path / "all.json").write_text(json.dumps(document))
    check(tmp_path)


WORDS = st.sampled_from(
    ["0", "1", "0.5", "0.25", "1.0", "2", "3", "-1", "nan", "inf", "1e400", "1e9", "cat", "no", "", "0.5 0.5", "\ufeff"]
)  # fmt: skip


@SETTINGS
@given(
    lines=st.lists(st.lists(WORDS, max_size=11).map(" ".join), max_size=3),
    names=st.sampled_from(
        ["[cat, dog]", "[no, yes]", "{0: a, 1: b}", "{1: a}", "cat", "[a, a]", "[a, [b]]", "", "['', b]"]
    ),
    pose=st.sampled_from(
        ["", "", "kpt_shape: [2, 3]", "kpt_shape: [1, 2]", "kpt_shape: x", "kpt_shape: [2, 3]\nflip_idx: [1, 0]",
         "kpt_shape: [2, 3]\nflip_idx: [a, 0]", "kpt_shape: [2, 3]\nkpt_names: [a, a]", "kpt_shape: [[1], 2]"]
    ),
    picture=st.sampled_from(["good", "good", "good", "broken", "missing"]),
)  # fmt: skip
def test_yolo(tmp_path: Path, lines: list[str], names: str, pose: str, picture: str) -> None:
    shutil.rmtree(tmp_path)
    pictures(tmp_path / "images", "a.png", "b.png")
    (tmp_path / "labels").mkdir()
    (tmp_path / "labels/a.txt").write_text("\n".join(lines), encoding="utf-8")
    (tmp_path / "labels/b.txt").write_text("0 0.5 0.5 0.25 0.25")
    (tmp_path / "list.txt").write_text("images/a.png\nimages/b.png\n")
    (tmp_path / "data.yaml").write_text(f"train: list.txt\nval: images\nnames: {names}\n{pose}\n")
    if picture == "broken":
        (tmp_path / "images/a.png").write_bytes(b"")
    elif picture == "missing":
        (tmp_path / "images/a.png").unlink()
    check(tmp_path)


NUMBERS = st.sampled_from(["1", "3", "5.5", " 7 ", "9", "0", "-2", "", "x", "nan", "inf", "1e400", "9" * 400])


@SETTINGS
@given(
    corners=st.lists(NUMBERS, min_size=4, max_size=4),
    sides=st.tuples(NUMBERS, NUMBERS),
    name=st.sampled_from(["cat", "dog", "", " cat ", "0"]),
    flag=st.sampled_from(["0", "1", "true", "", "Unspecified", "2"]),
    tail=st.sampled_from(["", "", "<", "<object><name>cat</name></object>", "<object/>"]),
    listed=st.sampled_from(["a\nb\n", "a\nb\n", "a\nc\n", "\ufeffa\nb\n"]),
)
def test_voc(
    tmp_path: Path, corners: list, sides: tuple, name: str, flag: str, tail: str, listed: str
) -> None:
    pictures(tmp_path / "JPEGImages", "a.png", "b.png")
    (tmp_path / "Annotations").mkdir(exist_ok=True)
    (tmp_path / "ImageSets/Main").mkdir(parents=True, exist_ok=True)
    (tmp_path / "ImageSets/Main/train.txt").write_text(listed, encoding="utf-8")
    keys = ("xmin", "ymin", "xmax", "ymax")
    box = "".join(f"<{key}>{value}</{key}>" for key, value in zip(keys, corners, strict=True))
    thing = f"<object><name>{name}</name><difficult>{flag}</difficult><bndbox>{box}</bndbox></object>"
    size = f"<size><width>{sides[0]}</width><height>{sides[1]}</height></size>"
    (tmp_path / "Annotations/a.xml").write_text(f"<annotation>{size}{thing}{tail}</annotation>")
    good = "".join(f"<{key}>{value}</{key}>" for key, value in zip(keys, (1, 1, 5, 5), strict=True))
    thing = f"<object><name>cat</name><bndbox>{good}</bndbox></object>"
    (tmp_path / "Annotations/b.xml").write_text(f"<annotation>{thing}</annotation>")
    check(tmp_path)
