"""pagoda bench CHECKPOINT"""

import math
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Literal

import torch
import tyro
from rich.console import Console
from rich.table import Table

from pagoda.cli.arguments.parsing import open_model, parse
from pagoda.exporting.parity_pictures import drawn_pictures
from pagoda.exporting.variants import Timing, time_variants
from pagoda.files.text import json_text
from pagoda.machine import choose_precision, find_device, this_machine
from pagoda.messages import counted
from pagoda.pictures.read import list_pictures, read_picture
from pagoda.plain import check_counts, checked


@checked
@dataclass(frozen=True, kw_only=True)
class BenchCommand:
    """Time a model on this machine in every way it can run, by turns, and say which is the quickest.

    pagoda bench runs/NAME-1/best.safetensors --pictures "DIR/images/*.jpg"
    pagoda bench fcos_resnet50_fpn --size 480 640
    """

    checkpoint: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="CHECKPOINT")]
    """a checkpoint, a name of `pagoda models`, or FILE.py:FUNCTION"""
    pictures: tuple[str, ...] = ()
    """pictures, folders or globs to time on, eight at most; default: drawn ones"""
    size: tuple[int, int] = (480, 640)
    """height and width of drawn pictures, in pixels"""
    batch_size: int = 1
    """pictures that are computed together"""
    rounds: int = 7
    """times that every variant looks at every picture; the median counts"""
    device: str = "auto"
    """auto, cpu, cuda, cuda:1, mps; auto: the accelerator, where there is one"""
    compile: bool = False
    """also torch.compile, which takes minutes"""
    take: str = ""
    """which weights of another program's file, where it holds several: their key, or ema for the averaged ones"""
    json: bool = False
    """print the table as JSON"""


def main(arguments: Sequence[str]) -> int:
    command = parse(BenchCommand, "bench", arguments)
    check_counts(batch_size=command.batch_size, rounds=command.rounds)
    device = find_device(command.device)
    model = open_model(command.checkpoint, take=command.take).eval().to(device)
    channels = model.input_spec.read_channels
    files = [file for source in command.pictures for file in list_pictures(source)][:8]
    pictures = [torch.from_numpy(read_picture(file, channels=channels)).permute(2, 0, 1) for file in files]
    pictures = pictures or drawn_pictures(command.size, 4, channels)
    with TemporaryDirectory() as folder:
        timings = time_variants(
            model,
            pictures,
            Path(folder),
            batch_size=command.batch_size,
            rounds=command.rounds,
            compiled=command.compile,
            say=lambda name: print(f"preparing {name} …", file=sys.stderr),
        )
    machine = this_machine(device)
    if command.json:
        print(json_text({"machine": asdict(machine), "variants": [asdict(timing) for timing in timings]}))
        return 0
    show(timings, len(pictures), command.rounds)
    quickest = min(timings, key=lambda timing: (math.isnan(timing.milliseconds), timing.milliseconds))
    print(f"quickest here: {quickest.name}; --precision auto takes {choose_precision('auto', device)[0]}")
    print(f"measured: {machine.told('inference')}")
    return 0


def show(timings: Sequence[Timing], num_pictures: int, rounds: int) -> None:
    table = Table(box=None)
    table.add_column("variant")
    sides: Sequence[tuple[str, Literal["left", "right"]]] = (
        ("ms per picture", "right"),
        ("pictures/s", "right"),
        ("memory MiB", "right"),
        ("agrees", "right"),
        ("", "left"),
    )
    for title, side in sides:
        table.add_column(title, justify=side)
    for timing in timings:
        numbers = timing.milliseconds, timing.pictures_per_second, timing.memory_mib
        told = ["–" if math.isnan(number) else f"{number:.1f}" for number in numbers]
        agrees = "–" if math.isnan(timing.agreement) else f"{timing.agreement:.1%}"
        table.add_row(timing.name, *told, agrees, timing.note)
    Console().print(table)
    print(
        f"{counted(num_pictures, 'picture')}, median of {rounds} rounds by turns, {torch.get_num_threads()} threads"
    )
