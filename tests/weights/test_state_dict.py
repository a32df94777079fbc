"""Weights files of other programs: every form is read, nothing in them runs, and nothing is lost unsaid."""

import gzip
import io
import os
import pickle
import subprocess
import sys
import tarfile
import zipfile
from collections import OrderedDict, defaultdict
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from pagoda.weights.file_types import WeightsError
from pagoda.weights.state_dict import read_foreign

STATE = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)).state_dict()
ARRAYS = {name: tensor.numpy() for name, tensor in STATE.items()}


def same(read: dict, expected: dict) -> bool:
    return list(read) == list(expected) and all(torch.equal(read[name], expected[name]) for name in expected)


def save(folder: Path, content: object, form: str = "zip") -> Path:
    path = folder / "weights.pth"
    if form == "pickle":
        path.write_bytes(pickle.dumps(content, protocol=2))
    else:
        torch.save(content, path, _use_new_zipfile_serialization=form == "zip")
    return path


@pytest.mark.parametrize("form", ["zip", "legacy"])
@pytest.mark.parametrize("wrapper", [None, "model", "state_dict", "model_state_dict"])
@pytest.mark.parametrize("prefix", ["", "module."])
def test_torch_files(tmp_path: Path, form: str, wrapper: str | None, prefix: str) -> None:
    state = {f"{prefix}{name}": tensor for name, tensor in STATE.items()}
    content = {wrapper: state, "iteration": 90000, "optimizer": {"state": {0: {"m": torch.ones(2)}}}}
    found = read_foreign(save(tmp_path, content if wrapper else state, form))
    assert same(found.tensors, STATE)
    assert (found.taken, found.stripped) == (wrapper or "", prefix)
    assert found.metadata == ({"iteration": 90000} if wrapper else {})
    assert found.dropped == (["optimizer: 1 tensor"] if wrapper else [])


def test_detectron_and_detectron2_pickles(tmp_path: Path) -> None:
    found = read_foreign(
        save(tmp_path, {"blobs": ARRAYS | {"weight_order": None}, "cfg": "MODEL: {}"}, "pickle")
    )
    assert same(found.tensors, STATE) and found.taken == "blobs"
    assert found.metadata == {"cfg": "MODEL: {}", "blobs.weight_order": None} and found.dropped == []
    content = {"model": ARRAYS, "__author__": "Caffe2", "matching_heuristics": True}
    found = read_foreign(save(tmp_path, content, "pickle"))
    assert same(found.tensors, STATE) and found.taken == "model"
    assert found.metadata == {"__author__": "Caffe2", "matching_heuristics": True}
    assert same(read_foreign(save(tmp_path, ARRAYS, "pickle")).tensors, STATE)


def test_safetensors(tmp_path: Path) -> None:
    save_file(
        {f"module.{name}": tensor for name, tensor in STATE.items()}, tmp_path / "a.safetensors", {"a": "b"}
    )
    found = read_foreign(tmp_path / "a.safetensors")
    assert found.stripped == "module." and found.metadata == {"a": "b"}
    assert all(torch.equal(found.tensors[name], tensor) for name, tensor in STATE.items())


def test_a_prefix_of_some_names_stays(tmp_path: Path) -> None:
    state = {"module.a": torch.ones(1), "b": torch.ones(1)}
    found = read_foreign(save(tmp_path, state))
    assert list(found.tensors) == ["module.a", "b"] and found.stripped == ""


