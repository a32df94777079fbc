"""What a model found in the frames of a video, on disk frame by frame: a run that was stopped need not look again.

One line of JSON per frame after a line that says what was run; the tensors bit by bit, masks as run lengths.
"""

import json
import os
from base64 import b64decode, b64encode
from collections.abc import Iterator
from contextlib import suppress
from hashlib import blake2b
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import IO

import numpy as np
import torch
from torch import Tensor

from pagoda.files.atomic import make_folder, no_way_out, writing
from pagoda.files.text import parse_json
from pagoda.ops.rle import decode_masks
from pagoda.places import told_at
from pagoda.plain import JsonObject, checked
from pagoda.structures.instances import Detections
from pagoda.structures.labels import LabelMap
from pagoda.structures.tubes import Tubes
from pagoda.tracking.tracker import Found

DTYPES = ("float16", "float32", "float64", "int32", "int64", "bool")
TENSORS = ("boxes", "scores", "labels", "keypoints", "keypoint_scores", "visible", "appearance")


@checked
class FoundWriter:
    """A file of what was found in each frame, which grows: each is on disk before `add` returns. For a `with` block.

    `about` stands in the first line; what follows a line that was cut off while it was written is dropped.

    >>> from tempfile import TemporaryDirectory
    >>> cats = LabelMap.from_names(["cat"])
    >>> found = Detections(torch.ones(1, 4), torch.ones(1), torch.zeros(1).long(), (8, 8), cats)
    >>> with TemporaryDirectory() as folder, FoundWriter(Path(folder, "found.jsonl"), {"video": "a"}) as log:
    ...     log.add(found)
    ...     read_about(log.path), [each.scores for each in read_found(log.path, cats, num_frames=1)]
    (({'video': 'a'}, 1), [tensor([1.])])
    """

    def __init__(self, path: str | Path, about: JsonObject, *, keep_frames: int = 0) -> None:
        """`keep_frames`: of the file that is there already, that many frames stay; 0 starts anew."""
        self.path = no_way_out(Path(path))
        make_folder(self.path.parent)
        end = _end_of(self.path, keep_frames) if keep_frames else 0
        self._file: IO[str] = self.path.open("a", encoding="utf-8")
        os.truncate(self.path, end)
        if not end:
            self._write(about)

    def __enter__(self) -> "FoundWriter":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def add(self, found: Found, *, seen: str = "") -> None:
        """The next frame, as the model found it and not yet linked; `seen` is `picture_hash` of what it looked at."""
        row: JsonObject = {"image_size": list(found.image_size), "seen": seen}
        if isinstance(found, Tubes):
            row |= {"frames": list(found.frames), "key": found.key}
        elif (texts := found.mask_texts()) is not None:
            row["masks"] = texts
        tensors = {name: getattr(found, name, None) for name in TENSORS}
        self._write(row | {name: _packed(value) for name, value in tensors.items() if value is not None})

    def close(self) -> None:
        """Close the file; further calls do nothing."""
        with suppress(OSError):  # a line that could not be written has been told
            self._file.close()

    def _write(self, row: JsonObject) -> None:
        with writing(self.path):
            self._file.write(json.dumps(row) + "\n")
            self._file.flush()


def read_about(path: str | Path) -> tuple[JsonObject, int]:
    """(the `about` of the first line, how many whole frames follow).

    Raises FileNotFoundError without a file, ValueError without a whole first line.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(
            f"there is no {path}, so nothing to go on with: the run has come to its end, or never began"
        )
    with path.open("rb") as file:
        first = file.readline()
        if not first.endswith(b"\n"):
            raise ValueError(
                f"{path} has no whole line; the run it belongs to never saw a frame, start it again"
            )
        with told_at(path), told_at("line 1"):
            about = parse_json(first)
        return about, sum(line.endswith(b"\n") for line in file)


def read_found(path: str | Path, label_map: LabelMap, *, num_frames: int) -> Iterator[Found]:
    """What was found in each of the first `num_frames` frames, one at a time, bit by bit as it was added.

    Raises ValueError that names file and line for what is no such frame.
    """
    with Path(path).open("rb") as file:
        file.readline()
        for number in range(2, num_frames + 2):
            with told_at(Path(path)), told_at(f"line {number}"):
                found = _unpacked(parse_json(file.readline()), label_map)
            yield found


def read_seen(path: str | Path, *, num_frames: int) -> Iterator[str]:
    """`picture_hash` of what was looked at in each of the first `num_frames` frames."""
    with Path(path).open("rb") as file:
        for number, line in enumerate(islice(file, 1, num_frames + 1), 2):
            with told_at(Path(path)), told_at(f"line {number}"):
                seen = parse_json(line).get("seen", "")
            yield seen


def picture_hash(picture: np.ndarray) -> str:
    """16 letters for the pixels of a picture, (H, W, 3) uint8: the same for the same content, whatever its file.

    >>> picture_hash(np.zeros((2, 3, 3), np.uint8)) == picture_hash(np.zeros((3, 2, 3), np.uint8))
    False
    """
    digest = blake2b(repr(picture.shape).encode(), digest_size=8)
    digest.update(np.ascontiguousarray(picture))
    return digest.hexdigest()


def _end_of(path: Path, num_frames: int) -> int:
    """Where the line of that many frames ends, in bytes."""
    with path.open("rb") as file:
        for _ in range(num_frames + 1):
            file.readline()
        return file.tell()


def _packed(value: Tensor) -> list[str | list[int]]:
    numbers = value.detach().cpu().numpy()
    return [str(numbers.dtype), list(numbers.shape), b64encode(numbers.tobytes()).decode("ascii")]


def _tensor(dtype: str, shape: list[int], text: str) -> Tensor:
    if dtype not in DTYPES:
        raise ValueError(f"expected numbers of one of the types {', '.join(DTYPES)}, got {str(dtype)[:60]}")
    return torch.from_numpy(np.frombuffer(b64decode(text), dtype).reshape(shape).copy())


def _unpacked(row: JsonObject, label_map: LabelMap) -> Found:
    size = (int(row["image_size"][0]), int(row["image_size"][1]))
    tensors = {name: _tensor(*row[name]) for name in TENSORS if name in row}
    if "frames" in row:
        return Tubes(
            **tensors, frames=tuple(row["frames"]), key=row["key"], image_size=size, label_map=label_map
        )
    masks = torch.from_numpy(decode_masks(row["masks"], size)) if "masks" in row else None
    return Detections(**tensors, masks=masks, image_size=size, label_map=label_map)
