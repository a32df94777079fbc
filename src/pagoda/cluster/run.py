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
CLIENT, LOOK_SECONDS = "ray://", 1.0
"""the beginning of an address that is joined from afar; between two looks at what is done there"""
AHEAD = 2
"""blocks that wait at each worker, the one at hand included"""


@checked
@dataclass(frozen=True, kw_only=True)
class Crew:
    """Who looks at the pictures.

    >>> Crew(threads=2).size(Resources(((5, 0),)))
    2
    >>> Crew(workers=3, device="cuda").size(Resources(((8, 2),)))
    Traceback (most recent call last):
    ValueError: the cluster has no room for 3 workers of 1 thread and a GPU each: 2 fit, --workers says how many
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
        return self.device == "cuda" or (self.device == "auto" and has.num_gpus > 0)

    def size(self, has: Resources) -> int:
        """The number of workers. Raises ValueError where there is no room for so many."""
        on_gpus = self.takes_gpus(has)
        places = has.places(self.threads, on_gpus=on_gpus)
        if places < (self.workers or 1):
            each = f"{counted(self.threads, 'thread')}{' and a GPU' if on_gpus else ''} each"
            raise ValueError(
                f"the cluster has no room for {counted(self.workers or 1, 'worker')} of {each}: {places} fit,"
                " --workers says how many"
            )
        return self.workers or places


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
        bar.say(
            f"{counted(size, 'worker')} on {_where(crew, has)}; no pictures are drawn; what Ray says: {out / LOG}"
        )
        shown = bar.task("predicting", listing.num_pictures, done=done)
        for row in _told(crew, task, blocks, size, on_gpus=crew.takes_gpus(has)):
            _raise_told(row)
            done += row["pictures"]
            ended += row["ended"]
            shown(done)
    return ended


def _told(
    crew: Crew, task: Task, blocks: Sequence[Block], size: int, *, on_gpus: bool
) -> Iterator[JsonObject]:
    """What became of each block, as they are done."""
    import ray

    asked = (crew.threads, task, blocks, size, on_gpus)
    try:
        yield from _rows_from_afar(*asked) if crew.cluster.startswith(CLIENT) else _rows(*asked)
    except ray.exceptions.RayError as error:
        if "No module named 'pagoda" in str(error):
            raise ImportError(
                "a machine of the cluster has no Pagoda: pip install 'pagoda-vision[scale]' on each, into the Python"
                " that runs Ray there"
            ) from error
        raise RuntimeError(f"Ray gave up: {error}") from error


def _rows(
    threads: int, task: Task, blocks: Sequence[Block], size: int, on_gpus: bool
) -> Iterator[JsonObject]:
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
        num_cpus=threads,
        num_gpus=1 if on_gpus else 0,
    )
    yield from told.iter_rows()


def _rows_from_afar(
    threads: int, task: Task, blocks: Sequence[Block], size: int, on_gpus: bool
) -> Iterator[JsonObject]:
    """Ray Data does not work in a client of a cluster: it runs in there, and what is done is seen by its files."""
    import ray

    all_rows = ray.remote(num_cpus=0, max_retries=0)(_all_rows)
    end = all_rows.remote(threads, task, list(blocks), size, on_gpus)
    left = {block.number: block for block in blocks}
    while not ray.wait([end], timeout=LOOK_SECONDS)[0]:
        done = [number for number in left if shard_path(task.out, number).exists()]
        for block in map(left.pop, done):
            yield {
                "number": block.number,
                "pictures": block.num_pictures,
                "ended": 0,
                "error": "",
                "trace": "",
            }
    for row in ray.get(end):
        yield row if row["number"] in left else {**row, "pictures": 0}


def _all_rows(
    threads: int, task: Task, blocks: Sequence[Block], size: int, on_gpus: bool
) -> list[JsonObject]:
    """As far as nothing goes wrong."""
    rows: list[JsonObject] = []
    for row in _rows(threads, task, blocks, size, on_gpus):
        rows.append(row)
        if row["error"]:
            break
    return rows


def _raise_told(row: JsonObject) -> None:
    """What a worker says went wrong."""
    if row["trace"]:
        raise RuntimeError(f"in a worker: {row['trace']}")
    if row["error"]:
        raise ValueError(row["error"])


def _where(crew: Crew, has: Resources) -> str:
    where = f"the cluster {crew.cluster}" if crew.cluster else "this machine"
    what = "a GPU each" if crew.takes_gpus(has) else f"{counted(crew.threads, 'thread')} each"
    return f"{where}, {what}"
