"""CreateML: boxes about their middle, one set of classes, broken entries named."""

import json
from pathlib import Path

import pytest
from PIL import Image

from pagoda.data.formats.reader import open_annotations


def entry(picture: str, *objects: tuple[str, float, float, float, float], **keys: object) -> dict:
    boxes = [
        {"label": label, "coordinates": dict(zip(("x", "y", "width", "height"), place, strict=True))}
        for label, *place in objects
    ]
    return {"image": picture, "annotations": boxes, **keys}


def save(root: Path, *entries: dict) -> Path:
    root.mkdir(parents=True, exist_ok=True)
    for name in ("a.png", "b.png"):
        Image.new("RGB", (40, 30)).save(root / name)
    (root / "_annotations.createml.json").write_text(json.dumps(entries))
    return root


def test_boxes_stand_about_their_middle(tmp_path: Path) -> None:
    old = {"imagefilename": "b.png", "annotation": entry("", ("dog", 5, 5, 4, 2))["annotations"]}
    annotations = open_annotations(
        save(tmp_path, entry("a.png", ("dog", 20, 15, 10, 8), ("cat", 5.5, 5, 1, 2)), old)
    )
    assert annotations.targets(0).boxes.tolist() == [[15, 11, 25, 19], [5, 4, 6, 6]]
    assert annotations.targets(1).boxes.tolist() == [[3, 4, 7, 6]]
    assert annotations.label_map.names == ("cat", "dog") and annotations.notes == ()


def test_a_picture_without_objects_and_splits_with_other_classes(tmp_path: Path) -> None:
    save(tmp_path / "train", entry("a.png", ("dog", 20, 15, 10, 8)), entry("b.png"))
    save(tmp_path / "valid", entry("a.png", ("cat", 20, 15, 10, 8)))
    train, val = open_annotations(tmp_path, "train"), open_annotations(tmp_path, "val")
    assert len(train) == 2 and len(train.targets(1)) == 0 and train.label_map == val.label_map


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (
            {"image": "b.png", "annotations": [{"label": "dog"}]},
            r"json: b\.png: an object needs label and coordinates",
        ),
        ({"annotations": []}, r"json: picture 2 needs image and annotations"),
        ({"image": "b.png", "annotations": "none"}, r"json: picture 2 needs image and annotations"),
    ],
)
def test_bad_entries_are_named(tmp_path: Path, bad: dict, message: str) -> None:
    save(tmp_path, entry("a.png", ("dog", 20, 15, 10, 8)), bad)
    with pytest.raises(ValueError, match=message):
        open_annotations(tmp_path)


def test_a_file_per_picture_is_one_split(tmp_path: Path) -> None:
    """As labelImg writes them."""
    for split, names in (("train", ("a", "b")), ("val", ("é",))):
        for name in names:
            (tmp_path / split).mkdir(exist_ok=True)
            Image.new("RGB", (40, 30)).save(tmp_path / split / f"{name}.png")
            text = json.dumps([entry(f"{name}.png", (name, 20, 15, 10, 8), verified=False)])
            (tmp_path / split / f"{name}.json").write_text(text)
    train, val = open_annotations(tmp_path, "train"), open_annotations(tmp_path, "val")
    assert (train.counts(), val.counts()) == ({"a": 1, "b": 1, "é": 0}, {"a": 0, "b": 0, "é": 1})
    assert len(open_annotations(tmp_path / "train")) == 2


def test_names_of_classes_are_text_on_one_line(tmp_path: Path) -> None:
    annotations = open_annotations(
        save(tmp_path, entry("a.png", ("cat ", 20, 15, 10, 8), (" cat", 9, 9, 4, 4), (7, 5, 5, 2, 2)))
    )
    assert annotations.counts() == {"7": 1, "cat": 2}
    assert any("'cat ' becomes 'cat'" in note for note in annotations.notes)
    with pytest.raises(ValueError, match=r"a\.png: an object needs label"):
        open_annotations(save(tmp_path, entry("a.png", (None, 20, 15, 10, 8))))
