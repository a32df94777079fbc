"""Files under a private name until they are whole and on the disk, and what killed processes left of them."""

import errno
import os
import platform
import re
import secrets
import shutil
import tempfile
import time
from collections.abc import Iterable
from contextlib import suppress
from hashlib import sha256
from pathlib import Path

DAY_SECONDS = 86_400
_NAME = re.compile(r"\.draft-(?P<machine>[0-9a-f]{8})-(?P<pid>\d+)-(?P<run>[0-9a-f]{8})-")
_RUN = secrets.token_hex(4)


def draft_beside(path: Path, *, suffix: str = "") -> Path:
    """A new, empty file in the folder of `path`; its name says which process writes it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=_prefix(), suffix=suffix)
    os.close(handle)
    return Path(name)


def draft_folder_beside(path: Path) -> Path:
    """A new, empty folder in that of `path`; its name says which process writes it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    folder = path.parent / f"{_prefix()}{secrets.token_hex(4)}"
    folder.mkdir()
    return folder


def settle_folder(draft: Path, path: Path) -> None:
    """Give a folder that is whole its name, which nothing or an empty folder has; raises OSError where more is there.

    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     path = Path(folder, "set")
    ...     settle_folder(draft_folder_beside(path), path)
    ...     path.is_dir()
    True
    """
    with suppress(FileNotFoundError):
        path.rmdir()
    os.rename(draft, path)
    _names_to_disk(path.parent)


def _prefix() -> str:
    return f".draft-{_machine()}-{os.getpid()}-{_RUN}-"


def settle(draft: Path, path: Path, *, keep_as: Path | None = None) -> None:
    """Give a draft that is whole its name; on return it is on the disk.

    What had the name before goes, or is kept under the name `keep_as`; there is no moment without either.

    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     path = Path(folder, "a.txt")
    ...     draft = draft_beside(path)
    ...     _ = draft.write_text("whole")
    ...     path.exists(), settle(draft, path), path.read_text()
    (False, None, 'whole')
    """
    _content_to_disk(draft)
    if keep_as is not None and path.exists():
        _name_also(path, keep_as)
    os.replace(draft, path)
    _names_to_disk(path.parent)


def settle_free(draft: Path, names: Iterable[Path]) -> Path:
    """Give a draft the first name that nobody has, and return it; two processes that ask never get the same.

    Raises FileExistsError where all `names` are taken.
    """
    _content_to_disk(draft)
    for path in names:
        try:
            _take_name(draft, path)
        except FileExistsError:
            continue
        _names_to_disk(path.parent)
        return path
    raise FileExistsError(f"no name is free for {draft}")


def _take_name(draft: Path, path: Path) -> None:
    try:
        os.link(draft, path)
    except FileExistsError:
        raise
    except OSError:  # a disk without hard links: claim the name, then replace the claim
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY))
        os.replace(draft, path)


def _content_to_disk(draft: Path) -> None:
    draft.chmod(0o644)
    with draft.open("r+b") as file:
        os.fsync(file.fileno())


def _name_also(path: Path, other: Path) -> None:
    other.unlink(missing_ok=True)
    try:
        os.link(path, other)
    except OSError:  # a disk without hard links
        os.replace(path, other)


def _names_to_disk(folder: Path) -> None:
    """Have the names in a folder written, where the system knows such a thing."""
    if os.name != "posix":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # some network disks write names at once
            raise
    finally:
        os.close(handle)


def sweep_drafts(folder: str | Path) -> list[Path]:
    """Remove the drafts, files and folders, of killed processes; returns them. Those of a living process stay.

    What another machine writes goes when nobody has touched it for a day.
    """
    entries = [Path(entry) for entry in os.scandir(folder)] if Path(folder).is_dir() else []
    left = [path for path in entries if _is_left_over(path)]
    for path in left:
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)
    return left


def is_running(pid: int) -> bool:
    """Whether a process of this machine lives; True where nobody can tell.

    >>> is_running(os.getpid())
    True
    """
    if os.name != "posix":
        return True
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True


def _is_left_over(path: Path) -> bool:
    name = _NAME.match(path.name)
    if name is None:
        return False
    pid = int(name["pid"])
    is_gone = name["run"] != _RUN if pid == os.getpid() else not is_running(pid)
    if name["machine"] == _machine() and is_gone:
        return True
    try:
        return time.time() - path.stat().st_mtime > DAY_SECONDS
    except FileNotFoundError:
        return False


def _machine() -> str:
    """Eight digits for the machine, or the container: process ids are those of one of them."""
    try:
        space = os.readlink("/proc/self/ns/pid")
    except OSError:
        space = ""
    return sha256(f"{platform.node()} {space}".encode()).hexdigest()[:8]
