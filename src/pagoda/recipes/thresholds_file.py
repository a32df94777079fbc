"""Scores to cut at, and a linker's numbers, written into the file of the model that they were chosen for."""

import os
import sys
from pathlib import Path

from pagoda.detectors.contract import Detector
from pagoda.exporting.metadata import LINKER, THRESHOLDS, change_metadata, check_changeable
from pagoda.files.text import json_text, with_home
from pagoda.models import is_exported
from pagoda.plain import JsonObject
from pagoda.structures.linker_settings import LinkerSettings
from pagoda.structures.thresholds import REMEDY, ScoreThresholds
from pagoda.weights.file_types import is_remote
from pagoda.weights.files import change_card, has_card, read_card
from pagoda.weights.shards import file_in

Seen = tuple[int, int, int]
"""of a file: where it lies on the disk, its bytes, and when they were written"""


def check_takes_thresholds(file: str | Path, *, what: str = "thresholds") -> Seen:
    """What tells the file from a later one of its name. Raises where thresholds, or `what` is to be written, could not
    be written into it: before pictures are looked at, not after.

    FileNotFoundError, ValueError for an address and for another program's checkpoint, PermissionError for a folder that
    is not to be written to, ImportError where a package is missing.
    """
    if is_remote(file):
        raise ValueError(
            f"{file} is an address, which cannot be written to: fetch the file, and give its path"
        )
    path = _place(file)
    if not path.is_file():
        raise FileNotFoundError(f"no file {path} to write {what} into")
    if is_exported(path):
        check_changeable(path)
    elif not has_card(path):
        raise ValueError(
            f"{path} is another program's checkpoint, which has no card to write {what} into; make one of Pagoda of"
            f" it first: pagoda convert {path} NEW.safetensors"
        )
    folder = path.resolve().parent
    if not os.access(folder, os.W_OK):
        raise PermissionError(f"{what} should be written into {path}, and {folder} cannot be written to")
    return _seen(path)


def save_thresholds(file: str | Path, thresholds: ScoreThresholds, *, seen: Seen | None = None) -> Path:
    """Write them into a checkpoint of ours or an exported file, in the place of any that are there; all else in it
    stays as it is, weights to the bit. Whole or not at all.

    `seen`: what `check_takes_thresholds` gave before the model was scored; ValueError where another file lies there
    now. Raises as that does, too.
    """
    return _save(file, THRESHOLDS, thresholds.to_dict(), seen)


def save_linker(file: str | Path, settings: LinkerSettings, *, seen: Seen | None = None) -> Path:
    """As `save_thresholds`, of a linker with its numbers."""
    return _save(file, LINKER, settings.to_dict(), seen)


def _save(file: str | Path, entry: str, said: JsonObject, seen: Seen | None) -> Path:
    now, path = check_takes_thresholds(file, what=entry), _place(file)
    if seen is not None and now != seen:
        raise ValueError(
            f"{path} was written anew while it was scored, and {entry} would not be of these weights: score it again"
        )
    if is_exported(path):
        return change_metadata(path, entry, json_text(said))
    return change_card(path, {**read_card(path), entry: said})


def say_thresholds(model: Detector, file: str | Path) -> None:
    """On standard error: what holds for which class. Raises ValueError, with what to do, where the file has none."""
    if model.thresholds is None:
        raise ValueError(_no_thresholds(file))
    print(model.thresholds.text(model.label_map), file=sys.stderr)


def _no_thresholds(file: str | Path) -> str:
    told = f"--min-score card: {file} holds no thresholds; "
    if is_remote(file) or is_exported(file) or has_card(_place(file)):
        return f"{told}{REMEDY.format(file=file)} puts some there"
    return (
        f"{told}make a checkpoint of Pagoda of it, pagoda convert {file} NEW.safetensors, then"
        f" {REMEDY.format(file='NEW.safetensors')}"
    )


def _place(file: str | Path) -> Path:
    """The file itself; in a folder of a checkpoint, its weights."""
    path = with_home(file)
    return file_in(path) if path.is_dir() else path


def _seen(path: Path) -> Seen:
    facts = path.stat()
    return facts.st_ino, facts.st_size, facts.st_mtime_ns
