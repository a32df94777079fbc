"""SSD300, SSD512 and SSDlite as published; our own on any backbone; every program's names in both directions."""

from pathlib import Path

import pytest
import torch

import pagoda
from pagoda.convert.read import convert
from pagoda.convert.to_program import differences, to_source
from pagoda.detectors.ssd import SSD
from pagoda.heads.per_level import PerLevelHead
from pagoda.models import create_model
from pagoda.ops.anchors import DefaultBoxes
from pagoda.structures.images import ImageBatch
from pagoda.weights.files import WeightsError
from pagoda.zoo.ssd import even_boxes

pytestmark = pytest.mark.medium

LITE_3, LITE_2 = "ssdlite320_mobilenet_v3_large", "ssdlite320_mobilenet_v2"


@pytest.mark.parametrize(
    ("name", "classes", "parameters", "entries"),
    [
        ("ssd300_vgg16.amdegroot", 20, 26_285_486, 71),
        ("ssd300_vgg16.torchvision", 80, 34_305_206, 71),
        ("ssd300_vgg16.lufficc", 90, 35_641_826, 71),
        ("ssd512_vgg16.lufficc", 20, 27_188_676, 79),
        ("ssd512_vgg16.mmdet", 80, 36_038_196, 79),
        (f"{LITE_3}.torchvision", 20, 2_469_860, 476),
        (f"{LITE_3}.torchvision", 90, 3_440_060, 476),
        (f"{LITE_2}.lufficc", 20, 3_304_708, 478),
    ],
)
def test_parameters(name: str, classes: int, parameters: int, entries: int) -> None:
    with torch.device("meta"):
        model = create_model(name, num_classes=classes)
    assert sum(p.numel() for p in model.parameters() if p.requires_grad) == parameters
    assert len(model.state_dict()) == entries


def test_parts_of_ssd300() -> None:
    with torch.device("meta"):
        model = create_model("ssd300_vgg16", num_classes=20)
    counts = [
        sum(p.numel() for p in part.parameters())
        for part in (model.backbone, model.neck.l2_norms, model.neck.extra, model.box_head, model.class_head)
    ]
    assert counts == [20_483_904, 512, 2_459_520, 534_648, 2_806_902]


@pytest.mark.parametrize(
    ("name", "offsets", "total"),
    [
        ("ssd300_vgg16", (0, 5776, 7942, 8542, 8692, 8728), 8732),
        ("ssd512_vgg16", (0, 16384, 22528, 24064, 24448, 24544, 24560), 24564),
        (LITE_3, (0, 2400, 3000, 3150, 3204, 3228), 3234),
        (LITE_2, (0, 2400, 3000, 3150, 3204, 3228), 3234),
    ],
)
def test_default_boxes_lie_where_the_heads_speak(name: str, offsets: tuple[int, ...], total: int) -> None:
    with torch.device("meta"):
        model = create_model(name, num_classes=2)
        images = ImageBatch(torch.empty(1, 3, *model.input_spec.canvas), torch.empty(1, 2))
        outputs = model.eval()(images)
    counts = torch.tensor([0, *(len(level) for level in outputs.priors)]).cumsum(0).tolist()
    assert counts == [*offsets, total] and outputs.class_logits.shape == (1, total, 3)


WAYS = [
    ("ssd300_vgg16", "amdegroot", "vgg.0.weight"),
    ("ssd300_vgg16", "lufficc", "backbone.vgg.0.weight"),
    ("ssd300_vgg16", "torchvision", "backbone.scale_weight"),
    ("ssd300_vgg16", "mmdet", "neck.l2_norm.weight"),
    ("ssd512_vgg16", "lufficc", "backbone.extras.9.weight"),
    ("ssd512_vgg16", "mmdet", "neck.extra_layers.4.1.conv.weight"),
    (LITE_3, "torchvision", "backbone.features.1.0.1.0.weight"),
    (LITE_2, "lufficc", "backbone.extras.0.conv.0.0.weight"),
]


