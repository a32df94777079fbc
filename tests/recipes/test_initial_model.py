"""What a run begins with, and that a run from somebody's checkpoint says and keeps where it came from."""

from pathlib import Path

import pytest
import torch
import yaml

from pagoda.convert.read import convert
from pagoda.convert.write_checkpoint import write_for
from pagoda.data.drawn.synthetic import DrawnShapes
from pagoda.data.saving import write_coco_folder
from pagoda.models import create_model
from pagoda.recipes import training_run
from pagoda.recipes.initial_model import starting_model
from pagoda.structures.labels import LabelMap
from pagoda.structures.skeleton import COCO_17, Skeleton
from pagoda.training.settings import TrainSettings
from pagoda.weights.files import read_card, save_weights

pytestmark = pytest.mark.medium

SMALL = {"width": 32, "head_depth": 1}
OLD = LabelMap.from_names(("circle", "anvil", "triangle"))
NEW = LabelMap.from_names(("triangle", "square", "circle"))


@pytest.fixture(scope="module")
def foreign(tmp_path_factory) -> Path:
    """A checkpoint of tianzhi0549/FCOS."""
    torch.manual_seed(1)
    path = tmp_path_factory.mktemp("foreign") / "FCOS_imprv_mine.pth"
    write_for(create_model("fcos_resnet18_fpn.improved", label_map=OLD, **SMALL), "fcos", path)
    return path


@pytest.fixture
def ours(foreign: Path, tmp_path: Path) -> Path:
    model = convert(foreign, label_map=OLD).model
    return save_weights(tmp_path / "ours.safetensors", model.state_dict(), model.card())


def test_a_checkpoint_is_fitted_to_the_classes_and_says_so(ours: Path) -> None:
    start = starting_model(str(ours), NEW, options={"short_side": 64, "long_side": 96})
    assert start.model.label_map == NEW
    assert (start.model.input_spec.short_side, start.model.input_spec.long_side) == (64, 96)
    assert start.config == {"model": str(ours), "options": {"short_side": 64, "long_side": 96}}
    for part in ("2 classes with their weights: triangle, circle", "1 new classes: square", "anvil"):
        assert part in start.text
    assert "non-commercial" in start.text and f"starts from {ours}" in start.text


def test_classes_that_agree_are_left_alone(ours: Path) -> None:
    theirs = LabelMap(OLD.names, (7, 8, 9))  # the same names under the ids of another file
    start = starting_model(str(ours), theirs)
    assert start.model.label_map == theirs and "kept" not in start.text
    with pytest.raises(ValueError, match=r"only short_side, long_side, .*can be changed, got .* width=64"):
        starting_model(str(ours), OLD, options={"width": 64, "long_side": 96})


def test_a_foreign_checkpoint_starts_a_run_too(foreign: Path) -> None:
    start = starting_model(str(foreign), NEW)
    assert start.model.label_map == NEW
    assert "0 classes with their weights" in start.text  # its file names none
    assert start.model.input_spec.channel_order == "BGR"


def test_built_models_take_names_in_order_or_by_name() -> None:
    numbered = create_model("fcos_resnet18_fpn", num_classes=3, **SMALL)
    start = starting_model(numbered, NEW)
    assert start.model is numbered and numbered.label_map == NEW and not start.text
    start = starting_model(numbered, OLD)
    assert start.model is not numbered and numbered.label_map == NEW and "anvil" in start.text
    with pytest.raises(ValueError, match="not to a built one"):
        starting_model(numbered, NEW, options={"width": 3})


def test_new_and_composed_models() -> None:
    assert starting_model("fcos_resnet18_fpn", NEW, options=SMALL).model.label_map == NEW
    start = starting_model(
        "mine.py:build",
        NEW,
        build=lambda count: create_model("fcos_resnet18_fpn", num_classes=count, **SMALL),
    )
    assert start.model.label_map == NEW and start.model.origin == {"model": "mine.py:build", "options": {}}


