"""`best.safetensors`: the weights that scored best so far, with what they scored, and on what."""

from collections.abc import Mapping
from pathlib import Path

from pagoda.detectors.contract import Detector
from pagoda.evaluation.coco.result import DetectionResult
from pagoda.weights.files import save_weights


def save_best(
    folder: Path, model: Detector, result: DetectionResult, *, epoch: int, data: Mapping[str, str]
) -> Path:
    """Weights and card of a run's best epoch: the model's own entries, `metrics`, `epoch`, and `data`, the fingerprints
    of what was learnt from ("train") and scored on ("val").

    Raises OSError where it cannot be written.
    """
    facts = {"metrics": result.to_dict()["metrics"], "epoch": epoch, "data": dict(data)}
    return save_weights(folder / "best.safetensors", model.state_dict(), {**model.card(), **facts})
