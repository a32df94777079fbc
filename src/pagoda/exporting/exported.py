"""An exported file in the place of a model: the same `predict`, the same words, also for `pagoda val` and `track`."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import fields, replace
from hashlib import sha256
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

from pagoda.detectors.contract import Detector, Learnt
from pagoda.exporting.engines import Engine, open_engine
from pagoda.exporting.masks_keypoints_parity import with_shapes
from pagoda.exporting.metadata import INCLUSIVE, LINKER, THRESHOLDS
from pagoda.files.text import parse_json
from pagoda.messages import counted
from pagoda.places import told_at
from pagoda.plain import JsonObject
from pagoda.postprocess.rcnn import SelectRoIs
from pagoda.postprocess.select import Select
from pagoda.preprocess import InputSpec
from pagoda.structures.images import ImageBatch
from pagoda.structures.instances import Detections
from pagoda.structures.labels import LabelMap
from pagoda.structures.linker_settings import LinkerSettings
from pagoda.structures.skeleton import Skeleton
from pagoda.structures.thresholds import ScoreThresholds

FIXED = (
    "max_iou",
    "max_candidates",
    "across_classes",
    "clip",
    "drop_empty",
    "order",
    "inclusive",
    "min_side",
    "keypoint_score",
)
"""limits that are part of the graph"""
PASTING = ("paste", "min_mask_probability")
"""limits that are part of it in files of versions which wrote no `mask_probabilities`"""


def load_exported(path: str | Path) -> "ExportedDetector":
    """The file that `pagoda export` wrote to `path`, .onnx or .xml, as a detector that can look at pictures.

    Those of clips open with `exporting.clips.exported.load_any`. Raises as `engines.open_engine` does.
    """
    return ExportedDetector(path)


class ExportedDetector(Detector):
    """Finds what the file finds; it has no weights that could be trained, saved or moved to another device.

    `min_score` may be any: the threshold is one number of the graph. `max_detections` may be lower than the file's
    own; the other limits are part of it and raise ValueError where they differ. Masks are pasted here, at the size
    asked for and by any rule, where the file says the probabilities that takes (those of earlier versions do not).
    """

    def __init__(self, path: str | Path, engine: Engine | None = None) -> None:
        """`engine`: the file's own, where it is open already, without `masks` as `open_engine` has it."""
        super().__init__()
        self.path = path = Path(path)
        self._engine = engine or self._open(None)
        said = self._engine.metadata
        skeleton = json.loads(said["skeleton"]) if "skeleton" in said else None
        self.label_map = LabelMap(
            tuple(json.loads(said["names"])),
            tuple(json.loads(said["category_ids"])),
            skeleton=None if skeleton is None else Skeleton.from_dict(skeleton),
        )
        self.input_spec = ExportedInput.from_dict(json.loads(said["input_spec"]))
        limits = json.loads(said["postprocess"])
        kind = self._kind_of(limits)
        self.postprocess = kind(
            **{each.name: limits[each.name] for each in fields(kind) if each.name in limits}
        )
        self._fixed = FIXED if " mask_probabilities:" in said.get("usage", "") else FIXED + PASTING
        self.inclusive = json.loads(said.get(INCLUSIVE, "false")) is True
        self.origin = {"model": said.get("model"), "options": {}}
        if THRESHOLDS in said:
            with told_at(path):
                self.thresholds = ScoreThresholds.from_dict(parse_json(said[THRESHOLDS]), self.label_map)
        if LINKER in said:
            with told_at(path):
                self.linker = LinkerSettings.from_dict(parse_json(said[LINKER]))
        self._min_score = float(self.postprocess.min_score)
        self._lock = Lock()
        # Where a run that goes on compares weights by content, these are they.
        content = b"".join(
            (each if each.suffix == ".onnx" else each.with_suffix(".bin")).read_bytes() for each in self.files
        )
        self.register_buffer("sha256", torch.tensor(list(sha256(content).digest()), dtype=torch.uint8))
        self.register_parameter("nothing", nn.Parameter(torch.empty(0), requires_grad=False))
        self.eval()

    @property
    def files(self) -> tuple[Path, ...]:
        """All that it is made of, but for the .bin beside an .xml."""
        return (self.path,)

    def _open(self, min_score: float | None) -> Engine:
        return open_engine(self.path, min_score=min_score, pasted=False)

    def _kind_of(self, limits: JsonObject) -> type[Select]:
        """Of the selection that has these limits."""
        return SelectRoIs if "paste" in limits else Select

    @property
    def learns(self) -> frozenset[Learnt]:
        """What the file says of objects besides boxes and classes."""
        usage = self._engine.metadata.get("usage", "")
        return frozenset(name for name in ("masks", "keypoints") if f" {name}:" in usage)  # type: ignore[misc]

    @property
    def tells_appearance(self) -> bool:  # type: ignore[override]
        """Whether the file was written with an output for it."""
        return " appearance:" in self._engine.metadata.get("usage", "")

    def detect(
        self,
        images: ImageBatch,
        *,
        postprocess: Select | None = None,
        sizes: Sequence[tuple[int, int]] | None = None,
    ) -> list[Detections]:
        """Pictures of one size run together. Raises ValueError for limits that the file cannot change."""
        select = postprocess or self.postprocess
        engine = self._engine_for(select)
        found: dict[int, Detections] = {}
        frames = [(int(height), int(width)) for height, width in images.sizes.tolist()]
        for size in dict.fromkeys(frames):
            places = [place for place, each in enumerate(frames) if each == size]
            alike = images.pixels if len(places) == len(frames) else images.pixels[places]
            outputs = _run(engine, alike[..., : size[0], : size[1]].to("cpu", torch.uint8).contiguous())
            for row, place in enumerate(places):
                found[place] = self._of_one(
                    {name: values[row] for name, values in outputs.items()}, size, select
                )
        kept = [found[place][: select.max_detections] for place in range(len(frames))]
        if sizes is not None:
            return self.restore(kept, sizes)
        return [self._with_masks_of(each, each) for each in kept]

    def bar_of(self, thresholds: ScoreThresholds) -> float:
        """The file computes as many rows whatever the limit, and may compare it with something else than the score."""
        return thresholds.counted_from

    def restore(self, detections: Sequence[Detections], sizes: Sequence[tuple[int, int]]) -> list[Detections]:
        """Masks are pasted as a model pastes its own. Those of files without probabilities are resized with their
        picture; a border of the frame is cut off first."""
        restored = super().restore([replace(each, masks=None) for each in detections], sizes)
        return [
            self._with_masks_of(before, after) for before, after in zip(detections, restored, strict=True)
        ]

    def _with_masks_of(self, before: Detections, after: Detections) -> Detections:
        if before.mask_crops is not None and isinstance(self.postprocess, SelectRoIs):
            return self.postprocess.with_masks_of(before, after)
        if before.masks is None or after is before:
            return after
        return replace(after, masks=self._moved(before.masks, after.image_size))

    def _of_one(self, outputs: dict[str, Tensor], size: tuple[int, int], select: Select) -> Detections:
        real = outputs["labels"] >= 0
        boxes, scores, labels = (outputs[name][real] for name in ("boxes", "scores", "labels"))
        found = with_shapes(Detections(boxes, scores, labels.long(), size, self.label_map), outputs, real)
        return replace(found, found_by=select) if isinstance(select, SelectRoIs) else found

    def _moved(self, masks: Tensor, size: tuple[int, int]) -> Tensor:
        (top, left), (height, width) = self.input_spec.offset(size), self.input_spec.resized(size)
        inside = masks[:, top : top + height, left : left + width]
        if size == (height, width) or not len(inside):
            return inside if len(inside) else masks.new_zeros(0, *size)
        return interpolate(inside[None].float(), size=size, mode="bilinear", align_corners=False)[0] >= 0.5

    def _engine_for(self, select: Select) -> Engine:
        """The one at hand, or one with another threshold in its place."""
        for name in self._fixed:
            is_known = hasattr(select, name) and hasattr(self.postprocess, name)
            if is_known and getattr(select, name) != getattr(self.postprocess, name):
                raise ValueError(
                    f"{name} is {getattr(self.postprocess, name)} in {self.path} and cannot be changed there, got"
                    f" {getattr(select, name)}; use the checkpoint, or export it anew"
                )
        most, asked = self.postprocess.max_detections, select.max_detections
        if most is not None and (asked is None or asked > most):
            raise ValueError(
                f"{self.path} gives at most {counted(most, 'detection')}, got max_detections={asked}; ask for no more"
                f" (--max-detections {most}), or export it anew with --max-detections {asked}"
            )
        with self._lock:
            if float(select.min_score) != self._min_score:
                self._min_score = float(select.min_score)
                self._engine = self._open(self._min_score)
            return self._engine


