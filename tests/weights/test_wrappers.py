"""Weights in whatever wrapper: which are taken is chosen or said, and what stands before names comes off."""

import json
import shlex
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from torchvision.models.detection import fcos_resnet50_fpn
from torchvision.models.mobilenetv2 import mobilenet_v2

import pagoda
from pagoda.convert.report import collected_notes
from pagoda.weights.file_types import WeightsError, WeightsNote
from pagoda.weights.state_dict import read_foreign

pytestmark = pytest.mark.medium

State = dict[str, Tensor]
FIRST = "features.0.0.weight"


@pytest.fixture(scope="module")
def body() -> nn.Module:
    torch.manual_seed(0)
    return mobilenet_v2()


@pytest.fixture(scope="module")
def plain(body: nn.Module) -> State:
    return body.state_dict()


@pytest.fixture(scope="module")
def averaged(plain: State) -> State:
    return {name: tensor + 1 if tensor.is_floating_point() else tensor for name, tensor in plain.items()}


def under(prefix: str, state: State) -> State:
    return {f"{prefix}{name}": tensor for name, tensor in state.items()}


def flat(plain: State, averaged: State) -> State:
    """As programs save that register the average as a module of the model they train."""
    return {
        **under("model.", plain),
        **under("ema_model.module.", averaged),
        "ema_model.n_averaged": torch.tensor(3),
    }


Make = Callable[[State, State], Any]
BOTH: dict[str, tuple[Make, str]] = {
    "model_ema": (lambda p, a: {"model": p, "model_ema": a}, "model_ema"),
    "module. and a counter": (
        lambda p, a: {"model": p, "model_ema": {"n_averaged": torch.tensor(3), **under("module.", a)}},
        "model_ema",
    ),
    "mmengine": (
        lambda p, a: {"state_dict": p, "ema_state_dict": {"steps": torch.tensor(9), **under("module.", a)}},
        "ema_state_dict",
    ),
    "timm": (lambda p, a: {"state_dict": p, "state_dict_ema": a, "version": 2}, "state_dict_ema"),
    "nested": (lambda p, a: {"model": p, "ema": {"module": a, "updates": 4}}, "ema.module"),
    "prefix of both": (lambda p, a: {"model": p, "ema": under("ema.module.", a)}, "ema"),
    "stochastic": (lambda p, a: {"net": p, "swaModel": a}, "swaModel"),
    "deeper": (lambda p, a: {"callbacks": {"Averaging": {"avg_model": a}}, "state_dict": p}, "callbacks"),
    "open and one within": (lambda p, a: {**p, "ema": a}, "ema"),
    "lightning": (
        lambda p, a: {
            "state_dict": under("model.", a),
            "current_model_state": under("model.", p),
            "averaging_state": {"n_averaged": torch.tensor(3)},
            "epoch": 3,
        },
        "state_dict",
    ),
    "one dict": (flat, "ema_model.module"),
    "one dict, wrapped": (lambda p, a: {"state_dict": flat(p, a), "epoch": 3}, "ema_model.module"),
}


@pytest.mark.parametrize("case", BOTH)
def test_averages_are_named_and_taken_when_asked_for(
    tmp_path: Path, plain: State, averaged: State, case: str
) -> None:
    make, key = BOTH[case]
    path = tmp_path / "weights.pth"
    torch.save(make(plain, averaged), path)
    with pytest.warns(WeightsNote, match=r"were taken; beside them lie .*averaged.*--take ") as told:
        first = pagoda.load_backbone(path).state_dict()
    assert key in str(told[0].message)
    assert torch.equal(first[FIRST], plain[FIRST])
    advised = str(told[0].message).split("take='")[1].split("'")[0]
    for take in ("ema", key, advised):
        with warnings.catch_warnings():
            warnings.simplefilter("error", WeightsNote)  # somebody chose: nothing to warn of
            found = pagoda.load_backbone(path, take=take).state_dict()
        assert torch.equal(found[FIRST], averaged[FIRST]), take


