"""Linkers by name."""

from pagoda_runtime.tracking.byte import ByteTracker
from pagoda_runtime.tracking.ocsort import OCSortTracker

LINKERS = {"byte": ByteTracker, "ocsort": OCSortTracker}


def create_tracker(name: str) -> ByteTracker | OCSortTracker:
    """A linker with its own defaults. Raises ValueError for a name that none has."""
    if name not in LINKERS:
        raise ValueError(f"tracker must be one of {', '.join(LINKERS)}, got {name!r}")
    return LINKERS[name]()
