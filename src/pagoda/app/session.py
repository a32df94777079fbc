"""What one person looks at: nothing of it is anybody else's, and nothing is changed, only replaced."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np

from pagoda.app.looking import Look, ShownLimits
from pagoda.app.reasons import Reasons
from pagoda.plain import checked

Place = Literal["files", "data"]
"""whether a picture is one of the person's own or of the data set"""


class Chosen(NamedTuple):
    """The object that was clicked."""

    model: int | None
    """whose detection it is, counted from 0; None: an annotated object"""
    row: int
    """of the shown detections, or of the picture's annotations"""


@dataclass(frozen=True, eq=False)
class Shown:
    """The picture at hand."""

    name: str
    """in words"""
    pixels: np.ndarray
    """(H, W, 3) RGB uint8, or RGBA"""
    looks: tuple[Look | None, ...]
    """what each model's network said; None: it does not look at single pictures"""
    index: int | None = None
    """in the data set, where it is of that"""
    film: Path | None = None
    """the video of which it is the first frame"""


@checked
@dataclass(eq=False)
class Ending:
    """Whether a person has asked for the end of the video that is being followed; the one thing that is changed.

    >>> Ending().asked
    False
    """

    asked: bool = False
    """since it began"""
    is_left: bool = False
    """because the person has gone on to another picture, whose words stay"""


@checked
@dataclass(frozen=True, eq=False)
class Session:
    """Everything that the page knows of one person.

    >>> Session().shown is None, Session().limits.min_score
    (True, 0.3)
    """

    files: tuple[Path, ...] = ()
    """that were handed over"""
    place: Place = "data"
    """where the picture at hand comes from"""
    at: int = 0
    """which of the files, or of the data set's pictures"""
    limits: ShownLimits = field(default_factory=ShownLimits)
    """of what is drawn"""
    shown: Shown | None = None
    """None: nothing yet, or what could not be read"""
    chosen: Chosen | None = None
    """None: nothing is"""
    reasons: tuple[Reasons | None, ...] = ()
    """of each model on the picture at hand, as far as they have been asked for"""
    ending: Ending = field(default_factory=Ending)
    """the same one, whatever else is replaced"""
