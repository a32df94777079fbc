"""What a module is, in words: "7×7 convolution, stride 2", "3 bottlenecks, stride 2 in the 3×3"."""

import re

from torch import nn

NAMES = {
    "BatchNorm2d": "batch norm",
    "BatchNorm3d": "batch norm",
    "FrozenBatchNorm2d": "frozen batch norm",
    "FrameGroupNorm": "group norm of each frame",
    "GroupNorm": "group norm",
    "DarknetBatchNorm2d": "batch norm",
    "Flatten": "",
    "LocallyConnected2d": "locally connected layer",
    "ReLU": "ReLU",
    "LeakyReLU": "leaky ReLU",
    "SiLU": "SiLU",
}


def describe_module(module: nn.Module) -> str:
    """A short phrase made from the module's own structure; "" for the identity.

    >>> describe_module(nn.Sequential(nn.Conv2d(3, 8, 3, stride=2), nn.ReLU()))
    '3×3 convolution, stride 2, ReLU'
    """
    if isinstance(module, nn.Identity):
        return ""
    children = list(module.children())
    if not children:
        return _describe_leaf(module)
    kinds = {type(child) for child in children}
    if isinstance(module, nn.Sequential) and len(kinds) == 1 and list(children[0].children()):
        return _describe_stage(children)
    leaves = [_describe_leaf(leaf) for leaf in module.modules() if not list(leaf.children())]
    phrase = compress([leaf for leaf in leaves if leaf])
    if len(phrase) <= 90:
        return phrase
    count, kind = len(convolutions(module)), "convolution"
    if not count:
        count, kind = sum(isinstance(m, nn.Linear) for m in module.modules()), "linear layer"
    return f"{_class_words(module)} of {count} {kind}{'s' if count != 1 else ''}"


def _describe_stage(blocks: list[nn.Module]) -> str:
    """Blocks of one kind in a row: how many, and where they stride."""
    words = f"{len(blocks)} {_class_words(blocks[0])}{'s' if len(blocks) > 1 else ''}"
    found = [conv for block in blocks for conv in convolutions(block)]
    widest = max(found, key=lambda conv: conv.groups, default=None)
    if widest is not None and widest.groups > 1:
        is_depthwise = widest.groups == widest.in_channels
        words += ", depthwise" if is_depthwise else f" of {widest.groups} groups"
    # A shortcut strides in a 1×1 of its own; the main path is the one with the larger kernel.
    strided = [conv for conv in found if max(conv.stride) > 1]
    if strided:
        main = max(strided, key=lambda conv: conv.kernel_size)
        words += f", stride {_side(main.stride)} in the {_by(main.kernel_size)}"
    return words


def _describe_leaf(module: nn.Module) -> str:
    """A layer without children; "" for the identity."""
    if isinstance(module, nn.Identity):
        return ""
    if isinstance(module, nn.Linear):
        return f"linear, {module.in_features} → {module.out_features}"
    if not hasattr(module, "kernel_size"):
        return NAMES.get(type(module).__name__, _class_words(module))
    name = (
        "convolution"
        if hasattr(module, "in_channels")
        else re.sub(r"pool[23]d", "-pool", _class_words(module))
    )
    words = f"{_by(module.kernel_size)} {name.replace(' -', '-')}"
    if hasattr(module, "offset_groups") or "deform" in type(module).__name__.lower():
        words = words.replace("convolution", "deformable convolution")
    groups = getattr(module, "groups", 1)
    if groups > 1:
        words += ", depthwise" if groups == module.in_channels else f", {groups} groups"
    for setting in ("stride", "dilation"):
        value = getattr(module, setting, 1)
        if _side(value) != "1":
            words += f", {setting} {_side(value)}"
    return words


def compress(words: list[str]) -> str:
    """One phrase of all, with repeated runs told once.

    >>> compress(["a", "b", "a", "b", "c"])
    '2 × (a, b), c'
    """
    told: list[str] = []
    start = 0
    while start < len(words):
        best_length, best_count = 1, 1
        for length in range(1, (len(words) - start) // 2 + 1):
            pattern, count = words[start : start + length], 1
            while words[start + count * length : start + (count + 1) * length] == pattern:
                count += 1
            if count > 1 and count * length > best_count * best_length:
                best_length, best_count = length, count
        run = ", ".join(words[start : start + best_length])
        bracketed = f"({run})" if best_length > 1 or "," in run else run
        told.append(f"{best_count} × {bracketed}" if best_count > 1 else run)
        start += best_length * best_count
    return ", ".join(told)


def convolutions(module: nn.Module) -> list[nn.Module]:
    """The convolutions in a module, deformable and transposed ones too.

    >>> len(convolutions(nn.Sequential(nn.Conv2d(1, 1, 1), nn.ReLU(), nn.ConvTranspose2d(1, 1, 1))))
    2
    """
    return [m for m in module.modules() if hasattr(m, "kernel_size") and hasattr(m, "in_channels")]


def _class_words(module: nn.Module) -> str:
    """The class name as words: BasicBlock → "basic block"; abbreviations (FPN) stay."""
    name = type(module).__name__
    parts = re.findall(r"[A-Z]+(?![a-z])\d*|[A-Z]?[a-z]+\d*[a-z]*|\d+", name)
    return " ".join(part if part.isupper() else part.lower() for part in parts) or name


def _by(sides: int | tuple[int, ...]) -> str:
    """Sides of a window as words: 3 or (3, 3) → "3×3"."""
    values = (sides, sides) if isinstance(sides, int) else sides
    return "×".join(map(str, values))


def _side(values: int | tuple[int, ...]) -> str:
    """A setting of each axis as words, once where it is the same for all: (2, 2) → "2", (1, 2) → "1×2"."""
    if isinstance(values, int) or len(set(values)) == 1:
        return str(values if isinstance(values, int) else values[0])
    return _by(values)


def count_words(number: int) -> str:
    """Three or four digits and a unit.

    >>> count_words(4_087_136_256), count_words(950)
    ('4.09 G', '950')
    """
    for unit, size in (("T", 10**12), ("G", 10**9), ("M", 10**6), ("k", 10**3)):
        if number >= size:
            value = number / size
            return f"{value:.{2 if value < 10 else 1 if value < 100 else 0}f} {unit}"
    return str(number)
