"""One forward pass without numbers: which modules ran, what came out, what it cost and how far it sees.

Everything is read off the tensor operations themselves, so it holds for any module.
"""

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.weak import WeakTensorKeyDictionary

from pagoda.ops.roi import RoIPooling
from pagoda.plain import checked

Arguments: TypeAlias = Sequence[Any]
"""of an operation, in the order of its schema: tensors, numbers, lists, None"""


@dataclass(frozen=True)
class Reach:
    """What one cell of a feature map sees of the picture.

    >>> PIXEL.receptive_field, PIXEL.stride
    (1, 1.0)
    """

    receptive_field: int
    """pixels along the axis that sees further"""
    stride: float
    """pixels of the picture between neighbouring cells"""
    is_upsampled: bool = False
    """came from a coarser map; such context does not count where it meets a direct path"""
    receptive_frames: int = 1
    """frames that it sees of a clip without ends"""
    frame_stride: float = 1.0
    """frames between neighbouring cells; above 1 where convolutions stride in time"""


PIXEL = Reach(1, 1.0)


@dataclass
class Call:
    """What was seen of one module; one that ran several times has several outputs."""

    order: int
    """0 for the module that was entered first, 1 for the next"""
    inputs: tuple[Any, ...]
    """positional ones of the first call"""
    outputs: list[Any] = field(default_factory=list)
    """one for each call: a tensor, {level: tensor}, or what the module returns"""
    reach: Reach | None = None
    """of the first output, where it is a tensor"""
    macs: int = 0
    """multiply-accumulates in it and below, all calls"""


class Tracer(TorchDispatchMode):
    """Watches operations: counts the products of convolutions and matrices, follows receptive fields.

    The field is that of the longest chain of convolutions and poolings. Normalisation and global pooling,
    which look at the whole map, and the offsets of deformable convolutions do not widen it.

    >>> layers = nn.Sequential(nn.Conv2d(3, 8, 3, stride=2, padding=1), nn.Conv2d(8, 8, 3, padding=1))
    >>> pixels = torch.empty(1, 3, 32, 32)
    >>> tracer = Tracer(pixels)
    >>> _ = tracer.watch(layers)
    >>> with tracer:
    ...     _ = layers(pixels)
    >>> tracer.calls["1"].reach.receptive_field, tracer.calls["1"].macs  # 3 + 2·2; 8·16·16 · 8·3·3
    (7, 147456)
    """

    def __init__(self, pixels: Tensor) -> None:
        super().__init__()
        self.reaches = WeakTensorKeyDictionary()
        self.reaches[pixels] = PIXEL
        self.calls: dict[str, Call] = {}
        self.macs = 0
        self._running: list[str] = []

    def watch(self, model: nn.Module) -> list[torch.utils.hooks.RemovableHandle]:
        """Record the calls of all modules below `model` by path, until the handles are removed."""
        handles = []
        for path, module in model.named_modules():
            if path:
                handles.append(module.register_forward_pre_hook(self._entering(path)))
                handles.append(module.register_forward_hook(self._leaving(path)))
        return handles

    def _entering(self, path: str) -> Callable[[nn.Module, tuple[object, ...]], None]:
        def enter(module: nn.Module, inputs: tuple[object, ...]) -> None:
            self.calls.setdefault(path, Call(len(self.calls), inputs))
            self._running.append(path)

        return enter

    def _leaving(self, path: str) -> Callable[[nn.Module, tuple[object, ...], object], None]:
        def leave(module: nn.Module, inputs: tuple[object, ...], output: object) -> None:
            self._running.pop()
            call = self.calls[path]
            call.outputs.append(output)
            if call.reach is None and isinstance(output, Tensor):
                call.reach = self.reaches.get(output)

        return leave

    def __torch_dispatch__(
        self,
        func: torch._ops.OpOverload,
        types: Sequence[type],
        args: Arguments = (),
        kwargs: Mapping[str, object] | None = None,
    ) -> object:
        output = func(*args, **(kwargs or {}))
        name = func.name().split(".")[0]
        macs = products(name, args, output)
        self.macs += macs
        for path in set(self._running):
            self.calls[path].macs += macs
        reach = self._after(name, args, output)
        if reach is not None:
            for tensor in output if isinstance(output, tuple | list) else (output,):
                if isinstance(tensor, Tensor):
                    self.reaches[tensor] = reach
        return output

    def _after(self, name: str, args: Arguments, output: Any) -> Reach | None:
        """The reach of an operation's result; None where no input depends on the picture."""
        seen = [self.reaches[x] for x in flat_tensors(args) if x in self.reaches]
        if not seen:
            return None
        direct = [reach for reach in seen if not reach.is_upsampled] or seen
        furthest = max(reach.receptive_field for reach in direct)
        stride = min(reach.stride for reach in seen)
        frames = max(reach.receptive_frames for reach in direct)
        frame_stride = max(reach.frame_stride for reach in seen)
        upsampled = all(reach.is_upsampled for reach in seen)
        if name.startswith("aten::upsample"):
            factor = round(output.shape[-1] / args[0].shape[-1]) or 1
            return Reach(furthest, stride / factor, True, frames, frame_stride)
        window = _window_of(name, args)
        if window is None:
            return Reach(furthest, stride, upsampled, frames, frame_stride)
        extent, step = window
        extent_in_frames, frame_step = _window_in_time(name, args)
        frames += round(extent_in_frames * frame_stride)
        furthest += round(extent * stride)
        return Reach(furthest, stride * step, upsampled, frames, frame_stride * frame_step)


