"""The keypoints of a kind of object: names, bones, how exactly each can be placed, which change sides."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from pagoda.messages import short_list
from pagoda.plain import JsonObject, check_option, checked

_PAIRS = Sequence[tuple[int, int]] | None
_ENTRIES = {
    "names": Sequence[str],
    "edges": _PAIRS,
    "sigmas": Sequence[float] | None,
    "flip_pairs": _PAIRS,
}

DEFAULT_SIGMA = 0.05
"""For keypoints of which nobody measured it: between COCO's eyes (0.025) and hips (0.107)"""

COCO_FLIP_REMEDY = (
    "add flip_pairs [[a, b], …] (counted from 0, [] where none do) to the category in the annotation file"
)

_SIDE = re.compile(r"(?<![a-z])(left|right|l|r)(?![a-z])")
_OTHER = {"left": "right", "right": "left", "l": "r", "r": "l"}


@checked
@dataclass(frozen=True)
class Skeleton:
    """Immutable: keypoint k is called `names[k]`. K keypoints, counted from 0. Raises ValueError for no name, one given
    twice, sigmas that are not one above 0 each, and pairs of keypoints there are not.

    >>> arm = Skeleton(("left_hand", "right_hand", "neck"), edges=((0, 2), (1, 2)))
    >>> arm.flip_pairs, arm.sigmas
    (((0, 1),), (0.05, 0.05, 0.05))
    """

    names: tuple[str, ...]
    """(K,) as files and tables call the keypoints; words with left and right tell `flip_pairs`"""
    edges: tuple[tuple[int, int], ...] = ()
    """pairs of keypoints joined by a line when drawn"""
    sigmas: tuple[float, ...] = ()
    """(K,) spread of careful annotators relative to the object's size, as OKS has it (COCO's definition);
    when not given, `DEFAULT_SIGMA` for each"""
    flip_pairs: tuple[tuple[int, int], ...] | None = None
    """which change places in a mirror, () where none do; None: told from names with left and right (l and r),
    and left None where no name has a side, so that a flip stops instead of guessing"""
    flip_remedy: str = field(default=COCO_FLIP_REMEDY, compare=False, repr=False)
    """how to say it in files of the format the skeleton came from, where `flip_pairs` is None; for messages alone"""

    def __post_init__(self) -> None:
        if not self.names:
            raise ValueError("a skeleton needs the name of at least one keypoint, got none")
        if len(set(self.names)) < len(self.names):
            repeated = sorted({name for name in self.names if self.names.count(name) > 1})
            raise ValueError(f"keypoint name given twice in the skeleton: {', '.join(repeated)}")
        if not self.sigmas:
            object.__setattr__(self, "sigmas", (DEFAULT_SIGMA,) * len(self.names))
        if len(self.sigmas) != len(self.names) or not all(sigma > 0 for sigma in self.sigmas):
            raise ValueError(
                f"a skeleton needs one sigma above 0 per keypoint ({len(self.names)}), got {self.sigmas}"
            )
        if self.flip_pairs is None:
            object.__setattr__(self, "flip_pairs", pairs_by_name(self.names))
        for what, pairs in (("edge", self.edges), ("flip pair", self.flip_pairs or ())):
            for pair in pairs:
                if len(pair) != 2 or pair[0] == pair[1] or not all(0 <= k < len(self.names) for k in pair):
                    raise ValueError(
                        f"{what} {tuple(pair)} must join two of the keypoints 0 … {len(self.names) - 1}"
                    )
        swapped = [k for pair in self.flip_pairs or () for k in pair]
        if len(set(swapped)) < len(swapped):
            raise ValueError(f"a keypoint stands in two flip pairs: {self.flip_pairs}")

    def __len__(self) -> int:
        return len(self.names)

    @property
    def without_partner(self) -> tuple[str, ...]:
        """Keypoints whose name has a side, but which change places with no other."""
        paired = {k for pair in self.flip_pairs or () for k in pair}
        names = enumerate(self.names)
        return tuple(name for k, name in names if k not in paired and _mirrored(name) is not None)

    def to_dict(self) -> JsonObject:
        """Lists and numbers, ready for JSON."""
        return {
            "names": list(self.names),
            "edges": [list(edge) for edge in self.edges],
            "sigmas": list(self.sigmas),
            "flip_pairs": None if self.flip_pairs is None else [list(pair) for pair in self.flip_pairs],
        }

    @classmethod
    def from_dict(cls, data: JsonObject) -> "Skeleton":
        """The skeleton that `to_dict` wrote. Raises ValueError that names the entry which is none."""
        for name, hint in _ENTRIES.items():
            check_option("skeleton", name, hint, data.get(name))
        pairs = data.get("flip_pairs")
        return cls(
            tuple(data["names"]),
            _pairs(data.get("edges") or ()),
            tuple(float(sigma) for sigma in data.get("sigmas") or ()),
            None if pairs is None else _pairs(pairs),
        )

    def check_head(self, num_keypoints: int) -> None:
        """Raises ValueError unless a head that predicts `num_keypoints` can be trained with this skeleton."""
        if num_keypoints != len(self):
            raise ValueError(
                f"the keypoint head predicts {num_keypoints} keypoints but the skeleton names {len(self)}:"
                f" {short_list(self.names, 8)}; build the model with num_keypoints={len(self)}"
            )


