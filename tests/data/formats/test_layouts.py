"""Folders are recognised, splits found under any of their names, pictures where they lie."""

import json
from pathlib import Path

import pytest
from PIL import Image

from pagoda.data.formats.layouts import find_dataset
from pagoda.data.formats.reader import open_annotations
from pagoda.explain.doctor.examine import examine


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


def yolo(root: Path, description: str, *splits: str) -> Path:
    for number, split in enumerate(splits):
        draw(root / split / "images", f"{number}.png")
        (root / split / "labels").mkdir()
        (root / split / f"labels/{number}.txt").write_text("0 0.5 0.5 1 1")
    (root / "data.yaml").write_text(f"{description}\nnames: [cat]\n")
    return root


ROBOFLOW = "train: ../train/images\nval: ../valid/images\n"


@pytest.mark.parametrize(
    ("test", "folder"),
    [
        ("../test/images", None),
        ("test/images", "test/images"),  # there, but empty
        ("test.txt", None),
        ("/content/somewhere/test/images", None),
        ("https://host.invalid/test.zip", None),
        ("[../test/images, ../more/images]", None),
    ],
)
def test_a_split_nobody_asked_for_stops_nothing(tmp_path: Path, test: str, folder: str | None) -> None:
    yolo(tmp_path, f"{ROBOFLOW}test: {test}", "train", "valid")
    if folder:
        (tmp_path / folder).mkdir(parents=True)
    layout = find_dataset(tmp_path)
    assert (
        list(layout.splits) == ["train", "val"]
        and "split test is not there and is left out" in layout.describe()
    )
    assert len(open_annotations(tmp_path, "train")) == len(open_annotations(tmp_path, "val")) == 1
    report = examine(tmp_path)
    assert {finding.kind for finding in report.findings if finding.severity == "error"} <= {"leaks"}
    assert "absent_splits" in {finding.kind for finding in report.findings}
    with pytest.raises(FileNotFoundError, match=r"data\.yaml names '.*' for test, but there"):
        open_annotations(tmp_path, "test")


def test_no_split_at_all_is_an_error_with_the_reasons(tmp_path: Path) -> None:
    (tmp_path / "data.yaml").write_text(f"{ROBOFLOW}names: [cat]\n")
    for look in (find_dataset, examine, open_annotations):
        with pytest.raises(
            FileNotFoundError, match=r"'\.\./train/images' for train.*'\.\./valid/images' for val"
        ):
            look(tmp_path)


def test_a_voc_list_of_unlabelled_pictures_stops_nothing(tmp_path: Path) -> None:
    draw(tmp_path / "JPEGImages", "a.png", "b.png")
    voc_file(tmp_path / "Annotations/a.xml")
    (tmp_path / "ImageSets/Main").mkdir(parents=True)
    (tmp_path / "ImageSets/Main/train.txt").write_text("a\n")
    (tmp_path / "ImageSets/Main/test.txt").write_text("b\n")
    assert list(find_dataset(tmp_path).splits) == ["train"] and len(open_annotations(tmp_path)) == 1
    assert examine(tmp_path).problems == ()
    with pytest.raises(FileNotFoundError, match=r"test\.txt lists 1 picture without an XML file .* is b"):
        open_annotations(tmp_path, "test")


def test_another_splits_folder_is_never_taken(tmp_path: Path) -> None:
    draw(tmp_path / "images/train", "a.png")
    (tmp_path / "labels/train").mkdir(parents=True)
    (tmp_path / "labels/train/a.txt").write_text("0 0.5 0.5 1 1")
    (tmp_path / "data.yaml").write_text("train: images/train\ntest: ../test/images\nnames: [cat]\n")
    assert list(find_dataset(tmp_path).splits) == ["train"], (
        "images/ alone is the end of that path, but not test"
    )


def test_yaml_files_by_their_path(tmp_path: Path) -> None:
    yolo(tmp_path, "train: train/images", "train", "valid")
    (tmp_path / "fold1.yaml").write_text("train: valid/images\nval: train/images\nnames: [dog]\n")
    assert open_annotations(tmp_path).label_map.names == ("cat",), "data.yaml speaks for the folder"
    fold = open_annotations(tmp_path / "fold1.yaml", "train")
    assert fold.label_map.names == ("dog",) and fold.path(0).name == "1.png"
    assert set(examine(tmp_path / "fold1.yaml").statistics["splits"]) == {"train", "val"}
    (tmp_path / "data.yaml").rename(tmp_path / "fold0.yaml")
    with pytest.raises(
        ValueError, match=r"several descriptions .* give the path of one: .*fold0.yaml, .*fold1.yaml"
    ):
        find_dataset(tmp_path)
    (tmp_path / "other.yaml").write_text("a: 1\n")
    with pytest.raises(
        ValueError, match=r"other\.yaml describes no YOLO data set: expected names, and train"
    ):
        find_dataset(tmp_path / "other.yaml")


