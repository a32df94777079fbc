"""Models go from one program to another and back: same names, same numbers, whatever differs is told."""

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from pagoda.convert.names import detectron2, maskrcnn_benchmark, torchvision
from pagoda.convert.names.rules import rename, restore
from pagoda.convert.read import convert
from pagoda.convert.recognise import recognised
from pagoda.convert.to_program import differences, to_source
from pagoda.detectors.contract import Detector
from pagoda.models import create_model
from pagoda.structures.images import ImageBatch
from pagoda.structures.labels import LabelMap
from pagoda.zoo.families import FAMILIES, build_detector, options_from
from pagoda.zoo.flavours.base import Flavour
from pagoda.zoo.options import ModelName

sys.path.insert(0, str(Path(__file__).parent))
from goldens import ROOT, Golden, folders

GOLDENS = [Golden(folder) for folder in folders()]
pytestmark = [pytest.mark.parity, pytest.mark.medium]
WRITABLE = ("fcos", "retinanet", "faster_rcnn", "mask_rcnn", "keypoint_rcnn")


@pytest.mark.skipif(
    not GOLDENS, reason=f"needs the records of the originals; set PAGODA_GOLDENS (looked in {ROOT})"
)
@pytest.mark.parametrize("golden", GOLDENS, ids=lambda golden: golden.folder.name)
def test_records_are_written_back_under_their_names(golden: Golden) -> None:
    if not golden.has_names:
        pytest.skip(f"tensors of {golden.repository} are not told by names, or not yet")
    entries = golden.meta["weights"]["entries"]
    found = recognised("imprv.pth", {n: torch.zeros(()).expand(tuple(s)) for n, s in entries.items()})
    told = found.architecture
    if told.detector not in WRITABLE:
        pytest.skip(f"{golden.meta['task']}: not a detector that is written back")
    flavour = FAMILIES[told.detector].flavours[found.source.flavours[told.detector][0]]
    flavour = replace(
        flavour, body=replace(flavour.body, extra_from=told.extra_from or flavour.body.extra_from)
    )
    name = ModelName(told.detector, told.backbone, told.neck or "")
    with torch.device("meta"):
        model = build_detector(
            name, LabelMap.numbered(told.num_classes), options_from(told.options, name, flavour), flavour
        )
    written = {name: tensor.numel() for name, tensor in to_source(model, found.source.name).items()}
    kept = {
        name: torch.Size(shape).numel()
        for name, shape in entries.items()
        if name not in found.renamed.dropped
    }
    if not any("num_batches_tracked" in name for name in written):  # norms that do not learn do not count
        kept = {name: count for name, count in kept.items() if "num_batches_tracked" not in name}
    assert written == kept


@pytest.mark.skipif(
    not GOLDENS, reason=f"needs the records of the originals; set PAGODA_GOLDENS (looked in {ROOT})"
)
def test_a_record_is_written_back_bit_for_bit(tmp_path: Path) -> None:
    """bubbliiiing's, whose box deltas have another order than ours."""
    chosen = [golden for golden in GOLDENS if golden.repository.endswith("/retinanet-pytorch")]
    if not chosen:
        pytest.skip("no record of bubbliiiing/retinanet-pytorch")
    golden = min(chosen, key=lambda golden: len(golden.meta["weights"]["entries"]))
    written = to_source(convert(golden.write_checkpoint(tmp_path)).model, "bubbliiiing")
    for name, array in golden.state().items():
        assert torch.equal(written[name], torch.from_numpy(array)), name


def test_names_travel_between_programs_and_back() -> None:
    for model, count in (
        ("fcos_resnet50_fpn.improved", 319),
        ("retinanet_resnet50_fpn.maskrcnn_benchmark", 301),
    ):
        with torch.device("meta"):
            built = create_model(model, num_classes=80)
        source = "fcos" if "fcos" in model else "maskrcnn_benchmark"
        mrb = [name for name in to_source(built, source) if ".scales." not in name]
        assert len(mrb) == count
        canonical = rename(mrb, maskrcnn_benchmark.RULES).taken
        tables = (
            torchvision.FCOS_RULES if "fcos" in model else torchvision.RETINANET_RULES,
            detectron2.RULES,
        )
        for rules in tables:
            there = restore(list(canonical.values()), rules)
            back = rename(list(there.values()), rules)
            assert not back.unknown and set(back.taken.values()) == set(canonical.values())
            home = restore(list(back.taken.values()), maskrcnn_benchmark.RULES)
            assert sorted(home.values()) == sorted(mrb) and len(set(there.values())) == count


