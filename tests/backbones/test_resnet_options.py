"""A ResNet's options as data: through JSON and back, and what goes wrong said in words."""

import json
from dataclasses import asdict, replace

import pytest
from torch import nn

from pagoda.backbones.resnet_options import Body, Deform, Ghost, Plugin, Stem, TrainMode

CONTEXT = Plugin(module="context_block", options={"ratio": 0.25, "pooling": "average"}, levels=(4, 5))


@pytest.mark.parametrize(
    "body",
    [
        Body(),
        Body(base_channels=32, strides=(1, 2, 1, 1), dilations=(1, 1, 2, 4), first_dilation="previous"),
        Body(deform=Deform(levels=(5,), fallback_on_stride=True), avg_down=True, plugins=(CONTEXT,)),
        Body(ghost=Ghost(ratio=4, shortcut=False)),
        Body(num_stages=2, strides=(2, 2), dilations=(1, 2), norm_groups=16),
        Body(num_stages=1, deform=Deform(blocks=((True, False, True),))),
        Body(deform=Deform(fallback_on_stride=True, fallback="first")),
        Body(standardized=True, plugins=(CONTEXT, replace(CONTEXT, name="second", position="after_conv2"))),
    ],
)
def test_bodies_survive_json(body: Body) -> None:
    assert Body.from_dict(json.loads(json.dumps(asdict(body)))) == body


@pytest.mark.parametrize(
    "options", [Stem(in_channels=4, deep=True, pooling="ceil"), TrainMode(norm_eval=True)]
)
def test_the_flat_ones_survive_json(options: Stem | TrainMode) -> None:
    assert type(options)(**json.loads(json.dumps(asdict(options)))) == options


def test_a_level_sees_only_what_concerns_it() -> None:
    body = Body(deform=Deform(levels=(3,)), plugins=(CONTEXT,))
    assert body.at(3) == replace(body, plugins=())
    assert body.at(5) == replace(body, deform=None)
    assert body.at(2) == Body()


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: Stem(pooling="pad"), "Stem: pooling must be one of 'padded', 'ceil', got 'pad'"),
        (lambda: Body(strides=(1, 2, 2)), r"strides must be four positive numbers.*got \(1, 2, 2\)"),
        (
            lambda: Body(dilations=(1, 1, 0, 1)),
            r"dilations must be four positive numbers.*got \(1, 1, 0, 1\)",
        ),
        (lambda: Body(num_stages=3, strides=(1, 2)), r"strides must be three positive numbers.*got \(1, 2\)"),
        (
            lambda: Body(num_stages=1, dilations=(2, 1)),
            r"dilations must be one positive number, .*got \(2, 1\)",
        ),
        (lambda: Body(num_stages=5), "one to four stages, got num_stages=5"),
        (lambda: Deform(fallback="forget"), "fallback must be one of 'stride', 'first', got 'forget'"),
        (lambda: Body(first_dilation="last"), "first_dilation must be one of 'own', 'previous', got 'last'"),
        (lambda: Body(deform=Deform(), ghost=Ghost()), "choose one of deform, ghost"),
        (lambda: Body(deform=Deform(), standardized=True), "choose one of standardized, deform"),
        (lambda: Deform(levels=(1, 2)), r"Deform levels must be some of 2, 3, 4, 5 .* got \(1, 2\)"),
        (lambda: Plugin(module="context_block", levels=()), r"Plugin levels must be some of .* got \(\)"),
        (
            lambda: Plugin(module="contextblock"),
            "unknown plugin 'contextblock'; did you mean 'context_block'",
        ),
        (lambda: Plugin(module=nn.BatchNorm2d), "a plugin given as a function needs name='…'"),
        (lambda: Plugin(module=nn.BatchNorm2d, name="a", options={"eps": 1}), "takes no options: bind them"),
        (
            lambda: replace(CONTEXT, position="before"),
            "position must be one of 'after_conv1', 'after_conv2', 'after_conv3', got 'before'",
        ),
        (
            lambda: Body(plugins=(CONTEXT, replace(CONTEXT, position="after_conv1", levels=(5,)))),
            "2 plugins of level 5 are called 'context_block'; give each a name='…'",
        ),
    ],
)
def test_bad_options_are_explained(build, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build()


def test_equal_names_on_different_levels_are_fine() -> None:
    first, second = replace(CONTEXT, levels=(4, 5)), replace(CONTEXT, levels=(2, 3))
    body = Body(plugins=(first, second))
    assert [body.at(level).plugins for level in (2, 3, 4, 5)] == [(second,), (second,), (first,), (first,)]
