"""A capsule keeps all that a loss can look at."""

import pytest
import torch

from pagoda.cli.replay import main as replay
from pagoda.data.drawn.synthetic import DrawnShapes
from pagoda.models import create_model
from pagoda.training.failed_batch import SAVED, batch_losses, load_capsule, save_capsule
from pagoda.weights.file_types import WeightsError

FACTS = {"losses": {"class": float("nan")}, "precision": "fp32", "channels_last": False}


def test_masks_and_keypoints_come_back(tmp_path):
    data = DrawnShapes(2, (64, 64), seed=1)
    pictures, targets = zip(*(data[index] for index in range(2)), strict=True)
    model = create_model(
        "fcos_resnet18_fpn", label_map=data.label_map, width=32, head_depth=1, base_channels=16
    )
    content, again = load_capsule(save_capsule(tmp_path / "capsule.pt", model, pictures, targets, **FACTS))
    for one, other in zip(targets, again, strict=True):
        assert all(torch.equal(getattr(one, name), getattr(other, name)) for name in SAVED)
        assert (one.image_size, one.file) == (other.image_size, other.file)
    before = batch_losses(model, pictures, targets, "fp32")
    assert batch_losses(model, content["pictures"], again, "fp32") == before


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    data = DrawnShapes(2, (64, 64), seed=1)
    pictures, targets = zip(*(data[index] for index in range(2)), strict=True)
    options = {"width": 16, "head_depth": 1, "base_channels": 8}
    model = create_model("fcos_resnet18_fpn", label_map=data.label_map, **options)
    return save_capsule(tmp_path_factory.mktemp("run") / "capsule.pt", model, pictures, targets, **FACTS)


def test_a_whole_one_is_replayed(saved, capsys):
    assert replay([str(saved)]) == 0
    assert "recorded: class nan" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("entry", "value", "message"),
    [
        ("pictures", None, "no capsule that can be replayed: it: pictures must be a sequence"),
        ("pictures", [torch.zeros(3, 8, 8)], r"pictures must be \(3, H, W\) uint8, got .* torch.float32"),
        ("pictures", [torch.zeros(3, 8, 8, dtype=torch.uint8)], "no capsule that can be replayed: zip"),
        ("targets", [{"boxes": 3}, {}], "no capsule that can be replayed"),
        ("losses", {"class": "x"}, "losses must be a mapping"),
        ("precision", "fp8", "precision must be one of 'fp32', 'bf16', got 'fp8'"),
        ("random", {"torch": 3}, "holds no state of random numbers"),
        ("weights", {"x": torch.zeros(1)}, "does not fit the model its card describes"),
        ("card", {"model": "fcos_resnet18_fpn"}, "its card cannot be used: label_map: names must be"),
        ("card", {"model": 3, "options": {}}, "should name its model, got 3"),
    ],
)
def test_what_cannot_be_replayed_is_told_with_the_file(saved, tmp_path, entry, value, message):
    content = torch.load(saved, weights_only=True)
    torch.save({**content, entry: value}, tmp_path / "other.pt")
    with pytest.raises(ValueError, match=rf"other\.pt.*{message}"):
        replay([str(tmp_path / "other.pt")])


@pytest.mark.parametrize("size", [0, 10, 5000])
def test_a_damaged_one_is_told_with_the_file(saved, tmp_path, size):
    (tmp_path / "cut.pt").write_bytes(saved.read_bytes()[:size])
    with pytest.raises(WeightsError, match=r"cut\.pt is refused: it is truncated or damaged"):
        load_capsule(tmp_path / "cut.pt")
