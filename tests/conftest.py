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
# What "auto" takes is the machine's own affair, and tests are the same on all of them.
os.environ.setdefault("PAGODA_PRECISION", "fp32")

from jaxtyping import install_import_hook

# Before the first import of the package: from here on a wrong shape raises with the function's name and axes.
# structures/instances.py stays out: it annotates no shapes, and beartype cannot check `Self` on lone methods.
CHECKED = [
    "pagoda.ops",
    "pagoda.layers.inflate",
    "pagoda.heads",
    "pagoda.detectors",
    "pagoda.criteria",
    "pagoda.postprocess",
    "pagoda.structures.images",
    "pagoda.structures.tracks",
    "pagoda.tracking.association",
    "pagoda.tracking.motion",
    "pagoda.evaluation.tracks.clear",
]
# The tower lets an int stand where a float is expected, as every Python type checker does.
install_import_hook(CHECKED, "beartype.beartype(conf=beartype.BeartypeConf(is_pep484_tower=True))")

import pytest
import torch
from hypothesis import settings
from torch import Tensor
from torch.nn import Parameter

from pagoda.pictures.read import PictureError

torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))


POOL = 2**21 + 17
"""numbers that large tensors are filled from: an odd count, so that no two rows of a weight come out alike"""


def from_a_pool(
    fill: Callable[..., Tensor], pool: Tensor, stretch: Callable[..., tuple[float, float]]
) -> Any:
    """`fill`, a method of tensors that draws; large ones copy numbers drawn once, from a place that is drawn.

    A tenth of the suite's time went into drawing weights. Tensors on "meta" keep nothing, so nothing is drawn.
    `stretch`: what was asked for to (factor, shift) of the pool's numbers.
    """

    @wraps(fill)
    def wrapper(tensor: Tensor, *arguments, generator: torch.Generator | None = None, **options) -> Tensor:
        if tensor.is_meta:
            return tensor
        plain = tensor.dtype == torch.float32 and tensor.device.type == "cpu" and tensor.is_contiguous()
        if (
            tensor.numel() < 2**14
            or not plain
            or generator is not None
            or type(tensor) not in (Tensor, Parameter)
        ):
            return fill(tensor, *arguments, generator=generator, **options)
        factor, shift = stretch(*arguments, **options)
        with torch.no_grad():
            rest, start = tensor.view(-1), int(torch.randint(POOL, ()))
            while len(rest):
                part = pool[start : start + len(rest)]
                torch.add(torch.tensor(shift), part, alpha=factor, out=rest[: len(part)])
                rest, start = rest[len(part) :], 0
        return tensor

    return wrapper


def of_normal(mean: float = 0.0, std: float = 1.0) -> tuple[float, float]:
    return std, mean


def of_uniform(a: float = 0.0, b: float = 1.0) -> tuple[float, float]:
    return b - a, a


drawn = torch.Generator().manual_seed(0)
Tensor.normal_ = from_a_pool(Tensor.normal_, torch.randn(POOL, generator=drawn), of_normal)
Tensor.uniform_ = from_a_pool(Tensor.uniform_, torch.rand(POOL, generator=drawn), of_uniform)

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
