"""Frames and people as PoseTrack's files have them, of 2017 and of 2018, each value looked at. T frames."""

import math
from typing import Any, NamedTuple

import numpy as np

from pagoda.data.reading.found import usable_size
from pagoda.files.text import as_number, as_whole, truth_value
from pagoda.messages import counted
from pagoda.pictures.read import natural_order
from pagoda.places import told_at
from pagoda.plain import JsonObject
from pagoda.structures.posetrack_skeletons import POSETRACK_15
from pagoda.structures.tracks import UNLINKED

MISSING_SCORE = -9999.0
"""What PoseTrack gives a predicted joint without a score"""


def _one(value: Any) -> Any:
    """The number in a list of one, or the number itself."""
    return value[0] if isinstance(value, list) else value


def _number(value: object, what: str) -> float:
    """Also nan, for what is not there."""
    number = as_number(_one(value))
    if number is None or math.isinf(number):
        raise ValueError(f"{what} must be a number, got {str(value)[:60]}")
    return number


def _numbers(values: object, count: int, what: str) -> list[float]:
    if not isinstance(values, list) or len(values) != count:
        got = f"{len(values)} numbers" if isinstance(values, list) else str(values)[:60]
        raise ValueError(f"{what} must be {count} numbers, got {got}")
    return [_number(value, what) for value in values]


def _id(value: object) -> int:
    """A track id; one that is missing, null or an empty list is none."""
    found = _one(value or UNLINKED) if isinstance(value, list) else value
    number = UNLINKED if found is None else as_whole(found)
    if number is None or abs(number) >= 2**63:
        raise ValueError(f"track_id must be a whole number, got {str(value)[:60]}")
    return number


def _score(value: object) -> float:
    return 1.0 if _one(value) is None else _number(value, "score")


class Frame(NamedTuple):
    """An entry of annolist (2017): a picture, the people in it, and where nobody is scored."""

    name: str
    people: list["PersonOf2017"]
    is_labelled: bool | None
    """None where it does not say"""
    regions: tuple[np.ndarray, ...]


class PersonOf2017(NamedTuple):
    """Somebody in a frame of 2017; joints that are not there are nan."""

    track_id: int
    score: float
    points: np.ndarray
    """(15, 2)"""
    scores: np.ndarray
    """(15,)"""
    has_scores: bool
    head: list[float] | None


def frame_of_2017(entry: dict) -> Frame:
    """An entry of annolist as a `Frame`, each value looked at.

    >>> rect = {"track_id": [3], "annopoints": [{"point": [{"id": [0], "x": [5], "y": [6]}]}]}
    >>> frame = frame_of_2017({"image": [{"name": "a.jpg"}], "annorect": [rect]})
    >>> frame.name, frame.people[0].track_id, frame.people[0].points[0].tolist()
    ('a.jpg', 3, [5.0, 6.0])
    """
    people = [_person_of_2017(rect) for rect in entry.get("annorect") or []]
    name = str(_one(entry["image"])["name"])
    return Frame(name, people, _is_labelled(entry), _regions_of_2017(entry))


def _person_of_2017(rect: dict) -> PersonOf2017:
    points, scores = np.full((15, 2), np.nan), np.full(15, MISSING_SCORE)
    found = _points_of_2017(rect)
    for point in found:
        joint = as_whole(_one(point["id"]))
        if joint is None or not 0 <= joint < 15:
            raise ValueError(
                f"a joint must be one of 0 … 14 ({', '.join(POSETRACK_15.names)}), got {point['id']}"
            )
        points[joint] = _number(point["x"], "x"), _number(point["y"], "y")
        scores[joint] = _number(point.get("score", MISSING_SCORE), "score")
    head = [_number(rect[key], key) for key in ("x1", "y1", "x2", "y2")] if "x1" in rect else None
    has_scores = any("score" in point for point in found)
    return PersonOf2017(
        _id(rect.get("track_id")), _score(rect.get("score")), points, scores, has_scores, head
    )


def _points_of_2017(rect: JsonObject) -> list[dict]:
    annotated = rect.get("annopoints") or []
    annotated = annotated[0] if isinstance(annotated, list) and annotated else annotated
    return (annotated.get("point") or []) if isinstance(annotated, dict) else []


def _regions_of_2017(frame: JsonObject) -> tuple[np.ndarray, ...]:
    regions = frame.get("ignore_regions") or []
    return tuple(
        _polygon(
            [_one(point["x"]) for point in region["point"]], [_one(point["y"]) for point in region["point"]]
        )
        for region in regions
        if region.get("point")
    )