@pytest.fixture
def other_program(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """A module with the kinds of classes that training programs leave in checkpoints; loading them is a fault."""
    module = ModuleType("other_program")
    source = """
class Plain:
    def __init__(self): self.values = [1]
    def __setstate__(self, state): raise AssertionError('was given a state')
class Config(dict):
    def __reduce_ex__(self, protocol): return Config, (dict(self),), None, None, iter(self.items())
class Slots:
    __slots__ = ('x',)
    def __init__(self): self.x = 1
class Words(list): pass
def make(*arguments): raise AssertionError('was called')
class Made:
    def __reduce__(self): return make, (1, 2)
"""
    exec(source, module.__dict__)
    for value in list(vars(module).values()):
        if callable(value):
            value.__module__ = "other_program"
    monkeypatch.setitem(sys.modules, "other_program", module)
    return module


@pytest.mark.parametrize("form", ["zip", "legacy"])
def test_objects_of_other_programs_stay_out_and_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, other_program: ModuleType, form: str
) -> None:
    config = other_program.Config(type="FCOS", depth=50)
    meta = {
        "CLASSES": ("person", "bicycle"),
        "epoch": 12,
        "lr": np.float64(0.01),
        "config": config,
        "log": [1, other_program.Plain(), 3],
        "slots": other_program.Slots(),
        "words": other_program.Words(["a"]),
        "made": other_program.Made(),
        "path": Path("a"),
        "default": defaultdict(int, a=1),
        "when": OrderedDict(a=torch.float16),
    }
    content = {
        "meta": meta,
        "state_dict": STATE,
        "optimizer": {"state": [torch.ones(1)], "x": other_program.Plain()},
    }
    path = save(tmp_path, content, form)
    monkeypatch.delitem(sys.modules, "other_program")
    found = read_foreign(path)
    assert same(found.tensors, STATE) and found.taken == "state_dict"
    assert found.metadata["meta"]["CLASSES"] == ("person", "bicycle")
    assert found.metadata["meta"]["lr"] == 0.01 and found.metadata["meta"]["log"] == [1, 3]
    assert "optimizer: 1 tensor" in found.dropped
    for line in (
        "meta.config: other_program.Config",
        "meta.log.1: other_program.Plain",
        "meta.slots: other_program.Slots",
        "meta.words: other_program.Words",
        "meta.made: other_program.make",
        "meta.default: collections.defaultdict",
    ):
        assert line in found.dropped
    assert any(line.startswith("meta.path: pathlib") for line in found.dropped)
    assert "other_program" not in sys.modules


class Attack:
    """Writes a file when opened by anyone who trusts it."""

    def __reduce__(self) -> tuple:
        return os.system, ("touch EXECUTED",)


@pytest.mark.parametrize("form", ["zip", "legacy"])
def test_an_attack_beside_the_weights_stays_inert(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, form: str
) -> None:
    monkeypatch.chdir(tmp_path)
    path = save(tmp_path, {"model": STATE, "scheduler": Attack()}, form)
    found = read_foreign(path)
    assert same(found.tensors, STATE) and found.dropped == [f"scheduler: {os.system.__module__}.system"]
    assert not Path("EXECUTED").exists()
    torch.load(path, weights_only=False)  # the trap is armed
    assert Path("EXECUTED").exists()


@pytest.mark.parametrize("form", ["zip", "legacy", "pickle"])
def test_an_attack_among_the_weights_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, form: str
) -> None:
    monkeypatch.chdir(tmp_path)
    state = (ARRAYS if form == "pickle" else dict(STATE)) | {"x": Attack()}
    with pytest.raises(WeightsError, match=r"weights\.pth is refused: .*system"):
        read_foreign(save(tmp_path, {"model": state}, form))
    assert not Path("EXECUTED").exists()


def test_a_model_saved_whole_is_explained(tmp_path: Path) -> None:
    for content in (
        {"model": nn.Conv2d(3, 4, 3)},
        {"epoch": 1, "model": nn.Conv2d(3, 4, 3)},
        nn.Conv2d(3, 4, 3),
    ):
        with pytest.raises(
            WeightsError, match=r"got an object of torch\.nn\.modules\.conv\.Conv2d.*its state_dict"
        ):
            read_foreign(save(tmp_path, content))


def test_of_two_sets_of_weights_the_average_waits_to_be_asked_for(tmp_path: Path) -> None:
    averaged = {name: tensor + 1 for name, tensor in STATE.items()}
    path = save(tmp_path, {"state_dict": STATE, "state_dict_ema": averaged, "epoch": 3})
    found = read_foreign(path)
    assert same(found.tensors, STATE) and found.taken == "state_dict"
    assert found.beside == (f"'state_dict_ema' ({len(STATE)} tensors, averaged)",)
    for take in ("state_dict_ema", "ema"):
        found = read_foreign(path, take=take)
        assert same(found.tensors, averaged) and found.taken == "state_dict_ema"
        assert found.dropped == [f"state_dict: {len(STATE)} tensors"]
    with pytest.raises(
        WeightsError, match=r"holds nothing under 'emma'; it holds tensors under 'state_dict'"
    ):
        read_foreign(path, take="emma")


