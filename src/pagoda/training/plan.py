"""How long a run will take and how much memory, from the steps it begins with."""

from collections.abc import Callable
from dataclasses import dataclass, field
from time import monotonic

from pagoda.messages import counted, in_bytes, lasting
from pagoda.plain import checked
from pagoda.training.settings import TrainSettings

LEAST_STEPS, MOST_STEPS, ENOUGH_SECONDS = 2, 8, 20.0
"""after the first step so many are measured, until they have taken so long"""
OF_LEARNING = 0.4
"""what it takes to validate a picture, as a share of what it takes to learn from it, where that was not measured"""
SMALLER = 320
"""short side in pixels that is named as the quicker one"""


@checked
@dataclass
class Pace:
    """Measures steps: call it after each.

    >>> pace = Pace(clock=iter([5.0, 7.0, 9.0, 20.0]).__next__)
    >>> pace(), pace(), pace(), pace.step_seconds  # the first prepares what the others find
    (False, False, False, 2.0)
    >>> pace()
    False
    """

    clock: Callable[[], float] = monotonic
    """seconds, counted from any moment"""
    times: list[float] = field(default_factory=list)
    """the ends of the steps that are measured"""

    def __call__(self) -> bool:
        """Whether with the step that has just ended enough are measured, for the first time."""
        if self.is_known:
            return False
        self.times.append(self.clock())
        return self.is_known

    @property
    def is_known(self) -> bool:
        measured = len(self.times) - 1
        is_long = measured >= LEAST_STEPS and self.times[-1] - self.times[0] >= ENOUGH_SECONDS
        return is_long or measured >= MOST_STEPS

    @property
    def step_seconds(self) -> float:
        """The mean of what was measured. Raises ValueError before the second step is done."""
        if len(self.times) < 2:
            raise ValueError("a pace needs two steps or more")
        return (self.times[-1] - self.times[0]) / (len(self.times) - 1)


@dataclass(frozen=True, kw_only=True)
class RunPlan:
    """What a run, or the rest of one, will take.

    >>> plan = RunPlan(epochs=12, steps=312, step_seconds=6.5, step_pictures=8, validated=1044, memory=3.1 * 2**30,
    ...                machine="2 threads", short_side=800)
    >>> plan.text()
    '12 epochs, 312 steps: about 39 min and 3.1 GB on this machine (2 threads); at --model.short-side 320 about 6 min'
    """

    epochs: int
    """that are to be done"""
    steps: int
    """of the optimiser"""
    step_seconds: float
    """that each takes, reading pictures included"""
    step_pictures: int
    """that each learns from, in this process"""
    validated: int
    """pictures that are looked at in all validations together, in this process"""
    memory: float | None
    """bytes that the process takes at most; None where nobody tells"""
    machine: str
    """on which it was measured"""
    scored_seconds: float | None = None
    """that validating a picture takes; None where it was not measured"""
    is_memory_whole: bool = True
    """whether the largest batches have been tried; else `memory` is what was taken so far"""
    short_side: int | None = None
    """of pictures, in pixels, where another one could be chosen"""

    @property
    def seconds(self) -> float:
        """Of all steps and validations."""
        scored = self.scored_seconds
        if scored is None:
            scored = OF_LEARNING * self.step_seconds / self.step_pictures
        return self.steps * self.step_seconds + self.validated * scored

    def text(self) -> str:
        """A line for people."""
        so_far = "" if self.is_memory_whole else " so far"
        memory = "" if self.memory is None else f" and {in_bytes(self.memory)}{so_far}"
        said = (
            f"{counted(self.epochs, 'epoch')}, {counted(self.steps, 'step')}: about {lasting(self.seconds)}{memory} on"
            f" this machine ({self.machine})"
        )
        if self.short_side is None or self.short_side < 1.25 * SMALLER:
            return said
        quicker = lasting(self.seconds * (SMALLER / self.short_side) ** 2)
        return f"{said}; at --model.short-side {SMALLER} about {quicker}"


def is_scored_after(epoch: int, settings: TrainSettings) -> bool:
    """Whether a run is scored after this epoch, counted from 0.

    >>> [is_scored_after(epoch, TrainSettings(data="", epochs=5, val_every=2)) for epoch in range(5)]
    [False, True, False, True, True]
    """
    return (epoch + 1) % settings.val_every == 0 or epoch + 1 == settings.epochs
