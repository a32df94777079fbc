"""Masks, keypoints and skeletons of COCO files: as pycocotools has them, and bad ones named."""

import copy
import json
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from pycocotools.coco import COCO

from pagoda.data.augment.transforms import HorizontalFlip
from pagoda.data.dataset import DetectionDataset
from pagoda.data.formats.coco import from_coco_dict, read_coco, write_coco
from pagoda.data.formats.layouts import find_dataset
from pagoda.data.formats.reader import open_annotations
from pagoda.data.loading import Draw, TrainingView, collate
from pagoda.data.table.assembly import concatenate
from pagoda.structures.skeleton import COCO_17, DEFAULT_SIGMA

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # pycocotools

FISH = {
    "id": 4,
    "name": "fish",
    "keypoints": ["mouth", "left_fin", "right_fin"],
    "skeleton": [[1, 2], [1, 3]],
}


def document() -> dict:
    square = [10, 10, 20, 10, 20, 20, 10, 20]
    plain = {"image_id": 1, "category_id": 4, "area": 100, "iscrowd": 0}
    entries = [
        {**plain, "id": 1, "bbox": [10, 10, 10, 10], "segmentation": [square]},
        {**plain, "id": 2, "bbox": [0, 0, 3, 1], "keypoints": [1, 0, 2, 3, 0.5, 1, 0, 0, 0]},
        {
            **plain,
            "id": 3,
            "bbox": [0, 0, 2, 40],
            "segmentation": {"size": [40, 50], "counts": [0, 80, 1920]},
        },
    ]
    images = [{"id": 1, "file_name": "a.png", "height": 40, "width": 50}, {"id": 2, "file_name": "b.png"}]
    images[1] |= {"height": 7, "width": 9}
    return {"images": images, "categories": [FISH], "annotations": entries}


def read(changed: dict, **options):
    return from_coco_dict(changed, Path("/pictures"), "file.json", **options)


def test_what_is_annotated_reaches_the_targets() -> None:
    annotations = read(document())
    assert annotations.notes == ()
    targets = annotations.targets(0)
    assert targets.masks.flatten(1).sum(1).tolist() == [100, 0, 80]
    assert targets.masks[0, 10:20, 10:20].all() and targets.masks[2, :, :2].all()
    assert targets.keypoints[1].tolist() == [[1, 0], [3, 0.5], [0, 0]]
    assert targets.visibility.tolist() == [[0, 0, 0], [2, 1, 0], [0, 0, 0]]
    skeleton = annotations.label_map.skeleton
    assert skeleton.edges == ((0, 1), (0, 2)) and skeleton.flip_pairs == ((1, 2),)
    assert skeleton.sigmas == (DEFAULT_SIGMA,) * 3
    empty = annotations.targets(1)
    assert empty.masks.shape == (0, 7, 9) and empty.keypoints.shape == (0, 3, 2)


def test_boxes_alone_when_asked() -> None:
    broken = document()
    broken["annotations"][0]["segmentation"] = [[1, 2, 3]]
    annotations = read(broken, boxes_only=True)
    assert annotations.masks is annotations.keypoints is annotations.label_map.skeleton is None
    assert annotations.targets(0).masks is None and annotations.targets(0).keypoints is None
    whole = read(document())
    assert whole.boxes_only().targets(0).masks is None and whole.boxes_only().nbytes < whole.nbytes
    assert annotations.boxes_only() is annotations


def test_written_and_read_again(tmp_path: Path) -> None:
    annotations = read(document())
    write_coco(annotations, tmp_path / "copy.json")
    again = read_coco(tmp_path / "copy.json", tmp_path)
    assert again.label_map == annotations.label_map
    assert torch.equal(again.targets(0).masks, annotations.targets(0).masks)
    assert torch.equal(again.targets(0).keypoints, annotations.targets(0).keypoints)
    (entry,) = [row for row in annotations.to_coco()["annotations"] if row["id"] == 1]
    assert entry["segmentation"] == document()["annotations"][0]["segmentation"]


