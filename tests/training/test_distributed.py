"""Two gloo processes: the same normalisers, the same validation, and no waiting for ever."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from pagoda.data.drawn.synthetic import DrawnShapes
from pagoda.data.saving import write_coco_folder

pytestmark = pytest.mark.medium
SCRIPT = Path(__file__).parent / "two_processes.py"


def launch(out: Path, world: int) -> list[dict]:
    out.mkdir()
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    processes = [
        subprocess.Popen(
            [sys.executable, str(SCRIPT), str(out)],
            env={
                **os.environ,
                "RANK": str(rank),
                "WORLD_SIZE": str(world),
                "MASTER_ADDR": "127.0.0.1",
                "MASTER_PORT": str(port),
                "PYTHONPATH": os.pathsep.join(sys.path),
            },
        )
        for rank in range(world)
    ]
    assert [process.wait(timeout=180) for process in processes] == [0] * world
    return [json.loads((out / f"rank{rank}.json").read_text()) for rank in range(world)]


def test_two_processes_equal_one(tmp_path):
    (one,) = launch(tmp_path / "one", 1)
    two = launch(tmp_path / "two", 2)
    for name, whole in one.items():
        halves = [rank[name] for rank in two]
        assert all(half["finite"] for half in halves)
        for term, value in whole["losses"].items():
            # Each half is divided by the mean count over processes, so their mean is the whole batch's loss.
            assert sum(half["losses"][term] for half in halves) / 2 == pytest.approx(value, rel=1e-5)
        if name != "criteria":
            assert halves[1]["losses"]["loss_box"] == 0  # no object there
        assert halves[0]["metrics"] == halves[1]["metrics"] == whole["metrics"]


def test_training_on_two_processes_makes_one_run(tmp_path):
    for split, count in (("train", 8), ("val", 4)):
        write_coco_folder(DrawnShapes(count, image_size=(64, 64), seed=1), tmp_path / "data", split=split)
    small = [
        "--model.width=32",
        "--model.head-depth=1",
        "--model.base-channels=16",
        "--model.short-side=64",
        "--model.long-side=64",
    ]
    words = [
        "train",
        "retinanet_resnet18_fpn",
        "--data=data",
        "--epochs=1",
        "--batch-size=2",
        "--device=cpu",
        *small,
    ]
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    command = [
        *launcher,
        "--no-python",
        sys.executable,
        "-c",
        "from pagoda.cli.main import main; main()",
        *words,
    ]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr
    (run,) = (tmp_path / "runs").iterdir()
    steps = [json.loads(row) for row in (run / "metrics.jsonl").read_text().splitlines()]
    assert [row["step"] for row in steps if row["kind"] == "step"] == [1, 2]  # 8 pictures, 2 × 2 at a time
    assert done.stdout.count("COCO protocol") == 1
