"""Runs of several processes and machines: those of one, whatever ends them on the way."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

import pagoda
from pagoda.data.drawn.synthetic import DrawnShapes
from pagoda.data.saving import write_coco_folder
from pagoda.training.last import load_last

sys.path.insert(0, str(Path(__file__).parent))
from several import (
    PATIENCE_SECONDS,
    SMALL,
    finish,
    free_port,
    have_same_bits,
    kill,
    largest_difference,
    rows,
    start,
    wait_for_step,
    write_data,
)

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="processes are found by /proc"),
]
FCOS = ("fcos_resnet18_fpn", *SMALL)
RCNN = ("faster_rcnn_resnet18_fpn", *(word for word in SMALL if "norm" not in word and "depth" not in word))
OFTEN = "--save-seconds=0"
EXACT, CLOSE = 0.0, 2e-5
"""how far apart weights may be, of which the largest is about 5: sums of two processes are in another order"""


def words(*, name: str, each: int, epochs: int = 3) -> tuple[str, ...]:
    return (
        f"--name={name}",
        "--data=data",
        f"--epochs={epochs}",
        f"--batch-size={each}",
        "--optim.ema-decay=0.9",
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With `runs/whole-1`, of one process, and `runs/both-1`, of two, that nobody disturbed."""
    folder = write_data(tmp_path_factory.mktemp("machines"))
    finish(folder, *FCOS, *words(name="whole", each=8))
    finish(folder, *FCOS, *words(name="both", each=4), processes=2)
    return folder


def test_two_machines_learn_what_one_process_does(folder: Path) -> None:
    port = str(free_port())
    meet = ("--nnodes=2", "--master-addr=127.0.0.1", f"--master-port={port}")
    machines = [
        start(
            folder,
            f"m{rank}",
            *FCOS,
            *words(name="machines", each=4),
            launcher=(*meet, f"--node-rank={rank}"),
        )
        for rank in range(2)
    ]
    assert [each.wait(PATIENCE_SECONDS) for each in machines] == [0, 0], (folder / "m0.err").read_text()
    runs = folder / "runs"
    assert have_same_bits(runs / "both-1", runs / "machines-1")
    assert largest_difference(runs / "whole-1", runs / "machines-1") < CLOSE
    for ours, theirs in zip(rows(runs / "machines-1", "step"), rows(runs / "whole-1", "step"), strict=True):
        for name in ("loss", "loss_class", "loss_box", "gradient_norm", "lr"):
            assert ours[name] == pytest.approx(theirs[name], rel=1e-4), (name, ours["step"])
    scores = [[row["AP50"] for row in rows(runs / name, "val")] for name in ("machines-1", "whole-1")]
    assert scores[0] == pytest.approx(scores[1], abs=0.02)
    assert (folder / "m1.out").read_text() == "" and "COCO protocol" in (folder / "m0.out").read_text()
    assert "training:" not in (folder / "m1.err").read_text()


def test_a_killed_process_is_started_again_and_the_run_goes_on_to_the_same_bits(folder: Path) -> None:
    run = folder / "runs" / "again-1"
    launcher = ("--standalone", "--max-restarts=2")
    group = start(folder, "again", *FCOS, *words(name="again", each=4), OFTEN, processes=2, launcher=launcher)
    wait_for_step(run, 3)
    kill(group, rank=1)
    assert group.wait(PATIENCE_SECONDS) == 0, (folder / "again.err").read_text()
    said = (folder / "again.err").read_text()
    assert "another process of this run has gone" in said and "goes on with runs/again-1 at step" in said
    assert not (folder / "runs" / "again-2").exists()
    assert have_same_bits(folder / "runs" / "both-1", run)


def test_three_processes_go_on_to_the_same_bits_also_where_models_draw(folder: Path) -> None:
    finish(folder, *RCNN, *words(name="three", each=1, epochs=1), processes=3)
    group = start(folder, "cut", *RCNN, *words(name="cut", each=1, epochs=1), OFTEN, processes=3)
    wait_for_step(folder / "runs" / "cut-1", 3)
    kill(group, rank=0)
    assert group.wait(PATIENCE_SECONDS) != 0
    finish(folder, "--resume=runs/cut-1", processes=3)
    assert have_same_bits(folder / "runs" / "three-1", folder / "runs" / "cut-1")