def test_sigmas_and_flip_pairs_of_the_file_count() -> None:
    changed = document()
    changed["categories"] = [{**FISH, "sigmas": [0.1, 0.2, 0.3], "flip_pairs": []}]
    skeleton = read(changed).label_map.skeleton
    assert skeleton.sigmas == (0.1, 0.2, 0.3) and skeleton.flip_pairs == ()
    assert read(read(changed).to_coco()).label_map.skeleton == skeleton


def test_areas_that_are_missing_are_those_of_the_mask() -> None:
    changed = document()
    for entry in changed["annotations"]:
        del entry["area"]
    assert read(changed).areas.tolist() == [100, 3, 80]


def test_boxes_without_area_leave_with_their_masks() -> None:
    changed = document()
    changed["annotations"][0]["bbox"] = [10, 10, 0, 10]
    targets = read(changed).targets(0)
    assert targets.masks.flatten(1).sum(1).tolist() == [0, 80] and targets.visibility[0].tolist() == [2, 1, 0]


def test_subsets_and_joins_take_shapes_along() -> None:
    annotations = read(document())
    assert len(annotations.subset([1]).masks) == 0
    boxes = copy.deepcopy(document())
    for entry in boxes["annotations"]:
        entry.pop("segmentation", None)
    joined = concatenate([read(boxes), annotations.subset([1, 0])])
    assert joined.targets(0).masks.flatten(1).sum(1).tolist() == [0, 0, 0]
    assert joined.targets(3).masks.flatten(1).sum(1).tolist() == [100, 0, 80]
    assert joined.targets(3).visibility.tolist() == annotations.targets(0).visibility.tolist()
    other = document()
    other["categories"] = [{**FISH, "keypoints": ["mouth", "left_fin", "right_eye"]}]
    with pytest.raises(ValueError, match=r"the keypoints of file\.json and file\.json are not the same"):
        concatenate([annotations, read(other)])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"segmentation": [[1, 1, 2, 2, 3]]}, "annotation 1 of image 1: polygon 1 has 5 numbers"),
        ({"segmentation": [1, 1, 2, 2, 3, 3, 4]}, "annotation 1 of image 1: polygon 1 has 7 numbers"),
        ({"segmentation": ["polygon"]}, "annotation 1 of image 1: polygon 1 has 1 numbers"),
        (
            {"segmentation": [[1, 1, 2, 2, 3, 3], "polygon"]},
            "annotation 1 of image 1: a segmentation must be a list of poly",
        ),
        ({"bbox": None, "segmentation": [[1, 1, 2, 2]]}, "annotation 1 of a.png: no bbox .* no segmentation"),
        ({"bbox": [], "segmentation": {"size": [9, 9], "counts": [81]}}, "annotation 1 of a.png: no bbox"),
        (
            {"segmentation": {"size": [9, 9], "counts": [81]}},
            r"annotation 1 of image 1: the mask is of .* \(9, 9\), but the picture has \(40, 50\)",
        ),
        ({"segmentation": {"size": [40, 50], "counts": [1, 2]}}, "annotation 1 .* add up to 3 pixels"),
        (
            {"keypoints": [1, 2, 2, 4]},
            "annotation 1 .* x, y, visibility of each of 3 keypoints, 9 numbers, got 4",
        ),
        ({"keypoints": "123"}, "9 numbers, got str"),
        ({"keypoints": [1, 2, 3] * 3}, r"visibility 0 \(not labelled\), 1 \(hidden\) or 2 \(visible\)"),
        ({"keypoints": [float("nan"), 2, 2] * 3}, "annotation 1 of image 1: keypoints must be finite"),
    ],
)
def test_bad_shapes_are_named(change: dict, message: str) -> None:
    changed = document()
    changed["annotations"][0] |= change
    with pytest.raises(ValueError, match=r"file\.json: .*" + message):
        read(changed)


