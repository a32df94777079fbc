"""EfficientDets of other programs: which variant the shapes tell, and that every tensor finds its place."""

import re
import struct
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

import pagoda
from pagoda.convert.names import effdet, mmdet_efficientdet, toandaominh, zylo117
from pagoda.convert.names.efficientdet import efficientdet_architecture, told_apart
from pagoda.convert.names.rules import Rule, restore
from pagoda.convert.read import convert
from pagoda.convert.tensor_slices import Layout, shapes_of
from pagoda.convert.to_program import to_source
from pagoda.models import create_model
from pagoda.necks.bifpn import Resampling
from pagoda.structures.images import ImageBatch
from pagoda.weights.files import WeightsError
from pagoda.zoo.efficientdet import VARIANTS, efficientdet
from pagoda.zoo.flavours.efficientdet import EFFICIENTDET_FLAVOURS

pytestmark = pytest.mark.medium

BLOCKS = {"d0": 16, "d6": 45, "d7x": 55}
BLOCK_NAMES = {
    "zylo117": "backbone_net.model._blocks.{}.x",
    "toandaominh": "backbone._blocks.{}.x",
}
# mmdetection joins the stages of one stride.
LAYERS = [(1, 0), *((2, i) for i in range(2)), *((3, i) for i in range(2)), *((4, i) for i in range(6))]
LAYERS += [(5, i) for i in range(5)]


def rules_of(program: str, variant: str = "d0") -> tuple[Rule, ...]:
    if program == "effdet":
        return effdet.RULES
    if program == "mmdet":
        return mmdet_efficientdet.rules_for({f"backbone.layers.{s}.{i}.x": (1,) for s, i in LAYERS})
    shapes = {BLOCK_NAMES[program].format(i): (1,) for i in range(BLOCKS[variant])}
    if variant == "d7x":
        shapes["bifpn.0.conv8_down.bn.weight"] = (384,)
    if variant != "d0":
        shapes["bifpn.0.conv6_up.pointwise_conv.conv.weight"] = (384, 384, 1, 1)
    return (zylo117 if program == "zylo117" else toandaominh).rules_for(shapes)


def as_saved(model: torch.nn.Module, rules: tuple[Rule, ...], *, yxhw: bool) -> dict[str, Tensor]:
    """The model's tensors under the program's names."""
    layout = Layout(len(model.label_map), None, "yxhw" if yxhw else "xywh", box_rows=36)
    state = model.state_dict()
    return {
        name: layout.place(ours).read(state[ours]).clone() for ours, name in restore(state, rules).items()
    }


def random_model(flavour: str, name: str = "efficientdet_d0", **options) -> torch.nn.Module:
    model = create_model(f"{name}.{flavour}", num_classes=4, **options).eval()
    for key, tensor in model.state_dict().items():
        if tensor.is_floating_point():
            low = 0.5 if key.endswith(("running_var", "weights")) else -0.1
            tensor.uniform_(low, low + 1) if tensor.ndim < 2 else tensor.mul_(1.1)
    return model


@pytest.mark.parametrize(
    ("name", "flavour"), [*((name, "google") for name in VARIANTS), ("efficientdet_lite3", "effdet")]
)
def test_shapes_tell_the_variant(name: str, flavour: str) -> None:
    with torch.device("meta"):
        model = efficientdet(VARIANTS[name], flavour=EFFICIENTDET_FLAVOURS[flavour])
    found = efficientdet_architecture(shapes_of(model.state_dict()))
    assert (found.detector, found.num_classes, found.options, found.box_rows) == ("efficientdet", 90, {}, 36)
    if name == "efficientdet_d7":  # the same tensors as D6
        assert found.backbone == "d6"
        assert told_apart(found, Path("tf_efficientdet_d7_53-6d1d7a95.pth"), None).backbone == "d7"
        assert told_apart(found, Path("a.pth"), "efficientdet_d7").backbone == "d7"
    else:
        assert f"efficientdet_{found.backbone}" == name


