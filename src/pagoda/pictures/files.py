"""Which files are pictures, told by their endings, and in which order those of a folder follow one another."""

import glob
import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from PIL import Image

from pagoda.files.text import with_home
from pagoda.messages import counted

NOT_PICTURES = frozenset(("EPS", "PDF", "MPEG", "IPTC", "WMF", "BUFR", "GRIB", "HDF5"))
"""Formats that Pillow knows, but as documents, films and records, or only with another program's help"""
ANNOTATION_ENDINGS = frozenset((".txt", ".json", ".xml", ".yaml", ".yml", ".csv", ".md", ".cache"))
"""What lies beside the pictures of a data set and is read, or not, as what it is"""


def natural_order(path: str | Path) -> tuple:
    """A key to sort by: folder by folder, runs of digits as numbers, so frame_2 comes before frame_10.

    Two paths are never equal by it: of 01 and 1 the one that sorts first as text comes first.

    >>> sorted(["frame_10.png", "frame_2.png", "b/1.png"], key=natural_order)
    ['b/1.png', 'frame_2.png', 'frame_10.png']
    """
    # Text and numbers alternate from a text on, so like is compared with like.
    parts = tuple(
        tuple(int(piece) if index % 2 else piece for index, piece in enumerate(re.split(r"(\d+)", part)))
        for part in Path(path).parts
    )
    return parts, str(path)


def picture_endings() -> frozenset[str]:
    """The endings, small letters with the dot, of all pictures that the installed Pillow can read.

    >>> sorted(picture_endings() & {".png", ".jpg", ".pdf", ".txt"})
    ['.jpg', '.png']
    """
    Image.init()
    return _endings(len(Image.EXTENSION), len(Image.OPEN))


@lru_cache(maxsize=1)
def _endings(num_known: int, num_readable: int) -> frozenset[str]:
    """Told anew when another library has registered more formats."""
    readable = set(Image.OPEN) - NOT_PICTURES
    if "JPEG" in readable:
        readable.add("MPO")  # opened as JPEG, under its own name only written
    return frozenset(ending for ending, kind in Image.EXTENSION.items() if kind in readable)


def is_picture(path: str | Path) -> bool:
    """Whether a file is a picture, by its name alone; the ._ files a Mac leaves on foreign disks are none.

    >>> is_picture("a/B.JPG"), is_picture("notes.txt"), is_picture("._a.png")
    (True, False, False)
    """
    path = Path(path)
    return path.suffix.lower() in picture_endings() and not path.name.startswith("._")


@dataclass(frozen=True)
class FoundPictures:
    """What a folder or pattern gave, in `natural_order`.

    >>> FoundPictures([Path("a.png")], [Path("b.heic"), Path("c.heic")], []).left_out()
    '2 files are no picture by the ending (2 .heic)'
    """

    pictures: list[Path]
    """by their endings; at least one"""
    others: list[Path]
    """files that are no pictures by their endings"""
    folders: list[Path]
    """not looked into"""

    def left_out(self) -> str:
        """What was not taken, in words; "" where that is nothing."""
        words = (
            [f"{_files(self.others)} no picture by the ending ({_count(self.others)})"] if self.others else []
        )
        if self.folders:
            first = self.folders[0]
            words.append(
                f"{_folders(self.folders)} not looked into (give '{first.parent}/**/*' for all below)"
            )
        return "; ".join(words)


def find_pictures(source: str | Path) -> FoundPictures:
    """The pictures `source` stands for: one file, a folder (its own files only) or a glob pattern.

    Raises FileNotFoundError where there is none, with what is there instead.
    """
    path = with_home(source)
    if path.is_file():
        return FoundPictures([path], [], [])
    if path.is_dir():
        entries = sorted(path.iterdir(), key=natural_order)
        what = f"no pictures in the folder {path}"
    elif glob.has_magic(str(path)):
        entries = sorted(map(Path, glob.glob(str(path), recursive=True)), key=natural_order)
        what = f"nothing that is a picture matches {path}"
        if path.parent.is_dir() and glob.has_magic(str(path.parent)):
            literal = Path(glob.escape(str(path.parent)), path.name)
            what += f" (a folder's name is part of the pattern; the one that is there: {literal})"
    else:
        raise FileNotFoundError(f"expected a picture, a folder or a glob pattern, but there is no {path}")
    files = [entry for entry in entries if entry.is_file()]
    pictures = [file for file in files if is_picture(file)]
    if not pictures:
        raise FileNotFoundError(f"{what}; {_contents(entries)} (pictures end in {_common_endings()})")
    others = [file for file in files if not is_picture(file) and not file.name.startswith(".")]
    # A pattern with ** has been in its folders.
    folders = [] if "**" in path.parts else [entry for entry in entries if entry.is_dir()]
    return FoundPictures(pictures, others, folders)


def list_pictures(source: str | Path) -> list[Path]:
    """The pictures `source` stands for, in `natural_order`: one file, a folder (its own files only) or a pattern.

    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     for name in ("10.png", "9.png", "notes.txt"):
    ...         Path(folder, name).touch()
    ...     [path.name for path in list_pictures(folder)]
    ['9.png', '10.png']
    """
    return find_pictures(source).pictures


def is_other_file(path: Path) -> bool:
    """Whether a file among a data set's pictures is, by its ending, neither a picture nor an annotation."""
    is_known = is_picture(path) or path.suffix.lower() in ANNOTATION_ENDINGS
    return not is_known and not path.name.startswith(".") and path.is_file()


def other_files(folders: Iterable[Path]) -> list[Path]:
    """What lies in the folders of a data set's pictures and is neither a picture nor an annotation."""
    entries = [entry for folder in sorted(set(folders)) if folder.is_dir() for entry in folder.iterdir()]
    return sorted(filter(is_other_file, entries), key=natural_order)


def other_files_note(folders: Iterable[Path]) -> list[str]:
    """One line on `other_files`, none where there are none."""
    files = other_files(folders)
    return [f"{other_files_words(files)}; convert them to PNG or JPEG if they are pictures"] if files else []


def other_files_words(files: list[Path]) -> str:
    """How many of which endings, and the first of them; at least one.

    >>> other_files_words([Path("a.heic"), Path("b.heic"), Path("c.dng")])
    '3 files are left out, being no picture that Pillow reads (2 .heic, 1 .dng); the first is a.heic'
    """
    return f"{_files(files)} left out, being no picture that Pillow reads ({_count(files)}); the first is {files[0]}"


def _files(files: list[Path]) -> str:
    return counted(len(files), "file is", "files are")


def _folders(folders: list[Path]) -> str:
    return counted(len(folders), "folder is", "folders are")


def _count(files: list[Path]) -> str:
    """2 .heic, 1 .txt"""
    counts = Counter(file.suffix.lower() or "without ending" for file in files).most_common()
    more = f", … ({len(counts)} endings)" if len(counts) > 6 else ""
    return ", ".join(f"{count} {ending}" for ending, count in counts[:6]) + more


def _contents(entries: list[Path]) -> str:
    if not entries:
        return "nothing is there"
    folders = [entry for entry in entries if entry.is_dir()]
    hint = f"; for the pictures one level down give '{folders[0].parent}/*/*'" if folders else ""
    return f"found {counted(len(entries), 'entry', 'entries')}, the first is {entries[0].name}{hint}"


def _common_endings() -> str:
    common = (".jpg", ".png", ".webp", ".tif", ".bmp", ".gif", ".avif", ".jp2")
    endings = picture_endings()
    return f"{', '.join(ending for ending in common if ending in endings)}, … {len(endings)} endings in all"