@pytest.mark.parametrize(
    ("segmentation", "said"),
    [
        ([10, 10, 20, 10, 20, 20, 10, 20], "a flat list, read as one polygon"),
        (["10", "10", 20, 10, 20, 20.0, 10, 20], "a flat list, read as one polygon"),
        ([[10, 10], [20, 10], [20, 20], [10, 20]], "a list of points, read as one polygon"),
        ([[[10, 10], [20, 10], [20, 20], [10, 20]]], "lists of points, each read as one polygon"),
        ([[10, 10, 20, 10, 20, 20, 10, 20]], ""),
    ],
)
def test_polygons_written_in_other_lists(segmentation: list, said: str) -> None:
    changed = document()
    changed["annotations"][0]["segmentation"] = segmentation
    annotations = read(changed)
    assert annotations.targets(0).masks[0].sum() == 100
    assert annotations.notes == (
        (f"file.json: annotation 1 of image 1: segmentation is {said}",) if said else ()
    )


@pytest.mark.parametrize(
    ("segmentation", "box"),
    [
        ([[10, 10, 20, 10, 20, 20, 10, 20]], [10, 10, 10, 10]),
        ([[10, 10, 20, 10, 20, 20], [2.5, 30, 4, 30, 4, 33]], [2.5, 10, 17.5, 23]),
        ([10, 10, 20, 10, 20, 20], [10, 10, 10, 10]),
        ({"size": [40, 50], "counts": [0, 80, 1920]}, [0, 0, 2, 40]),
    ],
)
@pytest.mark.parametrize("options", [{}, {"boxes_only": True}])
def test_a_box_that_is_missing_is_taken_around_the_mask(
    segmentation: object, box: list[float], options: dict
) -> None:
    changed = document()
    del changed["annotations"][0]["bbox"]
    changed["annotations"][0]["segmentation"] = segmentation
    annotations = read(changed, **options)
    assert annotations.boxes_xywh[0].tolist() == box
    assert annotations.notes[0] == (
        "file.json: annotation 1 of a.png: no bbox; it is taken around the segmentation"
    )


def test_polygons_of_two_points_are_left_out_and_noted() -> None:
    changed = document()
    changed["annotations"][0]["segmentation"].append([1, 1, 5, 5])
    annotations = read(changed)
    assert annotations.targets(0).masks[0].sum() == 100
    assert annotations.notes == (
        "file.json: annotation 1 of image 1: 1 polygon of fewer than three points is left out",
    )
    changed["annotations"][0]["segmentation"] = [[1, 1, 5, 5]]
    assert read(changed).notes[0].endswith("left out, and with them its whole mask")


def test_keypoints_off_the_picture_are_noted_and_not_learnt() -> None:
    changed = document()
    changed["annotations"][1]["keypoints"] = [-1, 5, 2, 50, 40, 2, 50.5, 4, 1]
    annotations = read(changed)
    (note,) = annotations.notes
    assert note == (
        "a.png: annotation 2: keypoints outside the picture of (height, width) (40, 50): mouth, right_fin;"
        " learnt as not labelled"
    )
    assert annotations.targets(0).visibility[1].tolist() == [0, 2, 0]
    assert annotations.to_coco()["annotations"][1]["keypoints"] == [-1, 5, 2, 50, 40, 2, 50.5, 4, 1]


def test_categories_that_disagree_about_keypoints() -> None:
    changed = document()
    changed["categories"] = [FISH, {"id": 5, "name": "crab", "keypoints": ["claw"], "skeleton": []}]
    annotations = read(changed)
    assert annotations.keypoints is None and annotations.label_map.skeleton is None
    assert "different keypoints ('fish' 3, 'crab' 1)" in annotations.notes[0]
    changed["categories"] = [{**FISH, "skeleton": [[0, 9]]}]
    annotations = read(changed)
    assert (
        annotations.label_map.skeleton.edges == () and "must join its keypoints 1 … 3" in annotations.notes[0]
    )
    changed["categories"] = [{**FISH, "keypoints": ["a", "a", "b"]}]
    with pytest.raises(ValueError, match=r"file\.json: category 'fish': keypoint name given twice"):
        read(changed)
    changed["categories"] = [{"id": 4, "name": "fish"}]
    annotations = read(changed)
    assert annotations.label_map.skeleton.names == ("point_0", "point_1", "point_2")
    assert "no category names its keypoints" in annotations.notes[0]


