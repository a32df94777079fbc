"""Foreign checkpoints as models: the same again from our own file, fresh parts reported, everything else refused."""

import os
import pickle
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import pagoda
from pagoda.backbones.resnet import ResNet
from pagoda.backbones.resnet_options import Body, Deform, Plugin, Stem
from pagoda.convert.read import convert
from pagoda.convert.read_backbone import fill_backbone, load_backbone
from pagoda.convert.to_program import to_source
from pagoda.detectors.contract import Detector
from pagoda.layers.weight_standardization import StandardizedConv2d
from pagoda.models import create_model
from pagoda.structures.labels import LabelMap
from pagoda.weights.files import WeightsError, save_weights

pytestmark = pytest.mark.medium

SMALL = {"width": 32, "head_depth": 1}
CONTEXT = Plugin(module="context_block", options={"ratio": 0.0625}, levels=(4,))


def foreign(model: str, *, num_classes: int = 20, **options: Any) -> tuple[Detector, dict[str, Tensor]]:
    """(a small model with much to say, its tensors as its program saves them)."""
    made = create_model(model, num_classes=num_classes, **{**SMALL, **options}).eval()
    for module in made.modules():
        if hasattr(module, "running_var"):
            module.running_var.uniform_(0.5, 1.5)
            module.running_mean.uniform_(-0.1, 0.1)
    nn.init.normal_(made.class_head.predict.weight, std=0.3)
    nn.init.normal_(made.box_head.predict.weight, std=0.02)
    return made, to_source(made, SOURCES.get(model.rpartition(".")[2], model.rpartition(".")[2]))


SOURCES = {"original": "fcos", "improved": "fcos", "mmdet_improved": "mmdet", "torchvision_v2": "torchvision"}


def saved(state: dict[str, Any], folder: Path, name: str = "model_final.pth") -> Path:
    torch.save({"model": state}, folder / name)
    return folder / name


def same(a: Detector, b: Detector) -> bool:
    mine, theirs = a.state_dict(), b.state_dict()
    return mine.keys() == theirs.keys() and all(torch.equal(mine[name], theirs[name]) for name in mine)


# Round trip


@pytest.mark.parametrize(
    "name",
    [
        "fcos_resnet18_fpn.original",
        "fcos_resnet18_fpn.improved",
        "fcos_resnet18_fpn.detectron2",
        "fcos_resnet18_fpn.torchvision",
        "fcos_resnet18_fpn.mmdet",
        "retinanet_resnet18_fpn.maskrcnn_benchmark",
        "retinanet_resnet18_fpn.torchvision_v2",
        "retinanet_resnet18_fpn.bubbliiiing",
    ],
)
def test_a_foreign_checkpoint_is_the_same_from_our_own_file(tmp_path: Path, name: str) -> None:
    begin, state = foreign(name)
    flavour = name.rpartition(".")[2] if name.startswith("fcos") else None
    model = pagoda.load(saved(state, tmp_path), flavour=flavour)
    assert model.origin["model"] == name and model.origin["flavour"] == begin.origin["flavour"]
    assert model.input_spec == begin.input_spec and same(model, begin)
    model.input_spec = replace(
        model.input_spec, **({"canvas": (96, 128)} if model.input_spec.canvas else {"short_side": 96})
    )
    again = pagoda.load(save_weights(tmp_path / "ours.safetensors", model.state_dict(), model.card()))
    assert again.card() == model.card() and same(again, model)
    assert again.postprocess == model.postprocess and again.criterion == model.criterion
    picture = torch.randint(0, 256, (3, 90, 120), dtype=torch.uint8)
    before, after = (m.predict(picture, min_score=0.01) for m in (model, again))
    assert len(before) > 5
    for field in ("boxes", "scores", "labels"):
        assert torch.equal(getattr(before, field), getattr(after, field))
    assert before.names == after.names
    # These programs write x2 − x1 + 1 into COCO's files, and were scored by that.
    is_legacy = name.endswith((".original", ".improved", ".maskrcnn_benchmark"))
    assert before.inclusive == after.inclusive == model.inclusive == again.inclusive == is_legacy