def test_a_machine_goes_and_the_other_one_goes_on_alone(folder: Path) -> None:
    """By itself, where torchrun may go on with one; what it takes for a machine to be missed is shortened here."""
    port = str(free_port())
    meet = (
        "--nnodes=1:2", "--rdzv-backend=c10d", f"--rdzv-endpoint=127.0.0.1:{port}", "--rdzv-id=cells",
        "--max-restarts=3", "--rdzv-conf=last_call_timeout=3,keep_alive_interval=1,keep_alive_max_attempt=3",
    )  # fmt: skip
    taken = (*FCOS, *words(name="left", each=4), OFTEN, "--resume=auto")
    machines = [start(folder, f"left{rank}", *taken, launcher=meet) for rank in range(2)]
    run = folder / "runs" / "left-1"
    wait_for_step(run, 2)
    kill(machines[1])
    assert machines[0].wait(PATIENCE_SECONDS) == 0, (folder / "left0.err").read_text()
    machines[1].wait(PATIENCE_SECONDS)
    assert "8 for each process instead of 4" in (folder / "left0.err").read_text()
    assert largest_difference(folder / "runs" / "whole-1", run) < CLOSE
    assert [row["step"] for row in rows(run, "step")] == [1, 2, 3, 4, 5, 6]


def test_one_goes_on_with_what_two_began_and_two_with_what_one_began(folder: Path) -> None:
    runs = folder / "runs"
    for name, each, began, then in (("fewer", 4, 2, 1), ("more", 8, 1, 2)):
        group = start(folder, name, *FCOS, *words(name=name, each=each), OFTEN, processes=began)
        wait_for_step(runs / f"{name}-1", 2)
        kill(group, rank=0 if began > 1 else None)
        group.wait(PATIENCE_SECONDS)
        finish(folder, f"--resume=runs/{name}-1", processes=then)
        assert largest_difference(runs / "whole-1", runs / f"{name}-1") < CLOSE
        assert load_last(runs / f"{name}-1")["batch_pictures"] == 8
        assert pagoda.load(runs / f"{name}-1" / "best.safetensors").label_map.names


def test_machines_with_other_data_are_told(folder: Path, tmp_path: Path) -> None:
    write_coco_folder(DrawnShapes(16, image_size=(64, 64), seed=2), tmp_path / "data", split="train")
    write_coco_folder(DrawnShapes(6, image_size=(64, 64), seed=1), tmp_path / "data", split="val")
    meet = ("--nnodes=2", "--master-addr=127.0.0.1", f"--master-port={free_port()}")
    machines = [
        start(place, "other", *FCOS, *words(name="other", each=4), launcher=(*meet, f"--node-rank={rank}"))
        for rank, place in enumerate((folder, tmp_path))
    ]
    assert 0 not in [each.wait(PATIENCE_SECONDS) for each in machines]
    said = (tmp_path / "other.err").read_text()
    assert "the data are not the same on all machines: train of process 1 are not those of process 0" in said


@pytest.mark.parametrize(
    ("how", "own", "others"),
    [
        ("odd", "the loss is not finite at step 0", "the loss of another process is not finite at step 0"),
        ("fails", "while preparing training sample", "another process of this run has gone"),
    ],
)
def test_a_process_that_fails_ends_all_and_says_why(tmp_path: Path, how: str, own: str, others: str) -> None:
    port = str(free_port())
    group = [
        subprocess.Popen(
            [sys.executable, Path(__file__).with_name("drawn.py"), tmp_path, how],
            env={
                **os.environ,
                **{"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": "2", "OMP_NUM_THREADS": "1"},
                **{"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "PYTHONPATH": os.pathsep.join(sys.path)},
            },
            stderr=(tmp_path / f"{rank}.err").open("w"),
        )
        for rank in range(2)
    ]
    assert 0 not in [each.wait(PATIENCE_SECONDS) for each in group]
    assert own in (tmp_path / "1.err").read_text() and others in (tmp_path / "0.err").read_text()
    assert [path.name for path in tmp_path.glob("capsule*")] == ["capsule-step0-rank1.pt"] * (how == "odd")
