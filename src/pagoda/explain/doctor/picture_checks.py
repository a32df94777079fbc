"""What can be wrong with picture files: missing, broken, turned, of another size, twice, in two splits."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from pagoda.data.levels import dark_levels, peak_level
from pagoda.data.reading.complaints import Complaints
from pagoda.explain.doctor.duplicates import Fingerprint, fingerprint, same_pictures, similar_pictures
from pagoda.explain.doctor.records import Split
from pagoda.pictures.read import (
    PictureError,
    PictureFacts,
    is_other_file,
    is_picture,
    natural_order,
    other_files_words,
    picture_facts,
    read_picture,
)

Progress = Callable[[int, int], None]
"""Called with (pictures done, pictures in all)"""


@dataclass(frozen=True, slots=True)
class Opened:
    """What is kept of a picture that was read."""

    facts: PictureFacts
    """size, mode, orientation, number of frames, as the file's header has them"""
    print: Fingerprint
    """by which equal and similar pictures are found"""
    peak: float | None
    """the largest value where it has more than 8 bits"""

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) in pixels, upright."""
        return self.facts.size


def open_pictures(
    splits: list[Split], max_pictures: int | None, progress: Progress | None, notes: Complaints
) -> dict[Path, Opened]:
    """Read every picture once, or `max_pictures` spread over all; the missing and broken become findings.

    Missing files are looked for among all pictures, whatever `max_pictures`.
    """
    owners: dict[Path, str] = {}
    told: set[Path] = set()  # the reader could not open them either
    missing: set[Path] = set()
    for split in splits:
        lost = set(split.reading.missing_pictures())
        for index in range(len(split.files)):
            path = split.path(index)
            owners.setdefault(path, f"{split.name}: {split.files[index]}")
            if index in lost:
                missing.add(path)
            elif split.sizes[index] is None:
                told.add(path)
    stored: dict[Path, dict[str, str]] = {}
    for path in (path for path in owners if path in missing):
        notes.add("missing_pictures", f"{owners[path]}: {path}{_other_case(path, stored)}")
    paths = [path for path in owners if path not in missing and path not in told]
    if max_pictures is not None and max_pictures < len(paths):
        notes.add(
            "pictures_not_opened", f"{max_pictures} of {len(paths)} were opened", len(paths) - max_pictures
        )
        paths = [paths[number * len(paths) // max_pictures] for number in range(max_pictures)]
    opened = {}
    for number, path in enumerate(paths, 1):
        try:
            opened[path] = _open(path)
        except PictureError as error:
            notes.add("broken_pictures", f"{owners[path]}: {error}")
        if progress:
            progress(number, len(paths))
    return opened


def check_pictures(splits: list[Split], opened: dict[Path, Opened], folder: Path, notes: Complaints) -> None:
    """Note sizes that are not the annotated ones, EXIF rotation, modes, dark pictures, files that nobody mentions.

    `folder` is the data set's, for the words on dark pictures.
    """
    modes: dict[tuple[str, str], list[str]] = {}
    for split in splits:
        for index, annotated in enumerate(split.sizes):
            picture = opened.get(split.path(index))
            if picture is None:
                continue
            where = f"{split.name}: {split.files[index]}"
            facts = picture.facts
            if facts.orientation != 1:
                notes.add("rotated_pictures", f"{where}: orientation {facts.orientation}")
            if facts.mode != "RGB":
                modes.setdefault((split.name, facts.mode), []).append(split.files[index])
            if facts.num_frames > 1:
                notes.add("several_frames", f"{where}: {facts.num_frames} frames or pages")
            if annotated is not None and annotated != picture.size:
                turned = annotated == facts.stored
                hint = "; the annotated one is the size before its EXIF rotation" if turned else ""
                notes.add(
                    "size_mismatch",
                    f"{where}: annotated {_by(annotated)}, the picture is {_by(picture.size)}{hint}",
                )
    for (name, mode), files in modes.items():
        notes.add(
            "unusual_modes", f"{name}: {len(files)} of mode {mode}, the first is {files[0]}", len(files)
        )
    peaks = {path: picture.peak for path, picture in opened.items() if picture.peak is not None}
    if remark := dark_levels(peaks, folder):
        notes.add("dark_pictures", remark, len(peaks))
    _find_unmentioned(splits, notes)


def check_duplicates(splits: list[Split], opened: dict[Path, Opened], notes: Complaints) -> None:
    """Note pictures that are the same or nearly so, within a split and across two."""
    homes: dict[Path, dict[str, str]] = {}  # path → split → the file's name there
    for split in splits:
        for index, file in enumerate(split.files):
            homes.setdefault(split.path(index), {})[split.name] = file
    for each in homes.values():
        if len(each) > 1:
            notes.add("leaks", " = ".join(f"{name}: {file}" for name, file in each.items()))
    paths = [path for path in homes if path in opened]
    prints = [opened[path].print for path in paths]
    for group in same_pictures(prints):
        _note_group([homes[paths[index]] for index in group], "=", ("leaks", "duplicate_pictures"), notes)
    # One of each set of equal pictures takes part, or all near copies would be told twice.
    first = sorted({each.digest: index for index, each in reversed(list(enumerate(prints)))}.values())
    for group in similar_pictures([prints[index] for index in first]):
        members = [homes[paths[first[index]]] for index in group]
        _note_group(members, "≈", ("near_leaks", "near_duplicate_pictures"), notes)


def _note_group(members: list[dict[str, str]], sign: str, kinds: tuple[str, str], notes: Complaints) -> None:
    """`kinds`: across splits, within one. Counted are the pictures there are too many."""
    pairs = [next(iter(each.items())) for each in members]
    first_of_split: dict[str, tuple[str, str]] = {}
    for pair in pairs:
        first_of_split.setdefault(pair[0], pair)
    shown = list(dict.fromkeys([*first_of_split.values(), *pairs]))  # across splits, that is the point
    words = f" {sign} ".join(f"{name}: {file}" for name, file in shown[:4])
    words += f" and {len(shown) - 4} more" if len(shown) > 4 else ""
    notes.add(kinds[0] if len(first_of_split) > 1 else kinds[1], words, len(members) - 1)


def _open(path: Path) -> Opened:
    facts = picture_facts(path)
    return Opened(facts, fingerprint(read_picture(path)), peak_level(path) if facts.is_deep else None)


def _other_case(path: Path, stored: dict[Path, dict[str, str]]) -> str:
    """A hint where a file of that name in other letter case is there; `stored` remembers folder listings."""
    folder = path.parent
    if folder not in stored:
        stored[folder] = (
            {entry.name.lower(): entry.name for entry in folder.iterdir()} if folder.is_dir() else {}
        )
    found = stored[folder].get(path.name.lower())
    return f" (there is {found}: upper and lower case differ)" if found else ""


def _find_unmentioned(splits: list[Split], notes: Complaints) -> None:
    is_told = "other_files" in notes  # by the reader
    mentioned = {split.path(index) for split in splits for index in range(len(split.files))}
    for folder in sorted({path.parent for path in mentioned if path.parent.is_dir()}):
        rest = sorted(set(folder.iterdir()) - mentioned, key=natural_order)
        for path in rest:
            if is_picture(path) and path.is_file():
                notes.add("pictures_not_mentioned", str(path))
        others = list(filter(is_other_file, rest))
        if others and not is_told:
            notes.add("other_files", other_files_words(others), len(others))


def _by(size: tuple[int, int]) -> str:
    return f"{size[0]}×{size[1]} (height×width)"