def test_other_sizes_are_told_as_options() -> None:
    model = create_model("efficientdet_d1", num_classes=3, width=72, cells=2, head_depth=1, top_level=6)
    found = efficientdet_architecture(shapes_of(model.state_dict()))
    assert found.backbone == "d1"
    assert found.options == {"width": 72, "cells": 2, "head_depth": 1, "top_level": 6}


@pytest.mark.parametrize(
    ("program", "yxhw"), [("effdet", True), ("zylo117", True), ("mmdet", False), ("toandaominh", False)]
)
def test_every_tensor_finds_its_place(tmp_path: Path, program: str, yxhw: bool) -> None:
    model = random_model(program)
    path = tmp_path / "efficientdet_d0.pth"
    torch.save(as_saved(model, rules_of(program), yxhw=yxhw), path)
    converted = convert(path)
    assert converted.report.model == f"efficientdet_d0.{program}"
    assert not converted.report.missing and not converted.report.unknown and not converted.report.dropped
    state = model.state_dict()
    assert all(torch.equal(tensor, state[name]) for name, tensor in converted.model.state_dict().items())
    images = ImageBatch(torch.randn(1, 3, 128, 128), torch.tensor([[128, 128]]))
    with torch.no_grad():
        assert torch.equal(converted.model(images).box_outputs, model(images).box_outputs)


@pytest.mark.parametrize(
    ("name", "fusion"), [("d6", "fast"), ("d7x", "softmax"), ("lite2", "fast"), ("d0", "sum")]
)
def test_fusions_that_are_not_the_variants(name: str, fusion: str) -> None:
    with torch.device("meta"):
        model = create_model(f"efficientdet_{name}.effdet", num_classes=3, fusion=fusion)
    found = efficientdet_architecture(shapes_of(model.state_dict()))
    assert found.backbone == name
    assert found.options == {"fusion": "sum" if fusion == "sum" else "fast"}  # attention's weights look alike
    if name == "d6":
        assert told_apart(found, Path("efficientdet_d7.pth"), None).backbone == "d7"


@pytest.mark.parametrize(
    ("name", "cells"), [("efficientdet_d0", 3), ("efficientdet_d0", 2), ("efficientdet_d6", 4)]
)
def test_the_walk_throughs_pyramids_of_any_depth(name: str, cells: int) -> None:
    with torch.device("meta"):
        model = create_model(f"{name}.toandaominh", num_classes=5, cells=cells)
    found = efficientdet_architecture(shapes_of(model.state_dict()))
    assert f"efficientdet_{found.backbone}" == name
    assert found.options == ({} if cells == 2 else {"cells": cells})


@pytest.mark.parametrize("variant", ["d6", "d7x"])
@pytest.mark.slow
def test_weights_that_zylo117_keeps_without_use_are_dropped(variant: str) -> None:
    rules = rules_of("zylo117", variant)
    with torch.device("meta"):
        model = create_model(f"efficientdet_{variant}.zylo117", num_classes=90)
    names = set(restore(model.state_dict(), rules).values())
    levels = 6 if variant == "d7x" else 5
    useless = {f"bifpn.{c}.p{level}_w1" for c in range(8) for level in range(3, 2 + levels)}
    useless |= {f"bifpn.{c}.p{level}_w2" for c in range(8) for level in range(4, 3 + levels)}
    assert all(any(rule.drops(name) for rule in rules) for name in useless)
    assert not any(rule.drops(name) for name in names for rule in rules)
    scalars = 8 * (2 * (levels - 1) + 3 * (levels - 2) + 2)
    assert levels != 5 or scalars == 152
    count = sum(parameter.numel() for parameter in model.parameters())
    assert count + scalars == {"d6": 51_871_934, "d7x": 77_147_166 + scalars}[variant]


def test_norms_of_zylo117_are_by_level_first() -> None:
    (name,) = restore(["class_head.norms.2.4.weight"], rules_of("zylo117")).values()
    assert name == "classifier.bn_list.4.2.weight"
    (name,) = restore(["class_head.norms.2.4.weight"], rules_of("mmdet")).values()
    assert name == "bbox_head.cls_bn_list.2.4.weight"


