"""Shared by the runtime's tests. What compares with Pagoda is skipped where Pagoda or PyTorch is not installed."""

import os
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import pytest

REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.fixture
def rng() -> np.random.Generator:
    """The same numbers in every run."""
    return np.random.default_rng(0)


@pytest.fixture(scope="session")
def photos() -> list[Path]:
    """Of the small data sets, where they are there."""
    folder = Path(os.environ.get("PAGODA_DATA", REPOSITORY.parent / "shared" / "data"))
    return [path for part in ("coco_tiny", "demo") for path in sorted(folder.glob(f"{part}/**/*.jpg"))]
