"""The process that looks at blocks of pictures: it opens the model once, and writes what it finds in each block."""

import socket
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from pagoda.cluster.attempts import Attempts
from pagoda.cluster.job import JOB, SOURCES, Job, digest_of_weights
from pagoda.cluster.listing import BLOCK, Block, read_block
from pagoda.cluster.reading import PlaceReader
from pagoda.cluster.shards import FoundRow, count_shard, shard_path, write_shard
from pagoda.cluster.sources import Place
from pagoda.detectors.contract import Detector
from pagoda.finding.look import Look, find_in
from pagoda.finding.remarks import facts_to_remark
from pagoda.pictures.read import PictureError
from pagoda.plain import JsonObject, checked
from pagoda.structures.instances import Detections
from pagoda.version import __version__

MOST_ENDS = 2
"""of processes at one picture, after which it counts as one that cannot be read"""
BAD_INPUT = (ValueError, KeyError, OSError, ImportError, FloatingPointError)
"""what is told as a sentence; anything else keeps its traceback"""


@checked
@dataclass(frozen=True, kw_only=True)
class Task:
    """What every worker is told when it begins."""

    out: str
    """the folder of results, an absolute path that all machines share"""
    id: str
    """of the job in it"""
    checkpoint: str
    """an absolute path, or an address"""
    weights: str
    """their SHA-256"""
    look: Look
    """how pictures are looked at"""
    threads: int
    """of this process"""
    open_model: Callable[[], Detector]
    """opens the checkpoint, ready to look"""


class Worker:
    """Called with blocks, {column of `Block`: array}; gives for each what became of it.

    It raises nothing: what went wrong is told in the column `error`, and a traceback in `trace` where nobody expected
    it.
    """

    def __init__(self, task: Task) -> None:
        self._task = task
        self._model: Detector | None = None

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        rows = zip(*(batch[name].tolist() for name in Block._fields), strict=True)
        told = [self.do(Block(*row)) for row in rows]
        return {name: [row[name] for row in told] for name in told[0]}

    def do(self, block: Block) -> JsonObject:
        """Look at a block, unless its results are there; what became of it."""
        told = {"number": block.number, "pictures": block.num_pictures, "failed": 0, "ended": 0}
        path = shard_path(self._task.out, block.number)
        try:
            if not path.exists():
                told["ended"] = self._look_at(block, path)
            told["pictures"], told["failed"] = count_shard(path)
        except BAD_INPUT as error:
            text = error.args[0] if isinstance(error, KeyError) and error.args else error
            return {**told, "error": str(text) or type(error).__name__, "trace": ""}
        except Exception as error:  # of the model, or of ours: told where the run is waited for
            return {**told, "error": f"{type(error).__name__}: {error}", "trace": traceback.format_exc()}
        return {**told, "error": "", "trace": ""}

    def _look_at(self, block: Block, path: Path) -> int:
        """Write the results of a block; how many processes have ended before they could."""
        attempts = Attempts(self._task.out, block.number)
        self._check_folder()
        attempts.begin()
        model = self._opened()
        places = read_block(Path(self._task.out) / SOURCES, block)
        first = block.number * BLOCK
        reader = PlaceReader(model.input_spec, is_whole=self._task.look.views != "none")
        found = self._one_by_one if attempts.is_careful else self._together
        rows = [
            _row(first + number, place, objects)
            for number, (place, objects) in enumerate(found(model, places, reader, attempts, first))
        ]
        write_shard(path, rows)
        attempts.done()
        return attempts.num_ended

    def _together(
        self, model: Detector, places: list[Place], reader: PlaceReader, attempts: Attempts, first: int
    ) -> Iterator[tuple[Place, Detections | PictureError]]:
        for place, _, objects in find_in(model, places, self._task.look, reader):
            yield place, objects

    def _one_by_one(
        self, model: Detector, places: list[Place], reader: PlaceReader, attempts: Attempts, first: int
    ) -> Iterator[tuple[Place, Detections | PictureError]]:
        for index, place in enumerate(places, first):
            if (ended := attempts.num_ended_at(index)) >= MOST_ENDS:
                name = place.file or _name(place)
                yield (
                    place,
                    PictureError(
                        f"cannot read {name}: {ended} processes ended while they looked at it, by a lack of memory or a"
                        " fault in what decodes it"
                    ),
                )
                continue
            attempts.look_at(index)
            yield from self._together(model, [place], reader, attempts, index)

    def _check_folder(self) -> None:
        """Raises ValueError where this machine does not see the folder of the run."""
        job = Job.read(self._task.out)
        if job is None or job.id != self._task.id:
            raise ValueError(
                f"{Path(self._task.out) / JOB} is not there, or another, on the machine {socket.gethostname()}: --out"
                " must be a folder that all machines of the cluster share"
            )

    def _opened(self) -> Detector:
        """The model. Raises ValueError where this machine has other weights, or another Pagoda."""
        if self._model is None:
            host, task = socket.gethostname(), self._task
            job = Job.read(task.out)
            if job is not None and job.pagoda != __version__:
                raise ValueError(
                    f"the machine {host} has Pagoda {__version__}, and the command was given to {job.pagoda}: install"
                    " one version on all machines"
                )
            if digest_of_weights(task.checkpoint) != task.weights:
                raise ValueError(f"{task.checkpoint} on the machine {host} is another file than here")
            torch.set_num_threads(task.threads)
            self._model = task.open_model()
        return self._model


def _row(index: int, place: Place, found: Detections | PictureError) -> FoundRow:
    if isinstance(found, PictureError):
        return FoundRow(index, None, str(found), _name(place))
    row = found.to_dict()
    row["file"] = place.file or row["file"]
    facts = facts_to_remark(Path(place.at)) if place.is_local else (1, None)
    return FoundRow(index, row, None, _name(place), *facts)


def _name(place: Place) -> str:
    return place.at if place.row is None else f"{place.at}#{place.row}"
