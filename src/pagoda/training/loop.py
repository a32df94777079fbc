"""The training loop: one screen (`Trainer.run`), and the steps it is made of."""

import signal
from collections.abc import Callable, Iterable, Mapping
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from time import monotonic
from typing import NoReturn

import numpy as np
import torch
from accelerate import Accelerator
from torch import Tensor

from pagoda.data.loading import Batch, Skipped, TrainingView, make_loader
from pagoda.detectors.contract import Detector
from pagoda.evaluation.coco.result import DetectionResult
from pagoda.layers.memory_format import order_weights
from pagoda.machine import choose_precision
from pagoda.plain import checked
from pagoda.stopping import Stopped, StopRequests
from pagoda.structures.tubes import AnyTargets
from pagoda.training.batches import learnable_batch, plan_batches
from pagoda.training.best import save_best
from pagoda.training.distributed import (
    LostProcessError,
    StepLosses,
    all_skipped,
    check_same_data,
    highest,
    is_of_lost_process,
    processes,
    seed_batch,
    share_buffers,
    sum_exactly,
    sum_losses,
)
from pagoda.training.ema import ModelAverage
from pagoda.training.failed_batch import NotFiniteError, kept_failure, not_finite_gradients
from pagoda.training.last import (
    Position,
    Saved,
    check_batches,
    compare_data,
    load_last,
    random_state,
    restore_random_state,
    save_last,
)
from pagoda.training.optim import build_optimizer, clip_gradients, hold_parts, rate_factor, set_rate
from pagoda.training.plan import is_scored_after
from pagoda.training.run_log import RunLog
from pagoda.training.settings import TrainSettings
from pagoda.training.sharding import Losses, cut_up, learnt_state, restore_learnt, whole_model
from pagoda.training.trackers import Trackers

MakeBar = Callable[[str, int], Callable[[int], None]]
"""(label, total) to a progress bar, which is called with the number done"""
Validate = Callable[[Detector, MakeBar], DetectionResult]
"""(model, progress bar factory) to a result; the same on every process."""


