"""What mmdetection's tensors do not tell of an FPN's norms and activations: in the config that it keeps in `meta`."""

import re
from collections.abc import Mapping

from pagoda.convert.architecture.recorded_config import configs_in_meta
from pagoda.plain import JsonObject
from pagoda.weights.files import WeightsError

NECK = re.compile(r"\bneck['\"]?\s*[=:]\s*\[?\s*(?:dict\(|\{)")
ACTIVATION = re.compile(
    r"\bact_cfg['\"]?\s*[=:]\s*(?:None|(?:dict\(|\{)\s*['\"]?type['\"]?\s*[=:]\s*['\"](\w+))"
)
GROUPS = re.compile(r"\bnum_groups['\"]?\s*[=:]\s*(\d+)")
OPENING, CLOSING = "([{", ")]}"


def with_recorded_neck(options: Mapping[str, object], metadata: Mapping[str, object]) -> JsonObject:
    """`options`, which the tensors tell, with `neck_relu` and `norm_groups` as a config in the file says.

    Where there is none, `neck_relu` is not among them. Raises WeightsError for what no model of ours has.
    """
    text = next((neck for config in configs_in_meta(metadata) if (neck := _neck_in(config))), None)
    if text is None:
        return dict(options)
    told: JsonObject = {**options, **_groups_in(text, options)}
    activation = ACTIVATION.search(text)
    kind = None if activation is None else activation[1]
    if kind not in (None, "ReLU"):
        raise WeightsError(f"the neck in its config has the activation {kind}, and only ReLU is built there")
    told["neck_relu"] = kind == "ReLU"
    if kind == "ReLU":  # behind the convolutions of the extra levels, too
        told["neck_norm_on"] = (*told.get("neck_norm_on", ("lateral", "output")), "extra")
    return told


def _neck_in(config: str) -> str | None:
    """The text between the brackets of a config's neck."""
    found = NECK.search(config)
    if found is None:
        return None
    depth = 1
    for index, letter in enumerate(config[found.end() :]):
        depth += (letter in OPENING) - (letter in CLOSING)
        if depth == 0:
            return config[found.end() : found.end() + index]
    return None


def _groups_in(text: str, options: Mapping[str, object]) -> dict[str, int]:
    """`norm_groups` where it is not the usual number."""
    found = GROUPS.search(text)
    if found is None or int(found[1]) == 32 or options.get("neck_norm") != "group":
        return {}
    others = [name for name in ("norm", "head_norm") if options.get(name) == "group"]
    if others:
        raise WeightsError(
            f"the neck in its config has {found[1]} groups to a norm, and there are group norms elsewhere"
            f" ({', '.join(others)}); models of ours have one number for all"
        )
    return {"norm_groups": int(found[1])}
