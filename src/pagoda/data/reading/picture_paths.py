"""Where the pictures lie that annotation files name in the way of the program, or of the machine, they come from.

One rule for every format. A name is taken as it is written; then with forward slashes, by the path of a web address,
percent-decoded, beside the annotation file; then by the end of its path, the longest that exists below the data set,
down to the bare name; with other upper and lower case; at last, where it has no ending, with that of a picture. What
is not unique is no match, and whatever was done is told by `notes`.
"""

import os
import re
import unicodedata
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple
from urllib.parse import parse_qs, unquote, urlsplit

from pagoda.data.reading.splits import SPLIT_NAMES, common_name
from pagoda.messages import counted
from pagoda.pictures.read import is_picture

MAX_NAMED = 5
"""Names listed in an error; all are counted."""

WAYS = {
    "slashes": "with forward slashes",
    "spaces": "without the spaces around the name",
    "address": "by the path of the web address",
    "decoded": "percent-decoded",
    "upload": "without the letters that Label Studio puts before the name of an upload",
    "beside": "beside the annotation file",
    "tail": "by the end of the path",
    "name": "by the bare name, which is unique",
    "case": "with other upper and lower case",
    "ending": "by the bare name, to which an ending was added",
}

_UPLOADED = re.compile(r"(?:^|/)upload/(?:\d+/)?[0-9a-f]{8}-([^/]+)$")


class Match(NamedTuple):
    """A picture on disk, and how its name led there."""

    path: str
    way: str | None
    """a key of `WAYS`; None as written"""


NO_MATCH = Match("", None)
"""Of a name that may be several pictures: nothing further is tried"""


