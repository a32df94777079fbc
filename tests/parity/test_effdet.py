"""EfficientDet against effdet, the PyTorch port of the original, with the same random weights."""

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import pagoda
from pagoda.convert.names.effdet import RULES
from pagoda.convert.names.rules import rename, restore
from pagoda.detectors.efficientdet import EfficientDet
from pagoda.heads.separable import SeparableHead
from pagoda.necks.bifpn import BiFPN
from pagoda.necks.topology import qufpn_nodes
from pagoda.postprocess.efficientdet import SelectFromAllLevels
from pagoda.structures.images import ImageBatch
from pagoda.structures.instances import Targets
from pagoda.structures.labels import LabelMap
from pagoda.weights.files import save_weights
from pagoda.zoo.efficientdet import VARIANTS, efficientdet
from pagoda.zoo.flavours.efficientdet import EFFDET, GOOGLE

effdet = pytest.importorskip("effdet", reason="parity with effdet needs effdet and omegaconf installed")
OmegaConf = pytest.importorskip("omegaconf").OmegaConf
pytestmark = [pytest.mark.parity, pytest.mark.medium]

CLASSES = 11
# effdet's configuration; our row of the table is called alike.
MODELS = ("efficientdet_d0", "tf_efficientdet_d0", "tf_efficientdet_lite0")
YX_TO_XY = [1, 0, 3, 2]


def randomise(model: nn.Module) -> None:
    """Weights of unit gain, and norms and fusion weights that are all different."""
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.7, 1.3)
            nn.init.normal_(module.bias, std=0.2)
            nn.init.normal_(module.running_mean, std=0.2)
            nn.init.uniform_(module.running_var, 0.5, 1.5)
    for name, parameter in model.named_parameters():
        if name.endswith("edge_weights"):
            nn.init.uniform_(parameter, -0.2, 1.5)


def box_rows(name: str, tensor: Tensor) -> Tensor:
    """effdet's box deltas are (dy, dx, dh, dw)."""
    if not name.startswith("box_head.predict.conv_pw."):
        return tensor
    return tensor.reshape(-1, 4, *tensor.shape[1:])[:, YX_TO_XY].reshape(tensor.shape)


def ours_like(theirs: nn.Module, name: str) -> EfficientDet:
    flavour, labels = (
        GOOGLE if name.startswith("tf_") else EFFDET,
        LabelMap.numbered(theirs.config.num_classes),
    )
    ours = efficientdet(VARIANTS[name.removeprefix("tf_")], labels, flavour=flavour)
    state = theirs.state_dict()
    renamed = rename(state, RULES)
    assert not renamed.unknown and not renamed.dropped
    ours.load_state_dict({name: box_rows(name, state[source]) for source, name in renamed.taken.items()})
    return ours.eval()


def built(
    name: str, size: tuple[int, int], *, soft: bool = False, talkative: bool = False
) -> tuple[nn.Module, EfficientDet]:
    config = effdet.get_efficientdet_config(name)
    config.image_size, config.num_classes, config.soft_nms = size, CLASSES, soft
    theirs = effdet.EfficientDet(config, pretrained_backbone=False).eval()
    randomise(theirs)
    if talkative:
        nn.init.uniform_(theirs.class_net.predict.conv_pw.bias, -4, -1)
    return theirs, ours_like(theirs, name)


def flat(maps: list[Tensor], outputs: int) -> Tensor:
    """(B, P, outputs) from maps (B, A · outputs, h, w) of all levels."""
    return torch.cat([x.permute(0, 2, 3, 1).reshape(len(x), -1, outputs) for x in maps], 1)


def scene(size: tuple[int, int]) -> tuple[ImageBatch, list[Targets]]:
    height, width = size
    boxes = torch.tensor([[20.0, 10, 90, 100], [40, 40, 47, 49], [0, 0, 30, 12], [10, 61, width, height]])
    # No object shares its middle with an anchor: coordinates that are exactly right are left out there.
    if height % 32 or width % 32:
        # A small object ties with every anchor around it; on uneven grids rounding decides which comes out first.
        boxes[1:3] += torch.tensor([[0.0, 0, 41, 27], [0, 0, 13, 37]])
    labels = torch.tensor([0, CLASSES - 1, 3, 3])
    first = Targets(boxes, labels, size, torch.zeros(4, dtype=torch.bool))
    images = ImageBatch(torch.randn(2, 3, *size), torch.tensor([size, size]))
    return images, [first, first[[1]]]


