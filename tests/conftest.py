"""Shared by all tests: shape annotations are executed, numbers are repeatable, data is found or skipped."""

import importlib.util
import os
import signal
from collections.abc import Callable, Collection, Iterator
from functools import wraps
from pathlib import Path
from typing import Any

# Several test workers share the machine, so each must stay on its own core. Set before torch reads it.
os.environ.setdefault("OMP_NUM_THREADS", "1")

from jaxtyping import install_import_hook

# Before the first import of the package: from here on a wrong shape raises with the function's name and axes.
# structures/instances.py stays out: it annotates no shapes, and beartype cannot check `Self` on lone methods.
CHECKED = [
    "pagoda.ops",
    "pagoda.layers.inflate",
    "pagoda.criteria",
    "pagoda.postprocess",
    "pagoda.structures.images",
    "pagoda.structures.tracks",
    "pagoda.tracking.association",
    "pagoda.tracking.motion",
    "pagoda.evaluation.clear",
]
# The tower lets an int stand where a float is expected, as every Python type checker does.
install_import_hook(CHECKED, "beartype.beartype(conf=beartype.BeartypeConf(is_pep484_tower=True))")

import pytest
import torch
from hypothesis import settings
from torch import Tensor

from pagoda.pictures import PictureError

torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))


def where_there_are_numbers(fill: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """`fill`, a method of tensors, but for tensors on "meta": drawing what is not kept is half of building there."""

    @wraps(fill)
    def wrapper(tensor: Tensor, *arguments, **options) -> Tensor:
        return tensor if tensor.is_meta else fill(tensor, *arguments, **options)

    return wrapper


for method in ("normal_", "uniform_"):
    setattr(Tensor, method, where_there_are_numbers(getattr(Tensor, method)))

# Timings vary on shared machines; examples are the same in every run so that a failure can be repeated.
settings.register_profile("pagoda", deadline=None, derandomize=True, max_examples=50)
settings.load_profile("pagoda")

REPOSITORY = Path(__file__).resolve().parents[1]


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--jitter",
        type=float,
        default=0.0,
        metavar="SIZE",
        help="shake what layers return by SIZE of itself, such as 1e-6; see tests/rounding.py",
    )


def pytest_configure(config: pytest.Config) -> None:
    if size := config.getoption("--jitter"):
        spec = importlib.util.spec_from_file_location("rounding", Path(__file__).with_name("rounding.py"))
        rounding = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(rounding)
        rounding.shake(size)


@pytest.fixture(autouse=True)
def seed() -> None:
    # The processor's alone: torch.manual_seed also leaves a traceback for each accelerator that is not there.
    torch.default_generator.manual_seed(0)


@pytest.fixture
def hears_signals() -> Iterator[None]:
    """Tests started in the background, or by nohup, ignore Ctrl-C and the end of a terminal, and so would commands."""
    before = {
        signum: signal.signal(signum, usual)
        for signum, usual in ((signal.SIGINT, signal.default_int_handler), (signal.SIGHUP, signal.SIG_DFL))
    }
    yield
    for signum, old in before.items():
        signal.signal(signum, old)


@pytest.fixture(scope="session")
def repository() -> Path:
    return REPOSITORY


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of small real data sets: PAGODA_DATA, or ../shared/data beside the repository."""
    folder = Path(os.environ.get("PAGODA_DATA", REPOSITORY.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"needs the small data sets; set PAGODA_DATA to their folder (looked in {folder})")
    return folder


class CorruptPictures:
    """A dataset of which the pictures at `corrupt` cannot be read."""

    def __init__(self, data: Any, corrupt: Collection[int]) -> None:
        self.data, self.corrupt = data, corrupt
        self.annotations, self.label_map = data.annotations, data.label_map

    def __len__(self) -> int:
        return len(self.data)

    def __getitem__(self, index: int) -> Any:
        if index in self.corrupt:
            raise PictureError(f"{index}.png: truncated file")
        return self.data[index]


@pytest.fixture(scope="session")
def corrupt_pictures() -> type[CorruptPictures]:
    """(dataset, indices) to the same dataset with corrupt pictures."""
    return CorruptPictures
