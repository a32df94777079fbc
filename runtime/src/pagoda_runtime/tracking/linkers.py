"""Linkers by name, and as a file says them."""

import json
import warnings
from collections.abc import Mapping
from dataclasses import fields
from math import inf
from typing import Any

from pagoda_runtime.tracking.byte import ByteTracker
from pagoda_runtime.tracking.ocsort import OCSortTracker

LINKERS: dict[str, type[ByteTracker] | type[OCSortTracker]] = {"byte": ByteTracker, "ocsort": OCSortTracker}


def create_tracker(name: str, *, min_score: float | None = None) -> ByteTracker | OCSortTracker:
    """A linker with its own defaults; `min_score` replaces its threshold for strong detections. Raises ValueError for a
    name that none has."""
    if name not in LINKERS:
        raise ValueError(f"tracker must be one of {', '.join(LINKERS)} or card, got {name!r}")
    kind = LINKERS[name]
    return kind() if min_score is None else kind(min_score=min_score)


def card_tracker(
    metadata: Mapping[str, str], *, min_score: float | None = None
) -> ByteTracker | OCSortTracker:
    """The linker that `pagoda track tune` has put into the file; warns where it wants more than there is here.

    Raises ValueError where there is none, or one that this pagoda-runtime does not know.
    """
    if "linker" not in metadata:
        raise ValueError(
            "tracker='card': the file holds no linker; pagoda track tune MODEL --data DIR puts one there"
        )
    said = json.loads(metadata["linker"])
    kind = LINKERS.get(said.get("linker"))
    # How many observations are kept decides how much memory a track takes: no file says that.
    known = {each.name for each in fields(kind)} - {"model", "direction_frames"} if kind else set()
    numbers: dict[str, Any] = dict(said.get("numbers", {}))
    strange = [name for name in numbers if name not in known]
    if kind is None or strange:
        raise ValueError(
            f"the file's linker {said.get('linker')!r} with {', '.join(strange) or 'its numbers'} is unknown here;"
            " install a newer pagoda-runtime"
        )
    if said.get("camera") == "moving":
        warnings.warn(
            "the file's linker was chosen with camera motion undone, which pagoda-runtime does not; pagoda track does",
            stacklevel=3,
        )
    if said.get("appearance") == "model" and " appearance:" not in metadata.get("usage", ""):
        warnings.warn(
            "the file's linker compares looks, and the file says none; export the model with --appearance",
            stacklevel=3,
        )
    for name, value in numbers.items():
        if type(value) not in (int, float) or not 0 <= value < inf:
            raise ValueError(f"the file's linker must have a number from 0 on as {name}, got {value!r:.80}")
    own = kind()
    numbers = {
        name: round(value) if isinstance(getattr(own, name), int) else float(value)
        for name, value in numbers.items()
    }
    return kind(**(numbers if min_score is None else {**numbers, "min_score": min_score}))
