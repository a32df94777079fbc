"""What pagoda predict says whoever looks: what the model brings along before, and what was found afterwards."""

import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

from pagoda.detectors.contract import Detector
from pagoda.finding.look import Look
from pagoda.messages import counted
from pagoda.recipes.thresholds_file import say_thresholds


def say_how(look: Look, model: Detector, checkpoint: str) -> None:
    """The scores and tiles that a model is to look with. Raises ValueError where it cannot."""
    if look.min_score == "card":
        say_thresholds(model, checkpoint)
    if look.tiles is not None:
        from pagoda.tiling.detect import check_takes_tiles  # as `pagoda.predict` does

        check_takes_tiles(model)
        print(look.tiles.text(model.input_spec), file=sys.stderr)


def say_found(
    folder: Path,
    *,
    num_objects: int,
    num_pictures: int,
    num_sources: int,
    remarks: Iterable[str],
    failures: Sequence[str],
) -> int:
    """What was found in `num_pictures` of `num_sources`, and why not in the others; the exit code."""
    found = f"{counted(num_objects, 'object')} in {counted(num_pictures, 'picture')}; see {folder}"
    for line in (found, *remarks, *(f"skipped: {reason}" for reason in failures)):
        print(line, file=sys.stderr)
    if failures:
        print(f"{len(failures)} of {counted(num_sources, 'picture')} could not be read", file=sys.stderr)
    return 1 if failures else 0