ONLY: dict[str, tuple[Make, str]] = {
    "averages alone": (lambda p, _: {"ema_state_dict": p}, "only averaged weights are in the file"),
    "another key": (lambda p, _: {"net": p, "best": torch.tensor(0.5), "rng": {"cpu": torch.ones(9)}}, ""),
    "two keys": (
        lambda p, _: {"checkpoint": {"network": p}, "optimizer": {"state": {"a.b": {"m": p[FIRST]}}}},
        "",
    ),
    "torch's average": (
        lambda p, _: {"n_averaged": torch.tensor(3), **under("module.", p)},
        "",
    ),
    "nothing but its prefix": (lambda p, _: under("ema.module.", p), ""),
    "compiled": (lambda p, _: under("_orig_mod.", p), ""),
    "compiled and distributed": (lambda p, _: under("_orig_mod.module.", p), ""),
    "compiled within": (
        lambda p, _: {name.replace("features.", "features._orig_mod."): t for name, t in p.items()},
        "",
    ),
    "sharded": (lambda p, _: under("_fsdp_wrapped_module.", p), ""),
    "lightning": (lambda p, _: {"state_dict": under("model.", p), "hyper_parameters": {"lr": 0.1}}, ""),
    "lightning, compiled": (lambda p, _: {"state_dict": under("model._orig_mod.", p)}, ""),
    "lightning with a loss": (
        lambda p, _: {"state_dict": {**under("net.body.", p), "loss.pos_weight": torch.ones(3)}},
        "",
    ),
    "any word": (lambda p, _: {"model": under("heron.newt.coot.", p)}, ""),
}


@pytest.mark.parametrize("case", ONLY)
def test_wrappers_and_prefixes_do_not_matter(
    tmp_path: Path, plain: State, averaged: State, case: str
) -> None:
    make, says = ONLY[case]
    torch.save(make(plain, averaged), tmp_path / "weights.pth")
    with collected_notes() as notes:
        found = pagoda.load_backbone(tmp_path / "weights.pth").state_dict()
    assert all(torch.equal(found[name], plain[name]) for name in found)
    assert says in " ".join(notes) and bool(notes) == bool(says)


def test_an_average_of_torch_itself(tmp_path: Path, body: nn.Module) -> None:
    average = AveragedModel(body, multi_avg_fn=get_ema_multi_avg_fn(0.5), use_buffers=True)
    average.update_parameters(body)
    with torch.no_grad():
        for parameter in average.module.parameters():
            parameter.add_(1)
    content = {"model": body.state_dict(), "model_ema": average.state_dict(), "epoch": 3}
    torch.save(content, tmp_path / "weights.pth")
    found = pagoda.load_backbone(tmp_path / "weights.pth", take="model_ema").state_dict()
    assert torch.equal(found[FIRST], body.state_dict()[FIRST] + 1)


@pytest.mark.parametrize("key", ["state_dict", ""])
def test_averages_among_the_buffers_of_mmcv(
    tmp_path: Path, plain: State, averaged: State, body: nn.Module, key: str
) -> None:
    """A name's dots are underscores there; statistics of norms have no average."""
    learnt = dict(body.named_parameters())
    buffers = {f"ema_{name.replace('.', '_')}": averaged[name] for name in learnt}
    state = {**plain, **buffers}
    path = tmp_path / "weights.pth"
    torch.save({key: state, "epoch": 3, "ema_epoch": 2} if key else state, path)
    with collected_notes() as notes:
        found = pagoda.load_backbone(path).state_dict()
    assert all(torch.equal(found[name], plain[name]) for name in found)
    name = f"{key}.ema" if key else "ema"
    assert f"'{name}' ({len(plain)} tensors, averaged)" in " ".join(notes)
    for take in ("ema", name):
        found = pagoda.load_backbone(path, take=take).state_dict()
        assert all(torch.equal(found[name], (averaged if name in learnt else plain)[name]) for name in found)


