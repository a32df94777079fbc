"""pagoda predict CKPT SOURCE…"""

import signal
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Annotated, Literal

import tyro

from pagoda.batch_size import AnyBatchSize, BatchSize
from pagoda.beside import Behind, ahead
from pagoda.cli.arguments.parsing import AnyPrecision, open_ready, parse
from pagoda.cli.arguments.tile_options import TileOptions
from pagoda.data.levels import dark_levels, peak_level
from pagoda.detectors.contract import Detector
from pagoda.drawing.objects import image_of_detections, shrink_factor
from pagoda.files.atomic import claim_folder, make_folder, safe_name, write_free
from pagoda.files.drafts import sweep_drafts
from pagoda.files.text import json_text
from pagoda.messages import counted
from pagoda.pictures.arrays import ReadPicture
from pagoda.pictures.read import (
    PictureError,
    find_pictures,
    is_address,
    is_picture,
    picture_facts,
    picture_size,
    to_picture,
)
from pagoda.plain import checked
from pagoda.postprocess.test_time_augmentation import PictureViews
from pagoda.predict import ResizedPicture, read_resized
from pagoda.preprocess import InputSpec
from pagoda.progress import Progress
from pagoda.recipes.predictions_file import PredictionsFile
from pagoda.recipes.thresholds_file import say_thresholds
from pagoda.stopping import Stopped, StopRequests
from pagoda.structures.instances import Detections
from pagoda.structures.thresholds import DEFAULT_MIN_SCORE
from pagoda.tiling.tiles import Tiles

MAX_DRAWN_PIXELS = 2**26
"""Of a drawn picture: 8192 pixels squared; a larger one would take more memory than finding its objects"""

PIXELS_TOGETHER = 2**20
"""of pictures that a processor looks at together: more of them are no quicker, and take more memory"""
VIEWS = {"none": None, "flip": PictureViews(), "published": PictureViews.published()}
Read = ReadPicture | ResizedPicture
"""a picture as the model takes it"""
Pair = tuple[str | Path, Read | PictureError]
"""a source, and what was read of it"""


@checked
@dataclass(frozen=True, kw_only=True)
class PredictCommand(TileOptions):
    """Find objects in pictures and write annotated copies and predictions.json.

    pagoda predict runs/NAME-1/best.safetensors photo.jpg holiday/ "scans/*.png" --min-score 0.5
    """

    common = ("out", "min_score", "tiles", "views", "json")

    checkpoint: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="CHECKPOINT")]
    """a .safetensors file of a run, another program's checkpoint (file or address), or an exported .onnx or .xml"""
    sources: Annotated[tuple[str, ...], tyro.conf.Positional, tyro.conf.arg(metavar="SOURCE [SOURCE ...]")]
    """pictures, folders (their pictures in the order of their numbers), globs or URLs"""
    out: str = ""
    """folder for the results; default: a new runs/predict-<n>"""
    min_score: float | Literal["card"] = DEFAULT_MIN_SCORE
    """objects below this score are left out; card: below the score of their class in the model's file, where pagoda
    val --save-thresholds has put it"""
    max_iou: float | None = None
    """overlap above which the weaker of two boxes of a class goes; default: the model's own"""
    views: Literal["none", "flip", "published"] = "none"
    """look at each picture mirrored too, or in the 18 views of FCOS's published result: slower, finds more"""
    json: bool = False
    """print the detections as JSON lines on standard output"""
    batch_size: AnyBatchSize = "auto"
    """pictures of one size, one after the other, that are looked at together; auto: on processors up to 8 small ones,
    on accelerators 16; fewer where memory ends"""
    device: str = "auto"
    """auto, cpu, cuda, cuda:1, mps; auto: the accelerator, where there is one"""
    precision: AnyPrecision = "fp32"
    """of the network; half of it may be quicker: auto takes what this machine does best, as measured once (see pagoda
    bench); boxes and scores stay fp32"""
    model: str = ""
    """FILE.py:FUNCTION that composes the model, when it is not one of the zoo's"""
    take: str = ""
    """which weights of another program's file, where it holds several: their key, or ema for the averaged ones"""
    picture_format: Literal["jpg", "png"] = "jpg"
    """of the annotated copies; png keeps every pixel, is several times as large and takes longer"""
    no_pictures: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """write only predictions.json"""


