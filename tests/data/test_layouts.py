"""Folders are recognised, splits found under any of their names, pictures where they lie."""

import json
from pathlib import Path

import pytest
from PIL import Image

from pagoda.data.layouts import find_dataset, open_annotations


def write_coco(path: Path, *files: str, first_id: int = 1) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    images = [
        {"id": first_id + i, "file_name": name, "height": 8, "width": 9} for i, name in enumerate(files)
    ]
    annotations = [
        {"id": image["id"], "image_id": image["id"], "category_id": 1, "bbox": [1, 1, 2, 2]}
        for image in images
    ]
    document = {"images": images, "categories": [{"id": 1, "name": "cat"}], "annotations": annotations}
    path.write_text(json.dumps(document))


def draw(folder: Path, *names: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        Image.new("RGB", (9, 8)).save(folder / name)


@pytest.mark.parametrize(
    ("json_name", "folder", "split"),
    [
        ("annotations/train.json", "images", "train"),
        ("annotations/train.json", "images/train", "train"),
        ("annotations/instances_train2017.json", "train2017", "train"),
        ("annotations/instances_train2017.json", "images/train2017", "train2017"),
        ("annotations/instances_val.json", "val2017", "validation"),
        ("annotations/train.json", "train/images", "train"),
        ("annotations/train.json", "annotations", "train"),
        ("annotations/train.json", ".", "train"),
        ("valid/_annotations.coco.json", "valid", "val"),
        ("train/_annotations.coco.json", "train", "train"),
    ],
)
def test_coco_layouts(tmp_path: Path, json_name: str, folder: str, split: str) -> None:
    write_coco(tmp_path / json_name, "a.png", "b.png")
    draw(tmp_path / folder, "a.png", "b.png")
    annotations = open_annotations(tmp_path, split)
    assert annotations.path(1).is_file() and annotations.path(1).name == "b.png"
    assert len(open_annotations(tmp_path)) == 2  # the only split needs no name
    assert len(open_annotations(tmp_path / json_name)) == 2


def test_other_files_of_coco_are_left_alone(tmp_path: Path) -> None:
    draw(tmp_path / "images", "a.png")
    for name in ("instances_train", "person_keypoints_train", "captions_train"):
        write_coco(tmp_path / f"annotations/{name}.json", "a.png")
    layout = find_dataset(tmp_path)
    assert layout.splits == {"train": (tmp_path / "annotations/instances_train.json",)}


def test_two_years_of_one_split_stay_apart(tmp_path: Path) -> None:
    draw(tmp_path / "images", "a.png", "b.png")
    write_coco(tmp_path / "annotations/instances_train2014.json", "a.png")
    write_coco(tmp_path / "annotations/instances_train2017.json", "b.png")
    assert list(find_dataset(tmp_path).splits) == ["train2014", "train2017"]
    assert list(open_annotations(tmp_path, "train2017").files) == ["b.png"]
    with pytest.raises(ValueError, match="no split 'train'"):
        open_annotations(tmp_path, "train")


def test_splits_are_put_together(tmp_path: Path) -> None:
    for split, name, first_id in (("train", "a.png", 1), ("val", "b.png", 2)):
        write_coco(tmp_path / f"annotations/{split}.json", name, first_id=first_id)
        draw(tmp_path / "images" / split, name)
    annotations = open_annotations(tmp_path, "train+val")
    assert [annotations.path(index).is_file() for index in range(2)] == [True, True]
    assert list(annotations.files) == ["train/a.png", "val/b.png"] and annotations.notes == ()


def test_missing_pictures_stop_or_are_noted(tmp_path: Path) -> None:
    write_coco(tmp_path / "annotations/train.json", "a.png", "b.png", "c.png")
    draw(tmp_path / "images", "a.png", "c.png")
    with pytest.raises(
        FileNotFoundError, match=r"1 of 3 pictures are not in .*images, the first is b\.png; .*skip_missing"
    ):
        open_annotations(tmp_path)
    annotations = open_annotations(tmp_path, skip_missing=True)
    assert list(annotations.files) == ["a.png", "c.png"]
    assert annotations.notes[-1].endswith("there is no picture b.png; it is left out")


def test_the_first_picture_may_be_missing_too(tmp_path: Path) -> None:
    files = [f"{letter}.png" for letter in "abcdefg"]
    write_coco(tmp_path / "annotations/train.json", *files)
    draw(tmp_path / "images/train", "f.png", "g.png")  # none of the first five
    assert list(open_annotations(tmp_path, skip_missing=True).files) == ["f.png", "g.png"]
    with pytest.raises(FileNotFoundError, match=r"5 of 7 pictures are not in .*images/train, the first is a"):
        open_annotations(tmp_path)
    draw(tmp_path / "train", *files[1:])  # a likelier folder holds fewer of them
    assert len(open_annotations(tmp_path, skip_missing=True)) == 6


def test_no_picture_at_all_is_explained(tmp_path: Path) -> None:
    write_coco(tmp_path / "annotations/train.json", "a.png", "b.png")
    for skip_missing in (False, True):
        with pytest.raises(FileNotFoundError, match=r"none of its 2 pictures .* put a\.png .*images"):
            open_annotations(tmp_path, skip_missing=skip_missing)


def test_wrong_places_are_explained(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").touch()
    with pytest.raises(FileNotFoundError, match=rf"there is no folder .*nowhere; {tmp_path} holds notes.txt"):
        find_dataset(tmp_path / "nowhere")
    with pytest.raises(ValueError, match=r"looked for COCO .* VOC .* YOLO .*; found notes\.txt"):
        find_dataset(tmp_path)
    with pytest.raises(ValueError, match="is a file, but no COCO JSON"):
        find_dataset(tmp_path / "notes.txt")


def test_yolo_and_voc_folders(tmp_path: Path) -> None:
    draw(tmp_path / "yolo/valid/images", "a.png")
    (tmp_path / "yolo/valid/labels").mkdir()
    (tmp_path / "yolo/valid/labels/a.txt").write_text("0 0.5 0.5 1 1")
    (tmp_path / "yolo/data.yaml").write_text("names: [cat]\nval: ../valid/images\n")
    for place in (tmp_path / "yolo", tmp_path / "yolo/data.yaml"):
        assert find_dataset(place).kind == "yolo"
        assert open_annotations(place, "valid").targets(0).boxes.tolist() == [[0, 0, 9, 8]]
    draw(tmp_path / "voc/VOCdevkit/VOC2007/JPEGImages", "a.png")
    box = "<bndbox><xmin>1</xmin><ymin>1</ymin><xmax>9</xmax><ymax>8</ymax></bndbox>"
    xml = f"<object><name>cat</name>{box}</object>"
    (tmp_path / "voc/VOCdevkit/VOC2007/Annotations").mkdir()
    (tmp_path / "voc/VOCdevkit/VOC2007/Annotations/a.xml").write_text(f"<annotation>{xml}</annotation>")
    assert find_dataset(tmp_path / "voc").kind == "voc"
    assert open_annotations(tmp_path / "voc").targets(0).boxes.tolist() == [[0, 0, 9, 8]]


def test_coco_comes_before_voc(shared_data: Path) -> None:
    layout = find_dataset(shared_data / "bccd")
    assert layout.kind == "coco" and sorted(layout.splits) == ["test", "train", "val"]
    assert "train (annotations/train.json)" in layout.describe()
    assert f"{shared_data / 'bccd/voc'} is also a VOC data set; COCO is read first" in layout.describe()
    with pytest.raises(ValueError, match="no split 'trian'; did you mean 'train'"):
        open_annotations(shared_data / "bccd", "trian")


@pytest.mark.parametrize(
    ("name", "split", "num_images", "num_objects"),
    [
        ("bccd", "train+val+test", 364, 4886),
        ("bccd/voc", "trainval", 292, 3943),
        ("nuclei", "train+val", 70, 2006),
        ("coco_tiny", "val", 50, 382),
        ("coco_pose_sample", None, 4, 14),
        ("mirror_mouse", "train", 24, 24),
        ("voc_toy/voc", None, 10, 12),
    ],
)
def test_real_data(
    shared_data: Path, name: str, split: str | None, num_images: int, num_objects: int
) -> None:
    annotations = open_annotations(shared_data / name, split)
    assert (len(annotations), len(annotations.labels)) == (num_images, num_objects)
    assert annotations.path(num_images - 1).is_file()
