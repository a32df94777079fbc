"""An exported file of clips in the place of a model: `pagoda track`, `val`, `predict` ask it what they ask a model."""

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from pagoda.exporting.clips.engines import ClipEngine, clips_of, files_of, open_clips, read_form, tubes_of
from pagoda.exporting.engines import Engine, check_is_detector, open_any_engine
from pagoda.exporting.exported import FIXED, ExportedDetector
from pagoda.plain import JsonObject
from pagoda.postprocess.select import Select
from pagoda.postprocess.tubes import SelectTubes
from pagoda.structures.images import ImageBatch
from pagoda.structures.instances import Detections
from pagoda.structures.tubes import Tubes


def load_any(path: str | Path) -> ExportedDetector:
    """What `pagoda export` wrote to `path`, .onnx or .xml, as a detector of pictures or of clips.

    Raises as `engines.open_engine` and `clips.engines.open_clips` do.
    """
    path = Path(path)
    engine = open_any_engine(path, pasted=False)
    if read_form(path, engine) is not None:
        return ExportedClips(path, clips_of(path, engine))
    check_is_detector(path, engine.metadata)
    return ExportedDetector(path, engine)


class ExportedClips(ExportedDetector):
    """Finds in clips what the file, or the two files, find: see `ExportedDetector`.

    What is kept of a frame for all clips it is in, `frame_features`, are the features of the file of frames; where
    there is one file for all, its pixels.
    """

    sees_clips = True
    _engine: ClipEngine  # type: ignore[assignment]
    postprocess: SelectTubes

    def __init__(self, path: str | Path, engine: ClipEngine | None = None) -> None:
        super().__init__(path, engine)  # type: ignore[arg-type]
        self._fixed = (*FIXED, "suppress_equal")
        form = self._engine.form
        self.num_frames, self.frame_interval = form.num_frames, form.frame_interval

    @property
    def files(self) -> tuple[Path, ...]:
        return files_of(self.path, self._engine.form)

    @property
    def frames_around(self) -> tuple[int, ...]:  # type: ignore[override]
        """T positions, `frame_interval` apart, the key frame (0) in their middle."""
        before = self.num_frames // 2
        return tuple((number - before) * self.frame_interval for number in range(self.num_frames))

    def _open(self, min_score: float | None) -> Engine:
        return open_clips(self.path, min_score=min_score)  # type: ignore[return-value]

    def _kind_of(self, limits: JsonObject) -> type[Select]:
        return SelectTubes

    def frame_features(self, pixels: Tensor) -> Tensor:
        """(B, C, T, h, w) of uint8 clips (B, 3, T, H, W); pictures (B, 3, H, W) stand still for T frames."""
        if pixels.ndim == 4:
            pixels = pixels[:, :, None].expand(-1, -1, self.num_frames, -1, -1)
        clips = pixels.to("cpu", torch.uint8).movedim(2, 1)
        known = [[self._engine.known(frame[None].contiguous()) for frame in clip] for clip in clips]
        return torch.stack([torch.cat(frames).movedim(0, 1) for frames in known])

    def detect_tubes(
        self,
        images: ImageBatch,
        *,
        frames: Sequence[tuple[int, ...]] | None = None,
        frame_features: Tensor | None = None,
        postprocess: SelectTubes | None = None,
    ) -> list[Tubes]:
        """One `Tubes` per clip, one after the other. Raises ValueError for limits that the file cannot change."""
        select = postprocess or self.postprocess
        engine: ClipEngine = self._engine_for(select)  # type: ignore[assignment]
        found = []
        for clip, (height, width) in enumerate(images.sizes.tolist()):
            if frame_features is None:
                (known,) = self.frame_features(images.pixels[clip : clip + 1, ..., :height, :width])
            else:
                known = frame_features[clip]
            if known.shape[1] != self.num_frames:
                raise ValueError(
                    f"{self.path} takes clips of {self.num_frames} frames, got {known.shape[1]}; a file of others is"
                    " exported from a model of others (--model.num-frames when it is created)"
                )
            outputs = engine(known.movedim(1, 0).contiguous(), (height, width))
            positions = range(self.num_frames) if frames is None else frames[clip]
            tubes = tubes_of(outputs, engine.form, positions, (height, width), self.label_map)
            found.append(tubes[: select.max_detections])
        return found

    def detect(  # type: ignore[override]
        self,
        images: ImageBatch,
        *,
        postprocess: SelectTubes | None = None,
        sizes: Sequence[tuple[int, int]] | None = None,
    ) -> list[Detections]:
        """One `Detections` per clip: what is there in its key frame."""
        found = [tubes.at(tubes.key) for tubes in self.detect_tubes(images, postprocess=postprocess)]
        return found if sizes is None else self.restore(found, sizes)
