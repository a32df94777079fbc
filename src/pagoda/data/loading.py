"""From a data set to batches: which pictures, in which order, with which random changes.

Clips (T, 3, H, W) with `TubeTargets` travel as pictures (3, H, W) with `Targets` do.

Everything random follows from two numbers, the seed of the run and the epoch. A `BatchPlan` turns them
into lists of `Draw`s, and a `Draw` decides its sample alone. So neither the number of workers nor that
of processes, nor a restart in the middle of an epoch, changes a bit of what is learned from.
"""

import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from pagoda.data.augment.clips import transform_clip
from pagoda.data.augment.transforms import Transform
from pagoda.data.table.samples import AnyTargets, Samples
from pagoda.messages import counted
from pagoda.pictures.read import PictureError
from pagoda.plain import checked
from pagoda.stopping import leave_stops_to_parent
from pagoda.structures.instances import Targets
from pagoda.structures.tubes import TubeTargets

SMALL_BYTES = 2**16
"""Tensors up to this size travel between processes inside the message instead of in shared memory."""


class Draw(NamedTuple):
    """One sample to be made: which picture, and the seed of its random changes."""

    index: int  # type: ignore[assignment]  # tuple.index is of no use here
    seed: int


class Parts(NamedTuple):
    """Which samples are cut from which picture, of data whose pictures are dear to read."""

    owners: np.ndarray
    """(n,) the picture of each sample"""
    at_once: int
    """pictures whose samples come mixed with one another, before those of the next ones"""


class Skipped(NamedTuple):
    """A draw that failed because a picture could not be read."""

    index: int  # type: ignore[assignment]  # tuple.index is of no use here
    reason: str
    """Names the picture, which with a mosaic can be another than that of `index`."""


class Sample(NamedTuple):
    """A picture or clip with its targets, as a draw has made it."""

    picture: Tensor
    """uint8 (3, H, W), or (T, 3, H, W)"""
    targets: AnyTargets
    draw: Draw


class Batch(NamedTuple):
    """Pictures of different sizes with their targets; empty lists where every picture was skipped."""

    pictures: list[Tensor]
    """uint8 (3, H, W) each, or clips (T, 3, H, W)"""
    targets: list[Targets] | list[TubeTargets]
    draws: list[Draw]
    """Where each picture came from."""
    skipped: list[Skipped]
    """What should have been here too, for the caller to count and to list."""

    def __reduce__(self) -> tuple:
        # A worker sends each tensor through a file of its own in shared memory, and a process may open
        # only so many (often 1024): boxes, labels and the like go as plain bytes instead.
        return _unpack, (
            self.pictures,
            [_pack(targets) for targets in self.targets],
            self.draws,
            self.skipped,
        )


