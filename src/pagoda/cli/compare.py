"""pagoda compare FIRST SECOND --data DIR"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated

import tyro

from pagoda.batch_size import AnyBatchSize
from pagoda.cli.arguments.parsing import AnyPrecision, open_ready, parse
from pagoda.data.dataset import DetectionDataset
from pagoda.data.formats.reader import open_annotations
from pagoda.data.reading.splits import chosen_with
from pagoda.data.table.samples import PictureDataset
from pagoda.detectors.contract import Detector
from pagoda.evaluation.coco.comparison import Comparison
from pagoda.evaluation.comparing import compare
from pagoda.evaluation.runner import EVALUATION_LIMITS
from pagoda.explain.comparison.page import write_comparison
from pagoda.files.atomic import make_folder, write_free
from pagoda.files.text import json_text
from pagoda.plain import check_counts, checked
from pagoda.progress import Progress
from pagoda.recipes.datasets import dataset_for
from pagoda.recipes.remarks import data_remarks

PAIRS = 100
"""pictures that compare.html shows at either end"""
SHOWN = 5
"""pictures that are listed at either end"""


@checked
@dataclass(frozen=True, kw_only=True)
class CompareCommand:
    """Which of two is better, by how much, and how surely: checkpoints, exported files or COCO results.

    pagoda compare old.safetensors new.safetensors --data DIR --split test
    pagoda compare theirs.json runs/NAME-1/best.safetensors --data DIR
    pagoda compare a1.safetensors b1.safetensors --data DIR --first-seeds a2.safetensors --second-seeds b2.safetensors

    Both are scored on the same samples of the pictures. AP and its parts are told with the 95 % interval of their
    change; where that holds 0, by how many pictures it could be told.
    """

    common = ("split", "first_seeds", "second_seeds", "out", "json")

    first: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="FIRST")]
    """a checkpoint, an exported .onnx or .xml, or COCO results (.json)"""
    second: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="SECOND")]
    """the same, that is to be better"""
    data: str
    """dataset folder"""
    split: str = "val"
    """which part of it; join several with +"""
    first_seeds: tuple[str, ...] = ()
    """more runs of the first with other seeds, so that the interval covers these, too"""
    second_seeds: tuple[str, ...] = ()
    """more runs of the second"""
    inside_only: bool = False
    """refuse pictures outside the data set's folder: named by `..`, by an absolute path or through a link"""
    device: str = "auto"
    """auto, cpu, cuda, cuda:1, mps; auto: the accelerator, where there is one"""
    precision: AnyPrecision = "fp32"
    """of the network, as in pagoda val"""
    batch_size: AnyBatchSize = "auto"
    """pictures that are looked at together; auto: 8, on an accelerator 16; fewer where memory ends"""
    min_score: float = float(EVALUATION_LIMITS["min_score"] or 0)
    """detections below are not counted; COCO's protocol wants this low"""
    max_detections: int = int(EVALUATION_LIMITS["max_detections"] or 0)
    """of a picture that a model gives, and of a picture and class that count; COCO's protocol has 100"""
    rounds: int = 2000
    """samples of the pictures"""
    out: str = ""
    """folder for compare.html, on which pictures stand side by side, and compare.json; free names are taken"""
    json: bool = False
    """print parts and pictures as JSON"""


def main(arguments: Sequence[str]) -> int:
    command = parse(CompareCommand, "compare", arguments)
    check_counts(rounds=command.rounds, max_detections=command.max_detections)
    if command.out:
        make_folder(command.out)
    sides = (command.first, *command.first_seeds), (command.second, *command.second_seeds)
    with chosen_with("--split"):
        annotations = open_annotations(command.data, command.split, inside_only=command.inside_only)
    first, second = ([_open(source, command) for source in side] for side in sides)
    models = [source for source in (*first, *second) if not isinstance(source, Path)]
    _check_alike(models)
    for line in data_remarks(annotations, command.data):
        print(line, file=sys.stderr)
    dataset = dataset_for(models[0], annotations) if models else DetectionDataset(annotations)
    with Progress(quiet=not models) as bar:
        result = compare(
            first,
            second,
            dataset,
            batch_size=command.batch_size,
            limits={"min_score": command.min_score, "max_detections": command.max_detections},
            rounds=command.rounds,
            progress=bar.task("looking", len(models) * len(dataset)),
            num_pairs=PAIRS if command.out else 0,
        )
    names = {annotations.image_id(index): str(annotations.files[index]) for index in range(len(annotations))}
    print(json_text(result.to_dict()) if command.json else f"{result.table()}\n\n{_pictures(result, names)}")
    if command.out:
        for path in _write(result, dataset, command):
            print(path, file=sys.stderr)
    return 0


def _write(result: Comparison, dataset: PictureDataset, command: CompareCommand) -> list[Path]:
    """The page and its numbers, under names that are free."""
    annotations = dataset.annotations
    index = {annotations.image_id(number): number for number in range(len(annotations))}
    files = {
        image_id: (str(annotations.files[number]), tuple(annotations.sizes[number].tolist()))
        for image_id, number in index.items()
    }
    write_page = partial(
        write_comparison,
        comparison=result,
        read_picture=lambda image_id: dataset.picture(index[image_id])[:3].permute(1, 2, 0).numpy(),
        files=files,
        names=(command.first, command.second),
    )
    numbers = json_text(result.to_dict(), indent=1)
    folder = make_folder(command.out)
    return [
        write_free(folder / "compare.html", write_page),
        write_free(folder / "compare.json", lambda draft: draft.write_text(numbers, encoding="utf-8")),
    ]


def _open(source: str, command: CompareCommand) -> Path | Detector:
    if source.lower().endswith(".json"):
        return Path(source)
    return open_ready(source, "", "", device=command.device, precision=command.precision)


def _check_alike(models: Sequence[Detector]) -> None:
    """Raises ValueError for models that do not look at the same pictures."""
    if any(model.sees_clips for model in models):
        raise ValueError(
            "pagoda compare is for models of single pictures; score those of clips by pagoda val"
        )
    channels = sorted({model.input_spec.read_channels for model in models})
    if len(channels) > 1:
        raise ValueError(
            f"the models look at pictures of {' and '.join(map(str, channels))} channels; compare what they find:"
            " pagoda val --save-results FILE.json for each, then pagoda compare with these files"
        )


def _pictures(result: Comparison, names: dict[int | str, str]) -> str:
    """Those that gained most and lost most."""
    lines = [
        f"{len(result.pictures)} of {result.num_images} pictures are otherwise, at the scores of best F1"
    ]
    better = [each for each in result.pictures if each.gain > 0][:SHOWN]
    worse = [each for each in result.pictures if each.gain < 0][: -SHOWN - 1 : -1]
    for title, changes in (("better", better), ("worse", worse)):
        lines += [
            f"{title}  {names[each.image_id]}: {each.found:+g} found, {each.wrong:+g} wrong"
            for each in changes
        ]
    return "\n".join(lines)
