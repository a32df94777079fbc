"""VOC folders: corners from 1, difficult objects, one set of classes for all splits."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pagoda.data.formats.coco import read_coco
from pagoda.data.formats.layouts import find_dataset
from pagoda.data.formats.reader import open_annotations
from pagoda.data.formats.voc import read_voc
from pagoda.data.formats.voc_layout import voc_splits
from pagoda.explain.doctor.examine import examine

OBJECT = (
    "<object><name>{name}</name><difficult>{difficult}</difficult>"
    "<part><name>head</name><bndbox><xmin>9</xmin><ymin>9</ymin><xmax>9</xmax><ymax>9</ymax></bndbox></part>"
    "<bndbox><xmin>{x1}</xmin><ymin>{y1}</ymin><xmax>{x2}</xmax><ymax>{y2}</ymax></bndbox></object>"
)
SIZE = "<size><width>40</width><height>30</height><depth>3</depth></size>"


def an_object(name: str, x1: object, y1: object, x2: object, y2: object, difficult: int = 0) -> str:
    return OBJECT.format(name=name, x1=x1, y1=y1, x2=x2, y2=y2, difficult=difficult)


def write_voc(root: Path, files: dict[str, str], splits: dict[str, str]) -> Path:
    for folder in ("Annotations", "JPEGImages", "ImageSets/Main"):
        (root / folder).mkdir(parents=True)
    for stem, content in files.items():
        (root / "Annotations" / f"{stem}.xml").write_text(f"<annotation>{content}</annotation>")
        Image.new("RGB", (40, 30)).save(root / "JPEGImages" / f"{stem}.png")
    for split, text in splits.items():
        (root / "ImageSets" / "Main" / f"{split}.txt").write_text(text)
    return root


@pytest.fixture
def pets(tmp_path: Path) -> Path:
    files = {
        "one": SIZE + an_object("dog", 1, 1, 40, 30) + an_object("cat", 5, 6, 7.5, 8, difficult=1),
        "two": an_object("bird", 2, 2, 3, 3),
        "three": SIZE,
    }
    return write_voc(
        tmp_path, files, {"train": "one\nthree\n", "val": "two\n", "cat_train": "one 1\nthree -1\n"}
    )


def test_corners_are_one_based_and_inclusive(pets: Path) -> None:
    annotations = read_voc(pets, "train")
    targets = annotations.targets(0)
    assert targets.boxes.tolist() == [[0, 0, 40, 30], [4, 5, 7.5, 8]]
    assert targets.ignored.tolist() == [False, True]
    assert annotations.path(0) == (pets / "JPEGImages" / "one.png").resolve()
    assert len(annotations) == 2 and len(annotations.targets(1)) == 0


def test_corners_of_a_coco_box_written_as_whole_numbers(pets: Path) -> None:
    """A box of 10.4, 20.6, 30.5, 40.5 rounded to whole corners from 1, a crowd region written as difficult."""
    text = f"<annotation>{SIZE}{an_object('dog', 11, 22, 41, 61, difficult=1)}</annotation>"
    (pets / "Annotations/one.xml").write_text(text.replace("<height>30", "<height>90"))
    annotations = read_voc(pets, "train")
    (entry,) = annotations.to_coco()["annotations"]
    assert entry["bbox"] == [10, 21, 31, 40] and entry["iscrowd"] == 1


def test_a_turned_box_of_cvat_becomes_the_box_around_it(pets: Path) -> None:
    turn = "<attributes><attribute><name>rotation</name><value>90.0</value></attribute></attributes></object>"
    text = an_object("dog", 11, 5, 30, 14).replace("</object>", turn)
    (pets / "Annotations/one.xml").write_text(f"<annotation>{SIZE}{text}</annotation>")
    annotations = read_voc(pets, "train")
    assert annotations.boxes_xywh.tolist() == [[15, -1, 10, 20]]
    assert any("object 1 ('dog') is turned by 90°" in note for note in annotations.notes)


TURNED = "<cx>20</cx><cy>12</cy><w>20</w><h>10</h><angle>{}</angle>"
POINTS = "".join(f"<pt><x>{x}</x><y>{y}</y></pt>" for x, y in ((3, 4), (9, 4), (6, 20)))
OTHER_BOXES = {
    "turned by a right angle": (
        f"<type>robndbox</type><robndbox>{TURNED.format(1.5707963267948966)}</robndbox>",
        [15, 2, 10, 20],
        "turned by 90°",
    ),
    "turned by 30°": (
        f"<robndbox>{TURNED.format(0.5235987755982988)}</robndbox>",
        [8.84, 2.67, 22.32, 18.66],
        "turned by 30°",
    ),
    "not turned": (f"<type>robndbox</type><robndbox>{TURNED.format(0.0)}</robndbox>", [10, 7, 20, 10], ""),
    "a polygon": (f"<deleted>0</deleted><polygon>{POINTS}</polygon>", [3, 4, 6, 16], "is a polygon"),
}


@pytest.mark.parametrize("case", OTHER_BOXES)
def test_boxes_of_rolabelimg_and_labelme_xml(pets: Path, case: str) -> None:
    box, expected, said = OTHER_BOXES[case]
    deleted = "<object><name>dog</name><deleted>1</deleted><polygon/></object>"
    text = f"{SIZE}{deleted}<object><name>dog</name>{box}</object>"
    (pets / "Annotations/one.xml").write_text(f"<annotation>{text}</annotation>")
    annotations = read_voc(pets, "train")
    assert annotations.boxes_xywh[0].tolist() == pytest.approx(expected, abs=0.01)
    notes = [note for note in annotations.notes if "object 2 ('dog')" in note]
    assert len(annotations.labels) == 1 and said in " ".join(notes) and bool(notes) == bool(said)
    assert any("object 1 is marked as deleted and left out" in note for note in annotations.notes)
    (finding,) = [each for each in examine(pets).findings if each.kind == "read_otherwise"]
    assert finding.count == 1 + bool(said)


@pytest.mark.parametrize("angle", ["90", "", "east"])
def test_an_angle_that_is_none_in_radians_is_refused(pets: Path, angle: str) -> None:
    box = f"<object><name>dog</name><robndbox>{TURNED.format(angle)}</robndbox></object>"
    (pets / "Annotations/one.xml").write_text(f"<annotation>{SIZE}{box}</annotation>")
    with pytest.raises(ValueError, match=r"object 1 \('dog'\) needs cx, cy, w, h and angle \(radians\)"):
        read_voc(pets, "train")


def test_classes_are_those_of_all_splits(pets: Path) -> None:
    maps = {read_voc(pets, split).label_map for split in ("train", "val", None)}
    assert len(maps) == 1 and maps.pop().names == ("bird", "cat", "dog")
    assert read_voc(pets, "val").sizes.tolist() == [[30, 40]]  # no size in the file: the picture's


def test_names_may_be_given(pets: Path) -> None:
    names = ("dog", "cat", "bird", "cow")
    assert read_voc(pets, "train", names=names).targets(0).labels.tolist() == [0, 1]
    with pytest.raises(ValueError, match="classes that are not in names: bird, cat"):
        read_voc(pets, "train", names=("dog",))


def test_class_lists_are_no_splits(pets: Path) -> None:
    assert list(voc_splits(pets)) == ["train", "val"]
    with pytest.raises(ValueError, match="no split 'test'; it has train, val"):
        read_voc(pets, "test")


def test_listed_pictures_need_an_xml_file(pets: Path) -> None:
    (pets / "ImageSets/Main/train.txt").write_text("one\nfour\n")
    with pytest.raises(FileNotFoundError, match=r"four\.xml is not there, listed in .*train\.txt"):
        read_voc(pets, "train")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("<annotation>", "bad.xml: no element found"),
        (
            '<!DOCTYPE a [<!ENTITY b "ha"><!ENTITY c "&b;&b;&b;">]><annotation>&c;</annotation>',
            "bad.xml: it declares a DOCTYPE",
        ),
        (
            f"<annotation>{SIZE}{an_object('dog', 1, 'x', 3, 4)}</annotation>",
            "bad.xml: object 1 .'dog'. needs four numbers",
        ),
        (
            f"<annotation>{SIZE}<object><name>dog</name></object></annotation>",
            "bad.xml: object 1 .'dog'. needs four numbers",
        ),
    ],
)
def test_bad_files_are_named(pets: Path, text: str, message: str) -> None:
    (pets / "Annotations" / "bad.xml").write_text(text)
    with pytest.raises(ValueError, match=message):
        read_voc(pets)


def test_a_doctype_in_another_encoding_is_refused_too(pets: Path) -> None:
    (pets / "Annotations" / "bad.xml").write_bytes(
        '<?xml version="1.0" encoding="utf-16"?><!DOCTYPE a><annotation/>'.encode("utf-16")
    )
    with pytest.raises(ValueError, match="DOCTYPE"):
        read_voc(pets)


def test_voc_and_coco_files_of_bccd_agree(shared_data: Path) -> None:
    totals = {"train": (205, 2804), "val": (87, 1137), "test": (72, 945)}
    slips = 0
    for split, (num_images, num_objects) in totals.items():
        coco = read_coco(shared_data / f"bccd/annotations/{split}.json", shared_data / "bccd/images")
        voc = read_voc(shared_data / "bccd/voc", split)
        assert (len(coco), len(coco.labels)) == (num_images, num_objects)
        assert coco.label_map == voc.label_map
        position = {voc.files[index]: index for index in range(len(voc))}
        assert sorted(position) == sorted(coco.files)
        for index in range(num_images):
            a, b = coco.targets(index), voc.targets(position[coco.files[index]])
            # Two XML boxes with equal corners, one pixel by our reading, were left out of the JSON.
            larger = (b.boxes[:, 2:] - b.boxes[:, :2] > 1).any(1)
            slips += int((~larger).sum())
            assert np.array_equal(a.boxes.numpy(), b.boxes[larger].numpy())
            assert np.array_equal(a.labels.numpy(), b.labels[larger].numpy())
        assert len(voc.notes) == len(voc.labels) - num_objects
    assert slips == 2


def test_voc_toy(shared_data: Path) -> None:
    annotations = read_voc(
        shared_data / "voc_toy/voc", names=(shared_data / "voc_toy/voc.names").read_text().split()
    )
    assert len(annotations) == 10 and len(annotations.label_map) == 20
    assert {name: count for name, count in annotations.counts().items() if count} == {"cat": 12}
    published = read_coco(shared_data / "voc_toy/annotations/coco_as_published.json", shared_data)
    position = {published.files[index]: index for index in range(10)}
    for index in range(10):
        ours, theirs = annotations.targets(index), published.targets(position[annotations.files[index]])
        # The published file keeps the 1-based corners and takes xmax - xmin as width.
        assert np.array_equal(ours.boxes.numpy() + np.array([1, 1, 0, 0]), theirs.boxes.numpy())


@pytest.mark.parametrize(
    ("said", "encoding", "before"),
    [
        ("gb2312", "gb2312", ""),
        ("Shift_JIS", "shift_jis", ""),
        ("utf-16", "utf-8", ""),  # .NET's writers of text say so in files of UTF-8
        ("utf-16", "utf-16", ""),
        ("UTF-8", "utf-8-sig", ""),
        ("utf-8", "utf-8", "\n  "),
    ],
)
def test_files_in_the_encoding_they_say(pets: Path, said: str, encoding: str, before: str) -> None:
    text = f'{before}<?xml version="1.0" encoding="{said}"?>\n<annotation>{SIZE}{an_object("大", 1, 1, 9, 9)}'
    (pets / "Annotations/one.xml").write_bytes(f"{text}</annotation>".encode(encoding))
    assert open_annotations(pets, "train").counts()["大"] == 1


def test_files_in_another_encoding_than_they_say_are_named(pets: Path) -> None:
    text = f"<annotation>{SIZE}{an_object('chèvre', 1, 1, 9, 9)}</annotation>"
    (pets / "Annotations/one.xml").write_bytes(text.encode("cp1252"))
    with pytest.raises(ValueError, match=r"one\.xml is not UTF-8 text .*; save it as UTF-8"):
        open_annotations(pets, "train")


def test_lists_of_names_that_end_like_flags_are_splits(tmp_path: Path) -> None:
    files = {name: SIZE + an_object("dog", 1, 1, 9, 9) for name in ("image 0", "image 1", "other")}
    lists = {"train": "image 0\nimage 1\n", "val": "other\n", "dog_train": '"image 0" 1\n"image 1" 1\n'}
    write_voc(tmp_path, files, lists)
    assert {name: len(keys) for name, keys in find_dataset(tmp_path).splits.items()} == {"train": 1, "val": 1}
    assert [len(open_annotations(tmp_path, split)) for split in ("train", "val")] == [2, 1]


def test_splits_of_which_only_lists_of_classes_tell(tmp_path: Path) -> None:
    """As VoTT writes them, with the pictures' endings."""
    files = {name: SIZE + an_object("dog", 1, 1, 9, 9) for name in "abc"}
    lists = {"dog_train": "a.png 1\nb.png -1\n", "cat_train": "a.png -1\nb.png 1\n", "dog_val": "c.png 1\n"}
    write_voc(tmp_path, files, lists)
    found = {split: open_annotations(tmp_path, split).files.tolist() for split in ("train", "val")}
    assert found == {"train": ["a.png", "b.png"], "val": ["c.png"]}


