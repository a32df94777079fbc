"""The steps that the pictures of a run go through, from its settings."""

from collections.abc import Sequence
from dataclasses import replace

from pagoda.data.augment.mixing import CopyPaste, Mixup, PasteSources
from pagoda.data.augment.transforms import (
    Carry,
    Compose,
    HorizontalFlip,
    JitteredResize,
    Mosaic,
    PhotometricDistort,
    RandomIoUCrop,
    ScaleJitter,
    Transform,
    VerticalFlip,
    ZoomOut,
)
from pagoda.data.table.samples import AnnotatedDataset
from pagoda.detectors.contract import Detector
from pagoda.recipes.target_fields import flip_pairs, lighten, what_to_carry
from pagoda.structures.tubes import AnyTargets
from pagoda.training.settings import AugmentSettings


def training_transform(
    model: Detector, dataset: AnnotatedDataset[AnyTargets], settings: AugmentSettings
) -> Compose:
    """The steps of `AugmentSettings`, in its order, at the model's picture size.

    Objects are pasted by the masks of `dataset`, also for a model that learns boxes alone. Models that fit pictures
    into a canvas get it full: what is larger is cropped, what is smaller padded; where they stretch it, the jitter is
    of the stretched one. Raises ValueError where keypoints are
    to be flipped and nobody says which change places, and as `check_pasting` does.

    >>> import pagoda
    >>> from pagoda.data.drawn.synthetic import DrawnShapes
    >>> model = pagoda.create_model("fcos_resnet18_fpn", num_classes=3, base_channels=8, width=8, norm_groups=4)
    >>> steps = training_transform(model, DrawnShapes(2), AugmentSettings(photometric=0.5)).transforms
    >>> [type(step).__name__ for step in steps]
    ['Carry', 'JitteredResize', 'HorizontalFlip', 'PhotometricDistort']
    """
    spec = model.input_spec
    short, long = sorted(spec.canvas or (spec.short_side, spec.long_side))
    carry = what_to_carry(model)
    pairs = flip_pairs(carry, dataset.label_map, settings)
    light = lighten(dataset, model)
    steps: list[Transform] = [carry]
    if settings.iou_crop or settings.photometric:
        import torchvision.transforms.v2  # noqa: F401  # takes seconds: once, and not in each worker
    if settings.mosaic:
        steps.append(Mosaic(light, (short, long), settings.mosaic, prepare=carry))
    if settings.copy_paste:
        steps.append(_copy_paste(dataset, settings, carry, pairs))
    if settings.mixup:
        steps.append(Mixup(light, settings.mixup, prepare=carry))
    if settings.zoom_out:
        steps.append(ZoomOut(settings.zoom_out))
    if settings.iou_crop:
        steps.append(RandomIoUCrop(settings.iou_crop))
    if spec.canvas is None:
        steps.append(JitteredResize(short, long, *settings.scale_range))
    else:
        steps.append(ScaleJitter(spec.canvas, *settings.scale_range, stretch=spec.fit == "stretch"))
    steps += [HorizontalFlip(settings.horizontal_flip, pairs)] if settings.horizontal_flip else []
    steps += [VerticalFlip(settings.vertical_flip, pairs)] if settings.vertical_flip else []
    steps += [PhotometricDistort(settings.photometric)] if settings.photometric else []
    return Compose(steps)


def heaviest_changes(settings: AugmentSettings) -> AugmentSettings:
    """These random changes where they make the largest pictures with the most objects.

    >>> heaviest_changes(AugmentSettings(mosaic=0.5, scale_range=(0.5, 0.8))).scale_range  # nothing larger, or cropped
    (0.8, 0.8)
    """
    low, high = settings.scale_range
    whole = min(max(low, 1.0), high)
    adding = ("mosaic", "copy_paste", "mixup", "zoom_out", "photometric")
    certain = {name: 1.0 for name in adding if getattr(settings, name)}
    return replace(settings, scale_range=(whole, whole), iou_crop=0.0, **certain)


def check_pasting(dataset: AnnotatedDataset[AnyTargets], settings: AugmentSettings) -> None:
    """Raises ValueError before training where what is to be pasted is not in the data.

    >>> from pagoda.data.drawn.synthetic import DrawnShapes
    >>> check_pasting(DrawnShapes(4, seed=1), AugmentSettings(copy_paste=0.5, copy_paste_classes=("circel",)))
    Traceback (most recent call last):
    ValueError: nothing can be pasted of class 'circel', not one of 4 drawn pictures (seed 1); did you mean 'circle'?
    """
    if settings.copy_paste:
        _sources(dataset, settings)


def _sources(dataset: AnnotatedDataset[AnyTargets], settings: AugmentSettings) -> PasteSources:
    return PasteSources.of(
        dataset.annotations, classes=settings.copy_paste_classes, rare=settings.copy_paste_rare
    )


def _copy_paste(
    dataset: AnnotatedDataset[AnyTargets],
    settings: AugmentSettings,
    carry: Carry,
    pairs: Sequence[tuple[int, int]] | None,
) -> CopyPaste:
    """Mirrored as often and scaled as much as whole pictures are."""
    low, high = settings.scale_range
    return CopyPaste(
        dataset,
        _sources(dataset, settings),
        settings.copy_paste,
        max_count=settings.copy_paste_count,
        low=low,
        high=high,
        flip=settings.horizontal_flip,
        pairs=pairs,
        carry=carry,
    )
