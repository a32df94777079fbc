"""What a model says of a picture, in the words of `pagoda.structures.instances`. N objects, K keypoints."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Skeleton:
    """The keypoints of a kind of object: keypoint k is called `names[k]`."""

    names: tuple[str, ...]
    edges: tuple[tuple[int, int], ...] = ()
    """pairs of keypoints joined by a line when drawn"""
    sigmas: tuple[float, ...] = ()
    """(K,) spread of careful annotators relative to the object's size, as OKS has it"""
    flip_pairs: tuple[tuple[int, int], ...] | None = None
    """which change places in a mirror"""

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> "Skeleton":
        """Undo Pagoda's `Skeleton.to_dict`."""
        pairs = {
            name: None if data.get(name) is None else tuple((int(a), int(b)) for a, b in data[name])
            for name in ("edges", "flip_pairs")
        }
        return cls(
            tuple(data["names"]),
            pairs["edges"] or (),
            tuple(map(float, data.get("sigmas") or ())),
            pairs["flip_pairs"],
        )

    def to_dict(self) -> dict[str, Any]:
        """Lists and numbers, ready for JSON, as Pagoda's."""
        return {
            "names": list(self.names),
            "edges": [list(edge) for edge in self.edges],
            "sigmas": list(self.sigmas),
            "flip_pairs": None if self.flip_pairs is None else [list(pair) for pair in self.flip_pairs],
        }

    def __len__(self) -> int:
        return len(self.names)


@dataclass(frozen=True)
class LabelMap:
    """Label i is called `names[i]` and stands in files as `category_ids[i]`."""

    names: tuple[str, ...]
    category_ids: tuple[int, ...]
    skeleton: Skeleton | None = None
    """of the objects that have keypoints"""

    def __len__(self) -> int:
        return len(self.names)


