"""How mmdetection's checkpoints read pixels: told by the config inside, or by the names it gives its ResNeXt."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import replace

from pagoda.preprocess import InputSpec
from pagoda.zoo.flavours.base import IMAGENET_STD_RGB

MEAN_RGB = (123.675, 116.28, 103.53)
RGB = InputSpec()
BGR = InputSpec(channel_order="BGR", scale=1.0, mean=MEAN_RGB, std=IMAGENET_STD_RGB)
"""of Facebook's ResNeXt-101-32x8d: blue first, divided by ImageNet's deviations"""
NAMED = {"32x8d": BGR, "64x4d": RGB}
BODY = re.compile(r"x(?:t)?101[_-](32x8d|64x4d)")
# In the text of a config: the preprocessor since version 3, the pipeline's normalisation before.
NORMALISES = re.compile(
    r"(?:data_preprocessor|img_norm_cfg)['\"]?\s*[=:]\s*(?:dict\(|\{)(.*?)[)}]|type=['\"]Normalize['\"],(.*?)\)",
    re.DOTALL,
)
NUMBERS = r"['\"]?\b{}['\"]?\s*[=:]\s*[\[(]([^\])]*)[\])]"
TURNS = re.compile(r"\b(?:bgr_to_rgb|to_rgb)['\"]?\s*[=:]\s*(True|False|true|false)")


def recorded_pixels(metadata: Mapping[str, object], spec: InputSpec) -> InputSpec | None:
    """`spec` with the statistics in the config that mmdetection writes into `meta`; None where it has none."""
    meta = metadata.get("meta")
    for key in ("config", "cfg"):
        config = meta.get(key) if isinstance(meta, Mapping) else None
        if isinstance(config, str):
            found = _in_text(config)
        else:
            found = next(_in_dict(config), None)
        if found is not None:
            mean, std, is_rgb = found
            step = 1 if is_rgb else -1
            order = "RGB" if is_rgb else "BGR"
            recorded = replace(spec, channel_order=order, scale=1.0, mean=mean[::step], std=std[::step])
            return spec if _is_alike(spec, recorded) else recorded
    return None


def _is_alike(one: InputSpec, other: InputSpec) -> bool:
    """Whether both make the same numbers of pixels, but for the last digits."""
    statistics = [[value * spec.scale for value in (*spec.mean, *spec.std)] for spec in (one, other)]
    near = all(abs(a - b) < 1e-3 for a, b in zip(*statistics, strict=False))
    return one.channel_order == other.channel_order and len(one.mean) == len(other.mean) and near


def _in_text(config: str) -> tuple[tuple[float, ...], tuple[float, ...], bool] | None:
    for match in NORMALISES.finditer(config):
        text = match[1] or match[2] or ""
        mean, std = (re.search(NUMBERS.format(name), text) for name in ("mean", "std"))
        turns = TURNS.search(text)
        if mean and std:
            # The preprocessor turns pixels only when told to, the older normalisation unless told not to.
            is_rgb = turns[1] in ("True", "true") if turns else "data_preprocessor" not in match[0]
            return _numbers(mean[1]), _numbers(std[1]), is_rgb
    return None


def _numbers(text: str) -> tuple[float, ...]:
    return tuple(float(word) for word in text.replace(",", " ").split())


def _in_dict(content: object, depth: int = 0) -> Iterator[tuple[tuple[float, ...], tuple[float, ...], bool]]:
    """Of a config that was kept as dicts."""
    if isinstance(content, Mapping) and depth < 6:
        turns = content.get("bgr_to_rgb", content.get("to_rgb"))
        if isinstance(turns, bool) and "mean" in content and "std" in content:
            yield tuple(map(float, content["mean"])), tuple(map(float, content["std"])), turns
        for value in content.values():
            yield from _in_dict(value, depth + 1)
    elif isinstance(content, list | tuple) and depth < 6:
        for value in content:
            yield from _in_dict(value, depth + 1)


def named_pixels(file: str) -> InputSpec | None:
    """Of the published models on ResNeXt-101, by the name that a file keeps; None for others.

    >>> named_pixels("faster_rcnn_x101_32x8d_fpn_mstrain_3x_coco.pth").channel_order
    'BGR'
    """
    found = BODY.search(file.lower())
    return None if found is None else NAMED[found[1]]


def is_open(detector: str | None, backbone: str) -> bool:
    """Whether neither tensors nor habit tell the order of the pixels: 32x8d came with BGR, 64x4d with either.

    >>> is_open("retinanet", "resnext101_32x8d"), is_open("retinanet", "resnet50")
    (True, False)
    """
    if detector == "fcos":
        return backbone.startswith("resnext")
    return backbone in ("resnext101_32x8d", "resnext101_64x4d")
