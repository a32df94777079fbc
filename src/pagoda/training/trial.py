"""The first steps of a run on a copy of its model, before the run: what they take, and how many pictures fit.

What a run takes at most comes later than its first steps: with the largest pictures, with the most crowded ones once
the model finds what is in them, or when it is scored. These are looked for among the run's own batches, and tried.
"""

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from time import monotonic

import numpy as np
import torch

from pagoda.batch_size import is_out_of_memory
from pagoda.data.loading import BatchPlan, Draw, TrainingView, make_loader
from pagoda.data.table.samples import AnnotatedDataset
from pagoda.detectors.contract import Detector
from pagoda.evaluation.coco.result import DetectionResult
from pagoda.evaluation.runner import by_aspect, collect
from pagoda.machine import find_device, processor_name
from pagoda.memory import available_memory, forget_peak, held_memory, peak_memory
from pagoda.messages import counted, in_bytes
from pagoda.preprocess import InputSpec
from pagoda.structures.tubes import AnyTargets
from pagoda.training.batches import learnable_batch
from pagoda.training.distributed import processes
from pagoda.training.last import Position, random_state, restore_random_state
from pagoda.training.loop import Trainer
from pagoda.training.plan import ENOUGH_SECONDS, LEAST_STEPS, MOST_STEPS, Pace, RunPlan, is_scored_after
from pagoda.training.settings import TrainSettings

SHARE = 0.8
"""of the memory that is free, which a run may take"""
STEPS = 2
"""that tell how much memory a number of pictures takes: from the second on the optimiser holds its means"""
SEARCHED = 100_000
"""pictures of a run's epochs among whose batches the largest are looked for, in whole epochs"""


@dataclass(frozen=True, kw_only=True)
class Heaviest:
    """Of what the largest batches of a run are made."""

    view: TrainingView
    """what the run learns from, with its random changes as large and as crowded as they come"""
    objects: np.ndarray
    """(n,) how many objects each picture of `view` has"""
    scored: AnnotatedDataset[AnyTargets]
    """what the run is scored on"""