def test_what_nobody_can_tell_is_asked(tmp_path: Path, plain: State, averaged: State) -> None:
    path = tmp_path / "weights.pth"
    for content, words in (
        ({"student": plain, "teacher": averaged}, ("student", "teacher")),
        ({**under("student.", plain), **under("teacher.", averaged)}, ("student", "teacher")),
        ({"ema_fast": plain, "ema_slow": averaged}, ("ema_fast", "ema_slow")),
    ):
        torch.save(content, path)
        with pytest.raises(WeightsError, match="which weights are meant") as error:
            pagoda.load_backbone(path)
        assert all(word in str(error.value) for word in words)
        assert f"take='{words[0]}' (--take {words[0]})" in str(error.value)
        for word, state in zip(words, (plain, averaged), strict=True):
            assert torch.equal(pagoda.load_backbone(path, take=word).state_dict()[FIRST], state[FIRST])
    with pytest.raises(WeightsError, match=r"weights are meant by 'ema'\? it holds tensors under 'ema_fast'"):
        pagoda.load_backbone(path, take="ema")
    with pytest.raises(WeightsError, match=r"holds nothing under 'fast_ema'.* name the key: take='ema_fast'"):
        pagoda.load_backbone(path, take="fast_ema")
    torch.save(plain, path)
    with pytest.raises(WeightsError, match=r"holds nothing under 'ema'; its tensors lie open: leave take"):
        pagoda.load_backbone(path, take="ema")
    pagoda.load_backbone(path)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_precisions_are_read_and_said(tmp_path: Path, plain: State, dtype: torch.dtype) -> None:
    from pagoda.convert.read_backbone import fill_backbone

    state = {name: t.to(dtype) if t.is_floating_point() else t for name, t in plain.items()}
    torch.save(state, tmp_path / "weights.pth")
    backbone = pagoda.load_backbone(tmp_path / "weights.pth")
    tensor = backbone.state_dict()[FIRST]
    assert tensor.dtype == torch.float32 and torch.equal(tensor, state[FIRST].float())
    notes = fill_backbone(backbone, tmp_path / "weights.pth").notes
    assert any(f"stored as {str(dtype).removeprefix('torch.')} and used as float32" in note for note in notes)


def test_whole_numbers_are_no_weights(tmp_path: Path, plain: State) -> None:
    torch.save({**plain, FIRST: (plain[FIRST] * 100).to(torch.int8)}, tmp_path / "weights.pth")
    with pytest.raises(WeightsError, match=rf"{FIRST} of torch.int8 instead of floating numbers"):
        pagoda.load_backbone(tmp_path / "weights.pth")


# Several files


def sharded(state: State, folder: Path, form: str = "model.safetensors") -> Path:
    """The index of two shards in `folder`."""
    stem, suffix = form.split(".")
    names = list(state)
    halves = {f"{stem}-0000{i}-of-00002.{suffix}": part for i, part in enumerate((names[:99], names[99:]), 1)}
    for file, part in halves.items():
        tensors = {name: state[name].contiguous() for name in part}
        save_file(tensors, folder / file) if suffix == "safetensors" else torch.save(tensors, folder / file)
    places = {name: file for file, part in halves.items() for name in part}
    index = folder / f"{form}.index.json"
    index.write_text(json.dumps({"metadata": {"total_size": 1}, "weight_map": places}))
    return index


@pytest.mark.parametrize("form", ["model.safetensors", "pytorch_model.bin"])
def test_shards_are_read_through_their_index(tmp_path: Path, plain: State, form: str) -> None:
    index = sharded(under("model.", plain), tmp_path, form)
    (tmp_path / "config.json").write_text("{}")
    for place in (index, tmp_path):
        model = pagoda.create_model(
            "fcos_mobilenet_v2_fpn", num_classes=1, width=32, head_depth=1, backbone_weights=str(place)
        )
        assert torch.equal(model.backbone.state_dict()[FIRST], plain[FIRST])


def test_a_shard_alone_says_what_to_give(tmp_path: Path, plain: State) -> None:
    index = sharded(plain, tmp_path)
    shard = tmp_path / "model-00001-of-00002.safetensors"
    for place in (shard, tmp_path / "model-00002-of-00002.safetensors"):
        with pytest.raises(WeightsError, match="one of several files") as error:
            pagoda.load(place)
        assert str(error.value).endswith(f"give {index}")
    whole, text = shard.read_bytes(), index.read_text()
    shard.unlink()
    with pytest.raises(WeightsError, match=r"leads to model-00001-of-00002.safetensors, not found in"):
        pagoda.load(index)
    shard.write_bytes(whole)
    index.write_text(text.replace(FIRST, "features.0.0.kernel"))
    with pytest.raises(WeightsError, match=r"lacks 1 tensor .* \(features.0.0.kernel\)"):
        pagoda.load(index)
    index.write_text(text.replace("model-00001", "../model-00001"))
    with pytest.raises(WeightsError, match="its files should lie beside it"):
        pagoda.load(index)
    index.write_text("{}")
    with pytest.raises(WeightsError, match="should hold"):
        pagoda.load(index)
    index.unlink()
    with pytest.raises(WeightsError, match=r"index model.safetensors.index.json is not beside it"):
        pagoda.load(shard)
    with pytest.raises(WeightsError, match="shards without their index"):
        pagoda.load(tmp_path)


