"""VOC folders on disk: which XML files there are, which split each is in, and where its picture lies.

Either Annotations/ with lists in ImageSets/Main/, or XML files beside or near their pictures, in folders of splits or
in one. Lists may also lie in ImageSets/ or at the root, where nothing else tells the splits. A picture's key is the
path of its XML file, without ending, below Annotations/ or else below the data set.
"""

import re
from collections.abc import Container, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from pagoda.data.reading.annotation_files import files_like
from pagoda.data.reading.picture_paths import PictureFinder, files_below
from pagoda.data.reading.splits import files_by_split, is_split_name, split_in_name
from pagoda.files.text import read_text
from pagoda.messages import counted
from pagoda.pictures.read import is_picture

PICTURE_FOLDERS = ("JPEGImages", "images", "../images", "../JPEGImages")
NEAR_FOLDERS = ("JPEGImages", "images", "Images", "data")
"""Where pictures lie near the folder of their XML files, in a data set without Annotations/"""

LIST_NAMES = ("trainval", "minival")
"""Lists that no `split_in_name` tells"""

_CLASS_LIST = re.compile(r'("[^"]*"|\S+)\s+-?[01]\s*')
_VOC = re.compile(rb"<annotation[\s>]")


@dataclass(frozen=True)
class VocSet:
    """The annotation files of one data set."""

    root: Path
    """the folder of the data set"""
    files: dict[str, Path]
    """key → XML file"""
    splits: dict[str, tuple[Path, ...]]
    """split → its list, or the folders of its files"""
    keys: dict[str, list[str]]
    """split → its pictures in order; listed ones may have no file"""
    absent: dict[str, str] = field(default_factory=dict)
    """split of whose pictures none has a file → what that means"""
    unread: tuple[Path, ...] = ()
    """files of no split"""
    has_folder: bool = True
    """whether they lie in Annotations/"""

    @cached_property
    def pictures(self) -> Path:
        """The folder below which the pictures lie; FileNotFoundError where there is none."""
        return _pictures_folder(self.root) if self.has_folder else self.root.resolve()

    @cached_property
    def stored(self) -> frozenset[str]:
        """The files below `pictures`, relative to it."""
        found = (path for path in self.pictures.rglob("*") if path.suffix.lower() not in (".xml", ".txt"))
        return frozenset(path.relative_to(self.pictures).as_posix() for path in found)

    @cached_property
    def _by_stem(self) -> dict[str, str]:
        """Pictures by their path without ending; of several the first by the alphabet."""
        pictures = sorted(filter(is_picture, self.stored), reverse=True)
        return {name.rpartition(".")[0]: name for name in pictures}

    def picture(self, key: str, written: str) -> str | None:
        """The picture of a file that calls it `written`, relative to `pictures`; None where it is not near."""
        folder = PurePosixPath(key).parent
        name = written.replace("\\", "/")
        own = PurePosixPath(key).name
        for home in self._homes(folder):
            for each in dict.fromkeys((name, name.rpartition("/")[2])):
                if each and (candidate := (home / each).as_posix()) in self.stored:
                    return candidate
            if (found := self._by_stem.get((home / own).as_posix())) is not None:
                return found
        return None

    def _homes(self, folder: PurePosixPath) -> Iterator[PurePosixPath]:
        yield folder
        if self.has_folder:
            yield PurePosixPath()
            yield PurePosixPath("Annotations") / folder
            return
        parts = folder.parts
        for depth in range(len(parts), 0, -1):  # …/labels/a → …/images/a
            for near in NEAR_FOLDERS:
                yield PurePosixPath(*parts[: depth - 1], near, *parts[depth:])
        for near in NEAR_FOLDERS:
            yield from (PurePosixPath(*parts[:-1], near), PurePosixPath(near))


