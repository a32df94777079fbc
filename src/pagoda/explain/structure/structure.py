"""A described detector as people see it: tables, a page, a diagram."""

from dataclasses import dataclass

from rich.console import Console, Group

from pagoda.explain.structure.diagram import structure_svg
from pagoda.explain.structure.page import structure_page
from pagoda.explain.structure.rows import StructureRows
from pagoda.explain.structure.table import structure_tables


@dataclass(frozen=True, kw_only=True)
class Structure(StructureRows):
    """A detector in rows, as tables, a page or a drawing; what `describe_model` returns.

    >>> from pagoda.explain.structure.rows import Row
    >>> row = Row(kind="neck", part="neck", name="", label="P3", words="a layer", parameters=9, trainable=9)
    >>> size = {"size": (64, 64), "padded_size": (64, 64)}
    >>> told = Structure(model="toy", num_classes=1, rows=(row,), levels=(), **size)
    >>> print(told.to_table().splitlines()[0])
    toy, 1 class, picture 64×64: 9 parameters (0 frozen), 0 MACs, 0 locations
    """

    def to_rich(self) -> Group:
        """The tables for a rich console, with colours."""
        return structure_tables(self)

    def to_table(self, width: int = 110) -> str:
        """Plain text of at most `width` columns."""
        console = Console(width=width, color_system=None)
        with console.capture() as captured:
            console.print(self.to_rich())
        return captured.get()

    def to_html(self) -> str:
        """A page of its own: block diagram and tables, no scripts, nothing loaded from elsewhere."""
        return structure_page(self)

    def to_svg(self) -> str:
        """The block diagram alone."""
        return structure_svg(self)