@checked
class Trainer:
    """One run of `model` on `view`; `run` is its folder. `Trainer.run()` returns the last validation.

    >>> from tempfile import TemporaryDirectory
    >>> import pagoda
    >>> from pagoda.data.drawn.synthetic import DrawnShapes
    >>> shapes = DrawnShapes(4, image_size=(32, 32), seed=1)
    >>> model = pagoda.create_model("fcos_resnet18_fpn", num_classes=3, base_channels=8, width=8, norm_groups=4)
    >>> settings = TrainSettings(data="drawn", epochs=3, batch_size=2, device="cpu")
    >>> view, sizes = TrainingView(shapes), shapes.annotations.sizes
    >>> with TemporaryDirectory() as run:
    ...     trainer = Trainer(model, view, lambda *_: None, settings, Path(run), sizes=sizes, quiet=True)
    ...     trainer.log.close()
    >>> trainer.total_steps, trainer.at.step  # 3 epochs of 2 batches
    (6, 0)
    """

    def __init__(
        self,
        model: Detector,
        view: TrainingView,
        validate: Validate,
        settings: TrainSettings,
        run: Path,
        *,
        sizes: np.ndarray,
        factors: np.ndarray | None = None,
        data: Mapping[str, str] | None = None,
        resume: bool = False,
        go_on: str = "",
        quiet: bool = False,
    ) -> None:
        """
        Args:
            sizes: (n, 2) height and width of the pictures that `view` shows.
            factors: (n,) how often each of them is drawn relative to the others, `data.balance.picture_factors`.
            data: fingerprints of the "train" and "val" data, which a run that goes on compares.
            resume: go on from the folder's last state.
            go_on: the command that does so, told to who stops the run.
        """
        self.settings, self.view, self.validate, self.folder = settings, view, validate, run
        self.go_on = go_on
        # Autocast is ours: accelerate fixes its own once per Python process, for every later run too.
        processes(settings.device)  # opens the group, which accelerate then finds
        self.accelerator = Accelerator(mixed_precision="no", device_placement=False)
        self.device = self.accelerator.device if settings.device == "auto" else torch.device(settings.device)
        self.precision, _ = choose_precision(settings.precision, self.device, "training")
        self.is_main, self.num_processes = self.accelerator.is_main_process, self.accelerator.num_processes
        self.memory_format = torch.channels_last if settings.channels_last else torch.contiguous_format
        self.model = order_weights(model.to(self.device), channels_last=settings.channels_last)
        optim = settings.optim
        hold_parts(self.model, frozen_stages=optim.frozen_stages, norm_eval=optim.norm_eval)
        self.optimizer = build_optimizer(self.model.train(), optim)
        decay = optim.ema_decay
        self.is_cut = settings.shard and self.num_processes > 1
        is_averaged = decay > 0 or self.is_cut  # without memory it is the model, which is scored whole
        self.average = ModelAverage(self.model, decay, ramp=optim.ema_ramp) if is_averaged else None
        processes_now = self.num_processes, self.accelerator.process_index
        self.plan = plan_batches(self.model, sizes, settings, *processes_now, factors, view.parts)
        self.total_steps = self.steps_of(settings.epochs)
        self.at = Position()
        self.data, self.notes = dict(data or {}), list[str]()
        check_same_data(self.data, self.num_processes)
        if resume:
            self._restore(load_last(run, say=self.notes.append))
        self.saved_step = self.at.step if resume else None
        self.losses = (
            cut_up(self.model, self.optimizer, self.average, self.device)
            if self.average is not None and self.is_cut
            else sum_exactly(self.accelerator.prepare(Losses(self.model)))
        )
        self.saved_at = monotonic()
        self.on_step: Callable[[], object] = lambda: None  # called after every step
        self.log = (
            RunLog(
                run,
                total_steps=self.total_steps,
                resume_step=self.at.step,
                is_scored=self.at.is_scored,
                quiet=quiet,
                open_trackers=partial(Trackers.of, settings, run) if settings.track else None,
            )
            if self.is_main
            else None
        )
        self.stops = StopRequests(
            "stopping at the end of this step; Ctrl-C again stops at once" * self.is_main
        )
        for note in self.notes:
            self._say(note)

    def run(self) -> DetectionResult | None:
        """Train to the end. Raises NotFiniteError with a capsule.

        After Ctrl-C or SIGTERM it saves `last/` at the end of the step, in all processes of a group, and raises
        Stopped, which says how to go on; a second Ctrl-C raises at once.
        """
        try:
            with self.stops:
                return self._run()
        except KeyboardInterrupt as stop:
            raise Stopped(self.stops.received or signal.SIGINT, self._how_to_go_on()) from stop
        except RuntimeError as error:
            if is_of_lost_process(error):
                raise LostProcessError(error, self._how_to_go_on()) from error
            raise
        finally:
            if self.log is not None:
                self.log.close()

    def _run(self) -> DetectionResult | None:
        result = None
        if self.saved_step is None:
            self._save()  # from here on --resume works
        if not self.at.is_scored:
            result = self._score(self.at.epoch - 1)
        for epoch in range(self.at.epoch, self.settings.epochs):
            self._learn_epoch(epoch)
            self.at.epoch, self.at.batch = epoch + 1, 0
            self.at.is_scored = not is_scored_after(epoch, self.settings)
            self._save()  # before scoring: whatever happens there, the epoch is not lost
            if not self.at.is_scored:
                result = self._score(epoch)
            if 0 < self.settings.patience <= self.at.worse_count:
                self._say(f"no better AP for {self.at.worse_count} validations: stopped early")
                break
        return result

    def _learn_epoch(self, epoch: int) -> None:
        self.model.train()
        batches = self.plan.epoch(epoch, self.at.batch)
        since = monotonic()
        on_gpu = self.device.type == "cuda"
        for batch in make_loader(self.view, batches, num_workers=self.settings.workers, pin_memory=on_gpu):
            self._learn(batch)
            self.at.seconds, since = self.at.seconds + monotonic() - since, monotonic()
            if self._is_step_boundary():
                self._stop_where_asked()
                if self._is_save_due():
                    self._save()

    def _stop_where_asked(self) -> None:
        """Save and raise Stopped in every process of the group where one of them was asked to stop."""
        self.stops.received = highest(self.stops.received, self.device, self.num_processes)
        if self.stops.received:
            self._save()
            self.accelerator.wait_for_everyone()  # a launcher ends the others when the first one goes
            self.stops.check()

    def _how_to_go_on(self) -> str:
        if not self.is_main:
            return ""
        if self.saved_step is None:
            return "stopped before anything was learnt"
        said = f"stopped at step {self.at.step} of {self.total_steps}; saved up to step {self.saved_step}"
        return f"{said}; go on with: {self.go_on}" if self.go_on else said

    def _learn(self, batch: Batch) -> None:
        """One batch: losses, gradients and, every `accumulate` batches, a step of the optimiser."""
        if self.num_processes > 1:
            seed_batch(self.settings.seed, self._batches_done(), self.accelerator.process_index)
        pictures, targets = learnable_batch(self.model, batch, is_cut=self.is_cut)
        accumulate = self.settings.optim.accumulate
        is_step = (self._batches_done() + 1) % accumulate == 0
        with nullcontext() if is_step or self.is_cut else self.accelerator.no_sync(self.losses):
            losses = self.losses_of(pictures, targets)
            learnt = sum_losses(losses, len(batch.skipped), self.num_processes)
            if learnt.num_skipped:
                self._note_skipped(all_skipped(batch.skipped, self.num_processes))
            if not learnt.is_finite:
                _stop_not_finite(self, "loss", learnt, pictures, targets)
            self.accelerator.backward(learnt.total / accumulate)
        self.at.batch += 1
        if is_step:
            self._step(learnt, pictures, targets)

    def losses_of(self, pictures: list[Tensor], targets: list[AnyTargets]) -> dict[str, Tensor]:
        """The losses of a batch, from which gradients follow."""
        images = self.model.input_spec.batch(pictures, device=self.device).to(
            memory_format=self.memory_format
        )
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.precision == "bf16"):
            return self.losses(images, [target.to(self.device) for target in targets])

    def _step(self, learnt: StepLosses, pictures: list[Tensor], targets: list[AnyTargets]) -> None:
        optim = self.settings.optim
        norm = clip_gradients(self.model, optim)
        if not torch.isfinite(norm):
            guilty = ", ".join(not_finite_gradients(self.model)[-3:]) or "a part that another process holds"
            _stop_not_finite(self, f"gradient of {guilty}", learnt, pictures, targets)
        rate = set_rate(self.optimizer, rate_factor(self.at.step, self.total_steps, optim))
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        if self.average is not None:
            self.average.update(self.model, self.at.step)
        self.at.step += 1
        self.on_step()
        if self.log is not None:
            loss = sum(learnt.values.values())
            self.log.write(
                "step",
                self.at.step,
                epoch=self.at.epoch,
                lr=rate,
                loss=loss,
                gradient_norm=norm.item(),
                **learnt.values,
            )
            self.log.advance(self.at.step, f"epoch {self.at.epoch + 1} · loss {loss:.3f}")

    def _score(self, epoch: int) -> DetectionResult:
        """Validate the averaged model, keep it when it is the best so far."""
        self._stop_where_asked()
        share_buffers(self.model_to_keep(), self.num_processes)
        with self.stops.at_once():  # the epoch is saved
            result = self.validate(self.model_to_keep(), self._progress)
        is_best = self.at.judge(result.deciding[1])
        if self.log is not None:
            self.log.write("val", self.at.step, epoch=epoch + 1, seconds=self.at.seconds, **result.metrics)
            self.log.say(
                f"epoch {epoch + 1}/{self.settings.epochs}: {result.line()}{'  best so far' * is_best}"
            )
            for warning in result.warnings if self.at.epoch <= self.settings.val_every else ():
                self.log.say(f"warning: {warning}")
            if is_best:
                save_best(self.folder, self.model_to_keep(), result, epoch=epoch + 1, data=self.data)
        self.at.is_scored = True
        self._save()
        return result

    def _save(self) -> None:
        self.saved_at = monotonic()
        if self.log is None and not self.is_cut:
            return
        parts = learnt_state(
            self.model, self.optimizer, self.average, is_cut=self.is_cut, is_kept=self.is_main
        )
        if self.log is None:
            return
        self.log.to_disk()
        state = {
            "at": vars(self.at),
            **parts,
            "random": random_state(),
            "batches_per_epoch": len(self.plan),
            "batch_pictures": self.plan.global_size,
            "data": self.data,
        }
        save_last(self.folder, state)
        self.saved_step = self.at.step

    def _restore(self, state: Saved) -> None:
        note = compare_data(self.folder, state.get("data", {}), self.data)
        self.notes += [note] if note else []
        check_batches(self.folder, state, self.plan)
        restore_learnt(state, self.model, self.optimizer, self.average)
        restore_random_state(state["random"])
        self.at = Position(**state["at"])

    def _note_skipped(self, pictures: Iterable[Skipped]) -> None:
        for skipped in pictures:
            self.at.skipped += 1
            if self.log is not None:
                self.log.write("note", self.at.step, skipped=skipped.reason)
                self.log.say(f"skipped: {skipped.reason} ({self.at.skipped} so far)")

    def model_to_keep(self) -> Detector:
        """The averaged model, or the one that learns where nothing is averaged."""
        return self.average.whole() if self.average is not None else self.model

    def _is_save_due(self) -> bool:
        is_due = monotonic() - self.saved_at > self.settings.save_seconds
        return bool(highest(int(is_due), self.device, self.num_processes)) if self.is_cut else is_due

    def _batches_done(self) -> int:
        return self.at.epoch * len(self.plan) + self.at.batch

    def steps_of(self, epochs: int) -> int:
        """Steps of the optimiser in a run of so many epochs."""
        return max(1, epochs * len(self.plan) // self.settings.optim.accumulate)

    def _is_step_boundary(self) -> bool:
        return self._batches_done() % self.settings.optim.accumulate == 0

    def _progress(self, label: str, total: int) -> Callable[[int], None]:
        return self.log.progress(label, total) if self.log is not None else lambda done: None

    def _say(self, text: str) -> None:
        if self.log is not None:
            self.log.say(text)


def _stop_not_finite(
    trainer: Trainer, what: str, learnt: StepLosses, pictures: list[Tensor], targets: list[AnyTargets]
) -> NoReturn:
    model = trainer.model
    if trainer.average is not None and trainer.is_cut:
        model = whole_model(model, trainer.average)
    error = NotFiniteError(f"the {what} of another process is not finite at step {trainer.at.step}")
    if learnt.is_suspect:
        error = kept_failure(
            trainer.folder / f"capsule-step{trainer.at.step}-rank{trainer.accelerator.process_index}.pt",
            model,
            pictures,
            targets,
            what=what,
            step=trainer.at.step,
            losses={name: value.item() for name, value in learnt.mine.items()},
            precision=trainer.precision,
            channels_last=trainer.settings.channels_last,
        )
    trainer.accelerator.wait_for_everyone()  # a launcher ends the others when the first one goes
    raise error