def find_voc(root: Path) -> VocSet | None:
    """The VOC files below a folder; None where there is none."""
    folder = root / "Annotations"
    files = {_key(path, folder): path for path in sorted(files_like(folder, "**/*.xml"))}
    if files:
        if lists := voc_splits(root, files):
            return _listed(root, files, lists)
    else:
        folder = root
        files = {_key(path, root): path for path in sorted(files_like(root, "**/*.xml")) if _is_voc(path)}
    if not files:
        return None
    by_split, alone = files_by_split(list(files.values()), folder)
    if len(by_split) == 1 and not alone and (lists := _loose_lists(root, files)):
        return _listed(root, files, lists, has_folder=folder != root)
    keys = {name: [_key(path, folder) for path in paths] for name, paths in by_split.items()}
    places = {name: tuple(dict.fromkeys(path.parent for path in paths)) for name, paths in by_split.items()}
    return VocSet(root, files, places, keys, unread=tuple(alone), has_folder=folder != root)


def voc_splits(root: str | Path, keys: Container[str] = ()) -> dict[str, tuple[Path, ...]]:
    """Split name → list file. Lists of one class (two columns: picture, ±1) are not splits, unless there are no
    others, as in VoTT's exports: of these all of a split together list its pictures.

    `keys`: of the pictures there are, whose names may end as such a line does ("image 1")."""
    return _as_splits(sorted(files_like(Path(root) / "ImageSets" / "Main", "*.txt")), keys)


def _as_splits(lists: Sequence[Path], keys: Container[str]) -> dict[str, tuple[Path, ...]]:
    plain: dict[str, tuple[Path, ...]] = {}
    by_class: dict[str, tuple[Path, ...]] = {}
    for path in lists:
        first = next(iter(_lines(path)), "")
        split = path.stem.rpartition("_")[2]
        if not _CLASS_LIST.fullmatch(first) or first.strip() in keys:
            plain[path.stem] = (path,)
        elif is_split_name(split):
            by_class[split] = (*by_class.get(split, ()), path)
    return plain or by_class


def _loose_lists(root: Path, files: dict[str, Path]) -> dict[str, tuple[Path, ...]]:
    """Split name → list file in ImageSets/, or else at the root, where other texts lie, too.

    Where one lists pictures that have an XML file, all that are called as splits are count, and of the others those
    of nothing but such pictures.
    """
    by_name = _by_name(files)
    for folder in (root / "ImageSets", root):
        texts = [path for path in sorted(files_like(folder, "*.txt")) if path.stem not in by_name]
        known = {path: _share_known(path, files, by_name) for path in texts}
        if lists := [path for path in texts if known[path] == 1 or _is_list_name(path.stem)]:
            return _as_splits(lists, files) if any(known[path] for path in lists) else {}
    return {}


def _is_list_name(name: str) -> bool:
    return name.lower() in LIST_NAMES or split_in_name(name) is not None


def _share_known(path: Path, files: dict[str, Path], by_name: dict[str, list[str]]) -> float:
    """The share of a text's lines that mean a picture with an XML file."""
    try:
        lines = _lines(path)
    except (ValueError, OSError):
        return 0.0
    known = [_listed_key(_picture_of(line, files), files, by_name) in files for line in lines]
    return sum(known) / max(1, len(known))


def _by_name(files: dict[str, Path]) -> dict[str, list[str]]:
    """Name of an XML file without ending → the keys that end so."""
    by_name: dict[str, list[str]] = {}
    for key in files:
        by_name.setdefault(PurePosixPath(key).name, []).append(key)
    return by_name


def _pictures_folder(root: Path) -> Path:
    """The folder beside the annotations that holds the pictures; FileNotFoundError where there is none."""
    for name in PICTURE_FOLDERS:
        if (root / name).is_dir():
            return (root / name).resolve()
    if any(is_picture(path) for path in root.rglob("*")):
        return root.resolve()
    raise FileNotFoundError(f"no folder of pictures for {root}: looked for {', '.join(PICTURE_FOLDERS)}")


class Pictures(NamedTuple):
    """Where the pictures of some keys lie."""

    folder: Path
    files: list[str]
    """relative to `folder`; where there is none, the name it should have"""
    notes: list[str]
    ambiguous: list[str]


