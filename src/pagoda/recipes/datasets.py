"""The data of a run: pictures for most models, clips of videos for those that look at several frames."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from pagoda.data.clips import ClipDataset
from pagoda.data.dataset import DetectionDataset
from pagoda.data.formats.reader import open_annotations
from pagoda.data.reading.splits import chosen_with
from pagoda.data.table.annotations import Annotations, cut_to_picture
from pagoda.data.table.samples import AnnotatedDataset
from pagoda.data.tiled_dataset import TiledDataset
from pagoda.data.tiles import Tiling, cut_annotations
from pagoda.data.tracks.folders import open_videos
from pagoda.data.videos import Video
from pagoda.detectors.contract import Detector
from pagoda.evaluation.runner import check_known_classes, check_same_keypoints
from pagoda.messages import counted
from pagoda.models import is_of_clips
from pagoda.structures.labels import LabelMap
from pagoda.structures.tubes import AnyTargets
from pagoda.tiling.detect import check_takes_tiles
from pagoda.tiling.tiles import Tiles
from pagoda.training.settings import AugmentSettings, TrainSettings


class OpenedData(NamedTuple):
    """A folder's two splits; how long clips are is for the model to say."""

    train: Annotations | Sequence[Video]
    """pictures or videos to learn from"""
    val: Annotations | Sequence[Video]
    """those to score on"""
    label_map: LabelMap
    """the classes of `train`, which the model gets"""
    tiling: Tiling | None = None
    """how pictures of both are cut; None: they stay whole"""

    def datasets(
        self, model: Detector
    ) -> tuple[DetectionDataset | ClipDataset, DetectionDataset | ClipDataset]:
        """(to learn from, to score on), as this model looks at them; of tiles all are scored on, also empty ones."""
        every = self.tiling and replace(self.tiling, empty_share=1.0)
        train = dataset_for(model, self.train, is_complete=True, tiling=self.tiling)
        return train, dataset_for(model, self.val, tiling=every)


def open_data(
    settings: TrainSettings, model: str | Path | Detector, *, take: str | None = None
) -> OpenedData:
    """The splits that `settings` name, as pictures, or as videos where `model` looks at clips.

    `take` says which weights of a checkpoint are meant, as in `models.load`. Raises FileNotFoundError without data,
    ValueError for a split that is not there, as the readers of `data.formats` do, and for clips that are to be tiles.
    """
    path, inside_only = settings.data, settings.inside_only
    if is_of_clips(model, take=take):
        if settings.tiles:
            raise ValueError(
                f"videos are not cut into tiles, and {model if isinstance(model, str | Path) else type(model).__name__}"
                " learns from clips of them: train with tiles=0, or a model of single pictures"
            )
        with chosen_with("--train-split"):
            train_videos = open_videos(path, settings.train_split, inside_only=inside_only)
        with chosen_with("--val-split"):
            val_videos = open_videos(path, settings.val_split, inside_only=inside_only)
        return OpenedData(train_videos, val_videos, train_videos[0].tracks.label_map)
    with chosen_with("--train-split"):
        train = open_annotations(path, settings.train_split, inside_only=inside_only)
    with chosen_with("--val-split"):
        val = open_annotations(path, settings.val_split, inside_only=inside_only)
    return OpenedData(train, val, train.label_map, tiling_of(settings))


def tiling_of(settings: TrainSettings) -> Tiling | None:
    """How the pictures of a run are cut; None where they stay whole.

    >>> tiling_of(TrainSettings(data="aerial", tiles=640)), tiling_of(TrainSettings(data="aerial"))
    (Tiling(size=640, overlap=0.2, min_share=0.5, empty_share=1.0), None)
    """
    if not settings.tiles:
        return None
    return Tiling(
        size=settings.tiles,
        overlap=settings.tile_overlap,
        min_share=settings.tile_share,
        empty_share=settings.tile_empty,
    )


def tiling_seen(model: Detector, tiles: Tiles | None) -> Tiling | None:
    """How annotated pictures are cut to be looked at tile by tile; None where they stay whole.

    Raises ValueError for a model of clips.

    >>> import pagoda
    >>> model = pagoda.create_model("fcos_resnet18_fpn", num_classes=3, base_channels=8, width=8, norm_groups=4)
    >>> tiling_seen(model, Tiles(side=640, overlap=0.3))
    Tiling(size=640, overlap=0.3, min_share=0.5, empty_share=1.0)
    """
    if tiles is None:
        return None
    check_takes_tiles(model)
    return Tiling(size=tiles.side_for(model.input_spec), overlap=tiles.overlap)


def open_source(
    model: Detector, data: str | Path, split: str, *, inside_only: bool = False
) -> Annotations | Sequence[Video]:
    """One split of a folder, as pictures, or as videos where the model looks at clips.

    Raises as the readers of `data.formats` and `data.tracks` do.
    """
    if model.sees_clips:
        return open_videos(data, split, inside_only=inside_only)
    return open_annotations(data, split, inside_only=inside_only)