def test_another_variant_than_wanted_is_named(tmp_path: Path) -> None:
    path = tmp_path / "model.pth"
    torch.save(as_saved(random_model("effdet", "efficientdet_lite0"), effdet.RULES, yxhw=True), path)
    with pytest.raises(WeightsError, match=r"model.pth holds efficientdet_lite0, not efficientdet_d1"):
        convert(path, wanted="efficientdet_d1")
    assert convert(path, wanted="efficientdet_lite0").report.model == "efficientdet_lite0.effdet"
    with pytest.raises(WeightsError, match=r"trained on 4 classes, not 90"):
        convert(path, num_classes=90, wanted="efficientdet_lite0")


def test_a_file_cut_short_is_told(tmp_path: Path) -> None:
    state = as_saved(random_model("effdet"), effdet.RULES, yxhw=True)
    path = tmp_path / "model.pth"
    torch.save({name: x for name, x in state.items() if not name.startswith("backbone.blocks.6")}, path)
    with pytest.raises(WeightsError, match=r"no EfficientNet has \(1, 2, 2, 3, 3, 4, 0\) blocks"):
        convert(path)
    torch.save({name: x for name, x in state.items() if not name.startswith("box_net.predict")}, path)
    with pytest.raises(WeightsError, match=r"lacks what becomes box_head.predict.conv_pw.weight"):
        convert(path)


def test_benches_of_effdet_and_adversarial_weights(tmp_path: Path) -> None:
    model = random_model("google")
    state = {f"model.{name}": x for name, x in as_saved(model, effdet.RULES, yxhw=True).items()}
    state["anchors.boxes"] = torch.zeros(49104, 4)
    torch.save(state, tmp_path / "tf_efficientdet_d0_ap-d0cdbd0a.pth")
    report = convert(tmp_path / "tf_efficientdet_d0_ap-d0cdbd0a.pth").report
    assert report.model == "efficientdet_d0.advprop" and list(report.dropped) == ["anchors.boxes"]


def test_ours_can_be_written_for_effdet_and_come_back(tmp_path: Path) -> None:
    model = random_model("effdet", "efficientdet_lite0")
    torch.save(to_source(model, "effdet"), tmp_path / "a.pth")
    again = convert(tmp_path / "a.pth", flavour="effdet").model.state_dict()
    assert all(torch.equal(tensor, again[name]) for name, tensor in model.state_dict().items())


@pytest.mark.parametrize(
    ("file", "more", "says"),
    [
        ("best.pth", {}, "do not tell how it fuses"),
        ("best.pth", {"epoch": 3, "arch": "my_net"}, "do not tell how it fuses"),
        ("efficientdet_d0_attn.pth", {}, "speaks of 'attn'"),
        ("efficientdet_d0_relu6.pth", {}, "speaks of 'relu6'"),
        ("efficientdet_d0-bilinear.pth", {}, "speaks of 'bilinear'"),
        ("best.pth", {"arch": "efficientdet_d0_avgpool"}, "speaks of 'avg'"),
        (
            "best.pth",
            {"config": {"act_type": "mish", "fpn_name": None}},
            "act_type 'mish', which is not built",
        ),
        ("best.pth", {"args": {"fpn_name": "fpn_fa", "act_type": ""}}, "fpn_name 'fpn', which is not built"),
        ("best.pth", {"c": {"upsample_type": "bicubic", "act_type": ""}}, "upsample_type 'bicubic'"),
        ("best.pth", {"c": {"act_type": "", "fpn_name": "", "separable_conv": False}}, "only True is built"),
        ("efficientdet_d0-f3276ba8.pth", {}, ""),
        ("tf_efficientdet_d0_34-f153e0cf.pth", {}, ""),
        ("best.pth", {"arch": "efficientdet_d0", "epoch": 3}, ""),
        ("best.pth", {"config": {"act_type": "swish", "fpn_name": None}}, ""),
    ],
)
def test_what_effdets_tensors_do_not_tell_is_told_or_asked(
    tmp_path: Path, d0_of_effdet: dict[str, Tensor], file: str, more: dict, says: str
) -> None:
    torch.save({"state_dict": d0_of_effdet, **more}, tmp_path / file)
    if says:
        with pytest.raises(WeightsError, match=says) as error:
            convert(tmp_path / file)
        assert "config says" in says or "built" in str(error.value) or "flavour='effdet'" in str(error.value)
    else:
        model = convert(tmp_path / file).model
        assert model.neck.cells[0].nodes[0].fusion == "fast" and model.neck.resampling == Resampling()


