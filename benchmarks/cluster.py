"""Pictures per second of `pagoda predict --engine ray` by one worker and by several, one thread each.

    python benchmarks/cluster.py                              # FCOS R18, drawn pictures, 1 and 2 workers
    python benchmarks/cluster.py --workers 1 4 --rounds 3     # the best of three of each

Counted from when every worker has written a block to the last block: the start of Ray and of the workers is left out,
and told apart. Needs pip install 'pagoda-vision[scale]' and a quiet machine.
"""

import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import tyro
from PIL import Image

from pagoda.data.drawn.synthetic import DrawnShapes
from pagoda.models import create_model
from pagoda.weights.files import save_weights


@dataclass(frozen=True)
class Benchmark:
    workers: tuple[int, ...] = (1, 2)
    """how many, one run of each"""
    rounds: int = 1
    """the best of so many is told"""
    pictures: int = 1280
    model: str = "fcos_resnet18_fpn"
    size: tuple[int, int] = (128, 160)
    """height and width of the pictures, and what the model makes them"""


def main(benchmark: Benchmark) -> None:
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        checkpoint = _prepare(benchmark, root)
        print(
            "| workers | pictures per second | times one worker | seconds to the first blocks | seconds in all |"
        )
        print("|--:|--:|--:|--:|--:|")
        first = None
        for workers in benchmark.workers:
            runs = [_run(checkpoint, root, workers, number) for number in range(benchmark.rounds)]
            rate, begun, all_seconds = max(runs)
            first = first or rate / workers
            print(
                f"| {workers} | {rate:.2f} | {rate / first:.2f} | {begun:.1f} | {all_seconds:.1f} |",
                flush=True,
            )


def _prepare(benchmark: Benchmark, root: Path) -> Path:
    short, long = sorted(benchmark.size)
    model = create_model(benchmark.model, num_classes=3, short_side=short, long_side=long)
    shapes = DrawnShapes(benchmark.pictures, image_size=benchmark.size, seed=0)
    (root / "pictures").mkdir()
    for number in range(benchmark.pictures):
        pixels = shapes.picture(number).permute(1, 2, 0).numpy()
        Image.fromarray(pixels).save(root / "pictures" / f"{number}.jpg", quality=90)
    return save_weights(root / "model.safetensors", model.state_dict(), model.card())


def _run(checkpoint: Path, root: Path, workers: int, number: int) -> tuple[float, float, float]:
    """(pictures per second, seconds to the first block of every worker, seconds in all)."""
    out = root / f"out-{workers}-{number}"
    words = [
        "predict",
        checkpoint,
        root / "pictures",
        "--engine",
        "ray",
        "--workers",
        workers,
        "--device",
        "cpu",
    ]
    began, clock = time.time(), time.monotonic()
    subprocess.run(
        [sys.executable, "-m", "pagoda", *map(str, words), "--out", str(out)],
        check=True,
        capture_output=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    seconds = time.monotonic() - clock
    ends = sorted(path.stat().st_mtime for path in (out / "shards").glob("part-*.parquet"))
    # What was being looked at when the counting began, and what idle workers leave at the end, is in the time.
    return 64 * (len(ends) - workers) / (ends[-1] - ends[workers - 1]), ends[workers - 1] - began, seconds


if __name__ == "__main__":
    main(tyro.cli(Benchmark))
