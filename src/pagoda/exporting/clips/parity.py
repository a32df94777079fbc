"""Do exported files find in clips what the model finds? `exporting.parity` over frames: tubes are compared as sets.

T frames of a clip, N tubes, t frames of a tube, K keypoints.
"""

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from pagoda.detectors.contract import Detector
from pagoda.evaluating import evaluating
from pagoda.exporting.clips.engines import ClipEngine, tubes_of
from pagoda.exporting.masks_keypoints_parity import ShapeComparison
from pagoda.exporting.parity import SINGLE, Candidacy, ParityReport, Tolerance, compare
from pagoda.exporting.parity_pictures import Picture, parity_batches
from pagoda.messages import counted
from pagoda.preprocess import InputSpec
from pagoda.structures.images import ImageBatch
from pagoda.structures.instances import Detections
from pagoda.structures.tubes import Tubes

STEP = (2, 5)
"""pixels down and to the right by which what is seen moves from one frame of a clip to the next"""


@dataclass(kw_only=True)
class ClipParityReport(ParityReport):
    """As `ParityReport`, of clips: `batches` are (frames, height, width) each, `detections` tubes.

    >>> report = ClipParityReport(min_score=0.2, batches=[(3, 130, 190), (3, 64, 64)], detections=7)
    >>> report.clips, report.pictures, report.summary().partition(":")[0]
    (2, 6, '2 clips of 3 frames (130×190, 64×64), scores above 0.2')
    """

    @property
    def clips(self) -> int:
        return len(self.batches)

    def _told(self) -> str:
        sizes = ", ".join(dict.fromkeys(f"{height}×{width}" for _, height, width in self.batches))
        frames = self.batches[0][0] if self.batches else 0
        return f"{counted(self.clips, 'clip')} of {counted(frames, 'frame')} ({sizes})"


def verify_clips(
    open_with: Callable[[float | None], ClipEngine],
    model: Detector,
    pictures: Sequence[Picture] | None = None,
    *,
    tolerance: Tolerance = SINGLE,
    size: tuple[int, int] | None = None,
) -> ClipParityReport:
    """Run exported files and `model` side by side on clips of several sizes.

    `open_with` opens the files, with another threshold than their own where one is handed over. Every picture becomes a
    clip: it moves by `STEP` from frame to frame. `size` where the files take one (height, width) only. The report says
    what agreed; nothing is raised for a difference.
    """
    engine = open_with(None)
    limits = json.loads(engine.metadata["postprocess"])
    clips = list(parity_clips(model.input_spec, pictures or (), engine.form.num_frames, size))
    for min_score in (limits["min_score"], 0.0):
        select = replace(model.postprocess, **{**limits, "min_score": min_score})
        report = ClipParityReport(tolerance=tolerance, min_score=min_score)
        _compare_all(report, open_with(min_score), model, select, clips)
        if report.unmatched or report.detections >= report.clips:
            break
    return report


def parity_clips(
    spec: InputSpec, pictures: Sequence[Picture], num_frames: int, size: tuple[int, int] | None = None
) -> Iterator[Tensor]:
    """uint8 (T, 3 or 4, H, W): of each of the pictures that `parity_pictures.parity_batches` has.

    >>> [tuple(clip.shape) for clip in parity_clips(InputSpec(short_side=32), (), 3)][:2]
    [(3, 3, 33, 44), (3, 3, 17, 23)]
    """
    for batch in parity_batches(spec, pictures, size):
        for picture in batch:
            moved = [
                picture.roll((STEP[0] * number, STEP[1] * number), (1, 2)) for number in range(num_frames)
            ]
            yield torch.stack(moved)


def _compare_all(
    report: ClipParityReport, engine: ClipEngine, model: Detector, select: Any, clips: Sequence[Tensor]
) -> None:
    """Fill `report` with the comparison of every clip."""
    model = evaluating(model)
    device = next(model.parameters()).device
    for frames in clips:
        size = (frames.shape[2], frames.shape[3])
        report.batches.append((frames.shape[0], *size))
        known = torch.cat([engine.known(frame[None]) for frame in frames])
        ours = tubes_of(engine(known, size), engine.form, range(len(frames)), size, model.label_map)
        images = model.input_spec.batch([frames], device=device)
        with torch.inference_mode():
            (theirs,) = model.detect_tubes(images, postprocess=select)
        theirs = theirs.to("cpu")
        rows, columns = compare(report, ours, theirs, select, Candidacy(model, images, select))
        if len(rows) and theirs.keypoints is not None:
            for position in range(theirs.boxes.shape[1]):
                comparison = _FrameOfTubes(model, images, select, report, theirs[columns], position)
                comparison(ours[rows].at(position), theirs[columns].at(position))


class _FrameOfTubes(ShapeComparison):
    """Of the keypoints of tubes, in one of their frames."""

    def __init__(
        self, model: Detector, image: ImageBatch, select: Any, report: Any, tubes: Tubes, position: int
    ) -> None:
        super().__init__(model, image, select, report)
        self.tubes, self.position = tubes, position

    def maps_of(self, row: int, theirs: Detections) -> Tensor:
        """(K, S, S) heat maps of the model over the box of a tube in this frame; its head sees all frames."""
        tube = self.tubes.boxes[row : row + 1].to(self.image.pixels.device)
        model: Any = self.model
        with torch.inference_mode():
            pyramid = model.propose(
                model.frame_features(self.image.pixels), self.image, model.proposals.inference
            ).pyramid
            nobody = torch.zeros(1, dtype=torch.long, device=tube.device)
            return model.keypoint_logits(pyramid, tube, nobody)[0, self.position].float().cpu()
