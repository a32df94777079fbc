"""How much memory this process has taken and may still take, as Linux tells it; elsewhere as far as Python knows."""

import gc
import sys
from contextlib import suppress
from pathlib import Path

import torch

PROCESS = Path("/proc/self")
MACHINE = Path("/proc/meminfo")
GROUPS = Path("/sys/fs/cgroup")


def peak_memory(device: torch.device | None = None) -> int | None:
    """Bytes this process has taken at most, on an accelerator of NVIDIA there; None where nobody tells.

    >>> peak_memory() is None or peak_memory() > 10_000_000
    True
    """
    if device is not None and device.type == "cuda":
        return torch.cuda.max_memory_reserved(device)
    told = _entry(PROCESS / "status", "VmHWM")
    if told is not None:
        return told
    try:
        import resource
    except ImportError:  # Windows
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def held_memory() -> int | None:
    """Bytes that this process takes now; None where nobody tells."""
    return _entry(PROCESS / "status", "VmRSS")


def forget_peak() -> None:
    """Begin anew to look for the peak, and give back what nobody uses; of a process only where that is allowed."""
    gc.collect()
    with suppress(OSError):
        (PROCESS / "clear_refs").write_text("5")
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()


def available_memory() -> int | None:
    """Bytes that this process may take in addition: of the machine, and of the groups it is confined to.

    None where nobody tells.

    >>> available_memory() is None or available_memory() > 0
    True
    """
    of_machine = _entry(MACHINE, "MemAvailable")
    left = [_left_in(folder) for folder in _groups()]
    known = [each for each in (of_machine, *left) if each is not None]
    return max(0, min(known)) if known else None


def _entry(file: Path, name: str) -> int | None:
    """Bytes behind a name in a file of lines like `VmRSS:  1024 kB`."""
    with suppress(OSError, ValueError, IndexError):
        for line in file.read_text(errors="replace").splitlines():
            if line.startswith(f"{name}:"):
                return int(line.split()[1]) * 1024
    return None


def _groups() -> list[Path]:
    """Folders of this process's control group and of those around it, of both versions."""
    found = [GROUPS, GROUPS / "memory"]
    with suppress(OSError):
        for line in (PROCESS / "cgroup").read_text(errors="replace").splitlines():
            _, controllers, path = line.split(":", 2)
            root = GROUPS / "memory" if "memory" in controllers.split(",") else GROUPS
            inner = root / path.lstrip("/")
            found += [inner, *(up for up in inner.parents if root in up.parents)]
    return list(dict.fromkeys(found))


def _left_in(folder: Path) -> int | None:
    """What a group may take in addition; what it only keeps of files does not count, for that is given back."""
    for limit, used, kept in (
        ("memory.max", "memory.current", "inactive_file"),
        ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
    ):
        with suppress(OSError, ValueError):
            most = int((folder / limit).read_text())  # "max" is no number, and no limit
            taken = int((folder / used).read_text())
            lines = (folder / "memory.stat").read_text().splitlines()
            reclaimable = next((int(line.split()[1]) for line in lines if line.split()[0] == kept), 0)
            return most - taken + reclaimable
    return None
