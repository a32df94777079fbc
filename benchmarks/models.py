"""Milliseconds of the zoo's models on this machine, for docs/models.md: as they are, and in their quickest form.

    python benchmarks/models.py fcos_resnet18_fpn efficientdet_lite0      # these; the others keep what they have
    python tools/models_page.py

Each is `pagoda bench NAME` at the model's own size of pictures. Times of another machine, thread count or version go
away, since one table tells of one machine. Needs the extra openvino and a quiet machine.
"""

import json
import platform
import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

import torch
import tyro

from pagoda.catalogue.table import FILE, Catalogue, ModelRow, as_text, catalogue
from pagoda.machine import find_device, processor_name


@dataclass(frozen=True)
class Benchmark:
    names: Annotated[tuple[str, ...], tyro.conf.Positional]
    """of `pagoda models`"""
    rounds: int = 5
    """every form looks at every picture so often; the median counts"""


def main(benchmark: Benchmark) -> None:
    machine = (
        f"{processor_name(find_device('cpu'))}, {torch.get_num_threads()} threads, torch {torch.__version__},"
        f" Python {platform.python_version()}"
    )
    rows = {row.name: row for row in catalogue().rows}
    if machine != catalogue().machine:
        rows = {name: replace(row, fp32_ms=None, best_ms=None, best_form="") for name, row in rows.items()}
    for name in benchmark.names:
        rows[name] = _timed(rows[name], benchmark.rounds)
        print(name, rows[name].fp32_ms, rows[name].best_ms, rows[name].best_form, flush=True)
        table = Path(__file__).resolve().parents[1] / "src" / "pagoda" / "catalogue" / FILE
        table.write_text(as_text(Catalogue(machine=machine, rows=tuple(rows.values()))), encoding="utf-8")


def _timed(row: ModelRow, rounds: int) -> ModelRow:
    """The row with its times, of a process of its own."""
    size = [str(side) for side in row.size]
    words = [
        sys.executable,
        "-m",
        "pagoda",
        "bench",
        row.name,
        "--size",
        *size,
        "--rounds",
        str(rounds),
        "--json",
    ]
    done = subprocess.run(words, check=True, stdout=subprocess.PIPE, text=True)
    found = {variant["name"]: variant["milliseconds"] for variant in json.loads(done.stdout)["variants"]}
    timed = {name: value for name, value in found.items() if value is not None}
    best = min(timed, key=timed.__getitem__)
    return replace(
        row, fp32_ms=round(timed["torch, as it is"], 1), best_ms=round(timed[best], 1), best_form=best
    )


if __name__ == "__main__":
    main(tyro.cli(Benchmark))