def _is_labelled(entry: JsonObject) -> bool | None:
    return truth_value(_one(entry["is_labeled"]), "is_labeled") if "is_labeled" in entry else None


def id_of(entry: JsonObject, key: str) -> int | str:
    """The id of an image, a whole number or text. Raises ValueError for anything else.

    >>> id_of({"id": "a7"}, "id")
    'a7'
    """
    if not isinstance(entry[key], int | str):
        raise ValueError(f"{key} must be a whole number or text, got {str(entry)[:100]}")
    return entry[key]


class PersonOf2018(NamedTuple):
    """An annotation of 2018: somebody in a frame."""

    track_id: int
    score: float
    triples: list[float]
    """x, y, visibility of each keypoint; all 0 without any"""
    box_xywh: list[float]
    """nan without one"""
    head_xywh: list[float] | None
    scores: list[float] | None
    """of the keypoints"""


class Image(NamedTuple):
    """An entry of images (2018): a frame of a video."""

    place: Any
    """to sort by"""
    image_id: int | str
    name: str
    size: tuple[int, int] | None
    is_labelled: bool | None
    regions: tuple[np.ndarray, ...]


def person_of_2018(entry: JsonObject, num_keypoints: int) -> PersonOf2018:
    """An entry of annotations as a `PersonOf2018`, each value looked at.

    Raises ValueError for what is no number, and for another count of keypoints.

    >>> person = person_of_2018({"track_id": 3, "bbox": [1, 2, 3, 4]}, num_keypoints=17)
    >>> person.track_id, person.score, person.box_xywh, len(person.triples)
    (3, 1.0, [1.0, 2.0, 3.0, 4.0], 51)
    """
    keypoints, scores = entry.get("keypoints"), entry.get("scores")
    if keypoints and len(keypoints) != 3 * num_keypoints:
        raise ValueError(
            f"a pose must have {counted(num_keypoints, 'keypoint')} as {3 * num_keypoints} numbers x, y, visibility,"
            f" got {len(keypoints)} numbers"
        )
    return PersonOf2018(
        _id(entry.get("track_id")),
        _score(entry.get("score")),
        _numbers(keypoints or [0] * 3 * num_keypoints, 3 * num_keypoints, "keypoints"),
        _numbers(entry.get("bbox") or [math.nan] * 4, 4, "bbox"),
        _numbers(entry["bbox_head"], 4, "bbox_head") if entry.get("bbox_head") else None,
        _numbers(scores, num_keypoints, "'scores', one per keypoint,") if scores else None,
    )


def images_in_order(images: list[dict]) -> list[Image]:
    """Each image with its `place` in the video, in the order given.

    That is the number of the frame; where there are none what stands in the name of the picture, else the id.
    Raises ValueError for a frame number that is none.

    >>> [frame.place for frame in images_in_order([{"id": 9, "frame_id": 2}, {"id": 4, "frame_id": 1}])]
    [2, 1]
    """
    if all("frame_id" in image for image in images):
        places: list[Any] = [as_whole(image["frame_id"]) for image in images]
    elif all(image.get("file_name") for image in images):
        places = [natural_order(str(image["file_name"])) for image in images]
    else:
        places = [natural_order(str(image.get("frame_id", image["id"]))) for image in images]
    if None in places:
        raise ValueError(f"frame_id must be a whole number, got {str(images[places.index(None)])[:100]}")
    return [_image_of_2018(image, place) for image, place in zip(images, places, strict=True)]


def _image_of_2018(image: JsonObject, place: Any) -> Image:
    with told_at(f"image {image['id']}"):
        name = str(image.get("file_name", ""))
        return Image(place, image["id"], name, _size(image), _is_labelled(image), _regions_of_2018(image))


def _size(image: JsonObject) -> tuple[int, int] | None:
    sides = image.get("height"), image.get("width")
    if None in sides:
        return None
    size = usable_size(*sides)
    if size is None:
        raise ValueError(f"height and width must be those of a picture, got {str(sides)[:100]}")
    return size


def _regions_of_2018(image: JsonObject) -> tuple[np.ndarray, ...]:
    xs, ys = image.get("ignore_regions_x") or [], image.get("ignore_regions_y") or []
    # One polygon alone stands as a plain list of numbers.
    if xs and not isinstance(xs[0], list):
        xs, ys = [xs], [ys]
    return tuple(_polygon(x, y) for x, y in zip(xs, ys, strict=True) if len(x) > 2)


def _polygon(xs: list, ys: list) -> np.ndarray:
    """(points, 2) xy"""
    columns = _numbers(xs, len(xs), "ignore_regions_x"), _numbers(ys, len(xs), "ignore_regions_y")
    return np.array(columns).T
