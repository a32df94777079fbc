"""Any of timm's thousand networks as a backbone: pictures (B, C, H, W) to {level: features}."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from copy import deepcopy
from difflib import get_close_matches
from threading import Lock
from typing import Any, NamedTuple, Self

import torch
from torch import Tensor, nn

from pagoda.layers.conv import pad_same
from pagoda.layers.norm import freeze
from pagoda.plain import checked


@checked
class TimmBackbone(nn.Module):
    """The network timm calls `name`, giving its features at the strides 2ˡ of `levels`.

    Where several features share a stride (vision transformers), the last one is taken. Networks that do not
    pad, such as ConvNeXt, round odd sizes down; sizes that are multiples of the largest stride are safe
    everywhere. Those that lose cells even then (Inception) raise ValueError: no point or anchor would lie where
    their cells sit. timm's GhostNet gives features from the middle of each stride: `backbones.ghostnet` has the ends.

    Args:
        name: with or without a tag: "resnet50", "tf_efficientnet_b0.in1k". Which weights a name without a tag
            means changes between versions of timm; to reproduce a result, write the tag.
        levels: which to return; a level the network does not have raises and lists those it has.
        pretrained: download timm's weights, or take them from its cache; otherwise nothing is downloaded.
        bn_momentum, bn_eps: for every batch norm instead of timm's (EfficientDet: 0.01 and 1e-3). Weights
            trained with another eps compute something slightly different then.
        in_channels: of the pictures; pretrained filters of the first convolution are adapted by timm.
        drop_path_rate: stochastic depth in training; not every network of timm takes it.
        frozen_stages: 0 nothing, 1 the stem (all that is as fine as stride 2, or that comes before C2), 2 all up to
            C2, …: no gradients, statistics fixed, also after `.train()`.

    Raises ValueError for a network or levels that timm has not, and for frozen stages there are not.

    Parameters are called `body.…` and then as in timm's feature wrappers, which differ between families from
    the plain network: `pretrained=True` needs no translation, `load_plain` translates a file.

    >>> TimmBackbone("test_resnet", levels=(3, 4)).strides
    {3: 8, 4: 16}
    """

    def __init__(
        self,
        name: str,
        *,
        levels: Sequence[int] = (3, 4, 5),
        pretrained: bool = False,
        bn_momentum: float | None = None,
        bn_eps: float | None = None,
        in_channels: int = 3,
        drop_path_rate: float | None = None,
        frozen_stages: int = 0,
    ) -> None:
        super().__init__()
        import timm

        _check_name(name)
        options: dict[str, Any] = {"features_only": True, "in_chans": in_channels}
        if drop_path_rate is not None:
            options["drop_path_rate"] = drop_path_rate
        found = _features_of(name)
        indices = _indices_of_levels(name, [feature.stride for feature in found], levels)
        # Sorted: timm reports channels in the order asked for, but features in the order of the network.
        self.levels = tuple(sorted(indices))
        self.channels = {level: found[indices[level]].channels for level in self.levels}
        self.strides = {level: 2**level for level in self.levels}
        taps = tuple(indices[level] for level in self.levels)
        create = pretrained_network if pretrained else timm.create_model
        self.body = create(name, out_indices=taps, **options)
        _check_cells(name, self.strides, *_cells_of(name, taps, self.body))
        # Swin and its kin compute with channels last.
        self.gives_nhwc = getattr(self.body, "output_fmt", None) == "NHWC"
        self.is_looked_into = isinstance(self.body, timm.models.FeatureHookNet)
        _pad_in_whole_numbers(self.body)
        _set_batch_norms(name, self.body, momentum=bn_momentum, eps=bn_eps)
        if not 0 <= frozen_stages <= max(self.levels):
            raise ValueError(
                f"frozen_stages counts the stem and stages built: 0 … {max(self.levels)}, got {frozen_stages}"
            )
        self.frozen_stages = frozen_stages
        self.ends = _ends_of_stages(self.body, found)
        """{1: how many of the modules with weights are the stem, 2: … come up to C2, …}"""
        self._freeze()

    def _freeze(self) -> None:
        if self.frozen_stages > 0:
            last = max(end for stage, end in self.ends.items() if stage <= self.frozen_stages)
            for module in list(_with_weights(self.body).values())[:last]:
                freeze(module)

    def train(self, mode: bool = True) -> Self:
        super().train(mode)
        self._freeze()
        return self

    def forward(self, pictures: Tensor) -> dict[int, Tensor]:
        # Networks that timm looks into while they run keep what is found in one place for all threads.
        with _ONE_AT_A_TIME if self.is_looked_into else nullcontext():
            features = self.body(pictures)
        if self.gives_nhwc:
            features = [x.permute(0, 3, 1, 2) for x in features]
        return dict(zip(self.levels, features, strict=True))

    def knows_plain(self, state: Mapping[str, Tensor]) -> bool:
        """Whether `load_plain` finds every parameter's name there."""
        return all(any(plain in state for plain in _plain_names(name)) for name in self.body.state_dict())

    def load_plain(self, state: Mapping[str, Tensor]) -> list[str]:
        """Fill from the state dict of the plain network (`timm.create_model(name).state_dict()`).

        A parameter of the wrapper is called as in the plain network, but for two changes some families see:
        one underscore of the first word stands for a dot (`stages_0.blocks` for `stages.0.blocks`), and all
        may stand below `model.` or `body.`.

        Returns:
            The names left over: the classifier, and layers beyond the last level.

        Raises:
            ValueError: a parameter is missing or of another shape; nothing is loaded then.
        """
        wanted = self.body.state_dict()
        sources = {
            name: next((plain for plain in _plain_names(name) if plain in state), None) for name in wanted
        }
        missing = [name for name, source in sources.items() if source is None]
        wrong = [
            f"{source} {tuple(state[source].shape)} instead of {tuple(wanted[name].shape)}"
            for name, source in sources.items()
            if source is not None and state[source].shape != wanted[name].shape
        ]
        counted = (("tensors missing", missing), ("of another shape", wrong))
        found = [f"{len(names)} {what} ({', '.join(names[:3])} …)" for what, names in counted if names]
        if found:
            raise ValueError(f"these weights are not of the plain network: {', '.join(found)}")
        self.body.load_state_dict({name: state[source] for name, source in sources.items() if source})
        return sorted(state.keys() - set(sources.values()))


