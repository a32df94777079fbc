"""The machine at hand: which device there is, and which precision pays on it, found by measuring.

What a processor reports does not tell: some with bf16 instructions multiply fp32 twice as quickly.
"""

import json
import os
import platform
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from time import perf_counter
from typing import Literal

import torch
from platformdirs import user_cache_path
from torch.nn.functional import conv2d

from pagoda.files.atomic import write_atomically
from pagoda.files.text import json_text
from pagoda.plain import checked, from_plain

Precision = Literal["fp32", "bf16", "fp16"]
PRECISIONS: dict[Precision, torch.dtype] = {
    "fp32": torch.float32,
    "bf16": torch.bfloat16,
    "fp16": torch.float16,
}
WORTH_IT = 1.2
"""how many times quicker half precision has to be before it is taken"""
SECONDS = 0.3
"""that one measurement takes"""
_PRESET = "PAGODA_PRECISION"
"""environment variable: what "auto" takes, without measuring"""
_KERNELS = (3, 128, 40), (1, 256, 40)
"""(side of the kernel, channels, cells per side): what detectors spend their time on, at a tenth of their size"""


@checked
@dataclass(frozen=True, kw_only=True)
class Machine:
    """What one device does, with the threads and the torch it was measured with."""

    processor: str
    """the name it reports"""
    device: str
    """cpu, cuda, mps"""
    threads: int
    """that torch computes with on the processor"""
    torch: str
    """its version"""
    inference: dict[str, float] = field(default_factory=dict)
    """precision → GFLOP/s of convolutions; a precision that the device refuses is absent"""
    training: dict[str, float] = field(default_factory=dict)
    """the same forwards and backwards under autocast, weights in fp32; no fp16, whose gradients underflow"""

    @property
    def key(self) -> str:
        """What a measurement is kept under: it holds as long as none of these changes."""
        return f"{self.processor} | {self.device} | {self.threads} threads | torch {self.torch}"

    def quickest(self, work: Literal["inference", "training"]) -> Precision:
        """fp32, unless another is at least `WORTH_IT` times as quick.

        >>> def machine(fp32, bf16):
        ...     rates = {"fp32": fp32, "bf16": bf16}
        ...     return Machine(processor="", device="cpu", threads=2, torch="", inference=rates)
        >>> machine(521, 1038).quickest("inference"), machine(176, 94).quickest("inference")
        ('bf16', 'fp32')
        """
        rates = self._rates(work)
        best = max(PRECISIONS, key=lambda precision: rates.get(precision, 0))
        return best if rates.get(best, 0) >= WORTH_IT * rates.get("fp32", 0) else "fp32"

    def told(self, work: Literal["inference", "training"]) -> str:
        """The choice and its reason, for a line on the terminal."""
        rates = ", ".join(f"{precision} {rate:.0f}" for precision, rate in self._rates(work).items())
        return f"{self.quickest(work)} ({work} on {self.processor}, {self.threads} threads: {rates} GFLOP/s)"

    def _rates(self, work: Literal["inference", "training"]) -> dict[str, float]:
        return self.inference if work == "inference" else self.training


def find_device(wanted: str = "auto") -> torch.device:
    """The device of that name; "auto" is the accelerator, where there is one, else the processor.

    Raises ValueError for a device that is not there, naming those that are.

    >>> find_device("cpu")
    device(type='cpu')
    """
    there = ["cpu"]
    if torch.accelerator.is_available():
        name = torch.accelerator.current_accelerator().type  # type: ignore[union-attr]
        there = [name, *(f"{name}:{number}" for number in range(torch.accelerator.device_count())), "cpu"]
    if wanted == "auto":
        return torch.device(there[0])
    if wanted not in there:
        raise ValueError(f"device must be auto or one of {', '.join(there)} on this machine, got {wanted!r}")
    return torch.device(wanted)


@checked
def choose_precision(
    wanted: Literal["auto", "fp32", "bf16", "fp16"],
    device: torch.device,
    work: Literal["inference", "training"] = "inference",
) -> tuple[Precision, str]:
    """(precision, why) – the second for people, empty where nothing had to be chosen."""
    if wanted != "auto":
        return wanted, ""
    preset = os.environ.get(_PRESET)
    if preset is None:
        machine = this_machine(device)
        return machine.quickest(work), f"precision {machine.told(work)}"
    for precision in PRECISIONS:
        if preset == precision and (work, preset) != ("training", "fp16"):
            return precision, f"precision {precision} (as the environment's {_PRESET} says)"
    raise ValueError(f"{_PRESET} must be {_known(work)} for {work}, got {preset!r}")


