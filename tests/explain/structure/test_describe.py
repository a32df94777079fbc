"""The described structure: known numbers, independent counters, and what a pixel really sees."""

import json
import time
import xml.etree.ElementTree as ElementTree
from functools import partial

import pytest
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from pagoda.backbones.resnet import ResNet
from pagoda.detectors.contract import Detector
from pagoda.detectors.fcos import FCOS
from pagoda.detectors.retinanet import RetinaNet
from pagoda.explain.structure.describe import describe_model
from pagoda.explain.structure.rows import Row
from pagoda.explain.structure.structure import Structure
from pagoda.heads.dense import DenseHead
from pagoda.models import create_model
from pagoda.necks.fpn import FPN
from pagoda.structures.images import ImageBatch

pytestmark = pytest.mark.medium


@pytest.fixture(scope="module")
def published() -> Structure:
    """FCOS R50 as first trained, on the picture of the well-known walk-through."""
    with torch.device("meta"):
        model = create_model("fcos_resnet50_fpn", num_classes=80, norm="frozen", frozen_stages=2)
    return describe_model(model, (800, 1120))


def find(structure: Structure, label: str, part: str) -> Row:
    (row,) = [row for row in structure.rows if row.label == label and row.part == part]
    return row


def small_model(**options: object) -> Detector:
    backbone = ResNet(18, **options)
    neck = FPN(backbone.channels, 32)
    head = partial(DenseHead, neck.channels, depth=2, groups=8)
    return FCOS(backbone, neck, class_head=head(outputs=3), box_head=head(outputs=5))


@pytest.mark.parametrize(
    ("label", "part", "shape", "stride", "receptive_field"),
    [
        ("C2", "backbone", (256, 200, 280), 4, 35),
        ("C3", "backbone", (512, 100, 140), 8, 91),
        ("C4", "backbone", (1024, 50, 70), 16, 267),
        ("C5", "backbone", (2048, 25, 35), 32, 427),
        ("P3", "neck", (256, 100, 140), 8, 91 + 2 * 8),
        ("P4", "neck", (256, 50, 70), 16, 267 + 2 * 16),
        ("P5", "neck", (256, 25, 35), 32, 427 + 2 * 32),
        ("P6", "neck", (256, 13, 18), 64, 427 + 4 * 32),
        ("P7", "neck", (256, 7, 9), 128, 427 + 4 * 32 + 2 * 64),
        ("P3", "class_head", (80, 100, 140), 8, 91 + 2 * 8 + 5 * 2 * 8),
        ("P7", "box_head", (5, 7, 9), 128, 427 + 4 * 32 + 2 * 64 + 5 * 2 * 128),
    ],
)
def test_published_pyramid(
    published: Structure, label: str, part: str, shape: tuple[int, ...], stride: int, receptive_field: int
) -> None:
    row = find(published, label, part)
    assert (row.shape, row.stride, row.receptive_field) == (shape, stride, receptive_field)


def test_published_totals(published: Structure) -> None:
    assert published.parameters == 32_244_250
    assert published.trainable == 32_021_850
    assert published.locations == published.predictions == 18_672
    assert [level.locations for level in published.levels] == [14_000, 3_500, 875, 234, 63]
    served = [level.object_sizes for level in published.levels]
    assert served == [(0, 64), (64, 128), (128, 256), (256, 512), (512, torch.inf)]


def test_rows_follow_the_data_and_say_what_they_are(published: Structure) -> None:
    names = [row.name for row in published.rows if row.part == "backbone"]
    assert names == [
        f"backbone.{name}" for name in ("conv1", "maxpool", "layer1", "layer2", "layer3", "layer4")
    ]
    parts = list(dict.fromkeys(row.part for row in published.rows if row.part))
    assert parts == ["backbone", "neck", "class_head", "box_head"]
    words = {row.name: row.words for row in published.rows}
    assert words["backbone.conv1"] == "7×7 convolution, stride 2, frozen batch norm, ReLU"
    assert words["backbone.maxpool"] == "3×3 max-pool, stride 2"
    assert words["backbone.layer1"] == "3 bottlenecks"
    assert words["backbone.layer3"] == "6 bottlenecks, stride 2 in the 3×3"
    assert words["neck.lateral.4"] == "1×1 convolution"
    assert words["class_head"] == "4 × (3×3 convolution, group norm, ReLU), 3×3 convolution"
    assert published.rows[-1].words == "parameters outside the steps above: scales"


