"""What somebody should know of the data before a run: what was left out or repaired, and pictures that go black."""

from collections.abc import Sequence
from pathlib import Path

from pagoda.data.levels import dark_levels, peak_level
from pagoda.data.reading.complaints import Complaints
from pagoda.data.reading.outside import complain_of_outside
from pagoda.data.table.annotations import Annotations
from pagoda.data.table.samples import AnnotatedDataset
from pagoda.data.tiled_dataset import TiledDataset
from pagoda.data.videos import Video, frame_files
from pagoda.detectors.contract import Detector
from pagoda.pictures.read import PictureError, picture_facts
from pagoda.structures.tubes import AnyTargets
from pagoda.training.settings import TrainSettings

MAX_NOTES = 3
"""Told one by one; all are counted"""
MAX_OPENED = 64
"""Pictures whose header is looked at, spread over all"""


def data_remarks(data: Annotations | Sequence[Video], folder: str | Path) -> list[str]:
    """Lines for people on the data set in `folder`, none where there is nothing to say.

    The first `MAX_NOTES` of what was left out or repaired while reading, pictures that become nearly black in 8 bits,
    and files of several frames; of at most `MAX_OPENED` pictures the header is read.

    >>> from pagoda.data.drawn.synthetic import DrawnShapes
    >>> data_remarks(DrawnShapes(2).annotations, "drawn")
    []
    """
    notes = list(data.notes) if isinstance(data, Annotations) else _video_notes(data, folder)
    lines = notes[:MAX_NOTES]
    if len(notes) > MAX_NOTES:
        lines.append(f"… and {len(notes) - MAX_NOTES} notes more on these data: pagoda doctor {folder}")
    return lines + _picture_remarks(_spread(_picture_files(data)), folder)


def tile_remarks(
    model: Detector,
    train_data: AnnotatedDataset[AnyTargets],
    val_data: AnnotatedDataset[AnyTargets],
    settings: TrainSettings,
) -> list[str]:
    """What is learnt from and scored on where `settings` ask for tiles, and at which size the model sees one.

    >>> import pagoda
    >>> from pagoda.data.drawn.synthetic import DrawnShapes
    >>> model = pagoda.create_model("fcos_resnet18_fpn", num_classes=3, base_channels=8, width=8, norm_groups=4)
    >>> tile_remarks(model, DrawnShapes(2), DrawnShapes(2), TrainSettings(data="drawn", tiles=640))
    ['no picture is larger than a tile of 640×640 pixels: they are learnt from and scored on whole']
    """
    side = settings.tiles
    if not side:
        return []
    lines = []
    for what, data in (("learning from", train_data), ("scoring on", val_data)):
        if isinstance(data, TiledDataset):
            lines.append(f"{what} tiles: {data.tiles.words()}")
    if not lines:
        return [
            f"no picture is larger than a tile of {side}×{side} pixels: they are learnt from and scored on whole"
        ]
    height, width = model.input_spec.resized((side, side))
    lines.append(
        f"the model sees a tile at {height}×{width} pixels; the AP of this run is of tiles, not of whole pictures"
    )
    counts = train_data.tiles.counts if isinstance(train_data, TiledDataset) else None
    if counts is not None and counts.empty > counts.tiles / 2 and settings.tile_empty == 1:
        lines.append(
            f"{counts.empty} of {counts.tiles} tiles have no object to learn: tile_empty=0.2 (--tile-empty 0.2) learns"
            " from a fifth of them"
        )
    return lines


def _picture_files(data: Annotations | Sequence[Video]) -> Sequence[Path]:
    if isinstance(data, Annotations):
        return [data.path(index) for index in _spread(range(len(data)))]
    return frame_files(data)


def _video_notes(videos: Sequence[Video], folder: str | Path) -> list[str]:
    complaints = Complaints(str(folder))
    complain_of_outside(frame_files(videos), Path(folder), str(folder), complaints, refuse=False)
    told = dict.fromkeys(note for video in videos for note in video.notes)
    return [*told, *complaints.notes()]


def _spread(items: Sequence) -> list:
    """At most `MAX_OPENED` of them, evenly."""
    count = min(MAX_OPENED, len(items))
    return [items[number * len(items) // count] for number in range(count)]


def _picture_remarks(paths: list[Path], folder: str | Path) -> list[str]:
    peaks, several = {}, []
    for path in paths:
        try:
            facts = picture_facts(path)
            peak = peak_level(path) if facts.is_deep else None
        except PictureError:
            continue  # told when its turn comes, by name
        if peak is not None:
            peaks[path] = peak
        if facts.num_frames > 1:
            several.append(f"{path} holds {facts.num_frames} frames or pages, of which the first is read")
    remark = dark_levels(peaks, folder)
    more = f" (and {len(several) - 1} like it, of {len(paths)} looked at)" if len(several) > 1 else ""
    return ([remark] if remark else []) + ([several[0] + more] if several else [])
