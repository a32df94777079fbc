"""Two gloo processes: the same normalisers, the same validation, and no waiting for ever."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

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
        assert halves[1]["losses"]["loss_box"] == 0  # no object there
        assert halves[0]["metrics"] == halves[1]["metrics"] == whole["metrics"]
