"""The flags by which a command looks at large pictures tile by tile."""

from dataclasses import dataclass
from typing import Literal

from pagoda.plain import checked
from pagoda.tiling.tiles import Tiles


@checked
@dataclass(frozen=True, kw_only=True)
class TileOptions:
    """Of `pagoda predict`, `val` and `track`.

    >>> TileOptions(tiles=640, overlap=0.3).cut()
    Tiles(side=640, overlap=0.3, whole=True)
    >>> TileOptions(overlap=0.3).cut()
    Traceback (most recent call last):
    ValueError: --overlap says how tiles are cut; add --tiles auto, or leave it out
    """

    tiles: int | Literal["auto"] | None = None
    """cut large pictures into tiles of so many pixels, for objects that are too small in the whole; auto: of the size
    that the model sees (docs/tiles.md)"""
    overlap: float = Tiles.overlap
    """share of a tile's side that it has in common with the next; objects up to that size lie whole in some tile"""
    whole: bool = Tiles.whole
    """look at the whole picture besides its tiles, for objects larger than these"""

    def cut(self) -> Tiles | None:
        """How pictures are cut; None where they are not. Raises ValueError for what says how without --tiles."""
        if self.tiles is not None:
            return Tiles(side=self.tiles, overlap=self.overlap, whole=self.whole)
        given = ["--overlap"] * (self.overlap != Tiles.overlap) + ["--no-whole"] * (self.whole != Tiles.whole)
        if given:
            raise ValueError(
                f"{' and '.join(given)} {'says' if len(given) == 1 else 'say'} how tiles are cut; add --tiles auto, or"
                " leave it out"
            )
        return None
