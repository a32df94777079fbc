"""How numbers were measured, in one line that stands wherever they are printed."""

import hotcoco

from pagoda.evaluation.coco.ground_truth import GroundTruth, shorten
from pagoda.evaluation.coco.scoring import MAX_POSES, Task
from pagoda.evaluation.coco.state import Collected
from pagoda.messages import counted
from pagoda.plain import checked
from pagoda.structures.labels import LabelMap


@checked
def describe_protocol(
    task: Task,
    truth: GroundTruth,
    label_map: LabelMap,
    collected: Collected,
    *,
    num_detections: int,
    max_detections: int,
    boxes_around: str | None,
) -> str:
    """One line: measure and thresholds, limits, how much was evaluated by what, and what did not count.

    `boxes_around`: what the boxes were drawn around where the results had none of their own.
    """
    limit = MAX_POSES if task == "keypoints" else max_detections
    text = (
        f"COCO protocol: {_measure(task, label_map)} .50:.05:.95, 101 recall points, max {limit} detections"
        f" per image and class, crowd regions ignored, evaluated {counted(len(truth.image_ids), 'image')},"
        f" {counted(int(truth.counted(task).sum()), 'object')}, {counted(num_detections, 'detection')}"
        f" by hotcoco {hotcoco.__version__}"
    )
    if task == "bbox" and boxes_around:
        text += f"; the results had no boxes: drawn around their {boxes_around}"
    lacking = int((~truth.crowd & ~truth.has_mask).sum())
    if task == "segm" and lacking:
        text += f"; {counted(lacking, 'object')} without an annotated mask left out"
    unknown = [i for i in truth.category_ids if i not in label_map.category_ids]
    if unknown:
        missed = shorten([truth.category_names[i] for i in unknown])
        text += f"; classes of the ground truth that the model does not know, all missed: {missed}"
    if not collected.answered.all():
        text += f"; {counted(int((~collected.answered).sum()), 'image')} without any detections submitted"
    if collected.num_repeated:
        text += (
            f"; {counted(collected.num_repeated, 'image')} answered by more than one process, counted once"
        )
    return text


@checked
def too_many_objects(task: Task, truth: GroundTruth, max_detections: int) -> list[str]:
    """A sentence where pictures hold more objects of a class than detections of it count: AP cannot reach 1 there.

    >>> cats = [{"image_id": 1, "category_id": 1, "bbox": [0, 0, 2, 3]}] * 3
    >>> truth = {"images": [{"id": 1}], "annotations": cats, "categories": [{"id": 1, "name": "cat"}]}
    >>> too_many_objects("bbox", GroundTruth(truth), max_detections=2)  # doctest: +ELLIPSIS
    ['1 picture holds more objects of one class (up to 3) than the 2 detections that count, so AP cannot reach 1; ...']
    """
    limit = MAX_POSES if task == "keypoints" else max_detections
    pictures, most = truth.crowded(task, limit)
    if not pictures:
        return []
    text = (
        f"{counted(pictures, 'picture holds', 'pictures hold')} more objects of one class (up to {most})"
        f" than the {limit}"
        " detections that count, so AP cannot reach 1"
    )
    return [
        text if task == "keypoints" else f"{text}; --max-detections {most} (max_detections={most}) counts all"
    ]


def _measure(task: Task, label_map: LabelMap) -> str:
    if task != "keypoints" or label_map.skeleton is None:
        return {"bbox": "bbox IoU", "segm": "mask IoU", "keypoints": "OKS"}[task]
    sigmas = label_map.skeleton.sigmas
    words = f"all {sigmas[0]:g}" if len(set(sigmas)) == 1 else ", ".join(f"{sigma:g}" for sigma in sigmas)
    return f"OKS (sigmas {words})"
