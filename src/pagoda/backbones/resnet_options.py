"""What a ResNet can be made of, besides depth, width and norm. Plain data: `asdict` of it survives JSON.

Levels are those of the pyramid: layer1 makes level 2, layer4 level 5.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from inspect import signature
from typing import Any, Literal, Self

from torch import nn

from pagoda.layers.attention import ContextBlock, NonLocal2d
from pagoda.layers.deform import OffsetInit
from pagoda.layers.generalized_attention import GeneralizedAttention
from pagoda.messages import nearest
from pagoda.plain import checked

Fallback = Literal["stride", "first"]
"""which blocks keep the plain 3×3: those in which it strides, as MMDetection's fallback_on_stride is meant; or the
first deformable block that is built, whatever its stride, as MMDetection does it: its option is taken out of a
dictionary that all blocks share (of ResNeXt none, since there the plain network's constructor has taken it)"""
Position = Literal["after_conv1", "after_conv2", "after_conv3"]
ALL_LEVELS = (2, 3, 4, 5)
PLUGINS: dict[str, Callable[..., nn.Module]] = {
    "context_block": ContextBlock,
    "nonlocal_block": NonLocal2d,
    "gen_attention_block": GeneralizedAttention,
}


@checked
@dataclass(frozen=True, kw_only=True)
class Stem:
    """The convolutions and the pooling in front of layer1; together they have stride 4.

    >>> Stem(pooling="cell")
    Traceback (most recent call last):
    ValueError: Stem: pooling must be one of 'padded', 'ceil', got 'cell'; did you mean 'ceil'?
    """

    in_channels: int = 3
    """of the picture"""
    channels: int | None = None
    """that layer1 receives; None for the body's base_channels"""
    deep: bool = False
    """three 3×3 (half, half, all channels) for the 7×7: ResNet-C and -D"""
    pooling: Literal["padded", "ceil"] = "padded"
    """max over 3×3, stride 2: with one pixel of padding, or none and the last window cut off at the border,
    which moves features by a pixel and makes one cell less of an odd side (bubbliiiing's RetinaNet)"""


@checked
@dataclass(frozen=True, kw_only=True)
class Deform:
    """Deformable 3×3 convolutions in the bottlenecks of some levels.

    >>> deform = Deform(levels=(4, 5))
    >>> deform.concerns(3), deform.concerns(4)
    (False, True)
    """

    levels: tuple[int, ...] = (3, 4, 5)
    """which of 2 … 5 have them"""
    modulated: bool = True
    """version 2: taps are weighted, too"""
    deform_groups: int = 1
    """parts of the channels with displacements of their own; it divides the channels"""
    fallback_on_stride: bool = False
    """some blocks keep the plain convolution; which, `fallback` says"""
    fallback: Fallback = "stride"
    """which blocks; counts only with `fallback_on_stride`"""
    blocks: tuple[tuple[bool, ...], ...] | None = None
    """block by block instead: for each stage from layer1 on, which of its blocks are deformable; `levels` and the
    fallback do not count then"""
    offset_init: OffsetInit = "zero"
    """see DeformConv2d"""

    def __post_init__(self) -> None:
        object.__setattr__(self, "levels", _checked_levels("Deform", self.levels))
        if self.blocks is not None:
            object.__setattr__(self, "blocks", tuple(tuple(map(bool, stage)) for stage in self.blocks))

    def concerns(self, level: int) -> bool:
        """Whether any block of this level is deformable."""
        if self.blocks is None:
            return level in self.levels
        return level - 2 < len(self.blocks) and any(self.blocks[level - 2])

    def is_plain(self, level: int, index: int, *, grouped: bool) -> bool:
        """Whether this block of a level that it concerns keeps the plain convolution, but for those that stride."""
        if self.blocks is not None:
            return not self.blocks[level - 2][index]
        is_first = (level, index) == (min(self.levels), 0)
        return self.fallback_on_stride and self.fallback == "first" and is_first and not grouped


@checked
@dataclass(frozen=True, kw_only=True)
class Ghost:
    """Ghost modules for all convolutions behind the stem; they bring batch norms and ReLUs of their own.

    >>> Body(ghost=Ghost(ratio=4), standardized=True)
    Traceback (most recent call last):
    ValueError: convolutions are made one way; choose one of standardized, ghost
    """

    ratio: int = 2
    """maps per convolved map; 1 is the ordinary network under other names"""
    cheap_kernel: int = 3
    """side of the depthwise kernels that derive the other maps, odd"""
    shortcut: bool = True
    """for the projections of shortcuts, too"""


@checked
@dataclass(frozen=True, kw_only=True)
class Plugin:
    """A module C → C inside every bottleneck of some levels; several at one position run in their order.

    Raises ValueError for an unknown module or option, with the nearest, and for a function without a name.

    >>> plugin = Plugin(module="context_block", options={"ratio": 0.25}, levels=(3, 4))
    >>> plugin.attribute, plugin.build(16).channel_add_conv[0].out_channels
    ('context_block', 4)
    """

    module: str | Callable[[int], nn.Module]
    """"context_block", "nonlocal_block", "gen_attention_block", or a function of the channels"""
    options: Mapping[str, bool | int | float | str] = field(default_factory=dict)
    """keywords for a module given by name"""
    levels: tuple[int, ...] = ALL_LEVELS
    """whose bottlenecks have it"""
    position: Position = "after_conv3"
    """behind norm and ReLU; behind the third convolution there is no ReLU, and the shortcut comes later"""
    name: str | None = None
    """the attribute of the block, and so the name of its weights; None for `module`"""

    def __post_init__(self) -> None:
        object.__setattr__(self, "levels", _checked_levels("Plugin", self.levels))
        if isinstance(self.module, str):
            self._check_words(self.module)
        elif self.options or not self.name:
            raise ValueError("a plugin given as a function needs name='…', and takes no options: bind them")

    def _check_words(self, module: str) -> None:
        """Raises ValueError for a module that does not exist, or has no such option."""
        if module not in PLUGINS:
            near = nearest(module, PLUGINS)
            hint = f"did you mean '{near}'?" if near else f"give one of {', '.join(PLUGINS)}, or a function"
            raise ValueError(f"unknown plugin '{module}'; {hint}")
        known = list(signature(PLUGINS[module]).parameters)[1:]  # behind the channels
        for name in self.options:
            if name not in known:
                near = nearest(name, known)
                hint = f"did you mean '{near}'?" if near else f"known: {', '.join(known)}"
                raise ValueError(f"{module} has no option '{name}'; {hint}")

    @property
    def attribute(self) -> str:
        """Name of the module in its block, and so of its weights."""
        return self.name or str(self.module)

    def build(self, channels: int) -> nn.Module:
        """A new module from C channels to C."""
        if isinstance(self.module, str):
            return PLUGINS[self.module](channels, **self.options)
        return self.module(channels)


@checked
@dataclass(frozen=True, kw_only=True)
class Body:
    """The stages: their geometry, and what their blocks are made of.

    Raises ValueError for numbers that do not fit the stages, two ways of making convolutions, and plugins of
    one name.

    >>> Body(num_stages=3).strides, Body(base_channels=16) == Body.from_dict({"base_channels": 16})
    ((1, 2, 2), True)
    """

    num_stages: int = 4
    """layer1 … layer4; with fewer, `strides` and `dilations` have as many numbers"""
    base_channels: int = 64
    """planes of layer1; every later stage has twice as many"""
    strides: tuple[int, ...] = (1, 2, 2, 2)
    """of the first block of each stage"""
    dilations: tuple[int, ...] = (1, 1, 1, 1)
    """of the 3×3 convolutions; in basic blocks of the first one only"""
    first_dilation: Literal["own", "previous"] = "own"
    """of a stage's first block: the stage's (MMDetection, detectron2), or the stage before's (torchvision)"""
    avg_down: bool = False
    """projections average before a 1×1 without stride: ResNet-D"""
    standardized: bool = False
    """weight standardisation in all convolutions, the stem's included"""
    norm_groups: int = 32
    """of group norms"""
    deform: Deform | None = None
    """None: all 3×3 convolutions are plain"""
    ghost: Ghost | None = None
    """None: ordinary convolutions; at most one of `standardized`, `deform` and `ghost` is set"""
    plugins: tuple[Plugin, ...] = ()
    """in the order in which those at one position run"""

    def __post_init__(self) -> None:
        for name in ("strides", "dilations", "plugins"):
            object.__setattr__(self, name, tuple(getattr(self, name)))
        self._check_stages()
        made_of = [name for name in ("standardized", "deform", "ghost") if getattr(self, name)]
        if len(made_of) > 1:
            raise ValueError(f"convolutions are made one way; choose one of {', '.join(made_of)}")
        for level in ALL_LEVELS:
            names = Counter(plugin.attribute for plugin in self.at(level).plugins) if self.plugins else {}
            for name, count in names.items():
                if count > 1:
                    raise ValueError(
                        f"{count} plugins of level {level} are called '{name}'; give each a name='…'"
                    )

    def _check_stages(self) -> None:
        """The usual four numbers are cut to the stages there are."""
        if self.num_stages not in (1, 2, 3, 4):
            raise ValueError(f"a ResNet has one to four stages, got num_stages={self.num_stages}")
        for name, usual in (("strides", (1, 2, 2, 2)), ("dilations", (1, 1, 1, 1))):
            if getattr(self, name) == usual:
                object.__setattr__(self, name, usual[: self.num_stages])
            values = getattr(self, name)
            if len(values) != self.num_stages or min(values) < 1:
                count = ("one positive number", "two positive numbers", "three positive numbers")
                count = (*count, "four positive numbers")[self.num_stages - 1]
                raise ValueError(f"{name} must be {count}, one for each stage, got {values}")

    def at(self, level: int) -> Self:
        """The body with only what concerns the blocks of this level."""
        deform = self.deform if self.deform is not None and self.deform.concerns(level) else None
        plugins = tuple(plugin for plugin in self.plugins if level in plugin.levels)
        if deform is self.deform and plugins == self.plugins:
            return self
        return replace(self, deform=deform, plugins=plugins)

    def first_block_dilation(self, level: int) -> int:
        """The dilation of the first block of a level."""
        index = level - 2
        if self.first_dilation == "own" or index == 0:
            return self.dilations[index]
        return self.dilations[index - 1]

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """The body that `asdict` made this of, also after a journey through JSON."""
        values = dict(values)
        for name, kind in (("deform", Deform), ("ghost", Ghost)):
            if values.get(name) is not None:
                values[name] = kind(**values[name])
        values["plugins"] = tuple(Plugin(**plugin) for plugin in values.get("plugins", ()))
        return cls(**values)


@checked
@dataclass(frozen=True, kw_only=True)
class TrainMode:
    """What a ResNet's `.train()` does besides waking norms and dropout.

    >>> from pagoda.backbones.resnet import ResNet
    >>> body = ResNet(18, levels=(2,), train_mode=TrainMode(norm_eval=True)).train()
    >>> body.training, body.bn1.training
    (True, False)
    """

    norm_eval: bool = False
    """batch norms keep to their stored statistics, while their weights learn; group norms are not concerned"""
    checkpoint: bool = False
    """hold only the inputs of blocks and compute the rest again for the gradients: less memory, more time.
    Batch norms count each step once all the same"""


PLAIN_STEM, PLAIN_BODY, PLAIN_MODE = Stem(), Body(), TrainMode()


def _checked_levels(what: str, levels: Sequence[int]) -> tuple[int, ...]:
    if not levels or not set(levels) <= set(ALL_LEVELS):
        raise ValueError(f"{what} levels must be some of 2, 3, 4, 5 (layer1 … layer4), got {tuple(levels)}")
    return tuple(levels)