class SameConv2d(nn.Conv2d):
    """A square convolution with TensorFlow's SAME padding, as `tf_` models have it.

    timm's own divides and rounds up to find the padding; torch.export with open sizes follows that through the
    network for more than a minute, but whole numbers for a few seconds.

    >>> SameConv2d(1, 1, 3, 2)(torch.zeros(1, 1, 7, 8)).shape
    torch.Size([1, 1, 4, 4])
    """

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(pad_same(x, self.kernel_size[0], self.stride[0]))


def _pad_in_whole_numbers(body: nn.Module) -> None:
    """Replace timm's SAME convolutions in place; names and weights stay."""
    from timm.layers import Conv2dSame

    for name, old in list(body.named_modules()):
        square = isinstance(old, Conv2dSame) and len({*old.kernel_size}) == len({*old.stride}) == 1
        if square and old.dilation == (1, 1) and old.kernel_size >= old.stride:
            with torch.device("meta"):
                new = SameConv2d(
                    old.in_channels, old.out_channels, old.kernel_size, old.stride, groups=old.groups
                )
            new.weight, new.bias = old.weight, old.bias
            body.set_submodule(name, new)


def _plain_names(name: str) -> Iterator[str]:
    """What the plain network may call the wrapper's parameter `name`, likeliest first."""
    for each in (name, name.removeprefix("model."), name.removeprefix("body.")):
        yield each
        first, dot, rest = each.partition(".")
        for index, letter in enumerate(first):
            if letter == "_":
                yield f"{first[:index]}.{first[index + 1 :]}{dot}{rest}"


def pretrained_network(name: str, **options: Any) -> nn.Module:
    """timm's network with the weights it publishes, which may be downloaded.

    Raises ValueError for a name timm does not have, OSError where its weights cannot be had.
    """
    import timm

    _check_name(name)
    try:
        return timm.create_model(name, pretrained=True, **options)
    except Exception as error:  # the hub's client has a dozen kinds, and timm none of its own
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise OSError(
            f"cannot fetch the weights timm:{name}: {reason}; without a"
            f" network, fetch them elsewhere (huggingface.co/timm) and give the file; without weights, leave them out"
        ) from error


def _check_name(name: str) -> None:
    import timm

    tagged = "." in name
    known = timm.list_models(include_tags=tagged)
    if name in known or (
        not tagged and timm.is_model(name)
    ):  # the latter knows old names that are not listed
        return
    near = get_close_matches(name, known, 3, cutoff=0.5)
    hint = f"did you mean {' or '.join(repr(each) for each in near)}?" if near else "see timm.list_models()"
    raise ValueError(f"timm has no model {name!r}; {hint}")


class _Feature(NamedTuple):
    stride: int
    channels: int
    module: str
    """that gives it, as the plain network calls it"""


def _features_of(name: str) -> list[_Feature]:
    """What the network offers: only a finished one knows its strides. It has no numbers where timm can do without."""
    import timm

    with torch.random.fork_rng(devices=[]):
        try:
            with torch.device("meta"):
                body: Any = timm.create_model(name, features_only=True)
        except NotImplementedError:
            body = timm.create_model(name, features_only=True)
    return [
        _Feature(entry["reduction"], entry["num_chs"], entry["module"]) for entry in body.feature_info.info
    ]


