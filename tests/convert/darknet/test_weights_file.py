"""Darknet's weights: the same bytes again, whatever the header; files that do not fit are refused by their bytes."""

import struct
from pathlib import Path

import numpy as np
import pytest
import torch

from pagoda.cli.main import main
from pagoda.convert.darknet.cfg import cfg_text
from pagoda.convert.darknet.weights_file import (
    Header,
    entries_of,
    guess_net,
    read_header,
    read_weights,
    write_weights,
)
from pagoda.convert.read import convert
from pagoda.convert.write_darknet import write_darknet
from pagoda.layers.darknet_layer import DarknetLayer
from pagoda.models import create_model, load
from pagoda.structures.images import ImageBatch
from pagoda.weights.files import WeightsError
from pagoda.zoo.flavours.yolov1 import YOLOv1Flavour
from pagoda.zoo.yolov1 import NETS

pytestmark = pytest.mark.medium
LAYERS = (
    DarknetLayer(
        kind="convolutional", outputs=4, size=3, stride=4, padding=1, batch_norm=True, activation="leaky"
    ),
    DarknetLayer(kind="convolutional", outputs=5, size=1, activation="relu"),
    DarknetLayer(kind="local", outputs=3, size=3, padding=1, activation="leaky"),
    DarknetLayer(kind="dropout"),
    DarknetLayer(kind="connected", outputs=6, batch_norm=True, activation="leaky"),
    DarknetLayer(kind="connected", outputs=4 * (2 + 10)),
)
SHAPE = (3, 16, 24)


def cfg(folder: Path, name: str = "small.cfg") -> Path:
    path = folder / name
    path.write_text(cfg_text(LAYERS, SHAPE, 2, 2, YOLOv1Flavour(), 2), encoding="utf-8")
    return path


def numbers() -> np.ndarray:
    count = sum(torch.Size(entry.shape).numel() for entry in entries_of(LAYERS, SHAPE))
    return np.random.default_rng(0).random(count, np.float32) + 0.5


def write(folder: Path, header: Header, name: str = "small.weights") -> Path:
    path = folder / name
    path.write_bytes(header.packed() + numbers().astype("<f4").tobytes())
    return path


def run(*words: str) -> None:
    with pytest.raises(SystemExit) as ended:
        main(list(words))
    assert not ended.value.code


HEADERS = {
    "today": Header(major=0, minor=2, revision=0, seen=64123),
    "first": Header(major=0, minor=1, revision=0, seen=7),
    "transposed": Header(major=1001, minor=0, revision=0, seen=9),
    "large": Header(major=0, minor=2, revision=5, seen=2**40),
}
OF_EACH = pytest.mark.parametrize("header", HEADERS.values(), ids=list(HEADERS))


@OF_EACH
def test_bytes_go_in_and_out(header: Header, tmp_path: Path) -> None:
    path = write(tmp_path, header)
    assert read_header(path) == header
    assert len(header.packed()) == (20 if header.minor == 2 else 16)
    found, tensors = read_weights(path, entries_of(LAYERS, SHAPE))
    again = tmp_path / "again.weights"
    write_weights(again, found, entries_of(LAYERS, SHAPE), tensors)
    assert again.read_bytes() == path.read_bytes()


@OF_EACH
def test_a_model_gives_the_file_it_was_made_of(header: Header, tmp_path: Path) -> None:
    """Through our own file and its card, too."""
    path, mine, back = write(tmp_path, header), tmp_path / "mine.safetensors", tmp_path / "back.weights"
    run("convert", str(path), str(mine), "--cfg", str(cfg(tmp_path)))
    run("convert", str(mine), str(back), "--to", "darknet")
    assert back.read_bytes() == path.read_bytes()
    assert back.with_suffix(".cfg").read_text() == (tmp_path / "small.cfg").read_text()


