"""From a dataset folder to a trained, scored and reported detector."""

import sys
from collections.abc import Callable, Mapping
from contextlib import closing, nullcontext
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TypeAlias

import torch
from accelerate.utils import broadcast_object_list

from pagoda.data.balance import balance_remark
from pagoda.data.table.annotations import Annotations
from pagoda.data.table.fingerprint import fingerprint
from pagoda.data.table.samples import AnnotatedDataset
from pagoda.detectors.contract import Detector
from pagoda.evaluation.coco.operating import OperatingOptions
from pagoda.evaluation.coco.result import DetectionResult
from pagoda.evaluation.runner import evaluate
from pagoda.exporting.optimize import optimize
from pagoda.files.lock import hold_folder
from pagoda.machine import choose_precision, find_device
from pagoda.plain import JsonObject
from pagoda.recipes.augmentation import check_pasting
from pagoda.recipes.datasets import check_frames, check_learnable, check_scorable, check_tiles, open_data
from pagoda.recipes.initial_model import Build, Start, begin_anew, starting_model
from pagoda.recipes.planning import heaviest_of, learnt, trial_of, watched, with_batch_size
from pagoda.recipes.remarks import data_remarks, tile_remarks
from pagoda.recipes.resuming import (
    begun_run,
    check_epochs,
    check_same_run,
    config_content,
    config_of_run,
    how_to_go_on,
    rewrite_settings,
    schedule_note,
    settings_in,
    settings_with,
    share_note,
    shared_anew,
)
from pagoda.recipes.run_report import report_if_possible, report_run
from pagoda.recipes.target_fields import check_keypoints, lighten
from pagoda.structures.tubes import AnyTargets
from pagoda.training.distributed import num_restarts, num_started, processes
from pagoda.training.loop import MakeBar, Trainer
from pagoda.training.plan import RunPlan
from pagoda.training.run_folder import run_name, shared_run_folder, write_config
from pagoda.training.settings import TrainSettings, to_plain
from pagoda.zoo.cards import model_from_card

Dataset: TypeAlias = AnnotatedDataset[AnyTargets]
REPORTED = OperatingOptions(rounds=500)
"""what a run's page says of scores: it is found out after every epoch, so of fewer samples than `pagoda val` takes"""


@dataclass(frozen=True)
class RunResult:
    """A finished run, as `pagoda.train` returns it.

    >>> from dataclasses import fields
    >>> [field.name for field in fields(RunResult)]
    ['folder', 'model', 'result', 'before']
    """

    folder: Path
    """where config.yaml, metrics.jsonl, best.safetensors, report.html and last/ are"""
    model: Detector
    """with the weights after the last step, averaged as `ema_decay` says; those of the best validation are in
    best.safetensors"""
    result: DetectionResult
    """the last validation"""
    before: DetectionResult | None
    """the untrained model's score, where asked for"""


def train(
    model: str | Path | Detector,
    settings: TrainSettings,
    *,
    options: JsonObject | None = None,
    build: Build | None = None,
    most_pictures: int = 8,
    resume_begun: bool = False,
    quiet: bool = False,
) -> RunResult:
    """Train a model on the dataset folder `settings.data`, into a new run folder.

    Raises before anything is made: FileNotFoundError without data, ValueError for data that the model cannot learn.
    Where torchrun has started the processes again, it goes on with the run that they had begun.

    >>> train("fcos_resnet18_fpn", TrainSettings(data="no/such/folder"))  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    FileNotFoundError: there is no folder no/such/folder...

    Args:
        model: the name of a zoo model; a checkpoint, ours or another program's, by its path or address, or a
            built model: fine-tuned, with a class head for the data's classes (`transfer.classes.adapt_classes`).
        options: those of a zoo model; for a checkpoint short_side, long_side, canvas and take.
        build: composes a model that is not in the zoo; `model` is then the name written into its card.
        most_pictures: that each step learns from where `settings.batch_size` is "auto".
        resume_begun: go on with the last run of its name in `settings.out`, if there is one, which has to be the same
            run (`resuming.check_same_run`).
        quiet: no bar, no remarks on the data and no words on standard error.
    """
    start, train_data, val_data = _opened(model, settings, options, build, quiet=quiet)
    go_on = partial(how_to_go_on, model=start.model, is_built=build is not None)
    begun = begun_run(start, settings, is_asked=resume_begun) if resume_begun or num_restarts() else None
    if begun is not None:
        return _run(
            start.model,
            train_data,
            val_data,
            begun.settings,
            begun.folder,
            before=None,
            again=go_on(begun.folder),
            quiet=quiet,
            saved=begun.saved,
        )
    return train_on(
        start.model,
        train_data,
        val_data,
        settings,
        quiet=quiet,
        config=start.config,
        go_on=go_on,
        most_pictures=most_pictures,
    )