@pytest.fixture(scope="module")
def d0_of_effdet() -> dict[str, Tensor]:
    return as_saved(random_model("effdet", width=16, cells=1, head_depth=1), effdet.RULES, yxhw=True)


@pytest.mark.parametrize(("arch", "pads"), [("efficientdet_d4", False), ("tf_efficientdet_d4", True)])
def test_the_name_effdet_gave_a_model_says_how_its_backbone_pads(
    tmp_path: Path, arch: str, pads: bool
) -> None:
    """From D4 on both forms have a bias in front of norms; only those called tf_ pad as TensorFlow does."""
    state = as_saved(random_model("google", width=16, cells=1, head_depth=1), effdet.RULES, yxhw=True)
    torch.save({"state_dict": state, "arch": arch}, tmp_path / "best.pth")
    model = convert(tmp_path / "best.pth").model
    assert model.card()["flavour"]["tensorflow"] is pads
    assert model.card()["flavour"]["padding"] == "same", "the pyramid's, of both"


def test_what_the_error_about_effdets_forms_advises_works(
    tmp_path: Path, d0_of_effdet: dict[str, Tensor]
) -> None:
    path = tmp_path / "best.pth"
    torch.save(d0_of_effdet, path)
    with pytest.raises(WeightsError, match="do not tell how it fuses") as error:
        pagoda.load(path)
    assert pagoda.load(path, flavour="effdet").neck.cells[0].nodes[0].fusion == "fast"
    advice = str(error.value).split("in Python: ")[1]
    names = {
        "pagoda": pagoda,
        "path": path,
        "replace": replace,
        "Resampling": Resampling,
        "EFFICIENTDET_FLAVOURS": EFFICIENTDET_FLAVOURS,
    }
    model = eval(advice, names)
    node = model.neck.cells[0].nodes[0]
    assert node.fusion == "softmax" and isinstance(node.activation, torch.nn.ReLU6)
    assert model.neck.resampling.down == "average" and isinstance(model.class_head.activation, torch.nn.ReLU6)


# TensorFlow: the names are written down here a second time, in the other direction.


def tensorflow_variables(state: dict[str, Tensor]) -> dict[str, np.ndarray]:
    """effdet's tensors as Google's trainer would have saved them, averages beside the last values."""
    repeats = (1, 2, 2, 3, 3, 4, 1)
    flat = {(s, b): sum(repeats[:s]) + b for s, count in enumerate(repeats) for b in range(count)}
    variables: dict[str, np.ndarray] = {"global_step": np.int64(300).reshape(())}
    for name, tensor in state.items():
        if name.endswith("num_batches_tracked"):
            continue
        for target, value in tensorflow_layer(name, tensor.numpy(), flat).items():
            if "moving_" in target:
                variables[target] = value
            else:
                variables[target] = value + 1  # the last value, which nobody wants
                variables[f"{target}/ExponentialMovingAverage"] = value
                variables[f"{target}/Momentum"] = np.zeros_like(value)
    return variables


NORM = {"weight": "gamma", "bias": "beta", "running_mean": "moving_mean", "running_var": "moving_variance"}


