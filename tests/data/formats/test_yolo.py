"""YOLO folders: shares of the picture, polygons, pictures without objects."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pagoda.data.formats.layouts import find_dataset
from pagoda.data.formats.reader import open_annotations
from pagoda.data.formats.yolo.folder import read_yolo
from pagoda.data.formats.yolo.layout import yolo_splits
from pagoda.pictures.read import is_picture
from pagoda.structures.skeleton import COCO_17

PICTURES = (
    "a.jpg",
    "b.avif",
    "c.jp2",
    "d.mpo",
    "e.jfif",
    "f.apng",
    "g.webp",
    "h.gif",
    "i.TIF",
    "j.tga",
    "k.PNM",
)


def write_pictures(folder: Path, *names: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        Image.new("RGB", (200, 100)).save(folder / name)


def write_labels(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


@pytest.fixture
def pets(tmp_path: Path) -> Path:
    write_pictures(tmp_path / "images/train", "a.png", "b.png", "c.png")
    write_pictures(tmp_path / "images/val", "d.png")
    write_labels(tmp_path / "labels/train/a.txt", "1 0.5 0.5 0.25 0.5\n0 0.1 0.2 0.3 0.2 0.3 0.6\n\n")
    write_labels(tmp_path / "labels/train/b.txt", "")
    write_labels(tmp_path / "labels/val/d.txt", "0 0.5 0.5 1 1\n")
    (tmp_path / "data.yaml").write_text("train: images/train\nval: images/val\nnames: {0: cat, 1: dog}\n")
    return tmp_path


def test_lines_become_pixels(pets: Path) -> None:
    annotations = read_yolo(pets, "train")
    assert list(annotations.files) == ["a.png", "b.png", "c.png"]
    targets = annotations.targets(0)
    assert np.allclose(targets.boxes, [[75, 25, 125, 75], [20, 20, 60, 60]])
    assert targets.labels.tolist() == [1, 0] and targets.image_size == (100, 200)
    assert len(annotations.targets(1)) == len(annotations.targets(2)) == 0  # an empty file and none
    assert annotations.label_map.category_ids == (0, 1) and annotations.notes == ()


def test_splits_and_names_are_found_without_yaml(pets: Path) -> None:
    (pets / "data.yaml").unlink()
    (pets / "classes.txt").write_text("cat\ndog\n")
    assert list(yolo_splits(pets)) == ["train", "val"]
    assert read_yolo(pets, "valid").targets(0).boxes.tolist() == [[0, 0, 200, 100]]
    with pytest.raises(ValueError, match=r"no split 'test'; .*it has train, val"):
        read_yolo(pets, "test")


def test_lists_of_pictures_share_one_folder(tmp_path: Path) -> None:
    write_pictures(tmp_path / "images", "a.png", "b.png")
    for stem in "ab":
        write_labels(tmp_path / f"labels/{stem}.txt", "0 0.5 0.5 0.5 0.5")
    (tmp_path / "train.txt").write_text("./images/b.png\n")
    (tmp_path / "data.yaml").write_text("train: train.txt\nnames: [cat]\n")
    annotations = read_yolo(tmp_path, "train")
    assert list(annotations.files) == ["b.png"] and annotations.notes == ()


def test_exports_that_point_one_folder_too_high(tmp_path: Path) -> None:
    write_pictures(tmp_path / "pets/valid/images", "a.png")
    write_labels(tmp_path / "pets/valid/labels/a.txt", "0 0.5 0.5 0.5 0.5")
    (tmp_path / "pets/data.yaml").write_text("val: ../valid/images\nnames: [cat]\n")
    assert len(read_yolo(tmp_path / "pets", "val").labels) == 1


def describe(pets: Path, text: str) -> None:
    with (pets / "data.yaml").open("a") as file:
        file.write(text)


def test_keypoints_are_not_polygons(pets: Path) -> None:
    write_labels(pets / "labels/train/a.txt", "1 0.5 0.5 0.25 0.5 0.5 0.5 2 0.1 0.1 1")
    describe(pets, "kpt_shape: [2, 3]\nflip_idx: [1, 0]\n")
    annotations = read_yolo(pets, "train")
    targets = annotations.targets(0)
    assert targets.boxes.tolist() == [[75, 25, 125, 75]] and targets.masks is None
    assert targets.keypoints[0].tolist() == [[100, 50], [20, 10]] and targets.visibility.tolist() == [[2, 1]]
    skeleton = annotations.label_map.skeleton
    assert skeleton.names == ("point_0", "point_1") and skeleton.flip_pairs == ((0, 1),)
    plain = read_yolo(pets, "train", boxes_only=True)
    assert plain.keypoints is None and plain.label_map.skeleton is None


def test_keypoints_without_visibility(pets: Path) -> None:
    write_labels(pets / "labels/train/a.txt", "1 0.5 0.5 0.25 0.5 0.5 0.5 0 0")
    describe(pets, "kpt_shape: [2, 2]\nkpt_names: {0: [nose, tail]}\n")
    annotations = read_yolo(pets, "train")
    assert annotations.targets(0).visibility.tolist() == [[2, 0]]
    assert annotations.label_map.skeleton.names == ("nose", "tail")
    assert annotations.label_map.skeleton.flip_pairs is None


def test_seventeen_keypoints_that_flip_like_coco_are_coco(pets: Path) -> None:
    write_labels(pets / "labels/train/a.txt", "1 0.5 0.5 0.25 0.5" + " 0.5 0.5 2" * 17)
    describe(pets, "kpt_shape: [17, 3]\n")
    assert read_yolo(pets, "train").label_map.skeleton.names[0] == "point_0"
    describe(pets, "flip_idx: [0, 2, 1, 4, 3, 6, 5, 8, 7, 10, 9, 12, 11, 14, 13, 16, 15]\n")
    assert read_yolo(pets, "train").label_map.skeleton == COCO_17


def test_polygons_are_masks(pets: Path) -> None:
    write_labels(pets / "labels/train/a.txt", "0 0.1 0.1 0.2 0.1 0.2 0.3 0.1 0.3\n1 0.5 0.5 0.25 0.5\n")
    targets = read_yolo(pets, "train").targets(0)
    height, width = targets.image_size
    assert targets.masks.shape == (2, height, width)
    assert targets.masks[
        0, round(0.1 * height) : round(0.3 * height), round(0.1 * width) : round(0.2 * width)
    ].all()
    assert targets.masks.flatten(1).sum(1).tolist() == [round(0.02 * height * width), 0]


@pytest.mark.parametrize(
    ("description", "values", "message"),
    [
        (
            "kpt_shape: [2, 3]",
            "0.5 0.5 2",
            r"a\.txt, line 1: expected 2 keypoints of 3 numbers .* got 3 numbers",
        ),
        (
            "kpt_shape: [1, 3]",
            "0.5 0.5 7",
            r"a\.txt, line 1: the visibility .* must be 0, 1 or 2, got \[7.0\]",
        ),
        ("kpt_shape: 17", "0.5 0.5 2", "kpt_shape must be .number of keypoints, 2 or 3., got 17"),
        ("kpt_shape: [2, 3]\nflip_idx: [0, 0]", "0.5 0.5 2", r"flip_idx must hold each of 0 … 1 once"),
        ("kpt_shape: [2, 3]\nkpt_names: [a]", "0.5 0.5 2", "must name 2 keypoints as kpt_shape says, got 1"),
    ],
)
def test_bad_keypoints_are_named(pets: Path, description: str, values: str, message: str) -> None:
    write_labels(pets / "labels/train/a.txt", f"0 0.5 0.5 0.25 0.5 {values}")
    describe(pets, f"{description}\n")
    with pytest.raises(ValueError, match=message):
        read_yolo(pets, "train")


@pytest.mark.parametrize(
    ("values", "remedy"),
    [
        ("0.26 0.4375 0.3125 0.5 0.15 0.3 2 0.35 0.3 2 0.25 0.6 1", "kpt_shape: [3, 3]"),  # odd: no polygon
        ("0.5 0.5 0.2 0.2 0.4 0.4 2 0.6 0.6 1", "kpt_shape: [2, 3]"),  # even, with a visibility of 2
        ("0.5 0.5 0.2 0.2" + " 0.5 0.45 1 0 0 0" * 2, "kpt_shape: [4, 3]"),  # every number could be a share
        ("0.5 0.5 0.2 0.2 0.5 0.45 1", "kpt_shape: [1, 3]"),
    ],
)
def test_keypoints_nobody_told_of_are_never_polygons(pets: Path, values: str, remedy: str) -> None:
    write_labels(pets / "labels/train/a.txt", f"0 {values}")
    with pytest.raises(ValueError, match=r"a\.txt, line 1: this looks like a box and") as caught:
        read_yolo(pets, "train")
    assert remedy in str(caught.value)
    describe(pets, f"{remedy}\n")
    assert len(read_yolo(pets, "train").keypoints.triples) == 1, "the remedy works"


def test_polygons_stay_in_their_picture(pets: Path) -> None:
    write_labels(pets / "labels/train/a.txt", "0 0.1 0.1 1.5 0.1 0.2 0.3")
    with pytest.raises(ValueError, match=r"shares of the picture, 0 … 1, got 1\.5, so this is no polygon"):
        read_yolo(pets, "train")
    write_labels(pets / "labels/train/a.txt", "0 -0.001 0.1 1.002 0.1 0.2 0.3\n0 0 0 0.5 0 1 0 1 1 0 1")
    assert len(read_yolo(pets, "train").masks) == 2, "programs round; and a polygon may have corners"


def test_a_count_that_contradicts_the_names_is_said(pets: Path) -> None:
    describe(pets, "nc: 3\n")
    (note,) = read_yolo(pets, "train").notes
    assert note.endswith("data.yaml: nc is 3, but names has 2 (cat, dog); names count")


def test_a_missing_flip_order_is_asked_for_under_its_key(pets: Path) -> None:
    describe(pets, "kpt_shape: [2, 3]\n")
    write_labels(pets / "labels/train/a.txt", "0 0.5 0.5 0.2 0.2 0.5 0.45 1 0.5 0.5 2")
    skeleton = read_yolo(pets, "train").label_map.skeleton
    assert "add flip_idx to the YAML file" in skeleton.flip_remedy and "[0, 1]" in skeleton.flip_remedy
    assert skeleton == replace(skeleton, flip_remedy="another")
    describe(pets, "flip_idx: [0, 1]\n")
    assert read_yolo(pets, "train").label_map.skeleton.flip_pairs == (), "the remedy works"


def test_labels_without_picture_are_noted(pets: Path) -> None:
    write_labels(pets / "labels/train/lone.txt", "0 0.5 0.5 0.5 0.5")
    (note,) = read_yolo(pets, "train").notes
    assert "lone.txt: no picture in" in note


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("0 0.5 0.5 0.5", r"a\.txt, line 2: expected class cx cy width height, .* got 4 numbers"),
        ("0 0.5 0.5 0.5 0.5 0.9", "got 6 numbers"),
        ("2 0.5 0.5 0.5 0.5", r"category 2 of 1 annotation, first .*a\.txt, line 2; listed: 0, 1"),
        ("0.5 0.5 0.5 0.5 0.5", r"category 0.5 of 1 annotation"),
        ("dog 0.5 0.5 0.5 0.5", "expected numbers, got 'dog 0.5"),
        ("0 75 25 125 75", r"shares of the picture, 0 … 1, got 125 \(pixels\?\)"),
    ],
)
def test_bad_lines_are_named(pets: Path, line: str, message: str) -> None:
    write_labels(pets / "labels/train/a.txt", f"0 0.5 0.5 0.5 0.5\n{line}\n")
    with pytest.raises(ValueError, match=message):
        read_yolo(pets, "train")


@pytest.mark.parametrize(
    ("description", "message"),
    [
        ("train: images/train\n", "no class names"),
        ("train: images/train\nnames: cat\n", "names must be a list, got cat"),
        ("train: images/train\nnames: [cat, [dog]]\n", r"class 1 is .*, which is no name"),
        ("train: images/train\nnames: [cat, ' cat']\n", "name given twice in the label map: cat"),
        ("train: images/train\nnames: {1: cat, 2: dog}\n", r"numbered 0 … 1, got \[1, 2\]"),
        ("train: pictures\nnames: [cat, dog]\n", "names 'pictures' for train, but there is no such"),
        (
            "train: ../..\nnames: [cat, dog]\n",
            r"names '../..' for train, which is .*, a folder far above the",
        ),
        ("names: [cat\n", "cannot read .*data.yaml"),
    ],
)
def test_bad_descriptions_are_named(pets: Path, description: str, message: str) -> None:
    (pets / "data.yaml").write_text(description)
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        read_yolo(pets, "train")


def test_no_labels_at_all_is_an_error(pets: Path) -> None:
    for path in (pets / "labels/train").iterdir():
        path.unlink()
    with pytest.raises(
        FileNotFoundError, match=r"none of 3 pictures has labels; the first should be .*a\.txt"
    ):
        read_yolo(pets, "train")


def test_numbers_that_are_none_are_noted(pets: Path) -> None:
    write_labels(pets / "labels/train/a.txt", "0 nan 0.5 0.5 0.5\n")
    annotations = read_yolo(pets, "train")
    assert len(annotations.labels) == 0 and "a.png: box 1 (annotation 1)" in annotations.notes[0]


@pytest.mark.parametrize(
    ("description", "names"),
    [
        ("names: [no, yes]", ("no", "yes")),
        ("names: {0: 007, 1: null}", ("007", "null")),
        ("names: {'0': cat, '1': on}", ("cat", "on")),
        ("names: ['', ' dog ']", ("0", "dog")),
    ],
)
def test_names_are_read_as_written(pets: Path, description: str, names: tuple) -> None:
    (pets / "data.yaml").write_text(f"\ufefftrain: images/train\n{description}\n", encoding="utf-8")
    assert read_yolo(pets, "train").label_map.names == names


def test_byte_order_marks_are_never_content(pets: Path) -> None:
    (pets / "data.yaml").unlink()
    (pets / "classes.txt").write_text("\ufeffcat\ndog\n", encoding="utf-8")
    (pets / "labels/train/a.txt").write_text("\ufeff1 0.5 0.5 0.25 0.5\n", encoding="utf-8")
    annotations = read_yolo(pets, "train")
    assert annotations.label_map.names == ("cat", "dog") and annotations.labels.tolist() == [1]
    (pets / "classes.txt").write_bytes("Kätzchen\n".encode("latin-1"))
    with pytest.raises(ValueError, match=r"classes\.txt is not UTF-8 text"):
        read_yolo(pets, "train")


def test_everything_wrong_is_told_at_once(pets: Path) -> None:
    write_labels(pets / "labels/train/a.txt", "0 0.5 0.5 0.5\n7 0.5 0.5 0.5 0.5\ncat 1 1 1 1\n")
    write_labels(pets / "labels/train/b.txt", "0 0.5 0.5 0.5\n")
    with pytest.raises(ValueError, match="cannot be read") as caught:
        read_yolo(pets, "train")
    text = str(caught.value)
    assert "(2): " in text and "a.txt, line 1" in text and "b.txt, line 1" in text
    assert "category 7 of 1" in text and "expected numbers, got 'cat" in text


def test_pictures_of_every_ending_are_read_and_the_others_counted(tmp_path: Path) -> None:
    names = [name for name in PICTURES if is_picture(name)]
    assert len(names) >= 8
    write_pictures(tmp_path / "images", *names)
    for name in (*names, "last.heic"):
        write_labels((tmp_path / "labels" / name).with_suffix(".txt"), "0 0.5 0.5 0.5 0.5")
    (tmp_path / "classes.txt").write_text("pet\n")
    (tmp_path / "images" / "last.heic").touch()
    found = read_yolo(tmp_path, "train")
    assert sorted(found.files) == sorted(names) and len(found.boxes_xywh) == len(names)
    assert any(
        "1 file is left out, being no picture that Pillow reads (1 .heic)" in note for note in found.notes
    )
    assert any("last.txt: no picture" in note for note in found.notes)


BOX = "0 0.5 0.5 0.5 0.5\n"


def yolo_splits_in(root: Path, folders: dict[str, str]) -> Path:
    for folder, picture in folders.items():
        write_pictures(root / "images" / folder, picture)
        write_labels(root / "labels" / folder / f"{Path(picture).stem}.txt", BOX)
    return root


@pytest.mark.parametrize("text", ["Train: Train.txt\nValidation: Validation.txt\nnames: [cat]\n", None])
def test_splits_in_any_case(tmp_path: Path, text: str | None) -> None:
    """As CVAT calls its subsets: else validation pictures would be learned from."""
    yolo_splits_in(tmp_path, {"Train": "a.png", "Validation": "b.png"})
    for split, picture in (("Train", "a.png"), ("Validation", "b.png")):
        (tmp_path / f"{split}.txt").write_text(f"data/images/{split}/{picture}\n")
    (tmp_path / ("data.yaml" if text else "classes.txt")).write_text(text or "cat\n")
    found = {split: open_annotations(tmp_path, split).files.tolist() for split in ("train", "val")}
    assert found == {"train": ["a.png"], "val": ["b.png"]}


def test_an_empty_line_in_a_list_of_names_keeps_the_numbers(tmp_path: Path) -> None:
    yolo_splits_in(tmp_path, {"train": "a.png"})
    (tmp_path / "labels/train/a.txt").write_text(BOX.replace("0 ", "2 ", 1))
    (tmp_path / "classes.txt").write_text("cat\n\ndog\nbird\n\n")
    annotations = open_annotations(tmp_path)
    assert annotations.counts() == {"cat": 0, "1": 0, "dog": 1, "bird": 0}
    assert any("category 1 has no name" in note for note in annotations.notes)


@pytest.mark.parametrize(
    ("yaml_file", "path"),
    [("folds/fold1.yaml", ".."), ("folds/fold1.yaml", "{root}"), ("../pets.yaml", "pets")],
    ids=["above", "absolute", "in datasets/"],
)
@pytest.mark.parametrize(
    "line", ["images/train/{}", "./images/train/{}", "/content/drive/pets/images/train/{}"]
)
def test_lists_of_a_description_that_lies_elsewhere(
    tmp_path: Path, yaml_file: str, path: str, line: str
) -> None:
    root = yolo_splits_in(tmp_path / "datasets/pets", {"train": "a.png"})
    description = (root.parent if path == "pets" else root) / yaml_file
    description.parent.mkdir(exist_ok=True)
    entry = "train1.txt" if path == "pets" else "folds/train1.txt"
    (root / entry).write_text(line.format("a.png") + "\n")
    text = f"path: {path.format(root=root)}\ntrain: {entry}\nval: {entry}\nnames: [cat]\n"
    description.write_text(text)
    assert open_annotations(description, "train").counts() == {"cat": 1}


def test_files_that_cannot_be_read_and_name_no_classes_do_not_matter(pets: Path) -> None:
    (pets / "data.yaml").rename(pets / "pets.yaml")
    (pets / "mkdocs.yml").write_text("theme: {{ theme }}\n\tx: !!python/name:os.system\n")
    assert open_annotations(pets, "train").counts() == {"cat": 1, "dog": 1}
    (pets / "pets.yaml").write_text("train: images/train\nnames: [cat\n")
    with pytest.raises(ValueError, match=r"cannot read .*pets\.yaml"):
        open_annotations(pets, "train")


def test_names_that_cannot_be_read_are_told_alone(pets: Path) -> None:
    (pets / "data.yaml").write_text("train: images/train\nnames: [cat, cat]\n")
    with pytest.raises(ValueError, match="name given twice") as error:
        open_annotations(pets, "train")
    assert "annotations name a category" not in str(error.value)
    (pets / "data.yaml").unlink()
    (pets / "classes.txt").write_text("\n")
    with pytest.raises(ValueError, match=r"classes\.txt: no class names; expected one in each line"):
        open_annotations(pets, "train")


def test_places_are_told_relative_to_the_folder_however_it_is_given(pets: Path, monkeypatch) -> None:
    monkeypatch.chdir(pets.parent)
    for given in (pets, Path(pets.name)):
        said = find_dataset(given).describe().removeprefix(f"YOLO data set in {given}: ")
        assert said and str(pets) not in said