def test_lists_of_another_machine(tmp_path: Path) -> None:
    yolo(tmp_path, "train: train.txt", "train", "valid")
    (tmp_path / "train.txt").write_text("/content/set/train/images/0.png\nC:\\set\\valid\\images\\1.png\n")
    annotations = open_annotations(tmp_path)
    assert [annotations.path(index).name for index in range(2)] == ["0.png", "1.png"] and len(
        annotations.labels
    ) == 2
    assert "train.txt: 2 pictures were found by the end of the path" in annotations.notes[0]
    with (tmp_path / "train.txt").open("a") as file:
        file.write("/content/set/gone.png\n")
    with pytest.raises(
        FileNotFoundError, match=r"train\.txt: 1 of 3 listed pictures are not there, .*gone\.png"
    ):
        open_annotations(tmp_path)


def voc_file(path: Path, filename: str = "") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    box = "<bndbox><xmin>1</xmin><ymin>1</ymin><xmax>9</xmax><ymax>8</ymax></bndbox>"
    size = "<size><width>9</width><height>8</height></size>"
    name = f"<filename>{filename}</filename>{size}"
    path.write_text(f"<annotation>{name}<object><name>cat</name>{box}</object></annotation>")


def test_voc_pictures_are_those_of_their_own_folder(tmp_path: Path) -> None:
    for camera in ("cam1", "cam2"):
        draw(tmp_path / "JPEGImages" / camera, "a.png")
        voc_file(tmp_path / f"Annotations/{camera}/a.xml", "a.png")
    annotations = open_annotations(tmp_path)
    assert list(annotations.files) == ["cam1/a.png", "cam2/a.png"] and annotations.notes == ()
    (tmp_path / "JPEGImages/cam2/a.png").unlink()
    draw(tmp_path / "JPEGImages/cam2", "b.png")
    voc_file(tmp_path / "Annotations/cam2/b.xml", "b.png")
    with pytest.raises(FileNotFoundError, match=r"the first is cam2/a\.png"):  # not cam1's, though unique now
        open_annotations(tmp_path)


def test_two_voc_files_of_one_picture_are_refused(tmp_path: Path) -> None:
    draw(tmp_path, "a.png", "b.png")
    for name in "ab":
        voc_file(tmp_path / f"{name}.xml", "a.png")  # copied
    with pytest.raises(ValueError, match=r"a\.xml and b\.xml both name a\.png"):
        open_annotations(tmp_path)
    assert "ambiguous_pictures" in {finding.kind for finding in examine(tmp_path).problems}


def test_files_of_no_split_are_counted(tmp_path: Path) -> None:
    for place in ("train/a", "valid/b", "left"):
        draw((tmp_path / place).parent, f"{Path(place).name}.png")
        voc_file(tmp_path / f"{place}.xml")
    line = f"{tmp_path}: 1 annotation file belongs to no split, not read: the first is left.xml"
    assert open_annotations(tmp_path, "train").notes == (line,) and line in find_dataset(tmp_path).describe()
    assert "files_not_read" in {finding.kind for finding in examine(tmp_path).findings}
    folder = yolo(tmp_path / "yolo", ROBOFLOW, "train", "valid", "extra")
    assert "1 annotation file belongs to no split" in open_annotations(folder, "val").notes[0]
    folder = tmp_path / "coco"
    draw(folder / "images", "a.png")
    for name in ("annotations/train.json", "annotations/older/train.json"):
        write_coco(folder / name, "a.png")
    assert "the first is annotations/older/train.json" in open_annotations(folder).notes[0]


def test_ambiguous_pictures_of_coco_name_both(tmp_path: Path) -> None:
    write_coco(tmp_path / "annotations/train.json", "/home/somebody/a.png")
    draw(tmp_path / "one", "a.png")
    assert open_annotations(tmp_path).path(0) == tmp_path / "one/a.png"
    draw(tmp_path / "two", "a.png")
    with pytest.raises(ValueError, match=r"'/home/somebody/a.png' may be one/a.png or two/a.png"):
        open_annotations(tmp_path)
    assert "ambiguous_pictures" in {finding.kind for finding in examine(tmp_path).problems}


def test_the_folder_may_lie_below_one_called_images(tmp_path: Path) -> None:
    folder = tmp_path / "images/export"
    draw(folder / "obj_train_data", "a.png")
    (folder / "obj_train_data/a.txt").write_text("0 0.5 0.5 1 1")
    (folder / "obj.data").write_text("names = obj.names\ntrain = train.txt\n")
    (folder / "obj.names").write_text("cat\n")
    (folder / "train.txt").write_text("data/obj_train_data/a.png\n")
    assert len(open_annotations(folder).labels) == 1


