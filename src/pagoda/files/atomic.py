"""Files that are there whole or not at all, names that are free, and names of data as names of files.

What a data set or somebody's JSON calls a video or a class may be anything: `../../x`, an absolute path, CON, a line
break. `safe_name` makes a file's name of it, `inside` proves that the place lies in its folder, `claim_file` and
`claim_folder` take a name that nobody else has.
"""

import errno
import hashlib
import os
import re
import shutil
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import count
from pathlib import Path

from pagoda.files.drafts import (
    draft_beside,
    draft_folder_beside,
    settle,
    settle_folder,
    settle_free,
    sweep_drafts,
)

MAX_NAME_BYTES = 200
"""Of what `safe_name` makes: file systems take 255, of which endings, numbers and temporary names need some"""
_SEPARATORS = re.compile(r'[/\\:*?"<>|]')
"""What separates folders, drives or streams on some system, or is refused there"""
_JOINERS = "\u200c\u200d"
"""Invisible, but part of how some alphabets and emoji are written"""
_UNPRINTED = frozenset(("Cc", "Cf", "Cs", "Zl", "Zp"))
"""Unicode's categories of control and format characters, halves of pairs, and separators of lines"""
_RESERVED = re.compile(
    r"(con|prn|aux|nul|clock\$|conin\$|conout\$|(com|lpt)[0-9¹²³])\s*(\.|$)", re.IGNORECASE
)
"""Names that are devices on Windows, whatever follows the dot"""
_REMEDIES = {
    errno.EEXIST: "that is a file where a folder is needed: choose another name",
    errno.ENOTDIR: "a file is named where a folder is needed: choose another folder",
    errno.EISDIR: "a folder has that name: choose another",
    errno.ENAMETOOLONG: "choose a shorter name",
    errno.EACCES: "choose a folder that you may write to",
    errno.EPERM: "choose a folder that you may write to",
    errno.EROFS: "choose a folder on a disk that can be written to",
}
"""by what stands in the way; else it is room that is missing, or a disk that fails"""
_HASH_LETTERS = 8
_HASHED = re.compile(rf"~[0-9a-f]{{{_HASH_LETTERS}}}$", re.IGNORECASE)


def write_atomically(path: str | Path, write: Callable[[Path], object]) -> Path:
    """Call `write(temporary)` beside `path`, then move it there: readers see all of it or the old one.

    On return it is on the disk. Raises OSError with the path when there is no space or permission; what stood
    there before is kept.

    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     path = write_atomically(Path(folder, "a.txt"), lambda draft: draft.write_text("whole"))
    ...     path.read_text(), [each.name for each in Path(folder).iterdir()]
    ('whole', ['a.txt'])
    """
    path = Path(path)
    with writing(path):
        draft = draft_beside(path)
        try:
            write(draft)
            settle(draft, path)
        finally:
            draft.unlink(missing_ok=True)
    return path


@contextmanager
def writing(path: str | Path) -> Iterator[None]:
    """Has an OSError, of a full disk or a folder that is not ours, say what could not be written and what to do.

    Raises ValueError for a path with a null byte.
    """
    if "\0" in str(path):
        raise ValueError(f"could not write {str(path)!r}: it holds a null byte; choose another name")
    try:
        yield
    except OSError as error:
        remedy = _REMEDIES.get(error.errno or 0, "free some space or choose another folder")
        raise OSError(f"could not write {path}: {error}; {remedy}") from error


@contextmanager
def whole_folder(path: str | Path) -> Iterator[Path]:
    """A private folder beside `path` to write into; when the block ends it gets that name, after an error it is gone.

    Raises FileExistsError, before anything is written, where `path` is there and no empty folder.

    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     with whole_folder(f"{folder}/set") as draft:
    ...         _ = Path(draft, "a.txt").write_text("whole")
    ...     [path.relative_to(folder).as_posix() for path in sorted(Path(folder).rglob("*"))]
    ['set', 'set/a.txt']
    """
    path = Path(path)
    refuse_occupied(path)
    with writing(path):
        sweep_drafts(path.parent)
        draft = draft_folder_beside(path)
    try:
        yield draft
        with writing(path):
            settle_folder(draft, path)
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def refuse_occupied(path: Path) -> None:
    """Raises FileExistsError where `path` is a file, a link or a folder that is not empty."""
    if os.path.lexists(path) and (path.is_symlink() or not path.is_dir() or any(path.iterdir())):
        raise FileExistsError(
            f"{path} is there already and no empty folder; choose another name or remove it"
        )


def make_folder(folder: str | Path) -> Path:
    """The folder, made where it is missing, with those it lies in. Raises OSError that says what to do."""
    with writing(folder):
        Path(folder).mkdir(parents=True, exist_ok=True)
    return Path(folder)


def safe_name(name: str, *, max_bytes: int = MAX_NAME_BYTES, space: str = " ") -> str:
    """The name of one file, without its ending, made of any name; letters of all alphabets are kept.

    It has no separator of any system, no leading dot, nothing invisible, is never empty, no device of Windows, NFC,
    has at most `max_bytes` in UTF-8, and `space` where the name has spaces. Different names may become the same: see
    `safe_names` and `claim_file`.

    >>> safe_name("../../etc/passwd"), safe_name("人"), safe_name("nul.tar"), safe_name("..")
    ('_.._etc_passwd', '人', '_nul.tar', '_')
    """
    printed = "".join(map(_printed, unicodedata.normalize("NFC", name)))
    text = _SEPARATORS.sub("_", re.sub(r"\s+", " ", printed)).lstrip(". ").rstrip(". ")
    text = f"_{text}" if _RESERVED.match(text) else text
    return text.replace(" ", space).encode()[:max_bytes].decode(errors="ignore").rstrip(". ") or "_"