def _run(engine: Engine, pictures: Tensor) -> dict[str, Tensor]:
    """All of them together, or as many at a time as the file was made for."""
    if engine.batch in (None, len(pictures)):
        return engine(pictures)
    parts = [engine(part) for part in pictures.split(engine.batch)]
    return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}


class ExportedInput(InputSpec):
    """Pictures as an exported file takes them: resized, uint8, neither normalised nor padded to a multiple."""

    def prepare(self, pictures: Sequence[Tensor], *, device: torch.device | str | None = None) -> ImageBatch:
        """uint8 (B, C, H, W), of clips (B, C, T, H, W), zeros below and to the right of what is smaller than the
        largest."""
        return self.batch([self.resize(picture) for picture in pictures], device=device)

    def normalize(self, pixels: Tensor) -> Tensor:
        """As they are."""
        return pixels

    def padded(self, side: Any) -> Any:
        """As it is."""
        return side

    def _stack(
        self,
        normalized: Iterable[Tensor],
        sizes: list[tuple[int, int]],
        frames: tuple[int, ...],
        device: torch.device | str | None,
    ) -> ImageBatch:
        height, width = (max(sides) for sides in zip(*sizes, strict=True))
        shape = (len(sizes), self.read_channels, *frames, height, width)
        pixels = np.zeros(shape, np.uint8)  # the threads of torch would get in the way of the engine's
        for image, (picture, (h, w)) in enumerate(zip(normalized, sizes, strict=True)):
            pixels[image, ..., :h, :w] = picture.movedim(-3, 0).cpu().numpy()
        return ImageBatch(
            torch.from_numpy(pixels).to(device), torch.tensor(sizes, dtype=torch.long, device=device)
        )