@pytest.mark.parametrize(
    ("name", "size"),
    [
        *((name, (128, 192)) for name in MODELS),
        ("tf_efficientdet_d0", (150, 277)),  # 10 × 18 cells at P4: odd sizes and steps that are not whole
    ],
)
def test_outputs_losses_and_gradients(name: str, size: tuple[int, int]) -> None:
    theirs, ours = built(name, size)
    images, targets = scene(size)
    class_maps, box_maps = theirs(images.pixels)
    outputs = ours(images)
    expected = flat(class_maps, CLASSES)
    torch.testing.assert_close(
        outputs.class_logits, expected, rtol=0, atol=1e-5 * expected.abs().max().item()
    )
    expected = flat(box_maps, 4)[..., YX_TO_XY]
    torch.testing.assert_close(outputs.box_outputs, expected, rtol=0, atol=1e-5 * expected.abs().max().item())

    bench = effdet.DetBenchTrain(theirs)
    torch.testing.assert_close(torch.cat(outputs.priors), bench.anchors.boxes[:, YX_TO_XY], rtol=0, atol=1e-4)
    padded = [torch.full((4 - len(t), 4), 0.0) for t in targets]
    wanted = {
        "bbox": torch.stack(
            [torch.cat([t.boxes[:, YX_TO_XY], p]) for t, p in zip(targets, padded, strict=True)]
        ),
        "cls": torch.stack(
            [torch.cat([t.labels + 1.0, -torch.ones(len(p))]) for t, p in zip(targets, padded, strict=True)]
        ),
    }
    labels = bench.anchor_labeler.batch_label_anchors(wanted["bbox"], wanted["cls"])
    loss, class_loss, box_loss = bench.loss_fn(class_maps, box_maps, *labels)
    losses = ours.losses(images, targets)
    torch.testing.assert_close(losses["loss_class"], class_loss, rtol=1e-6, atol=0)
    torch.testing.assert_close(losses["loss_box"], 50 * box_loss, rtol=1e-6, atol=0)

    loss.backward()
    sum(losses.values()).backward()
    own = dict(ours.named_parameters())
    for source, name in rename(dict(theirs.named_parameters()), RULES).taken.items():
        expected = box_rows(name, theirs.get_parameter(source).grad)
        error = (own[name].grad - expected).norm() / expected.norm().clamp(min=1e-3)
        assert error < 1e-3, f"{name}: relative error of the gradient {error}"


def test_quad_pyramid_and_norms_stored_by_level() -> None:
    config = effdet.get_efficientdet_config("efficientdet_q0")
    config.image_size, config.num_classes = (128, 192), CLASSES
    theirs = effdet.EfficientDet(config, pretrained_backbone=False).eval()
    randomise(theirs)
    neck = BiFPN({3: 40, 4: 112, 5: 320}, 64, topology=qufpn_nodes).eval()
    head = SeparableHead(neck.channels, 9 * CLASSES).eval()
    state = theirs.state_dict()
    for part, prefix in ((neck, "neck."), (head, "class_head.")):
        renamed = rename(state, RULES).taken
        own = {name: state[source] for source, name in renamed.items() if name.startswith(prefix)}
        part.load_state_dict({name.removeprefix(prefix): tensor for name, tensor in own.items()})
    features = theirs.backbone(torch.randn(2, 3, 128, 192))
    pyramid = neck(dict(zip((3, 4, 5), features, strict=True)))
    maps = theirs.fpn(list(features))
    for mine, expected in zip(pyramid.values(), maps, strict=True):
        torch.testing.assert_close(mine, expected, rtol=0, atol=1e-5 * expected.abs().max().item())
    expected = flat(theirs.class_net(maps), 9 * CLASSES)
    mine = head(dict(zip(range(3, 8), maps, strict=True)))
    torch.testing.assert_close(mine, expected, rtol=0, atol=1e-5 * expected.abs().max().item())


@pytest.mark.parametrize("soft", [False, True])
def test_detections(soft: bool) -> None:
    size = (128, 128)
    theirs, ours = built("tf_efficientdet_d0", size, soft=soft, talkative=True)
    pixels = torch.randn(2, 3, *size)
    true_sizes = torch.tensor([[110, 128], [128, 101]])
    bench = effdet.DetBenchPredict(theirs)
    with torch.no_grad():
        expected = bench(pixels, {"img_scale": torch.ones(2), "img_size": true_sizes.flip(1).float()})
        select = SelectFromAllLevels(
            min_score=0.001 if soft else 0.0, suppression="soft" if soft else "hard", max_detections=100
        )
        found = ours.detect(ImageBatch(pixels, true_sizes), postprocess=select)
    for detections, rows in zip(found, expected, strict=True):
        rows = rows[rows[:, 4] > 0]
        assert len(detections) == len(rows) == 100
        torch.testing.assert_close(detections.scores, rows[:, 4], rtol=1e-4, atol=1e-6)
        # Equal scores but for rounding may swap rows, so rows are compared as a set.
        mine = torch.cat(
            [detections.boxes, 1e3 * (detections.labels[:, None] + 1), detections.scores[:, None]], 1
        )
        other = torch.cat([rows[:, :4], 1e3 * rows[:, 5:], rows[:, 4:5]], 1)
        distance = (mine[:, None] - other).abs().amax(-1)
        assert distance.amin(1).max() < 1e-3 and distance.amin(0).max() < 1e-3


