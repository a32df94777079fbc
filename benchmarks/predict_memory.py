"""What predicting many pictures holds in memory: the Python API with stream=True, and the command.

    python benchmarks/predict_memory.py                       # 10,000 pictures each, some minutes on one core
    python benchmarks/predict_memory.py --pictures 2000 --what stream

Draws small pictures and lets a tiny network of random weights look at all of them. A random network finds as many
objects in every picture as it is let, so there is always something to keep and to write. Resident memory is printed
along the way, each way in a process of its own; it must stay flat once the first pictures have warmed the libraries up.
"""

import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import psutil
import torch
import tyro
from PIL import Image

from pagoda.detectors.contract import Detector
from pagoda.models import create_model
from pagoda.pictures.read import list_pictures
from pagoda.weights.files import save_weights

MEGABYTE = 2**20
SIDE = 64
"""pixels"""
SHARES = (0.05, 0.1, 0.25, 0.5, 0.75, 1.0)
"""of the pictures, after which memory is told"""


@dataclass(frozen=True, kw_only=True)
class Settings:
    pictures: int = 10_000
    what: tuple[Literal["stream", "command"], ...] = ("stream", "command")


def draw(folder: Path, count: int) -> None:
    rng = np.random.default_rng(0)
    for number in range(count):
        pixels = rng.integers(0, 256, (8, 8, 3), dtype=np.uint8).repeat(SIDE // 8, 0).repeat(SIDE // 8, 1)
        Image.fromarray(pixels).save(folder / f"{number:06d}.png", compress_level=1)


def small_model() -> Detector:
    torch.manual_seed(0)
    sizes = {"short_side": SIDE, "long_side": SIDE}
    model = create_model("fcos_resnet18_fpn", num_classes=2, base_channels=16, width=16, **sizes)
    model.postprocess = model.postprocess.with_limits(max_detections=10, min_score=0.0)
    return model.eval()


def stream(folder: Path) -> None:
    """Prints a number of pictures and the resident bytes after them, line by line."""
    torch.set_num_threads(1)
    process, sources = psutil.Process(), list_pictures(folder)
    wanted = {round(share * len(sources)) for share in SHARES}
    for number, _ in enumerate(small_model().predict(sources, stream=True), 1):
        if number in wanted:
            print(number, process.memory_info().rss, flush=True)


def measure_stream(folder: Path) -> list[tuple[int, float]]:
    command = [sys.executable, __file__, "--of", str(folder)]
    lines = subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()
    return [(int(number), int(size) / MEGABYTE) for number, size in map(str.split, lines)]


def measure_command(folder: Path, out: Path, count: int) -> list[tuple[int, float]]:
    """Looked at from outside, whenever the line of a picture comes."""
    model = small_model()
    checkpoint = save_weights(out / "tiny.safetensors", model.state_dict(), model.card())
    words = ["predict", str(checkpoint), str(folder), "--out", str(out / "found"), "--min-score", "0"]
    command = [sys.executable, "-u", "-m", "pagoda", *words, "--no-pictures", "--json"]
    wanted, rows = {round(share * count) for share in SHARES[:-1]} | {count - 1}, []
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        assert process.stdout is not None
        for number, _ in enumerate(process.stdout, 1):  # the last one may have ended before it is looked at
            if number in wanted:
                rows.append((number, psutil.Process(process.pid).memory_info().rss / MEGABYTE))
    if process.returncode:
        raise RuntimeError(f"{' '.join(command)} ended with {process.returncode}")
    return rows


def tell(what: str, rows: list[tuple[int, float]]) -> None:
    """Flat is told of what comes after the first tenth."""
    print(f"\n{what}\n| pictures | resident, MB |\n|--:|--:|")
    for number, megabytes in rows:
        print(f"| {number} | {megabytes:.1f} |")
    later = [megabytes for _, megabytes in rows[1:]]
    print(f"between a tenth and all: {min(later):.1f} … {max(later):.1f} MB, {later[-1] / later[0] - 1:+.1%}")


def main(settings: Settings) -> None:
    with tempfile.TemporaryDirectory() as place:
        folder, out = Path(place) / "pictures", Path(place)
        folder.mkdir()
        draw(folder, settings.pictures)
        if "stream" in settings.what:
            tell("predict(…, stream=True)", measure_stream(folder))
        if "command" in settings.what:
            tell("pagoda predict", measure_command(folder, out, settings.pictures))


if __name__ == "__main__":
    if sys.argv[1:2] == ["--of"]:
        stream(Path(sys.argv[2]))
    else:
        main(tyro.cli(Settings, description=__doc__.splitlines()[0]))