def pairs_by_name(names: Sequence[str]) -> tuple[tuple[int, int], ...] | None:
    """Keypoints whose names differ in left and right alone; None where no two do.

    >>> pairs_by_name(["nose", "left_eye", "right_eye"])
    ((1, 2),)
    """
    position = {name.lower(): k for k, name in enumerate(names)}
    partners = [(k, position.get(_mirrored(name) or "")) for k, name in enumerate(names)]
    pairs = tuple((k, other) for k, other in partners if other is not None and k < other)
    return pairs or None


def known_skeleton(names: Sequence[str]) -> Skeleton | None:
    """The published skeleton with exactly these keypoints, if there is one.

    >>> known_skeleton(COCO_17.names) is COCO_17, known_skeleton(["nose"])
    (True, None)
    """
    return next((known for known in (COCO_17, CROWDPOSE_14) if known.names == tuple(names)), None)


def _mirrored(name: str) -> str | None:
    """The name, in small letters, with its side exchanged; None where it has no side."""
    small = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower()
    if not _SIDE.search(small):
        return None
    exchanged = _SIDE.sub(lambda match: _OTHER[match.group()], small)
    # camelCase was split for the search alone: a partner is looked up as it is written.
    return exchanged if "_" in name or small == name.lower() else exchanged.replace("_", "")


def _pairs(values: Sequence[Sequence[int]]) -> tuple[tuple[int, int], ...]:
    return tuple((int(a), int(b)) for a, b in values)


def _body(text: str) -> tuple[str, ...]:
    """Words in order; "*eye" stands for left_eye, right_eye."""
    words = text.split()
    return tuple(
        name
        for word in words
        for name in ((f"left_{word[1:]}", f"right_{word[1:]}") if word[0] == "*" else (word,))
    )


COCO_17 = Skeleton(
    _body("nose *eye *ear *shoulder *elbow *wrist *hip *knee *ankle"),
    edges=(
        (15, 13), (13, 11), (16, 14), (14, 12), (11, 12), (5, 11), (6, 12), (5, 6), (5, 7), (6, 8),
        (7, 9), (8, 10), (1, 2), (0, 1), (0, 2), (1, 3), (2, 4), (3, 5), (4, 6),
    ),
    sigmas=(
        0.026, 0.025, 0.025, 0.035, 0.035, 0.079, 0.079, 0.072, 0.072,
        0.062, 0.062, 0.107, 0.107, 0.087, 0.087, 0.089, 0.089,
    ),
)  # fmt: skip
"""Persons as COCO annotates them; the sigmas are those of its evaluation."""

CROWDPOSE_14 = Skeleton(
    _body("*shoulder *elbow *wrist *hip *knee *ankle head neck"),
    edges=(
        (10, 8), (8, 6), (11, 9), (9, 7), (6, 7), (0, 6), (1, 7), (0, 1), (0, 2), (1, 3),
        (2, 4), (3, 5), (12, 13), (13, 0), (13, 1),
    ),
    sigmas=(0.079, 0.079, 0.072, 0.072, 0.062, 0.062, 0.107, 0.107, 0.087, 0.087, 0.089, 0.089, 0.079, 0.079),
)  # fmt: skip
"""Persons as CrowdPose annotates them, with the sigmas of its evaluation."""