def test_frozen_parts_are_told(published: Structure) -> None:
    training = {row.name: row.training for row in published.rows}
    assert training["backbone.conv1"] == training["backbone.layer1"] == "frozen"
    assert training["backbone.layer2"] == training["neck.output.3"] == "trained"
    assert training["backbone.maxpool"] == ""
    model = small_model()
    model.backbone.layer1[0].requires_grad_(False)
    assert find(describe_model(model, (64, 64)), "C2", "backbone").training == "partly"


def test_stride_in_the_1x1_sees_further() -> None:
    with torch.device("meta"):
        backbone = ResNet(50, style="caffe", levels=(2, 3, 4, 5))
        neck = FPN(backbone.channels)
        head = partial(DenseHead, neck.channels)
        model = FCOS(backbone, neck, class_head=head(outputs=1), box_head=head(outputs=5))
    structure = describe_model(model, (64, 64))
    fields = [find(structure, f"C{level}", "backbone").receptive_field for level in (2, 3, 4, 5)]
    assert fields == [35, 99, 291, 483]
    assert find(structure, "C4", "backbone").words == "6 bottlenecks, stride 2 in the 1×1"


@pytest.mark.parametrize("size", [(800, 1120), (64, 64), (37, 501), (1, 1)])
def test_sizes_are_padded_and_counted_as_the_model_does(size: tuple[int, int]) -> None:
    model = small_model().eval()
    structure = describe_model(model, size)
    assert structure.size == size
    assert structure.padded_size == tuple(-(-side // 32) * 32 for side in size)
    if size == (800, 1120):  # too much to compute in a quick test
        return
    with torch.no_grad():
        outputs = model(ImageBatch(torch.zeros(1, 3, *structure.padded_size), torch.tensor([size])))
    assert [level.locations for level in structure.levels] == [len(prior) for prior in outputs.priors]


def test_retinanet_has_nine_anchors_of_three_sizes() -> None:
    backbone = ResNet(18)
    neck = FPN(backbone.channels, 32)
    head = partial(DenseHead, neck.channels, depth=1, groups=8)
    model = RetinaNet(backbone, neck, class_head=head(outputs=18), box_head=head(outputs=36))
    structure = describe_model(model, (480, 640))
    assert all(level.predictions_per_location == 9 for level in structure.levels)
    assert structure.predictions == 9 * structure.locations
    for level in structure.levels:
        low, high = level.object_sizes
        assert low == pytest.approx(4 * level.stride) and high == pytest.approx(
            4 * level.stride * 2 ** (2 / 3)
        )
    assert find(structure, "P3", "class_head").shape == (18, 60, 80)


@pytest.mark.parametrize("options", [{}, {"norm": "group"}, {"frozen_stages": 3}, {"levels": (2, 3, 4)}])
def test_rows_add_up_to_the_model_and_to_an_independent_count(options: dict) -> None:
    model = small_model(**options)
    structure = describe_model(model, (96, 128))
    assert structure.parameters == sum(p.numel() for p in model.parameters())
    assert structure.trainable == sum(p.numel() for p in model.parameters() if p.requires_grad)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model.eval()(ImageBatch(torch.zeros(1, 3, 96, 128), torch.tensor([[96, 128]])))
    assert structure.macs == counter.get_total_flops() // 2
    (stem,) = [row for row in structure.rows if row.name == "backbone.conv1"]
    assert stem.macs == 64 * 48 * 64 * (3 * 7 * 7)


def test_a_large_model_is_described_at_once_and_left_alone() -> None:
    model = create_model("retinanet_resnet18_fpn", num_classes=2).train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    start = time.perf_counter()
    describe_model(model, (800, 1120))
    assert time.perf_counter() - start < 5  # a tenth of a second; computing it takes longer
    assert model.training and model.backbone.bn1.training
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())


def test_size_must_be_a_picture() -> None:
    with pytest.raises(
        ValueError, match=r"size must be \(height, width\) of at least one pixel, got \(0, 64\)"
    ):
        describe_model(small_model(), (0, 64))


class Steps(nn.Module):
    """A backbone with habits of its own: a list it walks itself, a parameter of its own, an unused layer."""

    def __init__(self) -> None:
        super().__init__()
        self.channels = {3: 8}
        self.stages = nn.ModuleList([nn.Conv2d(3, 4, 5, 2, padding=2), nn.Conv2d(4, 8, 4, 4)])
        self.gain = nn.Parameter(torch.ones(()))
        self.spare = nn.Linear(2, 2)

    def forward(self, images: Tensor) -> dict[int, Tensor]:
        for stage in self.stages:
            images = stage(images)
        return {3: images * self.gain}


class Nothing(nn.Module):
    """A neck that hands the pyramid on."""

    def __init__(self) -> None:
        super().__init__()
        self.channels = {3: 8}

    def forward(self, pyramid: dict[int, Tensor]) -> dict[int, Tensor]:
        return pyramid


def test_a_network_nobody_knows() -> None:
    shared = DenseHead({3: 8}, outputs=5, depth=1, groups=2)
    model = FCOS(Steps(), Nothing(), class_head=shared, box_head=shared, level_scale=False)
    structure = describe_model(model, (64, 96))
    rows = structure.rows
    assert [row.name for row in rows[:2]] == ["backbone.stages.0", "backbone.stages.1"]
    assert rows[1].words == "4×4 convolution, stride 4" and rows[1].receptive_field == 5 + 3 * 2
    assert (rows[2].label, rows[2].shape) == ("C3", (8, 8, 12))
    assert rows[3].words == "parameters outside the steps above: gain, spare.weight, spare.bias"
    assert rows[3].parameters == 1 + 6
    # Shared parameters count once.
    assert structure.parameters == sum(p.numel() for p in model.parameters())
    ElementTree.fromstring(structure.to_svg())
    structure.to_table()


def test_a_wrapped_backbone_is_looked_into() -> None:
    class Wrapper(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body = ResNet(18)
            self.channels = self.body.channels

        def forward(self, images: Tensor) -> dict[int, Tensor]:
            return self.body(images)

    plain = small_model()
    wrapped = FCOS(Wrapper(), plain.neck, class_head=plain.class_head, box_head=plain.box_head)
    rows, other = describe_model(plain, (64, 64)).rows, describe_model(wrapped, (64, 64)).rows
    assert [row.label for row in rows] == [row.label for row in other]
    assert other[0].name == "backbone.body.conv1"


def test_max_pooled_levels_have_rows_of_their_own() -> None:
    backbone = ResNet(18)
    neck = FPN(backbone.channels, 16, top_level=6, extra_from="max_pool")
    head = partial(DenseHead, neck.channels, depth=1, groups=4)
    model = FCOS(backbone, neck, class_head=head(outputs=1), box_head=head(outputs=5))
    row = find(describe_model(model, (128, 128)), "P6", "neck")
    assert (row.shape, row.parameters, row.stride) == ((16, 2, 2), 0, 64)
    assert row.words == "made from other levels, nothing to learn"


@pytest.fixture(scope="module")
def clips() -> Structure:
    """Detect-and-Track over clips as it was published, at the size it was tested at."""
    return describe_model(create_model("detect_and_track_resnet18_c4_3d.original", num_classes=1), (256, 320))


def test_clips_keep_their_frames_and_look_further_in_time(clips: Structure) -> None:
    rows = {row.name: row for row in clips.rows if row.part == "backbone"}
    assert [(row.shape, row.receptive_frames) for row in rows.values()] == [
        ((64, 3, 128, 160), 1),
        ((64, 3, 64, 80), 1),
        ((64, 3, 64, 80), 1),
        ((128, 3, 32, 40), 9),
        ((256, 3, 16, 20), 17),
    ]
    assert [row.training for row in rows.values()] == ["frozen", "", "frozen", "trained", "trained"]
    assert rows["backbone.conv1"].words == "1×7×7 convolution, stride 1×2×2, frozen batch norm, ReLU"
    assert rows["backbone.maxpool"].words == "1×3×3 max-pool, stride 1×2×2"
    assert sum(row.macs for row in rows.values()) == pytest.approx(14.8e9, rel=0.01)


def test_heads_on_regions_are_told_with_their_regions(clips: Structure) -> None:
    heads = {row.name: row for row in clips.rows if row.kind == "head" and row.name}
    # Published totals, less the affine maps and the fixed kernel, which are no parameters here.
    assert [row.parameters for row in heads.values()] == [1_785_148, 8_398_858 - 5_120, 53_232_178 - 4_641]
    assert clips.parameters == 71_359_928 - 9_600 - 4_641 and clips.trainable == 71_188_823
    boxes, keypoints = heads["box_head"], heads["keypoint_head"]
    assert (boxes.regions, boxes.shape) == (1000, (2 + 3 * 4,))
    assert (keypoints.regions, keypoints.shape) == (100, (3, 17, 56, 56))
    assert find(clips, "P4", "rpn_head").shape == (12 * (1 + 3 * 4), 16, 20)
    assert [level.predictions_per_location for level in clips.levels] == [12]
    for wanted in ("clip of 3 frames 256×320", "1 class,", "on 1,000 regions", "256×3×16×20"):
        assert wanted in " ".join(clips.to_table(200).split())
    ElementTree.fromstring(clips.to_svg())
    assert "14 numbers for each of 1,000 regions" in clips.to_html()


@pytest.mark.parametrize(
    "name",
    [
        "faster_rcnn_resnet18_fpn",
        "mask_rcnn_resnet18_fpn.torchvision",
        "keypoint_rcnn_resnet18_fpn",
        "detect_and_track_resnet18_2d",
        pytest.param("detect_and_track_resnet18_c4_2d", marks=pytest.mark.medium),
    ],
)
def test_two_stages_add_up_to_the_model_and_to_an_independent_count(name: str) -> None:
    options = {"num_keypoints": 5, "head_depth": 1} if "keypoint" in name or "track" in name else {}
    model = create_model(name, num_classes=1, width=16, **options)
    structure = describe_model(model, (64, 96))
    assert structure.parameters == sum(p.numel() for p in model.parameters())
    assert structure.trainable == sum(p.numel() for p in model.parameters() if p.requires_grad)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model.eval()(ImageBatch(torch.zeros(1, 3, 64, 96), torch.tensor([[64, 96]])))
    assert structure.macs == counter.get_total_flops() // 2
    assert structure.predictions == 3 * structure.locations or "c4" in name


def test_text_fits_its_width(published: Structure) -> None:
    text = published.to_table()
    assert max(len(line.rstrip()) for line in text.splitlines()) <= 110
    for wanted in (
        "18,672",
        "2048×25×35",
        "256×100×140",
        "32,244,250",
        "up to 64",
        "above 512",
        "bottlenecks",
    ):
        assert wanted in text
    assert "…" not in text  # nothing was cut off


def test_json_round_trip(published: Structure) -> None:
    data = json.loads(json.dumps(published.to_dict(), allow_nan=False))
    assert data["totals"] == {
        "parameters": 32_244_250,
        "trainable": 32_021_850,
        "macs": published.macs,
        "locations": 18_672,
        "predictions": 18_672,
    }
    assert data["levels"][-1]["object_sizes"] == [512, None]
    assert data["rows"][0]["shape"] == [64, 400, 560]


def test_page_stands_alone(published: Structure) -> None:
    page = published.to_html()
    assert page.startswith("<!doctype html>") and "prefers-color-scheme: dark" in page
    assert "<script" not in page and "src=" not in page and "href=" not in page
    drawing = ElementTree.fromstring(published.to_svg())
    texts = [element.text for element in drawing.iter("{http://www.w3.org/2000/svg}text")]
    assert "C5   2048×25×35" in texts and "P7   256×7×9" in texts and "class_head" in texts
    assert "18,672" in page and page.count("<tr") == len(published.rows) + len(published.levels) + 3


def test_names_cannot_break_the_page() -> None:
    model = small_model()
    model.origin = {"model": "<b>&", "options": {}}
    structure = describe_model(model, (64, 64))
    assert "<b>&" not in structure.to_html()
    ElementTree.fromstring(structure.to_svg())
