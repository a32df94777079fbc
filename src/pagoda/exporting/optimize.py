"""A copy of a detector for quick inference on the machine at hand: norms folded, memory laid out, fewer bits."""

from collections import defaultdict
from copy import deepcopy
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_weights

from pagoda.backbones.resnet import ResNet
from pagoda.detectors.contract import Detector
from pagoda.layers.darknet import DarknetBatchNorm2d
from pagoda.layers.memory_format import CHANNELS_LAST, order_weights
from pagoda.layers.norm import FrozenBatchNorm2d
from pagoda.structures.images import ImageBatch

# Exact types: a subclass may do more than normalise.
FOLDABLE = (nn.BatchNorm2d, nn.BatchNorm3d, FrozenBatchNorm2d, DarknetBatchNorm2d)
# timm's batch norm with the activation inside; by name, since timm need not be there.
WITH_ACTIVATION = ("timm.layers.norm_act", "BatchNormAct2d")

REFUSED = (ValueError, RuntimeError)
"""by layers that cannot look at a picture so small or large"""


def optimize(
    model: Detector,
    *,
    dtype: torch.dtype = torch.float32,
    channels_last: bool = True,
    compile: bool = False,
) -> Detector:
    """A copy of `model` in evaluation mode with the same verbs; it can no longer be trained or saved.

    Batch norms become part of the convolutions before them (group norms cannot), and on processors a ResNet takes a
    batch through its largest maps picture by picture, which its caches hold. With bfloat16 the network
    computes in half precision, while box geometry, decoding and scores stay float32; it pays on processors
    and GPUs with bfloat16 arithmetic. `compile` runs the network through torch.compile, which takes up to
    minutes at the first picture and again when the size of pictures changes.

    Raises ValueError for another `dtype` than float32, bfloat16 and float16, and for the latter two of a model without
    a part called `backbone`.

    >>> from pagoda.models import create_model
    >>> small = {"levels": (2,), "num_stages": 1, "top_level": 3, "width": 32, "head_depth": 1}
    >>> model = create_model("fcos_resnet18_fpn", num_classes=2, **small)
    >>> names = [name for name, layer in optimize(model).named_modules() if isinstance(layer, nn.BatchNorm2d)]
    >>> names, type(model.backbone.bn1).__name__
    ([], 'BatchNorm2d')
    """
    if dtype not in (torch.float32, torch.bfloat16, torch.float16):
        raise ValueError(f"dtype must be torch.float32, torch.bfloat16 or torch.float16, got {dtype}")
    copy = quicken(deepcopy(model), dtype=dtype, channels_last=channels_last)
    if compile:
        copy.compile()
    return copy


def quicken(model: Detector, *, dtype: torch.dtype = torch.float32, channels_last: bool = True) -> Detector:
    """What `optimize` does, to the model itself: no copy is held, and the model is returned."""
    backbone = getattr(model, "backbone", None)
    if backbone is None and dtype != torch.float32:
        raise ValueError(
            f"{type(model).__name__} has no part called backbone, in front of which pixels become {dtype}"
        )
    model = model.eval().requires_grad_(False)
    fold_norms(model)
    model.computes_in = dtype
    model.origin = None  # the zoo cannot rebuild it: its tensors have other names and values
    # The detector's own tensors, and those of parts without weights, are geometry (anchors, scales), which half
    # precision would displace.
    for part in model.children():
        if next(part.parameters(), None) is not None:
            order_weights(part.to(dtype=dtype), channels_last=channels_last)
    # Networks over clips are entered frame by frame, and see to it themselves (`ResNet3D.frame_features`).
    if backbone is not None:
        backbone.register_forward_pre_hook(CastInput(dtype, channels_last))
    if isinstance(backbone, ResNet):
        backbone.spares_caches = True
    return model


