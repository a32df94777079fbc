"""Blocks of pictures handed to workers by Ray Data, until all have results."""

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from rich.console import Console

from pagoda.cluster.listing import Block, Listing
from pagoda.cluster.session import LOG, Resources, ray_session
from pagoda.cluster.shards import shard_path
from pagoda.cluster.worker import Task, Worker
from pagoda.messages import counted
from pagoda.plain import JsonObject, check_counts, checked
from pagoda.progress import Progress
from pagoda.stopping import StopRequests

MOST_PIECES = 10_000
"""of the list, as Ray holds them: more take long to hand over"""
AHEAD = 2
"""blocks that wait at each worker, the one at hand included"""


@checked
@dataclass(frozen=True, kw_only=True)
class Crew:
    """Who looks at the pictures.

    >>> Crew(threads=2).size(Resources(cores=5, gpus=0))
    2
    >>> Crew(workers=3, device="cuda").size(Resources(cores=8, gpus=2))
    Traceback (most recent call last):
    ValueError: --workers 3 need a GPU each, and the cluster has 2; say fewer, or --device cpu
    """

    workers: int | None = None
    """processes; None: one for each core, or GPU, of the cluster"""
    threads: int = 1
    """of each"""
    cluster: str = ""
    """its address; "": one is started on this machine, for this run alone"""
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    """auto: GPUs, where the cluster has some"""

    def __post_init__(self) -> None:
        check_counts(workers=self.workers, threads=self.threads)

    def takes_gpus(self, has: Resources) -> bool:
        return self.device == "cuda" or (self.device == "auto" and has.gpus > 0)

    def size(self, has: Resources) -> int:
        """The number of workers. Raises ValueError where the cluster has not so much."""
        if self.takes_gpus(has):
            if has.gpus < (self.workers or 1):
                raise ValueError(
                    f"--workers {self.workers or 1} need a GPU each, and the cluster has {has.gpus}; say fewer, or"
                    " --device cpu"
                )
            return self.workers or has.gpus
        if has.cores < (self.workers or 1) * self.threads:
            raise ValueError(
                f"{counted(self.workers or 1, 'worker')} of {counted(self.threads, 'thread')} need"
                f" {(self.workers or 1) * self.threads} cores, and the cluster has {has.cores}; say fewer"
            )
        return self.workers or has.cores // self.threads


def look_at_all(crew: Crew, task: Task, listing: Listing, *, quiet: bool = False) -> int:
    """Have workers look at every block that has no results yet; the number of processes that ended on the way.

    Raises ValueError with what a worker could not do, RuntimeError with its traceback where nobody expected it, and
    Stopped where somebody asks for the end.
    """
    out = Path(task.out)
    blocks = [block for block in listing.blocks if not shard_path(out, block.number).exists()]
    if not blocks:
        return 0
    cores = None if crew.workers is None else crew.workers * crew.threads
    done = listing.num_pictures - sum(block.num_pictures for block in blocks)
    ended = 0
    with (
        ray_session(crew.cluster, None if crew.cluster else cores, out) as (has, own),
        StopRequests() as stops,  # after Ray, which takes SIGTERM for its own
        stops.at_once(),
        Progress(quiet=quiet, console=Console(file=own, quiet=quiet)) as bar,
    ):
        size = min(crew.size(has), len(blocks))
        bar.say(f"{counted(size, 'worker')} on {_told(crew, has)}; what Ray says: {out / LOG}")
        shown = bar.task("predicting", listing.num_pictures, done=done)
        for row in _rows(crew, task, blocks, size, on_gpus=crew.takes_gpus(has)):
            _raise_told(row)
            done += row["pictures"]
            ended += row["ended"]
            shown(done)
    return ended


def _rows(
    crew: Crew, task: Task, blocks: Sequence[Block], size: int, *, on_gpus: bool
) -> Iterator[JsonObject]:
    """What became of each block, as they are done."""
    import ray.data

    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    logging.getLogger("ray.data").setLevel(logging.WARNING)
    # Items lie in memory from the start: a step that reads them would want a core, which the workers have all.
    items = ray.data.from_items(
        [block._asdict() for block in blocks], override_num_blocks=min(len(blocks), MOST_PIECES)
    )
    told = items.map_batches(
        Worker,
        fn_constructor_args=(task,),
        batch_size=1,
        batch_format="numpy",
        compute=ray.data.ActorPoolStrategy(size=size, max_tasks_in_flight_per_actor=AHEAD),
        num_cpus=crew.threads,
        num_gpus=1 if on_gpus else 0,
    )
    try:
        yield from told.iter_rows()
    except ray.exceptions.RayError as error:
        if "No module named 'pagoda" in str(error):
            raise ImportError(
                "a machine of the cluster has no Pagoda: pip install 'pagoda-vision[scale]' on each, into the Python"
                " that runs Ray there"
            ) from error
        raise RuntimeError(f"Ray gave up: {error}") from error


def _raise_told(row: JsonObject) -> None:
    """What a worker says went wrong."""
    if row["trace"]:
        raise RuntimeError(f"in a worker: {row['trace']}")
    if row["error"]:
        raise ValueError(row["error"])


def _told(crew: Crew, has: Resources) -> str:
    where = f"the cluster {crew.cluster}" if crew.cluster else "this machine"
    what = "a GPU each" if crew.takes_gpus(has) else f"{counted(crew.threads, 'thread')} each"
    return f"{where}, {what}"
