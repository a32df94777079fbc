"""What one run looks at, with what and how: kept beside its results, so that only the same run goes on with them."""

from dataclasses import asdict, dataclass, fields
from pathlib import Path
from secrets import token_hex

from pagoda.cluster.shards import FOLDER
from pagoda.files.atomic import write_atomically
from pagoda.files.text import json_text, read_json
from pagoda.finding.look import Look
from pagoda.messages import counted
from pagoda.plain import JsonObject, from_plain
from pagoda.weights.file_types import is_remote
from pagoda.weights.remote import fetch
from pagoda.weights.shards import file_in, sha256_of

JOB, SOURCES = "run.json", "sources.jsonl"


@dataclass(frozen=True, kw_only=True)
class Job:
    """As run.json says it."""

    pagoda: str
    """its version"""
    num_pictures: int
    """in sources.jsonl"""
    sources: str
    """SHA-256 of sources.jsonl"""
    checkpoint: str
    """SHA-256 of the weights"""
    options: JsonObject
    """what changes which objects are found"""
    id: str = ""
    """of the run that began it"""
    predictions: str = ""
    """the file of all results; "" before it is written"""

    @classmethod
    def read(cls, out: str | Path) -> "Job | None":
        """The one that has begun in a folder; None where none has. Raises ValueError for a run.json of another kind."""
        path = Path(out) / JOB
        return from_plain(cls, read_json(path)) if path.exists() else None

    def write(self, out: str | Path) -> None:
        text = json_text(asdict(self), indent=1)
        write_atomically(Path(out) / JOB, lambda draft: draft.write_text(f"{text}\n", encoding="utf-8"))

    def begun_in(self, out: str | Path) -> "Job | None":
        """The same job, where it has begun in that folder; None where nothing has.

        Raises ValueError that says what differs, or that there are results which nobody knows the source of.
        """
        there = Job.read(out)
        if there is None:
            if any((Path(out) / FOLDER).glob("*.parquet")):
                raise ValueError(
                    f"{Path(out) / FOLDER} holds Parquet files, but {out} no {JOB}: choose another --out"
                )
            return None
        differs = [_SAYS[field.name] for field in fields(self) if _differ(self, there, field.name)]
        if differs:
            raise ValueError(
                f"{out} holds the results of another run over {counted(there.num_pictures, 'picture')}:"
                f" {self._changes(there, differs)}; give the same again to go on with it, or choose another --out"
            )
        return there

    def _changes(self, there: "Job", differs: list[str]) -> str:
        names = {*self.options, *there.options}
        changed = sorted(name for name in names if self.options.get(name) != there.options.get(name))
        told = [f"--{name.replace('_', '-')} was {there.options.get(name)}" for name in changed]
        return ", ".join([*filter(None, differs), *told])


_SAYS = {
    "pagoda": "another version of Pagoda looked at them",
    "num_pictures": "",
    "sources": "the list of pictures was another",
    "checkpoint": "the weights were others",
    "options": "",
}


def _differ(job: Job, there: Job, name: str) -> bool:
    return name in _SAYS and getattr(job, name) != getattr(there, name)


def options_that_count(look: Look, *, precision: str, take: str, model: str) -> JsonObject:
    """Those of a run that decide what is found; how many are looked at together and by whom does not.

    >>> options_that_count(Look(), precision="fp32", take="", model="")["min_score"]
    0.3
    """
    told = {name: value for name, value in asdict(look).items() if name != "batch_size"}
    source = sha256_of(model.rpartition(":")[0]) if model else ""
    return {**told, "precision": precision, "take": take, "model": source}


def digest_of_weights(checkpoint: str) -> str:
    """SHA-256 of a checkpoint's file, fetched where it is an address; of an OpenVINO model of both files.

    Raises OSError where there is none.
    """
    path = fetch(checkpoint) if is_remote(checkpoint) else Path(checkpoint).expanduser()
    path = file_in(path) if path.is_dir() else path
    beside = path.with_suffix(".bin")
    if path.suffix.lower() == ".xml" and beside.is_file():
        return f"{sha256_of(path)} {sha256_of(beside)}"
    return sha256_of(path)


def new_id() -> str:
    """Of a run that begins."""
    return token_hex(8)