def main(arguments: Sequence[str]) -> int:
    command = parse(PredictCommand, "predict", arguments)
    tiles = command.cut()
    if tiles is not None and command.views != "none":
        raise ValueError(
            "--views looks at whole pictures, and --tiles at parts of them; leave one of the two out"
        )
    sources = [item for source in command.sources for item in _pictures_of(source)]
    if not sources:
        raise ValueError("pagoda predict needs at least one picture, folder, glob or URL")
    model = open_ready(
        command.checkpoint, command.model, command.take, device=command.device, precision=command.precision
    )
    if command.min_score == "card":
        say_thresholds(model, command.checkpoint)
    if tiles is not None:
        from pagoda.tiling.detect import check_takes_tiles  # as `pagoda.predict` does

        check_takes_tiles(model)
        print(tiles.text(model.input_spec), file=sys.stderr)
    out = make_folder(command.out) if command.out else claim_folder("runs", "predict")
    sweep_drafts(out)
    results, remarks = PredictionsFile(out), Remarks()
    try:
        with StopRequests() as stops, results:
            _predict(command, model, sources, results, remarks, stops)
            failed = list(results.failures())
    except KeyboardInterrupt as stop:
        done = results.num_pictures + results.num_failed
        said = f"stopped after {done} of {counted(len(sources), 'picture')}; what was found in them: {results.path}"
        raise Stopped(getattr(stop, "signum", signal.SIGINT), said) from stop
    print(
        f"{counted(results.num_objects, 'object')} in {counted(results.num_pictures, 'picture')}; see {out}",
        file=sys.stderr,
    )
    for line in remarks.lines():
        print(line, file=sys.stderr)
    for reason in failed:
        print(f"skipped: {reason}", file=sys.stderr)
    if failed:
        print(f"{len(failed)} of {counted(len(sources), 'picture')} could not be read", file=sys.stderr)
    return 1 if failed else 0


def _predict(
    command: PredictCommand,
    model: Detector,
    sources: Sequence[str | Path],
    results: PredictionsFile,
    remarks: "Remarks",
    stops: StopRequests,
) -> None:
    """Picture by picture, to the end or to where somebody asks it to stop."""
    with (
        Progress(quiet=command.json) as bar,
        Behind() as behind,
    ):
        everything = _find(command, model, sources, stops)
        task = bar.task("predicting", len(sources))
        for number, ((source, picture), found) in enumerate(everything, 1):
            task(number)
            if isinstance(found, PictureError):
                is_named_so = is_address(str(source)) or is_picture(source)
                results.fail(f"{found}{'' if is_named_so else '; a video is for pagoda track'}")
                continue
            remarks.note(source)
            row = found.to_dict()
            results.add(row)
            if command.json:
                print(json_text(row), flush=True)
            if not command.no_pictures:
                behind.do(partial(_save_picture, results.path.parent, picture, found, command.picture_format))
                remarks.note_drawn(found)


def _find(
    command: PredictCommand, model: Detector, sources: Sequence[str | Path], stops: StopRequests
) -> Iterator[tuple[Pair, Detections | PictureError]]:
    """Each source, what was read of it, and its objects, or why there are none; pictures alike together."""
    read = partial(_read, spec=model.input_spec, is_whole=command.views != "none")
    device = next(model.parameters()).device
    together = BatchSize(command.batch_size, device)
    limit = PIXELS_TOGETHER if device.type == "cpu" and command.batch_size == "auto" else None
    pairs = zip(sources, ahead(read, sources), strict=True)
    groups = _alike(pairs, together, limit) if command.tiles is None else ([pair] for pair in pairs)
    for group in groups:
        stops.check()
        yield from zip(group, _found_in(group, command, model, together), strict=True)


def _alike(pairs: Iterable[Pair], together: BatchSize, limit: int | None) -> Iterator[list[Pair]]:
    """Neighbours of one size, as many as are computed together, and of `limit` pixels at most."""
    group: list[Pair] = []
    for pair in pairs:
        size = _size(pair)
        full = len(group) >= together.size or (
            limit is not None and size is not None and (len(group) + 1) * size[0] * size[1] > limit
        )
        if group and (full or size is None or size != _size(group[-1])):
            yield group
            group = []
        group.append(pair)
    if group:
        yield group


def _size(pair: Pair) -> tuple[int, int] | None:
    """(height, width); None where pictures stay alone: what could not be read, or was made smaller while it was."""
    return pair[1].pixels.shape[:2] if isinstance(pair[1], ReadPicture) else None


