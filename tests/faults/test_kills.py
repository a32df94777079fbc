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
@pytest.mark.slow
def test_nothing_is_lost_at_a_few_moments():
    said = run("--moments", 4, "--only", "predict", "train2", "track", "train", "--writes", 10)
    assert "4 moments, 0 lost" in said and "10 kills inside writes, 0 unreadable" in said


@pytest.mark.slow
def test_nothing_is_lost_at_many_moments():
    moments, writes = os.environ.get("KILL_MOMENTS", "48"), os.environ.get("KILL_WRITES", "100")
    said = run("--moments", moments, "--writes", writes)
    assert f"{moments} moments, 0 lost" in said and f"{writes} kills inside writes, 0 unreadable" in said


READER = """
import multiprocessing, os, signal, sys
from pagoda.stopping import leave_stops_to_parent


def read():
    leave_stops_to_parent()
    if {is_killed}:
        os.kill(os.getppid(), signal.SIGKILL)
        multiprocessing.parent_process().join()
    sys.excepthook(ConnectionResetError, ConnectionResetError("by the one it reads for"), None)


if __name__ == "__main__":
    reader = multiprocessing.get_context("fork").Process(target=read)
    reader.start()
    reader.join()
"""


@pytest.mark.skipif(sys.platform == "win32", reason="no SIGKILL and no fork there")
@pytest.mark.parametrize("is_killed", [False, True])
def test_readers_tell_no_errors_of_a_training_that_was_killed(is_killed):
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", READER.format(is_killed=is_killed)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert ("ConnectionResetError" in done.stderr) == (not is_killed)