def _known(work: str) -> str:
    return " or ".join(precision for precision in PRECISIONS if (work, precision) != ("training", "fp16"))


def this_machine(device: torch.device) -> Machine:
    """As measured now, or before: kept in the user's cache folder per processor, device, threads and torch."""
    file = user_cache_path("pagoda") / "machines.json"
    known = _kept(file)
    machine = _unmeasured(device)
    if machine.key not in known:
        known[machine.key] = measure(device)
        _keep(file, known)
    return known[machine.key]


def measure(device: torch.device, seconds: float = SECONDS) -> Machine:
    """Time convolutions of detectors on `device` for about `seconds`, all precisions by turns."""
    works = {**_works(device, learns=False), **_works(device, learns=True)}
    best = dict.fromkeys(works, float("inf"))
    for name, work in list(works.items()):
        try:
            work()  # the first time prepares what later ones find
        except RuntimeError:
            del works[name], best[name]
    end = perf_counter() + seconds
    while works and (perf_counter() < end or float("inf") in best.values()):
        for name, work in works.items():
            since = perf_counter()
            work()
            best[name] = min(best[name], perf_counter() - since)
    rates = {name: _flops(learns=name[0] == "training") / spent / 1e9 for name, spent in best.items()}
    found = _unmeasured(device)
    for (kind, precision), rate in rates.items():
        (found.training if kind == "training" else found.inference)[precision] = rate
    return found


def processor_name(device: torch.device) -> str:
    """As it calls itself."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    info = Path("/proc/cpuinfo")
    lines = info.read_text(errors="replace").splitlines() if info.is_file() else []
    named = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(chain(named, [platform.processor() or platform.machine()]))


def _unmeasured(device: torch.device) -> Machine:
    return Machine(
        processor=processor_name(device),
        device=device.type,
        threads=torch.get_num_threads(),
        torch=torch.__version__,
    )


def _works(device: torch.device, *, learns: bool) -> dict[tuple[str, Precision], Callable[[], None]]:
    """{("training" or "inference", precision): what computes both kernels once and waits for the end}."""
    made: dict[tuple[str, Precision], Callable[[], None]] = {}
    for precision, dtype in PRECISIONS.items():
        if learns and precision == "fp16":
            continue
        kept = torch.float32 if learns else dtype
        pairs = []
        for side, channels, cells in _KERNELS:
            pixels = torch.randn(1, channels, cells, cells, device=device, dtype=kept)
            weight = torch.randn(channels, channels, side, side, device=device, dtype=kept)
            pair = [each.contiguous(memory_format=torch.channels_last) for each in (pixels, weight)]
            pairs.append([each.requires_grad_(learns) for each in pair])
        made["training" if learns else "inference", precision] = _Convolutions(pairs, dtype, learns)
    return made


@dataclass(frozen=True)
class _Convolutions:
    pairs: list[list[torch.Tensor]]
    """(pixels, weight) of each kernel"""
    dtype: torch.dtype
    """that they are multiplied in"""
    learns: bool
    """whether gradients of both are computed, too"""

    def __call__(self) -> None:
        device = self.pairs[0][0].device
        with torch.set_grad_enabled(self.learns):
            for pixels, weight in self.pairs:
                with torch.autocast(device.type, self.dtype, enabled=self.learns and self.dtype.itemsize < 4):
                    found = conv2d(pixels, weight, padding=weight.shape[-1] // 2)
                if self.learns:
                    torch.autograd.grad(found.float().sum(), [pixels, weight])
        if device.type != "cpu":
            torch.accelerator.synchronize(device)


def _flops(*, learns: bool) -> float:
    """Of one call; the gradients of pixels and weight take as many as the product itself, each."""
    products = sum(side**2 * channels**2 * cells**2 for side, channels, cells in _KERNELS)
    return 2.0 * products * (3 if learns else 1)


def _kept(file: Path) -> dict[str, Machine]:
    """Of earlier measurements; a file that cannot be read is measured anew."""
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
        return {key: from_plain(Machine, entry) for key, entry in content.items()}
    except (OSError, ValueError, AttributeError, TypeError):
        return {}


def _keep(file: Path, machines: dict[str, Machine]) -> None:
    """For the next time; where the folder cannot be written to, it is measured again."""
    content = json_text({key: vars(machine) for key, machine in machines.items()}, indent=1)
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(file, lambda draft: draft.write_text(content, encoding="utf-8"))
    except OSError:
        return
