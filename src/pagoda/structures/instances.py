"""What is there (`Targets`) and what a model says (`Detections`). N objects, K keypoints."""

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from pagoda.ops.boxes import xyxy_to_xywh
from pagoda.plain import JsonObject
from pagoda.structures.labels import LabelMap
from pagoda.structures.per_object import Rows

if TYPE_CHECKING:
    import pandas
    import supervision


class _PerObject(Rows):
    """What both have in common."""

    image_size: tuple[int, int]

    def __post_init__(self) -> None:
        if self.boxes.ndim != 2 or self.boxes.shape[1] != 4:
            raise ValueError(f"boxes must be (n, 4) xyxy pixels, got {tuple(self.boxes.shape)}")
        self._coordinates_as_floats()
        self._check_rows()
        self._check_masks_and_keypoints()

    def _coordinates_as_floats(self) -> None:
        """Whole numbers would stay whole when they are scaled or halved, and lose half a pixel each time."""
        for name in ("boxes", "keypoints"):
            values = getattr(self, name, None)
            if values is not None and not values.is_floating_point():
                object.__setattr__(self, name, values.float())

    def _check_masks_and_keypoints(self) -> None:
        masks, keypoints = getattr(self, "masks", None), getattr(self, "keypoints", None)
        if masks is not None and tuple(masks.shape[1:]) != tuple(self.image_size):
            raise ValueError(
                f"masks must be (n, height, width) of the picture, {tuple(self.image_size)},"
                f" got {tuple(masks.shape)}"
            )
        if keypoints is not None and (keypoints.ndim != 3 or keypoints.shape[2] != 2):
            raise ValueError(f"keypoints must be (n, k, 2) xy pixels, got {tuple(keypoints.shape)}")
        for name in ("visibility", "keypoint_scores"):
            values = getattr(self, name, None)
            if values is not None and (keypoints is None or values.shape != keypoints.shape[:2]):
                shape = "no keypoints" if keypoints is None else f"keypoints {tuple(keypoints.shape)}"
                raise ValueError(
                    f"{name} must be (n, k) like the keypoints, got {tuple(values.shape)} for {shape}"
                )

    def _check_same_frame(self, other_size: tuple[int, int]) -> None:
        if tuple(other_size) != tuple(self.image_size):
            raise ValueError(
                f"boxes belong to an image of (height, width) {self.image_size}, got {tuple(other_size)};"
                " restore them to the picture's size first"
            )


@dataclass(frozen=True, eq=False)
class Targets(_PerObject):
    """The annotated objects of one picture, in pixels of `image_size`.

    Raises ValueError where its tensors have other rows than `boxes`, or masks another size than the picture.

    >>> boxes = torch.tensor([[0., 0., 8., 8.], [8., 0., 32., 8.]])
    >>> targets = Targets(boxes, torch.tensor([3, 5]), (32, 32), ignored=torch.tensor([False, True]))
    >>> len(targets), targets.learnable().labels
    (2, tensor([3]))
    """

    boxes: Tensor
    """(N, 4) xyxy"""
    labels: Tensor
    """(N,) 0 … num_classes-1"""
    image_size: tuple[int, int]
    """(height, width)"""
    ignored: Tensor
    """(N,) bool: crowd regions and difficult objects; never trained on, never counted as missed"""
    areas: Tensor | None = None
    """(N,) pixels² of the object itself where known (its mask), else None: the box's area"""
    masks: Tensor | None = None
    """(N, H, W) bool; empty for an object whose mask is not annotated"""
    keypoints: Tensor | None = None
    """(N, K, 2) xy"""
    visibility: Tensor | None = None
    """(N, K): 0 not labelled, 1 labelled but hidden, 2 visible"""
    track_ids: Tensor | None = None
    """(N,) of the objects in their video, where the picture is a frame of one"""
    image_id: int | str | None = None
    """of the picture in its data set; scores are reckoned by it"""
    file: str | None = None
    """of the picture, as its data set names it; for messages"""

    @classmethod
    def empty(cls, image_size: tuple[int, int]) -> "Targets":
        """A picture of (height, width) without objects."""
        return cls(
            torch.zeros(0, 4), torch.zeros(0, dtype=torch.long), image_size, torch.zeros(0, dtype=torch.bool)
        )

    def learnable(self) -> "Targets":
        """The targets without the ignored objects."""
        return self[~self.ignored]


