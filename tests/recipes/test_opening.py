"""Data that do not suit a model are refused before anything is written."""

import pytest

from pagoda.data.clips import ClipDataset
from pagoda.data.synthetic import DrawnShapes
from pagoda.data.walking import WalkingFigures
from pagoda.recipes.detection import train_on
from pagoda.structures.posetrack_skeletons import PERSON_17
from pagoda.training.settings import AugmentSettings, TrainSettings
from pagoda.zoo.models import create_model


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
