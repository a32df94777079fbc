"""pagoda val CKPT --data DIR"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import tyro
from rich.progress import Progress

from pagoda.cli.parsing import open_checkpoint, parse
from pagoda.data.dataset import DetectionDataset
from pagoda.data.layouts import open_annotations
from pagoda.evaluation.detection import DetectionResult, evaluate_results_file
from pagoda.evaluation.runner import EVALUATION_LIMITS, evaluate


@dataclass(frozen=True, kw_only=True)
class ValCommand:
    """Score a checkpoint, or anybody's COCO results file, on a dataset.

    pagoda val runs/NAME-1/best.safetensors --data DIR --split test
    pagoda val --results results.json --data DIR
    """

    checkpoint: Annotated[str, tyro.conf.Positional] = ""
    """a .safetensors file of a run"""
    data: str
    """dataset folder"""
    split: str = "val"
    """which part of it; join several with +"""
    results: str = ""
    """COCO results (JSON) to score instead of a checkpoint: boxes, masks and keypoints, as far as it has them"""
    save_results: str = ""
    """write the checkpoint's detections to this file as COCO results"""
    model: str = ""
    """FILE.py:FUNCTION that composes the model, when it is not one of the zoo's"""
    batch_size: int = 8
    min_score: float = float(EVALUATION_LIMITS["min_score"] or 0)
    """detections below are not counted; COCO's protocol wants this low"""
    json: bool = False
    """print metrics, per-class scores and curves as JSON"""


def main(arguments: Sequence[str]) -> int:
    command = parse(ValCommand, "val", arguments)
    if bool(command.checkpoint) == bool(command.results):
        raise ValueError("pagoda val needs either a checkpoint or --results FILE, and not both")
    annotations = open_annotations(command.data, command.split)
    if command.results:
        result = evaluate_results_file(command.results, annotations.to_coco(), annotations.label_map)
    else:
        result = score(command, DetectionDataset(annotations))
    print(json.dumps(result.to_dict()) if command.json else result.table())
    return 0


def score(command: ValCommand, dataset: DetectionDataset) -> DetectionResult:
    model = open_checkpoint(command.checkpoint, command.model)
    limits = {**EVALUATION_LIMITS, "min_score": command.min_score}
    with Progress(disable=command.json, transient=True) as bar:
        task = bar.add_task("validating", total=len(dataset))
        return evaluate(
            model,
            dataset,
            batch_size=command.batch_size,
            limits=limits,
            progress=lambda done: bar.update(task, completed=done),
            save_results=command.save_results or None,
        )
