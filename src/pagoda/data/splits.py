"""The names of splits: valid, validation and val are one, and so are train and train2017."""

import re
from collections.abc import Mapping
from difflib import get_close_matches
from typing import TypeVar

What = TypeVar("What")


def common_name(split: str) -> str:
    """The name most folders use.

    >>> common_name("valid"), common_name("train2017")
    ('val', 'train')
    """
    plain = re.sub(r"[-_]?(19|20)\d\d$", "", split.strip().lower())
    return "val" if plain in ("valid", "validation") else plain


def with_common_names(splits: Mapping[str, What]) -> dict[str, What]:
    """The same under common names, unless two would then be called alike."""
    renamed = {common_name(name): what for name, what in splits.items()}
    return renamed if len(renamed) == len(splits) else dict(splits)


def choose_split(splits: Mapping[str, What], split: str, where: str) -> What:
    """What stands under that name, spelt either way; ValueError with the names there are."""
    if split in splits:
        return splits[split]
    alike = [name for name in splits if common_name(name) == common_name(split)]
    if len(alike) != 1:
        near = get_close_matches(split, splits, 1)
        hint = f"did you mean '{near[0]}'? " if near else ""
        raise ValueError(f"{where} has no split '{split}'; {hint}it has {', '.join(splits) or 'none'}")
    return splits[alike[0]]
