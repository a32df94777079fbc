"""The EfficientNets, told by their blocks; canonical names are those of `backbones.timm`."""

import re
from collections.abc import Mapping

from pagoda.convert.architecture.plugins import Shapes
from pagoda.weights.files import WeightsError

# Blocks per stage, and channels of P3: what tells the EfficientNets apart.
BACKBONES: Mapping[str, tuple[tuple[int, ...], int]] = {
    "b0": ((1, 2, 2, 3, 3, 4, 1), 40),
    "b1": ((2, 3, 3, 4, 4, 5, 2), 40),
    "b2": ((2, 3, 3, 4, 4, 5, 2), 48),
    "b3": ((2, 3, 3, 5, 5, 6, 2), 48),
    "b4": ((2, 4, 4, 6, 6, 8, 2), 56),
    "b5": ((3, 5, 5, 7, 7, 9, 3), 64),
    "b6": ((3, 6, 6, 8, 8, 11, 3), 72),
    "b7": ((4, 7, 7, 10, 10, 13, 4), 80),
    "lite0": ((1, 2, 2, 3, 3, 4, 1), 40),
    "lite1": ((1, 3, 3, 4, 4, 5, 1), 40),
    "lite2": ((1, 3, 3, 4, 4, 5, 1), 48),
    "lite3": ((1, 3, 3, 5, 5, 6, 1), 48),
    "lite4": ((1, 4, 4, 6, 6, 8, 1), 56),
}


def places_of_blocks(count: int) -> list[tuple[int, int]]:
    """(stage, block) of each of `count` blocks that are numbered straight on; no two depths have the same count.

    Raises WeightsError for a count that none has.

    >>> places_of_blocks(16)[:4]
    [(0, 0), (1, 0), (1, 1), (2, 0)]
    """
    for repeats, _ in BACKBONES.values():
        if sum(repeats) == count:
            return [(stage, block) for stage, blocks in enumerate(repeats) for block in range(blocks)]
    raise WeightsError(f"no EfficientNet has {count} blocks; the checkpoint may be cut short")


def efficientnet_of(shapes: Shapes) -> str:
    """ "b0", "lite3" …, of a backbone's canonical shapes. Raises WeightsError for those of none."""
    blocks = "body.blocks"
    repeats = tuple(count_of(shapes, rf"{blocks}\.{stage}\.(\d+)\.") for stage in range(7))
    end = shapes.get(f"{blocks}.2.{repeats[2] - 1}.conv_pwl.weight", (0,))[0]
    is_lite = f"{blocks}.0.0.se.conv_reduce.weight" not in shapes
    for name, known in BACKBONES.items():
        if known == (repeats, end) and name.startswith("lite") == is_lite:
            return name
    raise WeightsError(f"no EfficientNet has {repeats} blocks per stage and {end} channels at P3")


def count_of(shapes: Shapes, pattern: str) -> int:
    """How many different numbers the pattern finds at the beginning of names."""
    return len({found.group(1) for name in shapes if (found := re.match(pattern, name))})
