"""What every detector can do, whatever it is made of."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from pagoda.layers.norm import hold_statistics
from pagoda.ops.anchors import pyramid_strides
from pagoda.plain import JsonObject
from pagoda.postprocess.select import Limits, Select
from pagoda.postprocess.test_time_augmentation import PictureViews
from pagoda.postprocess.tubes import SelectTubes
from pagoda.predict import Source, are_many, predict_pictures
from pagoda.preprocess import InputSpec
from pagoda.structures.images import ImageBatch
from pagoda.structures.instances import Detections, Targets
from pagoda.structures.labels import LabelMap
from pagoda.structures.thresholds import REMEDY, ScoreThresholds
from pagoda.structures.tubes import Tubes

if TYPE_CHECKING:
    from pagoda.structures.linker_settings import LinkerSettings
    from pagoda.tiling.tiles import Tiles

Learnt = Literal["masks", "keypoints"]
"""what a model may learn besides boxes"""


class Detector(nn.Module):
    """Three verbs with return types that never change, and `predict` for people.

    * `forward(images)` – raw predictions, a NamedTuple of tensors; passes `torch.export`.
    * `losses(images, targets)` – {name: scalar}; their sum is what training minimises.
    * `detect(images)` – one `Detections` per image, in pixels of the batch; another `postprocess` may be given. With
      `sizes`, (height, width) each, in pixels of the pictures that the batch was made from.

    What others ask of a model is answered here: does it look at clips (`sees_clips`), at which frames of them
    (`frames_around`), and what does it learn besides boxes (`learns`)?

    >>> Detector().learns, Detector().sees_clips, Detector().frames_around
    (frozenset(), False, (0,))
    """

    label_map: LabelMap
    input_spec: InputSpec
    postprocess: Select
    origin: JsonObject | None = None
    """{"model": name, "options": …}: how the zoo built it, so that a checkpoint can build it again"""
    computes_in: torch.dtype = torch.float32
    """what its network's weights are: `optimize` makes copies of fewer bits"""
    inclusive: bool = False
    """its weights have learnt boxes whose corners are an object's first and last pixel (`Detections.inclusive`): those
    of maskrcnn-benchmark and Caffe2, until they are trained here"""
    linker: "LinkerSettings | None" = None
    """who follows its objects best, as `pagoda track tune` has found; it goes with the model into files"""
    thresholds: ScoreThresholds | None = None
    """from which score on its detections of each class are worth having, as `pagoda val --save-thresholds` has found
    out on annotated pictures; until it is trained on"""
    holds_statistics: bool = False
    """also in training, batch norms of the backbone apply the statistics that they have stored, and keep them"""
    sees_clips: bool = False
    """batches are clips (B, 3, T, H, W), and objects are tubes over their frames (`detect_tubes`)"""
    tells_appearance: bool = False
    """its detections come with an `appearance`; of others the features that their heads read can be asked"""
    exports_appearance: bool = False
    """files that are written of it say what objects look like"""
    frames_around: Sequence[int] = (0,)
    """the frames it looks at, counted from the one that is asked about: (−2, 0, 2), of a picture itself alone"""

    def train(self, mode: bool = True) -> "Detector":
        super().train(mode)
        if self.holds_statistics:
            hold_statistics(self.get_submodule("backbone"))
        return self

    @property
    def learns(self) -> frozenset[Learnt]:
        """What it needs of the targets, and says of objects, besides boxes and classes."""
        return frozenset()

    @property
    def fixed_size(self) -> tuple[int, int] | None:
        """(height, width) in pixels of the only batches its layers can read; None: of any."""
        return None

    def card(self) -> JsonObject:
        """What a checkpoint needs besides the weights, ready for JSON."""
        return {
            **(self.origin or {"model": None, "options": {}}),
            "label_map": self.label_map.to_dict(),
            "input_spec": self.input_spec.to_dict(),
            **({"inclusive": True} if self.inclusive else {}),
            **({} if self.thresholds is None else {"thresholds": self.thresholds.to_dict()}),
            **({} if self.linker is None else {"linker": self.linker.to_dict()}),
        }

    def losses(self, images: ImageBatch, targets: Sequence[Targets]) -> dict[str, Float[Tensor, ""]]:
        raise TypeError(f"{type(self).__name__} defines no losses")

    @contextmanager
    def as_learnt(self) -> Iterator[None]:
        """Within it `losses` take the memory that they will once the model has learnt, whatever their values: it may
        then look at more."""
        yield

    def detect(
        self,
        images: ImageBatch,
        *,
        postprocess: Select | None = None,
        sizes: Sequence[tuple[int, int]] | None = None,
    ) -> list[Detections]:
        raise TypeError(f"{type(self).__name__} defines no detect")

    def frame_features(self, pixels: Float[Tensor, "b c *t h w"]) -> Float[Tensor, "b _ _ _ _"]:
        """(B, C, T, h, w) of clips (B, 3, T, H, W): what is computed of each frame alone, once for all its clips.

        Raises TypeError where a model looks at pictures.
        """
        raise TypeError(f"{type(self).__name__} looks at single pictures, not at frames of clips")

    def detect_tubes(
        self,
        images: ImageBatch,
        *,
        frames: Sequence[tuple[int, ...]] | None = None,
        frame_features: Float[Tensor, "b c t h w"] | None = None,
        postprocess: SelectTubes | None = None,
    ) -> list[Tubes]:
        """One `Tubes` per clip, in pixels of the batch.

        Args:
            frames: the position of each clip's frames in its video; default: 0 … T-1.
            frame_features: of the clips, where they are known already; of `pixels` only the size is then looked at.
            postprocess: instead of the model's own.

        Raises TypeError where a model looks at pictures.
        """
        raise TypeError(f"{type(self).__name__} looks at single pictures, where objects are no tubes")

    def card_thresholds(self) -> ScoreThresholds:
        """Those of its file. Raises ValueError, with what puts some there, where it has none."""
        if self.thresholds is None:
            raise ValueError(
                f"min_score='card': the model's file holds no thresholds; {REMEDY.format(file='CKPT')} puts them there"
            )
        return self.thresholds

    def card_linker(self) -> "LinkerSettings":
        """That of its file. Raises ValueError, with what puts one there, where it has none."""
        if self.linker is None:
            from pagoda.structures.linker_settings import TUNING_REMEDY

            raise ValueError(
                "linker='card': the model's file holds no linker; "
                f"{TUNING_REMEDY.format(file='CKPT')} puts one there"
            )
        return self.linker

    def bar_of(self, thresholds: ScoreThresholds) -> float:
        """The limit `min_score` under which the model gives all that these keep, and little more."""
        if getattr(self.postprocess, "threshold_on", "score") == "class":  # which says little of the score
            return thresholds.counted_from
        lowest = torch.tensor(float(thresholds.lowest(self.label_map)))
        return max(0.0, torch.nextafter(lowest, lowest - 1).item())  # limits have to be exceeded

    def restore(self, detections: Sequence[Detections], sizes: Sequence[tuple[int, int]]) -> list[Detections]:
        """Detections in pixels of a batch, moved to the pictures it was made from: (height, width) each."""
        restored = self.input_spec.restore(detections, sizes)
        return [replace(each, inclusive=True) for each in restored] if self.inclusive else restored

    def predict(
        self,
        source: Source | list[Source] | tuple[Source, ...] | Iterator[Source],
        *,
        min_score: float | Literal["card"] | None = None,
        max_iou: float | None = None,
        max_detections: int | None = None,
        batch_size: int = 1,
        stream: bool = False,
        views: PictureViews | None = None,
        tiles: "Tiles | int | Literal['auto'] | None" = None,
    ) -> "Detections | list[Detections] | Iterator[Detections]":
        """Find objects in a picture: path, URL, bytes, PIL image, array or tensor; one in → one out, list → list.

        Arrays and tensors are RGB, uint8 or float in [0, 1]; what cv2 reads is BGR: hand over `array[..., ::-1]`.
        Bytes (also a BytesIO) are those of a picture file. A sample of supervision's `DetectionDataset` (path, array,
        annotations), or of FiftyOne, stands for the file it names, whatever the order of the array's channels; one
        whose array is another picture is refused. `iter(dataset)` hands over all of them.

        `stream=True` gives an iterator, whatever the number of pictures. Boxes are in pixels of each picture as it
        stands upright. `views` looks at each picture mirrored and at other sizes too, which is slower and finds a
        little more.

        `tiles` cuts large pictures for objects that would be too small in the whole (docs/tiles.md): Tiles, the side of
        one in pixels, or "auto", what the model sees; `batch_size` is then of tiles. Raises ValueError together with
        views, for a model of clips, and for tiles below 32 pixels.

        `min_score="card"` keeps detections from the score of their own class on that stands in the model's file
        (`thresholds`). Raises ValueError where there is none.

        Threads may share a model that nobody trains. One in training mode is looked at through a twin with the same
        weights in evaluation mode, which takes longer; the model's own mode is left as it is.
        """
        thresholds = None
        if min_score == "card":
            thresholds = self.card_thresholds()
            min_score = self.bar_of(thresholds)
        limits: Limits = {"min_score": min_score, "max_iou": max_iou, "max_detections": max_detections}
        is_many = are_many(source)
        sources = source if is_many else [source]
        found = predict_pictures(
            self,
            sources,
            limits=limits,
            batch_size=batch_size,
            views=views,
            tiles=tiles,
            thresholds=thresholds,
        )
        if stream:
            return found
        results = list(found)
        return results if is_many else results[0]


