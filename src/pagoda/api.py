"""The functions of `import pagoda` that need several rooms: training, scoring, following, exporting."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal
from warnings import warn

import numpy as np

from pagoda.batch_size import AnyBatchSize
from pagoda.data.dataset import DetectionDataset
from pagoda.data.formats.reader import open_annotations
from pagoda.data.reading.splits import chosen_with
from pagoda.detectors.contract import Detector
from pagoda.evaluation import runner
from pagoda.evaluation.coco.operating import OperatingOptions
from pagoda.evaluation.coco.result import DetectionResult
from pagoda.explain.why import examine
from pagoda.explain.why.objects import chosen_pictures
from pagoda.explain.why.records import Why
from pagoda.exporting.clips.export import NO_LOOKS, export_clips
from pagoda.exporting.onnx import export_onnx
from pagoda.exporting.openvino import export_openvino
from pagoda.exporting.parity import ParityReport
from pagoda.follow.follower import FollowedFrame, TrackOptions, VideoFollower
from pagoda.follow.run import TrackCollector, TrackResult, follow_video
from pagoda.messages import counted
from pagoda.models import load
from pagoda.pictures.read import PictureError
from pagoda.plain import JsonObject, checked, from_plain
from pagoda.recipes import training_run
from pagoda.recipes.datasets import dataset_for, open_source, tiling_seen
from pagoda.recipes.training_run import RunResult
from pagoda.structures.instances import Detections
from pagoda.tiling.tiles import Tiles
from pagoda.tracking.linking import LinkerName
from pagoda.training.settings import TrainSettings

__all__ = ["evaluate", "export", "track", "train", "why"]


def train(
    model: str | Path | Detector | None = None,
    data: str | Path | None = None,
    *,
    resume: str | Path | None = None,
    options: JsonObject | None = None,
    build: Callable[[int], Detector] | None = None,
    quiet: bool = False,
    **settings: object,
) -> RunResult:
    """Train a zoo model by name, fine-tune a checkpoint (path or address) or a built detector, on a dataset folder.

    The folder is in any form of docs/formats.md. A class head for other classes is made anew by the classes' names.

    `settings` are the fields of TrainSettings, nested ones as dicts (`epochs=12, optim={"learning_rate": 1e-3}`);
    `options` those of the model (`{"width": 64}`; `pagoda info NAME --help-all` lists them). Unknown words raise with
    the nearest right one.

    `resume` is the folder of a run to go on with, interrupted or at its end; `epochs`, `workers`, `device`,
    `val_every`, `patience`, `save_seconds` and `inside_only` may then be given anew, `data` too where the same data lie
    elsewhere, and whatever else differs is refused; "auto" stands for the last run of that `name` in `out`, where there
    is one and it is the same run, else for a new one.

    Ctrl-C or SIGTERM saves at the end of the step and raises Stopped, a KeyboardInterrupt that says how to go on.

    >>> train("fcos_resnet18_fpn", "shapes", epochs=12, optim={"learning_rat": 1e-3})
    Traceback (most recent call last):
    ValueError: unknown setting 'optim.learning_rat'; did you mean 'optim.learning_rate'?
    """
    if resume is not None and resume != "auto":
        if model is not None or options:
            raise ValueError(
                f"the run in {resume} has its model already; leave model and options out, or resume"
            )
        given = settings if data is None else {**settings, "data": data}
        return training_run.resume(resume, changes=given, build=build, quiet=quiet)
    if model is None or data is None:
        raise ValueError("train needs a model and the folder of its data, or resume='runs/NAME-1'")
    if not isinstance(model, str | Path | Detector):
        raise TypeError(
            f"train needs a model's name, a checkpoint or a built Detector, got {type(model).__name__}; a function that"
            " builds the model is given as build=FUNCTION, beside a name for it"
        )
    chosen = from_plain(TrainSettings, {"data": data, **settings})
    return training_run.train(
        model, chosen, options=options, build=build, resume_begun=resume == "auto", quiet=quiet
    )


@checked
def evaluate(
    model: Detector,
    data: str | Path,
    *,
    split: str = "val",
    batch_size: AnyBatchSize = "auto",
    max_detections: int = 100,
    inside_only: bool = False,
    precision_at: float | None = None,
    rounds: int = 2000,
    tiles: Tiles | int | Literal["auto"] | None = None,
) -> DetectionResult:
    """COCO metrics of a model on one split of a dataset folder; of a picture and class `max_detections` count.

    `result.operating` says from which score on to believe it, class by class (best F1, and the lowest score that
    reaches `precision_at`), with intervals of `rounds` bootstrap samples; what it takes for what; and whether scores
    mean what they say. `recipes.thresholds_file.save_thresholds` puts such scores into the model's file.

    `tiles` cuts large pictures as in `Detector.predict` (docs/tiles.md).

    Raises ValueError where pictures lie outside the folder and `inside_only` is set, for a precision that is no share
    and for tiles of a model of clips.

    >>> import tempfile
    >>> from pagoda.data.drawn.synthetic import DrawnShapes
    >>> from pagoda.data.saving import write_coco_folder
    >>> from pagoda.models import create_model
    >>> shapes = DrawnShapes(2, (32, 32))
    >>> small = {"width": 16, "short_side": 32, "long_side": 32}
    >>> model = create_model("fcos_ghostnet_50_fpn", label_map=shapes.label_map, **small)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     _ = write_coco_folder(shapes, folder, split="val")
    ...     result = evaluate(model, folder)
    >>> result.num_images, result.metrics["AP"] < 0.5, list(result.metrics)[:3]  # it has not been trained
    (2, True, ['AP', 'AP50', 'AP75'])
    """
    with chosen_with("--split"):
        annotations = open_annotations(data, split, inside_only=inside_only)
    dataset = DetectionDataset(annotations, channels=model.input_spec.read_channels)
    limits = {**runner.EVALUATION_LIMITS, "max_detections": max_detections}
    operating = OperatingOptions(precision_at=precision_at, rounds=rounds)
    return runner.evaluate(
        model,
        dataset,
        batch_size=batch_size,
        limits=limits,
        operating=operating,
        tiles=None if tiles is None else Tiles.of(tiles),
    )


@checked
def why(
    model: str | Path | Detector,
    data: str | Path,
    *,
    split: str = "val",
    pictures: Sequence[str] = (),
    min_score: float | None = None,
    max_iou: float | None = None,
    max_detections: int | None = None,
    batch_size: AnyBatchSize = "auto",
    inside_only: bool = False,
    tiles: Tiles | int | Literal["auto"] | None = None,
) -> Why:
    """Explain every object that a model, or a checkpoint, misses on one split of a dataset folder (docs/why.md).

    Args:
        pictures: only these, named as the data set names them or by the end of that.
        min_score, max_iou, max_detections: instead of the model's own limits.
        tiles: how pictures are cut; each tile is then a picture of its own, with what is seen there of the objects.

    Raises ValueError for a class that the model does not know, and for pictures without any annotation.

    >>> import tempfile
    >>> from pagoda.data.drawn.synthetic import DrawnShapes
    >>> from pagoda.data.saving import write_coco_folder
    >>> from pagoda.models import create_model
    >>> shapes = DrawnShapes(2, (32, 32))
    >>> small = {"width": 16, "short_side": 32, "long_side": 32}
    >>> model = create_model("fcos_ghostnet_50_fpn", label_map=shapes.label_map, **small)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     _ = write_coco_folder(shapes, folder, split="val")
    ...     told = why(model, folder)
    >>> len(told.misses) == told.num_objects, told.misses[0].reason in told.miss_counts()  # it has not been trained
    (True, True)
    """
    detector = model if isinstance(model, Detector) else load(model)
    with chosen_with("--split"):
        source = open_source(detector, data, split, inside_only=inside_only)
    cut = tiling_seen(detector, None if tiles is None else Tiles.of(tiles))
    dataset = dataset_for(detector, source, tiling=cut)
    return examine.why(
        detector,
        dataset,
        indices=chosen_pictures(dataset, pictures),
        limits={"min_score": min_score, "max_iou": max_iou, "max_detections": max_detections},
        batch_size=batch_size,
    )


@checked
def track(
    model: str | Path | Detector,
    source: str | Path,
    *,
    out: str | Path | None = None,
    linker: LinkerName | Literal["card"] = TrackOptions.linker,
    appearance: str = TrackOptions.appearance,
    camera: Literal["still", "moving"] = TrackOptions.camera,
    min_score: float | Literal["card"] | None = TrackOptions.min_score,
    relink: bool = TrackOptions.relink,
    classes: str | Sequence[str] = TrackOptions.classes,
    first_frame: int = TrackOptions.first_frame,
    max_frames: int | None = TrackOptions.max_frames,
    frames_per_second: float = TrackOptions.frames_per_second,
    max_delay: float | None = TrackOptions.max_delay,
    reconnect: int | None = TrackOptions.reconnect,
    stall_seconds: float = TrackOptions.stall_seconds,
    tiles: Tiles | int | Literal["auto"] | None = None,
    resume: bool = False,
    write_video: bool = True,
    on_frame: Callable[[Detections], object] | None = None,
    quiet: bool = False,
) -> TrackResult:
    """Follow the objects of a video, an animated picture, a folder or glob of pictures by their numbers, or of a live
    source: webcam:0, rtsp://…, http(s)://…, tcp://…, udp://…, a named pipe or - for standard input (docs/live.md).

    Any detector will do, or the checkpoint of one (path or address): of pictures, frame by frame; of clips, which sees
    the frames around each. Without `out` nothing is written.

    Args:
        out: folder for the video with its objects, MOT text, PoseTrack JSON and a table, as `pagoda track` writes them.
            Ctrl-C or SIGTERM then waits for the end of a frame, keeps all there is and raises Stopped, a
            KeyboardInterrupt that says how to go on.
        linker: who says which objects of two frames are one (docs/tracking.md); "card": what `pagoda track tune` has
            put into the model's file.
        appearance: what it compares besides places: "model", the detector's own features; or an .onnx file that embeds
            objects.
        camera: "moving" first undoes how the picture as a whole has moved; needs opencv.
        min_score: a detection this good starts a track; a higher one gives fewer false tracks and loses weak objects.
            None: the linker's own, 0.9 for models of clips. "card": detections are kept from the score of their class
            in the model's file on, and weaker ones help no track.
        relink: once the video is known to its end, cut tracks where objects met and join the pieces along straight
            paths (docs/tracking.md); files and `on_frame` then come after the last frame was looked at.
        classes: name or names of the classes to follow; none: all.
        first_frame: counted from 0; tracks begin here.
        max_frames: the end after so many; with `out`, `resume` goes on from there.
        frames_per_second: of pictures without times of their own.
        max_delay: of a live source: seconds from a frame's coming to its objects, to which older frames are dropped; 0:
            always the newest; None: none is dropped.
        reconnect: of a live source: attempts in a row to connect anew; None: 5, of a pipe 0.
        stall_seconds: of a live source: without a frame for so long, the connection counts as lost.
        tiles: cut large frames so, as in `Detector.predict` (docs/tiles.md).
        resume: go on with the run in `out` that was stopped, to the same tracks and files as if it had not been.
        write_video: False leaves the drawn video away, which takes most of the time besides the model.
        on_frame: called with the objects of each frame as soon as they are known, track id -1 where they have none.
        quiet: no bar and no words on standard error.

    Of a live source Ctrl-C is the end like any other and the result comes back. Its tracks grow until then, so what
    runs for days is better gone through with `VideoFollower`, which keeps nothing.

    A frame that cannot be read ends it: a warning says why, `failure` of the result too, and the tracks are those
    before. Raises PictureError where that is the first one, ValueError where the run to resume was made with another
    model, other classes or other frames, FolderInUseError where another process writes into `out`.

    >>> track("fcos_resnet18_fpn.safetensors", "street.mp4", linker="bite")  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    ValueError: track: linker must be one of 'reference', 'byte', ..., got 'bite'; did you mean 'byte'?
    """
    options = TrackOptions(
        linker=linker,
        appearance=appearance,
        camera=camera,
        min_score=min_score,
        relink=relink,
        classes=(classes,) if isinstance(classes, str) else tuple(classes),
        first_frame=first_frame,
        max_frames=max_frames,
        frames_per_second=frames_per_second,
        max_delay=max_delay,
        reconnect=reconnect,
        stall_seconds=stall_seconds,
    )
    video = options.open(source)
    detector = load(model) if isinstance(model, str | Path) else model
    collected = TrackCollector()

    def take(each: FollowedFrame) -> None:
        collected.add(each.linked)
        if on_frame is not None:
            on_frame(each.linked)

    run = follow_video(
        VideoFollower(detector, video, options, tiles=None if tiles is None else Tiles.of(tiles)),
        None if out is None else Path(out),
        resume=resume,
        write_video=write_video,
        on_frame=take,
        quiet=quiet,
    )
    if run.failure and not run.num_frames:
        raise PictureError(run.failure)
    if run.failure:
        warn(f"followed for {counted(run.num_frames, 'frame')} only: {run.failure}", stacklevel=3)
    return TrackResult(**vars(run), tracks=collected.tracks(video.name, first_frame=first_frame))


def export(
    model: Detector,
    path: str | Path,
    *,
    pictures: Sequence[np.ndarray] | None = None,
    size: tuple[int, int] | None = None,
    half: bool = False,
    appearance: bool = False,
    sliding: bool = False,
    overwrite: bool = False,
) -> ParityReport:
    """The report of a file with pre- and post-processing inside, written after proving that it computes the same.

    `path` ends in .onnx, or in .xml for OpenVINO. `pictures` are what to compare on, besides drawn ones; `size`,
    `half` and `appearance` are those of `pagoda.exporting.onnx.export_onnx`; `sliding` makes two files of a model of
    clips, see `pagoda.exporting.clips.export.export_clips`. Raises ParityError, and writes nothing, where the file
    differs from the model; FileExistsError for a path that is taken unless `overwrite` is set; ValueError for another
    ending, a model in half precision, for `sliding` of one that looks at pictures and `appearance` of one of clips.

    >>> from pagoda.models import create_model
    >>> export(create_model("fcos_ghostnet_50_fpn", num_classes=2, width=16).half(), "model.onnx")
    Traceback (most recent call last):
    ValueError: export the float32 model, not its torch.float16 copy; --half (half=True) writes it in float16
    """
    ending = Path(path).suffix.lower()
    if ending not in (".onnx", ".xml"):
        raise ValueError(f"exported files end in .onnx (ONNX) or .xml (OpenVINO), got {path}")
    if model.sees_clips or sliding:
        if appearance:
            raise ValueError(NO_LOOKS)
        return export_clips(
            model, path, sliding=sliding, pictures=pictures, size=size, half=half, overwrite=overwrite
        )
    write = export_onnx if ending == ".onnx" else export_openvino
    return write(
        model, path, pictures=pictures, size=size, half=half, appearance=appearance, overwrite=overwrite
    )