def place_pictures(voc: VocSet, keys: Sequence[str], written: Sequence[str], split: str | None) -> Pictures:
    """The pictures of `keys`, of one split or of all, whose XML files call them `written`."""
    found = [voc.picture(key, name) for key, name in zip(keys, written, strict=True)]
    ambiguous = _shared(keys, found)
    if None not in found:
        return Pictures(voc.pictures, [name for name in found if name is not None], [], ambiguous)
    homes = {
        PurePosixPath(key).parent: PurePosixPath(name).parent
        for key, name in zip(keys, found, strict=True)
        if name is not None
    }
    names = [
        name or _expected(key, text, homes) for key, text, name in zip(keys, written, found, strict=True)
    ]
    finder = PictureFinder(voc.root, split or "")
    places = finder.locate(names, [[voc.pictures]] * len(names))
    folder, files = files_below(names, places, voc.pictures, voc.root.resolve())
    return Pictures(folder, files, finder.notes(str(voc.root)), ambiguous + finder.ambiguous)


def _expected(key: str, written: str, homes: dict[PurePosixPath, PurePosixPath]) -> str:
    """What a missing picture is called: where its neighbours are, if they are found; else as its file says."""
    name = (written or f"{PurePosixPath(key).name}.jpg").replace("\\", "/")
    home = homes.get(PurePosixPath(key).parent)
    return written or f"{key}.jpg" if home is None else (home / name.rpartition("/")[2]).as_posix()


def _shared(keys: Sequence[str], found: Sequence[str | None]) -> list[str]:
    """A line for each picture that the files of two keys call theirs."""
    owners: dict[str, str] = {}
    pairs = [(key, name) for key, name in zip(keys, found, strict=True) if name is not None]
    return [
        f"{owner}.xml and {key}.xml both name {name}"
        for key, name in pairs
        if (owner := owners.setdefault(name, key)) != key
    ]


def _listed(
    root: Path, files: dict[str, Path], lists: dict[str, tuple[Path, ...]], *, has_folder: bool = True
) -> VocSet:
    splits, keys, absent = {}, {}, {}
    by_name = _by_name(files)
    folder = root / "Annotations" if has_folder else root
    for name, listings in lists.items():
        listing = listings[0]
        lines = dict.fromkeys(_picture_of(line, files) for each in listings for line in _lines(each))
        listed = [_listed_key(line, files, by_name) for line in lines]
        if listed and not any(key in files for key in listed):
            absent[name] = (
                f"{listing} lists {counted(len(listed), 'picture')} without an XML file in {folder}, the first is"
                f" {listed[0]}; a split of unlabelled pictures cannot be read as annotations"
            )
        else:
            splits[name], keys[name] = listings, listed
    return VocSet(root, files, splits, keys, absent, has_folder=has_folder)


def _picture_of(line: str, files: Container[str]) -> str:
    """A line of a list, without the ±1 of a list of one class."""
    found = None if line.strip() in files else _CLASS_LIST.fullmatch(line)
    return found[1] if found else line


def _listed_key(line: str, files: dict[str, Path], by_name: dict[str, list[str]]) -> str:
    """The key that a line of a list means: CVAT quotes names with spaces, others write the picture's path, or its
    file or boxes behind it."""
    text = line.strip().strip('"').replace("\\", "/")
    for written in dict.fromkeys((text, *text.split()[:1])):
        plain = written.removeprefix("./")
        for key in (written, plain, _without_ending(plain)):
            if key in files:
                return key
        alike = by_name.get(PurePosixPath(plain).name) or by_name.get(
            PurePosixPath(_without_ending(plain)).name
        )
        if alike is not None and len(alike) == 1:
            return alike[0]
    return text


def _without_ending(path: str) -> str:
    return str(PurePosixPath(path).with_suffix("")) if PurePosixPath(path).name else path


def _lines(path: Path) -> list[str]:
    return [line for line in read_text(path).splitlines() if line.strip()]


def _key(path: Path, folder: Path) -> str:
    return path.relative_to(folder).with_suffix("").as_posix()


def _is_voc(path: Path) -> bool:
    """Whether the file begins as VOC's do; zero bytes are those of UTF-16."""
    with path.open("rb") as file:
        return _VOC.search(file.read(4096).replace(b"\0", b"")) is not None
