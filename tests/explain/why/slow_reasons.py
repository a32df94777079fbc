"""Why FCOS misses objects, derived once more with plain loops from its raw outputs; nothing of the tracer is used."""

import numpy as np
import torch

from pagoda.detectors.fcos import FCOS


def iou(a, b) -> float:
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    inter = max(width, 0.0) * max(height, 0.0)
    union = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - inter
    return inter / union if union > 0 else 0.0


def ious(box, boxes) -> np.ndarray:
    return np.array([iou(box, other) for other in boxes])


def sigmoid(x):
    return 1 / (1 + np.exp(-x.astype(np.float64)))


def reasons(model: FCOS, picture: torch.Tensor, objects: list, labels: list[int]) -> dict[int, str]:
    """{row of a missed object: reason}, of objects (x1, y1, x2, y2) in pixels of the picture, none of them ignored."""
    select = model.postprocess
    images = model.input_spec.prepare([picture])
    with torch.inference_mode():
        outputs = model(images)
    height, width = images.sizes[0].tolist()
    full_height, full_width = picture.shape[-2:]
    scale = (full_width / width, full_height / height)
    scores = np.sqrt(
        sigmoid(outputs.class_logits[0].numpy()) * sigmoid(outputs.quality_logits[0].numpy())[:, None]
    )
    boxes, levels = [], []
    for level, points in enumerate(outputs.priors):
        for x, y in points.tolist():
            left, top, right, bottom = outputs.box_outputs[0, len(boxes)].tolist()
            box = [x - left, y - top, x + right, y + bottom]
            box = [min(max(box[k], 0.0), (width, height)[k % 2]) for k in range(4)]
            boxes.append([box[k] * scale[k % 2] for k in range(4)])
            levels.append(level)
    candidates = []  # (score, location, class)
    for level in range(len(outputs.priors)):
        own = [
            (scores[place, label], place, label)
            for place in range(len(boxes))
            if levels[place] == level
            for label in range(scores.shape[1])
            if scores[place, label] > select.min_score
        ]
        candidates += sorted(own, key=lambda pair: -pair[0])[: select.max_candidates]
    survivors = []
    for pair in sorted(candidates, key=lambda pair: -pair[0]):
        rivals = [boxes[kept[1]] for kept in survivors if kept[2] == pair[2]]
        if not rivals or ious(boxes[pair[1]], rivals).max() <= select.max_iou:
            survivors.append(pair)
    detected = survivors[: select.max_detections]
    finds = matched(detected, boxes, objects, labels)
    found = set(finds.values())
    return {
        row: reason_of(
            model, row, objects, labels, boxes, scores, candidates, survivors, detected, finds, images
        )
        for row in range(len(objects))
        if row not in found
    }


def matched(detected, boxes, objects, labels) -> dict[int, int]:
    """{detection: object}, the best score first, each taking the free object of its class that it overlaps most."""
    finds = {}
    for number, (_, place, label) in enumerate(detected):
        best, row = 0.5, None
        for candidate, box in enumerate(objects):
            overlap = iou(boxes[place], box)
            if labels[candidate] == label and candidate not in finds.values() and overlap >= best:
                best, row = overlap, candidate
        if row is not None:
            finds[number] = row
    return finds


def reason_of(
    model, row, objects, labels, boxes, scores, candidates, survivors, detected, finds, images
) -> str:
    label, overlaps = labels[row], ious(objects[row], boxes)
    fits = {place for place in range(len(boxes)) if overlaps[place] >= 0.5}

    def any_of(pairs) -> bool:
        return any(place in fits and own == label for _, place, own in pairs)

    if any_of(detected):
        return "taken"
    if any_of(survivors):
        return "max_detections"
    if any_of(candidates):
        return "suppressed"
    if any(scores[place, label] > model.postprocess.min_score for place in fits):
        return "max_candidates"
    if not served(model, objects[row], images):
        return "no prior"
    free = [(number, pair) for number, pair in enumerate(detected) if number not in finds]
    if any(overlaps[place] >= 0.5 and own != label for _, (_, place, own) in free):
        return "wrong class"
    if any(overlaps[place] >= 0.1 and own == label for _, (_, place, own) in free) or not fits:
        return "loose box"
    return "low score"


def served(model: FCOS, box, images) -> bool:
    """Does a location lie strictly inside, near the centre, with the longest distance in its level's range?"""
    criterion = model.criterion
    height, width = images.sizes[0].tolist()
    sx, sy = width / model._shown[1], height / model._shown[0]
    x1, y1, x2, y2 = box[0] * sx, box[1] * sy, box[2] * sx, box[3] * sy
    low = -1.0
    for number, level in enumerate(model.levels):
        stride = model.strides[level]
        high = 8.0 * 2**level if number + 1 < len(model.levels) else float("inf")
        for y in range(-(-images.pixels.shape[-2] // stride)):
            for x in range(-(-images.pixels.shape[-1] // stride)):
                at = ((x + 0.5) * stride, (y + 0.5) * stride)
                sides = (at[0] - x1, at[1] - y1, x2 - at[0], y2 - at[1])
                near = max(abs(at[0] - (x1 + x2) / 2), abs(at[1] - (y1 + y2) / 2))
                if min(sides) > 0 and near < criterion.radius * stride and low < max(sides) < high:
                    return True
        low = high
    return False