def test_a_name_without_ending_is_a_picture_anywhere(tmp_path: Path) -> None:
    for folder in ("xmls", "pics"):
        (tmp_path / folder).mkdir()
    Image.new("RGB", (40, 30)).save(tmp_path / "pics/a 1.png")
    text = f"<annotation><filename>a 1</filename>{SIZE}{an_object('dog', 1, 1, 9, 9)}</annotation>"
    (tmp_path / "xmls/a 1.xml").write_text(text)
    annotations = open_annotations(tmp_path)
    assert annotations.path(0).is_file() and "'a 1' is pics/a 1.png" in annotations.notes[0]


LISTS = {
    "at the root": ({"train.txt": "a\nb\n", "val.txt": "c\n"}, {"train": 2, "val": 1}),
    "in ImageSets": ({"ImageSets/train.txt": "a\nb\n", "ImageSets/val.txt": "c\n"}, {"train": 2, "val": 1}),
    "pictures": (
        {"train.txt": "JPEGImages/a.png\n./JPEGImages/b.png\n", "test.txt": "c.png\n"},
        {"train": 2, "test": 1},
    ),
    "pictures and files": (
        {"train.txt": "JPEGImages/a.png Annotations/a.xml\n", "valid.txt": "b.png\tb.xml\n"},
        {"train": 1, "valid": 1},
    ),
    "boxes in them, too": ({"2007_train.txt": "/home/x/VOC/JPEGImages/a.png 1,1,9,9,0\n"}, {"2007_train": 1}),
    "any name": ({"fold 1.txt": "a\n", "fold 2.txt": "b\nc\n"}, {"fold 1": 1, "fold 2": 2}),
    "of classes": ({"dog_train.txt": "a 1\nb -1\n", "dog_val.txt": "c 1\n"}, {"train": 2, "val": 1}),
    "with a list of classes": (
        {"train.txt": "a\n", "labels.txt": "dog\n", "README.txt": "a, b\n"},
        {"train": 1},
    ),
    "no lists": ({"labels.txt": "dog\n", "test.txt": "x\n"}, {"train": 3}),
}