def _found_in(
    group: Sequence[Pair], command: PredictCommand, model: Detector, together: BatchSize
) -> Sequence[Detections | PictureError]:
    """The objects of each picture that was read; else why it was not."""
    pictures = [picture for _, picture in group if not isinstance(picture, PictureError)]
    if len(pictures) < len(group):
        return [picture for _, picture in group if isinstance(picture, PictureError)]

    tiles = command.cut()

    def look(some: Sequence[Read]) -> list[Detections]:
        found = model.predict(
            list(some),
            min_score=command.min_score,
            max_iou=command.max_iou,
            batch_size=len(some) if tiles is None else _tiles_together(tiles, command, model, together),
            views=VIEWS[command.views],
            tiles=tiles,
        )
        assert isinstance(found, list)
        return found

    try:
        return together.run(look, pictures)
    except PictureError as error:
        return (
            [error] if len(group) == 1 else [_found_in([pair], command, model, together)[0] for pair in group]
        )


def _tiles_together(tiles: Tiles, command: PredictCommand, model: Detector, together: BatchSize) -> int:
    """How many tiles are looked at together."""
    if command.batch_size != "auto" or next(model.parameters()).device.type != "cpu":
        return together.size
    return max(1, min(together.size, PIXELS_TOGETHER // tiles.side_for(model.input_spec) ** 2))


def _read(source: str | Path, spec: InputSpec, *, is_whole: bool) -> Read | PictureError:
    """A very large picture is made smaller while it is read, unless it is needed whole. What cannot be read is told
    when its turn comes."""
    try:
        if spec.takes_strips and spec.read_channels == 3 and not is_whole and isinstance(source, Path):
            factor = shrink_factor(picture_size(source), MAX_DRAWN_PIXELS)
            if factor > 1:
                return read_resized(source, spec, factor=factor)
        return ReadPicture(*to_picture(source, channels=spec.read_channels))
    except PictureError as error:
        return error


def _pictures_of(source: str) -> Sequence[str | Path]:
    """An address as it is; the pictures of a file, folder or glob, and a word on what is left out of it."""
    if is_address(source):
        return [source]
    found = find_pictures(source)
    if left_out := found.left_out():
        print(f"left out of {source}: {left_out}", file=sys.stderr)
    return found.pictures


@dataclass
class Remarks:
    """What should be known of pictures that were read, told once for all of them."""

    several: list[str] = field(default_factory=list)
    """a sentence for each file of several frames or pages"""
    peaks: dict[Path, float] = field(default_factory=dict)
    """{picture of more than eight bits: its `peak_level`}"""
    drawn_small: list[str] = field(default_factory=list)
    """files of more than MAX_DRAWN_PIXELS"""

    def note(self, source: str | Path) -> None:
        """A file; what was fetched is gone."""
        if not isinstance(source, Path):
            return
        try:
            facts = picture_facts(source)
            peak = peak_level(source) if facts.is_deep else None
        except PictureError:  # damaged behind the first frame, which was read
            return
        if facts.num_frames > 1:
            self.several.append(
                f"{source} holds {facts.num_frames} frames or pages, of which the first was looked at"
            )
        if peak is not None:
            self.peaks[source] = peak

    def note_drawn(self, found: Detections) -> None:
        height, width = found.image_size
        if height * width > MAX_DRAWN_PIXELS:
            self.drawn_small.append(str(found.file))

    def lines(self) -> list[str]:
        """One for frames that were left out, one for pictures drawn smaller, one for those that became black."""
        more = f" (and so {len(self.several) - 1} more)" if len(self.several) > 1 else ""
        said = [f"{self.several[0]}{more}; pagoda track follows objects through all"] if self.several else []
        if self.drawn_small:
            more = f" (and {len(self.drawn_small) - 1} more)" if len(self.drawn_small) > 1 else ""
            said.append(
                f"{self.drawn_small[0]}{more} has more than {MAX_DRAWN_PIXELS} pixels and was drawn smaller, by a whole"
                " factor; boxes in predictions.json are in its own pixels"
            )
        brightest = max(self.peaks, key=lambda path: self.peaks[path], default=Path())
        return said + list(filter(None, [dark_levels(self.peaks, brightest.parent)]))


def _save_picture(out: Path, picture: Read, found: Detections, ending: Literal["jpg", "png"]) -> None:
    """The annotated picture under its own name, a very large one made smaller; nothing that exists is overwritten."""
    path = out / f"{safe_name(Path(found.file or 'picture').stem)}.{ending}"
    if isinstance(picture, ResizedPicture):
        shrunk = shrink_factor(found.image_size, MAX_DRAWN_PIXELS)
        image = image_of_detections(picture.drawing, found, shrunk=shrunk)
    else:
        image = image_of_detections(picture.pixels[..., :3], found, max_pixels=MAX_DRAWN_PIXELS)
    # Of a JPEG the letters and thin lines have to stay readable.
    how = {"format": "PNG"} if ending == "png" else {"format": "JPEG", "quality": 92, "subsampling": 0}
    write_free(path, lambda temporary: image.save(temporary, **how))