class PictureFinder:
    """Where the pictures of one split lie below `root`, found by the names in annotation files.

    Args:
        root: searched whole where a name is not found as it is written.
        split: a bare name is not looked for in the folders of other splits: what lies there is another picture.

    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     Path(folder, "images").mkdir()
    ...     Path(folder, "images/a.png").touch()
    ...     finder = PictureFinder(folder)
    ...     found = finder.locate([r"C:\\data\\a.png", "b.png"], [[folder]] * 2)
    >>> [path and Path(path).name for path in found], len(finder.notes("a.json"))
    (['a.png', None], 1)
    """

    def __init__(self, root: str | Path, split: str = "") -> None:
        self._root = os.path.abspath(root)
        self._split = common_name(split)
        self._listings: dict[tuple[str, str], frozenset[str]] = {}
        self._index: dict[str, list[tuple[str, ...]]] | None = None
        self._stems: dict[str, list[tuple[str, ...]]] | None = None
        self._done: dict[str, list[tuple[str, str]]] = {}
        self.ambiguous: list[str] = []
        """one line for each name that may be several pictures, or shares one with another name"""

    def locate(
        self,
        names: Sequence[str],
        folders: Sequence[Sequence[str | Path]],
        beside: Sequence[Path] | None = None,
        replaceable: Sequence[bool] | None = None,
    ) -> list[str | None]:
        """The path of each name's file, looked for in its own `folders` first; None where there is none.

        `beside`: the folder of each one's annotation file, where its bare name is certain. `replaceable`: names that
        are not looked for by their end, as there is something better.

        Where some names of a folder are right as they are written, the others of it are looked for in its sub-folders
        alone: a file of the same name elsewhere may be a mask, or a smaller copy.
        """
        texts = {id(each): tuple(map(os.fspath, each)) for each in folders}  # most names share one list
        asked = [texts[id(each)] for each in folders]
        matches = [self._as_written(name, each) for name, each in zip(names, asked, strict=True)]
        right = {
            (each, _folder(name)) for name, each, match in zip(names, asked, matches, strict=True) if match
        }
        for index, (name, each) in enumerate(zip(names, asked, strict=True)):
            if matches[index] is None and name:
                match = self._in_other_words(name, each, None if beside is None else beside[index])
                is_right = (each, _folder(name)) in right
                if match is None and is_right:
                    match = self._other_case_in(name, each)
                if match is None and not (replaceable and replaceable[index]):
                    match = self._search(name, self._inner(name, each) if is_right else None)
                matches[index] = match if match is not None and match.path else None
        self._refuse_shared(names, matches)
        for name, match in zip(names, matches, strict=True):
            if match is not None and match.way is not None:
                self._done.setdefault(match.way, []).append((name, match.path))
        return [None if match is None else match.path for match in matches]

    def notes(self, source: str) -> list[str]:
        """One line for each way in which pictures were found that is not the written one."""
        return [
            f"{source}: {counted(len(found), 'picture was', 'pictures were')} found {WAYS[way]}:"
            f" '{found[0][0]}' is {self._short(found[0][1])}"
            for way, found in self._done.items()
        ]

    def check(self, source: str) -> None:
        """Raises ValueError where a name may be more than one picture."""
        _refuse_ambiguous(self.ambiguous, source)

    def exists(self, folder: str, name: str) -> bool:
        """Whether `name` is a file seen from `folder`, in exactly this spelling; each folder is listed once."""
        head, _, tail = name.rpartition("/")
        key = (folder, head)
        if key not in self._listings:
            self._listings[key] = _file_names(
                os.path.join(folder, head + "/" if name.startswith("/") else head)
            )
        return tail in self._listings[key]

    def _as_written(self, name: str, folders: Sequence[str]) -> Match | None:
        for folder in folders:
            if name and self.exists(folder, name):
                return Match(os.path.join(folder, name), None)
        return None

    def _in_other_words(self, name: str, folders: Sequence[str], beside: Path | None) -> Match | None:
        for way, text in _spellings(name):
            for folder in folders:
                if self.exists(folder, text):
                    return Match(os.path.join(folder, text), way)
        own = name.replace("\\", "/").rpartition("/")[2]
        if beside is not None and self.exists(os.fspath(beside), own):
            return Match(os.path.join(beside, own), "beside")
        return None

    def _inner(self, name: str, folders: Sequence[str]) -> list[tuple[str, ...]]:
        """Where `name` should lie, as parts of the path below the root, without the root itself."""
        places = [os.path.abspath(os.path.join(folder, _folder(name))) for folder in folders]
        paths = [os.path.relpath(place, self._root) for place in places]
        return [Path(path).parts for path in paths if path != "." and not path.startswith("..")]

    def _search(self, name: str, inside: list[tuple[str, ...]] | None) -> Match | None:
        texts = [name.replace("\\", "/"), *(text for _, text in _spellings(name))]
        for is_folded in (False, True):
            for text in texts:
                if (match := self._by_end(name, text, is_folded, inside)) is not None:
                    return match
        return self._by_stem(name)

    def _by_stem(self, name: str) -> Match | None:
        """The only picture that is called so but for its ending, where the name has none of a picture."""
        own = name.replace("\\", "/").rpartition("/")[2]
        if not own or is_picture(Path(own)):
            return None
        if self._stems is None:
            self._stems = {}
            for files in self._files_by_name().values():
                for parts in (each for each in files if is_picture(Path(each[-1]))):
                    self._stems.setdefault(Path(parts[-1]).stem, []).append(parts)
        found = [parts for parts in self._stems.get(own, []) if not self._is_of_other_split(parts[:-1])]
        if len(found) > 1:
            paths = " or ".join(sorted("/".join(parts) for parts in found)[:3])
            self.ambiguous.append(f"'{name}' may be {paths}")
            return NO_MATCH
        return Match(os.path.join(self._root, *found[0]), "ending") if found else None

    def _files_by_name(self) -> dict[str, list[tuple[str, ...]]]:
        if self._index is None:
            self._index = _index_below(self._root)
        return self._index

    def _by_end(
        self, name: str, text: str, is_folded: bool, inside: list[tuple[str, ...]] | None
    ) -> Match | None:
        """The file with the longest end of its path in common; `NO_MATCH` where there are several."""
        wanted = tuple(part for part in text.split("/") if part not in ("", ".", ".."))
        found = self._ending_alike(wanted, is_folded)
        if inside is not None:
            found = [parts for parts in found if any(parts[: len(each)] == each for each in inside)]
        if len(found) > 1:
            paths = " or ".join(sorted("/".join(parts) for parts in found)[:3])
            self.ambiguous.append(f"'{name}' may be {paths}")
            return NO_MATCH
        if not found:
            return None
        length = _common_end(_folded(found[0]), _folded(wanted))
        way = "case" if is_folded else "tail" if length > 1 else "name"
        return Match(os.path.join(self._root, *found[0]), way)

    def _ending_alike(self, wanted: tuple[str, ...], is_folded: bool) -> list[tuple[str, ...]]:
        if not wanted:
            return []
        files = self._files_by_name().get(_folded(wanted[-1:])[0], [])
        compared = _folded if is_folded else tuple
        lengths = [_common_end(compared(parts), compared(wanted)) for parts in files]
        kept = [
            (parts, length)
            for parts, length in zip(files, lengths, strict=True)
            if length and not self._is_of_other_split(parts[:-length])
        ]
        best = max((length for _, length in kept), default=0)
        return [parts for parts, length in kept if length == best]

    def _is_of_other_split(self, folders: tuple[str, ...]) -> bool:
        if self._split not in SPLIT_NAMES:
            return False
        splits = {common_name(part) for part in folders} & set(SPLIT_NAMES)
        return bool(splits) and self._split not in splits

    def _other_case_in(self, name: str, folders: Sequence[str]) -> Match | None:
        head, _, own = name.replace("\\", "/").rpartition("/")
        for folder in folders:
            self.exists(folder, f"{head}/{own}" if head else own)
            alike = [each for each in self._listings[folder, head] if _folded((each,)) == _folded((own,))]
            if len(alike) > 1:
                self.ambiguous.append(f"'{name}' may be {' or '.join(sorted(alike))}")
                return NO_MATCH
            if alike:
                return Match(os.path.join(folder, head, alike[0]), "case")
        return None

    def _refuse_shared(self, names: Sequence[str], matches: list[Match | None]) -> None:
        """Two names that end at one file: at least one of them is not it."""
        if all(match is None or match.way is None for match in matches):
            return
        owners: dict[str, str] = {}
        for certain in (True, False):
            for index, (name, match) in enumerate(zip(names, matches, strict=True)):
                if match is None or (match.way is None) != certain:
                    continue
                owner = owners.setdefault(os.path.normpath(match.path), name)
                if owner != name and match.way is not None:
                    self.ambiguous.append(f"'{owner}' and '{name}' would both be {self._short(match.path)}")
                    matches[index] = None

    def _short(self, path: str) -> str:
        path = os.path.abspath(path)
        return os.path.relpath(path, self._root) if path.startswith(self._root + os.sep) else path


