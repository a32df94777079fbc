"""`kills.py`, a few moments of it; `KILL_MOMENTS=200 KILL_WRITES=500 pytest -m slow tests/faults` tries many."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = Path(__file__).with_name("kills.py")


def run(*words: object) -> str:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, str(PROGRAM), *map(str, words)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.medium
def test_nothing_is_lost_at_a_few_moments():
    said = run("--moments", 4, "--only", "predict", "train2", "track", "train", "--writes", 10)
    assert "4 moments, 0 lost" in said and "10 kills inside writes, 0 unreadable" in said


@pytest.mark.slow
def test_nothing_is_lost_at_many_moments():
    moments, writes = os.environ.get("KILL_MOMENTS", "48"), os.environ.get("KILL_WRITES", "100")
    said = run("--moments", moments, "--writes", writes)
    assert f"{moments} moments, 0 lost" in said and f"{writes} kills inside writes, 0 unreadable" in said
