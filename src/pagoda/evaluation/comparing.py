"""Two models, or anybody's results, on one data set: which is better, and how surely."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from pagoda.batch_size import AnyBatchSize
from pagoda.data.table.samples import AnnotatedDataset
from pagoda.evaluation.coco.comparison import Comparison, Run, compare_runs, error_changes
from pagoda.evaluation.coco.evaluator import DetectionEvaluator
from pagoda.evaluation.coco.picture_pairs import picture_pairs
from pagoda.evaluation.coco.result import ApDifference
from pagoda.evaluation.coco.thresholds import best_f1
from pagoda.evaluation.errors.kinds import kinds_of
from pagoda.evaluation.runner import EVALUATION_LIMITS, Limits, check_known_classes, collect, evaluator_of
from pagoda.plain import checked
from pagoda.structures.tubes import AnyTargets


@checked
def compare(
    first: Sequence[Any],
    second: Sequence[Any],
    dataset: AnnotatedDataset[AnyTargets],
    *,
    batch_size: AnyBatchSize = "auto",
    limits: Limits = EVALUATION_LIMITS,
    rounds: int = 2000,
    progress: Callable[[int], None] | None = None,
    num_pairs: int = 0,
) -> Comparison:
    """Score both sides on the same pictures and on samples of them.

    Args:
        first: detectors, or paths of COCO results (JSON); more than one: seeds of the same training.
        second: of the other side.
        dataset: annotated pictures; every class of it that has objects must be known to the detectors.
        limits: what holds in place of the detectors' own limits; as many detections of results count.
        rounds: bootstrap samples of the pictures.
        progress: called with the number of pictures done, over all detectors; results are there already.
        num_pairs: of how many pictures, of those that gained most and as many that lost most, `pairs` keeps what both
            find.

    Raises ValueError as `evaluate` does, and for results of other classes.

    >>> import pagoda
    >>> from pagoda.data.drawn.synthetic import DrawnShapes
    >>> shapes = DrawnShapes(2, image_size=(32, 32), seed=1)
    >>> options = {"label_map": shapes.label_map, "base_channels": 8, "width": 8, "norm_groups": 4}
    >>> model = pagoda.create_model("fcos_resnet18_fpn", **options)
    >>> compare([model], [model], shapes, rounds=10).parts["AP"].difference
    0.0
    """
    for source in (*first, *second):
        if not isinstance(source, str | Path):
            check_known_classes(source.label_map, dataset)
    looked_at = 0

    def look(source: Any) -> tuple[DetectionEvaluator, int]:
        """(what was found, how much of it is of classes that the data do not have)."""
        nonlocal looked_at
        if isinstance(source, str | Path):
            evaluator = evaluator_of(dataset, limits)
            return evaluator, sum(evaluator.update_results_file(source).values())
        count = None if progress is None else partial(_beyond, progress, looked_at)
        looked_at += len(dataset)
        return collect(source, dataset, batch_size=batch_size, limits=limits, progress=count)

    seen = [[look(source) for source in sources] for sources in (first, second)]
    before, now = ([evaluator.matches() for evaluator, _ in side] for side in seen)
    names = next((evaluator.class_names() for side in seen for evaluator, _ in side), [])
    left_out = tuple(sum(count for _, count in side) for side in seen)
    errors = error_changes(
        *(
            [_errors(evaluator, run) for (evaluator, _), run in zip(side, runs, strict=True)]
            for side, runs in zip(seen, (before, now), strict=True)
        ),
        rounds=rounds,
    )
    result = replace(compare_runs(before, now, names, rounds=rounds), left_out=left_out, errors=errors)
    if not num_pairs:
        return result
    better = [change.image_id for change in result.pictures if change.gain >= 0][:num_pairs]
    worse = [change.image_id for change in result.pictures if change.gain < 0][-num_pairs:]
    task = [task for task in before[0] if task in now[0]][-1]
    sides = [(runs[0][task], side[0][0].state()) for runs, side in zip((before, now), seen, strict=True)]
    return replace(result, pairs=picture_pairs(*sides, [*better, *worse], names))


@checked
def ap_differences(
    model: Any,
    other: Any,
    dataset: AnnotatedDataset[AnyTargets],
    *,
    batch_size: AnyBatchSize = "auto",
    progress: Callable[[int], None] | None = None,
) -> dict[str, ApDifference]:
    """By how much AP of `model` is above that of `other`: "AP", "segm/AP" and "keypoints/AP" of what both find.

    `progress` is called as in `compare`.
    """
    parts = compare([other], [model], dataset, batch_size=batch_size, progress=progress).parts
    return {name: parts[name] for name in ("AP", "segm/AP", "keypoints/AP") if name in parts}


def _errors(evaluator: DetectionEvaluator, run: Run) -> dict[str, np.ndarray]:
    """Kind of error → (images,) how many there are in each picture, by boxes, from the scores of best F1 on."""
    boxes = run["bbox"]
    kinds = kinds_of(boxes, evaluator.state(), "bbox", min_scores=best_f1(boxes))
    return kinds.counts(len(boxes.truth.image_ids))


def _beyond(progress: Callable[[int], None], before: int, done: int) -> None:
    progress(before + done)
