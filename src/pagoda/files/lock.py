"""One run, one writer: a folder that a process holds as long as it writes its run there."""

import json
import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from warnings import warn

from filelock import FileLock, Timeout

from pagoda.files.atomic import make_folder, no_way_out, write_atomically
from pagoda.files.drafts import is_running, sweep_drafts

LOCK, WRITER = ".lock", ".writer.json"
WAIT_SECONDS = 30
"""for the reading processes of a writer that was killed, which end a little later"""


class FolderInUseError(OSError):
    """Another process writes its run into the folder."""


@dataclass(frozen=True)
class Writer:
    """Who holds a folder, as .writer.json says it."""

    pid: int
    """of its process"""
    host: str
    """the machine, as it calls itself"""
    doing: str
    """the verb in "process 7 trains in this folder": trains"""
    since: str
    """local time, ISO 8601"""

    def describe(self) -> str:
        since = datetime.fromisoformat(self.since)
        is_today = since.date() == datetime.now().date()
        time = since.strftime("%H:%M" if is_today else "%Y-%m-%d %H:%M")
        where = "" if self.host == platform.node() else f" on {self.host}"
        return f"process {self.pid}{where} {self.doing} in this folder since {time}"

    @property
    def is_gone(self) -> bool:
        return self.host == platform.node() and not is_running(self.pid)


@contextmanager
def hold_folder(folder: str | Path, doing: str) -> Iterator[None]:
    """Keep other processes from writing a run into `folder` until the block is left; `doing` is what they are told
    that this one does: "trains". What killed processes left half written is removed first.

    Raises FolderInUseError, with who it is and since when, where another one holds it.

    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder, hold_folder(folder, "trains"):
    ...     writer = writer_of(folder)
    >>> writer.doing, writer.pid == os.getpid()
    ('trains', True)
    """
    folder = make_folder(folder)
    lock = FileLock(no_way_out(folder / LOCK))
    try:
        lock.acquire(timeout=0)
    except Timeout:
        _wait_for(lock, folder)
    except NotImplementedError:  # some disks of clusters
        warn(
            f"the disk of {folder} knows no locks: see to it that no other process writes there", stacklevel=3
        )
    try:
        sweep_drafts(folder)
        writer = Writer(os.getpid(), platform.node(), doing, datetime.now().isoformat(timespec="seconds"))
        write_atomically(
            folder / WRITER,
            lambda path: path.write_text(json.dumps(asdict(writer), allow_nan=False), encoding="utf-8"),
        )
        yield
    finally:
        (folder / WRITER).unlink(missing_ok=True)
        lock.release()


def writer_of(folder: str | Path) -> Writer | None:
    """Who says they hold the folder, living or not; None where nobody does."""
    try:
        return Writer(**json.loads((Path(folder) / WRITER).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None


def _wait_for(lock: FileLock, folder: Path) -> None:
    """Until the processes have gone that a killed writer has left; raises where the writer lives."""
    writer = writer_of(folder)
    try:
        lock.acquire(timeout=WAIT_SECONDS if writer is None or writer.is_gone else 0)
    except Timeout as error:
        writer = writer_of(folder) or writer
        who = "another process writes in this folder" if writer is None else writer.describe()
        raise FolderInUseError(
            f"{who} ({folder}); wait for its end, or stop it, or choose another folder"
        ) from error
