"""What a model learns besides boxes, and what that asks of the data."""

from collections.abc import Sequence

from pagoda.data.augment.transforms import Carry
from pagoda.data.dataset import DetectionDataset
from pagoda.data.table.samples import AnnotatedDataset
from pagoda.detectors.contract import Detector
from pagoda.structures.labels import LabelMap
from pagoda.structures.tubes import AnyTargets
from pagoda.training.settings import AugmentSettings


def what_to_carry(model: Detector) -> Carry:
    """The first transform of training, which drops masks and keypoints where the model does not learn them.

    >>> import pagoda
    >>> what_to_carry(pagoda.create_model("fcos_resnet18_fpn", num_classes=1, base_channels=8, width=8, norm_groups=4))
    Carry(masks=False, keypoints=False)
    """
    return Carry(masks="masks" in model.learns, keypoints="keypoints" in model.learns)


def lighten(dataset: AnnotatedDataset[AnyTargets], model: Detector) -> AnnotatedDataset[AnyTargets]:
    """The data set without masks and keypoints where the model learns boxes alone, so that none are decoded.

    Other data than a `DetectionDataset` come back as they are.

    >>> import pagoda
    >>> from pagoda.data.drawn.synthetic import DrawnShapes
    >>> model = pagoda.create_model("fcos_resnet18_fpn", num_classes=3, base_channels=8, width=8, norm_groups=4)
    >>> dataset = DetectionDataset(DrawnShapes(2).annotations)
    >>> dataset.annotations.masks is None, lighten(dataset, model).annotations.masks is None
    (False, True)
    """
    if isinstance(dataset, DetectionDataset) and what_to_carry(model) == Carry():
        return dataset.boxes_only()
    return dataset


def check_keypoints(model: Detector, label_map: LabelMap, settings: AugmentSettings) -> None:
    """Raises ValueError before training starts where the keypoints of the data fit neither head nor flips."""
    if "keypoints" not in model.learns:
        return
    if label_map.skeleton is None:
        raise ValueError(
            "the model has a keypoint head, but the data set has no keypoints; choose data with keypoints (in a COCO"
            " folder perhaps split person_keypoints_train), or a model without that head"
        )
    label_map.skeleton.check_head(model.keypoint_head.num_keypoints)
    flip_pairs(what_to_carry(model), label_map, settings)


def flip_pairs(
    carry: Carry, label_map: LabelMap, settings: AugmentSettings
) -> Sequence[tuple[int, int]] | None:
    """Pairs of keypoints that change places in a mirror, None where no keypoints are carried.

    Raises ValueError where a flip is wanted and nobody knows, with how to say it in the data's format.

    >>> from pagoda.structures.skeleton import Skeleton
    >>> eyes = LabelMap(("cat",), (1,), Skeleton(("left_eye", "right_eye", "nose")))
    >>> flip_pairs(Carry(keypoints=True), eyes, AugmentSettings())
    ((0, 1),)
    """
    if not carry.keypoints or label_map.skeleton is None:
        return None
    pairs = label_map.skeleton.flip_pairs
    if pairs is None and (settings.horizontal_flip or settings.vertical_flip):
        raise ValueError(
            "pictures are to be flipped, but nobody says which keypoints change places in a mirror:"
            f" {label_map.skeleton.flip_remedy}, or train with"
            f" augment.horizontal_flip=0 and vertical_flip=0; the keypoints are {', '.join(label_map.skeleton.names)}"
        )
    return pairs