@dataclass(frozen=True, eq=False)
class Detections(_PerObject):
    """The objects a model reports for one picture, best first, in pixels of `image_size`.

    Raises ValueError where its tensors have other rows than `boxes`, or masks another size than the picture.

    >>> boxes, labels = torch.tensor([[0., 0., 8., 8.], [8., 0., 32., 8.]]), torch.tensor([1, 0])
    >>> found = Detections(boxes, torch.tensor([0.9, 0.3]), labels, (32, 48), LabelMap.from_names(["cat", "dog"]))
    >>> found.above(0.5), found[labels == 0].names
    (Detections(1 in 32×48: dog 0.90), ['cat'])
    """

    boxes: Tensor
    """(N, 4) xyxy; see `inclusive`"""
    scores: Tensor
    """(N,) 0 … 1"""
    labels: Tensor
    """(N,) 0 … num_classes-1"""
    image_size: tuple[int, int]
    """(height, width)"""
    label_map: LabelMap
    """what the labels are called"""
    masks: Tensor | None = None
    """(N, H, W) bool"""
    keypoints: Tensor | None = None
    """(N, K, 2) xy, K as in the skeleton of `label_map`"""
    keypoint_scores: Tensor | None = None
    """(N, K) the higher the surer; 0 … 1 where the model can say so"""
    track_ids: Tensor | None = None
    """(N,) of the objects in their video, −1 where they have none (yet); a `Tracker` fills it"""
    appearance: Tensor | None = field(default=None, repr=False)
    """(N, D) vectors that are alike where objects look alike; linkers compare them"""
    image_id: int | str | None = None
    """of the picture in its data set; of tracks the frame, counted from 0"""
    file: str | None = None
    """of the picture, where it came from one"""
    picture: np.ndarray | None = field(default=None, repr=False)
    """(H, W, 3) RGB uint8, where the one who asked for the detections kept it"""
    mask_crops: Tensor | None = field(default=None, repr=False)
    """(N, M, M) probabilities inside each box, of which a model pasted `masks`; they fit the box at any size. Of many
    objects in a large picture, from tiles, they stand alone: see `mask_windows`"""
    found_by: Any = field(default=None, repr=False)
    """the postprocess that found them, whose limits `masks` keep at any size"""
    inclusive: bool = field(default=False, repr=False)
    """corners are an object's first and last pixel, as weights of maskrcnn-benchmark and Caffe2 have learnt: `boxes`
    are the numbers that those programs give, and a width is x2 − x1 + 1"""

    @property
    def boxes_xywh(self) -> Tensor:
        """(N, 4) float64: left, top, width and height, as COCO's files have them and scores are reckoned by.

        >>> from dataclasses import replace
        >>> boxes, none = torch.tensor([[10., 20., 13., 24.]]), torch.tensor([0])
        >>> found = Detections(boxes, torch.tensor([0.9]), none, (32, 32), LabelMap.numbered(1))
        >>> found.boxes_xywh.tolist(), replace(found, inclusive=True).boxes_xywh.tolist()
        ([[10.0, 20.0, 3.0, 4.0]], [[10.0, 20.0, 4.0, 5.0]])
        """
        boxes = xyxy_to_xywh(self.boxes.detach().double().cpu())
        boxes[:, 2:] += int(self.inclusive)
        return boxes

    @property
    def names(self) -> list[str]:
        """The class name of each object."""
        return [self.label_map.names[label] for label in self.labels.tolist()]

    def above(self, min_score: float) -> "Detections":
        """The detections of at least this score."""
        return self[self.scores >= min_score]

    def __repr__(self) -> str:
        best = ", ".join(
            f"{n} {s:.2f}" for n, s in zip(self.names[:3], self.scores[:3].tolist(), strict=True)
        )
        tail = ", …" if len(self) > 3 else ""
        return f"Detections({len(self)} in {self.image_size[0]}×{self.image_size[1]}: {best}{tail})"

    def plot(
        self, picture: np.ndarray | None = None, *, min_score: float = 0.0, min_keypoint_score: float = 0.0
    ) -> np.ndarray:
        """A copy of the picture, (H, W, 3) RGB uint8, with boxes, masks, poses, names and scores drawn on it.

        Objects below `min_score` and keypoints below `min_keypoint_score` are left out. Raises ValueError without a
        picture, or for one of another size than the boxes are in.
        """
        picture = self.picture if picture is None else picture
        if picture is None:
            raise ValueError("these detections carry no picture; call plot(picture) with (H, W, 3) RGB uint8")
        self._check_same_frame(picture.shape[:2])
        from pagoda.drawing.objects import draw_detections  # most detections are never drawn

        return draw_detections(picture, self.above(min_score), min_keypoint_score=min_keypoint_score)

    def to_dict(self) -> JsonObject:
        """Plain lists and numbers, ready for JSON; masks as COCO's compressed run lengths.

        `keypoints` of each object are x, y, score, x, y, score, …, None where one is not there; `skeleton`, beside the
        objects that have some, names them (`Skeleton.to_dict`).
        """
        objects: list[JsonObject] = [
            {"name": name, "label": label, "score": score, "box_xyxy": box}
            for name, label, score, box in zip(
                self.names, self.labels.tolist(), self.scores.tolist(), self.boxes.tolist(), strict=True
            )
        ]
        if self.track_ids is not None:
            for entry, track_id in zip(objects, self.track_ids.tolist(), strict=True):
                entry["track_id"] = track_id
        for entry, shape in zip(objects, self._coco_shapes(absent=None), strict=True):
            entry.update(shape)
        plain: JsonObject = {
            "file": self.file,
            "image_id": self.image_id,
            "image_size": list(self.image_size),
            "objects": objects,
        }
        skeleton = self.label_map.skeleton
        if skeleton is None or self.keypoints is None or not len(self):
            return plain
        return {**plain, "skeleton": skeleton.to_dict()}

    def to_coco(self, image_id: int | str | None = None) -> list[JsonObject]:
        """COCO results: original category ids, boxes xywh, full precision; masks as compressed run lengths in
        `segmentation`, keypoints as x, y, score, x, y, score, …, three zeros for one that is not there. Raises
        ValueError where no image_id is known."""
        image_id = self.image_id if image_id is None else image_id
        if image_id is None:
            raise ValueError("COCO results need the image_id of the ground truth; pass to_coco(image_id)")
        boxes_xywh = self.boxes_xywh.tolist()
        ids = self.label_map.category_ids
        return [
            {"image_id": image_id, "category_id": ids[label], "bbox": box, "score": score, **shape}
            for label, box, score, shape in zip(
                self.labels.tolist(),
                boxes_xywh,
                self.scores.tolist(),
                self._coco_shapes(absent=0.0),
                strict=True,
            )
        ]

    def _coco_shapes(self, *, absent: float | None) -> list[JsonObject]:
        """What each object has of segmentation and keypoints, as COCO writes it; `absent` for a keypoint that is not
        there: a number in place of all three, or None in place of those that are not finite."""
        shapes: list[JsonObject] = [{} for _ in range(len(self))]
        if (texts := self.mask_texts()) is not None:
            from pagoda.ops.rle import as_rle

            for shape, text in zip(shapes, texts, strict=True):
                shape["segmentation"] = as_rle(text, self.image_size)
        if self.keypoints is not None:
            triples = self.keypoint_triples()
            is_finite = triples.isfinite()
            if absent is not None:
                triples = triples.where(is_finite.all(2, keepdim=True), absent)
            rows = triples.flatten(1).tolist()
            if absent is None and not is_finite.all():
                rows = [[value if math.isfinite(value) else None for value in row] for row in rows]
            for shape, row in zip(shapes, rows, strict=True):
                shape["keypoints"] = row
        return shapes

    def mask_texts(self) -> list[str] | None:
        """COCO's compressed run lengths of each mask in the picture; None without masks."""
        from pagoda.ops.rle import encode_masks, place_mask

        if self.masks is not None:
            return encode_masks(self.masks.cpu().bool().numpy())
        windows = self.mask_windows()
        return None if windows is None else [place_mask(mask, at, self.image_size) for at, mask in windows]

    def mask_windows(self, scale: float = 1.0) -> Iterator[tuple[tuple[int, int], np.ndarray]] | None:
        """((left, top), (h, w) bool) of each object: its mask where it lies in the picture made `scale` as large.

        They are pasted of `mask_crops`, one at a time. None where there are `masks`, or nothing to make them of.
        """
        if self.masks is not None or self.mask_crops is None or self.found_by is None:
            return None
        return (self._mask_window(row, scale) for row in range(len(self)))

    def _mask_window(self, row: int, scale: float) -> tuple[tuple[int, int], np.ndarray]:
        box, crop = self.boxes[row : row + 1] * scale, self.mask_crops[row : row + 1]  # type: ignore[index]
        reach = (box[0, 2:] - box[0, :2]) / crop.shape[-1] + 2  # masks reach half a cell beyond their boxes
        sides = [math.ceil(side * scale) for side in reversed(self.image_size)]
        low = [max(0, math.floor(x)) for x in (box[0, :2] - reach).tolist()]
        high = [min(side, math.ceil(x)) for x, side in zip((box[0, 2:] + reach).tolist(), sides, strict=True)]
        size = (max(1, high[1] - low[1]), max(1, high[0] - low[0]))
        mask = self.found_by.masks(crop, box - box.new_tensor(low * 2), size)[0]
        return (low[0], low[1]), mask.cpu().numpy()

    def keypoint_triples(self) -> Tensor:
        """(N, K, 3) float64 x, y, score; 1 where keypoints come without scores. Raises ValueError without any."""
        if self.keypoints is None:
            raise ValueError("these detections have no keypoints; the model must be one that predicts them")
        points = self.keypoints.detach().double().cpu()
        scores = self.keypoint_scores
        known = points.new_ones(points.shape[:2]) if scores is None else scores.detach().double().cpu()
        return torch.cat([points, known[..., None]], 2)

    def to_supervision(self) -> "supervision.Detections":
        """The same as `supervision.Detections`, class names under data["class_name"]; keypoints as
        data["keypoints"] (N, K, 2) and data["keypoint_scores"] (N, K). See also `keypoints_to_supervision`."""
        import supervision

        data: dict[str, np.ndarray | list] = {"class_name": np.array(self.names, dtype=str)}
        if self.keypoints is not None:
            triples = self.keypoint_triples().numpy().astype(np.float32)
            data["keypoints"], data["keypoint_scores"] = triples[..., :2], triples[..., 2]
        return supervision.Detections(
            xyxy=self.boxes.detach().cpu().numpy().astype(np.float32),
            confidence=self.scores.detach().cpu().numpy(),
            class_id=self.labels.cpu().numpy().astype(int),
            tracker_id=None if self.track_ids is None else self.track_ids.cpu().numpy().astype(int),
            mask=None if self.masks is None else self.masks.cpu().numpy().astype(bool),
            data=data,
        )

    def keypoints_to_supervision(self) -> "supervision.KeyPoints":
        """The keypoints as `supervision.KeyPoints`, for its annotators. Raises ValueError without any."""
        import supervision

        triples = self.keypoint_triples().numpy().astype(np.float32)
        return supervision.KeyPoints(
            xy=triples[..., :2],
            keypoint_confidence=triples[..., 2],
            class_id=self.labels.cpu().numpy().astype(int),
            data={"class_name": np.array(self.names, dtype=str)},
        )

    def to_pandas(self) -> "pandas.DataFrame":
        """One row per object: file, name, score, x1, y1, x2, y2; with masks mask_area (pixels), with keypoints
        <keypoint>_x, <keypoint>_y and <keypoint>_score each."""
        import pandas

        table = pandas.DataFrame(self.boxes.detach().cpu().numpy(), columns=["x1", "y1", "x2", "y2"])
        table.insert(0, "score", self.scores.detach().cpu().numpy())
        table.insert(0, "name", self.names)
        table.insert(0, "file", self.file)
        if (texts := self.mask_texts()) is not None:
            from pagoda.ops.rle import mask_areas

            table["mask_area"] = mask_areas(texts, self.image_size)
        if self.keypoints is None:
            return table
        triples = self.keypoint_triples().flatten(1).numpy()
        skeleton = self.label_map.skeleton
        names = [f"point_{k}" for k in range(triples.shape[1] // 3)] if skeleton is None else skeleton.names
        columns = [f"{name}_{what}" for name in names for what in ("x", "y", "score")]
        return pandas.concat([table, pandas.DataFrame(triples, columns=columns)], axis=1)
