"""A model that processes have cut into pieces learns what one process does, and what it writes is whole."""

import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

import pagoda
from pagoda.training.ema import ModelAverage
from pagoda.training.last import load_last
from pagoda.training.sharding import cut_up

sys.path.insert(0, str(Path(__file__).parent))
from several import SMALL, finish, kill, largest_difference, rows, start, wait_for_step, write_data

FCOS = ("fcos_resnet18_fpn", *SMALL, "--data=data", "--optim.ema-decay=0.9", "--epochs=2")
MASKS = (
    "mask_rcnn_resnet18_fpn", *(word for word in FCOS[1:] if "norm" not in word and "depth" not in word),
)  # fmt: skip
CLOSE = 2e-6
"""how far apart weights may be after four steps, of which the largest is about 5: sums are in another order"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With `runs/whole-1`, of one process, and `runs/cut-1`, of two with a piece each."""
    folder = write_data(tmp_path_factory.mktemp("cut"))
    finish(folder, *FCOS, "--name=whole", "--batch-size=8")
    finish(folder, *FCOS, "--name=cut", "--batch-size=4", "--shard", processes=2)
    return folder


def difference(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> float:
    assert a.keys() == b.keys()
    return max(float((a[name].float() - b[name].float()).abs().max()) for name in a)


@pytest.mark.slow
def test_pieces_learn_what_one_process_does(folder: Path) -> None:
    whole, cut = (load_last(folder / "runs" / name) for name in ("whole-1", "cut-1"))
    assert difference(whole["model"], cut["model"]) < CLOSE
    assert difference(whole["average"], cut["average"]) < CLOSE
    assert difference(whole["model"], whole["average"]) > 10 * CLOSE
    for index, means in whole["optimizer"]["state"].items():
        assert difference(means, cut["optimizer"]["state"][index]) < 1e-6
    steps = [rows(folder / "runs" / name, "step") for name in ("cut-1", "whole-1")]
    for ours, theirs in zip(*steps, strict=True):
        for name in ("loss", "loss_class", "loss_box", "gradient_norm", "lr"):
            assert ours[name] == pytest.approx(theirs[name], rel=1e-6), (name, ours["step"])
    files = [load_file(folder / "runs" / name / "best.safetensors") for name in ("whole-1", "cut-1")]
    assert difference(*files) < CLOSE
    assert (
        len(pagoda.load(folder / "runs" / "cut-1" / "best.safetensors").predict(torch.rand(3, 64, 64))) >= 0
    )


@pytest.mark.slow
@pytest.mark.parametrize("more", [("--shard",), ()])
def test_a_cut_run_goes_on_in_pieces_or_in_one(folder: Path, more: tuple[str, ...]) -> None:
    """It is killed after a step, and two processes with pieces, or one process with all, bring it to the same end."""
    name = f"killed{len(more)}"
    words = (*FCOS, f"--name={name}", "--batch-size=4", "--shard", "--save-seconds=0")
    process = start(folder, name, *words, processes=2)
    run = folder / "runs" / f"{name}-1"
    wait_for_step(run, 2)
    kill(process)
    finish(folder, f"--resume={run}", *(more or ("--no-shard",)), processes=2 if more else 1)
    assert largest_difference(folder / "runs" / "whole-1", run) < CLOSE


@pytest.mark.slow
@pytest.mark.parametrize(
    "words",
    [
        (*MASKS, "--optim.clip-each=1"),
        (*FCOS[:-2], "--optim.ema-decay=0", "--epochs=2", "--optim.accumulate=2", "--optim.frozen-stages=2"),
        ("retinanet_resnet18_fpn", *FCOS[1:], "--optim.optimizer=sgd", "--optim.learning-rate=0.01"),
    ],
)
def test_pieces_learn_what_two_whole_processes_do(folder: Path, words: tuple[str, ...]) -> None:
    """Models that draw regions, clipping of each tensor, no average, accumulated batches, parts that do not learn."""
    name = words[0][:4]
    for each in ((), ("--shard",)):
        finish(folder, *words, f"--name={name}{len(each)}", "--batch-size=4", *each, processes=2)
    one, two = (folder / "runs" / f"{name}{number}-1" for number in (0, 1))
    assert largest_difference(one, two) < 1e-4
    for ours, theirs in zip(rows(two, "step"), rows(one, "step"), strict=True):
        assert ours["loss"] == pytest.approx(theirs["loss"], rel=1e-4)
        assert ours["gradient_norm"] == pytest.approx(theirs["gradient_norm"], rel=1e-3)


@pytest.mark.slow
def test_one_process_has_nothing_to_cut(folder: Path) -> None:
    finish(folder, *FCOS, "--name=alone", "--batch-size=8", "--shard")
    assert largest_difference(folder / "runs" / "whole-1", folder / "runs" / "alone-1") == 0


def test_single_numbers_are_refused() -> None:
    class Scaled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.scale = nn.Parameter(torch.ones(()))

    model = Scaled()
    with pytest.raises(ValueError, match=r"torch cuts no single numbers, .* \(scale\): leave --shard out"):
        cut_up(model, torch.optim.SGD(model.parameters()), ModelAverage(model, 0.9), torch.device("cpu"))
