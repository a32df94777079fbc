"""pagoda predict CKPT SOURCE…"""

import signal
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Literal

import tyro

from pagoda.batch_size import AnyBatchSize
from pagoda.beside import Behind
from pagoda.cli.arguments.cluster_options import ClusterOptions
from pagoda.cli.arguments.parsing import AnyPrecision, open_ready, parse
from pagoda.cli.arguments.tile_options import TileOptions
from pagoda.cli.predicting.cluster import predict_on_cluster
from pagoda.cli.predicting.words import say_found, say_how
from pagoda.detectors.contract import Detector
from pagoda.drawing.objects import MAX_DRAWN_PIXELS, image_of_detections, shrink_factor
from pagoda.files.atomic import claim_folder, make_folder, safe_name, write_free
from pagoda.files.drafts import sweep_drafts
from pagoda.files.text import json_text
from pagoda.finding.look import Look, Read, find_in, read_source
from pagoda.finding.remarks import Remarks
from pagoda.messages import counted
from pagoda.pictures.read import PictureError, find_pictures, is_address, is_picture
from pagoda.plain import checked
from pagoda.predict import ResizedPicture
from pagoda.preprocess import InputSpec
from pagoda.progress import Progress
from pagoda.recipes.predictions_file import PredictionsFile
from pagoda.stopping import Stopped, StopRequests
from pagoda.structures.instances import Detections
from pagoda.structures.thresholds import DEFAULT_MIN_SCORE


@checked
@dataclass(frozen=True, kw_only=True)
class PredictCommand(TileOptions, ClusterOptions):
    """Find objects in pictures and write annotated copies and predictions.json.

    pagoda predict runs/NAME-1/best.safetensors photo.jpg holiday/ "scans/*.png" --min-score 0.5
    """

    common = ("out", "min_score", "tiles", "views", "json")

    checkpoint: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="CHECKPOINT")]
    """a .safetensors file of a run, another program's checkpoint (file or address), or an exported .onnx or .xml"""
    sources: Annotated[tuple[str, ...], tyro.conf.Positional, tyro.conf.arg(metavar="SOURCE [SOURCE ...]")]
    """pictures, folders (their pictures in the order of their numbers), globs or URLs; with --engine ray also lists
    (.txt), Parquet files and addresses of stores (s3://…)"""
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

    def look(self) -> Look:
        """How pictures are looked at. Raises ValueError for views together with tiles."""
        return Look(
            min_score=self.min_score,
            max_iou=self.max_iou,
            views=self.views,
            tiles=self.cut(),
            batch_size=self.batch_size,
        )


def main(arguments: Sequence[str]) -> int:
    command = parse(PredictCommand, "predict", arguments)
    look = command.look()
    command.refuse_unused()
    if command.engine == "ray":
        return predict_on_cluster(
            command.sources,
            command.checkpoint,
            look,
            command,
            out=command.out,
            model=command.model,
            take=command.take,
            device=command.device,
            precision=command.precision,
            picture_format=command.picture_format,
            json=command.json,
        )
    sources = [item for source in command.sources for item in _pictures_of(source)]
    if not sources:
        raise ValueError("pagoda predict needs at least one picture, folder, glob or URL")
    model = open_ready(
        command.checkpoint, command.model, command.take, device=command.device, precision=command.precision
    )
    say_how(look, model, command.checkpoint)
    out = make_folder(command.out) if command.out else claim_folder("runs", "predict")
    sweep_drafts(out)
    results, remarks = PredictionsFile(out), Remarks()
    try:
        with StopRequests() as stops, results:
            _predict(command, look, model, sources, results, remarks, stops)
            failed = list(results.failures())
    except KeyboardInterrupt as stop:
        done = results.num_pictures + results.num_failed
        said = f"stopped after {done} of {counted(len(sources), 'picture')}; what was found in them: {results.path}"
        raise Stopped(getattr(stop, "signum", signal.SIGINT), said) from stop
    return say_found(
        out,
        num_objects=results.num_objects,
        num_pictures=results.num_pictures,
        num_sources=len(sources),
        remarks=remarks.lines(MAX_DRAWN_PIXELS),
        failures=failed,
    )


def _predict(
    command: PredictCommand,
    look: Look,
    model: Detector,
    sources: Sequence[str | Path],
    results: PredictionsFile,
    remarks: Remarks,
    stops: StopRequests,
) -> None:
    """Picture by picture, to the end or to where somebody asks it to stop."""
    with (
        Progress(quiet=command.json) as bar,
        Behind() as behind,
    ):
        read = partial(_read, spec=model.input_spec, is_whole=look.views != "none")
        everything = find_in(model, sources, look, read, check=stops.check)
        task = bar.task("predicting", len(sources))
        for number, (source, picture, found) in enumerate(everything, 1):
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
                remarks.note_drawn(found, MAX_DRAWN_PIXELS)


def _read(source: str | Path, spec: InputSpec, *, is_whole: bool) -> Read | PictureError:
    """As large as it can be drawn."""
    return read_source(source, spec, is_whole=is_whole, max_pixels=MAX_DRAWN_PIXELS)


def _pictures_of(source: str) -> Sequence[str | Path]:
    """An address as it is; the pictures of a file, folder or glob, and a word on what is left out of it."""
    if is_address(source):
        return [source]
    found = find_pictures(source)
    if left_out := found.left_out():
        print(f"left out of {source}: {left_out}", file=sys.stderr)
    return found.pictures


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
