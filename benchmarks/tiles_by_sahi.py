"""The side of sahi in `tiles.py`, by the adapter that docs/tiles.md shows."""

from collections.abc import Callable
from pathlib import Path

import numpy as np

from pagoda.detectors.contract import Detector


def sliced_by_sahi(model: Detector, picture: np.ndarray, side: int) -> Callable[[], int]:
    """Counts what sahi finds by its own defaults, and the adapter of docs/tiles.md."""
    from sahi.predict import get_sliced_prediction

    page = Path(__file__).parents[1] / "docs" / "tiles.md"
    names: dict = {}
    exec(page.read_text().partition("## With sahi")[2].split("```python\n")[1].split("```")[0], names)
    theirs = names["PagodaDetectionModel"](model=model, confidence_threshold=0.3, device="cpu")

    def count() -> int:
        found = get_sliced_prediction(picture, theirs, slice_height=side, slice_width=side, verbose=0)
        return len(found.object_prediction_list)

    return count
