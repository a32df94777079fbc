"""Boxes, masks, points and names drawn on a copy of a picture. Pictures are (H, W, 3) RGB uint8."""

import colorsys
from collections.abc import Sequence
from functools import lru_cache
from math import ceil
from typing import Protocol

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from pagoda.drawing.lettering import font_file, lettering
from pagoda.drawing.masks_keypoints import Poses, blend_masks, blend_windows, draw_poses

_Rectangle = tuple[float, float, float, float]
MAX_DRAWN_PIXELS = 2**26
"""Of a drawn picture: 8192 pixels squared; a larger one would take more memory than finding its objects"""
IGNORED_COLOUR = (150, 150, 150)


class Lines(Protocol):
    """What drawing needs of a skeleton of K keypoints."""

    def __len__(self) -> int:
        """K"""
        ...

    @property
    def edges(self) -> Sequence[tuple[int, int]]:
        """Pairs of keypoints to join."""


class Classes(Protocol):
    """What drawing needs of a `LabelMap`."""

    @property
    def names(self) -> Sequence[str]:
        """of labels 0, 1, …"""

    @property
    def skeleton(self) -> Lines | None:
        """None where objects have no keypoints, or nobody knows them"""


class Objects(Protocol):
    """What `Targets` and `Detections` share. N objects, K keypoints."""

    def __len__(self) -> int: ...
    @property
    def image_size(self) -> tuple[int, int]: ...
    @property
    def boxes(self) -> Tensor:
        """(N, 4) xyxy pixels"""

    @property
    def labels(self) -> Tensor: ...
    @property
    def masks(self) -> Tensor | None:
        """(N, H, W) bool"""

    @property
    def keypoints(self) -> Tensor | None:
        """(N, K, 2) pixels"""


class AnnotatedObjects(Objects, Protocol):
    """What drawing needs of `Targets`."""

    @property
    def ignored(self) -> Tensor: ...
    @property
    def visibility(self) -> Tensor | None: ...


class FoundObjects(Objects, Protocol):
    """What drawing needs of `Detections`."""

    @property
    def scores(self) -> Tensor: ...
    @property
    def track_ids(self) -> Tensor | None: ...
    @property
    def label_map(self) -> Classes: ...
    @property
    def names(self) -> list[str]: ...
    def keypoint_triples(self) -> Tensor: ...


def draw_detections(
    picture: np.ndarray, detections: FoundObjects, *, min_side: int = 0, min_keypoint_score: float = 0.0
) -> np.ndarray:
    """A new picture with every detection on it, the best on top: box, mask, pose, name and score.

    A picture whose shorter side is below `min_side` pixels is first enlarged by a whole factor. A name that
    does not fit inside the picture is left out, and so is a keypoint below `min_keypoint_score`.

    >>> import torch
    >>> from pagoda.structures.instances import Detections
    >>> from pagoda.structures.labels import LabelMap
    >>> box, score, label = torch.tensor([[2.0, 2.0, 8.0, 8.0]]), torch.tensor([0.9]), torch.tensor([0])
    >>> found = Detections(box, score, label, (10, 10), LabelMap.from_names(["cat"]))
    >>> drawn = draw_detections(np.zeros((10, 10, 3), np.uint8), found)
    >>> drawn.shape, tuple(drawn[2, 2].tolist()) == class_colour(0), drawn[5, 5].tolist()
    ((10, 10, 3), True, [0, 0, 0])
    """
    return np.array(
        image_of_detections(picture, detections, min_side=min_side, min_keypoint_score=min_keypoint_score)
    )


def image_of_detections(
    picture: np.ndarray,
    detections: FoundObjects,
    *,
    min_side: int = 0,
    max_pixels: int | None = None,
    shrunk: int = 1,
    min_keypoint_score: float = 0.0,
) -> Image.Image:
    """What `draw_detections` draws as Pillow's image, to be saved without another copy of large pictures.

    A picture of more than `max_pixels` is first made smaller by a whole factor; `shrunk` is the factor by which it has
    been made smaller already than what the objects were found in.

    >>> import torch
    >>> from pagoda.structures.instances import Detections
    >>> from pagoda.structures.labels import LabelMap
    >>> box, score, label = torch.tensor([[2.0, 2.0, 8.0, 8.0]]), torch.tensor([0.9]), torch.tensor([0])
    >>> found = Detections(box, score, label, (20, 30), LabelMap.from_names(["cat"]))
    >>> picture = np.zeros((20, 30, 3), np.uint8)
    >>> image_of_detections(picture, found, max_pixels=150).size
    (15, 10)
    >>> image_of_detections(picture, found, min_side=40).size
    (60, 40)
    """
    names = [
        f"{name} {score:.2f}"
        for name, score in zip(detections.names, detections.scores.tolist(), strict=True)
    ]
    if detections.track_ids is not None:
        names = [f"#{track} {name}" for track, name in zip(detections.track_ids.tolist(), names, strict=True)]
    # One colour per class, or for objects that are followed one per track.
    kinds = detections.labels if detections.track_ids is None else detections.track_ids
    colours = [class_colour(kind) for kind in kinds.tolist()]
    order = detections.scores.argsort().tolist()
    poses = None
    if detections.keypoints is not None:
        triples = detections.keypoint_triples().numpy()
        poses = Poses(
            triples[..., :2], triples[..., 2] >= min_keypoint_score, _edges(detections.label_map, triples)
        )
    return _draw(picture, detections, names, colours, order, min_side, poses, max_pixels, shrunk)