def test_a_keypoint_head_is_fitted_to_the_skeleton(tmp_path: Path) -> None:
    people = create_model("keypoint_rcnn_resnet18_fpn.maskrcnn_benchmark", num_classes=1, **SMALL)
    write_for(people, "maskrcnn_benchmark", tmp_path / "e2e_keypoint.pth")
    face = LabelMap(("person",), (1,), Skeleton(("chin", "nose")))
    start = starting_model(str(tmp_path / "e2e_keypoint.pth"), face)
    assert start.model.keypoint_head.num_keypoints == 2 and start.model.label_map == face
    for part in (
        "1 keypoints with their weights: nose",
        "1 new keypoints: chin",
        "16 keypoints that are not",
    ):
        assert part in start.text
    same = LabelMap(("person",), (7,), COCO_17)
    start = starting_model(str(tmp_path / "e2e_keypoint.pth"), same)
    assert start.model.label_map == same and "keypoints" not in start.text
    new = starting_model("keypoint_rcnn_resnet18_fpn", face, options=SMALL)
    assert new.model.keypoint_head.num_keypoints == 2


@pytest.mark.parametrize("kind", ["mask", "keypoint"])
@pytest.mark.slow
def test_a_foreign_r_cnn_is_trained_on_other_classes(kind: str, tmp_path: Path, capsys) -> None:
    for split, count in (("train", 4), ("val", 2)):
        write_coco_folder(DrawnShapes(count, image_size=(64, 64), seed=1), tmp_path / "data", split=split)
    theirs = create_model(f"{kind}_rcnn_resnet18_fpn.maskrcnn_benchmark", num_classes=5, **SMALL)
    write_for(theirs, "maskrcnn_benchmark", tmp_path / "model_final.pth")
    settings = TrainSettings(
        data=str(tmp_path / "data"), epochs=1, batch_size=2, out=str(tmp_path / "runs"), device="cpu"
    )
    path = str(tmp_path / "model_final.pth")
    run = training_run.train(path, settings, options={"short_side": 64, "long_side": 64})
    assert "3 new classes: circle, square, triangle" in capsys.readouterr().err
    found = run.model.predict(torch.zeros(3, 64, 64, dtype=torch.uint8), min_score=0.0)
    assert (found.masks if kind == "mask" else found.keypoints) is not None
    card = read_card(run.folder / "best.safetensors")
    assert card["label_map"]["skeleton"]["names"] and card["provenance"]["licence"] == "MIT"


def test_a_run_from_a_checkpoint_keeps_where_it_came_from(ours: Path, tmp_path, capsys) -> None:
    for split, count in (("train", 8), ("val", 4)):
        write_coco_folder(DrawnShapes(count, image_size=(64, 64), seed=1), tmp_path / "data", split=split)
    settings = TrainSettings(
        data=str(tmp_path / "data"), epochs=1, batch_size=4, out=str(tmp_path / "runs"), device="cpu"
    )
    run = training_run.train(str(ours), settings, options={"short_side": 64, "long_side": 64})
    assert "classes with their weights: circle" in capsys.readouterr().err
    config = yaml.safe_load((run.folder / "config.yaml").read_text())
    assert config["model"] == str(ours) and config["options"] == {"short_side": 64, "long_side": 64}
    card = read_card(run.folder / "best.safetensors")
    assert read_card(ours)["inclusive"] and "inclusive" not in card and not run.model.inclusive
    assert card["provenance"]["file"] == "FCOS_imprv_mine.pth"
    assert "non-commercial" in card["provenance"]["licence"]
    assert card["input_spec"]["short_side"] == 64 and card["label_map"]["names"] == [
        "circle",
        "square",
        "triangle",
    ]
    again = training_run.resume(run.folder, quiet=True)
    assert again.result.metrics["AP"] == pytest.approx(run.result.metrics["AP"], abs=1e-6)