@dataclass(frozen=True, eq=False)
class Detections:
    """The objects a model reports for one picture, best first, in pixels of `image_size`.

    `len(found)` counts them; `found[rows]` takes those of a boolean mask, indices or a slice, of all arrays together.
    """

    boxes: np.ndarray
    """(N, 4) xyxy"""
    scores: np.ndarray
    """(N,) 0 … 1"""
    labels: np.ndarray
    """(N,) 0 … num_classes-1"""
    image_size: tuple[int, int]
    """(height, width)"""
    label_map: LabelMap
    masks: np.ndarray | None = None
    """(N, H, W) bool"""
    keypoints: np.ndarray | None = None
    """(N, K, 2) xy, K as in the skeleton of `label_map`"""
    keypoint_scores: np.ndarray | None = None
    """(N, K) the higher the surer; 0 … 1 where the model can say so"""
    track_ids: np.ndarray | None = None
    """(N,) -1 for objects that belong to no track (yet)"""
    appearance: np.ndarray | None = field(default=None, repr=False)
    """(N, D) vectors that are alike where objects look alike; linkers compare them"""
    image_id: int | str | None = None
    file: str | None = None
    picture: np.ndarray | None = field(default=None, repr=False)
    """(H, W, 3) RGB uint8, as it was looked at"""
    mask_crops: np.ndarray | None = field(default=None, repr=False)
    """(N, M, M) probabilities inside each box, of which `masks` were pasted; they fit the box at any size"""

    def __post_init__(self) -> None:
        if self.boxes.ndim != 2 or self.boxes.shape[1] != 4:
            raise ValueError(f"boxes must be (n, 4) xyxy pixels, got {self.boxes.shape}")
        for name, value in self._rows().items():
            if len(value) != len(self.boxes):
                raise ValueError(f"{name} must have {len(self.boxes)} rows like boxes, got {len(value)}")
        if self.masks is not None and self.masks.shape[1:] != tuple(self.image_size):
            raise ValueError(
                f"masks must be (n, height, width) of the picture, {self.image_size}, got {self.masks.shape}"
            )
        if self.keypoints is not None and (self.keypoints.ndim != 3 or self.keypoints.shape[2] != 2):
            raise ValueError(f"keypoints must be (n, k, 2) xy pixels, got {self.keypoints.shape}")

    def _rows(self) -> dict[str, np.ndarray]:
        values = {each.name: getattr(self, each.name) for each in fields(self) if each.name != "picture"}
        return {name: value for name, value in values.items() if isinstance(value, np.ndarray)}

    def __len__(self) -> int:
        return len(self.boxes)

    def __getitem__(self, index: np.ndarray | slice | list[int]) -> "Detections":
        if isinstance(index, int):
            raise TypeError("index with a slice, mask or list of indices; one object is [i:i+1]")
        taken: dict[str, Any] = {name: value[index] for name, value in self._rows().items()}
        return replace(self, **taken)

    @property
    def names(self) -> list[str]:
        """The class name of each object."""
        return [self.label_map.names[label] for label in self.labels.tolist()]

    def above(self, min_score: float) -> "Detections":
        """Those of at least this score."""
        return self[self.scores >= min_score]

    def __repr__(self) -> str:
        best = ", ".join(
            f"{n} {s:.2f}" for n, s in zip(self.names[:3], self.scores[:3].tolist(), strict=True)
        )
        tail = ", …" if len(self) > 3 else ""
        return f"Detections({len(self)} in {self.image_size[0]}×{self.image_size[1]}: {best}{tail})"

    def to_dict(self) -> dict[str, Any]:
        """Plain lists and numbers, ready for JSON, as Pagoda's; masks as COCO's compressed run lengths.

        `skeleton`, beside objects that have keypoints, names these; None stands for numbers that are not finite.
        """
        objects: list[dict[str, Any]] = [
            {"name": name, "label": label, "score": score, "box_xyxy": _finite(box)}
            for name, label, score, box in zip(
                self.names, self.labels.tolist(), self.scores.tolist(), self.boxes.tolist(), strict=True
            )
        ]
        for number, entry in enumerate(objects):
            if self.track_ids is not None:
                entry["track_id"] = int(self.track_ids[number])
            if self.masks is not None:
                counts = run_lengths(self.masks[number])
                entry["segmentation"] = {"size": list(self.image_size), "counts": counts}
            if self.keypoints is not None:
                entry["keypoints"] = self._triples(number)
        plain: dict[str, Any] = {
            "file": self.file,
            "image_id": self.image_id,
            "image_size": list(self.image_size),
            "objects": objects,
        }
        skeleton = self.label_map.skeleton
        if skeleton is None or self.keypoints is None or not len(self):
            return plain
        return {**plain, "skeleton": skeleton.to_dict()}

    def _triples(self, number: int) -> list[float | None]:
        """x, y, score, x, y, score, … of one object; 1 where keypoints come without scores."""
        assert self.keypoints is not None
        points = self.keypoints[number].astype(np.float64)
        scores = np.ones(len(points)) if self.keypoint_scores is None else self.keypoint_scores[number]
        return _finite(np.concatenate([points, scores[:, None]], axis=1).ravel().tolist())


def _finite(values: list[float]) -> list[float | None]:
    """With None for NaN and infinity, which JSON does not have."""
    return [value if math.isfinite(value) else None for value in values]


def run_lengths(mask: np.ndarray) -> str:
    """COCO's text of an (H, W) bool mask: runs outside, inside, outside, … down the columns.

    From the fourth on a run is told by its difference to the last but one; five bits per character, lowest first.
    """
    columns = np.flatnonzero(mask.any(axis=0))
    runs = np.array([mask.size])
    if len(columns):
        first, last = int(columns[0]), int(columns[-1]) + 1
        inside = np.zeros((last - first) * len(mask) + 2, bool)  # one pixel outside at either end
        inside[1:-1] = mask[:, first:last].T.ravel()
        edges = np.flatnonzero(inside[1:] != inside[:-1]) + first * len(mask)
        runs = np.diff(edges, prepend=0, append=mask.size)
        runs = runs[:-1] if runs[-1] == 0 else runs
    left = runs.copy()
    left[3:] -= runs[1:-2]
    characters = np.zeros((len(runs), 0), np.uint8)
    is_written, more = np.zeros((len(runs), 0), bool), np.ones(len(runs), bool)
    while more.any():
        digit, left = left & 31, left >> 5
        following = more & (left != np.where(digit & 16, -1, 0))
        character = (digit + 32 * following + 48).astype(np.uint8)
        characters = np.column_stack([characters, character])
        is_written = np.column_stack([is_written, more])
        more = following
    return characters[is_written].tobytes().decode("ascii")