def test_a_folder_of_a_run_says_what_to_give(tmp_path: Path, plain: State) -> None:
    for name in ("best", "last"):
        save_file({"a": torch.ones(1)}, tmp_path / f"{name}.safetensors")
    with pytest.raises(
        WeightsError, match=r"is a folder: give one of .*best.safetensors, .*last.safetensors"
    ):
        pagoda.load(tmp_path)
    (tmp_path / "empty").mkdir()
    with pytest.raises(WeightsError, match="a folder without weights files"):
        pagoda.load(tmp_path / "empty")


# Models saved whole


def follow(message: str) -> None:
    """Run the program that the message ends in, taken apart as a shell would."""
    python, flag, program = shlex.split(message[message.index("python -c") :])
    assert (python, flag) == ("python", "-c")
    exec(program, {})


@pytest.mark.parametrize("wrap", ["{}", "model", "ema"])
@pytest.mark.filterwarnings("ignore")
def test_the_remedy_for_models_saved_whole_works(tmp_path: Path, body: nn.Module, wrap: str) -> None:
    path = tmp_path / "whole.pt"
    torch.save(body if wrap == "{}" else {"epoch": 1, "model": None, wrap: body}, path)
    with pytest.raises(WeightsError, match="a model saved whole, which opening would run code") as error:
        pagoda.load_backbone(path)
    follow(str(error.value))
    found = pagoda.load_backbone(tmp_path / "whole.state.pth").state_dict()
    assert torch.equal(found[FIRST], body.state_dict()[FIRST])


@pytest.mark.filterwarnings("ignore")
def test_the_remedy_for_programs_works(tmp_path: Path, body: nn.Module) -> None:
    path = tmp_path / "program.pt"
    torch.jit.save(torch.jit.trace(body.eval(), torch.zeros(1, 3, 64, 64)), path)
    with pytest.raises(WeightsError, match="is a TorchScript program, not weights") as error:
        pagoda.load_backbone(path)
    follow(str(error.value))
    found = pagoda.load_backbone(tmp_path / "program.state.pth").state_dict()
    assert torch.equal(found[FIRST], body.state_dict()[FIRST])


# A detector in its program's own wrappers, and every verb


@pytest.fixture(scope="module")
def detectors(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with both.pth: torchvision's FCOS and its average, as its reference scripts and Lightning save them."""
    torch.manual_seed(0)
    state = fcos_resnet50_fpn(weights=None, weights_backbone=None, num_classes=3).half().state_dict()
    average = {name: t + 1 if "cls_logits.bias" in name else t for name, t in state.items()}
    folder = tmp_path_factory.mktemp("detectors")
    content = {**under("model._orig_mod.", state), **under("ema.module.", average), "loss.w": torch.ones(2)}
    torch.save({"state_dict": content, "epoch": 3, "optimizer_states": [{}]}, folder / "both.ckpt")
    return folder


def test_a_detector_of_lightning_with_its_average(detectors: Path) -> None:
    with pytest.warns(WeightsNote, match=r"beside them lie 'ema.module' \(372 tensors, averaged\)"):
        model = pagoda.load(detectors / "both.ckpt")
    bias = model.class_head.predict.bias[0].item()
    averaged = pagoda.load(detectors / "both.ckpt", take="ema")
    assert averaged.class_head.predict.bias[0].item() == pytest.approx(bias + 1, abs=1e-2)
    with pytest.raises(ValueError, match=r"holds nothing under 'student'"):
        pagoda.load(detectors / "both.ckpt", take="student")
    assert read_foreign(detectors / "both.ckpt", take="ema").taken == "state_dict.ema"
