"""`pagoda convert`, `pagoda create` and `pagoda models --published` as a person uses them."""

import json
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import pagoda
from pagoda.cli.main import main
from pagoda.convert.names.imagenet import DETECTRON2
from pagoda.convert.names.rules import restore
from pagoda.convert.write_checkpoint import write_for
from pagoda.models import create_model
from pagoda.weights.files import read_card

pytestmark = pytest.mark.medium

SMALL = {"width": 32, "head_depth": 1}
WORDS = ["--model.width", "32", "--model.head-depth", "1"]


def run(*words: object) -> int:
    with pytest.raises(SystemExit) as exit_code:
        main([str(word) for word in words])
    return exit_code.value.code


def complaint(capsys) -> str:
    """What was said on standard error, however its lines were wrapped."""
    return " ".join(capsys.readouterr().err.split())


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory) -> Path:
    """A folder with imprv.pth, of tianzhi0549/FCOS, and backbone.pth, ImageNet weights of torchvision."""
    folder = tmp_path_factory.mktemp("checkpoints")
    torch.manual_seed(0)
    model = create_model("fcos_resnet18_fpn.improved", num_classes=3, **SMALL)
    write_for(model, "fcos", folder / "imprv.pth")
    body = {name: tensor.clone() + 0.001 for name, tensor in model.backbone.state_dict().items()}
    torch.save(
        {**body, "fc.weight": torch.zeros(10, 512), "fc.bias": torch.zeros(10)}, folder / "backbone.pth"
    )
    (folder / "names.txt").write_text("heron\nnewt\ncoot\n\n")
    return folder