def plan(
    model: str | Path | Detector,
    settings: TrainSettings,
    *,
    options: JsonObject | None = None,
    build: Build | None = None,
    most_pictures: int = 8,
    quiet: bool = False,
) -> RunPlan:
    """What `train` would take with these arguments, from the first steps of such a run, of which nothing is kept.

    Raises what `train` raises, and ValueError where several processes train together.

    >>> plan("fcos_resnet18_fpn", TrainSettings(data="no/such/folder"))  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    FileNotFoundError: there is no folder no/such/folder...
    """
    start, train_data, val_data = _opened(model, settings, options, build, quiet=quiet)
    _check(start.model, train_data, val_data, settings)
    settings = _with_precision(settings, quiet=quiet)
    settings = with_batch_size(start.model, train_data, val_data, settings, most_pictures, quiet=quiet)
    return trial_of(start.model, train_data, val_data, settings).plan(len(val_data))


def _opened(
    model: str | Path | Detector,
    settings: TrainSettings,
    options: JsonObject | None,
    build: Build | None,
    *,
    quiet: bool,
) -> tuple[Start, Dataset, Dataset]:
    """(the model, what it is to learn from, what it is scored on), and what there is to say of them."""
    find_device(settings.device)
    data = open_data(settings, model, take=(options or {}).get("take"))
    torch.manual_seed(settings.seed)
    table = data.train if isinstance(data.train, Annotations) else None
    start = starting_model(model, data.label_map, options=options, build=build, table=table)
    train_data, val_data = data.datasets(start.model)
    if not quiet and processes(settings.device).is_main_process:
        remarks = [line for split in (data.train, data.val) for line in data_remarks(split, settings.data)]
        remarks += tile_remarks(start.model, train_data, val_data, settings)
        for line in dict.fromkeys([*filter(None, [start.text]), *remarks]):
            print(line, file=sys.stderr)
    return start, train_data, val_data


def train_on(
    model: Detector,
    train_data: Dataset,
    val_data: Dataset,
    settings: TrainSettings,
    *,
    quiet: bool = False,
    score_before: bool = False,
    config: Mapping[str, object] | None = None,
    go_on: Callable[[Path], str] | None = None,
    most_pictures: int = 8,
) -> RunResult:
    """Train a built model on datasets that are already open: pictures, or clips for a model that looks at them.

    Raises ValueError before training where model, data and augmentation do not fit together.

    Args:
        quiet: no bar and no words on standard error.
        score_before: score the untrained model, too: `RunResult.before`.
        config: entries of config.yaml that are not the model's own.
        go_on: of the run's folder makes the command that goes on with a run that was stopped, where there is one:
            `resume` needs data that it can open.
        most_pictures: that each step learns from where `settings.batch_size` is "auto".

    >>> import pagoda
    >>> from pagoda.data.drawn.synthetic import DrawnShapes
    >>> model = pagoda.create_model("fcos_resnet18_fpn", num_classes=2, base_channels=8, width=8, norm_groups=4)
    >>> train_on(model, DrawnShapes(4), DrawnShapes(2), TrainSettings(data="drawn"))  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    ValueError: the model's 2 classes are not the dataset's 3: unknown to the model: circle, square, triangle; ...
    """
    find_device(settings.device)
    _check(model, train_data, val_data, settings)
    settings = _with_precision(settings, quiet=quiet)
    settings = with_batch_size(model, train_data, val_data, settings, most_pictures, quiet=quiet)
    folder = shared_run_folder(settings, run_name(model, settings))
    before = evaluate(model, val_data, batch_size=settings.batch_size) if score_before else None
    begin_anew(model)
    if processes(settings.device).is_main_process:
        write_config(folder, config_content(model, settings, config or {}))
    again = go_on(folder) if go_on else ""
    return _run(model, train_data, val_data, settings, folder, before=before, again=again, quiet=quiet)