def test_order_of_sections(tmp_path: Path) -> None:
    """A convolution has its weights last, a connected layer in the middle, a local one cell by cell."""
    names = [entry.name for entry in entries_of(LAYERS, SHAPE)]
    assert names[:5] == [
        f"backbone.layers.0.{name}"
        for name in ("norm.bias", "norm.weight", "norm.running_mean", "norm.running_var", "core.weight")
    ]
    assert names[5:7] == ["backbone.layers.1.core.bias", "backbone.layers.1.core.weight"]
    assert names[7:9] == ["head.layers.0.core.bias", "head.layers.0.core.weight"]
    norm = "head.layers.2.norm.of_cells"
    assert names[9:14] == [
        f"{norm}.bias", "head.layers.2.core.weight", f"{norm}.weight", f"{norm}.running_mean", f"{norm}.running_var",
    ]  # fmt: skip
    assert names[14:] == ["head.predict.core.bias", "head.predict.core.weight"]
    _, tensors = read_weights(write(tmp_path, Header()), entries_of(LAYERS, SHAPE))
    assert tensors[names[0]].tolist() == pytest.approx(numbers()[:4].tolist())


def test_transposed_matrices_mean_the_same(tmp_path: Path) -> None:
    plain = convert(write(tmp_path, Header()), cfg=cfg(tmp_path)).model
    entries = entries_of(LAYERS, SHAPE)
    turned = tmp_path / "turned.weights"
    write_weights(turned, Header(major=1001, minor=0), entries, plain.state_dict())
    other = convert(turned, cfg=cfg(tmp_path)).model
    images = ImageBatch(torch.rand(1, *SHAPE), torch.tensor([SHAPE[1:]]))
    with torch.no_grad():
        assert all(torch.equal(a, b) for a, b in zip(plain(images)[:3], other(images)[:3], strict=True))
    assert turned.stat().st_size == (tmp_path / "small.weights").stat().st_size - 4


@pytest.mark.parametrize(
    ("change", "says"), [(-4, "shorter: the download"), (4, "longer: the .cfg"), (-1, "shorter")]
)
def test_files_of_other_lengths_are_refused(change: int, says: str, tmp_path: Path) -> None:
    path = write(tmp_path, Header())
    content = path.read_bytes()
    path.write_bytes(content[:change] if change < 0 else content + b"\0" * change)
    with pytest.raises(WeightsError, match=says) as error:
        convert(path, cfg=cfg(tmp_path))
    assert f"{len(content) + change:,} bytes" in str(error.value) and f"has {len(content):,} in" in str(
        error.value
    )


def test_what_is_no_weights_file(tmp_path: Path) -> None:
    path = tmp_path / "a.weights"
    for content in (b"", b"\0" * 15, struct.pack("<iii", 0, 2, 0) + b"\0" * 4):
        path.write_bytes(content)
        with pytest.raises(WeightsError, match="header"):
            read_header(path)
    with pytest.raises(FileNotFoundError):
        read_header(tmp_path / "none.weights")


@pytest.mark.parametrize("name", NETS)
def test_published_networks_are_told_by_their_bytes(name: str, tmp_path: Path) -> None:
    path = tmp_path / "some.weights"
    for header in (Header(), Header(minor=1)):
        count = sum(torch.Size(entry.shape).numel() for entry in entries_of(NETS[name].layers, (3, 448, 448)))
        with path.open("wb") as file:
            file.write(header.packed())
            file.truncate(len(header.packed()) + 4 * count)  # a hole on the disk
        guessed = guess_net(path)
        assert guessed is not None and guessed[0] == name
    with path.open("ab") as file:
        file.write(b"\0")
    assert guess_net(path) is None
    with pytest.raises(
        WeightsError, match=r"as no published network has .*--cfg FILE\.cfg of pagoda convert"
    ):
        convert(path)


def test_tiny_by_its_size_alone_and_said(tmp_path: Path) -> None:
    path = tmp_path / "yolov1-tiny.weights"
    with path.open("wb") as file:
        file.write(Header(seen=3).packed())
        file.truncate(108_399_820)
    conversion = convert(path)
    assert conversion.report.model == "yolov1_tiny.darknet" and conversion.report.source == "darknet YOLOv1"
    assert any("taken for yolov1_tiny by its 108,399,820 bytes" in note for note in conversion.report.notes)
    assert conversion.model.label_map.names[-1] == "tvmonitor"


def test_loaded_with_the_cfg_beside_it(tmp_path: Path) -> None:
    path = write(tmp_path, Header())
    cfg(tmp_path)
    model = load(path)
    assert model.origin["model"] == "yolov1.darknet" and len(model.label_map) == 2 and not model.training
    with pytest.raises(WeightsError, match="trained on 2 classes, not 3"):
        load(path, num_classes=3)
    with pytest.raises(ValueError, match="give flavour, classes and cfg alone"):
        load(path, take="ema")