def sane_norms(model: nn.Module) -> None:
    """Maps that are no identities, so that every one of their four tensors counts."""
    for module in model.modules():
        if hasattr(module, "running_var"):
            module.running_var.uniform_(0.5, 1.5)
            module.running_mean.uniform_(-0.1, 0.1)
            nn.init.uniform_(module.weight, 0.3, 0.6)
            nn.init.uniform_(module.bias, -0.1, 0.1)


def built(name: str, flavour: Flavour, **options: Any) -> Detector:
    model = build_detector(
        parts(name), LabelMap.numbered(80), options_from(options, parts(name), flavour), flavour
    ).eval()
    sane_norms(model.backbone)
    nn.init.normal_(model.class_head.predict.weight, std=0.1)
    nn.init.normal_(model.box_head.predict.weight, std=0.1)
    return model


def parts(name: str) -> ModelName:
    plain, _, flavour = name.rpartition(".")
    return ModelName(*plain.split("_"), flavour)


def striding_in_the_3x3(name: str) -> Flavour:
    flavour = FAMILIES[parts(name).detector].flavours[parts(name).flavour]
    return replace(flavour, body=replace(flavour.body, style="pytorch"))


@pytest.mark.medium
@pytest.mark.parametrize("name", ["fcos_resnet50_fpn.improved", "retinanet_resnet50_fpn.maskrcnn_benchmark"])
def test_torchvisions_own_network_computes_the_same(name: str) -> None:
    """maskrcnn-benchmark's tensors in torchvision's network: what can be carried over is carried over exactly."""
    detection = pytest.importorskip("torchvision.models.detection")
    from torchvision.models.detection.backbone_utils import resnet_fpn_backbone
    from torchvision.ops.feature_pyramid_network import LastLevelP6P7
    from torchvision.ops.misc import FrozenBatchNorm2d

    model = built(name, striding_in_the_3x3(name))
    is_fcos = name.startswith("fcos")
    written = to_source(model, "torchvision")
    assert len(written) == (319 if is_fcos else 301)
    body = resnet_fpn_backbone(
        backbone_name="resnet50",
        weights=None,
        norm_layer=FrozenBatchNorm2d,  # which adds 1e-5 to variances; the original adds nothing
        returned_layers=[2, 3, 4],
        extra_blocks=LastLevelP6P7(256 if is_fcos else 2048, 256),
    )
    theirs = (detection.FCOS if is_fcos else detection.RetinaNet)(body, 80).eval()
    theirs.load_state_dict(written)
    images = torch.randn(1, 3, 96, 128)
    with torch.no_grad():
        pyramid = theirs.backbone(images)
        expected = theirs.head(list(pyramid.values()))
        ours = model(ImageBatch(images, torch.tensor([[96, 128]])))
        mine = model.neck(model.backbone(images))
    for features, level in zip(pyramid.values(), sorted(mine), strict=True):
        torch.testing.assert_close(mine[level], features, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(ours.class_logits, expected["cls_logits"], rtol=1e-5, atol=1e-5)
    if is_fcos:
        strides = torch.cat(
            [torch.full((len(p),), 2.0**level) for p, level in zip(ours.priors, model.levels, strict=True)]
        )
        boxes = ours.box_outputs / strides[:, None]
        torch.testing.assert_close(
            ours.quality_logits[..., None], expected["bbox_ctrness"], rtol=1e-5, atol=1e-5
        )
    else:
        boxes = ours.box_outputs / torch.tensor([10.0, 10.0, 5.0, 5.0])
    torch.testing.assert_close(boxes, expected["bbox_regression"], rtol=1e-5, atol=1e-5)


def test_retinanet_travels_to_a_program_with_another_order_of_anchors(tmp_path: Path) -> None:
    name = "retinanet_resnet18_fpn.maskrcnn_benchmark"
    model = built(name, FAMILIES["retinanet"].flavours["maskrcnn_benchmark"], width=32, head_depth=1)
    path = tmp_path / "model_final.pth"
    torch.save({"model": to_source(model, "detectron2")}, path)
    there = convert(path).model
    assert there.origin["model"] == "retinanet_resnet18_fpn.detectron2"
    images = ImageBatch(torch.randn(1, 3, 64, 96), torch.tensor([[64, 96]]))
    with torch.no_grad():
        ours, theirs = model(images), there(images)
    # On the coarsest level rounding does not blur which anchors have the same shape.
    a, b = (outputs.priors[-1][:9, 2:] - outputs.priors[-1][:9, :2] for outputs in (ours, theirs))
    within_cell = (a[:, None].log() - b[None].log()).abs().sum(-1).argmin(1)
    assert within_cell.tolist() == [0, 3, 6, 1, 4, 7, 2, 5, 8]
    index = torch.arange(ours.class_logits.shape[1])
    twin = index // 9 * 9 + within_cell[index % 9]
    torch.testing.assert_close(theirs.class_logits[:, twin], ours.class_logits, rtol=1e-4, atol=1e-5)
    weights = torch.tensor([10.0, 10.0, 5.0, 5.0])
    torch.testing.assert_close(theirs.box_outputs[:, twin] * weights, ours.box_outputs, rtol=1e-4, atol=1e-5)
    home, begin = to_source(there, "maskrcnn_benchmark"), to_source(model, "maskrcnn_benchmark")
    assert home.keys() == begin.keys()
    for tensor in begin:
        torch.testing.assert_close(home[tensor], begin[tensor], rtol=1e-6, atol=1e-7)
    assert any(line.startswith("anchors") for line in differences(model, "detectron2"))


def test_epsilons_are_made_up_for() -> None:
    """maskrcnn-benchmark adds nothing to variances, detectron2 1e-5: its variances are smaller by as much."""
    flavour = FAMILIES["retinanet"].flavours["maskrcnn_benchmark"]
    model = built("retinanet_resnet18_fpn.maskrcnn_benchmark", flavour, width=32, head_depth=1)
    variance = to_source(model, "detectron2")["backbone.bottom_up.res3.0.conv1.norm.running_var"]
    assert torch.equal(variance, model.backbone.layer2[0].bn1.running_var - 1e-5)
    same = to_source(model, "maskrcnn_benchmark")["backbone.body.layer2.0.bn1.running_var"]
    assert torch.equal(same, model.backbone.layer2[0].bn1.running_var)
    model.backbone.layer2[0].bn1.running_var[3] = 5e-6
    with pytest.raises(ValueError, match=r"res3\.0\.conv1\.norm\.running_var holds variances below 1e-05"):
        to_source(model, "detectron2")


def test_what_another_program_has_no_place_for_is_refused() -> None:
    small = {"num_classes": 2, "width": 32, "head_depth": 1}
    own = create_model("retinanet_resnet18_fpn", **small)
    mobile = create_model("fcos_mobilenet_v2_fpn.original", **small)
    scaled = create_model("fcos_resnet18_fpn", **small)
    with pytest.raises(ValueError, match=r"no place for 'class_head\.tower\.1\.weight'"):
        to_source(own, "bubbliiiing")  # group norm in the head
    with pytest.raises(ValueError, match=r"no place for 'backbone\.features"):
        to_source(mobile, "detectron2")
    assert len(to_source(scaled, "torchvision")) > 0  # factors of 1 say nothing
    nn.init.constant_(scaled.scales, 1.5)
    with pytest.raises(ValueError, match=r"torchvision FCOS: the other program has no place for 'scales\.0'"):
        to_source(scaled, "torchvision")
    with pytest.raises(ValueError, match="unknown source to write for 'caffe2'"):  # read only
        to_source(own, "caffe2")
    with pytest.raises(ValueError, match="Detector models cannot be written for another program"):
        to_source(Detector(), "torchvision")
    own.origin = None
    with pytest.raises(ValueError, match="only models of the zoo can be written for another program"):
        to_source(own, "torchvision")


def test_the_form_that_has_a_place_is_chosen() -> None:
    """Our own RetinaNet has norms in its heads, as torchvision's second version; mmdetection's has not."""
    with torch.device("meta"):
        own = create_model("retinanet_resnet18_fpn", num_classes=2)
        group = create_model("retinanet_resnet50d_fpn.mmdet", num_classes=2, norm="group")
    assert "head.classification_head.conv.0.1.weight" in to_source(own, "torchvision")
    names = to_source(group, "mmdet")
    assert {
        "backbone.stem.7.weight",
        "backbone.layer1.0.gn3.bias",
        "backbone.layer1.0.downsample.2.weight",
    } <= set(names)


def test_differences_are_what_tensors_cannot_carry() -> None:
    model = create_model("fcos_resnet18_fpn.improved", num_classes=2, width=32, head_depth=1)
    assert differences(model, "fcos") == []
    told = differences(model, "torchvision")
    for line in ("body.style: 'caffe' here, 'pytorch' there", "coder.offset: 0.5 here, 0.0 there"):
        assert line in told