def test_names_of_both_orders_of_head_norms() -> None:
    names = ["class_net.bn_rep.2.4.bn.weight", "class_net.bn_rep.4.2.weight"]
    assert set(rename(names, RULES).taken.values()) == {"class_head.norms.2.4.weight"}
    assert restore(["class_head.norms.2.4.weight"], RULES).popitem()[1] == names[0]


# What the tensors of a checkpoint do not tell of the network


FORMS = {
    "usual": {},
    "attention": {"fpn_name": "bifpn_attn"},
    "sum": {"fpn_name": "bifpn_sum"},
    "paths": {"fpn_name": "pan_fa"},
    "quad": {"fpn_name": "qufpn_fa"},
    "relu6": {"act_type": "relu6"},
    "leaky, heads apart": {"act_type": "leaky_relu", "head_act_type": "relu"},
    "average": {"downsample_type": "avg"},
    "average, same": {"downsample_type": "avg", "pad_type": "same"},
    "bilinear": {"downsample_type": "bilinear", "upsample_type": "bilinear"},
    "bilinear up": {"upsample_type": "bilinear"},
    "levels": {"head_bn_level_first": True, "fpn_name": "bifpn_attn"},
}


@pytest.mark.parametrize(
    ("file", "content", "options", "canvas"),
    [
        ("efficientdet_lite0_1.pth", {}, {}, (384, 384)),
        ("best.pth", {"config": {"fpn_name": "bifpn_attn"}}, {}, (128, 192)),
        ("best.pth", {}, {"fusion": "softmax"}, (384, 384)),
    ],
)
def test_effdets_own_lite_variant(
    tmp_path: Path, file: str, content: dict, options: dict, canvas: tuple[int, int]
) -> None:
    """It fuses by weights, unlike Google's: by its name, a config, or an option that tells."""
    config = effdet.get_efficientdet_config("efficientdet_lite0")
    config.image_size, config.num_classes = (128, 192), CLASSES
    for key, value in content.get("config", {}).items():
        config[key] = value
    if options.get("fusion") == "softmax":
        config.fpn_name = "bifpn_attn"
    theirs = effdet.EfficientDet(config, pretrained_backbone=False).eval()
    randomise(theirs)
    kept = {"config": OmegaConf.to_container(config)} if content else {}
    torch.save({"state_dict": theirs.state_dict(), **kept}, tmp_path / file)
    ours = pagoda.load(tmp_path / file, options=options)
    assert ours.input_spec.canvas == canvas and ours.input_spec.mean == (0.485, 0.456, 0.406)
    pixels = torch.randn(1, 3, 128, 192)
    with torch.no_grad():
        class_maps, _ = theirs(pixels)
        outputs = ours(ImageBatch(pixels, torch.tensor([[128, 192]])))
    expected = flat(class_maps, CLASSES)
    torch.testing.assert_close(
        outputs.class_logits, expected, rtol=0, atol=1e-5 * expected.abs().max().item()
    )
    anchors = effdet.anchors.Anchors.from_config(config).boxes[:, YX_TO_XY]
    torch.testing.assert_close(torch.cat(outputs.priors), anchors, rtol=0, atol=1e-4)


@pytest.mark.parametrize("form", FORMS)
def test_forms_that_tensors_do_not_tell_are_read_from_the_config(tmp_path: Path, form: str) -> None:
    config = effdet.get_efficientdet_config("efficientdet_d0")
    config.image_size, config.num_classes = (128, 192), CLASSES
    for key, value in FORMS[form].items():
        config[key] = value
    theirs = effdet.EfficientDet(config, pretrained_backbone=False).eval()
    randomise(theirs)
    content = {"state_dict": theirs.state_dict(), "config": OmegaConf.to_container(config), "epoch": 3}
    torch.save(content, tmp_path / "best.pth")
    ours = pagoda.load(tmp_path / "best.pth")
    pixels = torch.randn(1, 3, 128, 192)
    with torch.no_grad():
        class_maps, box_maps = theirs(pixels)
        outputs = ours(ImageBatch(pixels, torch.tensor([[128, 192]])))
    for mine, maps, order in (
        (outputs.class_logits, flat(class_maps, CLASSES), slice(None)),
        (outputs.box_outputs, flat(box_maps, 4), YX_TO_XY),
    ):
        expected = maps[..., order]
        torch.testing.assert_close(mine, expected, rtol=0, atol=1e-5 * expected.abs().max().item())
    again = save_weights(tmp_path / "ours.safetensors", ours.state_dict(), ours.card())
    with torch.no_grad():
        same = pagoda.load(again)(ImageBatch(pixels, torch.tensor([[128, 192]])))
    assert torch.equal(same.class_logits, outputs.class_logits)