@pytest.mark.parametrize(
    ("name", "split"),
    [
        ("coco_tiny", "val"),
        ("coco_tiny", "person_keypoints_val"),
        ("nuclei", "val"),
        ("mirror_mouse", "train"),
    ],
)
def test_real_data_against_pycocotools(shared_data: Path, name: str, split: str) -> None:
    annotations = open_annotations(shared_data / name, split)
    assert annotations.notes == ()
    oracle = COCO(annotations.source)
    for index in range(len(annotations)):
        targets = annotations.targets(index)
        entries = oracle.loadAnns(oracle.getAnnIds(imgIds=targets.image_id))
        assert len(entries) == len(targets)
        for row, entry in enumerate(entries):
            if targets.masks is not None:
                assert np.array_equal(targets.masks[row].numpy(), oracle.annToMask(entry).astype(bool))
            if targets.keypoints is not None:
                points = np.reshape(entry["keypoints"], (-1, 3))
                assert np.allclose(targets.keypoints[row], points[:, :2], atol=1e-4)
                assert targets.visibility[row].tolist() == points[:, 2].tolist()


def test_nuclei_are_their_label_maps(shared_data: Path) -> None:
    annotations = open_annotations(shared_data / "nuclei", "val")
    for index in range(len(annotations)):
        numbers = np.array(Image.open(shared_data / "nuclei/labels" / annotations.files[index]))
        for number, mask in enumerate(annotations.targets(index).masks.numpy(), 1):
            assert np.array_equal(mask, numbers == number)
    picture, targets = DetectionDataset(annotations)[0]
    assert picture.shape[1:] == targets.masks.shape[1:]


def test_skeletons_of_real_data(shared_data: Path) -> None:
    persons = open_annotations(shared_data / "coco_tiny", "person_keypoints_train")
    assert persons.label_map.skeleton == COCO_17
    assert "choose split 'person_keypoints_train'" in find_dataset(shared_data / "coco_tiny").describe()
    mouse = open_annotations(shared_data / "mirror_mouse").label_map.skeleton
    assert len(mouse) == 17 and mouse.flip_pairs is None and mouse.edges == ()


def test_a_turned_picture_meets_masks_of_the_upright_one(tmp_path: Path) -> None:
    pixels = np.zeros((40, 50, 3), np.uint8)
    pixels[10:20, 10:20] = 255
    exif = Image.Exif()
    exif[0x0112] = 6  # stored lying on its side: turn a quarter clockwise to see it upright
    stored = Image.fromarray(np.ascontiguousarray(np.rot90(pixels)))
    stored.save(tmp_path / "a.png", exif=exif)
    whole = document()
    whole["images"], whole["annotations"] = whole["images"][:1], whole["annotations"][:1]
    (tmp_path / "train.json").write_text(json.dumps(whole))
    picture, targets = DetectionDataset(read_coco(tmp_path / "train.json", tmp_path))[0]
    assert torch.equal(picture[0] == 255, targets.masks[0])


def test_pictures_without_instances_share_a_batch_with_others(tmp_path: Path) -> None:
    whole = document()
    for image in whole["images"]:
        pixels = np.zeros((image["height"], image["width"], 3), np.uint8)
        Image.fromarray(pixels).save(tmp_path / image["file_name"])
    (tmp_path / "train.json").write_text(json.dumps(whole))
    view = TrainingView(
        DetectionDataset(read_coco(tmp_path / "train.json", tmp_path)), HorizontalFlip(1.0, ((1, 2),))
    )
    batch = collate([view[Draw(0, 1)], view[Draw(1, 2)]])
    for targets in pickle.loads(pickle.dumps(batch)).targets:  # as a worker sends it
        assert targets.masks.shape == (len(targets), *targets.image_size)
        assert targets.keypoints.shape == (len(targets), 3, 2)
    assert [len(targets) for targets in batch.targets] == [3, 0]
    assert batch.targets[0].visibility[1].tolist() == [2, 0, 1], "left and right have changed places"