def test_weight_standardisation_and_plugins_are_told_by_a_person(tmp_path: Path) -> None:
    begin, state = foreign("retinanet_resnet50_fpn.mmdet", norm="group", standardized=True)
    path = saved(state, tmp_path)
    assert not any(isinstance(m, StandardizedConv2d) for m in pagoda.load(path).modules())
    model = pagoda.load(path, options={"standardized": True})
    assert same(model, begin) and model.origin["options"]["standardized"]
    assert isinstance(model.backbone.layer4[0].conv2, StandardizedConv2d)
    attention = Plugin(
        module="gen_attention_block", options={"heads": 8}, levels=(5,), position="after_conv2"
    )
    begin, state = foreign("retinanet_resnet50_fpn.mmdet", plugins=(attention,))
    path = saved(state, tmp_path)
    with pytest.raises(
        WeightsError, match=r"'gen_attention_block' has some number of heads.* hand them over: plugins="
    ):
        pagoda.load(path)
    model = pagoda.load(path, options={"plugins": (attention,)})
    assert same(model, begin)
    assert (
        pagoda.load(save_weights(tmp_path / "a.safetensors", model.state_dict(), model.card())).card()
        == model.card()
    )
    with pytest.raises(WeightsError, match="hand them over"):
        load_backbone(path)
    assert load_backbone(path, plugins=(attention,)).layer4[0].gen_attention_block.heads == 8


def test_plugins_that_tell_themselves(tmp_path: Path) -> None:
    begin, state = foreign(
        "retinanet_resnet50_fpn.mmdet", plugins=(CONTEXT,), deform="v2", deform_fallback=True
    )
    model = pagoda.load(saved(state, tmp_path))
    assert same(model, begin) and model.backbone.layer3[5].context_block.channel_add_conv is not None


# Backbones


