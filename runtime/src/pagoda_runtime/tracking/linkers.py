"""Linkers by name."""

from pagoda_runtime.tracking.byte import ByteTracker
from pagoda_runtime.tracking.ocsort import OCSortTracker

LINKERS = {"byte": ByteTracker, "ocsort": OCSortTracker}


def create_tracker(name: str, *, min_score: float | None = None) -> ByteTracker | OCSortTracker:
    """A linker with its own defaults; `min_score` replaces its threshold for strong detections. Raises ValueError for a
    name that none has."""
    if name not in LINKERS:
        raise ValueError(f"tracker must be one of {', '.join(LINKERS)}, got {name!r}")
    kind = LINKERS[name]
    return kind() if min_score is None else kind(min_score=min_score)
