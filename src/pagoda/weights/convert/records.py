"""What a checkpoint says about itself besides its weights: classes, style of the body, statistics of the pixels."""

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from torch import Tensor

from pagoda.preprocess import InputSpec

STYLE = re.compile(r"\bstyle['\"]?\s*[=:]\s*['\"](caffe|pytorch)['\"]")
# ImageNet's deviations: those of Facebook's own ResNeXt-101-32x8d, which read BGR from 0 to 255.
IMAGENET_STD_RGB = (58.395, 57.12, 57.375)


def recorded_classes(metadata: Mapping[str, Any]) -> tuple[str, ...] | None:
    """The names that mmdetection writes into `meta` (CLASSES; since version 3 under dataset_meta)."""
    meta = metadata.get("meta")
    if not isinstance(meta, dict):
        return None
    nested = meta.get("dataset_meta")
    for place in (nested if isinstance(nested, dict) else {}, meta):
        names = place.get("classes") or place.get("CLASSES")
        if isinstance(names, list | tuple) and names and all(isinstance(name, str) for name in names):
            return tuple(names)
    return None


def recorded_style(metadata: Mapping[str, Any]) -> str | None:
    """ "caffe" or "pytorch", from the text of the config that mmdetection writes into `meta`."""
    meta = metadata.get("meta")
    texts = [meta.get("config"), meta.get("cfg")] if isinstance(meta, dict) else []
    found = [match for text in texts if isinstance(text, str) for match in STYLE.findall(text)]
    return found[0] if found else None


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
    if backbone == "resnext101_32x8d":
        return replace(
            spec, std=IMAGENET_STD_RGB
        ), "pixels divided by ImageNet's deviations, as for this body"
    return spec, ""