def test_a_lonely_key_needs_no_word(tmp_path: Path) -> None:
    found = read_foreign(save(tmp_path, {"net": STATE, "best": torch.tensor(0.5)}))
    assert same(found.tensors, STATE) and found.taken == "net" and found.dropped == ["best: 1 tensor"]
    found = read_foreign(
        save(tmp_path, {"model": {"state_dict": STATE, "epoch": 3}, "random": {"cpu": torch.ones(3)}})
    )
    assert found.taken == "model.state_dict" and found.metadata == {"model.epoch": 3}
    assert found.dropped == ["random: 1 tensor"]
    found = read_foreign(save(tmp_path, {"ema": {"module": STATE}, "model": STATE}), take="ema.module")
    assert found.taken == "ema.module" and same(found.tensors, STATE)
    with pytest.raises(WeightsError, match=r"which weights .* 'net' .* 'gan' .*; name the key: take='net'"):
        read_foreign(save(tmp_path, {"net": STATE, "gan": STATE}))


def test_arrays_within_a_torch_file(tmp_path: Path) -> None:
    found = read_foreign(save(tmp_path, {"model": ARRAYS, "epoch": np.int64(3)}))
    assert same(found.tensors, STATE) and found.metadata == {"epoch": 3}


@pytest.mark.filterwarnings("ignore")
def test_a_torchscript_program_is_explained(tmp_path: Path) -> None:
    torch.jit.save(torch.jit.script(nn.Linear(2, 2)), tmp_path / "program.pt")
    with pytest.raises(
        WeightsError, match=r"program\.pt is a TorchScript program, not weights; save its state_dict"
    ):
        read_foreign(tmp_path / "program.pt")


def test_views_and_shared_memory_come_back(tmp_path: Path) -> None:
    base = torch.arange(24.0).reshape(4, 6)
    state = {
        "a": base,
        "turned": base.t(),
        "part": base[1:3, ::2],
        "one": torch.tensor(3),
        "parameter": nn.Parameter(base),
    }
    for form in ("zip", "legacy"):
        for rest in ({}, {"scheduler": Path("a")}):  # without and with stand-ins
            found = read_foreign(save(tmp_path, {"model": state, **rest}, form)).tensors
            assert same(found, state) and not any(tensor.requires_grad for tensor in found.values())


def test_saving_under_the_same_name_is_safe(tmp_path: Path) -> None:
    path = save(tmp_path, {"x": torch.arange(1_000_000)})
    state = read_foreign(path).tensors
    torch.save(state, path)
    assert torch.equal(read_foreign(path).tensors["x"], torch.arange(1_000_000))


def archive(kind: str) -> bytes:
    buffer = io.BytesIO()
    if kind == "tar":
        with tarfile.open(fileobj=buffer, mode="w") as tar:
            # A name that begins as a torch file of old, for which torch would unpack the archive.
            tar.addfile(tarfile.TarInfo("storages"), io.BytesIO(b""))
    else:
        with zipfile.ZipFile(buffer, "w") as file:
            file.writestr("picture.jpg", b"x" * 100)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", r"0 bytes; it is empty"),
        (b"\n <!DOCTYPE html><title>404</title>", "web page"),
        (b"<?xml version='1.0'?><Error>AccessDenied</Error>", "web page"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "git lfs pull"),
        (archive("tar"), "tar archive"),
        (archive("zip"), "it is a zip archive of 1 file, as .*; unpack it first"),
        (gzip.compress(b"x" * 100, mtime=0), "compressed with gzip"),
        (b"\x89HDF\r\n\x1a\n" + bytes(100), "HDF5"),
        (b"{'not': 'weights'}", r"it is a text, which begins '\{'not': 'weights'\}'"),
        (bytes(1000), r"not a whole \.safetensors file"),
    ],
)
def test_files_of_a_wrong_kind_are_told_apart(tmp_path: Path, content: bytes, says: str) -> None:
    path = tmp_path / "weights.pth"
    path.write_bytes(content)
    with pytest.raises(WeightsError, match=rf"weights\.pth .*{says}"):
        read_foreign(path)


