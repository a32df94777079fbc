"""What error messages about weights advise is tried: the trigger, the words, and the advised call."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import pagoda
from pagoda.backbones.resnet import ResNet
from pagoda.backbones.resnet_options import Body, Plugin
from pagoda.cli.main import main
from pagoda.convert.read import convert
from pagoda.convert.read_backbone import load_backbone
from pagoda.convert.to_program import to_source
from pagoda.models import create_model
from pagoda.weights.file_types import WeightsError
from pagoda.weights.files import save_weights
from pagoda.zoo.flavours.detect_and_track import DETECT_AND_TRACK_FLAVOURS

pytestmark = pytest.mark.medium

SMALL = {"width": 32, "head_depth": 1}
CONTEXT = Plugin(module="context_block", options={"ratio": 0.5}, levels=(4,), position="after_conv2")


def run(*words: object) -> int:
    with pytest.raises(SystemExit) as exit_code:
        main([str(word) for word in words])
    return exit_code.value.code


@pytest.fixture(scope="module")
def fcos() -> dict[str, Tensor]:
    """A detector of tianzhi0549/FCOS."""
    return to_source(create_model("fcos_resnet18_fpn.improved", num_classes=3, **SMALL), "fcos")


@pytest.fixture(scope="module")
def body() -> ResNet:
    return ResNet(18, body=Body(base_channels=8))


def without(state: dict[str, Tensor], name: str) -> dict[str, Tensor]:
    return {key: tensor for key, tensor in state.items() if key != name}


Case = tuple[Callable[[Any, Any], object], Callable[[Path], object], str, list[Callable[[Path], object]]]
CASES: dict[str, Case] = {
    "which of several": (
        lambda fcos, body: {"student": body.state_dict(), "teacher": body.state_dict()},
        load_backbone,
        r"name the key: take='student' \(--take student\)",
        [
            lambda path: load_backbone(path, take="student"),
            lambda path: run(
                "create", "retinanet_resnet18_fpn", "--classes", 2, "--model.base-channels", 8,
                "--backbone-weights", path, "--take", "student", "--out", path.with_suffix(".safetensors"),
            ),
        ],
    ),
    "a detector is no backbone alone": (
        lambda fcos, body: ResNet(18).state_dict(),
        pagoda.load,
        r"use create_model\(…, backbone_weights='.*'\) or load_backbone\('.*'\)",
        [
            load_backbone,
            lambda path: create_model("fcos_resnet18_fpn", num_classes=1, backbone_weights=str(path), **SMALL),
        ],
    ),
    "which flavour": (
        lambda fcos, body: {"model": fcos},
        pagoda.load,
        r"flavour='improved' \(--flavour improved\).*pagoda.load takes the word, and pagoda convert",
        [
            lambda path: pagoda.load(path, flavour="improved"),
            lambda path: pagoda.load(path, flavour="original"),
            lambda path: run("convert", path, path.with_suffix(".safetensors"), "--flavour", "improved"),
        ],
    ),
    "tensors missing": (
        lambda fcos, body: {"model": without(fcos, "rpn.head.bbox_pred.bias")},
        lambda path: pagoda.load(path, flavour="improved"),
        r"allow_missing=True \(--allow-missing\).*pagoda.convert.read.convert, and pagoda convert",
        [
            lambda path: convert(path, flavour="improved", allow_missing=True),
            lambda path: run(
                "convert", path, path.with_suffix(".safetensors"), "--flavour", "improved", "--allow-missing"
            ),
        ],
    ),
    "plugins": (
        lambda fcos, body: ResNet(50, body=Body(base_channels=8, plugins=(CONTEXT,))).state_dict(),
        load_backbone,
        r"hand them over: plugins=\(Plugin\(module=…, .* of load_backbone",
        [lambda path: load_backbone(path, plugins=(CONTEXT,))],
    ),
    "plugins of a detector": (
        lambda fcos, body: {
            "state_dict": to_source(
                create_model("retinanet_resnet50_fpn.mmdet", num_classes=1, plugins=(CONTEXT,), **SMALL), "mmdet"
            )
        },
        pagoda.load,
        r"or options=\{'plugins': …\} of pagoda.load",
        [lambda path: pagoda.load(path, options={"plugins": (CONTEXT,)})],
    ),
    "an unknown word": (
        lambda fcos, body: {"model": fcos},
        lambda path: pagoda.load(path, flavour="imprved"),
        "did you mean 'improved'",
        [lambda path: pagoda.load(path, flavour="improved")],
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_the_advised_call_works(tmp_path: Path, fcos: dict[str, Tensor], body: ResNet, case: str) -> None:
    make, trigger, says, remedies = CASES[case]
    path = tmp_path / "weights.pth"
    torch.save(make(fcos, body), path)
    with pytest.raises((WeightsError, ValueError), match=says):
        trigger(path)
    for remedy in remedies:
        done = remedy(path)  # a model, or what a command exits with
        assert not isinstance(done, int) or done == 0
        path.with_suffix(".safetensors").unlink(missing_ok=True)


def test_what_cannot_help_is_not_advised(tmp_path: Path, fcos: dict[str, Tensor], body: ResNet) -> None:
    path = tmp_path / "weights.pth"
    torch.save({**fcos, "rpn.head.cls_tower.0.weight": torch.zeros(32, 16, 3, 3)}, path)
    with pytest.raises(WeightsError, match="a file of that very network is needed") as error:
        pagoda.load(path, flavour="improved")
    assert "allow" not in str(error.value)
    torch.save(
        without(body.state_dict(), "layer1.0.conv1.weight") | {"layer1.0.conv1.bias": torch.zeros(1)}, path
    )
    with pytest.raises(WeightsError) as error:
        load_backbone(path)
    assert "allow" not in str(error.value)


def test_a_composed_model_is_opened_as_advised(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("mine.py").write_text(
        "from pagoda import create_model\n"
        "def build(num_classes):\n"
        f"    return create_model('fcos_resnet18_fpn', num_classes=num_classes, **{SMALL})\n"
    )
    model = create_model("fcos_resnet18_fpn", num_classes=2, **SMALL)
    model.origin = {"model": "mine.py:build", "options": {}}
    save_weights("mine.safetensors", model.state_dict(), model.card())
    with pytest.raises(
        WeightsError, match=r"load\(path, build=function\), --model FILE.py:FUNCTION of pagoda pre"
    ):
        pagoda.load("mine.safetensors")
    pagoda.load("mine.safetensors", build=lambda n: create_model("fcos_resnet18_fpn", num_classes=n, **SMALL))
    torch.manual_seed(0)
    from PIL import Image

    Image.new("RGB", (64, 48)).save("photo.png")
    assert run("predict", "mine.safetensors", "photo.png") == 1
    assert "--model FILE.py:FUNCTION of pagoda predict" in " ".join(capsys.readouterr().err.split())
    assert run("predict", "mine.safetensors", "photo.png", "--model", "mine.py:build") == 0


def test_box_weights_that_are_not_read_are_handed_over_as_advised(tmp_path: Path) -> None:
    from pagoda.convert.architecture.recorded_config import recorded_box_weights

    with pytest.raises(WeightsError, match=r"flavour=DetectAndTrackFlavour\(…\)"):
        recorded_box_weights({"cfg": "BBOX_REG_WEIGHTS: [1, 2, 3]"})
    assert type(DETECT_AND_TRACK_FLAVOURS["original"]).__name__ == "DetectAndTrackFlavour"


def test_existing_files_and_checkpoints_of_ours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    monkeypatch.chdir(tmp_path)
    words = ("create", "fcos_resnet18_fpn", "--classes", 2, "--model.width", 32, "--model.head-depth", 1)
    assert run(*words, "--out", "a.safetensors") == 0
    assert run(*words, "--out", "a.safetensors") == 1
    assert "choose another name or say --overwrite" in capsys.readouterr().err.replace("\n", " ")
    assert run(*words, "--out", "a.safetensors", "--overwrite") == 0
    assert run("convert", "a.safetensors", "b.safetensors") == 1
    assert "--to PROGRAM writes one" in " ".join(capsys.readouterr().err.split())
    assert run("convert", "a.safetensors", "b.pth", "--to", "fcos") == 0


def test_the_command_for_a_model_saved_whole_runs_in_a_shell(tmp_path: Path, body: ResNet) -> None:
    path = tmp_path / "a whole 'model'.pt"
    torch.save({"model": body}, path)
    with pytest.raises(WeightsError, match="a model saved whole") as error:
        load_backbone(path)
    command = str(error.value)[str(error.value).index("python -c") :].replace("python", sys.executable, 1)
    subprocess.run(command, shell=True, check=True)
    assert load_backbone(path.with_suffix(".state.pth"))
