"""Darknet's configurations: what they say is built, what is not known is refused by name and line."""

from pathlib import Path

import pytest

from pagoda.convert.darknet.cfg import DarknetConfig, cfg_text, parse_cfg, read_cfg
from pagoda.layers.darknet_layer import DarknetLayer
from pagoda.weights.files import WeightsError
from pagoda.zoo.flavours.yolov1 import YOLOv1Flavour
from pagoda.zoo.yolov1 import NETS

SMALL = """
[net]
# Training
batch=64
subdivisions=8
height=64
width = 96
channels=3
learning_rate=0.0005
policy=steps
steps=200,400,600
scales=2.5,2,2

[convolutional]
batch_normalize=1
filters=16
size=7
stride=2
pad=1
activation=leaky

[maxpool]
size=2
stride=2

; a comment
[convolutional]
filters=8
size=3
padding=2

[local]
size=3
stride=1
pad=1
filters=4
activation=leaky

[dropout]
probability=.25

[connected]
batch_normalize=1
output=12
activation=relu

[connected]
output=232
activation=linear

[detection]
classes=3
coords=4
rescore=1
side=4
num=2
softmax=0
sqrt=1
jitter=.2
object_scale=1
noobject_scale=.5
class_scale=2
coord_scale=5
"""


def numbered(text: str) -> list[str]:
    return text.splitlines()


def small() -> str:
    return SMALL.replace("output=232", f"output={16 * 13}")


def test_what_a_file_says() -> None:
    config = parse_cfg(small())
    assert config.net.canvas == (64, 96) and (config.net.side, config.net.num_boxes, config.net.classes) == (
        4,
        2,
        3,
    )
    first, pool, second, local, dropout, middle, last = config.net.layers
    assert first == DarknetLayer(
        kind="convolutional", outputs=16, size=7, stride=2, padding=3, batch_norm=True, activation="leaky"
    )
    assert (pool.size, pool.stride, pool.padding) == (2, 2, 1)
    assert (second.padding, second.activation, second.batch_norm) == (2, "logistic", False)
    assert (local.kind, local.padding, dropout.probability) == ("local", 1, 0.25)
    assert (middle.batch_norm, middle.activation, last.outputs) == (True, "relu", 208)
    assert config.coder.roots and not config.coder.class_softmax
    criterion = config.criterion
    assert (criterion.class_scale, criterion.noobject_scale, criterion.rescore, criterion.claim) == (
        2.0, 0.5, True, "shuffled",
    )  # fmt: skip


def test_what_is_written_is_read_again() -> None:
    config = parse_cfg(small())
    conventions = YOLOv1Flavour(coder=config.coder, criterion=config.criterion)
    text = cfg_text(config.net.layers, (3, *config.net.canvas), 4, 2, conventions, 3)
    assert parse_cfg(text) == config


@pytest.mark.parametrize("name", NETS)
def test_published_networks_go_through_a_file(name: str) -> None:
    net = NETS[name]
    text = cfg_text(net.layers, (3, *net.canvas), net.side, net.num_boxes, YOLOv1Flavour(), net.classes)
    assert parse_cfg(text).net == net


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("[maxpool]", "[route]", r"line 22: a section \[route\] is not known"),
        ("[dropout]", "[crop]\n[dropout]", r"\[crop\] stands among the layers"),
        (
            "[convolutional]",
            "[crop]\ncrop_height=60\ncrop_width=96\n[convolutional]",
            r"line 14: a \[crop\] to \(60, 96\)",
        ),
        ("stride=2\npad=1", "stride=2\ndilation=2", r"line 19: \[convolutional\] has an entry 'dilation'"),
        (
            "stride=2\npad=1",
            "stride=2\nbinary=1",
            "line 19: binary=1 of \\[convolutional\\] is not computed here",
        ),
        ("filters=16", "filtres=16", "did you mean 'filters'"),
        ("filters=16", "filters=many", "filters of \\[convolutional\\] must be a number, got 'many'"),
        ("filters=16", "filters=1e8", "whole number from 0 to"),
        ("filters=16", "filters=0", "outputs must be from 1"),
        ("activation=relu", "activation=mish", "activation must be one of .*got 'mish'"),
        ("size=7", "size=7\nsize=5", "size stands twice"),
        ("pad=1\nactivation", "pad=2\nactivation", "pad of \\[convolutional\\] must be 0 or 1, got 2"),
        ("coords=4", "coords=5", "coords=4, got 5"),
        (
            "output=208",
            "output=207",
            "needs a \\[connected\\] layer of 208 numbers before it, got \\[connected\\] of 207",
        ),
        ("[dropout]\nprobability=.25", "[connected]\n[maxpool]", "reads maps, but a connected layer"),
        ("size=2\nstride=2", "size=200\npadding=0", "line 22: layer 1, maxpool, has a window of 200 pixels"),
        ("height=64\n", "", "must say height, width and channels"),
        ("num=2", "num=2\nforced=1", "forced=1 of \\[detection\\]"),
        ("[net]", "[dropout]\n[net]", "begins with \\[net\\]"),
        ("[dropout]", "[net]\n[dropout]", "\\[net\\] stands among the layers"),
        ("[detection]", "[connected]", "\\[connected\\] has an entry 'classes'"),
        ("batch=64", "batch", "expected \\[section\\] or name=value, got 'batch'"),
    ],
)
def test_what_is_not_known_is_refused_by_line(old: str, new: str, says: str) -> None:
    assert old in small()
    with pytest.raises(WeightsError, match=says):
        parse_cfg(small().replace(old, new, 1))


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "begins with"),
        ("[net]\nheight=8\nwidth=8\n", "ends with \\[detection\\]"),
        ("height=8\n", "expected \\[section\\]"),
        ("[net]\nheight=8\nwidth=8\n" + "[dropout]\n" * 2000 + "[detection]\n", "at most 1000 sections"),
        ("\x00\x01", "expected"),
    ],
)
def test_other_texts_are_refused(text: str, says: str) -> None:
    with pytest.raises(WeightsError, match=says):
        parse_cfg(text)


def test_files_are_bounded_and_named(tmp_path: Path) -> None:
    path = tmp_path / "net.cfg"
    path.write_bytes(b"#" * (2**20 + 1))
    with pytest.raises(WeightsError, match=r"net\.cfg has 1,048,577 bytes"):
        read_cfg(path)
    path.write_bytes(b"\xff\xfe\xff")
    with pytest.raises(WeightsError, match=r"net\.cfg"):
        read_cfg(path)
    with pytest.raises(FileNotFoundError, match="no configuration file"):
        read_cfg(tmp_path / "none.cfg")
    path.write_text(small(), encoding="utf-8")
    assert isinstance(read_cfg(path), DarknetConfig)


@pytest.mark.parametrize(("noadjust", "is_centered"), [("", True), ("noadjust=1\n", False)])
def test_a_crop_of_the_whole_centres_pixels(noadjust: str, is_centered: bool) -> None:
    crop = f"[crop]\ncrop_height=64\ncrop_width=96\nflip=0\nsaturation=1.5\n{noadjust}\n[convolutional]"
    config = parse_cfg(small().replace("[convolutional]", crop, 1))
    assert config.is_centered == is_centered and config.net == parse_cfg(small()).net
    conventions = YOLOv1Flavour(coder=config.coder, criterion=config.criterion)
    text = cfg_text(
        config.net.layers, (3, *config.net.canvas), 4, 2, conventions, 3, is_centered=config.is_centered
    )
    assert parse_cfg(text) == config
