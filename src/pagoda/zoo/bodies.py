"""The backbone of a detector, as its flavour has it unless the options say otherwise."""

from dataclasses import replace

from torch import nn

from pagoda.zoo.backbones import BackboneChoices, build_backbone, is_resnet
from pagoda.zoo.flavours import BodyFlavour
from pagoda.zoo.options import ModelOptions, given


def body_levels(options: ModelOptions, usual: tuple[int, ...]) -> tuple[int, ...]:
    """Which levels of the backbone the neck reads: those asked for, or the usual ones as far as there are stages."""
    if options.levels is not None:
        return tuple(sorted(options.levels))
    highest = given(options.num_stages, 4) + 1
    return tuple(level for level in usual if level <= highest) or (highest,)


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
            style="pytorch" if backbone.startswith("resnext") else flavour.style,
            pooling=flavour.pooling,
            frozen_stages=given(options.frozen_stages, flavour.frozen_stages),
            deform=options.deform,
            deform_levels=options.deform_levels,
            deform_groups=options.deform_groups,
            deform_fallback=options.deform_fallback,
            deform_fallback_on=options.deform_fallback_on,
            deform_blocks=options.deform_blocks,
            in_channels=given(options.in_channels, 3),
            stem_channels=options.stem_channels,
            base_channels=given(options.base_channels, 64),
            avg_down=options.avg_down is True,
            norm_groups=given(options.norm_groups, 32),
            num_stages=given(options.num_stages, 4),
            plugins=options.plugins,
            standardized=options.standardized,
            strides=(1, 2, 2, 1) if dilated else (1, 2, 2, 2),
            dilations=(1, 1, 1, 2) if dilated else (1, 1, 1, 1),
        ),
    )
