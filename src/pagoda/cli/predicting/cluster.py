"""pagoda predict … --engine ray"""

import os
import signal
import sys
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Literal

from pagoda.cli.arguments.cluster_options import ClusterOptions
from pagoda.cli.arguments.parsing import AnyPrecision, names_code, open_ready
from pagoda.cli.predicting.words import say_found, say_how
from pagoda.cluster.attempts import FOLDER as BEGUN
from pagoda.cluster.job import SOURCES, Job, digest_of_weights, new_id, options_that_count
from pagoda.cluster.listing import Listing, write_listing
from pagoda.cluster.run import Crew, look_at_all
from pagoda.cluster.session import check_ray
from pagoda.cluster.shards import FOLDER, read_shard, shard_path
from pagoda.cluster.sources import places_of
from pagoda.cluster.worker import Task
from pagoda.files.atomic import claim_folder, make_folder, write_free
from pagoda.files.drafts import draft_beside, settle, sweep_drafts
from pagoda.files.lock import hold_folder
from pagoda.files.text import json_text
from pagoda.finding.look import Look
from pagoda.finding.remarks import Remarks
from pagoda.messages import counted
from pagoda.plain import JsonObject, checked
from pagoda.recipes.predictions_file import write_predictions
from pagoda.stopping import Stopped
from pagoda.version import __version__
from pagoda.weights.file_types import is_remote


@checked
def predict_on_cluster(
    sources: Sequence[str],
    checkpoint: str,
    look: Look,
    options: ClusterOptions,
    *,
    out: str,
    model: str,
    take: str,
    device: str,
    precision: AnyPrecision,
    picture_format: Literal["jpg", "png"],
    json: bool,
) -> int:
    """The exit code: 1 where a picture could not be read. Raises what is wrong with the options before anything is
    looked at."""
    check_ray()
    crew = _crew(options, device)
    if precision == "auto":
        raise ValueError(
            "--precision auto may differ from worker to worker: say fp32, bf16 or fp16 with --engine ray"
        )
    if picture_format != "jpg":
        raise ValueError("--engine ray draws no pictures; leave --picture-format out")
    checkpoint = checkpoint if is_remote(checkpoint) else os.path.abspath(Path(checkpoint).expanduser())
    model = os.path.abspath(model) if names_code(model) else model
    # Here is raised what every worker would raise.
    say_how(look, open_ready(checkpoint, model, take, device="cpu"), checkpoint)
    folder = make_folder(out) if out else claim_folder("runs", "predict")
    with hold_folder(folder, "predicts"):
        counts = options_that_count(look, precision=precision, take=take, model=model)
        job, listing = _begin(folder, sources, checkpoint, counts)
        task = Task(
            out=os.path.abspath(folder),
            id=job.id,
            checkpoint=checkpoint,
            weights=job.checkpoint,
            look=look,
            threads=crew.threads,
            open_model=partial(open_ready, checkpoint, model, take, device=device, precision=precision),
        )
        try:
            ended = look_at_all(crew, task, listing, quiet=json)
        except KeyboardInterrupt as stop:
            raise Stopped(getattr(stop, "signum", signal.SIGINT), _stopped(folder, listing)) from stop
        if ended:
            said = counted(ended, "process of a worker", "processes of workers")
            print(f"{said} ended before the work was done, and others did it", file=sys.stderr)
        return _finish(folder, job, listing, json=json)


def _crew(options: ClusterOptions, device: str) -> Crew:
    places = ("auto", "cpu", "cuda", "mps")
    if device not in places:
        raise ValueError(
            f"--device must be one of {', '.join(places)} with --engine ray, which gives each worker its GPU, got"
            f" {device!r}"
        )
    return Crew(
        workers=options.workers,
        threads=1 if options.threads is None else options.threads,
        cluster=options.cluster,
        device=device,  # type: ignore[arg-type]
    )


def _begin(folder: Path, sources: Sequence[str], checkpoint: str, counts: dict) -> tuple[Job, Listing]:
    """The job, begun or gone on with, and its list of pictures. Raises ValueError where the folder holds another."""
    draft = draft_beside(folder / SOURCES)
    try:
        listing = write_listing(places_of(sources, partial(print, file=sys.stderr)), draft)
        if not listing.blocks:
            raise ValueError("pagoda predict needs at least one picture, folder, glob, list or address")
        job = Job(
            pagoda=__version__,
            num_pictures=listing.num_pictures,
            sources=listing.sha256,
            checkpoint=digest_of_weights(checkpoint),
            options=counts,
            id=new_id(),
        )
        begun = job.begun_in(folder)
        if begun is None:
            settle(draft, folder / SOURCES)
            job.write(folder)
    finally:
        draft.unlink(missing_ok=True)
    shards = make_folder(folder / FOLDER)
    sweep_drafts(shards)
    # A command that was killed took its workers with it, which is no fault of their pictures.
    for note in (folder / BEGUN).glob("*"):
        note.unlink()
    if begun is not None:
        done = sum(shard_path(folder, block.number).exists() for block in listing.blocks)
        print(
            f"going on in {folder}: {done} of {counted(len(listing.blocks), 'block')} are done",
            file=sys.stderr,
        )
    return begun or job, listing


def _stopped(folder: Path, listing: Listing) -> str:
    done = [block for block in listing.blocks if shard_path(folder, block.number).exists()]
    return (
        f"stopped after {sum(block.num_pictures for block in done)} of {counted(listing.num_pictures, 'picture')}; the"
        f" same command with --out {folder} goes on"
    )


def _finish(folder: Path, job: Job, listing: Listing, *, json: bool) -> int:
    """Write predictions.json, unless it was before, and tell what was found."""
    tally = Tally()
    found = tally.pass_on((shard_path(folder, block.number) for block in listing.blocks), json=json)
    if job.predictions and (folder / job.predictions).exists():
        deque(found, maxlen=0)
    else:
        path = write_free(
            folder / "predictions.json",
            lambda draft: write_predictions(draft, found, iter(tally.failures)),
        )
        replace(job, predictions=path.name).write(folder)
    return say_found(
        folder,
        num_objects=tally.num_objects,
        num_pictures=tally.num_pictures,
        num_sources=listing.num_pictures,
        remarks=tally.remarks.lines(0),
        failures=tally.failures,
    )


@dataclass
class Tally:
    """What is told at the end."""

    num_pictures: int = 0
    """that could be read"""
    num_objects: int = 0
    """in them"""
    failures: list[str] = field(default_factory=list)
    """why others could not"""
    remarks: Remarks = field(default_factory=Remarks)
    """on pictures that could"""

    def pass_on(self, shards: Iterable[Path], *, json: bool) -> Iterator[JsonObject]:
        """What was found in each picture, counted and, with `json`, printed on the way."""
        for row in chain.from_iterable(map(read_shard, shards)):
            if row.found is None:
                self.failures.append(str(row.error))
                continue
            self.num_pictures += 1
            self.num_objects += len(row.found["objects"])
            self.remarks.note_facts(Path(row.at), row.num_frames, row.peak)
            if json:
                print(json_text(row.found), flush=True)
            yield row.found
