"""Groups of processes as `torchrun` starts them, on one machine or on several, for tests that compare and kill them."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import torch

from pagoda.data.drawn.synthetic import DrawnShapes
from pagoda.data.saving import write_coco_folder
from pagoda.training.last import load_last

SMALL = (
    "--device=cpu", "--precision=fp32", "--model.width=32", "--model.head-depth=1", "--model.base-channels=16",
    "--model.short-side=64", "--model.long-side=64", "--model.norm=group", "--model.norm-groups=8",
)  # fmt: skip
PATIENCE_SECONDS = 240


def write_data(folder: Path) -> Path:
    for split, count in (("train", 16), ("val", 6)):
        write_coco_folder(DrawnShapes(count, image_size=(64, 64), seed=1), folder / "data", split=split)
    return folder


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def start(
    folder: Path, log: str, *words: str, processes: int = 1, launcher: tuple[str, ...] = ()
) -> subprocess.Popen:
    """`pagoda train` in `folder`, by torchrun where there is a `launcher` or more than one process."""
    launched = [
        "-m", "torch.distributed.run", *(launcher or ("--standalone",)), f"--nproc-per-node={processes}",
    ] if launcher or processes > 1 else []  # fmt: skip
    return subprocess.Popen(
        [sys.executable, *launched, "-m", "pagoda", "train", *words],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"},
        stdout=(folder / f"{log}.out").open("w"),
        stderr=(folder / f"{log}.err").open("w"),
    )


def finish(folder: Path, *words: str, processes: int = 1, log: str = "log") -> None:
    code = start(folder, log, *words, processes=processes).wait(PATIENCE_SECONDS)
    assert code == 0, (folder / f"{log}.err").read_text()


def wait_for_step(run: Path, step: int) -> None:
    until = time.monotonic() + PATIENCE_SECONDS
    while not any(row["step"] >= step for row in rows(run, "step")):
        assert time.monotonic() < until, f"{run} has not come to step {step}"
        time.sleep(0.05)


def rows(run: Path, kind: str) -> list[dict]:
    file = run / "metrics.jsonl"
    lines = file.read_text().splitlines(True) if file.exists() else []
    found = [json.loads(line) for line in lines if line.endswith("\n")]
    return [row for row in found if row["kind"] == kind]


def kill(process: subprocess.Popen, *, rank: int | None = None) -> None:
    """SIGKILL for the process of that rank, or for a launcher with all that it started."""
    children = {pid: environment(pid) for pid in children_of(process.pid)}
    if rank is None:
        children |= {process.pid: {}}
    else:
        children = {pid: words for pid, words in children.items() if words.get("RANK") == str(rank)}
    assert children
    for pid in children:
        os.kill(pid, signal.SIGKILL)


def children_of(pid: int) -> list[int]:
    listed = subprocess.run(["ps", "-o", "pid=", "--ppid", str(pid)], capture_output=True, text=True).stdout
    return [int(each) for each in listed.split() if Path(f"/proc/{each}/environ").exists()]


def environment(pid: int) -> dict[str, str]:
    words = Path(f"/proc/{pid}/environ").read_bytes().decode().split("\0")
    return dict(word.split("=", 1) for word in words if "=" in word)


def largest_difference(one: Path, other: Path) -> float:
    """Of the weights and of the averaged ones, between the last states of two runs."""
    first, second = load_last(one), load_last(other)
    return max(
        float((value.float() - second[part][name].float()).abs().max())
        for part in ("model", "average")
        for name, value in first[part].items()
    )


def have_same_bits(one: Path, other: Path) -> bool:
    first, second = load_last(one), load_last(other)
    same = (torch.equal(v, second[part][n]) for part in ("model", "average") for n, v in first[part].items())
    return all(same) and (one / "best.safetensors").read_bytes() == (other / "best.safetensors").read_bytes()