def _with_weights(body: nn.Module) -> dict[str, nn.Module]:
    """The innermost modules that have weights, by name, in the order of the network."""
    return {
        name: module
        for name, module in body.named_modules()
        if next(module.parameters(recurse=False), None) is not None
        or next(module.buffers(recurse=False), None) is not None
    }


def _ends_of_stages(body: nn.Module, features: Sequence[_Feature]) -> dict[int, int]:
    """{1: how many of `_with_weights` the stem has, 2: … all up to C2, …}."""
    order = [name for name, _ in body.named_modules()]
    filled = [order.index(name) for name in _with_weights(body)]
    ends: dict[int, int] = {}
    for feature in features:
        inside = [
            index
            for index, place in enumerate(order)
            if any(f"{plain}.".startswith(f"{feature.module}.") for plain in _plain_names(place))
        ]
        if inside:
            level = max(1, feature.stride.bit_length() - 1)
            ends[level] = sum(index <= inside[-1] for index in filled)
            if level > 1:
                ends.setdefault(1, sum(index < inside[0] for index in filled))  # whatever comes before C2
    return ends


_ONE_AT_A_TIME = Lock()
_CELLS: dict[tuple[str, tuple[int, ...]], tuple[int, tuple[int, ...]]] = {}


def _cells_of(name: str, taps: tuple[int, ...], body: nn.Module) -> tuple[int, tuple[int, ...]]:
    """(side of a square picture in pixels, rows of each feature made of it), without computing a number; no rows
    where the network cannot run so. Remembered."""
    if (name, taps) not in _CELLS:
        import timm

        config = timm.get_pretrained_cfg(name)
        side = config.input_size[-1] if config is not None and config.fixed_input_size else 256
        _CELLS[name, taps] = side, _rows(body, side)
    return _CELLS[name, taps]


def _rows(body: nn.Module, side: int) -> tuple[int, ...]:
    tensors = [*body.parameters(), *body.buffers()]
    empty = {id(tensor): torch.empty_like(tensor, device="meta") for tensor in tensors}
    copy = deepcopy(body, {**empty, **{id(p): nn.Parameter(empty[id(p)]) for p in body.parameters()}}).eval()
    channels = next(module.in_channels for module in body.modules() if isinstance(module, nn.Conv2d))
    axis = 1 if getattr(body, "output_fmt", None) == "NHWC" else 2
    try:
        with torch.no_grad(), torch.device("meta"):
            return tuple(x.shape[axis] for x in copy(torch.empty(1, channels, side, side)))
    except (RuntimeError, AssertionError, ValueError, NotImplementedError):
        return ()


def _check_cells(name: str, strides: Mapping[int, int], side: int, cells: Sequence[int]) -> None:
    """Raises ValueError where a level has not as many cells as its stride makes: it starts inside the border."""
    for (level, stride), count in zip(strides.items(), cells, strict=False):
        if count not in (side // stride, -(-side // stride)):
            raise ValueError(
                f"{name!r} has {count} cells a side at level {level} of {side} pixels, where the stride {stride} makes"
                f" {-(-side // stride)}: it does not pad everywhere, so its cells do not sit where points and"
                " anchors are laid; take another network"
            )


def _indices_of_levels(name: str, strides: Sequence[int], levels: Sequence[int]) -> dict[int, int]:
    """{level: index of the last feature at stride 2ˡ}."""
    if not levels:
        raise ValueError(f"levels must name at least one of the levels of {name!r}, got none")
    if any(stride < 1 or stride & (stride - 1) for stride in strides):
        raise ValueError(
            f"the features of {name!r} have strides {_listed(strides)}; levels need powers of two"
        )
    offered = {stride.bit_length() - 1: index for index, stride in enumerate(strides)}
    absent = sorted(set(levels) - offered.keys())
    if absent:
        raise ValueError(
            f"{name!r} has no features at level {_listed(absent)} (stride {_listed(2**level for level in absent)});"
            f" it has levels {_listed(offered)}"
        )
    return {level: offered[level] for level in set(levels)}


def _listed(numbers: Iterable[int]) -> str:
    return ", ".join(map(str, sorted(set(numbers))))


def _set_batch_norms(name: str, body: nn.Module, *, momentum: float | None, eps: float | None) -> None:
    if momentum is None and eps is None:
        return
    norms = [m for m in body.modules() if isinstance(m, nn.BatchNorm1d | nn.BatchNorm2d | nn.BatchNorm3d)]
    if not norms:
        raise ValueError(f"{name!r} has no batch norms for bn_momentum and bn_eps; leave them out")
    for norm in norms:
        norm.momentum = norm.momentum if momentum is None else momentum
        norm.eps = norm.eps if eps is None else eps
