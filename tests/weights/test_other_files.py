"""Files and folders that hold no weights by name, or weights that are no numbers: named, with what to do."""

import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.distributed.checkpoint as distributed_checkpoint
from torch import Tensor
from torch.distributed.checkpoint.format_utils import dcp_to_torch_save
from torchvision.models.mobilenetv2 import mobilenet_v2

import pagoda
from pagoda.weights.file_types import WeightsError, WeightsNote

pytestmark = pytest.mark.medium

State = dict[str, Tensor]
FIRST = "features.0.0.weight"


@pytest.fixture(scope="module")
def plain() -> State:
    torch.manual_seed(0)
    return mobilenet_v2().state_dict()


def test_a_checkpoint_in_a_folder_of_torch_distributed(tmp_path: Path, plain: State) -> None:
    folder = tmp_path / "step 9"
    distributed_checkpoint.save({"model": plain}, checkpoint_id=folder)
    command = f"python -m torch.distributed.checkpoint.format_utils dcp_to_torch '{folder}' '{folder}.pth'"
    for place in (folder, next(folder.glob("*.distcp"))):
        for load in (pagoda.load, pagoda.load_backbone):
            with pytest.raises(WeightsError, match="make one file of it") as error:
                load(place)
            assert str(error.value).endswith(command)
    dcp_to_torch_save(folder, f"{folder}.pth")  # as the command does
    assert torch.equal(pagoda.load_backbone(f"{folder}.pth").state_dict()[FIRST], plain[FIRST])


def test_a_folder_with_one_file_is_that_file(tmp_path: Path, plain: State) -> None:
    torch.save({"model": plain}, tmp_path / "pytorch_model.bin")
    (tmp_path / "config.json").write_text("{}")
    assert torch.equal(pagoda.load_backbone(tmp_path).state_dict()[FIRST], plain[FIRST])


def test_weights_that_are_no_numbers_are_said(tmp_path: Path, plain: State) -> None:
    torch.save({**plain, FIRST: plain[FIRST] * float("nan")}, tmp_path / "weights.pth")
    with pytest.warns(
        WeightsNote, match=rf"weights.pth: 1 tensor holds NaN or infinity, the first is {FIRST}"
    ):
        pagoda.load_backbone(tmp_path / "weights.pth")
    large = {name: torch.full_like(t, 1e38) if t.is_floating_point() else t for name, t in plain.items()}
    torch.save(large, tmp_path / "weights.pth")
    with warnings.catch_warnings():
        warnings.simplefilter("error", WeightsNote)
        pagoda.load_backbone(tmp_path / "weights.pth")


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda t: t.to("meta"), "has a shape but no numbers"),
        (lambda t: t.to_sparse(), r"is stored as torch.sparse_coo; save it with \.to_dense\(\)"),
    ],
)
def test_tensors_without_numbers_of_their_own(
    tmp_path: Path, plain: State, change: Callable[[Tensor], Tensor], says: str
) -> None:
    torch.save({**plain, FIRST: change(plain[FIRST])}, tmp_path / "weights.pth")
    with pytest.raises(WeightsError, match=rf"weights.pth: {FIRST} {says}"):
        pagoda.load_backbone(tmp_path / "weights.pth")


OTHER_FILES: dict[str, tuple[bytes, str]] = {
    "a.tflite": (
        b"\x1c\0\0\0TFL3" + b"\0" * 99,
        "by its name it is a program of TensorFlow Lite; save its weights",
    ),
    "a.caffemodel": (b"\x0a\x08" + b"\0" * 99, "by its name it is weights of Caffe"),
    "yolov4.weights": (b"\0\0\0\0\2\0\0\0\5\0\0\0" + b"\0" * 99, "--cfg"),
    "a.engine": (b"ftrt" + b"\0" * 99, "by its name it is an engine of TensorRT"),
    "a.pth": (b'{"error": "not found"}', r"it is a text, which begins '\{\"error\": \"not found\"\}'"),
    "a.npy": (b"\x93NUMPY\1\0" + b"\0" * 99, r"it is one array of NumPy \(\.npy\)"),
    "a.gguf": (b"GGUF" + b"\0" * 99, "a GGUF file"),
}


@pytest.mark.parametrize("name", OTHER_FILES)
def test_files_of_other_kinds_are_named(tmp_path: Path, name: str) -> None:
    content, says = OTHER_FILES[name]
    (tmp_path / name).write_bytes(content)
    for load in (pagoda.load, pagoda.load_backbone):
        with pytest.raises(WeightsError, match=rf"{name}.*{says}"):
            load(tmp_path / name)


def test_archives_that_torch_did_not_write_are_named(tmp_path: Path, plain: State) -> None:
    torch.save(plain, tmp_path / "a.pth")
    members = {"release.zip": "a.pth", "model.keras": "model.weights.h5", "arrays.bin": "w.npy"}
    says = (
        "a zip archive of 1 file, as a.pth; unpack it first",
        "a file of Keras",
        "an archive of NumPy arrays",
    )
    for (name, member), words in zip(members.items(), says, strict=True):
        with zipfile.ZipFile(tmp_path / name, "w") as archive:
            archive.write(tmp_path / "a.pth", member)
        with pytest.raises(WeightsError, match=rf"{name} holds no weights that are read: it is {words}"):
            pagoda.load_backbone(tmp_path / name)
    zipfile.ZipFile(tmp_path / "release.zip").extractall(tmp_path / "unpacked")
    assert torch.equal(pagoda.load_backbone(tmp_path / "unpacked/a.pth").state_dict()[FIRST], plain[FIRST])
    np.savez(tmp_path / "arrays.npz", **{name: tensor.numpy() for name, tensor in plain.items()})
    with pytest.raises(
        WeightsError, match=r"no variables of TensorFlow's EfficientDet .* save weights of other"
    ):
        pagoda.load_backbone(tmp_path / "arrays.npz")
