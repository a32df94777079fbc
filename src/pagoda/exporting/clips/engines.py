"""Files of clips, run by ONNX Runtime or OpenVINO: one file, or one for single frames and one for clips of them."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor

from pagoda.exporting.clips.form import ClipForm, said_form
from pagoda.exporting.engines import Engine, check_is_detector, open_any_engine
from pagoda.structures.labels import LabelMap
from pagoda.structures.tubes import Tubes

FRAMES, CLIPS = ".frames", ".clips"
"""what stands before the ending of the names of two files that belong together"""


class ClipEngine(Protocol):
    """A detector of clips, ready to run. T frames of a clip."""

    metadata: Mapping[str, str]
    """what `form.clip_metadata` says of the model"""
    form: ClipForm
    """of the file, or of that of clips"""

    def known(self, frame: Tensor) -> Tensor:
        """What is kept of one uint8 frame (1, 3 or 4, H, W) for all clips it is in, (1, …)."""
        ...

    def __call__(self, known: Tensor, size: tuple[int, int]) -> dict[str, Tensor]:
        """What is known of the frames of one clip, (T, …), all of (height, width), to boxes (1, D, t, 4), scores …"""
        ...


class WholeClips:
    """One file: of frames their pixels are kept."""

    def __init__(self, engine: Engine, form: ClipForm) -> None:
        self._engine, self.form, self.metadata = engine, form, engine.metadata

    def known(self, frame: Tensor) -> Tensor:
        return frame

    def __call__(self, known: Tensor, size: tuple[int, int]) -> dict[str, Tensor]:
        return self._engine(known)


class SlidingClips:
    """Two files: of frames the features are kept."""

    def __init__(self, frames: Engine, clips: Engine, form: ClipForm) -> None:
        self._frames, self._clips, self.form, self.metadata = frames, clips, form, clips.metadata

    def known(self, frame: Tensor) -> Tensor:
        return self._frames(frame)["features"]

    def __call__(self, known: Tensor, size: tuple[int, int]) -> dict[str, Tensor]:
        return self._clips(known, torch.tensor(size))


def open_clips(path: str | Path, *, min_score: float | None = None) -> ClipEngine:
    """The engine of a file of clips, or of NAME.clips.onnx (.xml) and the NAME.frames.onnx beside it.

    `min_score` takes the place of the threshold built in. Raises as `engines.open_engine` does, FileNotFoundError where
    the second file is missing, and ValueError for a half that is none of clips, and for halves of two exports.
    """
    return clips_of(path, open_any_engine(path, min_score=min_score))


def clips_of(path: str | Path, engine: Engine) -> ClipEngine:
    """As `open_clips`, of a file that is open already."""
    path, form = Path(path), read_form(path, engine)
    if form is None:
        raise ValueError(f"{path} holds a detector of single pictures, and clips were expected")
    if form.part == "frames":
        raise ValueError(
            f"{path} holds the half of a detector of clips that looks at single frames; open the other one,"
            f" {_other_name(path, FRAMES, CLIPS)}, which reads this"
        )
    check_is_detector(path, engine.metadata)
    if form.part == "whole":
        return WholeClips(engine, form)
    beside, _ = files_of(path, form)
    if not beside.is_file():
        raise FileNotFoundError(
            f"{path} makes tubes of what {beside.name} says of single frames, which is not beside it; keep the two"
            " files that pagoda export --sliding writes together"
        )
    frames = open_any_engine(beside)
    half = read_form(beside, frames)
    if half is None or half.part != "frames" or (half.this, half.other) != (form.other, form.this):
        raise ValueError(
            f"{beside} and {path} are not of one export, so that one cannot read what the other says; export the"
            " checkpoint anew with --sliding, which writes both"
        )
    return SlidingClips(frames, engine, form)


def read_form(path: Path, engine: Engine) -> ClipForm | None:
    """What an open file says of clips; None of pictures. Raises ValueError for what no version writes."""
    try:
        return said_form(engine.metadata)
    except (ValueError, TypeError) as error:
        raise ValueError(f"{path}: {error}; export the checkpoint anew") from error


def names_of_two(path: Path) -> tuple[Path, Path]:
    """(of frames, of clips): what --sliding makes of the name of a file.

    >>> [each.name for each in names_of_two(Path("walk.onnx"))]
    ['walk.frames.onnx', 'walk.clips.onnx']
    """
    return path.with_suffix(FRAMES + path.suffix), path.with_suffix(CLIPS + path.suffix)


def files_of(path: Path, form: ClipForm) -> tuple[Path, ...]:
    """The file at `path`, and the one of single frames where it takes two."""
    return (path,) if form.part == "whole" else (path.with_name(_other_name(path, CLIPS, FRAMES)), path)


def tubes_of(
    outputs: Mapping[str, Tensor],
    form: ClipForm,
    frames: Sequence[int],
    image_size: tuple[int, int],
    label_map: LabelMap,
) -> Tubes:
    """The objects among the rows that a file gives; `frames` are the positions of the clip's frames in the video."""
    real = outputs["labels"][0] >= 0
    rows = {name: value[0][real] for name, value in outputs.items()}
    return Tubes(
        rows["boxes"],
        rows["scores"],
        rows["labels"].long(),
        tuple(frames[each] for each in form.tube_frames),
        form.key,
        image_size,
        label_map,
        keypoints=rows.get("keypoints"),
        keypoint_scores=rows.get("keypoint_scores"),
    )


def _other_name(path: Path, mine: str, other: str) -> str:
    """Of the file beside. Raises ValueError where the name of this one was changed."""
    if not path.stem.endswith(mine):
        raise ValueError(
            f"{path} is one of two files, whose names end in {FRAMES}{path.suffix} and {CLIPS}{path.suffix} and are the"
            " same before; name them so again"
        )
    return path.stem.removesuffix(mine) + other + path.suffix
