"""Names in FPNs that do not say a level: laterals counted from zero, and P6 and P7 whatever lies below them.

A pyramid may begin at any level, and end below P5 where a ResNet has fewer stages; then the same names mean others.
"""

import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

from pagoda.convert.architecture.plugins import Shapes
from pagoda.convert.names.rules import Rule
from pagoda.plain import checked

CONVOLUTION = re.compile(r"neck\.(\w+)\.(\d)\.(weight|bias)")
OUR_LATERAL = re.compile(r"neck\.lateral\.(\d)\.")
STAGE = re.compile(r"(?:^|\.)layer(\d)\.0\.conv([23])\.weight$")


@checked
@dataclass(frozen=True)
class Pyramid:
    """How a program names the convolutions of its FPN."""

    laterals: str
    """pattern of a lateral's weight, with its number"""
    rules: Callable[[Sequence[int]], Iterator[Rule]]
    """given the levels of the backbone that the laterals read"""
    first: int | None = None
    """what lateral 0 reads where no width tells; None: their numbers tell"""
    above: int = 0
    """how far a level lies above its number where that tells"""

    def to_read(self, shapes: Shapes) -> tuple[Rule, ...]:
        """For a file of these shapes, by its own names; none where it has no laterals."""
        found = {
            int(match[1]): shape for name, shape in shapes.items() if (match := re.match(self.laterals, name))
        }
        numbers = sorted(found)
        if not numbers:
            return ()
        start = numbers[0] + self.above
        if self.first is not None:
            start = _stage_widths(shapes).get(found[numbers[0]][1], self.first)
        return tuple(self.rules(range(start, start + len(numbers))))

    def to_write(self, canonical: Collection[str]) -> tuple[Rule, ...]:
        """For a model of these canonical names."""
        levels = sorted({int(match[1]) for name in canonical if (match := OUR_LATERAL.match(name))})
        return tuple(self.rules(levels)) if levels else ()


def _stage_widths(shapes: Shapes) -> Mapping[int, int]:
    """{channels that a ResNet's stage gives: its level}."""
    last: dict[int, tuple[int, int]] = {}
    for name, shape in shapes.items():
        found = STAGE.search(name)
        if found is not None:
            level, conv = int(found[1]) + 1, int(found[2])
            last[level] = max(last.get(level, (0, 0)), (conv, shape[0]))
    return {width: level for level, (_, width) in last.items()}


def extra_rules(theirs: str, levels: Sequence[int]) -> Iterator[Rule]:
    """Of the levels above the backbone's, which are called p6, p7 …; {n} in `theirs` is that number."""
    for number in range(6, 11):
        yield Rule(f"{theirs.format(n=number)}.{{rest}}", f"neck.extra.{levels[-1] + number - 5}.{{rest}}")


def in_sequentials(canonical: str, model: Collection[str]) -> str:
    """The name in a model of these names: a convolution is the first of a sequence where a ReLU stands behind it."""
    inner = CONVOLUTION.sub(r"neck.\1.\2.0.\3", canonical)
    return inner if inner in model else canonical