def shrink_factor(size: tuple[int, int], max_pixels: int | None) -> int:
    """The whole factor by which a picture of this (height, width) is drawn smaller, to have about `max_pixels`.

    >>> shrink_factor((20, 30), 150), shrink_factor((20, 30), None)
    (2, 1)
    """
    return 1 if max_pixels is None else max(1, ceil((size[0] * size[1] / max_pixels) ** 0.5))


def draw_targets(
    picture: np.ndarray, targets: AnnotatedObjects, label_map: Classes, *, min_side: int = 0
) -> np.ndarray:
    """A new picture with every annotated object on it; ignored ones (crowd, difficult) are grey and say so.

    `min_side` and names as in `draw_detections`.

    >>> import torch
    >>> from pagoda.structures.instances import Targets
    >>> from pagoda.structures.labels import LabelMap
    >>> box, label, ignored = torch.tensor([[2.0, 2.0, 8.0, 8.0]]), torch.tensor([0]), torch.tensor([True])
    >>> targets = Targets(box, label, (10, 10), ignored)
    >>> draw_targets(np.zeros((10, 10, 3), np.uint8), targets, LabelMap.from_names(["cat"]))[2, 2].tolist()
    [150, 150, 150]
    """
    labels, ignored = targets.labels.tolist(), targets.ignored.tolist()
    names = [
        f"{label_map.names[label]} (ignored)" if skip else label_map.names[label]
        for label, skip in zip(labels, ignored, strict=True)
    ]
    colours = [
        IGNORED_COLOUR if skip else class_colour(label) for label, skip in zip(labels, ignored, strict=True)
    ]
    poses = None
    if targets.keypoints is not None:
        points = targets.keypoints.double().cpu().numpy()
        labelled = np.ones(points.shape[:2], bool)
        if targets.visibility is not None:
            labelled = targets.visibility.cpu().numpy() > 0
        poses = Poses(points, labelled, _edges(label_map, points))
    return np.array(_draw(picture, targets, names, colours, list(range(len(targets))), min_side, poses))


