"""Detectors of every family whose networks say what a test has written down, and pictures that go with it.

A picture is filled with one value, its number, by which the network knows it again. P priors.
"""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

import pagoda
from pagoda.data.table.annotations import Annotations
from pagoda.data.table.assembly import tabulate
from pagoda.detectors.contract import Detector
from pagoda.detectors.fcos import FCOS
from pagoda.detectors.ssd import SSD
from pagoda.detectors.two_stage import Proposed
from pagoda.detectors.yolov1 import YOLOv1
from pagoda.explain.doctor.coverage import priors_at
from pagoda.ops.boxes import boxes_to_ltrb
from pagoda.pictures.read import PictureError
from pagoda.preprocess import InputSpec
from pagoda.structures.images import ImageBatch
from pagoda.structures.instances import Targets
from pagoda.structures.labels import LabelMap
from pagoda.structures.outputs import DenseOutputs, Proposals, RoIOutputs, RPNOutputs
from pagoda.structures.skeleton import Skeleton

SIDE = 256
"""pixels of a picture, and of what the network sees"""
CLASSES = LabelMap.from_names(["red", "white", "platelet"])
POSES = LabelMap(CLASSES.names, CLASSES.category_ids, Skeleton(("middle",), sigmas=(0.05,)))
NOTHING = -20.0
"""a logit"""


@dataclass
class Said:
    """What one prior says."""

    prior: int
    box: Sequence[float]
    scores: dict[int, float]
    """{class: final score}; of all others nothing"""
    region: Sequence[float] | None = None
    """the proposal, where its box is another"""


@dataclass
class Picture:
    """Objects, and what the network says of them."""

    boxes: list[list[float]]
    labels: list[int]
    said: list[Said] = field(default_factory=list)
    ignored: list[bool] | None = None
    expected: dict[int, str] = field(default_factory=dict)
    """{object: why it is missed}; the others are found"""
    is_poor: bool = False
    """masks and keypoints miss their objects"""


class ScriptedPictures:
    """A data set of such pictures; those whose number is in `broken` cannot be read.

    Masks are their boxes, the one keypoint of an object lies in its middle.
    """

    def __init__(
        self,
        pictures: Sequence[Picture],
        *,
        broken: Collection[int] = (),
        has_masks: bool = False,
        has_keypoints: bool = False,
        label_map: LabelMap = CLASSES,
    ) -> None:
        self.pictures, self.broken = pictures, broken
        self.has_masks, self.has_keypoints = has_masks, has_keypoints
        self.label_map = POSES if has_keypoints else label_map
        self.annotations: Annotations = tabulate(
            [self.targets(index) for index in range(len(pictures))],
            label_map=self.label_map,
            root=Path(),
            source="scripted pictures",
        )

    def __len__(self) -> int:
        return len(self.pictures)

    def targets(self, index: int) -> Targets:
        picture = self.pictures[index]
        count = len(picture.boxes)
        boxes = torch.tensor(picture.boxes).reshape(-1, 4)
        more: dict[str, Tensor] = {}
        if self.has_masks:
            more["masks"] = torch.zeros(count, SIDE, SIDE, dtype=torch.bool)
            for mask, (x1, y1, x2, y2) in zip(more["masks"], boxes.round().int().tolist(), strict=True):
                mask[y1:y2, x1:x2] = True
        if self.has_keypoints:
            more["keypoints"] = (boxes[:, None, :2] + boxes[:, None, 2:]) / 2
            more["visibility"] = torch.full((count, 1), 2)
        return Targets(
            boxes,
            torch.tensor(picture.labels, dtype=torch.long),
            (SIDE, SIDE),
            torch.tensor(picture.ignored or [False] * count, dtype=torch.bool),
            image_id=index + 1,
            file=f"{index:04d}.png",
            **more,
        )

    def __getitem__(self, index: int) -> tuple[Tensor, Targets]:
        if index in self.broken:
            raise PictureError(f"{index:04d}.png is broken")
        return torch.full((3, SIDE, SIDE), index, dtype=torch.uint8), self.targets(index)


def scripted(name: str, pictures: Sequence[Picture], **options: object) -> Detector:
    """The zoo's model of this name, small, at whose heads stand the pictures' own words."""
    small = {"width": 8, "norm_groups": 4} if "efficientdet" not in name else {}
    if "rcnn" in name:
        small = {"width": 8}
    if "ssd" in name:
        small = {}
    if "yolov1" in name:
        small = {"width": 8, "levels": (4,)}
    label_map = POSES if name.startswith("keypoint") else CLASSES
    model = pagoda.create_model(name, label_map=label_map, **small, **options)
    model.input_spec = InputSpec(
        short_side=SIDE, long_side=SIDE, mean=(0.0,) * 3, std=(1.0,) * 3, scale=1.0, pad_multiple=128
    )
    script = _regions if hasattr(model, "rpn_head") else _dense
    script(model, pictures)
    return model.eval()


def numbers_of(images: ImageBatch) -> list[int]:
    return [int(picture[0, 0, 0].round()) for picture in images.pixels]


