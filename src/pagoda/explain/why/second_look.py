"""Is a detection found again in another look at its picture, mirrored and smaller?"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from pagoda.batch_size import BatchSize
from pagoda.data.table.samples import Samples
from pagoda.detectors.contract import Detector
from pagoda.detectors.rcnn import RCNN
from pagoda.evaluation.runner import look_through
from pagoda.explain.why.serving import scaled
from pagoda.ops.boxes import pairwise_iou
from pagoda.postprocess.select import Select
from pagoda.structures.instances import Detections
from pagoda.structures.tubes import AnyTargets

SMALLER = 0.8
"""times the input size"""
SAME_IOU = 0.5
"""from which on two detections are one"""


def scores_again(
    model: Detector,
    dataset: Samples[AnyTargets],
    select: Select,
    found: Mapping[int, Detections],
    together: BatchSize,
) -> dict[int, Tensor]:
    """{index of a picture: (n,) scores with which each of its detections is found again, 0 where it is not}."""

    spec, device = scaled(model.input_spec, SMALLER), next(model.parameters()).device

    def look(samples: Sequence[tuple[Tensor, AnyTargets]]) -> list[Detections]:
        images = spec.prepare([picture.flip(-1) for picture, _ in samples], device=device)
        seen: Any
        if isinstance(model, RCNN):  # whose masks are of no use here
            seen = select.detect(model.look(images)[1], images, model.decode, model.label_map)
        else:
            seen = model.detect(images, postprocess=select)
        return spec.restore(seen, [targets.image_size for _, targets in samples])

    indices = list(found)
    through = look_through(look, dataset, indices=indices, together=together, frame=spec.frame)
    seen = (again for again, _ in through)
    return {index: _again(found[index], again.to("cpu")) for index, again in zip(indices, seen, strict=True)}


def _again(found: Detections, seen: Detections) -> Tensor:
    """(n,) the score of the best detection of the same class in the same place of the mirrored picture."""
    if not len(found) or not len(seen):
        return torch.zeros(len(found))
    width, boxes = found.image_size[1], seen.boxes.float()
    boxes = torch.stack([width - boxes[:, 2], boxes[:, 1], width - boxes[:, 0], boxes[:, 3]], dim=1)
    same = pairwise_iou(found.boxes.float(), boxes) >= SAME_IOU
    same &= found.labels[:, None] == seen.labels
    return (seen.scores * same).amax(1)