def resume(
    folder: str | Path,
    *,
    changes: Mapping[str, object] | None = None,
    build: Build | None = None,
    quiet: bool = False,
) -> RunResult:
    """Go on with a run that was interrupted, to the same weights as if it had not been; or with a finished one.

    `changes` are settings given anew, nested ones as mappings: more `epochs`, and what does not touch what is learned
    (`resuming.MAY_CHANGE`). Raises ValueError naming every other setting that differs from the run's, and for other
    data than it learnt from; FileNotFoundError where the folder holds no run.

    >>> resume("runs/gone", changes={"epochs": 24})
    Traceback (most recent call last):
    FileNotFoundError: runs/gone holds no config.yaml, so it is not the folder of a run
    """
    folder = Path(folder)
    config = config_of_run(folder)
    saved = settings_in(config, folder / "config.yaml")
    shared = shared_anew(saved, config, folder, num_processes=num_started())
    settings = settings_with(shared, changes or {})
    check_same_run(folder, to_plain(shared), to_plain(settings))
    find_device(settings.device)
    model = model_from_card(config["card"], build=build, where=folder)
    train_data, val_data = open_data(settings, model).datasets(model)
    check_learnable(model, train_data)
    check_scorable(model, val_data)
    again = how_to_go_on(folder, model, is_built=build is not None)
    return _run(
        model, train_data, val_data, settings, folder, before=None, again=again, quiet=quiet, saved=saved
    )


def _run(
    model: Detector,
    train_data: Dataset,
    val_data: Dataset,
    settings: TrainSettings,
    folder: Path,
    *,
    before: DetectionResult | None,
    again: str,
    quiet: bool,
    saved: TrainSettings | None = None,
) -> RunResult:
    """`again`: the command that goes on with the run, if any; `saved`: the settings until now of one that does."""
    is_main = processes(settings.device).is_main_process
    with hold_folder(folder, "trains") if is_main else nullcontext():
        learnt_from, val_data = train_data, lighten(val_data, model)
        train_data, view, factors = learnt(model, train_data, settings)
        table = train_data.annotations

        def validate(current: Detector, progress: MakeBar) -> DetectionResult:
            bar = progress("validating", len(val_data))
            # What is cut among processes cannot be copied.
            quick = current if settings.shard else optimize(current)
            return evaluate(quick, val_data, batch_size=settings.batch_size, progress=bar, operating=REPORTED)

        trainer = Trainer(
            model,
            view,
            validate,
            settings,
            folder,
            sizes=table.sizes,
            factors=factors,
            data={"train": fingerprint(train_data), "val": fingerprint(val_data)},
            resume=saved is not None,
            go_on=again,
            quiet=quiet,
        )
        with nullcontext() if trainer.log is None else closing(trainer.log):
            if factors is not None and trainer.log is not None:
                trainer.log.say(balance_remark(table, factors))
            if saved is not None:
                _go_on(trainer, saved, settings, folder)
            heaviest = heaviest_of(model, learnt_from, val_data, settings)
            result = watched(trainer, heaviest, len(val_data), is_open=saved is None)
        best = trainer.model_to_keep()
        if result is None:  # resumed after its last epoch: nothing was left to do but the score
            result = evaluate(best, val_data, batch_size=settings.batch_size, operating=REPORTED)
        if trainer.is_main:
            make = partial(report_run, folder, best, val_data, settings, before, result)
            report_if_possible(again, folder, make)
        return RunResult(folder, best, result, before)


def _go_on(trainer: Trainer, saved: TrainSettings, settings: TrainSettings, folder: Path) -> None:
    """Say where the run stands and what becomes of its schedule; keep the settings for the next time."""
    check_epochs(folder, settings.epochs, trainer.at.epoch + (trainer.at.batch > 0))
    totals = (trainer.steps_of(saved.epochs), trainer.total_steps)
    note = schedule_note(saved, settings, step=trainer.at.step, totals=totals)
    if trainer.at.epoch >= settings.epochs:
        note = f"no epoch is left of {settings.epochs}; --epochs {settings.epochs + 1} or more goes on"
    where = f"goes on with {folder} at step {trainer.at.step} of {trainer.total_steps}"
    if trainer.log is not None:
        trainer.log.say("\n".join(filter(None, (where, note, share_note(saved, settings)))))
    if trainer.is_main and saved != settings:
        rewrite_settings(folder, settings)


def _with_precision(settings: TrainSettings, *, quiet: bool) -> TrainSettings:
    """The settings with what "auto" is on this machine, the same on every process: the main one's."""
    taken, why = choose_precision(settings.precision, find_device(settings.device), "training")
    if why and not quiet and processes(settings.device).is_main_process:
        print(why, file=sys.stderr)
    return replace(settings, precision=broadcast_object_list([taken])[0])


def _check(model: Detector, train_data: Dataset, val_data: Dataset, settings: TrainSettings) -> None:
    """Raises ValueError where model, data and augmentation do not fit together."""
    check_frames(model, train_data, settings.augment)
    check_tiles(train_data, settings)
    check_tiles(val_data, settings)
    check_keypoints(model, train_data.label_map, settings.augment)
    check_learnable(model, train_data)
    check_pasting(train_data, settings.augment)
    check_scorable(model, val_data)
