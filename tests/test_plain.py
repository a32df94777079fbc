"""What options admit, and what is said about the rest."""

import copy
import pickle
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
import torch
from torch import nn

from pagoda.detectors.fcos import FCOS
from pagoda.plain import admits, checked, describe, from_plain
from pagoda.postprocess.dense import SelectDetections
from pagoda.preprocess import InputSpec
from pagoda.training.settings import OptimSettings, TrainSettings
from pagoda.zoo.options import ModelOptions

Way = Literal["left", "right"]


@checked
@dataclass(frozen=True, kw_only=True)
class Inner:
    share: float = 0.5


@checked
@dataclass(frozen=True, kw_only=True)
class Outer:
    way: Way = "left"
    count: int = 1
    inner: Inner = field(default_factory=Inner)

    def __post_init__(self) -> None:
        if self.count < 1:
            raise ValueError("count must be positive")


@checked
class Turn(nn.Module):
    def __init__(self, width: int, way: Way = "left") -> None:
        super().__init__()
        self.way = way
        self.weight = nn.Parameter(torch.ones(width))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return turned(x * self.weight, way=self.way)


@checked
def turned(x: torch.Tensor, *, way: Way) -> torch.Tensor:
    return x if way == "left" else x.flip(0)


@pytest.mark.parametrize(
    ("hint", "good", "bad"),
    [
        (Way, ["left"], ["Left", None, 1, True, ["left"]]),
        (Way | None, ["right", None], ["", 0]),
        (int, [0, -3, np.int64(2)], [True, 2.0, 2.5, "2", None, np.float32(2), float("nan")]),
        (
            float,
            [0, 0.5, float("inf"), np.float32(1), Fraction(1, 3)],
            [True, "0.5", None, float("nan"), [1]],
        ),
        (bool, [True, np.bool_(False)], [0, 1, "False", None]),
        (int | None, [None, 3], [3.5, "None"]),
        (tuple[int, int], [(1, 2), [1, 2]], [(1,), (1, 2.5), 3, "12", None]),
        (tuple[int, ...], [(), (1,), [1, 2]], [(1, "2"), 1]),
        (Sequence[float], [(0.5,), [1]], ["0.5", 1, [None]]),
        (dict[int, float], [{1: 0.5}], [{"1": 0.5}, {1: "0.5"}, [1]]),
        (Mapping[str, float | str], [{"a": 1}, {"a": "b"}], [{"a": None}]),
        (tuple[Way, ...], [("left", "right")], [("left", "up"), "left"]),
        (Inner, [Inner()], [{}, None, {"share": 1}]),
    ],
    ids=str,
)
def test_what_hints_admit(hint, good, bad):
    assert all(admits(hint, value) for value in good)
    assert not any(admits(hint, value) for value in bad)


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: Outer(way="Right"), "Outer: way must be one of 'left', 'right', got 'Right'; did you mean 'right'?"),
        (lambda: Outer(way="zzz"), "Outer: way must be one of 'left', 'right', got 'zzz'"),
        (lambda: Outer(count="0"), "Outer: count must be a whole number, got '0'; that is text: write 0"),
        (lambda: Outer(count=2.5), "Outer: count must be a whole number, got 2.5"),
        (lambda: Outer(count=0), "count must be positive"),
        (lambda: Outer(inner={"share": 1}), "Outer: inner must be Inner, got {'share': 1}"),
        (lambda: Inner(share=float("nan")), "Inner: share must be a number, got nan"),
        (lambda: Turn(8, "up"), "Turn: way must be one of 'left', 'right', got 'up'"),
        (lambda: Turn(True), "Turn: width must be a whole number, got True"),
        (lambda: turned(torch.ones(1), way="rigth"), "turned: way must be one of 'left', 'right', got 'rigth'; did"),
        (lambda: replace(Outer(), way="up"), "Outer: way must be one of"),
        # The cases people meet.
        (lambda: TrainSettings(data="d", precision="bfloat16"), "got 'bfloat16'; did you mean 'bf16'?"),
        (
            lambda: from_plain(TrainSettings, {"data": "d", "optim": {"optimizer": "SGD"}}),
            "OptimSettings: optimizer must be one of 'adamw', 'sgd', got 'SGD'; did you mean 'sgd'?",
        ),
        (lambda: from_plain(TrainSettings, {"data": "d", "out": None}), "'out' must be text, in quotes, got None"),
        (lambda: OptimSettings(schedule="step"), "got 'step'; did you mean 'multistep'?"),
        (lambda: OptimSettings(learning_rate="1e-3"), "must be a number, got '1e-3'; that is text: write 0.001"),
        (lambda: InputSpec(channel_order="bgr"), "got 'bgr'; did you mean 'BGR'?"),
        (lambda: InputSpec.from_dict({"channel_order": "bgr"}), "got 'bgr'; did you mean 'BGR'?"),
        (lambda: SelectDetections(combine="geometric"), "combine must be one of 'product', 'root', got 'geometric'"),
        (lambda: replace(SelectDetections(), min_score="0.3"), "min_score must be a number or Tensor, got '0.3'"),
        (lambda: FCOS(quality_on="nonsense"), "FCOS: quality_on must be one of 'class', 'box', got 'nonsense'"),
        (lambda: ModelOptions(width="64"), "ModelOptions: width must be a whole number or None, got '64'"),
    ],
)  # fmt: skip
def test_refusals(call, said):
    with pytest.raises(ValueError) as caught:
        call()
    assert said in str(caught.value)


def test_a_path_is_the_text_it_stands_for():
    """Else a run's config.yaml could not be written."""
    settings = from_plain(TrainSettings, {"data": Path("cells"), "out": Path("runs", "new")})
    assert (settings.data, settings.out) == ("cells", str(Path("runs", "new")))


def test_descriptions():
    assert describe(tuple[int, float]) == "(a whole number, a number)"
    assert describe(tuple[bool, ...] | None) == "a sequence, each of it True or False or None"
    assert describe(dict[int, float]) == "a mapping of a whole number to a number"


def test_a_class_without_constructor_has_nothing_to_check():
    with pytest.raises(TypeError, match="Bare has no constructor of its own to check"):
        checked(type("Bare", (), {}))


def test_checked_classes_stay_what_they_were():
    outer, turn = Outer(way="right"), Turn(3, way="right")
    assert pickle.loads(pickle.dumps(outer)) == copy.deepcopy(outer) == outer
    again = pickle.loads(pickle.dumps(turn))
    assert torch.equal(again(torch.arange(3.0)), copy.deepcopy(turn)(torch.arange(3.0)))
    program = torch.export.export(turn, (torch.arange(3.0),)).module()
    assert torch.equal(program(torch.arange(3.0)), torch.tensor([2.0, 1.0, 0.0]))