@pytest.fixture
def here(checkpoints: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return checkpoints


def test_a_converted_checkpoint_says_what_it_is_and_predicts(here: Path, capsys) -> None:
    assert run("convert", here / "imprv.pth", "a.safetensors", "--labels", here / "names.txt") == 0
    said = capsys.readouterr().out
    for part in ("FCOS (tianzhi0549/FCOS)", "fcos_resnet18_fpn.improved (", "non-commercial", "sha256"):
        assert part in said
    assert "taken       135 tensors" in said and "written: a.safetensors" in said
    Image.fromarray(np.zeros((48, 64, 3), np.uint8)).save("photo.png")
    assert run("predict", "a.safetensors", "photo.png", "--min-score", "0", "--out", "found") == 0
    assert json.loads(Path("found/predictions.json").read_text())["predictions"][0]["objects"]
    assert pagoda.load("a.safetensors").label_map.names == ("heron", "newt", "coot")
    assert read_card("a.safetensors")["provenance"]["file"] == "imprv.pth"


@pytest.fixture(scope="module")
def both(checkpoints: Path) -> Path:
    """imprv_both.pth: weights and, a step beside them, their average; body_both.pth: a backbone's."""
    state = torch.load(checkpoints / "imprv.pth", weights_only=True)["model"]
    average = {name: t + 1 if name.endswith("cls_logits.bias") else t for name, t in state.items()}
    torch.save({"model": state, "model_ema": average}, checkpoints / "imprv_both.pth")
    body = torch.load(checkpoints / "backbone.pth", weights_only=True)
    torch.save({"model": body, "model_ema": body}, checkpoints / "body_both.pth")
    return checkpoints / "imprv_both.pth"


def test_averages_are_reported_and_taken(here: Path, both: Path, capsys) -> None:
    assert run("convert", both, "a.safetensors") == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "taken 135 tensors under 'model'" in said
    assert "beside them lie 'model_ema' (135 tensors, averaged)" in said and "(--take model_ema)" in said
    assert run("convert", both, "b.safetensors", "--take", "ema") == 0
    assert "taken       135 tensors under 'model_ema'" in capsys.readouterr().out
    first, second = (pagoda.load(f"{name}.safetensors").class_head.predict.bias for name in "ab")
    assert torch.allclose(second - first, torch.ones(3))
    assert read_card("b.safetensors")["provenance"]["weights"] == "model_ema"
    Image.fromarray(np.zeros((48, 64, 3), np.uint8)).save("photo.png")
    assert run("predict", both, "photo.png") == 0
    assert "note: imprv_both.pth: the weights under 'model' were taken" in complaint(capsys)
    assert run("predict", both, "photo.png", "--take", "model_ema") == 0
    assert "note" not in complaint(capsys)


@pytest.mark.parametrize(
    "words",
    [
        ["convert", "imprv_both.pth", "a.safetensors"],
        ["convert", "imprv_both.pth", "a.pth", "--to", "fcos"],
        ["predict", "imprv_both.pth", "photo.png"],
        ["val", "imprv_both.pth", "--data", "none"],
        ["track", "imprv_both.pth", "pictures"],
        ["export", "imprv_both.pth", "a.onnx"],
        ["info", "imprv_both.pth"],
        ["train", "imprv_both.pth", "--data", "none"],
        ["create", "fcos_resnet18_fpn", "--classes", "2", "--backbone-weights", "body_both.pth"],
        ["create", "fcos_resnet18_fpn", "--classes", "2", "--start-from", "imprv_both.pth"],
    ],
)
def test_every_verb_takes_the_word(here: Path, both: Path, words: list[str], capsys) -> None:
    Path("pictures").mkdir()
    for path in ("photo.png", "pictures/1.png"):
        Image.fromarray(np.zeros((48, 64, 3), np.uint8)).save(path)
    words = [str(here / word) if word.endswith("_both.pth") else word for word in words]
    assert run(*words, "--take", "emma") == 1
    assert "holds nothing under 'emma'; it holds tensors under 'model'" in complaint(capsys)


def test_nothing_is_overwritten_unless_asked(here: Path, capsys) -> None:
    Path("a.safetensors").write_text("mine")
    assert run("convert", here / "imprv.pth", "a.safetensors") == 1
    assert "a.safetensors exists; choose another name or say --overwrite" in complaint(capsys)
    assert Path("a.safetensors").read_text() == "mine"
    assert run("convert", here / "imprv.pth", "a.safetensors", "--overwrite", "--json") == 0
    assert json.loads(capsys.readouterr().out)["taken"] == 135


def test_the_way_there_and_back_is_the_same_file(here: Path, capsys) -> None:
    assert run("convert", here / "imprv.pth", "a.safetensors") == 0
    assert run("convert", "a.safetensors", "back.pth", "--to", "fcos") == 0
    assert "differs     nothing" in capsys.readouterr().out
    there, back = (torch.load(path, weights_only=True)["model"] for path in (here / "imprv.pth", "back.pth"))
    assert there.keys() == back.keys() and all(torch.equal(there[name], back[name]) for name in there)
    assert run("convert", here / "imprv.pth", "other.pth", "--to", "adelaidet", "--json") == 0
    assert "input_spec.mean" in " ".join(json.loads(capsys.readouterr().out)["differences"])


def test_what_is_missing_is_an_error_unless_allowed(here: Path, capsys) -> None:
    content = torch.load(here / "imprv.pth", weights_only=True)
    del content["model"]["rpn.head.bbox_pred.bias"]
    torch.save(content, "imprv_cut.pth")
    assert run("convert", "imprv_cut.pth", "a.safetensors") == 1
    said = capsys.readouterr().err
    assert (
        "1 tensors missing (box_head.predict.bias)" in said.replace("\n", " ") and "--allow-missing" in said
    )
    assert not Path("a.safetensors").exists()
    assert run("convert", "imprv_cut.pth", "a.safetensors", "--allow-missing") == 0
    assert "missing     1: box_head.predict.bias" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["imprv.pth", "a.pth"], "should end in .safetensors, got 'a.pth'"),
        (["imprv.pth", "a.safetensors", "--to", "fcos"], "should end in .pth"),
        (["imprv.pth", "a.safetensors", "--num-classes", "4"], "was trained on 3 classes, not 4"),
        (["imprv.pth", "a.safetensors", "--labels", "none.txt"], "no file of class names at none.txt"),
        (["imprv.pth", "a.safetensors", "--flavour", "improvd"], "did you mean 'improved'"),
        (["imprv.pth", "a.pth", "--to", "detectron"], "did you mean 'detectron2'"),
        (["imprv.pth", "a.pth", "--to", "fcos", "--allow-missing"], "does nothing with --to"),
        (["backbone.pth", "a.safetensors"], "holds a backbone (resnet18"),
        (["none.pth", "a.safetensors"], "no weights file at"),
    ],
)
def test_mistakes_are_explained(here: Path, words: list[str], said: str, capsys) -> None:
    words = [
        str(here / word) if word in ("imprv.pth", "backbone.pth", "none.pth") else word for word in words
    ]
    assert run("convert", *words) == 1
    assert said in complaint(capsys)
    assert not list(Path().iterdir())


@pytest.mark.parametrize(
    ("content", "said"),
    [("", "it is empty"), ("heron\n\nnewt\n", "line 2 is empty"), ("a\nb\nb\n", "name given twice")],
)
def test_files_of_names_are_checked(here: Path, content: str, said: str, capsys) -> None:
    Path("names.txt").write_text(content)
    assert run("convert", here / "imprv.pth", "a.safetensors", "--labels", "names.txt") == 1
    assert said in complaint(capsys)


def test_class_names_of_a_coco_file_bring_their_ids(here: Path) -> None:
    categories = [{"id": number, "name": name} for number, name in ((7, "heron"), (9, "newt"), (12, "coot"))]
    Path("instances.json").write_text(json.dumps({"images": [], "annotations": [], "categories": categories}))
    assert run("convert", here / "imprv.pth", "a.safetensors", "--labels", "instances.json") == 0
    assert pagoda.load("a.safetensors").label_map.category_ids == (7, 9, 12)


def test_a_checkpoint_of_ours_is_not_converted_again(here: Path, capsys) -> None:
    assert run("create", "fcos_resnet18_fpn", "--classes", 2, *WORDS) == 0
    assert run("convert", "fcos_resnet18_fpn.safetensors", "a.safetensors") == 1
    assert "is a checkpoint of Pagoda already; --to PROGRAM" in complaint(capsys)