def priors_of(model: Detector) -> Tensor:
    return torch.cat(priors_at(model, (SIDE, SIDE)))


def _dense(model: Detector, pictures: Sequence[Picture]) -> None:
    priors = priors_at(model, (SIDE, SIDE))
    every = torch.cat(priors)
    of_points, of_cells, of_shares = (isinstance(model, kind) for kind in (FCOS, YOLOv1, SSD))
    encode: Callable[[Tensor, Tensor], Tensor] = (
        (lambda boxes, points: boxes_to_ltrb(points, boxes))
        if of_points
        else boxes_to_centers
        if of_cells
        else model.coder.encode
    )

    def forward(images: ImageBatch) -> DenseOutputs:
        numbers = numbers_of(images)
        logits = torch.full(
            (len(numbers), len(every), len(CLASSES) + of_shares), 0.0 if of_cells else NOTHING
        )
        if of_shares:
            logits[..., -1] = -NOTHING
        centres = every if of_points or of_cells else (every[:, :2] + every[:, 2:]) / 2
        outputs = (
            encode(torch.cat([centres, centres + 0.01], dim=1), every).expand(len(numbers), -1, -1).clone()
        )
        for row, number in enumerate(numbers):
            for said in pictures[number].said:
                own = every[said.prior : said.prior + 1]
                outputs[row, said.prior] = encode(torch.tensor([said.box]), own)[0]
                if of_shares:
                    shares = [said.scores.get(label, 1e-9) for label in range(len(CLASSES))]
                    logits[row, said.prior] = torch.tensor([*shares, 1 - sum(shares)]).log()
                    continue
                for label, score in said.scores.items():
                    is_root = of_points and model.postprocess.combine == "root"
                    logits[row, said.prior, label] = score if of_cells else _logit(score, is_root)
        quality = torch.full(logits.shape[:2], -NOTHING) if of_points else None
        quality = torch.ones(logits.shape[:2]) if of_cells else quality
        return DenseOutputs(logits, outputs, quality, priors)

    model.forward = forward


def boxes_to_centers(boxes: Tensor, points: Tensor) -> Tensor:
    return torch.cat([(boxes[:, :2] + boxes[:, 2:]) / 2 - points, boxes[:, 2:] - boxes[:, :2]], dim=1)


def _logit(score: float, is_root: bool) -> float:
    return float(torch.tensor(score**2 if is_root else score, dtype=torch.float64).logit())


def _regions(model: Detector, pictures: Sequence[Picture]) -> None:
    """A said prior is a proposal here, which lies where its box does; of others there are none."""
    anchors = priors_at(model, (SIDE, SIDE))
    every = torch.cat(anchors)

    numbers: list[int] = []

    def look(images: ImageBatch) -> tuple[Proposed, RoIOutputs]:
        numbers[:] = numbers_of(images)
        count = max(1, *(len(pictures[number].said) for number in numbers))
        proposals = torch.zeros(len(numbers), count, 4)
        valid = torch.zeros(len(numbers), count, dtype=torch.bool)
        logits = torch.full((len(numbers), count, len(CLASSES) + 1), NOTHING)
        logits[..., -1] = -NOTHING
        deltas = torch.zeros(len(numbers), count, len(CLASSES), 4)
        for row, number in enumerate(numbers):
            for place, said in enumerate(pictures[number].said):
                box, region = torch.tensor([said.box]), torch.tensor([said.region or said.box])
                proposals[row, place], valid[row, place] = region[0], True
                deltas[row, place] = model.box_head.coder.encode(box, region)[0]
                rest = 1 - sum(said.scores.values())
                logits[row, place] = torch.tensor(
                    [said.scores.get(label, 1e-9) for label in range(len(CLASSES))] + [rest]
                ).log()
        rpn = RPNOutputs(
            torch.full((len(numbers), len(every)), NOTHING), torch.zeros(len(numbers), len(every), 4), anchors
        )
        regions = Proposals(proposals, torch.ones(len(numbers), count), valid)
        none = torch.zeros(len(numbers), 0)
        outputs = RoIOutputs(
            logits, deltas, regions, none[..., None].expand(-1, -1, 4), none, none, None, None
        )
        return Proposed({}, rpn, regions), outputs

    def mask_logits(pyramid: object, boxes: Tensor, images: Tensor, labels: Tensor) -> Tensor:
        logits = torch.full((len(boxes), 28, 28), -NOTHING)
        for row, image in enumerate(images.tolist()):
            if pictures[numbers[image]].is_poor:
                logits[row, :, 5:] = NOTHING
        return logits

    def keypoint_logits(pyramid: object, boxes: Tensor, images: Tensor) -> Tensor:
        logits = torch.full((len(boxes), 1, 56, 56), NOTHING)
        for row, image in enumerate(images.tolist()):
            place = 2 if pictures[numbers[image]].is_poor else 28
            logits[row, 0, place, place] = -NOTHING
        return logits

    model.look, model.mask_logits, model.keypoint_logits = look, mask_logits, keypoint_logits
