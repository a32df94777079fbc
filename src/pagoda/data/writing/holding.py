"""What each format can hold of a data set, as data: docs/data_exchange.md shows this table, and losses are counted by
it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from pagoda.messages import counted
from pagoda.plain import JsonObject, checked

FormatName = Literal["coco", "voc", "yolo", "labelme", "mot", "posetrack"]
"""what can be written"""
TITLES: dict[FormatName, str] = {
    "coco": "COCO",
    "voc": "VOC",
    "yolo": "YOLO",
    "labelme": "LabelMe",
    "mot": "MOTChallenge",
    "posetrack": "PoseTrack",
}
OF_VIDEOS: tuple[FormatName, ...] = ("mot", "posetrack")
"""formats that hold videos; the others hold pictures"""
CLOSE = 1e-6
"""Pixels; numbers that come back as near as this are kept: shares and corners from 1 are other numbers in the files"""


@checked
@dataclass(frozen=True)
class Property:
    """Something that annotations may have, and what becomes of it in the formats that cannot hold it."""

    key: str
    """short name, in losses.json"""
    name: str
    """in the table of the page"""
    one: str
    """one thing that is affected, with its noun"""
    many: str
    """several of them"""
    becomes: Mapping[str, str]
    """format → what happens; a format that is not named keeps it"""


@dataclass(frozen=True)
class Loss:
    """One property that some things of a data set have and the format does not hold."""

    key: str
    """of the `Property`, or what of the files no reader takes up"""
    count: int
    """how many things are affected, those alone that are still there after the losses before"""
    text: str
    """a sentence: how many of what, and what becomes of them"""

    def to_dict(self) -> JsonObject:
        return {"what": self.key, "count": self.count, "text": self.text}


def _each(text: str, *formats: FormatName) -> dict[str, str]:
    return dict.fromkeys(formats, text)


_PICTURES_ONLY: tuple[FormatName, ...] = ("voc", "yolo", "labelme")
_NO_IDS = "counted anew, for the format has no ids"

PROPERTIES: tuple[Property, ...] = (
    Property(
        "empty_splits",
        "splits without pictures",
        "split without pictures",
        "splits without pictures",
        _each("left out, for folders and lists of no picture are no split", *_PICTURES_ONLY),
    ),
    Property(
        "split_names",
        "names of splits",
        "split",
        "splits",
        {
            **_each("named anew, for its name cannot be a file's as it is", "coco", "voc"),
            "yolo": "called train, for YOLO knows train, val and test; several others are refused",
            "labelme": "called train, for folders of other names are no splits; several others are refused",
        },
    ),
    Property(
        "picture_names",
        "names of pictures",
        "picture",
        "pictures",
        {
            "coco": "named anew, for the name leads out of the folder, stands twice or is refused on some systems",
            **_each(
                "named anew, for the name leads out of the folder, is refused on some systems, or another picture's"
                " differs in the ending alone",
                *_PICTURES_ONLY,
            ),
        },
    ),
    Property(
        "ignored",
        "crowd regions, difficult objects",
        "ignored object (crowd or difficult)",
        "ignored objects (crowd or difficult)",
        {"yolo": "left out, for YOLO would learn them as ordinary objects"},
    ),
    Property(
        "no_area",
        "boxes without area",
        "box without area",
        "boxes without area",
        {
            **_each("left out, for corners in turned order mean another box", "voc", "labelme"),
            "yolo": "left out with those outside their pictures, for YOLO programs refuse such pictures",
        },
    ),
    Property(
        "thin",
        "boxes thinner than a pixel",
        "box thinner than a pixel",
        "boxes thinner than a pixel",
        {"voc": "widened to one pixel, for both corners count their pixel"},
    ),
    Property(
        "beyond",
        "boxes beyond the picture",
        "box beyond its picture",
        "boxes beyond their pictures",
        {"yolo": "cut to the picture, for shares are 0 … 1"},
    ),
    Property(
        "keypoints",
        "keypoints",
        "pose",
        "poses",
        {"voc": "lost, for VOC has boxes alone"},
    ),
    Property(
        "keypoints_beyond",
        "keypoints beyond the picture",
        "keypoint beyond its picture",
        "keypoints beyond their pictures",
        {"yolo": "not labelled any more, for shares are 0 … 1"},
    ),
    Property(
        "hidden_keypoints",
        "hidden keypoints",
        "hidden keypoint",
        "hidden keypoints",
        {"labelme": "visible from now on, for a LabelMe point is there or not"},
    ),
    Property(
        "skeleton",
        "bones, sigmas, sides and order of keypoints",
        "skeleton",
        "skeletons",
        {
            "voc": "lost, for VOC has none",
            "yolo": "without bones and sigmas, for which data.yaml has no place; lost where no keypoint is labelled",
            "labelme": "only the names of labelled keypoints are kept, in the order of the alphabet",
        },
    ),
    Property(
        "masks",
        "masks",
        "mask",
        "masks",
        {
            "voc": "lost, for VOC's boxes have none",
            "yolo": "lost, for in a data set with keypoints a line holds those",
        },
    ),
    Property(
        "empty_masks",
        "masks without a pixel",
        "mask without a pixel",
        "masks without a pixel",
        _each("left out, the box stays", "yolo", "labelme"),
    ),
    Property(
        "holes",
        "holes",
        "mask with holes",
        "masks with holes",
        {"yolo": "filled, for YOLO polygons cannot hold holes"},
    ),
    Property(
        "run_lengths",
        "masks of pixels (run lengths)",
        "mask of pixels",
        "masks of pixels",
        {"yolo": "written as outlines along their pixels, of which each stays"},
    ),
    Property(
        "outlines_beyond",
        "outlines beyond the picture",
        "outline beyond its picture",
        "outlines beyond their pictures",
        {"yolo": "cut to the picture, for shares are 0 … 1"},
    ),
    Property(
        "parts",
        "masks of several parts",
        "mask of several parts",
        "masks of several parts",
        {"yolo": "joined by lines without width, for a line of the file holds one polygon"},
    ),
    Property(
        "rims",
        "masks to the last pixel",
        "mask whose rim runs along the middles of pixels",
        "masks whose rims run along the middles of pixels",
        {"yolo": "drawn with other pixels there, for shares are rounded in their last digit"},
    ),
    Property(
        "boxes_of_outlines",
        "boxes that are not those around their masks",
        "box that is not the one around its mask",
        "boxes that are not those around their masks",
        _each("replaced by that, for an object with an outline has no other", "yolo", "labelme"),
    ),
    Property(
        "areas",
        "areas",
        "area of an object",
        "areas of objects",
        {
            **_each("replaced by that of the box, for the format has no areas", "voc", "yolo"),
            "labelme": "replaced by that of the mask or else the box, for LabelMe has no areas",
        },
    ),
    Property(
        "unused_classes",
        "classes without objects",
        "class without objects",
        "classes without objects",
        _each("lost, for classes are named by objects alone", "voc", "labelme"),
    ),
    Property(
        "class_numbers",
        "numbers of classes",
        "number of a class",
        "numbers of classes",
        {
            **_each("replaced by the order of the alphabet, for the format has names alone", "voc", "labelme"),
            "yolo": "counted anew from 0, in the same order",
        },
    ),
    Property(
        "picture_ids",
        "ids of pictures",
        "picture id",
        "picture ids",
        _each(_NO_IDS, *_PICTURES_ONLY),
    ),
    Property(
        "object_ids",
        "ids of objects",
        "object id",
        "object ids",
        _each(_NO_IDS, *_PICTURES_ONLY),
    ),
    Property(
        "track_ids",
        "track ids of videos",
        "track id of an object",
        "track ids of objects",
        _each("lost, for the format has none", *_PICTURES_ONLY),
    ),
)  # fmt: skip

_FRAMES: tuple[FormatName, ...] = ("coco", "voc", "yolo", "labelme")
VIDEO_PROPERTIES: tuple[Property, ...] = (
    Property(
        "video_names",
        "names of videos",
        "video",
        "videos",
        {"posetrack": "named anew, for the name cannot be a file's as it is"},
    ),
    Property(
        "class_names",
        "classes other than person",
        "object of another class than person",
        "objects of other classes than person",
        {"posetrack": "a person from now on, for PoseTrack's files are of people"},
    ),
    Property(
        "class_numbers",
        "numbers of classes",
        "number of a class",
        "numbers of classes",
        _each("counted anew from 1", "mot", "posetrack"),
    ),
    Property(
        "frame_names",
        "names of frames",
        "frame",
        "frames",
        {"mot": "called 000001, 000002 … as MOTChallenge has them"},
    ),
    Property(
        "unlinked",
        "objects without a track",
        "object without a track",
        "objects without a track",
        _each("left out, for every row has the id of a track", "mot", "posetrack"),
    ),
    Property(
        "ignored_rows",
        "ignored objects",
        "ignored object",
        "ignored objects",
        {"posetrack": "left out, for PoseTrack ignores regions alone"},
    ),
    Property(
        "distractors",
        "distractors",
        "distractor (what may be found or not)",
        "distractors (what may be found or not)",
        _each("ignored as any other, for their kind is not held", *_FRAMES, "mot"),
    ),
    Property("poses", "poses", "pose", "poses", {"mot": "lost, for a row is a box"}),
    Property(
        "heads",
        "head boxes",
        "head box",
        "head boxes",
        _each("lost, for the format has none", *_FRAMES, "mot"),
    ),
    Property(
        "regions",
        "regions to be ignored",
        "frame with regions to be ignored",
        "frames with regions to be ignored",
        _each("without them from now on, for the format has none", *_FRAMES, "mot"),
    ),
    Property(
        "unlabelled",
        "frames that nobody annotated",
        "frame that nobody annotated",
        "frames that nobody annotated",
        _each("an empty frame as any other, for the format does not tell them apart", *_FRAMES, "mot"),
    ),
    Property(
        "scores",
        "scores of objects",
        "score other than 1",
        "scores other than 1",
        _each("lost, for ground truth of the format has none", *_FRAMES, "mot"),
    ),
)
"""what videos may have besides; track ids stay in COCO in a key of their own, track_id"""


@checked
def loss_of(what: Property, count: int, name: FormatName) -> Loss:
    """So many things with a property that the format does not hold."""
    return Loss(what.key, count, f"{counted(count, what.one, what.many)}: {what.becomes[name]}")
