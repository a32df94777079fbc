"""How pictures are cut into tiles for a model that would make them smaller than their objects can bear."""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from pagoda.ops.boxes import tile_windows
from pagoda.plain import checked
from pagoda.preprocess import InputSpec

MIN_SIDE = 32
"""pixels of a tile; smaller ones show nothing whole, and there would be millions"""
MAX_OVERLAP = 0.9


@checked
@dataclass(frozen=True, kw_only=True)
class Tiles:
    """Square tiles that overlap, looked at one by one as if each were a picture; `docs/tiles.md`.

    Raises ValueError for sides below 32 pixels and an overlap outside 0 … 0.9.

    >>> Tiles().side_for(InputSpec(short_side=240, long_side=320))
    240
    >>> Tiles(side=16)
    Traceback (most recent call last):
    ValueError: tiles must be at least 32 pixels wide, got 16; auto takes the size at which the model sees pictures
    """

    side: int | Literal["auto"] = "auto"
    """pixels; auto: as large as the model sees a tile, so that it is neither made smaller nor larger"""
    overlap: float = 0.2
    """share of its side that a tile has in common with the next, at least: objects up to that size lie whole in one"""
    whole: bool = True
    """look at the whole picture, too, for objects larger than a tile"""

    def __post_init__(self) -> None:
        if self.side != "auto" and self.side < MIN_SIDE:
            raise ValueError(
                f"tiles must be at least {MIN_SIDE} pixels wide, got {self.side}; auto takes the size at which the"
                " model sees pictures"
            )
        if not 0 <= self.overlap <= MAX_OVERLAP:
            raise ValueError(
                f"overlap must be a share of a tile's side within 0 … {MAX_OVERLAP}, got {self.overlap}; 0.2 has a"
                " tile share a fifth with the next"
            )

    @classmethod
    def of(cls, given: "Tiles | int | Literal['auto']") -> "Tiles":
        """The tiles themselves, or those of a side with everything else as usual.

        >>> Tiles.of(640).side
        640
        """
        return given if isinstance(given, Tiles) else cls(side=given)

    def side_for(self, spec: InputSpec) -> int:
        """Pixels of a tile for a model of this `input_spec`."""
        if self.side != "auto":
            return self.side
        return max(MIN_SIDE, min(spec.canvas or (spec.short_side, spec.long_side)))

    def windows(self, size: tuple[int, int], spec: InputSpec) -> np.ndarray | None:
        """(T, 4) int64 xyxy tiles of a picture of (height, width), row by row; None where it is better not cut.

        That is a picture no larger than a tile; with `side` "auto" also one that the model does not make smaller.

        >>> spec = InputSpec(short_side=240, long_side=320)
        >>> Tiles().windows((240, 320), spec) is None, len(Tiles().windows((480, 640), spec))
        (True, 12)
        """
        side = self.side_for(spec)
        seen = spec.resized(size)
        is_seen_whole = self.side == "auto" and seen[0] >= size[0] and seen[1] >= size[1]
        return None if is_seen_whole or max(size) <= side else tile_windows(size, side, overlap=self.overlap)

    def text(self, spec: InputSpec) -> str:
        """What is done with pictures of a model of this `input_spec`, in a line.

        >>> Tiles().text(InputSpec(short_side=240, long_side=320))
        'tiles of 240×240 pixels (auto: what the model sees), 48 shared with the next, and the whole picture'
        """
        side = self.side_for(spec)
        chosen = " (auto: what the model sees)" if self.side == "auto" else ""
        shared = f"{int(side * self.overlap)} shared with the next"
        return f"tiles of {side}×{side} pixels{chosen}, {shared}" + (
            ", and the whole picture" if self.whole else ""
        )
