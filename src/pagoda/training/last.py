"""`last/`: everything a run needs to go on as if it had never stopped."""

import math
import random
import zipfile
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias
from warnings import warn

import numpy as np
import torch

from pagoda.data.loading import BatchPlan
from pagoda.files.atomic import no_way_out
from pagoda.files.drafts import draft_beside, settle, sweep_drafts
from pagoda.weights.file_types import WeightsError
from pagoda.weights.files import save_torch
from pagoda.weights.torch_files import read_saved

Saved: TypeAlias = dict[str, Any]
"""what `torch.load` gives back without running code: tensors, numbers, words, and lists and dicts of them, by name"""
STATE_FILE, BEFORE_FILE = "state.pt", "state-before.pt"


@dataclass
class Position:
    """Where a run stands: `Trainer.at`, which `last/` keeps.

    >>> Position(epoch=2, batch=5, step=205).is_scored  # in the third epoch, of 100 batches each
    True
    """

    epoch: int = 0
    """epochs that are done; also the number of the one at hand, counted from 0"""
    batch: int = 0
    """batches of the epoch at hand that are done"""
    step: int = 0
    """steps of the optimiser that are done, over the run"""
    best_ap: float = -1.0
    """see `DetectionResult.deciding`"""
    worse_count: int = 0
    """validations since the best"""
    skipped: int = 0
    """pictures that could not be read, over the run"""
    is_scored: bool = True
    """False between the end of an epoch and its validation, so that a run stopped there is scored when it goes on"""
    seconds: float = 0.0
    """spent on training, reading pictures included, validation not"""

    def judge(self, value: float) -> bool:
        """Take note of a validation's deciding value: whether it is the best so far.

        NaN, where there is no object to find, is the best as long as there was no other: the last weights are kept.
        """
        is_best = value > self.best_ap or (math.isnan(value) and self.best_ap < 0)
        self.worse_count = 0 if is_best else self.worse_count + 1
        if is_best:
            self.best_ap = -1.0 if math.isnan(value) else value
        return is_best


def random_state() -> Saved:
    """The states of all generators a run draws from: "torch", "cuda" (each device), "numpy", "python".

    In types that load without pickled code; `restore_random_state` takes it back.

    >>> before = random_state()
    >>> first = torch.rand(3)
    >>> restore_random_state(before)
    >>> torch.equal(torch.rand(3), first)
    True
    """
    name, keys, position, has_gauss, gauss = np.random.get_state()
    version, internal, gauss_next = random.getstate()
    return {
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
        "numpy": [name, torch.from_numpy(keys.astype(np.int64)), position, has_gauss, gauss],
        "python": [version, list(internal), gauss_next],
    }


def restore_random_state(state: Saved, where: str | Path = "the saved state") -> None:
    """Undo everything drawn since `random_state`. Raises ValueError that begins with `where` for what is none.

    >>> restore_random_state({}, "state.pt")
    Traceback (most recent call last):
    ValueError: state.pt holds no state of random numbers ('torch'): is it damaged?
    """
    try:
        _restore(state)
    except (KeyError, TypeError, ValueError, AttributeError, RuntimeError, OverflowError) as error:
        raise ValueError(f"{where} holds no state of random numbers ({error}): is it damaged?") from error


def _restore(state: Saved) -> None:
    torch.set_rng_state(state["torch"])
    if state["cuda"] and torch.cuda.is_available():
        torch.cuda.set_rng_state_all(state["cuda"])
    name, keys, position, has_gauss, gauss = state["numpy"]
    np.random.set_state((name, keys.numpy().astype(np.uint32), position, has_gauss, gauss))
    version, internal, gauss_next = state["python"]
    random.setstate((version, tuple(internal), gauss_next))


def save_last(run: Path, state: Saved) -> None:
    """Write `run/last/state.pt`, so that a kill at any moment leaves a whole one; the one before is kept beside it.

    Raises OSError with the remedy where the disk takes no more.

    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as run:
    ...     save_last(Path(run), {"step": 1, "weights": torch.ones(2)})
    ...     save_last(Path(run), {"step": 2, "weights": torch.ones(2)})
    ...     load_last(Path(run))["step"], sorted(path.name for path in Path(run, "last").iterdir())
    (2, ['state-before.pt', 'state.pt'])
    """
    last = no_way_out(run / "last") / STATE_FILE
    try:
        draft = draft_beside(last)
        try:
            save_torch(draft, state)
            settle(draft, last, keep_as=last.with_name(BEFORE_FILE))
        finally:
            draft.unlink(missing_ok=True)
    except OSError as error:
        raise OSError(
            f"could not write {last}: {error}; the one before is kept: free some space and use --resume"
        ) from error


