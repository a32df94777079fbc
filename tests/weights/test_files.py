"""Weights on disk: exact, whole, never run."""

import errno
import os
import pickle
from pathlib import Path

import pytest
import torch
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor, nn

from pagoda.files.atomic import write_atomically
from pagoda.weights import files
from pagoda.weights.files import (
    WeightsError,
    load_weights,
    read_card,
    save_weights,
)
from pagoda.weights.state_dict import read_foreign

CARD = {"model": "fcos_resnet18_fpn", "options": {"width": 64}, "label_map": {"names": ["Katze", "狗"]}}


def some_tensors() -> dict[str, Tensor]:
    return {
        "weight": torch.randn(3, 4, 5),
        "half": torch.randn(7).to(torch.bfloat16),
        "count": torch.tensor(3),
        "turned": torch.randn(4, 6).t(),
        "empty": torch.zeros(0, 4),
        "odd numbers": torch.tensor([0.0, -0.0, float("inf"), 1e-45]),
    }


def listing(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_round_trip_is_bit_exact(tmp_path: Path) -> None:
    tensors = some_tensors()
    path = save_weights(tmp_path / "new" / "folder" / "a.safetensors", tensors, CARD)
    read, card = load_weights(path)
    assert card == read_card(path) == CARD
    assert set(read) == set(tensors)
    for name, tensor in tensors.items():
        assert read[name].dtype == tensor.dtype and torch.equal(read[name], tensor)
        if name == "odd numbers":
            assert torch.equal(read[name].view(torch.int32), tensor.view(torch.int32))
    assert listing(path.parent) == ["a.safetensors"]


def test_gradients_and_shared_tensors_can_be_saved(tmp_path: Path) -> None:
    layer = nn.Linear(3, 3)
    state = {"a": layer.weight, "b": layer.weight, "part": layer.weight[:2]}
    read, _ = load_weights(save_weights(tmp_path / "a.safetensors", state, CARD))
    for name, tensor in state.items():
        assert torch.equal(read[name], tensor) and not read[name].requires_grad


def test_saving_again_replaces(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    save_weights(path, {"x": torch.zeros(2)}, CARD)
    save_weights(path, {"x": torch.ones(2)}, {**CARD, "model": "other"})
    read, card = load_weights(path)
    assert read["x"].tolist() == [1, 1] and card["model"] == "other"


@pytest.mark.parametrize(
    "failure", [OSError(errno.ENOSPC, "No space left on device"), SafetensorError("I/O error: disk full")]
)
def test_no_space_keeps_the_old_file_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failure: Exception
) -> None:
    path = save_weights(tmp_path / "a.safetensors", {"x": torch.zeros(2)}, CARD)

    def half_written(tensors: dict, file: Path, metadata: dict) -> None:
        Path(file).write_bytes(b"half")
        raise failure

    monkeypatch.setattr(files, "save_file", half_written)
    with pytest.raises(
        OSError, match=r"could not write .*a\.safetensors: .*; free some space or choose another"
    ):
        save_weights(path, {"x": torch.ones(2)}, CARD)
    assert listing(tmp_path) == ["a.safetensors"]
    assert load_weights(path)[0]["x"].tolist() == [0, 0]


def test_a_bug_while_writing_is_not_called_lack_of_space(tmp_path: Path) -> None:
    def broken(path: Path) -> None:
        path.write_bytes(b"half")
        raise KeyError("x")

    with pytest.raises(KeyError):
        write_atomically(tmp_path / "a", broken)
    assert listing(tmp_path) == []


def test_truncated_file(tmp_path: Path) -> None:
    path = save_weights(tmp_path / "a.safetensors", some_tensors(), CARD)
    whole = path.read_bytes()
    for size in (0, 4, 50, len(whole) - 1):
        path.write_bytes(whole[:size])
        for read in (load_weights, read_card, read_foreign):
            with pytest.raises(
                WeightsError, match=rf"a\.safetensors is not a whole .* \({size} bytes; .*truncated"
            ):
                read(path)


def test_file_without_card(tmp_path: Path) -> None:
    path = tmp_path / "plain.safetensors"
    save_file({"x": torch.ones(2)}, path)
    with pytest.raises(WeightsError, match=r"plain\.safetensors holds tensors but no card.*backbone_weights"):
        load_weights(path)
    assert read_foreign(path).tensors["x"].tolist() == [1, 1]


@pytest.mark.parametrize("read", [load_weights, read_card, read_foreign])
def test_missing_file(tmp_path: Path, read: object) -> None:
    with pytest.raises(FileNotFoundError, match=r"no weights file at .*nowhere\.pth"):
        read(tmp_path / "nowhere.pth")


class Attack:
    """Runs a command when unpickled by anyone who trusts it."""

    def __init__(self, command: str) -> None:
        self.command = command

    def __reduce__(self) -> tuple:
        return os.system, (self.command,)


@pytest.mark.parametrize("form", ["zip", "legacy", "pickle"])
def test_code_in_a_pickle_is_refused_and_not_run(tmp_path: Path, form: str) -> None:
    marker, path = tmp_path / "executed", tmp_path / "evil.pth"
    attack = Attack(f"touch '{marker}'")
    if form == "pickle":
        path.write_bytes(pickle.dumps(attack))
    else:
        torch.save(attack, path, _use_new_zipfile_serialization=form == "zip")
    with pytest.raises(WeightsError, match=r"evil\.pth .*posix\.system.* its state_dict"):
        read_foreign(path)
    with pytest.raises(
        WeightsError, match=r"is a PyTorch pickle, not a checkpoint of Pagoda.*backbone_weights"
    ):
        load_weights(path)
    assert not marker.exists()
    # The trap is armed: someone who trusts it runs the command.
    torch.load(path, weights_only=False) if form != "pickle" else pickle.loads(path.read_bytes())
    assert marker.exists()


@pytest.mark.parametrize("content", [[1, 2], {"epoch": 3}, torch.ones(2), {"model": {"x": "no tensor"}}])
def test_pickles_of_something_else_are_refused(tmp_path: Path, content: object) -> None:
    torch.save(content, tmp_path / "other.pth")
    with pytest.raises(WeightsError, match=r"other\.pth should hold a state dict"):
        read_foreign(tmp_path / "other.pth")


@pytest.mark.parametrize("is_zip", [True, False])
def test_truncated_pickle(tmp_path: Path, is_zip: bool) -> None:
    path = tmp_path / "cut.pth"
    torch.save({"x": torch.ones(100), "y": torch.ones(2)}, path, _use_new_zipfile_serialization=is_zip)
    whole = path.read_bytes()
    for size in range(2, len(whole), 29):
        path.write_bytes(whole[:size])
        with pytest.raises(WeightsError, match=r"cut\.pth is refused: it is truncated or"):
            read_foreign(path)


def test_a_text_file_is_no_weights_file(tmp_path: Path) -> None:
    (tmp_path / "page.pth").write_text("<!doctype html><html>Not found</html>")
    with pytest.raises(WeightsError, match=r"page\.pth holds no weights: it is a web page"):
        read_foreign(tmp_path / "page.pth")


@pytest.mark.parametrize("wrapped", [None, "model", "state_dict"])
@pytest.mark.parametrize("is_zip", [True, False])
def test_state_dicts_of_other_programs(tmp_path: Path, wrapped: str | None, is_zip: bool) -> None:
    state = nn.BatchNorm2d(3).state_dict()
    content = {wrapped: state, "epoch": 3} if wrapped else state
    torch.save(content, tmp_path / "a.pth", _use_new_zipfile_serialization=is_zip)
    read = read_foreign(tmp_path / "a.pth").tensors
    assert list(read) == list(state) and all(torch.equal(read[name], state[name]) for name in state)


@pytest.mark.parametrize("start", [b"PK", b"\x80\x02"], ids=["zip", "pickle"])
def test_a_header_whose_length_reads_like_another_format_is_ours_all_the_same(
    tmp_path: Path, start: bytes
) -> None:
    wanted = int.from_bytes(start, "little")
    card: dict[str, str] = {"model": ""}
    plain = save_weights(tmp_path / "a.safetensors", {"w": torch.zeros(1)}, card).read_bytes()
    card["model"] = "x" * (wanted - int.from_bytes(plain[:8], "little"))
    path = save_weights(tmp_path / "b.safetensors", {"w": torch.zeros(1)}, card)
    assert path.read_bytes().startswith(start)
    assert files.has_card(path) and load_weights(path)[1] == card