def safe_names(names: Sequence[str], *, max_bytes: int = MAX_NAME_BYTES, space: str = " ") -> list[str]:
    """`safe_name` of each, all different, also on disks that do not tell a from A.

    Names that would share a file, or look as if they did, all end in a few letters of their hash, so what a name
    becomes does not depend on the order. Raises ValueError where a name stands twice.

    >>> safe_names(["cat", "a/b", "a:b"])
    ['cat', 'a_b~c14cddc0', 'a_b~6783a31e']
    """
    if len(set(names)) < len(names):
        raise ValueError(f"names must differ to get files of their own, got {list(names)[:20]}")
    plain = [safe_name(name, max_bytes=max_bytes, space=space) for name in names]
    counts = Counter(map(_folded, plain))
    return [
        short
        if counts[_folded(short)] == 1 and not _HASHED.search(short)
        else hashed_name(name, max_bytes=max_bytes, space=space)
        for name, short in zip(names, plain, strict=True)
    ]


def hashed_name(name: str, *, max_bytes: int = MAX_NAME_BYTES, space: str = " ") -> str:
    """`safe_name` with letters of the name's hash, for a name whose plain one is another's too.

    >>> hashed_name("a/b")
    'a_b~c14cddc0'
    """
    digest = hashlib.sha256(name.encode(errors="surrogatepass")).hexdigest()[:_HASH_LETTERS]
    return f"{safe_name(name, max_bytes=max_bytes - _HASH_LETTERS - 1, space=space)}~{digest}"


def inside(folder: str | Path, *parts: str) -> Path:
    """`folder` / parts; ValueError where that lies elsewhere, by `..`, an absolute part or a link on the way.

    >>> inside("run", "images", "a.png").as_posix()
    'run/images/a.png'
    """
    path = Path(folder).joinpath(*parts)
    root = os.path.realpath(folder)
    place = os.path.join(os.path.realpath(path.parent), path.name)
    if path.name in ("", "..") or not place.startswith(os.path.join(root, "")):
        raise ValueError(
            f"{path} is not inside {folder}: it would be written to {place}; remove the link on the way, or choose"
            " another folder"
        )
    return path


def no_way_out(path: Path) -> Path:
    """The path that is written in place; ValueError where it is a link that leads out of its folder."""
    root = os.path.join(os.path.realpath(path.parent), "")
    if path.is_symlink() and not os.path.realpath(path).startswith(root):
        raise ValueError(
            f"{path} is a link to {os.path.realpath(path)}, which would be written to; remove the link, or take"
            " another folder"
        )
    return path


def claim_file(path: str | Path) -> Path:
    """An empty file at `path`, or at the first of NAME-2, NAME-3 … that nobody has: two that ask never get the same.

    Folders on the way are made. The claim is replaced by `write_atomically`; remove it where nothing is written.

    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     claim_file(f"{folder}/a.txt").name, claim_file(f"{folder}/a.txt").name
    ('a.txt', 'a-2.txt')
    """
    path = Path(path)
    make_folder(path.parent)
    for free in numbered(path):
        try:
            os.close(os.open(free, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644))
            return free
        except FileExistsError:
            continue
    raise AssertionError("numbers have no end")


def write_free(path: str | Path, write: Callable[[Path], object]) -> Path:
    """`write_atomically` at `path`, or at the first numbered name that is free; nothing that exists is replaced, and no
    name is taken before the file is whole.

    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     [write_free(f"{folder}/a.txt", lambda draft: draft.write_text("")).name for _ in range(2)]
    ['a.txt', 'a-2.txt']
    """
    path = Path(path)
    with writing(path):
        draft = draft_beside(path)
        try:
            write(draft)
            return settle_free(draft, numbered(path))
        finally:
            draft.unlink(missing_ok=True)


def numbered(path: Path) -> Iterator[Path]:
    """`path`, and then NAME-2, NAME-3 … without end.

    >>> from itertools import islice
    >>> [path.name for path in islice(numbered(Path("a.txt")), 3)]
    ['a.txt', 'a-2.txt', 'a-3.txt']
    """
    yield path
    for number in count(2):
        yield path.with_stem(f"{path.stem}-{number}")


def claim_folder(parent: str | Path, name: str) -> Path:
    """A new folder NAME-1, NAME-2 … in `parent`, never one that exists; NAME is made a file's name first.

    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     claim_folder(folder, "run").name, claim_folder(folder, "run").name
    ('run-1', 'run-2')
    """
    stem = safe_name(name)
    make_folder(parent)
    for number in count(1):
        folder = Path(parent) / f"{stem}-{number}"
        try:
            folder.mkdir()
            return folder
        except FileExistsError:
            continue
    raise AssertionError("numbers have no end")


def _printed(letter: str) -> str:
    """The letter; a space for what has no shape of its own."""
    is_hidden = unicodedata.category(letter) in _UNPRINTED and letter not in _JOINERS
    return " " if is_hidden else letter


def _folded(name: str) -> str:
    return unicodedata.normalize("NFC", name.casefold())