def check_input(model: Detector) -> None:
    """Raises ValueError where its pictures come at another size than the only one that its layers read.

    >>> check_input(Detector())
    """
    size = model.fixed_size
    if size is not None and model.input_spec.canvas != size:
        raise ValueError(
            f"input_spec: the connected layers read {size[0]}×{size[1]} pixels and nothing else, so canvas must be"
            f" {size}, got {model.input_spec.canvas}"
        )


def strides_of(backbone: nn.Module, neck: nn.Module | None) -> dict[int, int]:
    """{level: pixels from cell to cell} of what the heads read. The neck is told the backbone's strides.

    A backbone maps pictures to {level: (B, C, h, w)} and says `channels` {level: C}; where cells are not 2ˡ pixels
    apart (dilated stages), it says `strides` {level: pixels}, too. Levels that a neck adds double.

    Raises ValueError where one stride is no multiple of the one below.

    >>> body = nn.Module()
    >>> body.channels, body.strides = {4: 8, 5: 8}, {5: 16}  # whose last stage is dilated
    >>> strides_of(body, None)
    {4: 16, 5: 16}
    """
    known: Mapping[int, int] = getattr(backbone, "strides", {})
    known = {level: known.get(level, 2**level) for level in sorted(backbone.channels)}
    if neck is None:
        return dict(known)
    strides = pyramid_strides(neck.channels, known)
    if any(strides[level] % strides.get(level - 1, 1) for level in strides):
        told = ", ".join(f"P{level} {stride}" for level, stride in sorted(strides.items()))
        raise ValueError(f"a level's stride must be a multiple of the one below, got {told}")
    if hasattr(neck, "set_strides"):
        neck.set_strides(known)
        return dict(neck.strides)
    return strides


def check_label_map(label_map: LabelMap | None, num_classes: int) -> LabelMap:
    """The map itself, a numbered one for None. Raises ValueError where it names another number of classes.

    >>> check_label_map(None, 2).names
    ('class_0', 'class_1')
    """
    if label_map is None:
        return LabelMap.numbered(num_classes)
    if len(label_map) != num_classes:
        raise ValueError(
            f"the class head predicts {num_classes} classes but the label map names {len(label_map)}:"
            f" {', '.join(label_map.names[:10])}"
        )
    return label_map
