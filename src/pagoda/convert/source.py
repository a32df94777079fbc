"""A program whose checkpoints are read: by which marks it is known, and how its names become ours."""

import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Literal

from torch import Tensor

from pagoda.convert.architecture.plugins import Shapes
from pagoda.convert.names.pyramids import Pyramid
from pagoda.convert.names.rules import Rule
from pagoda.convert.tensor_slices import BoxOrder
from pagoda.plain import checked

MIT, APACHE, BSD = "MIT", "Apache-2.0", "BSD-3-Clause"
NON_COMMERCIAL = "BSD-2-Clause headed 'for non-commercial purposes': weights may not be used commercially"
SHARE_ALIKE = "Apache-2.0, its published weights CC BY-SA 3.0"


@checked
@dataclass(frozen=True, kw_only=True)
class Source:
    """A program whose checkpoints are read, or one family of its models: marks, names, licence."""

    name: str
    """as `pagoda convert --to` takes it; forms of one program share it"""
    title: str
    """for messages: the program, and which of its models"""
    licence: str
    """of the program, or of its published weights"""
    marks: tuple[str, ...]
    """patterns; each is found in some tensor's name"""
    absent: tuple[str, ...] = ()
    """patterns; none is found in any"""
    axes: Mapping[str, int] = field(default_factory=dict)
    """{tensor: how many axes it has}, where names are not enough"""
    rules: tuple[Rule, ...] = ()
    """names there and here, the first that fits counts"""
    rules_from: Callable[[Shapes], tuple[Rule, ...]] | None = None
    """the rules where they depend on what else is in the file"""
    pyramid: Pyramid | None = None
    """the rules of an FPN where they depend on the levels that it reads; they come first"""
    check: Callable[[Mapping[str, Tensor]], None] | None = None
    """raises WeightsError for tensors that no model of ours has a layer for"""
    flavours: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """{detector: the conventions its files may follow}; empty for backbones alone"""
    box_order: BoxOrder = "xywh"
    """of the four deltas of a box there"""
    background: Literal["first", "last"] | None = None
    """where its SSDs have the background among the classes"""
    box_tables: bool = True
    """its SSDs have other default boxes for VOC than for COCO, told by the number of classes"""
    affine_norms: bool = False
    """norms are stored as scale and shift without statistics"""
    regions: bool = False
    """its models have two stages"""
    necks: tuple[str, ...] = ()
    """of the models it writes so; (): of any"""

    def rules_to_read(self, shapes: Shapes) -> tuple[Rule, ...]:
        """The rules for a file whose tensors, by its own names, have these shapes."""
        rules = self.rules if self.rules_from is None else self.rules_from(shapes)
        return rules if self.pyramid is None else (*self.pyramid.to_read(shapes), *rules)

    def rules_to_write(self, canonical: Collection[str]) -> tuple[Rule, ...]:
        """The rules for a model with these canonical names."""
        return self.rules if self.pyramid is None else (*self.pyramid.to_write(canonical), *self.rules)

    def matches(self, names: Mapping[str, Tensor]) -> bool:
        """Whether all marks are found and nothing that must be absent."""
        if any(name not in names or names[name].ndim != axes for name, axes in self.axes.items()):
            return False
        found = [any(re.search(mark, name) for name in names) for mark in self.marks]
        return all(found) and not any(re.search(mark, name) for mark in self.absent for name in names)