@dataclass(frozen=True)
class Trial:
    """A run that may be tried: what a `Trainer` needs of model, data and settings.

    Raises ValueError where several processes train together, who would have to agree on what they found.
    """

    model: Detector
    """as the run begins with it; it is copied, and stays as it is"""
    view: TrainingView
    """what the run learns from"""
    settings: TrainSettings
    """of the run"""
    sizes: np.ndarray
    """(n, 2) height and width of the pictures that `view` shows"""
    factors: np.ndarray | None = None
    """(n,) how often each of them is drawn relative to the others"""
    heaviest: Heaviest | None = None
    """what its largest batches are made of; None: first steps alone are tried"""

    def __post_init__(self) -> None:
        if processes(self.settings.device).num_processes > 1:
            raise ValueError(
                "steps are tried by a single process: leave the launcher out, or --plan and --batch-size auto"
            )

    def plan(self, num_scored: int, *, clock: Callable[[], float] = monotonic) -> RunPlan:
        """What the run would take with `num_scored` pictures in a validation, from as many steps as that needs."""
        pace, since = Pace(clock), clock()
        with self._trainer(self.settings) as trainer:
            trainer.try_steps(pace)
            if len(pace.times) < 2:  # a run of one step
                pace.times.insert(0, since)
            plan = plan_of(trainer, pace, num_scored, heaviest=self.heaviest, clock=clock)
        if plan.memory is None or trainer.device.type != "cpu":
            return plan
        return replace(plan, memory=plan.memory - _weights_bytes(self.model))  # the run does without the copy

    def fitting(self, most: int) -> tuple[int, str]:
        """(pictures that fit into memory in one step, a few words on why): `most`, half of it, a quarter …

        On an accelerator that is tried. On a processor, whose system ends a process that takes too much, it follows
        from what steps of few pictures take. That the fewest fit is taken for granted.
        """
        device = find_device(self.settings.device)
        sizes = [most]
        while sizes[-1] > 1:
            sizes.append(sizes[-1] // 2)
        if device.type != "cpu":
            size = next((size for size in sizes[:-1] if self._takes(size) is not None), 1)
            return size, f"tried on {processor_name(device)}"
        room, held = available_memory(), held_memory()
        if room is None or held is None:
            return most, "this system does not say how much memory is free"
        few, taken = self._few()
        if taken is None or taken - held > SHARE * room:
            return few, f"{in_bytes(room)} are free"
        each = max(0, (self._takes(few + 1) or 2 * taken) - taken)
        needed = {size: taken + each * (size - few) - held for size in sizes if size >= few}
        size = next((size for size in needed if needed[size] <= SHARE * room), few)
        return size, f"{in_bytes(max(0, needed.get(size, taken - held)))} of {in_bytes(room)} that are free"

    def _few(self) -> tuple[int, int | None]:
        """(the fewest pictures that the model can learn from at a time, what they take)."""
        try:
            return 1, self._takes(1)
        except ValueError:  # a batch norm would see a single value
            return 2, self._takes(2)

    def _takes(self, size: int) -> int | None:
        """Bytes taken at most in steps of so many pictures; None where they do not fit."""
        settings = replace(self.settings, batch_size=size, optim=replace(self.settings.optim, accumulate=1))
        forget_peak()
        try:
            with self._trainer(settings) as trainer:
                trainer.try_steps(lambda: trainer.at.step >= STEPS)
                if self.heaviest is not None:
                    rehearse(trainer, self.heaviest)
                return peak_memory(trainer.device) or 0
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
        return None

    @contextmanager
    def _trainer(self, settings: TrainSettings) -> Iterator["_Trying"]:
        """One whose steps leave no trace: neither in the model nor in what is drawn later, nor on the disk."""
        state = random_state()
        with TemporaryDirectory() as folder:
            trainer = _Trying(
                copy.deepcopy(self.model),
                self.view,
                _unscored,
                settings,
                Path(folder),
                sizes=self.sizes,
                factors=self.factors,
                quiet=True,
            )
            try:
                yield trainer
            finally:
                if trainer.log is not None:
                    trainer.log.close()
                restore_random_state(state)


class _Trying(Trainer):
    """A trainer that takes a few steps, and neither saves nor scores."""

    def try_steps(self, is_enough: Callable[[], bool]) -> None:
        """Learn from the first epoch's batches, until after a step there were enough."""
        self.model.train()
        for batch in make_loader(self.view, self.plan.epoch(0), num_workers=self.settings.workers):
            self._learn(batch)
            if self._is_step_boundary() and is_enough():
                return


def rehearse(trainer: Trainer, heaviest: Heaviest, *, clock: Callable[[], float] = monotonic) -> float | None:
    """Take the memory that the run's largest batches will take, between two steps; the run goes on as if nothing had
    been. Several are tried, as a processor's memory is left with gaps by those of other sizes.
    Returns the seconds that scoring a picture takes, None where one cannot be read.

    Raises torch's error where there is not as much memory.
    """
    state, since = random_state(), monotonic()
    buffers = [(buffer, buffer.clone()) for buffer in trainer.model.buffers()]
    draws = heaviest_batches(
        trainer.plan, trainer.model.input_spec, heaviest.objects, trainer.settings.epochs
    )
    try:
        with trainer.model.as_learnt():
            _try_batches(trainer, heaviest.view, draws)
        return _scoring_seconds(trainer, heaviest.scored, clock)
    finally:
        trainer.optimizer.zero_grad(set_to_none=True)
        with torch.no_grad():
            for buffer, before in buffers:
                buffer.copy_(before)
        restore_random_state(state)
        trainer.at.seconds -= monotonic() - since  # they are no training


def _try_batches(trainer: Trainer, view: TrainingView, draws: list[list[Draw]]) -> None:
    """Losses and gradients of each, two at least and until they have taken long enough; no step."""
    since = monotonic()
    for number, batch in enumerate(make_loader(view, draws, num_workers=trainer.settings.workers)):
        if number >= LEAST_STEPS and monotonic() - since > ENOUGH_SECONDS:
            return
        sum(trainer.losses_of(*learnable_batch(trainer.model, batch)).values()).backward()
        trainer.optimizer.zero_grad(set_to_none=True)


def heaviest_batches(
    plan: BatchPlan, spec: InputSpec, objects: np.ndarray, epochs: int, *, most: int = MOST_STEPS
) -> list[list[Draw]]:
    """Of a run's batches the one with the most pixels, padding included, and then those with the most objects.

    `objects` are those of each picture; no batch comes twice.

    >>> plan = BatchPlan(images=np.array([[50, 60], [60, 60], [50, 60]]), batch_size=1, seed=0)
    >>> batches = heaviest_batches(plan, InputSpec(short_side=50, long_side=60), np.array([2, 2, 7]), epochs=1, most=2)
    >>> [[draw.index for draw in batch] for batch in batches]  # 50×60, of two the one with more objects
    [[2], [0]]
    """
    frames = _frames(plan.images, spec)
    batches = [
        batch
        for epoch in range(min(epochs, max(1, SEARCHED // plan.num_images)))
        for batch in plan.epoch(epoch)
    ]
    indices = [[draw.index for draw in batch] for batch in batches]
    pixels = [len(batch) * int(frames[batch].max(0).prod()) for batch in indices]
    crowds = [int(objects[batch].sum()) for batch in indices]
    numbers = range(len(batches))
    largest = max(numbers, key=lambda number: (pixels[number], crowds[number]))
    fullest = sorted(numbers, key=lambda number: (crowds[number], pixels[number]), reverse=True)
    return [batches[number] for number in list(dict.fromkeys((largest, *fullest)))[:most]]


def plan_of(
    trainer: Trainer,
    pace: Pace,
    num_scored: int,
    *,
    begun: Position | None = None,
    is_open: bool = True,
    heaviest: Heaviest | None = None,
    clock: Callable[[], float] = monotonic,
) -> RunPlan:
    """What a run takes, as the pace says.

    Args:
        trainer: of the run.
        pace: of its steps.
        num_scored: pictures in each validation.
        begun: where it went on from; None: it began with nothing.
        is_open: the size of the pictures could still be chosen otherwise.
        heaviest: what its largest batches are made of, which are then tried (`rehearse`).
        clock: seconds, as the pace counts them.
    """
    scored_seconds = None if heaviest is None else rehearse(trainer, heaviest, clock=clock)
    begun = begun or Position()
    settings, model, device = trainer.settings, trainer.model, trainer.device
    has_sides = "short_side" in (model.origin or {}).get("options", {})
    is_cpu = device.type == "cpu"
    validations = sum(is_scored_after(epoch, settings) for epoch in range(begun.epoch, settings.epochs))
    return RunPlan(
        epochs=settings.epochs - begun.epoch,
        steps=trainer.total_steps - begun.step,
        step_seconds=pace.step_seconds,
        step_pictures=min(trainer.plan.batch_size, trainer.plan.num_images) * settings.optim.accumulate,
        validated=validations * num_scored // trainer.accelerator.num_processes,
        memory=peak_memory(device),
        machine=counted(torch.get_num_threads(), "thread") if is_cpu else processor_name(device),
        scored_seconds=scored_seconds,
        is_memory_whole=heaviest is not None,
        short_side=model.input_spec.short_side if has_sides and is_open else None,
    )


def _scoring_seconds(
    trainer: Trainer, scored: AnnotatedDataset[AnyTargets], clock: Callable[[], float]
) -> float | None:
    """That each picture takes of the batch with the most pixels, scored after another one; None where a picture of them
    cannot be read."""
    size = trainer.settings.batch_size
    assert isinstance(size, int)
    sizes, order = scored.annotations.sizes, by_aspect(scored.annotations.sizes)
    groups = [order[start : start + size] for start in range(0, len(order), size)]
    frames = _frames(sizes, trainer.model.input_spec)
    # In a batch they are padded to one size; objects come back, with their masks, at the size of each picture.
    pixels = [len(group) * frames[group].max(0).prod() + sizes[group].prod(1).sum() for group in groups]
    largest = groups.pop(int(np.argmax(pixels)))
    first = next((group for group in groups if len(group) == size), [])
    ends = [clock()]
    skipped: list[str] = []
    collect(
        trainer.model_to_keep(),
        scored,
        indices=[*first, *largest],
        batch_size=size,
        progress=lambda done: ends.append(clock()),
        skipped=skipped,
    )
    return None if skipped else (ends[-1] - ends[-2]) / len(largest)


def _frames(sizes: np.ndarray | int, spec: InputSpec) -> np.ndarray:
    """(n, 2) what pictures of these sizes take in a batch."""
    every, of_picture = np.unique(sizes, axis=0, return_inverse=True)
    return np.array([spec.frame((int(height), int(width))) for height, width in every])[of_picture.ravel()]


def _weights_bytes(model: torch.nn.Module) -> int:
    return sum(tensor.nbytes for tensor in (*model.parameters(), *model.buffers()))


def _unscored(*_: object) -> DetectionResult:
    raise AssertionError("steps that are tried are not scored")
