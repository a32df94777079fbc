"""What a checkpoint says about itself besides its weights: classes, style of the body, statistics of the pixels."""

import re
from collections.abc import Mapping
from dataclasses import replace

from torch import Tensor

from pagoda.ops.box_coding import Weights
from pagoda.preprocess import InputSpec
from pagoda.weights.files import WeightsError
from pagoda.zoo.flavours.base import pixels_of_body

STYLE = re.compile(r"\bstyle['\"]?\s*[=:]\s*['\"](caffe|pytorch)['\"]")
# Detectron's config, as YAML writes a tuple: in brackets, or one number to a line.
BOX_WEIGHTS = re.compile(r"\bBBOX_REG_WEIGHTS:[^\n\[]*(?:\[([^\]]*)\]|((?:\n[ \t]*-[^\n]*)+))?")
CLIP_OPTIONS = {
    "num_frames": re.compile(r"\bNUM_FRAMES:[ \t]*(\d+)"),
    "frame_interval": re.compile(r"\bTIME_INTERVAL:[ \t]*(\d+)"),
}
TIME_STRIDE = re.compile(r"\bTIME_STRIDE_ON:[ \t]*[Tt]rue\b")


def recorded_classes(metadata: Mapping[str, object]) -> tuple[str, ...] | None:
    """The names that mmdetection writes into `meta` (CLASSES; since version 3 under dataset_meta).

    >>> recorded_classes({"meta": {"CLASSES": ("cat", "dog")}})
    ('cat', 'dog')
    """
    meta = metadata.get("meta")
    if not isinstance(meta, dict):
        return None
    nested = meta.get("dataset_meta")
    for place in (nested if isinstance(nested, dict) else {}, meta):
        names = place.get("classes") or place.get("CLASSES")
        if isinstance(names, list | tuple) and names and all(isinstance(name, str) for name in names):
            return tuple(names)
    return None


def recorded_style(metadata: Mapping[str, object]) -> str | None:
    """ "caffe" or "pytorch", from the text of the config that mmdetection writes into `meta`.

    >>> recorded_style({"meta": {"config": "backbone=dict(type='ResNet', style='caffe')"}})
    'caffe'
    """
    found = [match for text in configs_in_meta(metadata) for match in STYLE.findall(text)]
    return found[0] if found else None


def configs_in_meta(metadata: Mapping[str, object]) -> list[str]:
    """The texts of mmdetection's configs; those that were kept as dicts, as Python writes them."""
    meta = metadata.get("meta")
    kept = [meta.get("config"), meta.get("cfg")] if isinstance(meta, dict) else []
    return [config if isinstance(config, str) else repr(config) for config in kept if config]


def recorded_input(tensors: Mapping[str, Tensor], backbone: str, spec: InputSpec) -> tuple[InputSpec, str]:
    """(`spec` with the pixel statistics that a model of detectron2 or AdelaiDet was trained with, why).

    Older files hold them as tensors, in the order of the channels that the network reads (BGR begins with the
    smaller mean). Newer ones do not; their ResNeXt-101-32x8d is known to differ from the other bodies.
    """
    if "pixel_mean" in tensors and "pixel_std" in tensors:
        mean, std = (tuple(tensors[name].flatten().tolist()) for name in ("pixel_mean", "pixel_std"))
        is_bgr = mean[0] < mean[-1]
        step = -1 if is_bgr else 1
        order = "BGR" if is_bgr else "RGB"
        recorded = replace(spec, channel_order=order, scale=1.0, mean=mean[::step], std=std[::step])
        return recorded, f"{order} pixels, mean and deviation as the file says"
    of_body = pixels_of_body(backbone, spec)
    return of_body, "" if of_body == spec else "pixels divided by ImageNet's deviations, as for this body"


def recorded_box_weights(metadata: Mapping[str, object]) -> Weights | None:
    """MODEL.BBOX_REG_WEIGHTS of a Detectron file; None where it holds no config.

    The config is text and is searched, never loaded as YAML. Models older than this key had no such weights: 1.

    Raises WeightsError where it gives other than four numbers.

    >>> recorded_box_weights({"cfg": "MODEL:\\n  BBOX_REG_WEIGHTS: [10.0, 10.0, 5.0, 5.0]\\n"})
    (10.0, 10.0, 5.0, 5.0)
    """
    config = metadata.get("cfg")
    if not isinstance(config, str):
        return None
    found = BOX_WEIGHTS.search(config)
    if found is None:
        return (1.0, 1.0, 1.0, 1.0)
    numbers = re.findall(r"\d+(?:\.\d*)?(?:[eE][-+]?\d+)?", found[1] or found[2] or "")
    if len(numbers) != 4:
        raise WeightsError(
            f"its config should give four numbers as BBOX_REG_WEIGHTS, but says {found[0]!r}; hand over the"
            " conventions as an object: flavour=DetectAndTrackFlavour(…)"
        )
    x, y, width, height = map(float, numbers)
    return (x, y, width, height)


def recorded_clips(metadata: Mapping[str, object]) -> dict[str, int]:
    """num_frames, frame_interval and time_stride, as far as the text of a Detect-and-Track file's config gives them.

    >>> recorded_clips({"cfg": "VIDEO:\\n  NUM_FRAMES: 3\\n  TIME_INTERVAL: 2\\n"})
    {'num_frames': 3, 'frame_interval': 2}
    """
    config = metadata.get("cfg")
    if not isinstance(config, str):
        return {}
    found = {name: pattern.search(config) for name, pattern in CLIP_OPTIONS.items()}
    told = {name: int(match[1]) for name, match in found.items() if match is not None}
    return told | ({"time_stride": True} if TIME_STRIDE.search(config) else {})