def flat_tensors(values: Sequence[object]) -> list[Tensor]:
    """The tensors among the arguments, and those in lists (torch.cat), in their order.

    >>> [tensor.item() for tensor in flat_tensors([torch.tensor(1), 2, [torch.tensor(3)]])]
    [1, 3]
    """
    found = []
    for value in values:
        if isinstance(value, Tensor):
            found.append(value)
        elif isinstance(value, list | tuple):
            found += [x for x in value if isinstance(x, Tensor)]
    return found


def products(name: str, args: Arguments, output: Any) -> int:
    """Multiply-accumulates of convolutions and matrix products; 0 for everything else.

    >>> products("aten::mm", (torch.empty(2, 3), torch.empty(3, 4)), torch.empty(2, 4))
    24
    """
    if name == "aten::convolution":
        is_transposed = args[6]
        return (args[0] if is_transposed else output).numel() * args[1][0].numel()
    if name == "torchvision::deform_conv2d":
        return output.numel() * args[1][0].numel()
    if name in ("aten::mm", "aten::bmm"):
        return output.numel() * args[0].shape[-1]
    if name in ("aten::addmm", "aten::baddbmm"):
        return output.numel() * args[1].shape[-1]
    return 0


def _window_of(name: str, args: Arguments) -> tuple[int, float] | None:
    """(cells beyond the first that a window covers, its step) for operations with windows, else None."""
    if name == "aten::convolution":
        kernel, steps, dilation = list(args[1].shape[2:]), args[3], args[5]
        if args[6]:  # transposed: a finer map whose cells see at most the windows that overlap there
            return (max(kernel) - 1) // max(steps), 1 / max(steps)
    elif name == "torchvision::deform_conv2d":
        kernel, steps, dilation = list(args[1].shape[2:]), args[5:7], args[9:11]
    elif name.startswith(("aten::max_pool", "aten::avg_pool")):
        kernel = args[1]
        steps = args[2] if len(args) > 2 and args[2] else kernel
        dilation = args[4] if name.startswith("aten::max_pool") and len(args) > 4 else [1]
    else:
        return None
    # Of clips only the two axes of the picture count.
    sides = zip(_spatial(kernel), _spatial(dilation), strict=True)
    return max((side - 1) * spread for side, spread in sides), max(_spatial(steps))


def _window_in_time(name: str, args: Arguments) -> tuple[int, float]:
    """(frames beyond the first that a convolution over clips covers, its step in time); (0, 1) for all else."""
    if name != "aten::convolution" or args[1].ndim != 5 or args[6]:
        return 0, 1
    return (args[1].shape[2] - 1) * args[5][0], args[3][0]


def _spatial(values: Sequence[int]) -> list[int]:
    """The last two of per-axis settings, one setting standing for both."""
    return (list(values) * 2)[-2:]


@checked
@dataclass(frozen=True, kw_only=True)
class FinestLevel(RoIPooling):
    """Reads every region from the finest level: without numbers no size chooses one, and the shape is the same."""

    def __call__(
        self,
        pyramid: Mapping[int, Tensor],
        strides: Mapping[int, float],
        boxes: Tensor,
        images: Tensor,
        assigned: Tensor | None = None,
    ) -> Tensor:
        level = min(pyramid)
        return super().__call__({level: pyramid[level]}, strides, boxes, images)


def traceable(model: nn.Module) -> nn.Module:
    """`model`, changed so that it runs without numbers and enters its backbone as one module."""
    for module in list(model.modules()):
        pooling = getattr(module, "pooling", None)
        if isinstance(pooling, RoIPooling):
            settings = {f.name: getattr(pooling, f.name) for f in fields(pooling)}
            module.pooling = FinestLevel(**settings)
        if hasattr(module, "from_frame_features") and hasattr(module, "frame_features"):
            _run_as_one(module)
    return model


def _run_as_one(backbone: nn.Module) -> None:
    """Let a backbone whose halves are called one after the other do all its work in one call of the whole."""
    first, second = backbone.frame_features, backbone.from_frame_features
    backbone.forward = lambda clips: second(first(clips))
    backbone.frame_features = lambda clips: clips
    backbone.from_frame_features = backbone.__call__


def without_numbers(model: nn.Module) -> nn.Module:
    """A copy in evaluation mode whose tensors have shapes but no memory; the model itself is not touched.

    >>> without_numbers(nn.Linear(2, 3)).weight.is_meta
    True
    """
    memo: dict[int, Tensor] = {}
    for parameter in model.parameters():
        empty = torch.empty_like(parameter, device="meta")
        memo[id(parameter)] = nn.Parameter(empty, requires_grad=parameter.requires_grad)
    for buffer in model.buffers():
        memo[id(buffer)] = torch.empty_like(buffer, device="meta")
    return copy.deepcopy(model, memo).eval()