def tensorflow_layer(name: str, value: np.ndarray, flat: dict) -> dict[str, np.ndarray]:
    kind = name.rpartition(".")[2]
    if found := re.fullmatch(r"fpn\.cell\.(\d)\.fnode\.(\d)\.combine\.edge_weights", name):
        at = f"fpn_cells/cell_{found[1]}/fnode{found[2]}/WSM"
        return {f"{at}_{i}" if i else at: np.float32(x) for i, x in enumerate(value)}
    is_depthwise = "conv_dw" in name
    if value.ndim == 4:
        value = value.transpose(2, 3, 0, 1) if is_depthwise else value.transpose(2, 3, 1, 0)
    if found := re.match(r"backbone\.blocks\.(\d)\.(\d)\.(.+)\.", name):
        stage, block, part = int(found[1]), int(found[2]), found[3]
        convs = ["conv_dw", "conv_pw"] if stage == 0 else ["conv_pw", "conv_dw", "conv_pwl"]
        if part.startswith("bn"):
            number = int(part[2:]) - 1
            layer = "tpu_batch_normalization" + (f"_{number}" if number else "")
            return {f"efficientnet-b0/blocks_{flat[stage, block]}/{layer}/{NORM[kind]}": value}
        if part.startswith("se"):
            layer = "se/conv2d" if "reduce" in part else "se/conv2d_1"
        elif part == "conv_dw":
            layer = "depthwise_conv2d"
        else:
            layer = "conv2d" if part == "conv_pw" else "conv2d_1"
        assert part.startswith("se") or part in convs
        kernel = "bias" if kind == "bias" else "depthwise_kernel" if part == "conv_dw" else "kernel"
        return {f"efficientnet-b0/blocks_{flat[stage, block]}/{layer}/{kernel}": value}
    if name.startswith("backbone.bn1"):
        return {f"efficientnet-b0/stem/tpu_batch_normalization/{NORM[kind]}": value}
    if name.startswith("backbone.conv_stem"):
        return {"efficientnet-b0/stem/conv2d/kernel": value}
    is_norm = ".bn." in name
    plain = NORM[kind] if is_norm else {"weight": "kernel", "bias": "bias"}[kind]
    separable = "bias" if kind == "bias" else "depthwise_kernel" if is_depthwise else "pointwise_kernel"
    if name.startswith("fpn.resample"):
        return {f"resample_p6/{'bn' if is_norm else 'conv2d'}/{plain}": value}
    if found := re.match(r"fpn\.cell\.(\d)\.fnode\.(\d)\.combine\.resample\.(\d)", name):
        cell, node, source = found.groups()
        layer = f"resample_0_{source}_{int(node) + 5}/{'bn' if is_norm else 'conv2d'}"
        return {f"fpn_cells/cell_{cell}/fnode{node}/{layer}/{plain}": value}
    if found := re.match(r"fpn\.cell\.(\d)\.fnode\.(\d)\.after_combine", name):
        layer = f"op_after_combine{int(found[2]) + 5}/{'bn' if is_norm else 'conv'}"
        return {f"fpn_cells/cell_{found[1]}/fnode{found[2]}/{layer}/{plain if is_norm else separable}": value}
    if found := re.match(r"(class|box)_net\.bn_rep\.(\d)\.(\d)", name):
        return {f"{found[1]}_net/{found[1]}-{found[2]}-bn-{int(found[3]) + 3}/{NORM[kind]}": value}
    found = re.match(r"(class|box)_net\.(?:conv_rep\.(\d)|predict)", name)
    return {f"{found[1]}_net/{found[1]}-{found[2] or 'predict'}/{separable}": value}


@pytest.fixture(scope="module")
def google() -> tuple[torch.nn.Module, dict[str, np.ndarray]]:
    torch.manual_seed(0)
    model = random_model("google")
    return model, tensorflow_variables(as_saved(model, effdet.RULES, yxhw=True))


def check_same(path: Path, model: torch.nn.Module) -> None:
    converted = convert(path)
    assert converted.report.model == "efficientdet_d0.google" and not converted.report.missing
    state = converted.model.state_dict()
    for name, tensor in model.state_dict().items():
        if not name.endswith("num_batches_tracked"):
            assert torch.equal(state[name], tensor), name


def test_variables_of_tensorflow(tmp_path: Path, google) -> None:
    model, variables = google
    np.savez(tmp_path / "d0.npz", **variables)
    check_same(tmp_path / "d0.npz", model)
    assert "beside them lie 'model'" in convert(tmp_path / "d0.npz").report.choice
    last = convert(tmp_path / "d0.npz", take="model").model.state_dict()
    averaged = model.state_dict()
    assert any(not torch.equal(last[name], averaged[name]) for name in last)
    with pytest.raises(WeightsError, match="holds nothing under 'emma'; it holds 'ema' and 'model'"):
        convert(tmp_path / "d0.npz", take="emma")
    variables = {**variables, "odd/kernel": np.zeros(3)}
    np.savez(tmp_path / "odd.npz", **variables)
    with pytest.raises(WeightsError, match=r"1 of \d+ variables are none of EfficientDet's: odd/kernel"):
        convert(tmp_path / "odd.npz")


