"""YOLOv1 by name: darknet's networks count as published, and heads of cells go on any backbone."""

import pytest
import torch

from pagoda.convert.darknet.weights_file import count_numbers, entries_of
from pagoda.layers.darknet_layer import DarknetLayer
from pagoda.layers.unallocated import WithoutMemory
from pagoda.models import create_model, list_models
from pagoda.structures.images import ImageBatch
from pagoda.zoo.families import YOLOV1_NETS, parse_name
from pagoda.zoo.yolov1 import NETS

# (numbers in a file, those that learn)
COUNTS = {
    "yolov1": (197_328_243, 197_301_875),
    "yolov1_tiny": (27_099_950, 27_095_374),
    "yolov1_paper": (271_703_550, 271_703_550),
    "yolov1_small_2015": (93_970_430, 93_970_430),
    "yolov1_tiny_2015": (45_089_374, 45_089_374),
}


def test_the_names_are_those_of_the_networks() -> None:
    assert tuple(NETS) == YOLOV1_NETS == tuple(COUNTS)
    assert set(NETS) <= set(list_models())


@pytest.mark.parametrize("name", NETS)
def test_numbers_are_as_many_as_published(name: str) -> None:
    with WithoutMemory():
        model = create_model(f"{name}.darknet", num_classes=20)
    in_file, learnt = COUNTS[name]
    assert sum(parameter.numel() for parameter in model.parameters()) == learnt
    state = {
        key: value for key, value in model.state_dict().items() if not key.endswith("num_batches_tracked")
    }
    assert sum(value.numel() for value in state.values()) == in_file
    assert count_numbers(NETS[name].layers, (3, 448, 448)) == in_file
    assert {entry.name: entry.shape for entry in entries_of(NETS[name].layers, (3, 448, 448))} == {
        key: tuple(value.shape) for key, value in state.items()
    }
    assert model.label_map.names[0] == "aeroplane"


def test_numbers_layer_by_layer() -> None:
    """Of cfg/yolov1.cfg."""
    counts: dict[str, int] = {}
    for entry in entries_of(NETS["yolov1"].layers, (3, 448, 448)):
        layer = ".".join(entry.name.split(".")[: 2 if "predict" in entry.name else 3])
        counts[layer] = counts.get(layer, 0) + torch.Size(entry.shape).numel()
    pairs, wide = [132_096, 1_181_696], [526_336, 4_722_688]
    assert list(counts.values()) == [
        9_664, 111_360, 25_088, 295_936, 66_560, 1_181_696, *pairs * 4, 264_192, 4_722_688, *wide * 2,
        *[9_441_280] * 4, 115_618_048, 21_514_675,
    ]  # fmt: skip


SMALL = (
    DarknetLayer(kind="convolutional", outputs=8, size=3, stride=2, padding=1, batch_norm=True),
    DarknetLayer(kind="maxpool", size=2, stride=2, padding=1),
    DarknetLayer(kind="local", outputs=4, size=3, padding=1, activation="leaky"),
    DarknetLayer(kind="dropout"),
    DarknetLayer(kind="connected"),
)


def test_layers_grid_and_boxes_are_options() -> None:
    model = create_model("yolov1", num_classes=3, layers=SMALL, side=5, num_boxes=4, canvas=(64, 96))
    outputs = model(ImageBatch(torch.rand(2, 3, 64, 96), torch.tensor([[64, 96]] * 2)))
    assert outputs.class_logits.shape == (2, 5 * 5 * 4, 3)
    assert model.head.last.out_features == 25 * (3 + 20)
    corners = outputs.priors[0]
    torch.testing.assert_close(corners[4], torch.tensor([96 / 5, 0.0]))
    torch.testing.assert_close(corners[-1], torch.tensor([4 * 96 / 5, 4 * 64 / 5]))


def test_smaller_batches_are_filled_up_and_larger_ones_refused() -> None:
    model = create_model("yolov1.darknet", num_classes=3, layers=SMALL, side=2, canvas=(64, 64)).eval()
    pixels = torch.rand(1, 3, 40, 50)
    filled = torch.zeros(1, 3, 64, 64)
    filled[..., :40, :50] = pixels
    sizes = torch.tensor([[40, 50]])
    small, whole = (model(ImageBatch(each, sizes)) for each in (pixels, filled))
    assert torch.equal(small.box_outputs, whole.box_outputs)
    with pytest.raises(ValueError, match="read 64×64 pixels, got 65×64"):
        model(ImageBatch(torch.rand(1, 3, 65, 64), sizes))


def test_the_grid_on_a_backbone_is_that_of_its_map() -> None:
    model = create_model("yolov1_resnet18", num_classes=2, num_boxes=3, width=16, head_depth=1, levels=(4,))
    outputs = model(ImageBatch(torch.rand(1, 3, 64, 96), torch.tensor([[64, 96]])))
    assert model.strides == {4: 16} and outputs.box_outputs.shape == (1, 4 * 6 * 3, 4)


@pytest.mark.parametrize(
    ("name", "options", "says"),
    [
        ("yolov1_tiny", {"width": 16}, "has no one width"),
        ("yolov1", {"layers": SMALL[:2], "canvas": (64, 64)}, "the last layer must be connected"),
        ("yolov1_resnet18", {"side": 7}, "has no use for the option side=7"),
        ("yolov1_resnet18", {"levels": (4, 5)}, "reads one level, got 4, 5"),
        ("yolov1", {"layers": [{"kind": "conv"}]}, "kind must be one of"),
        ("yolov1_tinny", {}, "did you mean 'yolov1_tiny'"),
        ("yolov1.darknt", {}, "did you mean 'darknet'"),
        ("yolov1_tiny.darknt", {}, "did you mean 'darknet'"),
    ],
)
def test_what_cannot_be_is_refused(name: str, options: dict, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        create_model(name, num_classes=2, **options)


def test_names_in_their_parts() -> None:
    for name in (
        "yolov1",
        "yolov1.darknet",
        "yolov1_tiny_2015.darknet",
        "yolov1_resnet18",
        "yolov1_timm:resnet18",
    ):
        assert str(parse_name(name)) == name