@pytest.fixture(scope="module")
def imagenet(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As torchvision and timm save a ResNet-50, with its classifier."""
    state = {**ResNet(50).state_dict(), "fc.weight": torch.zeros(10, 2048), "fc.bias": torch.zeros(10)}
    path = tmp_path_factory.mktemp("imagenet") / "resnet50.pth"
    torch.save(state, path)
    return path


def test_new_parts_of_a_backbone_start_fresh_and_are_reported(imagenet: Path) -> None:
    body = Body(deform=Deform(levels=(4, 5)), plugins=(replace(CONTEXT, levels=(5,)),))
    backbone = ResNet(50, body=body)
    fresh = {
        n: t.clone() for n, t in backbone.state_dict().items() if ".offset." in n or "context_block" in n
    }
    report = fill_backbone(backbone, imagenet)
    assert sorted(report.missing) == sorted(fresh) and len(fresh) == 2 * 9 + 8 * 3
    assert (
        report.dropped == dict.fromkeys(("fc.weight", "fc.bias"), "ImageNet classifier")
        and not report.unknown
    )
    original, state = torch.load(imagenet), backbone.state_dict()
    assert all(torch.equal(tensor, state[name]) for name, tensor in fresh.items())
    assert all(torch.equal(original[name], state[name]) for name in state if name not in fresh)
    assert "missing     42: " in report.text()
    with torch.no_grad():  # a fresh context block changes nothing; version 1's fresh offsets neither
        v1 = load_backbone(imagenet, deform="v1", plugins=(CONTEXT,))
        plain, images = load_backbone(imagenet), torch.randn(1, 3, 64, 64)
        ours, expected = v1(images)[5], plain(images)[5]
        assert (ours - expected).abs().max() < 1e-4 * expected.abs().max()


def test_everything_else_must_match(tmp_path: Path, imagenet: Path) -> None:
    state = torch.load(imagenet)
    del state["layer3.2.conv2.weight"]
    torch.save(state, tmp_path / "cut.pth")
    with pytest.raises(
        WeightsError, match=r"1 tensors missing \(layer3\.2\.conv2\.weight\), 0 of another shape"
    ):
        load_backbone(tmp_path / "cut.pth", deform="v2")
    backbone = ResNet(50, body=Body(deform=Deform(levels=(5,))))
    state = {**backbone.state_dict()}
    del state["layer4.1.conv2.offset.bias"]
    torch.save(state, tmp_path / "offsets.pth")
    with pytest.raises(WeightsError, match=r"1 tensors missing \(layer4\.1\.conv2\.offset\.bias\)"):
        fill_backbone(backbone, tmp_path / "offsets.pth")  # it has offsets, so it should have all
    torch.save({**torch.load(imagenet), "layer1.0.se.fc.weight": torch.zeros(4)}, tmp_path / "se.pth")
    with pytest.raises(WeightsError, match=r"1 without a place in it \(layer1\.0\.se\.fc\.weight\)"):
        load_backbone(tmp_path / "se.pth")


def test_stages_that_are_not_wanted_are_dropped(imagenet: Path) -> None:
    report = fill_backbone(ResNet(50, levels=(3, 4)), imagenet)
    beyond = [name for name, why in report.dropped.items() if why == "beyond the last level of the backbone"]
    assert beyond and all(name.startswith("layer4.") for name in beyond) and not report.missing


def test_a_detector_lends_its_backbone(tmp_path: Path) -> None:
    model, state = foreign("fcos_resnet18_fpn.improved")
    path = saved(state, tmp_path)
    backbone = load_backbone(path, norm="frozen", eps=0.0)
    assert all(torch.equal(t, backbone.state_dict()[n]) for n, t in model.backbone.state_dict().items())
    with pytest.raises(ValueError, match="unknown backbone choice 'styel'; did you mean 'style'"):
        load_backbone(path, styel="caffe")


def body_of_mmdet(folder: Path, deform: Deform, name: str = "model.pth", **more: Any) -> tuple[ResNet, Path]:
    """(a narrow ResNet-50, its file as mmdetection saves backbones)."""
    torch.manual_seed(0)
    body = ResNet(50, stem=Stem(channels=12), body=Body(base_channels=12, deform=deform)).eval()
    for parameter_name, parameter in body.named_parameters():
        if ".offset." in parameter_name:
            nn.init.normal_(parameter, std=0.3)
    state = {n.replace(".offset.", ".conv_offset."): tensor for n, tensor in body.state_dict().items()}
    torch.save({"state_dict": state, **more}, folder / name)
    return body, folder / name


def same_maps(one: nn.Module, other: nn.Module) -> bool:
    pixels = torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        return all(
            torch.equal(a, b) for a, b in zip(one(pixels).values(), other(pixels).values(), strict=True)
        )


@pytest.mark.parametrize(
    "deform",
    [
        Deform(fallback_on_stride=True, fallback="first"),
        Deform(fallback_on_stride=True, fallback="stride"),
        Deform(levels=(2, 3), modulated=False, fallback_on_stride=True, fallback="first"),
        Deform(blocks=((False,) * 3, (True, False, True, False), (False,) * 6, (False, True, True))),
    ],
)
def test_deformable_blocks_are_those_of_the_file(tmp_path: Path, deform: Deform) -> None:
    body, path = body_of_mmdet(tmp_path, deform)
    assert same_maps(load_backbone(path), body)


@pytest.mark.parametrize(
    ("modulated", "groups", "name", "config"),
    [
        (False, 3, "faster_rcnn_r50_fpn_dconv_c3-c5_1x.pth", None),
        (True, 2, "mask_rcnn_r50_fpn_mdconv_c3-c5_1x.pth", None),
        (True, 2, "r50_dcnv2.pth", None),
        (False, 3, "epoch_12.pth", "dcn=dict(type='DCN', deform_groups=3, fallback_on_stride=False)"),
        (True, 2, "epoch_12.pth", "'dcn': {'type': 'DCNv2', 'deform_groups': 2}"),
    ],
)
def test_two_kinds_of_deformable_convolutions_with_equal_tensors(
    tmp_path: Path, modulated: bool, groups: int, name: str, config: str | None
) -> None:
    deform = Deform(modulated=modulated, deform_groups=groups)
    more = {} if config is None else {"meta": {"config": config}}
    body, path = body_of_mmdet(tmp_path, deform, name, **more)
    assert body.layer2[0].conv2.offset.weight.shape[0] == 54
    assert same_maps(load_backbone(path), body)


def test_a_kind_that_nothing_tells_is_asked_for(tmp_path: Path) -> None:
    body, path = body_of_mmdet(tmp_path, Deform(modulated=False, deform_groups=3))
    with pytest.raises(
        WeightsError, match="deform='v2', deform_groups=2 and deform='v1', deform_groups=3"
    ) as error:
        load_backbone(path)
    assert str(error.value).endswith("to load_backbone as deform='v1', deform_groups=3")
    assert same_maps(load_backbone(path, deform="v1", deform_groups=3), body)
    other, path = body_of_mmdet(tmp_path, Deform(modulated=True, deform_groups=2))
    assert same_maps(load_backbone(path, deform="v2", deform_groups=2), other)


@pytest.mark.parametrize("stages", [1, 2, 3])
def test_bodies_of_fewer_stages_are_read_as_such(tmp_path: Path, stages: int) -> None:
    torch.manual_seed(0)
    body = ResNet(
        50,
        levels=(2,) if stages == 1 else tuple(range(3, stages + 2)),
        stem=Stem(channels=8),
        body=Body(num_stages=stages, base_channels=8),
    ).eval()
    torch.save(body.state_dict(), tmp_path / "short.pth")
    found = load_backbone(tmp_path / "short.pth")
    assert found.channels == body.channels and same_maps(found, body)
    with pytest.raises(ValueError, match="level"):
        load_backbone(tmp_path / "short.pth", levels=(5,))


def test_the_caffe_style_of_a_resnext_is_not_dropped(tmp_path: Path) -> None:
    torch.manual_seed(0)
    body = ResNet(50, groups=4, width_per_group=16, style="caffe").eval()
    torch.save(body.state_dict(), tmp_path / "x50.pth")
    pixels = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        expected, caffe, plain = (
            each(pixels)[5]
            for each in (
                body,
                load_backbone(tmp_path / "x50.pth", style="caffe"),
                load_backbone(tmp_path / "x50.pth"),
            )
        )
    assert torch.equal(caffe, expected) and not torch.allclose(plain, expected, rtol=0.1)


# Refusals


def refused(path: Path, *says: str, **arguments: Any) -> None:
    with pytest.raises((WeightsError, ValueError)) as error:
        pagoda.load(path, **arguments)
    for words in says:
        assert words in str(error.value), f"{words!r} not in: {error.value}"


def test_files_that_are_none_of_it(tmp_path: Path) -> None:
    path = tmp_path / "model.pth"
    _, state = foreign("retinanet_resnet18_fpn.bubbliiiing")
    torch.save(state, path)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    refused(path, "model.pth is refused: it is truncated or damaged")
    path.write_bytes(b"<html>404</html>")
    refused(path, "model.pth holds no weights: it is a web page")
    torch.save({}, path)
    refused(path, "model.pth should hold a state dict", "a dict without tensors (empty)")
    refused(saved({}, tmp_path), "should hold a state dict", "without tensors")
    with pytest.raises(FileNotFoundError, match=r"no weights file at .*nowhere\.pth"):
        pagoda.load(tmp_path / "nowhere.pth")


class Attack:
    def __reduce__(self) -> tuple:
        return os.system, ("touch EXECUTED",)


@pytest.mark.parametrize("form", ["torch", "pickle"])
def test_hostile_pickles_are_refused_and_not_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, form: str
) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / ("R-50.pkl" if form == "pickle" else "model.pth")
    content = {"model": {"conv1.weight": torch.zeros(1) if form == "torch" else [Attack()], "x": Attack()}}
    if form == "torch":
        torch.save(content, path)
    else:
        path.write_bytes(pickle.dumps(content, protocol=2))
    refused(path, f"{path.name} is refused", "system")
    assert not Path("EXECUTED").exists()


def test_two_programs_in_one_file(tmp_path: Path) -> None:
    _, one = foreign("fcos_resnet18_fpn.improved")
    _, other = foreign("retinanet_resnet18_fpn.bubbliiiing")
    refused(
        saved({**one, **other}, tmp_path),
        "bears the marks of FCOS (tianzhi0549/FCOS) and of bubbliiiing/retinanet-pytorch",
        "save the tensors of one model alone",
    )


def test_a_half_of_a_state_dict_lists_what_is_missing(tmp_path: Path) -> None:
    _, state = foreign("fcos_resnet18_fpn.improved")
    gone = ["backbone.fpn.fpn_inner3.bias", "rpn.head.bbox_tower.1.weight", "rpn.head.scales.4.scale"]
    path = saved({name: tensor for name, tensor in state.items() if name not in gone}, tmp_path)
    refused(
        path,
        "FCOS (tianzhi0549/FCOS)) does not fill the model it describes: 3 tensors missing",
        "(scales, neck.lateral.4.bias, box_head.tower.1.weight), 0 of another shape",
        "--allow-missing",
        flavour="improved",
    )
    report = convert(path, flavour="improved", allow_missing=True).report
    assert set(report.missing) == {"scales", "neck.lateral.4.bias", "box_head.tower.1.weight"}
    state["rpn.head.cls_tower.0.weight"] = torch.zeros(32, 16, 3, 3)
    refused(
        saved(state, tmp_path),
        "1 of another shape (rpn.head.cls_tower.0.weight (32, 16, 3, 3) instead of (32, 32, 3, 3))",
        flavour="improved",
    )


@pytest.mark.parametrize(
    ("gone", "says"),
    [
        (("rpn.head.cls_logits",), "there are towers but no class prediction: the checkpoint is cut short"),
        (("rpn.head.bbox_pred",), "there is a class prediction but none of boxes"),
        (("backbone.fpn",), "there are heads but no pyramid (FPN)"),
        (("backbone.body.stem", "backbone.body.layer"), "no backbone is recognised"),
        (("backbone.body.layer2.1",), "no ResNet has [2, 1, 2, 2] basic blocks per stage"),
    ],
)
def test_checkpoints_that_are_cut_short(tmp_path: Path, gone: tuple[str, ...], says: str) -> None:
    _, state = foreign("fcos_resnet18_fpn.improved")
    path = saved({name: tensor for name, tensor in state.items() if not name.startswith(gone)}, tmp_path)
    refused(path, "looks like FCOS (tianzhi0549/FCOS), but", says)


def test_classes_that_disagree(tmp_path: Path) -> None:
    _, state = foreign("retinanet_resnet18_fpn.bubbliiiing", num_classes=3)
    path = saved(state, tmp_path)
    refused(path, "was trained on 3 classes, not 80", num_classes=80)
    names = LabelMap.from_names(("cat", "dog"))
    refused(path, "was trained on 3 classes but the label map names 2", label_map=names)
    three = LabelMap.from_names(("cat", "dog", "heron"))
    assert pagoda.load(path, label_map=three, num_classes=3).label_map == three
    state["classificationModel.output.weight"] = torch.zeros(28, 32, 3, 3)
    refused(saved(state, tmp_path), "28 class rows and 36 box rows fit no number of anchors per location")


def test_flavours_that_are_not_known_or_not_told(tmp_path: Path) -> None:
    _, state = foreign("fcos_resnet18_fpn.improved")
    path = saved(state, tmp_path)
    refused(
        path,
        "do not tell which of original and improved it is",
        "say flavour='improved' (--flavour improved)",
    )
    refused(path, "unknown flavour of fcos 'imprved'; did you mean 'improved'?", flavour="imprved")
    refused(path, "unknown flavour of fcos 'bubbliiiing'", flavour="bubbliiiing")
    ours = save_weights(tmp_path / "a.safetensors", *_ours(path))
    refused(ours, "is a checkpoint of Pagoda and says itself", flavour="improved")


def _ours(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    model = pagoda.load(path, flavour="improved")
    return model.state_dict(), model.card()


def test_a_backbone_is_no_detector(imagenet: Path) -> None:
    refused(
        imagenet,
        "holds a backbone (resnet50, a ResNet of torchvision, timm or mmdetection), not a detector",
        "create_model(…, backbone_weights=",
    )


def test_networks_that_are_not_in_the_zoo(tmp_path: Path) -> None:
    wide = {name: tensor for name, tensor in ResNet(50, width_per_group=128).state_dict().items()}
    torch.save(wide, tmp_path / "wide.pth")
    refused(tmp_path / "wide.pth", "bottlenecks 128 wide: wide ResNets are not in the zoo")
    transformer = {
        "transformer.encoder.layers.0.linear1.weight": torch.zeros(2),
        "class_embed.bias": torch.zeros(2),
    }
    refused(
        saved(transformer, tmp_path),
        "holds 2 tensors of no program that is known (transformer.encoder.layers.0.linear1.weight, class_embed.bias",
        "known: ",
        "FCOS (tianzhi0549/FCOS), maskrcnn-benchmark",
    )