def test_a_model_of_ours_leaves_with_variances_for_darknets_epsilon(tmp_path: Path) -> None:
    torch.manual_seed(0)
    small = {"layers": LAYERS, "side": 2, "canvas": SHAPE[1:]}
    model = create_model("yolov1", num_classes=2, num_boxes=2, **small).eval()
    for module in model.modules():
        if hasattr(module, "running_var"):
            module.running_var.uniform_(1e-4, 1.0)
            module.running_mean.normal_()
    report = write_darknet(model, tmp_path / "ours.weights")
    assert any(line.startswith("input_spec.mean") for line in report.differences)
    back = convert(tmp_path / "ours.weights").model
    images = ImageBatch(torch.rand(2, *SHAPE), torch.tensor([SHAPE[1:]] * 2))
    with torch.no_grad():
        for found, expected in zip(back(images)[:3], model(images)[:3], strict=True):
            torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


def test_what_darknet_has_no_layers_for_stays(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    model = create_model("yolov1_resnet18", num_classes=2, width=8, head_depth=1)
    with pytest.raises(ValueError, match="not a YOLOv1 on another backbone"):
        write_darknet(model, tmp_path / "a.weights")
    ours = create_model("yolov1.darknet", num_classes=2, num_boxes=2, layers=LAYERS, side=2, canvas=SHAPE[1:])
    (tmp_path / "b.cfg").write_text("[net]\n")
    with pytest.raises(FileExistsError, match="describes another network"):
        write_darknet(ours, tmp_path / "b.weights")
    assert not list(tmp_path.glob("*.weights"))
    with pytest.raises(SystemExit):
        main(["convert", "x.safetensors", str(tmp_path / "x.pth"), "--to", "darknet"])
    assert "should end in .weights" in capsys.readouterr().err


def test_broken_numbers_are_told(tmp_path: Path) -> None:
    path = write(tmp_path, Header())
    content = bytearray(path.read_bytes())
    content[20:24] = struct.pack("<f", float("nan"))
    path.write_bytes(content)
    assert "NaN" in convert(path, cfg=cfg(tmp_path)).report.not_finite


def test_a_trunk_begins_with_as_many_layers_as_a_file_holds(tmp_path: Path) -> None:
    """As `darknet partial` writes them: of ImageNet's networks the first convolutions."""
    entries = entries_of(LAYERS, SHAPE)
    tensors = {entry.name: torch.rand(entry.shape) + 0.1 for entry in entries}
    small = {"num_classes": 2, "num_boxes": 2, "layers": LAYERS, "side": 2, "canvas": SHAPE[1:]}
    for held in (5, 7):
        path = tmp_path / "extraction.conv.weights"
        write_weights(path, Header(minor=1), entries[:held], tensors)
        state = create_model("yolov1.darknet", backbone_weights=str(path), **small).state_dict()
        same = [entry.name for entry in entries if torch.equal(state[entry.name], tensors[entry.name])]
        assert same == [entry.name for entry in entries[:held]]
    path.write_bytes(path.read_bytes() + b"\0" * 4)
    with pytest.raises(WeightsError, match="where none of the first layers of this trunk ends"):
        create_model("yolov1.darknet", backbone_weights=str(path), **small)


def test_centred_pixels_come_in_and_go_out(tmp_path: Path) -> None:
    path, described = write(tmp_path, Header()), cfg(tmp_path)
    crop = "[crop]\ncrop_height=16\ncrop_width=24\n\n[convolutional]"
    described.write_text(described.read_text().replace("[convolutional]", crop, 1))
    model = convert(path).model
    white = model.input_spec.prepare([torch.full((3, 16, 24), 255, dtype=torch.uint8)]).pixels
    black = model.input_spec.prepare([torch.zeros(3, 16, 24, dtype=torch.uint8)]).pixels
    assert white.unique().tolist() == [1.0] and black.unique().tolist() == [-1.0]
    report = write_darknet(model, tmp_path / "back.weights")
    assert report.differences == [] and (tmp_path / "back.weights").read_bytes() == path.read_bytes()
    assert (tmp_path / "back.cfg").read_text() == described.read_text()
