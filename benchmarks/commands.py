"""Whole commands of two checkouts, by turns, each in a process of its own: seconds, processor seconds, peak memory.

    python benchmarks/commands.py --old ../before/src --new src --rounds 3 -- predict CKPT photos --out OUT
    python benchmarks/commands.py --old ../before/src --new src --rounds 9 -- predict CKPT photo.jpg --out OUT

The word OUT stands for a new folder each time; CKPT for --checkpoint, or for --old-checkpoint where the old checkout
cannot read the new one's. Medians, and new / old. Both are told PAGODA_PRECISION=fp32 unless that is set.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

CODE = "from pagoda.cli.main import main; main()"


class Spent(NamedTuple):
    seconds: float
    processor_seconds: float
    peak_mib: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--old", required=True, type=Path, help="src of the checkout to compare with")
    parser.add_argument("--new", required=True, type=Path)
    parser.add_argument("--checkpoint", default="")
    parser.add_argument("--old-checkpoint", default="")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("words", nargs="+", help="the command, without pagoda")
    options = parser.parse_args()
    sides = {
        "old": (options.old, options.old_checkpoint or options.checkpoint),
        "new": (options.new, options.checkpoint),
    }
    spent: dict[str, list[Spent]] = {side: [] for side in sides}
    for number in range(options.rounds):
        for side in list(sides)[:: 1 if number % 2 == 0 else -1]:
            spent[side].append(run(*sides[side], options.words))
    print("| | seconds | processor seconds | peak MiB |\n|---|--:|--:|--:|")
    medians = {side: Spent(*map(statistics.median, zip(*rows, strict=True))) for side, rows in spent.items()}
    for side, found in medians.items():
        print(f"| {side} | {found.seconds:.2f} | {found.processor_seconds:.2f} | {found.peak_mib:.0f} |")
    ratios = [new / old for new, old in zip(medians["new"], medians["old"], strict=True)]
    print("| new / old | " + " | ".join(f"{ratio:.2f}" for ratio in ratios) + " |")


def run(source: Path, checkpoint: str, words: list[str]) -> Spent:
    """One process, from its start to its end. Raises RuntimeError with what it said where it fails."""
    with tempfile.TemporaryDirectory() as folder:
        stands_for = {"CKPT": str(Path(checkpoint).absolute()), "OUT": f"{folder}/out"}
        command = [sys.executable, "-c", CODE, *(stands_for.get(word, word) for word in words)]
        environment = {"PAGODA_PRECISION": "fp32", **os.environ, "PYTHONPATH": str(source.absolute())}
        with open(f"{folder}/said", "w+") as said:
            since = time.perf_counter()
            process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=said)
            _, status, used = os.wait4(process.pid, 0)
            seconds = time.perf_counter() - since
            said.seek(0)
            if status:
                raise RuntimeError(f"{' '.join(words)} of {source} failed: {said.read()[-1000:]}")
    return Spent(seconds, used.ru_utime + used.ru_stime, used.ru_maxrss / 1024)


if __name__ == "__main__":
    main()
