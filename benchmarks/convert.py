"""What it takes to load another program's checkpoint and to convert it: seconds, and memory beside the file's size.

    python benchmarks/convert.py                              # FCOS R-50 with random weights, written by the script
    python benchmarks/convert.py --checkpoint FCOS_imprv_R_50_FPN_1x.pth

Each step runs on one thread, in a process of its own that has imported everything before; its peak is the
highest resident memory during the step (VmHWM, which Linux resets on demand) less what the process held
before. Pages of a file that is mapped count as memory here, although the system could drop them.
"""

import json
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import torch
import tyro

from pagoda.convert.read import convert
from pagoda.convert.write_checkpoint import write_for
from pagoda.models import create_model, load
from pagoda.weights.files import load_weights, save_weights
from pagoda.zoo.cards import model_from_card

MEGABYTE = 2**20
STEPS = ("torch.load alone", "load", "load and convert", "the result, built then filled", "load the result")


@dataclass(frozen=True, kw_only=True)
class Settings:
    checkpoint: str = ""
    """any foreign checkpoint; empty: one is written for the occasion"""
    flavour: str | None = None
    repeats: int = 5
    step: str = ""
    """used by the script itself: one step, measured here, printed as JSON"""
    folder: str = ""


def resident_peak() -> int:
    """Bytes; the highest since `reset_peak`."""
    status = Path("/proc/self/status").read_text()
    return int(next(line.split()[1] for line in status.splitlines() if line.startswith("VmHWM"))) * 1024


def reset_peak() -> None:
    Path("/proc/self/clear_refs").write_text("5")


def run_step(settings: Settings) -> None:
    source, out = Path(settings.checkpoint), Path(settings.folder) / "out.safetensors"
    torch.set_num_threads(1)
    torch.nn.Conv2d(3, 3, 1)(torch.zeros(1, 3, 8, 8))  # whatever torch allocates once
    reset_peak()
    before, start, busy = resident_peak(), time.perf_counter(), time.process_time()
    if settings.step == "torch.load alone":
        torch.load(source, map_location="cpu", weights_only=True)
    elif settings.step == "load the result":
        load(out)
    elif settings.step == "the result, built then filled":
        built_then_filled(out)
    else:
        model = convert(source, flavour=settings.flavour).model
        if settings.step == "load and convert":
            save_weights(out, model.state_dict(), model.card())
    seconds, busy = time.perf_counter() - start, time.process_time() - busy
    print(json.dumps({"seconds": seconds, "busy": busy, "peak": resident_peak() - before}))


def built_then_filled(path: Path) -> None:
    """The usual way, for comparison: a model with fresh weights, all tensors of the file, and a copy."""
    state, card = load_weights(path)
    model = model_from_card(card, where=path)
    model.load_state_dict(state)


def write_checkpoint(path: Path) -> None:
    """FCOS R-50, the improved variant, 32 million parameters."""
    torch.manual_seed(0)
    write_for(create_model("fcos_resnet50_fpn.improved", num_classes=80), "fcos", path)


def measure(settings: Settings, step: str, checkpoint: Path, folder: str) -> dict[str, float]:
    words = [sys.executable, __file__, "--step", step, "--checkpoint", str(checkpoint), "--folder", folder]
    words += ["--flavour", settings.flavour] if settings.flavour else []
    return json.loads(subprocess.run(words, check=True, stdout=subprocess.PIPE, text=True).stdout)


def main(settings: Settings) -> None:
    if settings.step:
        return run_step(settings)
    with tempfile.TemporaryDirectory() as folder:
        checkpoint = Path(settings.checkpoint or Path(folder) / "FCOS_imprv_R_50_FPN_1x.pth")
        if not settings.checkpoint:
            write_checkpoint(checkpoint)
        size = checkpoint.stat().st_size
        print(f"{checkpoint.name}: {size / MEGABYTE:.1f} MB")
        steps = STEPS if checkpoint.suffix == ".pth" else STEPS[1:]  # torch reads no plain pickles
        rounds = [
            {step: measure(settings, step, checkpoint, folder) for step in steps}
            for _ in range(settings.repeats)
        ]
        for step in steps:
            rows = [each[step] for each in rounds]
            seconds, busy, peak = (median(row[key] for row in rows) for key in ("seconds", "busy", "peak"))
            times = f"{seconds:6.2f} s, {busy:.2f} s of processor"
            print(f"{step:30} {times}   peak {peak / MEGABYTE:6.1f} MB = {peak / size:.2f} × the file")


if __name__ == "__main__":
    main(tyro.cli(Settings))