@dataclass(frozen=True)
class CastInput:
    """Forward pre-hook: pixels in the backbone's precision and layout."""

    dtype: torch.dtype
    """of the backbone's weights"""
    channels_last: bool
    """the layout in which its convolutions are quickest; else contiguous"""

    def __call__(self, module: nn.Module, inputs: tuple[Tensor]) -> tuple[Tensor]:
        (pixels,) = inputs
        layout = CHANNELS_LAST[pixels.ndim] if self.channels_last else torch.contiguous_format
        return (pixels.to(dtype=self.dtype, memory_format=layout),)


def fold_norms(model: Detector) -> int:
    """Fold each batch norm into the one convolution that feeds it, in place; returns how many.

    Which feeds which is seen in a run on a small picture: a convolution shared by several norms, or a norm
    after several convolutions, stays as it is.
    """
    names = {module: name for name, module in model.named_modules()}
    pairs = conv_norm_pairs(model)
    for conv, norm in pairs:
        variance, eps = norm.running_var, norm.eps
        if isinstance(norm, DarknetBatchNorm2d):
            variance, eps = norm.plain_variance(), 0.0
        weight, bias = fuse_conv_bn_weights(
            conv.weight, conv.bias, norm.running_mean, variance, eps, norm.weight, norm.bias
        )
        conv.weight, conv.bias = weight.requires_grad_(False), bias.requires_grad_(False)
        model.set_submodule(names[norm], _after_folding(norm))
    return len(pairs)


def _is_foldable(module: nn.Module) -> bool:
    """Whether it is a batch norm with statistics, and at most an activation besides."""
    kind = type(module)
    known = kind in FOLDABLE or (kind.__module__, kind.__name__) == WITH_ACTIVATION
    return known and getattr(module, "running_mean", None) is not None


def _after_folding(norm: nn.Module) -> nn.Module:
    """What a norm still does when its affine map has gone into the convolution; in evaluation mode as all the rest."""
    return nn.Identity().eval() if type(norm) in FOLDABLE else norm.get_submodule("act")


def conv_norm_pairs(model: Detector) -> list[tuple[nn.Conv2d | nn.Conv3d, nn.Module]]:
    """(convolution, norm) where the norm reads the convolution and nothing else, and always this one; none of a model
    that looks neither at 64 × 64 nor at 512 × 512 pixels."""
    made_by: dict[int, tuple[nn.Module, Tensor]] = {}
    readers: dict[nn.Module, set[nn.Module]] = defaultdict(set)
    sources: dict[nn.Module, set[nn.Module | None]] = defaultdict(set)

    def watch(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        conv, _ = made_by.get(id(inputs[0]), (None, None))
        sources[module].add(conv)
        if conv is not None:
            readers[conv].add(module)
        if isinstance(module, nn.Conv2d | nn.Conv3d):
            made_by[id(output)] = (module, output)  # held, so that no later tensor gets its id

    leaves = [module for module in model.modules() if _is_foldable(module) or not list(module.children())]
    hooks = [leaf.register_forward_hook(watch) for leaf in leaves]
    try:
        _look_at_nothing(model, 64)
    except REFUSED:  # group norms do maps of one cell, convolutions those smaller than they are
        for seen in (made_by, readers, sources):
            seen.clear()
        try:
            _look_at_nothing(model, 512)
        except REFUSED:  # somebody's own network of another size
            return []
    finally:
        for hook in hooks:
            hook.remove()
    pairs = []
    for norm, convs in sources.items():
        (conv, *others) = convs
        alone = not others and conv is not None and readers[conv] == {norm}
        if alone and _is_foldable(norm):
            pairs.append((conv, norm))
    return pairs


def _look_at_nothing(model: Detector, side: int) -> None:
    """One run over a black picture of side × side."""
    device = next(model.parameters()).device
    pixels = torch.zeros(1, model.input_spec.channels, side, side, device=device)
    with torch.no_grad():
        model(ImageBatch(pixels, torch.tensor([[side, side]], device=device)))