@lru_cache(maxsize=1024)
def class_colour(label: int) -> tuple[int, int, int]:
    """The RGB colour of a class: the same in every picture, neighbouring labels far apart in hue.

    >>> class_colour(0), class_colour(1)
    ((36, 143, 242), (215, 242, 97))
    """
    hue = (0.58 + label * 0.6180339887) % 1.0  # golden section: never comes back near a recent hue
    red, green, blue = colorsys.hsv_to_rgb(
        hue, (0.85, 0.6, 1.0)[label % 3], (0.95, 0.9, 0.75)[label // 3 % 3]
    )
    return round(red * 255), round(green * 255), round(blue * 255)


def _draw(
    picture: np.ndarray,
    objects: Objects,
    names: list[str],
    colours: list[tuple[int, int, int]],
    order: list[int],
    min_side: int,
    poses: Poses | None,
    max_pixels: int | None = None,
    shrunk: int = 1,
) -> Image.Image:
    """`order`: the objects from bottom to top."""
    picture = _colours_of(picture)
    if picture.shape[:2] != tuple(-(-side // shrunk) for side in objects.image_size):
        raise ValueError(
            f"the boxes are in pixels of an image of (height, width) {tuple(objects.image_size)}, the picture"
            f" has {picture.shape[:2]}; restore the boxes to the picture's size first"
        )
    factor = max(1, -(-min_side // min(picture.shape[:2])))
    if factor > 1:
        picture = picture.repeat(factor, 0).repeat(factor, 1)
    shrink = shrink_factor((picture.shape[0], picture.shape[1]), max_pixels)
    if shrink > 1:
        picture = _reduced(picture, shrink)
    shrink *= shrunk
    if objects.masks is not None:
        masks = objects.masks[:, ::shrink, ::shrink].cpu().bool().numpy()
        picture = blend_masks(picture, masks, colours, order, factor)
    elif (windows := getattr(objects, "mask_windows", lambda scale: None)(1 / shrink)) is not None:
        picture = blend_windows(picture, windows, colours, order, factor)
    image = Image.fromarray(picture)
    canvas = ImageDraw.Draw(image)
    side = (image.width * image.height) ** 0.5
    line_width = max(1, round(side / 250))
    scale = factor / shrink
    boxes = (objects.boxes.detach().double().cpu() * scale).tolist()
    for index in order:
        _draw_box(canvas, boxes[index], colours[index], line_width)
    if poses is not None:
        draw_poses(canvas, poses._replace(points=poses.points * scale), colours, order, line_width)
    _draw_names(
        canvas, [boxes[i] for i in order], [names[i] for i in order], [colours[i] for i in order], side
    )
    return image


def _reduced(picture: np.ndarray, factor: int) -> np.ndarray:
    """Means of factor × factor pixels, fewer at the right and the bottom; strip by strip, for it is large."""
    rows = 64 * factor
    strips = (np.ascontiguousarray(picture[top : top + rows]) for top in range(0, len(picture), rows))
    return np.concatenate([np.asarray(Image.fromarray(strip).reduce(factor)) for strip in strips])


def _colours_of(picture: np.ndarray) -> np.ndarray:
    """(H, W, 3), without the opacity that some networks read."""
    if picture.ndim != 3 or picture.shape[2] not in (3, 4) or picture.dtype != np.uint8 or 0 in picture.shape:
        raise ValueError(f"a picture must be (H, W, 3) RGB uint8, got {tuple(picture.shape)} {picture.dtype}")
    return picture[..., :3]


def _edges(label_map: Classes, points: np.ndarray) -> Sequence[tuple[int, int]]:
    """The lines of the skeleton, none where it is not of these keypoints."""
    skeleton = label_map.skeleton
    return skeleton.edges if skeleton is not None and len(skeleton) == points.shape[1] else ()


def _draw_box(
    canvas: ImageDraw.ImageDraw, box: list[float], colour: tuple[int, int, int], line_width: int
) -> None:
    """The outline, clipped to just outside the picture so that huge boxes cost nothing."""
    width, height = canvas.im.size
    x1, x2 = (min(max(x, -line_width), width + line_width) for x in (box[0], box[2]))
    y1, y2 = (min(max(y, -line_width), height + line_width) for y in (box[1], box[3]))
    if not (x1 <= x2 and y1 <= y2):
        raise ValueError(f"a box to draw must be finite xyxy with x1 ≤ x2 and y1 ≤ y2, got {box}")
    # Continuous coordinates: a box ending at x2 covers pixels up to x2 - 1.
    right, bottom = max(round(x2) - 1, round(x1)), max(round(y2) - 1, round(y1))
    canvas.rectangle((round(x1), round(y1), right, bottom), outline=colour, width=line_width)


@lru_cache(maxsize=16)
def _font(size: int) -> ImageFont.FreeTypeFont:
    return ImageFont.truetype(font_file(), size)


@lru_cache(maxsize=1024)
def _written(name: str, size: int) -> Image.Image:
    """How much ink a name lays on each pixel, in a font of so many pixels; names come again from picture to picture."""
    font = _font(size)
    left, top, right, bottom = font.getbbox(name)
    ink = Image.new("L", (ceil(right - left), ceil(bottom - top)))
    ImageDraw.Draw(ink).text((-left, -top), name, fill=255, font=font)
    return ink


def _draw_names(
    canvas: ImageDraw.ImageDraw,
    boxes: list[list[float]],
    names: list[str],
    colours: list[tuple[int, int, int]],
    side: float,
) -> None:
    """Each name on a plate of its class colour, where it hides no other name if there is such a place."""
    width, height = canvas.im.size
    size = min(32, max(10, round(side / 45)))
    taken: list[_Rectangle] = []
    # The best come last in drawing order but choose their places first.
    for box, name, colour in reversed(list(zip(boxes, map(lettering, names), colours, strict=True))):
        ink = _written(name, size)
        plate_wh = ink.width + 4, ink.height + 4
        if plate_wh[0] > width or plate_wh[1] > height:
            continue
        place = _place(box, plate_wh, (width, height), taken)
        taken.append(place)
        canvas.rectangle((place[0], place[1], place[2] - 1, place[3] - 1), fill=colour)
        brightness = 0.299 * colour[0] + 0.587 * colour[1] + 0.114 * colour[2]
        black_or_white = (0, 0, 0) if brightness > 140 else (255, 255, 255)
        canvas.bitmap((round(place[0]) + 2, round(place[1]) + 2), ink, fill=black_or_white)


def _place(
    box: list[float], plate_wh: tuple[float, float], size_wh: tuple[int, int], taken: list[_Rectangle]
) -> _Rectangle:
    """Above the box, inside at the top, below, or inside at the bottom: the first free one in the picture."""
    wide, high = plate_wh
    places = []
    for x in (box[0], box[2] - wide):
        for y in (box[1] - high, box[1], box[3], box[3] - high):
            left = round(min(max(x, 0), size_wh[0] - wide))
            top = round(min(max(y, 0), size_wh[1] - high))
            places.append((left, top, left + wide, top + high))
    return next((place for place in places if not any(_overlap(place, other) for other in taken)), places[0])


def _overlap(a: _Rectangle, b: _Rectangle) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]