def dataset_for(
    model: Detector,
    source: Annotations | Sequence[Video],
    *,
    is_complete: bool = False,
    tiling: Tiling | None = None,
) -> DetectionDataset | ClipDataset:
    """Pictures with their targets, or clips as long and as far apart as the model looks at.

    `is_complete`: only clips of which every frame is annotated, as training needs them. `tiling`: pictures are cut into
    tiles, where any of them is larger than one.

    >>> import pagoda
    >>> from pagoda.data.drawn.synthetic import DrawnShapes
    >>> model = pagoda.create_model("fcos_resnet18_fpn", num_classes=3, base_channels=8, width=8, norm_groups=4)
    >>> type(dataset_for(model, DrawnShapes(2).annotations)).__name__
    'DetectionDataset'
    """
    if isinstance(source, Annotations):
        channels = model.input_spec.read_channels
        tiles = None if tiling is None else cut_annotations(source, tiling)
        if tiles is not None and tiles.is_cut:
            return TiledDataset(tiles, channels=channels)
        return DetectionDataset(source, channels=channels)
    frames = model.frames_around
    interval = frames[1] - frames[0] if len(frames) > 1 else 1
    return ClipDataset(source, clip_length=len(frames), interval=interval, complete=is_complete)


def check_learnable(model: Detector, dataset: AnnotatedDataset[AnyTargets]) -> None:
    """Raises ValueError before training where the data have nothing that the model, or one of its heads, can learn.

    >>> import pagoda
    >>> from pagoda.data.drawn.synthetic import DrawnShapes
    >>> model = pagoda.create_model("fcos_resnet18_fpn", num_classes=3, base_channels=8, width=8, norm_groups=4)
    >>> check_learnable(model, DrawnShapes(1, empty_share=1.0))  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    ValueError: there is nothing to learn in 1 drawn pictures (seed 0): 1 picture, and no object is annotated; ...
    """
    table = dataset.annotations
    owners = table.owners
    has_area = cut_to_picture(table.boxes_xywh, table.sizes[owners])[1]
    remedy = "choose another --train-split, or look at the annotations with pagoda doctor"
    if not (~table.ignored & has_area).any():
        what = (
            f"of {counted(len(owners), 'object')} {int(table.ignored.sum())} are crowd regions or marked as ignored or"
            f" difficult and {int((~has_area).sum())} have no area inside their picture"
            if len(owners)
            else "no object is annotated"
        )
        raise ValueError(
            f"there is nothing to learn in {table.source}: {counted(len(dataset), 'picture')}, and {what}; {remedy}"
        )
    for name, column in (("masks", table.masks), ("keypoints", table.keypoints)):
        if name in model.learns and column is None:
            raise ValueError(
                f"the model has a {name.removesuffix('s')} head, but no object of {table.source} has {name};"
                f" {remedy}, or take a model without that head"
            )


def check_scorable(
    model: Detector, dataset: AnnotatedDataset[AnyTargets], *, flag: str = "--val-split"
) -> None:
    """Raises ValueError before work begins where the model could not be scored on these data afterwards: no pictures,
    classes that it does not know, keypoints of another skeleton. `flag` chooses the data."""
    if not len(dataset):
        raise ValueError(
            f"there are no pictures to score on in {dataset.annotations.source}; choose another {flag}"
        )
    check_known_classes(model.label_map, dataset)
    if "keypoints" in model.learns:
        check_same_keypoints(model.label_map, dataset.label_map)


def check_tiles(dataset: AnnotatedDataset[AnyTargets], settings: TrainSettings) -> None:
    """Raises ValueError before training where data that were opened by somebody else are not in tiles as settings say.

    >>> from pagoda.data.drawn.synthetic import DrawnShapes
    >>> check_tiles(DrawnShapes(2, (64, 96)), TrainSettings(data="drawn", tiles=64))  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    ValueError: tiles=64, but 2 drawn pictures (seed 0) has pictures of up to 64×96 pixels: ...
    """
    sizes = dataset.annotations.sizes
    if not settings.tiles or not (sizes > settings.tiles).any():
        return
    height, width = sizes.max(0).tolist()
    raise ValueError(
        f"tiles={settings.tiles}, but {dataset.annotations.source} has pictures of up to {height}×{width} pixels: hand"
        " over data.tiled_dataset.TiledDataset(data.tiles.cut_annotations(annotations, tiling)), or set tiles=0"
    )


def check_frames(model: Detector, dataset: AnnotatedDataset[AnyTargets], settings: AugmentSettings) -> None:
    """Raises ValueError before training where pictures are for a model of clips, or the other way round, and where
    augmentation would tear clips apart.

    >>> import pagoda
    >>> from pagoda.data.drawn.walking import WalkingFigures
    >>> model = pagoda.create_model("fcos_resnet18_fpn", num_classes=1, base_channels=8, width=8, norm_groups=4)
    >>> clips = ClipDataset(WalkingFigures(num_videos=1, num_frames=3))
    >>> check_frames(model, clips, AugmentSettings())
    Traceback (most recent call last):
    ValueError: FCOS learns from single pictures, but the data are clips
    """
    wants, has = model.sees_clips, isinstance(dataset, ClipDataset)
    if wants != has:
        raise ValueError(
            f"{type(model).__name__} learns from {'clips of videos' if wants else 'single pictures'}, but the data are"
            f" {'clips' if has else 'pictures'}"
        )
    torn = [name for name in ("mosaic", "copy_paste", "mixup", "iou_crop") if getattr(settings, name)]
    if has and torn:
        raise ValueError(
            f"clips need the same change in every frame, which {' and '.join(torn)} cannot promise: train with"
            f" {' and '.join(f'augment.{name}=0' for name in torn)}"
        )
