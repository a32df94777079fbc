"""The backbone of a detector, as its flavour has it unless the options say otherwise."""

from dataclasses import replace

from torch import nn

from pagoda.zoo.backbones import BackboneChoices, build_backbone, is_resnet
from pagoda.zoo.flavours import BodyFlavour
from pagoda.zoo.options import ModelOptions, given


def build_body(
    backbone: str,
    options: ModelOptions,
    flavour: BodyFlavour,
    levels: tuple[int, ...],
    *,
    dilated: bool = False,
) -> nn.Module:
    """Over these levels; `dilated`: the last stage keeps the stride of the one before."""
    if not is_resnet(backbone):
        flavour = replace(flavour, norm="batch", eps=1e-5, frozen_stages=0)
    norm = options.norm or flavour.norm
    return build_backbone(
        backbone,
        BackboneChoices(
            levels=levels,
            norm=norm,
            eps=flavour.eps if norm == flavour.norm else BodyFlavour.eps,
            norm_eval=flavour.norm_eval,
            style=flavour.style,
            pooling=flavour.pooling,
            frozen_stages=given(options.frozen_stages, flavour.frozen_stages),
            deform=options.deform,
            deform_levels=options.deform_levels,
            deform_groups=options.deform_groups,
            deform_fallback=options.deform_fallback,
            plugins=options.plugins,
            standardized=options.standardized,
            strides=(1, 2, 2, 1) if dilated else (1, 2, 2, 2),
            dilations=(1, 1, 1, 2) if dilated else (1, 1, 1, 1),
        ),
    )