def test_content_without_end_is_refused(tmp_path: Path) -> None:
    endless: dict = {"epoch": 1}
    endless["model"] = endless
    with pytest.raises(WeightsError, match="should hold a state dict"):
        read_foreign(save(tmp_path, endless, "pickle"))
    within: dict = {"model": ARRAYS, "meta": {"n": 1}}
    within["meta"]["self"] = within["meta"]
    found = read_foreign(save(tmp_path, within, "pickle"))
    assert found.metadata == {"meta": {"n": 1}} and found.dropped == ["meta.self: contains itself"]


def test_lists_of_shared_lists_take_no_time(tmp_path: Path) -> None:
    found = read_foreign(save(tmp_path, {"model": ARRAYS, "wide": doubled(60)}, "pickle"))
    assert 0 < len(found.dropped) <= 2 and "nested more than" in found.dropped[0]


def doubled(times: int) -> list:
    """As many values as 2 to the power of `times`, in few bytes."""
    inner: list = [0]
    for _ in range(times):
        inner = [inner, inner]
    return inner


# Each file in a process of its own, since memory that another freed would serve again; forks share the imports.
MEASURE = """
import os, sys
from pathlib import Path
from pagoda.weights.state_dict import read_foreign

def kilobytes(what):
    (line,) = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(what)]
    return int(line.split()[1])

def measure(path):
    before = kilobytes("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # forgets the highest memory use so far
    found = read_foreign(path)
    total = sum(float(tensor.sum()) for tensor in found.tensors.values())
    print((kilobytes("VmHWM") - before) * 1024, flush=True)

for path in sys.argv[1:]:
    if not (child := os.fork()):
        measure(path)
        os._exit(0)
    if os.waitpid(child, 0)[1]:
        sys.exit(f"{path}: the process that measures it failed")
"""


@pytest.mark.medium
@pytest.mark.skipif(sys.platform != "linux", reason="measures memory as Linux reports it")
def test_peak_memory_stays_near_the_size_of_the_file(tmp_path: Path) -> None:
    state = {f"w{index}": torch.rand(1000, 5000) for index in range(4)}  # 80 MB
    arrays = {name: tensor.numpy() for name, tensor in state.items()}
    paths = {}
    for name, content, form in (
        ("zip", state, "zip"),
        ("legacy", state, "legacy"),
        ("with stand-ins", {"model": state, "x": Path("a")}, "zip"),
        ("pickle", {"model": arrays}, "pickle"),
    ):
        paths[name] = save(tmp_path, content, form).rename(tmp_path / f"{name}.pth")
    words = [sys.executable, "-c", MEASURE, *map(str, paths.values())]
    peaks = subprocess.run(words, capture_output=True, text=True, check=True).stdout.split()
    shares = {
        name: int(peak) / path.stat().st_size for (name, path), peak in zip(paths.items(), peaks, strict=True)
    }
    assert max(shares.values()) < 2.5, shares
    assert min(shares.values()) > 0.3, shares  # something was measured


@pytest.mark.parametrize("is_zip", [True, False])
def test_a_small_file_does_not_ask_for_much_memory(tmp_path, is_zip):
    def file(side):
        state = {"backbone.conv1.weight": torch.zeros(1).expand(side, side)}
        torch.save(state, tmp_path / "a.pth", _use_new_zipfile_serialization=is_zip)
        return tmp_path / "a.pth"

    assert read_foreign(file(8)).tensors["backbone.conv1.weight"].shape == (8, 8)
    with pytest.raises(
        WeightsError, match=r"a\.pth is refused: .*conv1\.weight spreads 1 numbers over \(30000, 30000\)"
    ):
        read_foreign(file(30_000))