def _refuse_ambiguous(lines: Sequence[str], source: str) -> None:
    """Raises ValueError with the first of `lines`, where there are any."""
    if lines:
        more = f"; … ({len(lines)} in all)" if len(lines) > MAX_NAMED else ""
        raise ValueError(
            f"{source}: it is not certain which pictures are meant: {'; '.join(lines[:MAX_NAMED])}{more};"
            " write the path from the data set's folder into the annotations, or move away what is not meant"
        )


def written_name(entry: dict) -> str:
    """What a COCO image entry calls its picture: file_name, or where there is none the address it came from.

    >>> written_name({"file_name": "", "coco_url": "http://host/a.jpg"})
    'http://host/a.jpg'
    """
    values = (entry.get(key) for key in ("file_name", "coco_url", "flickr_url"))
    return next((value for value in values if isinstance(value, str) and value), "")


def files_below(
    names: Sequence[str], places: Sequence[str | Path | None], folder: Path, root: Path
) -> tuple[Path, list[str]]:
    """(a folder, the files relative to it): `folder` where all lie there, else `root`, else what is above them all.

    Names without a place stay as they are written, in `folder`.

    >>> files_below(["a.png"], ["/set/images/a.png"], Path("/set/images"), Path("/set"))[1]
    ['a.png']
    """
    full = [
        os.path.abspath(os.path.join(folder, name) if place is None else place)
        for name, place in zip(names, places, strict=True)
    ]
    for base in (folder, root):
        prefix = os.path.join(os.path.abspath(base), "")
        if all(path.startswith(prefix) for path in full):
            return base, [path[len(prefix) :].replace(os.sep, "/") for path in full]
    base = Path(os.path.commonpath([os.path.dirname(path) for path in full]))
    return base, [Path(os.path.relpath(path, base)).as_posix() for path in full]


def _spellings(name: str) -> Iterator[tuple[str, str]]:
    text = name.replace("\\", "/")
    if text != name:
        yield "slashes", text
    if text.strip() != text:
        text = text.strip()
        yield "spaces", text
    if "://" in text or "?d=" in text:
        address = urlsplit(text)
        local = parse_qs(address.query).get(
            "d"
        )  # Label Studio's files on disk: …/local-files/?d=folder/a.jpg
        text = local[0] if local else address.path.lstrip("/")
        yield "address", text
    if unquote(text) != text:
        text = unquote(text)
        yield "decoded", text
    if uploaded := _UPLOADED.search(text):
        yield "upload", uploaded[1]


def _folder(name: str) -> str:
    return name.replace("\\", "/").rpartition("/")[0]


def _file_names(folder: str) -> frozenset[str]:
    try:
        with os.scandir(folder or ".") as entries:
            return frozenset(entry.name for entry in entries if not entry.is_dir())
    except OSError:
        return frozenset()


def _index_below(root: str) -> dict[str, list[tuple[str, ...]]]:
    """Folded name → the files of that name, as parts of their path below `root`; hidden folders are not entered."""
    index: dict[str, list[tuple[str, ...]]] = {}
    for folder, folders, files in os.walk(root):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        above = tuple(Path(folder).relative_to(root).parts)
        for name in files:
            index.setdefault(_folded((name,))[0], []).append((*above, name))
    return index


def _folded(parts: Sequence[str]) -> tuple[str, ...]:
    """Without case; and ä as one letter or as two is the same."""
    return tuple(unicodedata.normalize("NFC", part).casefold() for part in parts)


def _common_end(a: Sequence[str], b: Sequence[str]) -> int:
    pairs = zip(reversed(a), reversed(b), strict=False)
    return next((count for count, (x, y) in enumerate(pairs) if x != y), min(len(a), len(b)))