@pytest.mark.parametrize(("name", "program", "mark"), WAYS)
def test_there_and_back(name: str, program: str, mark: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = create_model(f"{name}.{program}", num_classes=20)
    state = to_source(model, program)
    assert mark in state and not differences(model, program)
    path = tmp_path / "model.pth"
    # A training checkpoint of lufficc's, and one of mmdetection.
    wrapped = {
        "lufficc": {"model": state, "optimizer": {}, "iteration": 7},
        "mmdet": {"state_dict": state, "meta": {}},
    }
    torch.save(wrapped.get(program, state), path)
    found = convert(path)
    assert found.report.model == f"{name}.{program}" and not found.report.missing + found.report.unknown
    again = found.model.state_dict()
    assert all(torch.equal(tensor, again[key]) for key, tensor in model.state_dict().items())


def test_one_network_under_four_names() -> None:
    """The same tensors, but for the background: first in three programs, last in mmdetection."""
    torch.manual_seed(0)
    model = create_model("ssd300_vgg16", num_classes=2)
    names = {
        "amdegroot": "conf.2.bias",
        "lufficc": "box_head.predictor.cls_headers.2.bias",
        "torchvision": "head.classification_head.module_list.2.bias",
        "mmdet": "bbox_head.cls_convs.2.0.bias",
    }
    model.class_head.predict["5"].bias.data.copy_(torch.arange(18.0))
    ours = torch.arange(18.0).view(6, 3)
    for program, name in names.items():
        rows = to_source(model, program)[name].view(6, 3)
        wanted = ours if program == "mmdet" else ours[:, [2, 0, 1]]
        assert torch.equal(rows, wanted), program


@pytest.mark.parametrize(
    ("classes", "sizes", "first"), [(20, "voc", 30.0), (80, "coco", 21.0), (7, None, 30.0)]
)
def test_default_boxes_by_the_number_of_classes(
    classes: int, sizes: str | None, first: float, tmp_path: Path
) -> None:
    model = create_model("ssd300_vgg16.amdegroot", num_classes=classes)
    torch.save(to_source(model, "amdegroot"), tmp_path / "a.pth")
    found = pagoda.load(tmp_path / "a.pth")
    assert found.origin["options"]["box_sizes"] == sizes and found.boxes.min_sizes[0] == first


def test_other_weights_under_the_same_names(tmp_path: Path) -> None:
    """Caffe's, renamed: pixels in blue, green, red, and boxes of whole sizes that nothing cuts."""
    model = create_model("ssd300_vgg16.caffe", num_classes=20)
    torch.save(to_source(model, "amdegroot"), tmp_path / "a.pth")
    found = convert(tmp_path / "a.pth", flavour="caffe").model
    assert found.input_spec.channel_order == "BGR" and found.boxes.clip == "none" and found.boxes.whole_sizes
    assert found.criterion.matching == "bipartite"


def test_what_is_cut_short_is_refused(tmp_path: Path) -> None:
    state = to_source(create_model("ssd300_vgg16.amdegroot", num_classes=2), "amdegroot")
    for lacks, message in (
        ("loc.5", "fit no number of classes"),
        ("extras.7", "1 tensors missing|2 tensors missing"),
    ):
        torch.save({k: v for k, v in state.items() if not k.startswith(lacks)}, tmp_path / "a.pth")
        with pytest.raises(WeightsError, match=message):
            pagoda.load(tmp_path / "a.pth")


def test_ssd_on_any_backbone() -> None:
    with torch.device("meta"):
        model = create_model(
            "ssd_mobilenet_v2", num_classes=2, levels=(4, 5), top_level=6, width=32, separable=True
        )
    assert model.neck.channels == {4: 96, 5: 320, 6: 32} and len(model.boxes.counts) == 3
    assert isinstance(model.class_head.predict["4"], torch.nn.Sequential)
    with pytest.raises(ValueError, match="top_level must be 5 or more on this backbone, got 4"):
        create_model("ssd_resnet18", num_classes=2, top_level=4)


def test_fresh_heads_take_few_boxes_for_objects() -> None:
    model = create_model("ssd_resnet18", num_classes=3, canvas=(64, 64)).eval()
    images = model.input_spec.batch([torch.zeros(3, 64, 64, dtype=torch.uint8)])
    with torch.no_grad():
        likely = 1 - model(images).class_logits.softmax(-1)[..., -1]
    assert likely.mean().item() == pytest.approx(0.01, abs=0.005)


def test_small_pictures_have_no_cell_on_the_last_level() -> None:
    with pytest.raises(
        ValueError, match="ssd300_vgg16 has no cell on level 8 of pictures 200×300; a larger canvas"
    ):
        create_model("ssd300_vgg16", num_classes=2, canvas=(200, 300))
    with pytest.raises(ValueError, match="ssd300_vgg16 is as wide as published; leave width=64 out"):
        create_model("ssd300_vgg16", num_classes=2, width=64)


def test_heads_must_fit_the_default_boxes() -> None:
    parts = create_model("ssd_resnet18", num_classes=2, levels=(3,), top_level=4, width=16)
    boxes = even_boxes(3, 320, pagoda.zoo.flavours.ssd.SSDFlavour())
    heads = {"class_head": parts.class_head, "box_head": parts.box_head}
    with pytest.raises(ValueError, match="a row for each of the levels"):
        SSD(parts.backbone, parts.neck, boxes=boxes, **heads)
    other = DefaultBoxes(min_sizes=(9.0, 9.0), max_sizes=(9.0, 9.0), ratios=((2.0,), (2.0,)))
    with pytest.raises(ValueError, match="needs heads of as many"):
        SSD(parts.backbone, parts.neck, boxes=other, **heads)
    with pytest.raises(ValueError, match="a head needs boxes for the levels"):
        PerLevelHead({3: 8}, {4: 2}, 4)
