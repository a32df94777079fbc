"""Pictures as the page shows them: objects drawn, the chosen one framed, at a size that a page can hold."""

from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw
from torch import Tensor

from pagoda.drawing.objects import draw_targets, image_of_detections, shrink_factor
from pagoda.structures.instances import Detections, Targets
from pagoda.structures.labels import LabelMap

MAX_SHOWN_PIXELS = 2**21
"""of a picture on the page; larger ones are shown smaller, by a whole factor"""
MIN_SHOWN_SIDE = 320
"""smaller ones are shown larger, by a whole factor"""


class Drawn(NamedTuple):
    """A picture with objects, as it is shown."""

    picture: np.ndarray
    """(h, w, 3) RGB uint8"""
    scale: float
    """its pixels for one pixel of the picture that was looked at"""


def shown_scale(size: tuple[int, int]) -> float:
    """How many times as large a picture of this (height, width) is shown.

    >>> shown_scale((4000, 3000)), shown_scale((128, 96)), shown_scale((640, 480))
    (0.3333333333333333, 4.0, 1.0)
    """
    shrink = shrink_factor(size, MAX_SHOWN_PIXELS)
    return 1 / shrink if shrink > 1 else float(max(1, -(-MIN_SHOWN_SIDE // min(size))))


def draw_found(pixels: np.ndarray, found: Detections, chosen: int | None = None) -> Drawn:
    """Detections, that in row `chosen` framed."""
    scale = shown_scale(found.image_size)
    image = image_of_detections(
        pixels[..., :3],
        found,
        min_side=MIN_SHOWN_SIDE if scale > 1 else 0,
        max_pixels=MAX_SHOWN_PIXELS if scale < 1 else None,
    )
    _frame(image, None if chosen is None else found.boxes[chosen], scale)
    return Drawn(np.array(image), scale)


def draw_annotated(
    pixels: np.ndarray, targets: Targets, label_map: LabelMap, chosen_box: Tensor | None = None
) -> Drawn:
    """What is annotated, the object with `chosen_box` (4,) framed."""
    scale = shown_scale(targets.image_size)
    side = MIN_SHOWN_SIDE if scale > 1 else 0
    image = Image.fromarray(draw_targets(pixels[..., :3], targets, label_map, min_side=side))
    if scale < 1:
        image = image.reduce(round(1 / scale))
    _frame(image, chosen_box, scale)
    return Drawn(np.array(image), scale)


def _frame(image: Image.Image, box: Tensor | None, scale: float) -> None:
    """White within black, which is seen on everything."""
    if box is None:
        return
    x1, y1, x2, y2 = (box.double() * scale).tolist()
    canvas, width = ImageDraw.Draw(image), max(2, round((image.width * image.height) ** 0.5 / 200))
    for distance, colour in ((2 * width, (0, 0, 0)), (width, (255, 255, 255))):
        corners = (x1 - distance, y1 - distance, x2 + distance - 1, y2 + distance - 1)
        canvas.rectangle(corners, outline=colour, width=width)
