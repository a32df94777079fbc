"""Which linker follows a model's objects best, and with what numbers, as its file says it."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from math import inf
from typing import Literal

from pagoda.plain import JsonObject, checked, from_plain

TUNING_REMEDY = "pagoda track tune {file} --data DIR"
"""what puts settings of a linker into a file"""


@checked
@dataclass(frozen=True, kw_only=True)
class LinkerSettings:
    """A linker with numbers that were chosen on annotated videos.

    Raises ValueError for a number below 0 or without end, which no linker has, and for a split that is no name.

    >>> settings = LinkerSettings(linker="byte", numbers={"max_cost": 0.7}, metric="HOTA", split="train")
    >>> LinkerSettings.from_dict(settings.to_dict()) == settings
    True
    """

    linker: Literal["byte", "ocsort"]
    """its name"""
    numbers: Mapping[str, float]
    """fields of the linker; those that are not named keep its own values"""
    metric: Literal["HOTA", "pose MOTA"]
    """that they were chosen by"""
    split: str
    """of the data set that they were chosen on"""
    appearance: Literal["none", "model"] = "none"
    """what is compared besides places"""
    camera: Literal["still", "moving"] = "still"
    """whether the motion of the picture as a whole is undone first"""

    def __post_init__(self) -> None:
        for name, value in self.numbers.items():
            if not 0 <= value < inf:
                raise ValueError(f"linker.numbers: {name:.80} must be a number from 0 on, got {value}")
        if not isinstance(self.split, str):
            raise ValueError(f"linker.split must be the name of a split, got {self.split!r:.80}")

    @classmethod
    def from_dict(cls, data: object) -> "LinkerSettings":
        """What `to_dict` wrote. Raises ValueError that names the entry which is none."""
        return from_plain(cls, data, "linker.")

    def to_dict(self) -> JsonObject:
        """Words and numbers, ready for JSON."""
        return {**asdict(self), "numbers": dict(self.numbers)}

    def text(self) -> str:
        """What holds, in words."""
        said = ", ".join(f"{name} {value:g}" for name, value in self.numbers.items()) or "its own numbers"
        more = [f"appearance {self.appearance}"] * (self.appearance != "none") + [f"camera {self.camera}"] * (
            self.camera != "still"
        )
        return (
            f"linker {self.linker}: {', '.join([said, *more])}; chosen by {self.metric} on split {self.split}"
        )
