"""The classes that published checkpoints were trained on."""

from pagoda.structures.labels import LabelMap
from pagoda.structures.posetrack_skeletons import PERSON_17
from pagoda.structures.skeleton import COCO_17

COCO = {
    1: "person", 2: "bicycle", 3: "car", 4: "motorcycle", 5: "airplane", 6: "bus", 7: "train", 8: "truck",
    9: "boat", 10: "traffic light", 11: "fire hydrant", 13: "stop sign", 14: "parking meter", 15: "bench",
    16: "bird", 17: "cat", 18: "dog", 19: "horse", 20: "sheep", 21: "cow", 22: "elephant", 23: "bear",
    24: "zebra", 25: "giraffe", 27: "backpack", 28: "umbrella", 31: "handbag", 32: "tie", 33: "suitcase",
    34: "frisbee", 35: "skis", 36: "snowboard", 37: "sports ball", 38: "kite", 39: "baseball bat",
    40: "baseball glove", 41: "skateboard", 42: "surfboard", 43: "tennis racket", 44: "bottle",
    46: "wine glass", 47: "cup", 48: "fork", 49: "knife", 50: "spoon", 51: "bowl", 52: "banana", 53: "apple",
    54: "sandwich", 55: "orange", 56: "broccoli", 57: "carrot", 58: "hot dog", 59: "pizza", 60: "donut",
    61: "cake", 62: "chair", 63: "couch", 64: "potted plant", 65: "bed", 67: "dining table", 70: "toilet",
    72: "tv", 73: "laptop", 74: "mouse", 75: "remote", 76: "keyboard", 77: "cell phone", 78: "microwave",
    79: "oven", 80: "toaster", 81: "sink", 82: "refrigerator", 84: "book", 85: "clock", 86: "vase",
    87: "scissors", 88: "teddy bear", 89: "hair drier", 90: "toothbrush",
}  # fmt: skip
VOC = (
    "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow", "diningtable", "dog",
    "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor",
)  # fmt: skip


def published_classes(kind: str, num_classes: int, *, num_keypoints: int | None = None) -> LabelMap:
    """The label map of a set called as in `Flavour.class_names`; a numbered one where the count differs.

    Persons come with their 17 keypoints, unless `num_keypoints` says that a model has others.

    >>> published_classes("voc", 20).names[:2], published_classes("voc", 2).names
    (('aeroplane', 'bicycle'), ('class_0', 'class_1'))
    """
    if kind == "coco" and num_classes == len(COCO):
        return LabelMap(tuple(COCO.values()), tuple(COCO))
    if (
        kind == "coco_91" and num_classes == 91
    ):  # labels are category ids: ten stand for nothing, 0 for background
        names = ("background", *(COCO.get(number, f"unused_{number}") for number in range(1, 91)))
        return LabelMap(names, tuple(range(91)))
    if (
        kind == "coco_90" and num_classes == 90
    ):  # the same without the background, as two-stage networks count
        return LabelMap(
            tuple(COCO.get(number, f"unused_{number}") for number in range(1, 91)), tuple(range(1, 91))
        )
    if kind == "coco_person" and num_classes == 1:
        return LabelMap(("person",), (1,), COCO_17 if num_keypoints in (None, len(COCO_17)) else None)
    if kind == "posetrack_person" and num_classes == 1:
        return PERSON_17 if num_keypoints in (None, 17) else LabelMap(("person",), (1,))
    if kind == "voc" and num_classes == len(VOC):
        return LabelMap.from_names(VOC)
    return LabelMap.numbered(num_classes)
