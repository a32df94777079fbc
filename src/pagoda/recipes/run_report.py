"""The page that a run leaves: its settings, curves, scores and pictures."""

import sys
from collections.abc import Callable
from pathlib import Path

from pagoda.data.table.samples import AnnotatedDataset
from pagoda.detectors.contract import Detector
from pagoda.drawing.objects import draw_detections, draw_targets
from pagoda.evaluation.coco.result import DetectionResult
from pagoda.evaluation.runner import detect_dataset
from pagoda.structures.tubes import AnyTargets, TubeTargets
from pagoda.training.run_log import read_records
from pagoda.training.settings import TrainSettings, to_plain
from pagoda.visualization.report import write_report


def report_if_possible(again: str, folder: Path, make: Callable[[], object]) -> None:
    """The run is done and kept by now: without a page of pictures it is no failure."""
    try:
        make()
    except Exception as error:
        print(
            f"warning: there is no report ({type(error).__name__}: {error}); the training is complete, and its weights"
            f" are in {folder}{f'; once that is mended: {again}' if again else ''}",
            file=sys.stderr,
        )


def report_run(
    folder: Path,
    model: Detector,
    val_data: AnnotatedDataset[AnyTargets],
    settings: TrainSettings,
    before: DetectionResult | None,
    result: DetectionResult,
    *,
    num_pictures: int = 6,
) -> Path:
    """report.html: one page with settings, curves, tables and pictures."""
    shown = range(min(num_pictures, len(val_data)))
    pictures = []
    limits = {"min_score": 0.3}
    for index, found in zip(
        shown, detect_dataset(model, val_data, indices=shown, limits=limits), strict=True
    ):
        picture, targets = val_data[index]
        if isinstance(targets, TubeTargets):
            picture, targets = picture[targets.key], targets.at(targets.key)
        array = picture.permute(1, 2, 0).contiguous().numpy()
        name = targets.file or f"picture {index}"
        pictures.append(
            (f"{name}: annotated", draw_targets(array, targets, val_data.label_map, min_side=320))
        )
        pictures.append((f"{name}: found, score ≥ 0.3", draw_detections(array, found, min_side=320)))
    return write_report(
        folder / "report.html",
        title=folder.name,
        settings={**to_plain(settings), "model": model.card()["model"]},
        records=read_records(folder / "metrics.jsonl"),
        before=before.metrics if before else None,
        result=result,
        pictures=pictures,
    )
