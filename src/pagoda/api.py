"""The functions of `import pagoda` that need several rooms: training, scoring, exporting."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pagoda.data.dataset import DetectionDataset
from pagoda.data.formats.layouts import open_annotations
from pagoda.detectors.contract import Detector
from pagoda.evaluation import runner
from pagoda.evaluation.coco.result import DetectionResult
from pagoda.exporting.onnx import export_onnx
from pagoda.exporting.parity import ParityReport
from pagoda.plain import from_plain
from pagoda.recipes import training_run
from pagoda.recipes.training_run import RunResult
from pagoda.training.settings import TrainSettings

__all__ = ["evaluate", "export", "train"]


def train(
    model: str | Path | Detector | None = None,
    data: str | Path | None = None,
    *,
    resume: str | Path | None = None,
    options: dict[str, Any] | None = None,
    build: Callable[[int], Detector] | None = None,
    quiet: bool = False,
    **settings: Any,
) -> RunResult:
    """Train a zoo model by name, fine-tune a checkpoint (path or address) or a built detector, on a dataset folder.

    The folder is in any form of docs/formats.md. A class head for other classes is made anew by the classes' names.

    `settings` are the fields of TrainSettings, nested ones as dicts (`epochs=12, optim={"learning_rate": 1e-3}`);
    `options` those of the model (`{"width": 64}`; `pagoda info NAME --help` lists them). Unknown words raise with the
    nearest right one.

    `resume` is the folder of a run to go on with, interrupted or at its end; `epochs`, `workers`, `device`,
    `val_every`, `patience`, `save_seconds` and `inside_only` may then be given anew, `data` too where the same data lie
    elsewhere, and whatever else differs is refused. Ctrl-C or SIGTERM saves at the end of the step and raises Stopped,
    a KeyboardInterrupt that says how to go on.
    """
    if resume is not None:
        if model is not None or options:
            raise ValueError(
                f"the run in {resume} has its model already; leave model and options out, or resume"
            )
        given = settings if data is None else {**settings, "data": str(data)}
        return training_run.resume(resume, changes=given, build=build, quiet=quiet)
    if model is None or data is None:
        raise ValueError("train needs a model and the folder of its data, or resume='runs/NAME-1'")
    chosen = from_plain(TrainSettings, {"data": str(data), **settings})
    return training_run.train(model, chosen, options=options, build=build, quiet=quiet)


def evaluate(
    model: Detector,
    data: str | Path,
    *,
    split: str = "val",
    batch_size: int = 8,
    max_detections: int = 100,
    inside_only: bool = False,
) -> DetectionResult:
    """COCO metrics of a model on one split of a dataset folder; of a picture and class `max_detections` count.

    Raises ValueError where pictures lie outside the folder and `inside_only` is set.
    """
    annotations = open_annotations(data, split, inside_only=inside_only)
    dataset = DetectionDataset(annotations, channels=model.input_spec.read_channels)
    limits = {**runner.EVALUATION_LIMITS, "max_detections": max_detections}
    return runner.evaluate(model, dataset, batch_size=batch_size, limits=limits)


def export(
    model: Detector,
    path: str | Path,
    *,
    pictures: Sequence[np.ndarray] | None = None,
    overwrite: bool = False,
) -> ParityReport:
    """Write an ONNX file with pre- and post-processing inside, after proving that it computes the same."""
    return export_onnx(model, path, pictures=pictures, overwrite=overwrite)
