"""What a file of clips says of itself besides what every exported file says."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Literal

import torch

from pagoda.detectors.contract import Detector
from pagoda.exporting.metadata import metadata
from pagoda.files.text import json_text, parse_json
from pagoda.plain import check_counts, checked, from_plain
from pagoda.postprocess.select import Select
from pagoda.version import __version__

CLIP = "clip"
"""the entry that only files of clips have"""
Part = Literal["whole", "frames", "clips"]
"""a file for itself; or of two the one that looks at single frames, and the one that makes tubes of what it says"""
WHOLE = (
    "images: the frames of one clip in their order, RGB uint8 ({frames}, 3, height, width), resized as input_spec says,"
    " neither normalised nor padded; clip says how far they lie apart in the video."
)
OF_FRAME = (
    "images: one frame, RGB uint8 (1, 3, height, width), resized as input_spec says, neither normalised nor padded."
    " features, size: for the file of clips beside this one, which needs them of all frames of a clip; alone they mean"
    " nothing."
)
OF_FEATURES = (
    "features: ({frames}, C, h, w), what the file of frames beside this one says of the frames of one clip, in their"
    " order; size: as it says. Alone this file cannot look at pictures."
)
TUBES = (
    " boxes: (1, tubes, {length}, 4) xyxy pixels of images, where each object is in the frames clip.tube_frames;"
    " scores: best first, 0 in unused rows; labels: index into names and category_ids, -1 in unused rows."
)
POSES = (
    " keypoints: (1, tubes, {length}, K, 2) xy pixels of images, named by skeleton, 0 in unused rows. keypoint_scores:"
    " higher is surer, see postprocess.keypoint_score; 0 in unused rows."
)


@checked
@dataclass(frozen=True, kw_only=True)
class ClipForm:
    """Which clips a file takes, and whether it is one of two.

    >>> form = ClipForm(part="whole", num_frames=3, frame_interval=2, tube_frames=(0, 1, 2))
    >>> form.key, ClipForm.from_text(form.text()) == form
    (1, True)
    """

    part: Part
    """see `Part`"""
    num_frames: int
    """T, of a clip"""
    frame_interval: int
    """frames of the video from one of a clip to the next"""
    tube_frames: tuple[int, ...]
    """positions in the clip of the frames that tubes have boxes in"""
    this: str = ""
    """of a half: a digest of what it computes"""
    other: str = ""
    """of a half: that of the only file it goes with"""

    def __post_init__(self) -> None:
        check_counts(num_frames=self.num_frames, frame_interval=self.frame_interval)
        if self.tube_frames != middle_frames(self.num_frames, len(self.tube_frames)):
            raise ValueError(
                f"tubes speak of the middle frames of a clip of {self.num_frames}, got those of {self.tube_frames}"
            )

    @property
    def key(self) -> int:
        """Which of a tube's frames that is."""
        return len(self.tube_frames) // 2

    def text(self) -> str:
        """JSON, as it stands in the file."""
        return json_text(asdict(self))

    @classmethod
    def from_text(cls, text: str) -> "ClipForm":
        """Undo `text`. Raises ValueError for another."""
        return from_plain(cls, parse_json(text), f"{CLIP}.")


def middle_frames(num_frames: int, length: int) -> tuple[int, ...]:
    """The positions of `length` of the frames of a clip, about the one that the clip is about.

    >>> middle_frames(9, 3), middle_frames(4, 4)
    ((3, 4, 5), (0, 1, 2, 3))
    """
    first = num_frames // 2 - length // 2
    return tuple(position for position in range(first, first + length) if 0 <= position < num_frames)


@checked
def form_of(model: Detector, part: Part, this: str = "", other: str = "") -> ClipForm:
    """Of a file of this model."""
    frames = len(model.frames_around)
    with torch.no_grad():
        pixels = torch.zeros(1, model.input_spec.channels, frames, 32, 32)
        length = next(iter(model.pyramid(model.frame_features(pixels)).values())).shape[2]  # type: ignore[operator]
    return ClipForm(
        part=part,
        num_frames=frames,
        frame_interval=model.frame_interval,  # type: ignore[arg-type]
        tube_frames=middle_frames(frames, length),
        this=this,
        other=other,
    )


def clip_metadata(
    model: Detector, postprocess: Select, size: tuple[int, int] | None, form: ClipForm
) -> dict[str, str]:
    """What a runtime needs besides the graph. The file of single frames says only how pictures become its input."""
    said = metadata(model, postprocess, size) | {CLIP: form.text()}
    if form.part == "frames":
        return {name: said[name] for name in ("model", "input_spec", CLIP)} | {
            "pagoda_version": __version__,
            "usage": OF_FRAME,
        }
    length = len(form.tube_frames)
    usage = (
        (WHOLE if form.part == "whole" else OF_FEATURES)
        + TUBES
        + (POSES if "keypoints" in model.learns else "")
    )
    return said | {"usage": usage.format(frames=form.num_frames, length=length)}


def said_form(metadata_of_file: Mapping[str, str]) -> ClipForm | None:
    """What metadata say of clips; None where they are of pictures."""
    text = metadata_of_file.get(CLIP)
    return None if text is None else ClipForm.from_text(text)
