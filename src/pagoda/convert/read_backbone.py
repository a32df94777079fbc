"""Backbones out of other programs' checkpoints: ImageNet files, and detectors of which only the body is wanted."""

import re
from dataclasses import replace
from itertools import chain
from pathlib import Path

from torch import nn

from pagoda.backbones.darknet import DarknetTrunk
from pagoda.backbones.resnet_blocks import Residual
from pagoda.backbones.timm import SameConv2d
from pagoda.backbones.vgg import reduce_classifier
from pagoda.convert.assign import check_told, fill_model
from pagoda.convert.read_darknet import fill_trunk, is_darknet
from pagoda.convert.recognise import ForeignCheckpoint, open_foreign
from pagoda.convert.report import ConversionReport, say_choice
from pagoda.convert.tensor_slices import Place
from pagoda.files.text import with_home
from pagoda.layers.deform import DeformConv2d
from pagoda.layers.inflate import Inflation, inflate_state
from pagoda.plain import checked
from pagoda.weights.shards import file_in, refuse_shard
from pagoda.zoo.backbones import BackboneChoices, build_backbone, is_resnet
from pagoda.zoo.options import check_known

KNOWN_CHOICES = tuple(BackboneChoices.__dataclass_fields__)


def load_backbone(path: str | Path, *, take: str | None = None, **choices: object) -> nn.Module:
    """The backbone in a file of any known program (a detector's, too), with its weights, in evaluation mode.

    `take` says which weights where the file holds several (see `convert.read.convert`).

    `choices` are fields of `BackboneChoices` that weights cannot tell: style, dilations, frozen_stages …

    >>> from tempfile import TemporaryDirectory
    >>> import torch
    >>> body = build_backbone("resnet18", BackboneChoices(levels=(2,), num_stages=1))
    >>> with TemporaryDirectory() as folder:
    ...     torch.save(body.state_dict(), Path(folder, "r18.pth"))
    ...     load_backbone(Path(folder, "r18.pth"), norm="frozen").channels
    {2: 64}
    """
    path = with_home(path)
    path = file_in(path) if path.is_dir() else path
    refuse_shard(path)
    checkpoint = open_foreign(path, take=take)
    told = {name: value for name, value in checkpoint.architecture.options.items() if name in KNOWN_CHOICES}
    stages = _stages_of(checkpoint)
    if stages < 4:  # nothing above them is built, and no level above them given
        told |= {"num_stages": stages, "levels": tuple(range(min(3, stages + 1), stages + 2))}
    for name in choices:
        check_known("backbone choice", name, KNOWN_CHOICES)
    check_told(checkpoint, choices)
    backbone = build_backbone(checkpoint.architecture.backbone, BackboneChoices(**{**told, **choices}))
    say_choice(_fill_from(checkpoint, backbone), take)
    return backbone.eval()


def _stages_of(checkpoint: ForeignCheckpoint) -> int:
    """How many of a ResNet's stages the file has; 4 for other backbones, which are never cut."""
    stages = {
        found[1]
        for name in checkpoint.renamed.taken.values()
        if (found := re.match(r"backbone\.layer(\d)\.", name))
    }
    return len(stages) if is_resnet(checkpoint.architecture.backbone) else 4


@checked
def fill_backbone(
    backbone: nn.Module, path: str | Path, *, inflation: Inflation = "center", take: str | None = None
) -> ConversionReport:
    """Fill a backbone that is built already; neck, heads, classifier and stages it has not are left out.

    Kernels of pictures get a time axis where the backbone is one of clips.

    Offsets of deformable convolutions and plugins keep their initial values where the file has none at all, as
    plain ImageNet files have; the report lists them as missing. A `.weights` file of darknet fills as many of the first
    layers of a trunk of darknet's as it holds. Anything else that does not fit raises.
    """
    if isinstance(backbone, DarknetTrunk) and is_darknet(path):
        return fill_trunk(backbone, Path(path))
    return _fill_from(open_foreign(path, take=take), backbone, inflation)


@checked
def _fill_from(
    checkpoint: ForeignCheckpoint, backbone: nn.Module, inflation: Inflation = "center"
) -> ConversionReport:
    """`fill_backbone` from a file that has been read."""
    places = {
        source: Place(canonical.removeprefix("backbone."))
        for source, canonical in checkpoint.renamed.taken.items()
        if canonical.startswith("backbone.")
    }
    kernels = {place.name: checkpoint.tensors[source] for source, place in places.items()}
    kernels = reduce_classifier(kernels, backbone.state_dict())
    deep = inflate_state(kernels, backbone.state_dict(), inflation)
    tensors = {**checkpoint.tensors, **{source: deep[place.name] for source, place in places.items()}}
    checkpoint = replace(checkpoint, tensors=tensors)
    filled = {place.name for place in places.values()}
    fresh = [name for kind in _added_to_blocks(backbone) if not kind & filled for name in kind]
    report = fill_model(backbone, checkpoint, places, allow_missing=False, fresh=fresh)
    report.differs = _differs(checkpoint.architecture.backbone, backbone)
    return report


def _differs(learnt: str, backbone: nn.Module) -> str:
    """What an EfficientNet of TensorFlow's computes otherwise in a network that pads evenly; else nothing.

    >>> from pagoda.backbones.timm import TimmBackbone
    >>> _differs("timm:tf_efficientnet_b0", TimmBackbone("efficientnet_b0"))[:58]
    'they have learnt with SAME padding and 0.001 in the norms,'
    """
    if not learnt.startswith("timm:tf_") or any(isinstance(m, SameConv2d) for m in backbone.modules()):
        return ""
    return (
        "they have learnt with SAME padding and 0.001 in the norms, which this network has not, so that it sees"
        " something else in them; EfficientDet has both in the flavour google (efficientdet_d0.google), other detectors"
        f" with the backbone {learnt}"
    )


def _added_to_blocks(backbone: nn.Module) -> tuple[set[str], set[str]]:
    """What plain ImageNet files do not know: (tensors of offsets, tensors of plugins)."""
    offsets, plugins = set(), set()
    for at, module in backbone.named_modules():
        if isinstance(module, DeformConv2d):
            offsets |= {f"{at}.offset.weight", f"{at}.offset.bias"}
        elif isinstance(module, Residual):
            for name in chain.from_iterable(module.plugins.values()):
                plugins |= {f"{at}.{name}.{tensor}" for tensor in getattr(module, name).state_dict()}
    return offsets, plugins
