"""`last/`: everything a run needs to go on as if it had never stopped."""

import os
import random
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import torch

from pagoda.weights.checkpoints import read_saved

STATE_FILE = "state.pt"


def random_state() -> dict[str, Any]:
    """Of torch (all devices), numpy and python, in types that load without pickled code."""
    name, keys, position, has_gauss, gauss = np.random.get_state()
    version, internal, gauss_next = random.getstate()
    return {
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
        "numpy": [name, torch.from_numpy(keys.astype(np.int64)), position, has_gauss, gauss],
        "python": [version, list(internal), gauss_next],
    }


def restore_random_state(state: dict[str, Any], where: str | Path = "the saved state") -> None:
    """Undo everything drawn since `random_state`. Raises ValueError that begins with `where` for what is none."""
    try:
        _restore(state)
    except (KeyError, TypeError, ValueError, AttributeError, RuntimeError, OverflowError) as error:
        raise ValueError(f"{where} holds no state of random numbers ({error}): is it damaged?") from error


def _restore(state: dict[str, Any]) -> None:
    torch.set_rng_state(state["torch"])
    if state["cuda"] and torch.cuda.is_available():
        torch.cuda.set_rng_state_all(state["cuda"])
    name, keys, position, has_gauss, gauss = state["numpy"]
    np.random.set_state((name, keys.numpy().astype(np.uint32), position, has_gauss, gauss))
    version, internal, gauss_next = state["python"]
    random.setstate((version, tuple(internal), gauss_next))


def save_last(run: Path, state: dict[str, Any]) -> None:
    """Write `run/last/` so that a kill at any moment leaves the old one or the new one whole."""
    new, last, old = run / ".last-new", run / "last", run / ".last-old"
    shutil.rmtree(new, ignore_errors=True)
    if last.exists():
        shutil.rmtree(old, ignore_errors=True)
    try:
        new.mkdir()
        with (new / STATE_FILE).open("wb") as file:
            torch.save(state, file)
            file.flush()
            os.fsync(file.fileno())
    except (OSError, RuntimeError) as error:  # torch reports a full disk as a RuntimeError
        shutil.rmtree(new, ignore_errors=True)
        raise OSError(
            f"could not write {last}: {error}; the one before is kept: free some space and use --resume"
        ) from error
    if last.exists():
        last.rename(old)
    new.rename(last)
    shutil.rmtree(old, ignore_errors=True)


def load_last(run: Path) -> dict[str, Any]:
    """The state `save_last` wrote; raises FileNotFoundError when the run has none, WeightsError when it is damaged."""
    # A kill between the two renames of save_last leaves only the old folder under its other name.
    for folder in (run / "last", run / ".last-old"):
        if (folder / STATE_FILE).is_file():
            return read_saved(folder / STATE_FILE)
    raise FileNotFoundError(f"{run} has no last/{STATE_FILE} to resume from; was it a run's folder?")
