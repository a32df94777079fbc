"""The data of a run: pictures for most models, clips of videos for those that look at several frames."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from pagoda.data.annotations import Annotations
from pagoda.data.clips import ClipDataset
from pagoda.data.dataset import DetectionDataset
from pagoda.data.layouts import open_annotations
from pagoda.data.video_folders import open_videos
from pagoda.data.videos import Video
from pagoda.detectors.contract import Detector
from pagoda.detectors.detect_and_track import DetectAndTrack
from pagoda.structures.labels import LabelMap
from pagoda.training.settings import AugmentSettings, TrainSettings
from pagoda.zoo.models import is_of_clips


class OpenedData(NamedTuple):
    """A folder's two splits; how long clips are is for the model to say."""

    train: Annotations | Sequence[Video]
    val: Annotations | Sequence[Video]
    label_map: LabelMap

    def datasets(self, model: Detector) -> tuple[Any, Any]:
        """(to learn from, to score on), as this model looks at them."""
        return dataset_for(model, self.train, is_complete=True), dataset_for(model, self.val)


def open_data(settings: TrainSettings, model: str | Path | Detector) -> OpenedData:
    """The splits that `settings` name, as pictures, or as videos where `model` looks at clips."""
    if is_of_clips(model):
        videos = [open_videos(settings.data, split) for split in (settings.train_split, settings.val_split)]
        return OpenedData(videos[0], videos[1], videos[0][0].tracks.label_map)
    train = open_annotations(settings.data, settings.train_split)
    return OpenedData(train, open_annotations(settings.data, settings.val_split), train.label_map)


def dataset_for(
    model: Detector, source: Annotations | Sequence[Video], *, is_complete: bool = False
) -> DetectionDataset | ClipDataset:
    """Pictures or clips with their targets. `is_complete`: only clips of which every frame is annotated."""
    if isinstance(source, Annotations):
        return DetectionDataset(source)
    assert isinstance(model, DetectAndTrack)
    return ClipDataset(
        source, clip_length=model.num_frames, interval=model.frame_interval, complete=is_complete
    )


def check_frames(model: Detector, dataset: Any, settings: AugmentSettings) -> None:
    """Raises ValueError before training where pictures are for a model of clips, or the other way round, and where
    augmentation would tear clips apart."""
    wants, has = isinstance(model, DetectAndTrack), isinstance(dataset, ClipDataset)
    if wants != has:
        raise ValueError(
            f"{type(model).__name__} learns from {'clips of videos' if wants else 'single pictures'}, but the data are"
            f" {'clips' if has else 'pictures'}"
        )
    torn = [name for name in ("mosaic", "iou_crop") if getattr(settings, name)]
    if has and torn:
        raise ValueError(
            f"clips need the same change in every frame, which {' and '.join(torn)} cannot promise: train with"
            f" {' and '.join(f'augment.{name}=0' for name in torn)}"
        )
