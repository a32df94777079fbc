"""pagoda app CKPT"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from pagoda.app.album import Album
from pagoda.app.events import Events
from pagoda.app.looking import Looker, ShownLimits
from pagoda.app.serving import listen, open_browser, serve
from pagoda.cli.arguments.parsing import AnyPrecision, open_ready, parse
from pagoda.data.dataset import DetectionDataset
from pagoda.data.formats.reader import open_annotations
from pagoda.data.reading.splits import chosen_with
from pagoda.detectors.contract import Detector
from pagoda.evaluation.runner import check_known_classes
from pagoda.plain import check_counts, checked
from pagoda.structures.thresholds import DEFAULT_MIN_SCORE


@checked
@dataclass(frozen=True, kw_only=True)
class AppCommand:
    """Look at a checkpoint on a page of this machine: your pictures, a data set's, a video.

    pagoda app runs/NAME-1/best.safetensors --open
    pagoda app runs/NAME-2/best.safetensors --data DIR --compare runs/NAME-1/best.safetensors

    The page can be opened on this machine alone, and loads nothing from elsewhere. Ctrl-C ends it.
    """

    common = ("data", "split", "compare", "port", "open", "min_score")

    checkpoint: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="CHECKPOINT")]
    """a .safetensors file of a run, another program's checkpoint (file or address), or an exported .onnx or .xml"""
    data: str = ""
    """dataset folder, to leaf through: annotations beside detections, and why objects are missed"""
    split: str = "val"
    """which part of it; join several with +"""
    compare: str = ""
    """another checkpoint, which looks at the same pictures beside the first"""
    port: int = 7860
    """where the page is; 0: any free one"""
    open: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """open it in the browser"""
    min_score: float = DEFAULT_MIN_SCORE
    """objects below are not shown until the slider is moved"""
    max_frames: int = 600
    """of a video, to be followed"""
    inside_only: bool = False
    """refuse pictures outside the data set's folder: named by `..`, by an absolute path or through a link"""
    model: str = ""
    """FILE.py:FUNCTION that composes the models, when they are not of the zoo"""
    take: str = ""
    """which weights of another program's file, where it holds several: their key, or ema for the averaged ones"""
    device: str = "auto"
    """auto, cpu, cuda, cuda:1, mps; auto: the accelerator, where there is one"""
    precision: AnyPrecision = "fp32"
    """of the network, as in pagoda val"""


def main(arguments: Sequence[str]) -> int:
    """Serves until somebody asks for the end, which is an interruption and its exit code."""
    command = parse(AppCommand, "app", arguments)
    check_counts(max_frames=command.max_frames)
    if not 0 <= command.port < 2**16:
        raise ValueError(f"--port must be a port from 0 to {2**16 - 1}, got {command.port}")
    with listen(command.port) as waiting:
        serve(_events(command), waiting, lambda address: _say(address, is_opened=command.open))
    return 0


def _events(command: AppCommand) -> Events:
    paths = [command.checkpoint, *([command.compare] if command.compare else [])]
    models = [
        open_ready(path, command.model, command.take, device=command.device, precision=command.precision)
        for path in paths
    ]
    return Events(
        tuple(Looker(model, name) for model, name in zip(models, _names(paths), strict=True)),
        _album(command, models) if command.data else None,
        limits=ShownLimits(min_score=command.min_score),
        max_frames=command.max_frames,
    )


def _say(address: str, *, is_opened: bool) -> None:
    print(f"pagoda app is at {address} (Ctrl-C ends it)", flush=True)
    if is_opened:
        open_browser(address)


def _names(paths: Sequence[str]) -> list[str]:
    """As short as they differ.

    >>> _names(["runs/a-1/best.safetensors", "runs/a-2/best.safetensors"]), _names(["a/b.onnx"])
    (['a-1/best.safetensors', 'a-2/best.safetensors'], ['b.onnx'])
    """
    parts = [Path(path).parts for path in paths]
    for count in range(1, max(map(len, parts)) + 1):
        names = ["/".join(each[-count:]) for each in parts]
        if len(set(names)) == len(names):
            return names
    return [f"{name} ({number})" for number, name in enumerate(names, 1)]


def _album(command: AppCommand, models: Sequence[Detector]) -> Album:
    if any(model.sees_clips for model in models):
        raise ValueError(
            "a model of clips is shown videos, and --data single pictures; leave --data out and drop a video"
        )
    with chosen_with("--split"):
        annotations = open_annotations(command.data, command.split, inside_only=command.inside_only)
    channels = max(model.input_spec.read_channels for model in models)
    dataset = DetectionDataset(annotations, channels=channels)
    for model in models:
        check_known_classes(model.label_map, dataset)
    for note in annotations.notes[:5]:
        print(note, file=sys.stderr)
    return Album(dataset)
