"""What effdet's tensors do not tell of its pyramid and heads: read from a config inside the file, or from a name.

Attention's weights look like those of fast fusion, and activations and resampling have no tensors at all.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pagoda.necks.bifpn import Resampling
from pagoda.plain import JsonObject
from pagoda.weights.files import WeightsError

# effdet's configs on EfficientNets: of the quad pyramids the second resamples bilinearly, all others are alike.
PUBLISHED = re.compile(r"(?<![a-z0-9])(tf_)?efficientdet[_-](d[0-7]x?|lite[0-4]x?|q[0-2])b?(?![a-z0-9])")
BILINEAR = "q1"
ARCH = "the model's name"
# Words in a name that speak of another form, without saying exactly of which.
WORDS = re.compile(
    r"attn|attention|softmax|relu6?|swish|mish|gelu|avg|average|bilinear|nearest|pan_|_pan|sum(?![a-z])"
)
KEYS = ("fpn_name", "act_type", "head_act_type", "downsample_type", "upsample_type")
FUSIONS = {"fa": "fast", "attn": "softmax", "sum": "sum"}
TOPOLOGIES = {"bifpn": "bifpn", "pan": "panet", "qufpn": "qufpn"}
ACTIVATIONS = {"swish": "silu", "silu": "silu", "relu": "relu", "relu6": "relu6", "leaky_relu": "leaky_relu"}
DOWN = {"max": "max", "avg": "average", "bilinear": "bilinear"}
UP = {"nearest": "nearest", "bilinear": "bilinear"}
ALWAYS = {"separable_conv": True, "conv_bn_relu_pattern": False, "apply_resample_bn": True, "num_scales": 3}
HOW = (
    "say flavour='effdet' (pagoda convert --flavour effdet; 'google' for a tf_ model) for the usual form: fast"
    " attention, SiLU, max pooling, nearest neighbours; for another one, in Python:"
    " pagoda.load(path, flavour=replace(EFFICIENTDET_FLAVOURS['effdet'], resampling=Resampling(down='average')),"
    " options={'fusion': 'softmax', 'activation': 'relu6'})"
)


@dataclass(frozen=True)
class Form:
    """Fusion, activations and resampling in our words, as far as they differ from the variant's."""

    why: str
    """from what it was told, for the report; empty where a person said it"""
    options: JsonObject = field(default_factory=dict)
    """fusion, topology, activation and canvas, as options of models have them"""
    resampling: Resampling = field(default_factory=Resampling)
    """between the pyramid's levels"""
    head_activation: str | None = None
    """None: that of the pyramid"""
    conventions: JsonObject = field(default_factory=dict)
    """other fields of EfficientDetFlavour that a config says"""


def told_form(metadata: Mapping[str, object], path: Path, *, is_told: bool) -> Form:
    """The form by the file's config, or else, unless `is_told` by a person, by a name.

    Raises WeightsError for what we cannot build, and where nothing tells.
    """
    config = next(_configs(metadata), None)
    if config is not None:
        return form_of_config(config)
    if is_told:
        return Form("")
    for what, name in names(metadata, path):
        found = PUBLISHED.search(name)
        word = WORDS.search(PUBLISHED.sub("", name))
        if word is not None:
            raise WeightsError(
                f"{what} '{name}' speaks of {word[0]!r}, which the tensors do not confirm; {HOW}"
            )
        if found is not None:
            is_bilinear = found[2] == BILINEAR
            resampling = Resampling(down="bilinear", up="bilinear") if is_bilinear else Resampling()
            # Of D4 on all have the same tensors; the file's name may be anybody's, but "arch" is effdet's own word.
            padding = {"tensorflow": found[1] is not None} if what == ARCH else {}
            return Form(f"by {what} '{name}'", resampling=resampling, conventions=padding)
    raise WeightsError(
        f"it holds an EfficientDet of effdet, whose tensors do not tell how it fuses, activates and resamples,"
        f" and neither a config in the file nor a name does; {HOW}"
    )


def names(metadata: Mapping[str, object], path: Path) -> Iterator[tuple[str, str]]:
    """(what it is, the name in small letters): of the model in timm's checkpoints, and the file's."""
    model = metadata.get("arch")
    if isinstance(model, str):
        yield ARCH, model.lower()
    yield "the file's name", path.stem.lower()


def _configs(content: object, depth: int = 0) -> Iterator[Mapping[str, Any]]:
    """Dicts, within dicts, that read like effdet's config."""
    if not isinstance(content, Mapping) or depth > 3:
        return
    if sum(key in content for key in KEYS) >= 2 or ("fpn_channels" in content and "backbone_name" in content):
        yield content
    for value in content.values():
        yield from _configs(value, depth + 1)


def form_of_config(config: Mapping[str, Any]) -> Form:
    """The form that effdet's config describes. Raises WeightsError for values that no model of ours has."""
    for key, value in ALWAYS.items():
        if config.get(key, value) != value:
            raise WeightsError(f"its config says {key}={config[key]!r}, and only {value!r} is built")
    pyramid, _, fusion = (config.get("fpn_name") or "bifpn_fa").partition("_")
    words: JsonObject = {
        "topology": known("fpn_name", pyramid, TOPOLOGIES),
        "fusion": known("fpn_name", fusion or "fa", FUSIONS),
        "activation": known("act_type", config.get("act_type") or "swish", ACTIVATIONS),
    }
    down = known("downsample_type", config.get("downsample_type") or "max", DOWN)
    up = known("upsample_type", config.get("upsample_type") or "nearest", UP)
    head = config.get("head_act_type")
    more: JsonObject = {}
    if "pad_type" in config:
        more["padding"] = "same" if config["pad_type"] == "same" else "symmetric"
    if "backbone_name" in config:
        more["tensorflow"] = str(config["backbone_name"]).startswith("tf_")
    if "anchor_scale" in config:
        if not isinstance(config["anchor_scale"], int | float):
            raise WeightsError(
                f"its config has an anchor_scale per level ({config['anchor_scale']}), not built"
            )
        more["base_scale"] = float(config["anchor_scale"])
    if "aspect_ratios" in config:
        more["shapes"] = tuple(map(_shape_of, config["aspect_ratios"]))
        if len(more["shapes"]) != 3:
            raise WeightsError(
                f"its config has aspect_ratios {config['aspect_ratios']}, and only three are built"
            )
    if config.get("image_size"):
        words["canvas"] = tuple(map(int, config["image_size"]))
    return Form(
        "by the config in the file",
        words,
        Resampling(down=down, up=up),  # type: ignore[arg-type]
        None if head is None else known("head_act_type", head, ACTIVATIONS),
        more,
    )


def _shape_of(ratio: float | list[float] | tuple[float, ...]) -> tuple[float, float]:
    """(width, height) factors of an anchor; one number is the ratio of the two."""
    if isinstance(ratio, list | tuple):
        return (float(ratio[0]), float(ratio[1]))
    return (float(ratio) ** 0.5, float(ratio) ** -0.5)


def known(key: str, word: str, words: Mapping[str, str]) -> str:
    """Our word for theirs. Raises WeightsError for one that is not built."""
    if word not in words:
        raise WeightsError(f"its config says {key} {word!r}, which is not built; known: {', '.join(words)}")
    return words[word]
