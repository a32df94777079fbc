"""Ray, started for one command on this machine or joined where it runs; what it says goes into a file."""

import os
import re
import secrets
import shutil
import socket
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path
from typing import IO, NamedTuple

LOG = "ray.log"
STORE_BYTES = 200 * 2**20
"""of shared memory, in which only names and counts lie"""
ANSWER_SECONDS = 10.0
LOCAL = ("127.0.0.1", "::1")
_ALONE = {
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",  # by its name for other systems: it binds to 127.0.0.1 alone
    "RAY_worker_niceness": "0",  # as quick as one process beside other programs
    "RAY_AUTH_MODE": "token",  # other people of this machine are kept out
}


class Resources(NamedTuple):
    """What the machines of a cluster have.

    >>> Resources(((8, 0), (3, 2))).places(threads=2, on_gpus=False)
    5
    """

    machines: tuple[tuple[int, int], ...]
    """(cores, GPUs) of each"""

    @property
    def num_gpus(self) -> int:
        return sum(gpus for _, gpus in self.machines)

    def places(self, threads: int, *, on_gpus: bool) -> int:
        """For how many workers there is room at once, each with so many cores of one machine and perhaps a GPU."""
        return sum(min(cores // threads, gpus if on_gpus else cores) for cores, gpus in self.machines)


def check_ray() -> None:
    """Raises ImportError that names the extra, where a package is missing."""
    missing = [name for name in ("ray", "pyarrow", "fsspec") if find_spec(name) is None]
    if missing:
        raise ImportError(
            f"--engine ray needs {', '.join(missing)}; install with: pip install 'pagoda-vision[scale]'"
        )


@contextmanager
def ray_session(address: str, num_cores: int | None, out: Path) -> Iterator[tuple[Resources, IO[str]]]:
    """(what the cluster has, this command's own standard error) as long as the block lasts.

    Args:
        address: of a cluster that runs; "": one is started, for this block alone, that nobody else can reach.
        num_cores: that one started here shall count; None: those of the machine.
        out: the folder that what Ray prints goes to.

    Raises ConnectionError where no cluster answers.
    """
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    if not address:
        os.environ.update(_ALONE, RAY_AUTH_TOKEN=secrets.token_hex(32))
    elif (Path.home() / ".ray" / "auth_token").is_file():
        # Heeded at the import alone; with "auto" Ray sees to it itself.
        os.environ.setdefault("RAY_AUTH_MODE", "token")
    folder = None if address else tempfile.mkdtemp(prefix="pagoda-ray-")
    with _said_to(out / LOG) as own:
        import ray

        try:
            if address:
                _join(address)
            else:
                ray.init(
                    address="local",
                    num_cpus=num_cores,
                    include_dashboard=False,
                    object_store_memory=STORE_BYTES,
                    _temp_dir=folder,
                )
                _check_is_alone()
            has = [node["Resources"] for node in ray.nodes() if node["Alive"]]
            yield Resources(tuple((int(of.get("CPU", 0)), int(of.get("GPU", 0))) for of in has)), own
        finally:
            ray.shutdown()
            if folder is not None:
                shutil.rmtree(folder, ignore_errors=True)


def _join(address: str) -> None:
    """Raises ConnectionError where nobody answers; at a port that is not there Ray itself would try for minutes."""
    import ray

    try:
        if place := re.fullmatch(r"(?:ray://)?([^/]+):(\d+)", address):
            socket.create_connection((place[1], int(place[2])), ANSWER_SECONDS).close()
        ray.init(address=address)
    except (OSError, RuntimeError, ValueError) as error:
        first = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise ConnectionError(
            f"no Ray cluster answers at --cluster {address}: {first}; start one with `ray start --head`, or leave"
            " --cluster out"
        ) from error


def _check_is_alone() -> None:
    """Raises RuntimeError where the cluster listens to other machines: Ray was imported before, with other settings."""
    import ray

    places = {node["NodeManagerAddress"] for node in ray.nodes()}
    if not places <= set(LOCAL):
        raise RuntimeError(
            f"Ray was started on {', '.join(sorted(places))} instead of 127.0.0.1; import nothing of Ray before"
        )


@contextmanager
def _said_to(path: Path) -> Iterator[IO[str]]:
    """What this process prints and its C++ parts say goes into a file; gives the standard error that it had.

    The file stays open: Ray's loggers hold it as long as the process lives.
    """
    log = path.open("a", encoding="utf-8", errors="replace", buffering=1)
    before = sys.stdout, sys.stderr
    has_handle = False
    with suppress(OSError, ValueError):
        has_handle = sys.stderr.fileno() == 2
    sys.stdout.flush()
    sys.stderr.flush()
    handle = os.dup(2)
    own = (
        os.fdopen(os.dup(2), "w", encoding="utf-8", errors="replace", buffering=1)
        if has_handle
        else before[1]
    )
    os.dup2(log.fileno(), 2)
    sys.stdout = sys.stderr = log
    try:
        yield own
    finally:
        sys.stdout, sys.stderr = before
        os.dup2(handle, 2)
        os.close(handle)
        if own is not before[1]:
            own.close()