def test_turned_boxes_become_what_they_cover(tmp_path: Path) -> None:
    draw(tmp_path / "images", "a.png")
    write_coco(tmp_path / "annotations/train.json", "a.png")
    document = json.loads((tmp_path / "annotations/train.json").read_text())
    entry = document["annotations"][0] | {"bbox": [1, 2, 6, 4], "segmentation": []}
    document["annotations"] = [
        entry | {"attributes": {"occluded": False, "rotation": 90.0}},
        {**entry, "id": 2},
    ]
    (tmp_path / "annotations/train.json").write_text(json.dumps(document))
    annotations = open_annotations(tmp_path)
    assert annotations.targets(0).boxes.tolist() == [[2, 1, 6, 7], [1, 2, 7, 6]]
    assert annotations.targets(0).masks.flatten(1).sum(1).tolist() == [24, 0]
    assert "1 box has a rotation" in annotations.notes[0]


def test_other_kinds_of_the_folder_are_said(tmp_path: Path) -> None:
    draw(tmp_path, "a.png")
    write_coco(tmp_path / "_annotations.coco.json", "a.png")
    voc_file(tmp_path / "a.xml")
    (tmp_path / "classes.txt").write_text("cat\n")
    (tmp_path / "a.txt").write_text("0 0.5 0.5 1 1")
    text = find_dataset(tmp_path).describe()
    assert f"{tmp_path} is also a VOC data set; COCO is read first" in text
    assert f"{tmp_path} is also a YOLO data set; COCO is read first" in text


def test_coco_comes_before_voc(shared_data: Path) -> None:
    layout = find_dataset(shared_data / "bccd")
    assert layout.kind == "coco" and sorted(layout.splits) == ["test", "train", "val"]
    assert "train (annotations/train.json)" in layout.describe()
    assert f"{shared_data / 'bccd/voc'} is also a VOC data set; COCO is read first" in layout.describe()
    with pytest.raises(ValueError, match="no split 'trian'; did you mean 'train'"):
        open_annotations(shared_data / "bccd", "trian")


def test_annotated_videos_beside_pictures_are_told(shared_data):
    told = find_dataset(shared_data / "mot_tud").describe()
    assert told.startswith("COCO data set in ")
    assert "annotated videos lie there, too (TUD-Campus, TUD-Stadtmitte), which models of clips" in told


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


@pytest.mark.parametrize("truths", [("walk/gt/gt.txt",), ("train/a/gt/gt.txt", "val/b/gt/gt.txt")])
def test_a_folder_of_videos_is_told_which_commands_read_it(tmp_path: Path, truths: tuple[str, ...]) -> None:
    for truth in truths:
        path = tmp_path / truth
        path.parent.mkdir(parents=True)
        path.write_text("1,1,10,10,20,20,1,1,1\n")
    first, last = (truth.split("/")[0] for truth in (truths[0], truths[-1]))
    said = rf"holds annotated videos \({first}.* --train-split {first} --val-split {last}; pagoda track eval --gt"
    with pytest.raises(ValueError, match=said):
        find_dataset(tmp_path)


def test_a_list_of_classes_beside_other_formats_makes_no_yolo(tmp_path: Path) -> None:
    """X-AnyLabeling and LabelMe users keep one."""
    draw(tmp_path, "a.png")
    shape = {"label": "cat", "points": [[1, 1], [3, 3]], "shape_type": "rectangle"}
    (tmp_path / "a.json").write_text(json.dumps({"shapes": [shape], "imagePath": "a.png"}))
    (tmp_path / "classes.txt").write_text("cat\ndog\n")
    layout = find_dataset(tmp_path)
    assert (layout.kind, layout.others) == ("labelme", ())
    (tmp_path / "a.txt").write_text("0 0.5 0.5 0.5 0.5\n")
    assert find_dataset(tmp_path).kind == "yolo"


def test_a_broken_description_of_another_kind_does_not_matter(tmp_path: Path) -> None:
    draw(tmp_path / "images", "a.png")
    write_coco(tmp_path / "annotations/train.json", "a.png")
    (tmp_path / "data.yaml").write_text("names: [cat\n")
    assert len(open_annotations(tmp_path)) == 1


def test_the_folder_above_a_coco_folder(tmp_path: Path) -> None:
    for split in ("train", "val"):
        draw(tmp_path / f"coco/{split}2017", f"{split}.png")
        for kind in ("instances", "person_keypoints", "captions"):
            write_coco(tmp_path / f"coco/annotations/{kind}_{split}2017.json", f"{split}.png")
    assert [open_annotations(tmp_path, split).files.tolist() for split in ("train", "val")] == [
        ["coco/train2017/train.png"],
        ["coco/val2017/val.png"],
    ]
