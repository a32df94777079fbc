"""Data that do not suit a model are refused before anything is written."""

from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from pagoda.api import evaluate
from pagoda.data.clips import ClipDataset
from pagoda.data.drawn.synthetic import DrawnShapes
from pagoda.data.drawn.walking import WalkingFigures
from pagoda.data.saving import write_coco_folder
from pagoda.data.tracks.folders import write_video_folder
from pagoda.models import create_model
from pagoda.recipes.datasets import check_scorable, open_data
from pagoda.recipes.training_run import train_on
from pagoda.structures.posetrack_skeletons import PERSON_17
from pagoda.training.settings import AugmentSettings, TrainSettings


@pytest.fixture(scope="module")
def model():
    options = {"width": 16, "head_depth": 1, "short_side": 64, "long_side": 80}
    return create_model("detect_and_track_resnet18_3d", label_map=PERSON_17, **options)


@pytest.mark.parametrize(
    ("augment", "said"),
    [
        ({"mosaic": 0.5}, "which mosaic cannot promise: train with augment.mosaic=0"),
        (
            {"mosaic": 0.5, "iou_crop": 0.1},
            "mosaic and iou_crop cannot promise: train with augment.mosaic=0 and augment.iou_crop=0",
        ),
        ({"copy_paste": 0.5}, "which copy_paste cannot promise: train with augment.copy_paste=0"),
        ({"mixup": 0.5}, "which mixup cannot promise: train with augment.mixup=0"),
    ],
)
def test_clips_are_not_torn_apart(model, tmp_path, augment, said):
    clips = ClipDataset(WalkingFigures(num_videos=1, num_frames=3, image_size=(64, 80)))
    settings = TrainSettings(data="drawn", out=str(tmp_path), augment=AugmentSettings(**augment))
    with pytest.raises(ValueError, match=said):
        train_on(model, clips, clips, settings, quiet=True)
    assert not list(tmp_path.iterdir())


def test_pictures_are_not_for_a_model_of_clips(model, tmp_path):
    shapes = DrawnShapes(2, (64, 64), seed=0)
    with pytest.raises(ValueError, match="learns from clips of videos, but the data are pictures"):
        train_on(model, shapes, shapes, TrainSettings(data="drawn", out=str(tmp_path)), quiet=True)


FLAGS = ("train-split", "val-split", "split")


def coco(folder):
    write_coco_folder(DrawnShapes(1, (32, 32)), folder, split="default")


def yolo(folder):
    picture(folder / "images" / "a.png")
    (folder / "labels").mkdir()
    (folder / "labels" / "a.txt").write_text("0 0.5 0.5 0.5 0.5\n")
    (folder / "data.yaml").write_text("train: gone\nval: gone\ntest: images\nnames: [cat]\n")


def voc(folder):
    picture(folder / "default" / "a.png")
    box = "<bndbox><xmin>1</xmin><ymin>1</ymin><xmax>9</xmax><ymax>9</ymax></bndbox>"
    text = f"<annotation><filename>a.png</filename><object><name>cat</name>{box}</object></annotation>"
    (folder / "Annotations").mkdir()
    (folder / "Annotations" / "a.xml").write_text(text)
    picture(folder / "JPEGImages" / "a.png")
    (folder / "ImageSets" / "Main").mkdir(parents=True)
    (folder / "ImageSets" / "Main" / "default.txt").write_text("a\n")


def videos(folder):
    write_video_folder(WalkingFigures(num_videos=1, num_frames=3, image_size=(64, 80)), folder, "default")


def picture(path):
    path.parent.mkdir(parents=True)
    Image.new("RGB", (32, 32)).save(path)


@pytest.mark.parametrize(
    ("make", "there"), [(coco, "default"), (yolo, "test"), (voc, "default"), (videos, "default")]
)
def test_a_split_that_is_missing_is_told_with_the_words_that_choose_another(make, there, tmp_path):
    make(tmp_path)
    name = "detect_and_track_resnet18_3d" if make is videos else "fcos_resnet18_fpn"
    settings = TrainSettings(data=str(tmp_path))
    train, val, split = (rf"--{each} {there} \({each.replace('-', '_')}='{there}'\)" for each in FLAGS)
    with pytest.raises((ValueError, FileNotFoundError), match=train):
        open_data(settings, name)
    with pytest.raises((ValueError, FileNotFoundError), match=val):
        open_data(replace(settings, train_split=there), name)
    if make is not videos:
        small = create_model(name, num_classes=1, base_channels=8, width=8, norm_groups=4)
        with pytest.raises((ValueError, FileNotFoundError), match=split):
            evaluate(small, tmp_path)


class Bent:
    """Drawings with other annotations than their own."""

    def __init__(self, data, **changes):
        self.data, self.annotations = data, replace(data.annotations, **changes)
        self.label_map = self.annotations.label_map

    def __len__(self):
        return len(self.annotations)

    def __getitem__(self, index):
        raise AssertionError("no picture is looked at before the checks")


SHAPES = DrawnShapes(3, (64, 64), seed=0, empty_share=0)
TABLE = SHAPES.annotations
SMALL = {"width": 16, "head_depth": 1, "short_side": 64, "long_side": 64}


def all_rows(value):
    return np.full(len(TABLE.labels), value)


@pytest.mark.parametrize(
    ("name", "train", "val", "said"),
    [
        ("fcos_resnet18_fpn", {"ignored": all_rows(True)}, {}, "are crowd regions or marked as ignored"),
        (
            "fcos_resnet18_fpn",
            {"boxes_xywh": TABLE.boxes_xywh + np.array([500, 0, 0, 0])},
            {},
            "have no area inside their picture",
        ),
        ("mask_rcnn_resnet18_fpn", {"masks": None}, {}, "has a mask head, but no object of .* has masks"),
        ("keypoint_rcnn_resnet18_fpn", {"keypoints": None}, {}, "keypoint head, but no object of .* has keypoints"),
        (
            "fcos_resnet18_fpn",
            {},
            {"label_map": replace(TABLE.label_map, names=("circle", "square", "star"))},
            "unknown to the model: star; not in the data: triangle",
        ),
    ],
)  # fmt: skip
def test_what_cannot_be_learnt_or_scored_is_said_before_training(tmp_path, name, train, val, said):
    options = {} if name.startswith("fcos") else {"head_depth": None}
    model = create_model(name, label_map=TABLE.label_map, **SMALL | options)
    settings = TrainSettings(data="drawn", out=str(tmp_path))
    with pytest.raises(ValueError, match=said):
        train_on(model, Bent(SHAPES, **train), Bent(SHAPES, **val), settings, quiet=True)
    assert not list(tmp_path.iterdir())


def test_pictures_without_any_object_are_refused(tmp_path):
    model = create_model("fcos_resnet18_fpn", label_map=TABLE.label_map, **SMALL)
    none = np.zeros(0, np.int64)
    empty = Bent(
        SHAPES,
        offsets=np.zeros(len(TABLE) + 1, np.int64),
        boxes_xywh=np.zeros((0, 4)),
        labels=none,
        ignored=none.astype(bool),
        areas=none.astype(float),
        annotation_ids=none,
        masks=None,
        keypoints=None,
    )
    with pytest.raises(ValueError, match=r"nothing to learn in .*: 3 pictures, and no object is annotated"):
        train_on(model, empty, SHAPES, TrainSettings(data="drawn", out=str(tmp_path)), quiet=True)
    check_scorable(model, empty)  # what there is to find is for the one who scores to decide
