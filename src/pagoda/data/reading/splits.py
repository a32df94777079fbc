"""The names of splits: valid, validation and val are one, and so are train and train2017."""

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from pagoda.messages import counted, nearest

What = TypeVar("What")

SPLIT_NAMES = ("train", "val", "test")
"""What splits are commonly called; folders so called are splits, others are depth."""


def common_name(split: str) -> str:
    """The name that most folders use for a split, in small letters and without a year.

    >>> common_name("valid"), common_name("train2017")
    ('val', 'train')
    """
    plain = re.sub(r"[-_]?(19|20)\d\d$", "", split.strip().lower())
    return "val" if plain in ("valid", "validation") else plain


def with_common_names(splits: Mapping[str, What]) -> dict[str, What]:
    """The splits under their common names, unless two would then be called alike.

    >>> with_common_names({"train2017": 1, "valid": 2})
    {'train': 1, 'val': 2}
    """
    renamed = {common_name(name): what for name, what in splits.items()}
    return renamed if len(renamed) == len(splits) else dict(splits)


def is_split_name(name: str) -> bool:
    """Whether a folder of that name is a split wherever it stands.

    >>> is_split_name("Validation"), is_split_name("train2017"), is_split_name("cam1")
    (True, True, False)
    """
    return common_name(name) in SPLIT_NAMES


def split_in_name(name: str) -> str | None:
    """The split that a file's name speaks of, None where it speaks of none or of several.

    >>> split_in_name("instances_val2017"), split_in_name("coco-train-v2"), split_in_name("result")
    ('val', 'train', None)
    """
    words = re.findall(r"[a-z]+", name.lower())
    found = {common_name(word) for word in words} & set(SPLIT_NAMES)
    return found.pop() if len(found) == 1 else None


def files_by_split(files: Sequence[Path], root: Path) -> tuple[dict[str, list[Path]], list[Path]]:
    """(split name → its files, files of no split) for formats with one annotation file per picture.

    Folders called as splits are, at any depth, are splits; beside them every other folder is one too, by its name,
    and files in none are of no split. Without such folders all files at any depth are train.

    >>> splits, alone = files_by_split([Path("train/cam1/a.xml"), Path("val/b.xml"), Path("c.xml")], Path())
    >>> list(splits), [path.name for path in alone]
    (['train', 'val'], ['c.xml'])
    """
    splits: dict[str, list[Path]] = {}
    folders = [path.relative_to(root).parts[:-1] for path in files]
    named = [next(filter(is_split_name, parts), None) for parts in folders]
    if not any(named):
        return ({"train": list(files)} if files else {}), []
    alone = []
    for path, parts, name in zip(files, folders, named, strict=True):
        if parts:
            splits.setdefault(name or parts[0], []).append(path)
        else:
            alone.append(path)
    return with_common_names(splits), alone


def unread_note(files: Sequence[Path], root: Path) -> list[str]:
    """One line on annotation files that no split holds, none where there are none.

    >>> unread_note([Path("set/c.xml")], Path("set"))
    ['set: 1 annotation file belongs to no split, not read: the first is c.xml']
    """
    if not files:
        return []
    first = sorted(files)[0].relative_to(root)
    return [
        f"{root}: {counted(len(files), 'annotation file belongs', 'annotation files belong')} to no split, not read:"
        f" the first is {first}"
    ]


class UnknownSplit(ValueError):
    """A split that is asked for is none of the data set's `splits`."""

    def __init__(self, text: str, splits: Sequence[str]) -> None:
        super().__init__(text)
        self.splits = splits


class AbsentSplit(FileNotFoundError):
    """A split that the data set names is not there; `splits` are those that are."""

    def __init__(self, text: str, splits: Sequence[str]) -> None:
        super().__init__(text)
        self.splits = splits


@contextmanager
def chosen_with(flag: str) -> Iterator[None]:
    """Within, errors of a split that is not there end with how another is chosen: by `flag`, or in Python.

    >>> with chosen_with("--val-split"):  # doctest: +ELLIPSIS
    ...     choose_split({"default": 1}, "val", "set")
    Traceback (most recent call last):
    pagoda...: set has no split 'val'; it has default; choose another with --val-split default (val_split='default')
    """
    try:
        yield
    except (UnknownSplit, AbsentSplit) as error:
        if not error.splits:
            raise
        name = error.splits[0] if len(error.splits) == 1 else "NAME"
        keyword = flag.lstrip("-").replace("-", "_")
        said = f"{error}; choose another with {flag} {name} ({keyword}='{name}')"
        raise type(error)(said, error.splits) from error


def choose_split(
    splits: Mapping[str, What], split: str, where: str, absent: Mapping[str, str] | None = None
) -> What:
    """What stands under that name, spelt either way, or under the one name that speaks of it (lvis_v1_train).

    Raises UnknownSplit, a ValueError, with the names there are, or AbsentSplit, a FileNotFoundError too, with the
    reason where the split is `absent`: named by the data set's description, but not there.

    >>> choose_split({"train": 1, "val": 2}, "validation", "set")
    2
    >>> choose_split({"train": 1, "val": 2}, "trian", "set")
    Traceback (most recent call last):
    pagoda.data.reading.splits.UnknownSplit: set has no split 'trian'; did you mean 'train'? it has train, val
    """
    if split in splits:
        return splits[split]
    alike = [name for name in splits if common_name(name) == common_name(split)]
    if len(alike) == 1:
        return splits[alike[0]]
    for name, reason in (absent or {}).items():
        if common_name(name) == common_name(split):
            raise AbsentSplit(reason, list(splits))
    speaking = [name for name in splits if split_in_name(name) == common_name(split)]
    if len(speaking) == 1 and not alike:
        return splits[speaking[0]]
    near = nearest(split, splits, cutoff=0.6)
    hint = f"did you mean '{near}'? " if near else ""
    raise UnknownSplit(
        f"{where} has no split '{split}'; {hint}it has {', '.join(splits) or 'none'}", list(splits)
    )