class TrainingView(Dataset):
    """A data set seen through a random transform; asked with a `Draw`, which decides the outcome.

    A picture that cannot be read comes as `Skipped`. Any other error is raised, with the draw noted.

    >>> view = TrainingView([(torch.zeros(3, 4, 6, dtype=torch.uint8), Targets.empty((4, 6)))])
    >>> view[Draw(index=0, seed=1)].draw
    Draw(index=0, seed=1)
    """

    def __init__(
        self,
        dataset: Samples[AnyTargets],
        transform: Transform | None = None,
        parts: Parts | None = None,
    ) -> None:
        self.dataset, self.transform = dataset, transform
        self.parts = parts
        """for who plans the batches"""

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, draw: Draw) -> Sample | Skipped:
        with seeded(draw.seed):
            try:
                picture, targets = self.dataset[draw.index]
                if self.transform is None:
                    return Sample(picture, targets, draw)
                if isinstance(targets, TubeTargets):
                    return Sample(*transform_clip(self.transform, picture, targets), draw)
                return Sample(*self.transform(picture, targets), draw)
            except PictureError as error:
                return Skipped(draw.index, str(error))
            except Exception as error:
                error.add_note(f"while preparing training sample {draw}")
                raise


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Seed torch (on the CPU), numpy and random within, and leave all three as they were.

    >>> with seeded(7):
    ...     first = torch.rand(1)
    >>> with seeded(7):
    ...     torch.equal(first, torch.rand(1))
    True
    """
    python_state, numpy_state = random.getstate(), np.random.get_state()
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)  # torch.manual_seed would reset the accelerators as well
        random.seed(seed)
        np.random.seed(seed)
        try:
            yield
        finally:
            random.setstate(python_state)
            np.random.set_state(numpy_state)


@checked
@dataclass(frozen=True, eq=False, kw_only=True)
class BatchPlan:
    """Which pictures form which batch, for every epoch and for each of `num_processes`.

    Plans are made for all processes together and then cut into slices: batch k of all processes,
    concatenated in their order, is batch k of a single process with `num_processes` times the
    `batch_size`. Every index comes exactly once per epoch over all processes, with two exceptions. A last
    batch with fewer pictures than processes repeats some, because each process needs one, and `drop_last`
    leaves an incomplete last batch out. With `at_least` a last batch that would give a process fewer pictures than
    that is joined to the one before, where there is one.

    With `factors` an epoch has as many draws as without and so as many batches, but picture i comes
    n · factors[i] / sum(factors) times in the mean: each epoch rounds that up or down at random so that the sum is
    kept, and pictures that come twice get other random changes each time.

    With `parts` pictures are shuffled first, and then the samples of so many of them as are mixed `at_once`.

    >>> plan = BatchPlan(images=5, batch_size=2, seed=0, shuffle=False)
    >>> [[draw.index for draw in batch] for batch in plan.epoch(0)]
    [[0, 1], [2, 3], [4]]
    >>> two = BatchPlan(images=5, batch_size=1, seed=0, shuffle=False, num_processes=2, process_index=1)
    >>> [[draw.index for draw in batch] for batch in two.epoch(0)]
    [[1], [3], [4]]
    >>> rare_last = BatchPlan(images=5, batch_size=5, seed=0, shuffle=False, factors=np.array([1, 1, 1, 1, 6]))
    >>> [[draw.index for draw in batch] for batch in rare_last.epoch(0)]
    [[0, 2, 4, 4, 4]]
    """

    images: int | np.ndarray
    """How many pictures, or their sizes: (n, 2), (height, width)."""
    batch_size: int
    """Per process."""
    seed: int
    """0 or above."""
    shuffle: bool = True
    """False: in the order of the data set, the same in every epoch"""
    group_by_aspect: bool = False
    """Wide pictures with wide ones, which saves padding. Needs the sizes. At most one full batch mixes."""
    num_processes: int = 1
    """that train together, each on its share of every batch"""
    process_index: int = 0
    """which of them this one is, from 0"""
    drop_last: bool = False
    """leave out what does not fill a batch at the end of an epoch"""
    at_least: int = 1
    """Pictures that each process needs in every batch."""
    factors: np.ndarray | None = None
    """(n,) how often each picture is drawn relative to the others, 0 or more; None: each once"""
    parts: Parts | None = None
    """of samples that are parts of pictures: which of which; None: every sample is a picture"""

    def __post_init__(self) -> None:
        _check_share(self.batch_size, self.num_processes, self.process_index)
        if self.group_by_aspect and isinstance(self.images, int):
            raise ValueError(
                "group_by_aspect needs images=sizes, (n, 2) height and width, got only their number"
            )
        _check_factors(self.factors, self.num_images)
        if len(self) == 0:
            raise ValueError(
                f"{counted(self.num_images, 'picture makes', 'pictures make')} no batch of {self.global_size}"
                f" (batch_size × num_processes, drop_last={self.drop_last}); take smaller batches"
            )

    @property
    def num_images(self) -> int:
        return self.images if isinstance(self.images, int) else len(self.images)

    @property
    def global_size(self) -> int:
        """Pictures of a batch over all processes."""
        return self.batch_size * self.num_processes

    def __len__(self) -> int:
        """Batches per epoch, the same in every process and epoch."""
        full, rest = divmod(self.num_images, self.global_size)
        return full if self.drop_last or rest == 0 or self.is_joined else full + 1

    @property
    def is_joined(self) -> bool:
        """Whether the pictures left over at the end of an epoch are learnt in the batch before."""
        full, rest = divmod(self.num_images, self.global_size)
        needs_more = self.at_least > 1 and 0 < rest < self.at_least * self.num_processes
        return needs_more and full > 0 and not self.drop_last

    def epoch(self, epoch: int, start_batch: int = 0) -> list[list[Draw]]:
        """This process's batches of epoch 0, 1, …, without the first `start_batch`, done before a restart.

        Raises ValueError for more batches than an epoch has.
        """
        if not 0 <= start_batch <= len(self):
            raise ValueError(
                f"start_batch must be 0 … {len(self)}, the batches of an epoch, got {start_batch}"
            )
        generator = np.random.default_rng((self.seed, epoch))
        seeds = generator.integers(2**32, size=self.num_images)
        order = generator.permutation(self.num_images) if self.shuffle else np.arange(self.num_images)
        pictures = self._pictures(generator)
        if self.parts is not None and self.shuffle:
            blocks = generator.permutation(self.parts.owners.max() + 1) // self.parts.at_once
            order = order[np.argsort(blocks[self.parts.owners[pictures[order]]], kind="stable")]
        batches = self._global_batches(order, pictures)
        if self.is_joined:
            *batches, last, rest = batches
            batches.append(np.concatenate([last, rest]))
        batches = batches[start_batch : len(self)]
        mine = [self._slice(batch) for batch in batches]
        return [list(map(Draw, pictures[part].tolist(), seeds[part].tolist())) for part in mine]

    def _pictures(self, generator: np.random.Generator) -> np.ndarray:
        """(n,) the picture of each draw before they are shuffled, in the order of the data set."""
        if self.factors is None:
            return np.arange(self.num_images)
        return np.repeat(np.arange(self.num_images), rounded_counts(self.factors, generator))

    def _global_batches(self, order: np.ndarray, pictures: np.ndarray) -> list[np.ndarray]:
        """Places in `pictures`, batch by batch."""
        size = self.global_size
        if not self.group_by_aspect:
            return [order[first : first + size] for first in range(0, len(order), size)]
        height, width = np.asarray(self.images).T
        is_wide = (width > height)[pictures[order]]
        full: list[np.ndarray] = []
        rest: list[np.ndarray] = []
        for kind in (True, False):
            places = np.flatnonzero(is_wide == kind)
            end = len(places) // size * size
            full.extend(places[:end].reshape(-1, size))
            rest.append(places[end:])
        full.sort(key=lambda places: places[-1])  # a batch comes when the order has filled it
        mixed = np.concatenate(rest)
        full.extend(mixed[first : first + size] for first in range(0, len(mixed), size))
        return [order[places] for places in full]

    def _slice(self, batch: np.ndarray) -> np.ndarray:
        if len(batch) < self.num_processes:
            batch = np.resize(batch, self.num_processes)  # repeats from the start
        return np.array_split(batch, self.num_processes)[self.process_index]


def rounded_counts(factors: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """(n,) whole numbers of sum n, whose means are n · factors / sum(factors), each rounded up or down.

    Systematic sampling over a random order: a single random offset rounds the running sum, so the total is exact.

    >>> rounded_counts(np.array([1.0, 1.0, 2.0]), np.random.default_rng(1)).tolist()
    [0, 1, 2]
    """
    count = len(factors)
    order = generator.permutation(count)
    sums = np.cumsum(factors[order], dtype=np.float64)
    ends = np.floor(sums / sums[-1] * count + generator.random()).astype(np.int64)
    ends[-1] = count
    counts = np.empty(count, dtype=np.int64)
    counts[order] = np.diff(ends, prepend=0)
    return counts


def collate(samples: Sequence[Sample | Skipped]) -> Batch:
    """Samples of one batch, the skipped ones apart.

    >>> sample = Sample(torch.zeros(3, 4, 6, dtype=torch.uint8), Targets.empty((4, 6)), Draw(0, 1))
    >>> batch = collate([sample, Skipped(7, "cannot read b.png")])
    >>> len(batch.pictures), batch.draws, batch.skipped
    (1, [Draw(index=0, seed=1)], [Skipped(index=7, reason='cannot read b.png')])
    """
    good = [sample for sample in samples if isinstance(sample, Sample)]
    skipped = [sample for sample in samples if isinstance(sample, Skipped)]
    pictures, targets, draws = ([list(column) for column in zip(*good, strict=True)]) or ([], [], [])
    return Batch(pictures, targets, draws, skipped)


def make_loader(
    view: TrainingView,
    batches: list[list[Draw]],
    *,
    num_workers: int = 0,
    pin_memory: bool = False,
    prefetch_batches: int = 2,
) -> DataLoader[Batch]:
    """Iterates over the `Batch`es planned, in order; with workers each prepares `prefetch_batches` ahead.

    Iterating leaves the global random state alone. Each worker computes on one thread, as torch has it.

    >>> samples = [(torch.zeros(3, 4, 6, dtype=torch.uint8), Targets.empty((4, 6)))] * 3
    >>> plan = BatchPlan(images=3, batch_size=2, seed=0)
    >>> [len(batch.pictures) for batch in make_loader(TrainingView(samples), plan.epoch(0))]
    [2, 1]
    """
    return DataLoader(
        view,
        batch_sampler=batches,
        collate_fn=collate,
        num_workers=num_workers,
        prefetch_factor=prefetch_batches if num_workers else None,
        worker_init_fn=_leave_stops,
        pin_memory=pin_memory,
        generator=torch.Generator(),  # or torch would take a number from the global one for every epoch
    )


def _leave_stops(worker: int) -> None:
    """A terminal sends Ctrl-C to every process of a command: those that read must not go before the training has
    been saved."""
    leave_stops_to_parent()


def _check_share(batch_size: int, num_processes: int, process_index: int) -> None:
    if batch_size < 1:
        raise ValueError(f"batch_size counts the pictures per process and must be ≥ 1, got {batch_size}")
    if not 0 <= process_index < num_processes:
        raise ValueError(
            f"process_index must be 0 … num_processes-1 = {num_processes - 1}, got {process_index}"
        )


def _check_factors(factors: np.ndarray | None, num_images: int) -> None:
    if factors is None:
        return
    if factors.shape != (num_images,):
        raise ValueError(f"factors must be one per picture, ({num_images},), got {factors.shape}")
    if not np.isfinite(factors).all() or (factors < 0).any() or not (factors > 0).any():
        raise ValueError("factors must be finite and 0 or more, with one above 0")


class _Packed(NamedTuple):
    kind: type[Targets] | type[TubeTargets]
    values: dict[str, Any]


def _pack(targets: AnyTargets) -> _Packed:
    values = {f.name: getattr(targets, f.name) for f in fields(targets)}
    small = {
        name: value.numpy() if isinstance(value, Tensor) and value.nbytes <= SMALL_BYTES else value
        for name, value in values.items()
    }
    return _Packed(type(targets), small)


def _unpack(
    pictures: list[Tensor], packed: list[_Packed], draws: list[Draw], skipped: list[Skipped]
) -> Batch:
    targets: list[Any] = []
    for kind, values in packed:
        tensors = {k: torch.from_numpy(v) for k, v in values.items() if isinstance(v, np.ndarray)}
        targets.append(kind(**{**values, **tensors}))
    return Batch(pictures, targets, draws, skipped)