def has_state(run: Path) -> bool:
    """Whether a run's folder holds something to go on from.

    >>> has_state(Path("no/such/run"))
    False
    """
    return any((run / "last" / name).is_file() for name in (STATE_FILE, BEFORE_FILE))


def load_last(run: Path, *, say: Callable[[str], object] = warn) -> Saved:
    """The last whole state `save_last` wrote; `say` is told where that is not the last one.

    Raises FileNotFoundError when there is none, ValueError when none of them is whole.
    """
    folder = run / "last"
    sweep_drafts(folder)
    damages: list[str] = []
    for file in (folder / STATE_FILE, folder / BEFORE_FILE):
        # The disk may know no hard links, and a kill come between two renames of save_last.
        if not file.is_file():
            continue
        try:
            state = _load(file)
        except WeightsError as error:
            damages.append(str(error))
            continue
        if damages:
            say(f"{damages[0]}: going on from the one before, {file}")
        return state
    if damages:
        raise ValueError(f"the run in {run} cannot go on: {'; '.join(damages)}; {_anew(run)}")
    raise FileNotFoundError(f"{run} has no last/{STATE_FILE} to resume from; {_anew(run)}")


def compare_data(run: Path, saved: Mapping[str, str], now: Mapping[str, str]) -> str:
    """What to tell of the fingerprints of a run's data, then and now, or ""; unknown ones are not compared.

    Raises ValueError where it would learn from other data.

    >>> compare_data(Path("runs/a"), {"train": "12ab", "val": "34cd"}, {"train": "12ab", "val": "34ce"})
    'the pictures to score on have changed: scores before and after do not compare'
    """
    changed = [split for split in saved if now.get(split, saved[split]) != saved[split]]
    if "train" in changed:
        raise ValueError(
            f"cannot resume {run}: the data it learns from are not those it began with (names or sizes of pictures,"
            f" objects or classes have changed); bring them back, or {_anew(run)}"
        )
    return "the pictures to score on have changed: scores before and after do not compare" if changed else ""


def check_batches(run: Path, saved: Saved, plan: BatchPlan) -> None:
    """Raises ValueError where a run that goes on would learn from other batches: of another size over all processes, or
    from another number of them.

    >>> saved = {"batches_per_epoch": 2, "batch_pictures": 8}
    >>> check_batches(Path("runs/a"), saved, BatchPlan(images=16, batch_size=4, seed=0, num_processes=2))
    >>> check_batches(Path("runs/a"), saved, BatchPlan(images=16, batch_size=4, seed=0))
    Traceback (most recent call last):
    ValueError: cannot resume runs/a: its batches have 8 pictures over all processes, 1 × 4 are 4: give batch_size=8
    """
    pictures, num_processes = saved.get("batch_pictures", plan.global_size), plan.num_processes
    if pictures != plan.global_size:
        remedy = f"give batch_size={pictures // num_processes}"
        if pictures % num_processes:
            remedy = f"{num_processes} processes cannot share that evenly"
        raise ValueError(
            f"cannot resume {run}: its batches have {pictures} pictures over all processes, {num_processes} ×"
            f" {plan.batch_size} are {plan.global_size}: {remedy}"
        )
    if saved["batches_per_epoch"] != len(plan):
        raise ValueError(
            f"cannot resume {run}: an epoch had {saved['batches_per_epoch']} batches and has {len(plan)} now; the data,"
            " the batch size or the number of processes has changed"
        )


def _load(file: Path) -> Saved:
    """Raises WeightsError where it is not whole: torch itself does not look at the check sums."""
    try:
        with zipfile.ZipFile(file) as archive:
            damaged = archive.testzip()
    except (OSError, ValueError, EOFError, NotImplementedError, zipfile.BadZipFile, zlib.error) as error:
        if isinstance(error, OSError) and error.filename is not None:  # it could not be opened
            raise
        raise WeightsError(f"{file} is damaged ({error})") from error
    if damaged is not None:
        raise WeightsError(f"{file} is damaged (in {damaged})")
    return read_saved(file)


def _anew(run: Path) -> str:
    best = run / "best.safetensors"
    start = f"a new run can start from its weights: pagoda train {best} --data DIR" if best.exists() else ""
    return start or "start it again without --resume"