def test_checkpoints_of_tensorflow_without_tensorflow(tmp_path: Path, google) -> None:
    model, variables = google
    write_bundle(tmp_path / "model.ckpt-1", variables)
    check_same(tmp_path / "model.ckpt-1.index", model)
    check_same(tmp_path / "model.ckpt-1.data-00000-of-00001", model)


def test_broken_checkpoints_of_tensorflow_are_told(tmp_path: Path) -> None:
    write_bundle(tmp_path / "a", {"x": np.arange(6, dtype=np.float32)})
    index, data = tmp_path / "a.index", tmp_path / "a.data-00000-of-00001"
    whole = index.read_bytes()
    data.write_bytes(data.read_bytes()[:-4])
    with pytest.raises(WeightsError, match=r"ends before x: it is cut short"):
        convert(index)
    data.unlink()
    with pytest.raises(WeightsError, match=r"a.data-00000-of-00001 is missing"):
        convert(index)
    index.write_bytes(whole[:-1])
    with pytest.raises(WeightsError, match=r"no index of a TensorFlow checkpoint"):
        convert(index)
    index.unlink()
    with pytest.raises(WeightsError, match=r"a.index is missing"):
        convert(data)


def varint(value: int) -> bytes:
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes([*out, value])


def message(*fields: tuple[int, int | bytes]) -> bytes:
    """A protocol buffer; whole numbers as varints, bytes with their length."""
    out = b""
    for number, value in fields:
        if isinstance(value, int):
            out += varint(number << 3) + varint(value)
        else:
            out += varint(number << 3 | 2) + varint(len(value)) + value
    return out


def block(entries: list[tuple[bytes, bytes]], restart_every: int = 16) -> bytes:
    """Keys share what they have in common with the one before, but for every 16th."""
    out, starts, last = b"", [], b""
    for number, (key, value) in enumerate(entries):
        shared = 0
        if number % restart_every == 0:
            starts.append(len(out))
        else:
            while key[: shared + 1] == last[: shared + 1] and shared < min(len(key), len(last)):
                shared += 1
        out += varint(shared) + varint(len(key) - shared) + varint(len(value)) + key[shared:] + value
        last = key
    return out + b"".join(struct.pack("<I", start) for start in starts) + struct.pack("<I", len(starts))


def write_bundle(prefix: Path, variables: dict[str, np.ndarray], per_block: int = 40) -> None:
    """As TensorFlow's BundleWriter: one shard, header at the empty key, LevelDB's table uncompressed."""
    dtypes = {"float32": 1, "float64": 2, "int32": 3, "int64": 9}
    entries, numbers, size = [(b"", message((1, 1), (3, message((1, 1)))))], [], 0
    for name, value in sorted(variables.items()):
        value = np.asarray(value)
        shape = message(*((2, message((1, side))) for side in value.shape))
        place = (
            message((1, dtypes[str(value.dtype)]), (2, shape), (4, size), (5, value.nbytes))
            + b"\x35"
            + struct.pack("<I", 7)
        )
        entries.append((name.encode(), place))
        numbers.append(np.ascontiguousarray(value).tobytes())
        size += value.nbytes
    prefix.with_name(f"{prefix.name}.data-00000-of-00001").write_bytes(b"".join(numbers))
    table, index = b"", []
    for first in range(0, len(entries), per_block):
        part = entries[first : first + per_block]
        content = block(part)
        index.append((part[-1][0] + b"~", varint(len(table)) + varint(len(content))))
        table += content + b"\0" + b"crc!"
    places = []
    for content in (block([]), block(index, 1)):
        places.append(varint(len(table)) + varint(len(content)))
        table += content + b"\0" + b"crc!"
    footer = b"".join(places).ljust(40, b"\0") + struct.pack("<Q", 0xDB4775248B80FB57)
    prefix.with_name(f"{prefix.name}.index").write_bytes(table + footer)
