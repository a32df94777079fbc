"""Pictures made small enough for a page: as large as the room allows, one of each, and details that it cannot show."""

import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

from pagoda.messages import counted
from pagoda.pictures.errors import PictureError
from pagoda.plain import checked

Box = tuple[float, float, float, float]
"""xyxy, pixels of the picture"""
ReadById = Callable[[int | str], np.ndarray]
"""from a picture's id to (H, W, 3) RGB uint8; raises PictureError where it cannot be read"""

SIDES = (640, 512, 400, 320, 240, 160)
"""longer sides that are tried, the largest first"""
DETAIL_SIDE = 128
"""of the picture of a small object"""
CLEAR = 40
"""pixels of a thumbnail that an object's longer side needs to be seen well"""
QUALITY = 80
_SAMPLES = 12
_TEXT_PER_BYTE = 4 / 3
"""base64"""


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """A picture that a page shows."""

    image_id: int | str
    """by which it is read"""
    image_size: tuple[int, int]
    """(height, width) that boxes are in"""
    objects: Sequence[Box] = ()
    """what has to be seen well"""


@dataclass(frozen=True, kw_only=True)
class Thumbnail:
    """What of a picture goes into the page."""

    number: int | None
    """of the small picture among `Embedded.contents`"""
    words: str
    """why there is none"""
    details: tuple[tuple[int, Box] | None, ...]
    """of each object that the small picture cannot show: (number among the contents, the region it shows)"""


@dataclass(frozen=True, kw_only=True)
class Embedded:
    """Pictures for a page."""

    contents: list[bytes]
    """JPEG files"""
    thumbnails: list[Thumbnail]
    """one of each picture that was wanted"""
    notes: list[str]
    """what was made smaller or left out: a sentence each"""


@checked
def embed_pictures(wanted: Sequence[Wanted], read_picture: ReadById, *, max_bytes: int) -> Embedded:
    """Thumbnails of all that is wanted, in no more than `max_bytes` of the page.

    The first have precedence: where even the smallest thumbnails do not fit, the last ones get none. An object that is
    smaller than `CLEAR` pixels there, and larger in the picture, gets a picture of its own while there is room.

    >>> picture = np.zeros((900, 1200, 3), np.uint8)
    >>> wanted = [Wanted(image_id=7, image_size=(900, 1200), objects=[(100, 100, 130, 120)])]
    >>> seen = embed_pictures(wanted, lambda image_id: picture, max_bytes=100_000)
    >>> len(seen.contents), seen.thumbnails[0].number, seen.notes
    (2, 0, ['Pictures are shown with sides of up to 640 pixels.'])
    """
    side, each = _choose_side(wanted, read_picture, max_bytes)
    room = _Room(max_bytes=max_bytes, planned=min(max_bytes, round(each * len(wanted))))
    thumbnails = [_thumbnail(one, read_picture, side, room) for one in wanted]
    told = []
    if room.is_shrunk:
        told.append(f"Pictures are shown with sides of up to {side} pixels.")
    if room.without:
        told.append(
            f"{counted(room.without, 'picture has', 'pictures have')} no room here: their boxes stand on grey."
        )
    if room.unreadable:
        told.append(f"{counted(room.unreadable, 'picture')} could not be read.")
    if room.coarse:
        told.append(
            f"{counted(room.coarse, 'small object is', 'small objects are')} shown no sharper than that."
        )
    return Embedded(contents=room.contents, thumbnails=thumbnails, notes=told)


class _Room:
    """What is embedded so far, and how much more may be."""

    def __init__(self, max_bytes: int, planned: int) -> None:
        self.contents: list[bytes] = []
        self.free = max_bytes
        self.free_for_details = max_bytes - planned
        self.without = self.unreadable = self.coarse = 0
        self.is_shrunk = False

    def place(self, content: bytes, *, is_detail: bool = False) -> int | None:
        """Its number, None where it does not fit."""
        size = round(len(content) * _TEXT_PER_BYTE) + 8
        if size > self.free or (is_detail and size > self.free_for_details):
            return None
        self.free -= size
        self.free_for_details -= size if is_detail else 0
        self.contents.append(content)
        return len(self.contents) - 1


def _choose_side(wanted: Sequence[Wanted], read_picture: ReadById, max_bytes: int) -> tuple[int, float]:
    """(the longer side of all thumbnails, bytes of the page that one takes), judged by some of them."""
    images = []
    for place in np.unique(np.linspace(0, len(wanted) - 1, _SAMPLES).round().astype(int)) if wanted else ():
        try:
            images.append(Image.fromarray(read_picture(wanted[place].image_id)))
        except PictureError:
            continue
    if not images:
        return SIDES[0], 0.0
    for side in SIDES:
        each = 1.1 * _TEXT_PER_BYTE * sum(len(_jpeg(_shrunk(image, side))) for image in images) / len(images)
        if each * len(wanted) <= max_bytes:
            break
    return side, each


def _thumbnail(one: Wanted, read_picture: ReadById, side: int, room: _Room) -> Thumbnail:
    nothing = (None,) * len(one.objects)
    try:
        image = Image.fromarray(read_picture(one.image_id))
    except PictureError as error:
        room.unreadable += 1
        return Thumbnail(number=None, words=str(error), details=nothing)
    small = _shrunk(image, side)
    number = room.place(_jpeg(small))
    if number is None:
        room.without += 1
        return Thumbnail(number=None, words="left out: the page would become too large", details=nothing)
    room.is_shrunk |= small.size != image.size
    scale = max(small.size) / max(1, *one.image_size)
    details = tuple(
        _detail(image, one, box, room) if small.size != image.size and _longer(box) * scale < CLEAR else None
        for box in one.objects
    )
    return Thumbnail(number=number, words="", details=details)


def _detail(image: Image.Image, one: Wanted, box: Box, room: _Room) -> tuple[int, Box] | None:
    height, width = one.image_size
    side = max(2.4 * _longer(box), 32.0)
    x, y = (box[0] + box[2]) / 2, (box[1] + box[3]) / 2
    region = (
        max(0.0, x - side / 2),
        max(0.0, y - side / 2),
        min(width, x + side / 2),
        min(height, y + side / 2),
    )
    across, down = image.width / max(width, 1), image.height / max(height, 1)
    pixels = (
        round(region[0] * across),
        round(region[1] * down),
        round(region[2] * across),
        round(region[3] * down),
    )
    if pixels[2] <= pixels[0] or pixels[3] <= pixels[1]:
        return None
    number = room.place(_jpeg(_shrunk(image.crop(pixels), DETAIL_SIDE)), is_detail=True)
    if number is None:
        room.coarse += 1
        return None
    shown = pixels[0] / across, pixels[1] / down, pixels[2] / across, pixels[3] / down
    return number, shown


def _longer(box: Box) -> float:
    return max(box[2] - box[0], box[3] - box[1])


def _shrunk(image: Image.Image, side: int) -> Image.Image:
    """Of at most `side` pixels, never enlarged."""
    scale = side / max(image.size)
    if scale >= 1:
        return image
    size = max(1, round(image.width * scale)), max(1, round(image.height * scale))
    return image.resize(size, Image.Resampling.BICUBIC, reducing_gap=2)


def _jpeg(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "jpeg", quality=QUALITY)
    return buffer.getvalue()