def test_create_writes_a_model_with_its_backbone_filled(here: Path, capsys) -> None:
    words = ["fcos_resnet18_fpn.original", "--labels", here / "names.txt", *WORDS, "--out", "new.safetensors"]
    assert run("create", *words, "--backbone-weights", here / "backbone.pth") == 0
    said = capsys.readouterr().out
    for part in (
        "backbone, from backbone.pth",
        "taken       100 tensors",
        "ImageNet classifier",
        "3 classes",
    ):
        assert part in said
    model = pagoda.load("new.safetensors")
    weights = torch.load(here / "backbone.pth", weights_only=True)
    assert torch.equal(model.backbone.conv1.weight, weights["conv1.weight"])
    assert model.label_map.names == ("heron", "newt", "coot") and model.quality_on == "class"
    assert run("create", *words[:-1], "again.safetensors", "--json") == 0
    assert json.loads(capsys.readouterr().out)["backbone"] is None
    assert torch.equal(
        pagoda.load("again.safetensors").class_head.predict.weight, model.class_head.predict.weight
    )


def test_create_warns_of_backbones_that_expect_other_pixels(here: Path, capsys) -> None:
    """R-50.pkl as detectron2 publishes it."""
    state = create_model("fcos_resnet50_fpn.detectron2", num_classes=1, **SMALL).backbone.state_dict()
    names = restore([f"backbone.{name}" for name in state], DETECTRON2)
    arrays = {theirs: state[ours.removeprefix("backbone.")].numpy() for ours, theirs in names.items()}
    Path("R-50.pkl").write_bytes(pickle.dumps({"model": arrays, "matching_heuristics": True}))
    words = ["--classes", 1, *WORDS, "--backbone-weights", "R-50.pkl", "--out"]
    assert run("create", "fcos_resnet50_fpn", *words, "ours.safetensors") == 0
    assert "these weights expect BGR pixels" in capsys.readouterr().out
    assert run("create", "fcos_resnet50_fpn.improved", *words, "theirs.safetensors") == 0
    assert "BGR" not in capsys.readouterr().out


def test_create_starts_a_network_of_clips_from_one_of_pictures(here: Path, capsys) -> None:
    keypoints = {"keypoints": ["nose", "left_ear", "right_ear"], "skeleton": [[1, 2], [1, 3]]}
    content = {"categories": [{"id": 1, "name": "person", **keypoints}]}
    Path("people.json").write_text(json.dumps(content))
    words = ["--labels", "people.json", *WORDS]
    assert run("create", "keypoint_rcnn_resnet18_fpn", *words, "--out", "rcnn.safetensors") == 0
    capsys.readouterr()
    words = ["detect_and_track_resnet18_3d", *words, "--start-from", "rcnn.safetensors"]
    assert run("create", *words, "--model.inflation", "repeat", "--out", "clips.safetensors") == 0
    said = capsys.readouterr().out
    assert "tensors of rcnn.safetensors" in said and "fresh" not in said and "left" not in said
    pictures, clips = pagoda.load("rcnn.safetensors"), pagoda.load("clips.safetensors")
    assert clips.label_map == pictures.label_map and clips.label_map.skeleton.names[0] == "nose"
    tower = clips.keypoint_head.tower[0].weight
    assert all(torch.equal(tower[:, :, tap], pictures.keypoint_head.tower[0].weight) for tap in range(3))
    assert run("create", *words, "--json", "--out", "again.safetensors") == 0
    told = json.loads(capsys.readouterr().out)
    assert told["backbone"] is None and told["started_from"]["fresh"] == []


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["fcos_resnet18_fpn"], "either --classes N or --labels FILE"),
        (
            ["fcos_resnet18_fpn", "--classes", "2", "--backbone-weights", "a", "--start-from", "b"],
            "--start-from fills the backbone, too; give either it or --backbone-weights",
        ),
        (
            ["detect_and_track_resnet18_3d", "--classes", "1", "--model.inflation", "mean"],
            "--model.inflation is for --backbone-weights or --start-from",
        ),
        (["fcos_resnet18_fpn", "--classes", "2", "--labels", "n.txt"], "and not both"),
        (["fcos_resnet19_fpn", "--classes", "2"], "did you mean 'fcos_resnet1"),
        (
            [
                "fcos_resnet18_fpn",
                "--classes",
                "2",
                "--backbone-weights",
                "a",
                "--model.backbone-weights",
                "b",
            ],
            "are the same; give one of them",
        ),
    ],
)
def test_create_explains_mistakes(here: Path, words: list[str], said: str, capsys) -> None:
    assert run("create", *words) == 1
    assert said in complaint(capsys)
    assert not list(Path().iterdir())


def test_published_checkpoints_are_listed(capsys) -> None:
    assert run("models", "--published") == 0
    said = capsys.readouterr().out
    for part in (
        "FCOS_imprv_R_50_FPN_1x",
        "38.7",
        "non-commercial",
        "https://huggingface.co/tianzhi/FCOS",
        "81.56",
    ):
        assert part in said
    assert run("models", "--published", "--json") == 0
    rows = json.loads(capsys.readouterr().out)
    assert {"name", "program", "model", "options", "ap", "licence", "url", "file"} <= rows[0].keys()