@pytest.mark.parametrize("case", LISTS)
@pytest.mark.parametrize("is_beside", [False, True])
def test_lists_of_splits_elsewhere(tmp_path: Path, case: str, is_beside: bool) -> None:
    lists, splits = LISTS[case]
    write_voc(tmp_path, {name: SIZE + an_object("dog", 1, 1, 9, 9) for name in "abc"}, {})
    if is_beside:
        for path in (tmp_path / "Annotations").iterdir():
            path.rename(tmp_path / "JPEGImages" / path.name)
    for name, text in lists.items():
        (tmp_path / name).write_text(text)
    assert {name: len(open_annotations(tmp_path, name)) for name in find_dataset(tmp_path).splits} == splits


def test_a_loose_list_of_unlabelled_pictures_is_said(tmp_path: Path) -> None:
    write_voc(tmp_path, {name: SIZE + an_object("dog", 1, 1, 9, 9) for name in "ab"}, {})
    (tmp_path / "train.txt").write_text("a\nb\n")
    (tmp_path / "test.txt").write_text("x\n")
    assert "test.txt lists 1 picture without an XML file" in find_dataset(tmp_path).describe()
    (tmp_path / "train.txt").write_text("a\nc\n")
    with pytest.raises(FileNotFoundError, match=r"Annotations/c\.xml is not there, listed in .*train\.txt"):
        open_annotations(tmp_path, "train")


def test_corners_from_0_are_said(pets: Path) -> None:
    (pets / "Annotations/one.xml").write_text(
        f"<annotation>{SIZE}{an_object('dog', 0, 3, 9, 9)}{an_object('dog', 1, 3, 9, 9)}</annotation>"
    )
    annotations = read_voc(pets, "train")
    (note,) = [note for note in annotations.notes if "counts from 1" in note]
    assert "object 1 ('dog'): xmin, ymin = 0, 3" in note
    assert annotations.targets(0).boxes.tolist() == [[0, 2, 9, 9], [0, 2, 9, 9]]
