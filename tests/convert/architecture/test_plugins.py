"""Plugins in a ResNet's blocks are read off their names and shapes; what these do not tell is asked for."""

from dataclasses import replace
from functools import partial

import pytest
import torch

from pagoda.backbones.resnet import ResNet
from pagoda.backbones.resnet_options import Body, Deform, Plugin
from pagoda.convert.architecture.dense import dense_architecture
from pagoda.weights.files import WeightsError

pytestmark = pytest.mark.medium

CONTEXT = partial(Plugin, module="context_block", position="after_conv3")
NONLOCAL = partial(Plugin, module="nonlocal_block", position="after_conv3")
ADD = {"ratio": 1 / 16, "pooling": "attention", "fusion": "add"}
SOFTMAX = {"reduction": 2, "mode": "embedded_gaussian", "sub_sample": False}
TOLD: dict[str, tuple[Plugin, ...]] = {
    "GCNet r16": (CONTEXT(options=ADD, levels=(3, 4, 5)),),
    "GCNet r4": (CONTEXT(options={**ADD, "ratio": 1 / 4}, levels=(3, 4, 5)),),
    "average, multiply": (
        CONTEXT(options={"ratio": 1 / 8, "pooling": "average", "fusion": "multiply"}, levels=(5,)),
    ),
    "both fusions": (CONTEXT(options={**ADD, "fusion": "multiply_add"}),),
    "non-local": (NONLOCAL(options=SOFTMAX, levels=(4,)),),
    "non-local, sampled": (NONLOCAL(options={**SOFTMAX, "reduction": 4, "sub_sample": True}, levels=(2, 4)),),
    "non-local, concatenation": (NONLOCAL(options={**SOFTMAX, "mode": "concatenation"}, levels=(3,)),),
    "non-local, gaussian": (NONLOCAL(options={**SOFTMAX, "mode": "gaussian", "reduction": 1}, levels=(3,)),),
    "non-local with a norm": (NONLOCAL(options={**SOFTMAX, "norm": "batch"}, levels=(5,)),),
    "two on different levels": (
        CONTEXT(options=ADD, levels=(3, 4), name="context_block1"),
        CONTEXT(options={**ADD, "ratio": 1 / 4}, levels=(5,), name="context_block2"),
    ),
    "two kinds of levels": (CONTEXT(options=ADD, levels=(3,)), NONLOCAL(options=SOFTMAX, levels=(4,))),
}


def shapes_with(*plugins: Plugin, **body: object) -> dict[str, tuple[int, ...]]:
    with torch.device("meta"):
        network = ResNet(50, levels=(2, 3, 4, 5), body=Body(plugins=plugins, **body))
    return {f"backbone.{name}": tuple(tensor.shape) for name, tensor in network.state_dict().items()}


@pytest.mark.parametrize("plugins", TOLD.values(), ids=list(TOLD))
def test_plugins_are_told_by_their_tensors(plugins: tuple[Plugin, ...]) -> None:
    shapes = shapes_with(*plugins)
    found = dense_architecture(shapes, group_norm=False)
    assert found.options == {"plugins": plugins} and found.question is None
    assert shapes_with(*found.options["plugins"]) == shapes
    backwards = dict(reversed(shapes.items()))
    assert dense_architecture(backwards, group_norm=False) == found


@pytest.mark.parametrize("ratio", [0.3, 0.07, 1 / 3])
def test_ratios_that_were_rounded_down(ratio: float) -> None:
    shapes = shapes_with(CONTEXT(options={"ratio": ratio}, levels=(4,)))
    (plugin,) = dense_architecture(shapes, group_norm=False).options["plugins"]
    assert shapes_with(plugin) == shapes


@pytest.mark.parametrize(
    ("plugins", "question"),
    [
        ((Plugin(module="gen_attention_block", position="after_conv2"),), "has some number of heads"),
        ((replace(CONTEXT(options=ADD), position="after_conv1"),), "'context_block' comes behind the first"),
        (
            (replace(NONLOCAL(options=SOFTMAX), position="after_conv2"),),
            "'nonlocal_block' comes behind the first",
        ),
        (
            (CONTEXT(options=ADD, name="context_block1"), NONLOCAL(options=SOFTMAX, levels=(5,))),
            "'context_block1' and 'nonlocal_block' follow each other in one order or the other",
        ),
    ],
)
def test_what_cannot_be_told_is_a_question(plugins: tuple[Plugin, ...], question: str) -> None:
    found = dense_architecture(shapes_with(*plugins), group_norm=False)
    assert "plugins" not in found.options and question in str(found.question)


def test_a_plugin_cut_short_is_refused() -> None:
    for plugin, kept, says in (
        (CONTEXT(options=ADD), "conv_mask", "a context_block without convolutions"),
        (NONLOCAL(options=SOFTMAX), "conv_out", "a nonlocal_block without its convolution g"),
    ):
        shapes = shapes_with(plugin)
        cut = {name: shape for name, shape in shapes.items() if "_block." not in name or kept in name}
        with pytest.raises(WeightsError, match=says):
            dense_architecture(cut, group_norm=False)


@pytest.mark.parametrize("version", ["v1", "v2"])
@pytest.mark.parametrize("fallback", [False, True])
@pytest.mark.parametrize("levels", [(3, 4, 5), (2, 3), (2,), (5,)])
def test_deformable_stages(version: str, fallback: bool, levels: tuple[int, ...]) -> None:
    deform = Deform(levels=levels, modulated=version == "v2", deform_groups=2, fallback_on_stride=fallback)
    found = dense_architecture(shapes_with(deform=deform), group_norm=False).options
    expected = {"deform": version, "deform_levels": levels, "deform_groups": 2}
    assert found == (expected | {"deform_fallback": True} if fallback and levels != (2,) else expected)


@pytest.mark.parametrize("gone", [(2, 0), (3, 0), (4, 1), (1, 2)])
def test_blocks_are_read_one_by_one(gone: tuple[int, int]) -> None:
    """mmdetection's fallback_on_stride forgets itself after the first deformable block."""
    levels = (2, 3, 4, 5) if gone[0] == 1 else (3, 4, 5)
    shapes = shapes_with(deform=Deform(levels=levels))
    for kind in ("weight", "bias"):
        del shapes[f"backbone.layer{gone[0]}.{gone[1]}.conv2.offset.{kind}"]
    counts = (3, 4, 6, 3)
    blocks = tuple(
        tuple(stage + 1 in levels and (stage, block) != gone for block in range(counts[stage - 1]))
        for stage in range(1, 5)
    )
    found = dense_architecture(shapes, group_norm=False).options
    assert found == {"deform": "v2", "deform_groups": 1, "deform_blocks": blocks}


def test_offsets_that_no_groups_explain_are_refused() -> None:
    shapes = shapes_with(deform=Deform(deform_groups=1))
    name = "backbone.layer2.1.conv2.offset.weight"
    for rows, says in ((20, "unlike many rows"), (27, "")):
        cut = {**shapes, name: (rows, *shapes[name][1:])}
        if says:
            with pytest.raises(WeightsError, match=says):
                dense_architecture(cut, group_norm=False)
    odd = {n: (20, *s[1:]) if n.endswith("offset.weight") else s for n, s in shapes.items()}
    with pytest.raises(WeightsError, match="20 rows, which are no whole groups of 18"):
        dense_architecture(odd, group_norm=False)
