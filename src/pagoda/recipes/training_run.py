"""From a dataset folder to a trained, scored and reported detector."""

import json
import sys
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import torch
import yaml
from accelerate.utils import broadcast_object_list

from pagoda.data.balance import balance_remark, picture_factors
from pagoda.data.loading import TrainingView
from pagoda.data.table.annotations import Annotations
from pagoda.data.table.fingerprint import fingerprint
from pagoda.data.table.samples import AnnotatedDataset
from pagoda.detectors.contract import Detector
from pagoda.drawing.objects import draw_detections, draw_targets
from pagoda.evaluation.coco.operating import OperatingOptions
from pagoda.evaluation.coco.result import DetectionResult
from pagoda.evaluation.runner import detect_dataset, evaluate
from pagoda.files.atomic import claim_folder, write_atomically
from pagoda.files.lock import hold_folder
from pagoda.machine import choose_precision, find_device
from pagoda.plain import JsonObject
from pagoda.recipes.augmentation import check_pasting, training_transform
from pagoda.recipes.datasets import check_frames, check_learnable, check_scorable, open_data
from pagoda.recipes.initial_model import Build, starting_model
from pagoda.recipes.input_size import fit_size, is_size_open
from pagoda.recipes.remarks import data_remarks
from pagoda.recipes.resuming import (
    check_epochs,
    check_same_run,
    config_of_run,
    how_to_go_on,
    rewrite_settings,
    schedule_note,
    settings_in,
    settings_with,
)
from pagoda.recipes.target_fields import check_keypoints, lighten
from pagoda.structures.tubes import AnyTargets, TubeTargets
from pagoda.training.distributed import processes
from pagoda.training.loop import MakeBar, Trainer
from pagoda.training.run_log import read_records
from pagoda.training.settings import TrainSettings, to_plain
from pagoda.visualization.report import machine_facts, write_report
from pagoda.zoo.cards import model_from_card

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
    quiet: bool = False,
) -> RunResult:
    """Train a model on the dataset folder `settings.data`, into a new run folder.

    Raises before anything is made: FileNotFoundError without data, ValueError for data that the model cannot learn.

    >>> train("fcos_resnet18_fpn", TrainSettings(data="no/such/folder"))  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    FileNotFoundError: there is no folder no/such/folder...

    Args:
        model: the name of a zoo model; a checkpoint, ours or another program's, by its path or address, or a
            built model: fine-tuned, with a class head for the data's classes (`transfer.classes.adapt_classes`).
        options: those of a zoo model; for a checkpoint short_side, long_side, canvas and take.
        build: composes a model that is not in the zoo; `model` is then the name written into its card.
        quiet: no bar, no remarks on the data and no words on standard error.
    """
    find_device(settings.device)
    data = open_data(settings, model, take=(options or {}).get("take"))
    torch.manual_seed(settings.seed)
    start = starting_model(model, data.label_map, options=options, build=build)
    is_open = build is None and is_size_open(model, options or {})
    sized = fit_size(start.model, data.train) if is_open and isinstance(data.train, Annotations) else ""
    train_data, val_data = data.datasets(start.model)
    if not quiet and processes(settings.device).is_main_process:
        remarks = [line for split in data[:2] for line in data_remarks(split, settings.data)]
        for line in dict.fromkeys([*filter(None, [start.text, sized]), *remarks]):
            print(line, file=sys.stderr)
    go_on = partial(how_to_go_on, model=start.model, is_built=build is not None)
    return train_on(
        start.model, train_data, val_data, settings, quiet=quiet, config=start.config, go_on=go_on
    )


def train_on(
    model: Detector,
    train_data: AnnotatedDataset[AnyTargets],
    val_data: AnnotatedDataset[AnyTargets],
    settings: TrainSettings,
    *,
    quiet: bool = False,
    score_before: bool = False,
    config: Mapping[str, object] | None = None,
    go_on: Callable[[Path], str] | None = None,
) -> RunResult:
    """Train a built model on datasets that are already open: pictures, or clips for a model that looks at them.

    Raises ValueError before training where model, data and augmentation do not fit together.

    Args:
        quiet: no bar and no words on standard error.
        score_before: score the untrained model, too: `RunResult.before`.
        config: entries of config.yaml that are not the model's own.
        go_on: of the run's folder makes the command that goes on with a run that was stopped, where there is one:
            `resume` needs data that it can open.

    >>> import pagoda
    >>> from pagoda.data.drawn.synthetic import DrawnShapes
    >>> model = pagoda.create_model("fcos_resnet18_fpn", num_classes=2, base_channels=8, width=8, norm_groups=4)
    >>> train_on(model, DrawnShapes(4), DrawnShapes(2), TrainSettings(data="drawn"))  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    ValueError: the model's 2 classes are not the dataset's 3: unknown to the model: circle, square, triangle; ...
    """
    find_device(settings.device)
    check_frames(model, train_data, settings.augment)
    check_keypoints(model, train_data.label_map, settings.augment)
    check_learnable(model, train_data)
    check_pasting(train_data, settings.augment)
    check_scorable(model, val_data)
    settings = _with_precision(settings, quiet=quiet)
    name = settings.name or str((model.origin or {}).get("model") or type(model).__name__).split(":")[-1]
    folder = _shared_run_folder(settings, name)
    before = evaluate(model, val_data, batch_size=settings.batch_size) if score_before else None
    model.inclusive = False  # what it learns from now on are the edges of objects
    model.thresholds = None  # chosen for scores that it will not give any more
    if processes(settings.device).is_main_process:
        _write_config(folder, model, settings, config or {})
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
    saved = settings_in(config, Path(folder) / "config.yaml")
    settings = settings_with(saved, changes or {})
    check_same_run(folder, to_plain(saved), to_plain(settings))
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
    train_data: AnnotatedDataset[AnyTargets],
    val_data: AnnotatedDataset[AnyTargets],
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
        transform = training_transform(model, train_data, settings.augment)
        train_data, val_data = lighten(train_data, model), lighten(val_data, model)
        table = train_data.annotations
        factors = picture_factors(table, settings.balance, threshold=settings.balance_threshold)

        def validate(current: Detector, progress: MakeBar) -> DetectionResult:
            bar = progress("validating", len(val_data))
            return evaluate(
                current, val_data, batch_size=settings.batch_size, progress=bar, operating=REPORTED
            )

        view = TrainingView(train_data, transform)
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
        if factors is not None and trainer.log is not None:
            trainer.log.say(balance_remark(table, factors))
        if saved is not None:
            _go_on(trainer, saved, settings, folder)
        result = trainer.run()
        best = trainer.model_to_keep()
        if result is None:  # resumed after its last epoch: nothing was left to do but the score
            result = evaluate(best, val_data, batch_size=settings.batch_size, operating=REPORTED)
        if trainer.is_main:
            make = partial(_report, folder, best, val_data, settings, before, result)
            _report_if_possible(again, folder, make)
        return RunResult(folder, best, result, before)


def _report_if_possible(again: str, folder: Path, make: Callable[[], object]) -> None:
    """The run is done and kept by now: without a page of pictures it is no failure."""
    try:
        make()
    except Exception as error:
        print(
            f"warning: there is no report ({type(error).__name__}: {error}); the training is complete, and its weights"
            f" are in {folder}{f'; once that is mended: {again}' if again else ''}",
            file=sys.stderr,
        )


def _go_on(trainer: Trainer, saved: TrainSettings, settings: TrainSettings, folder: Path) -> None:
    """Say where the run stands and what becomes of its schedule; keep the settings for the next time."""
    check_epochs(folder, settings.epochs, trainer.at.epoch + (trainer.at.batch > 0))
    totals = (trainer.steps_of(saved.epochs), trainer.total_steps)
    note = schedule_note(saved, settings, step=trainer.at.step, totals=totals)
    if trainer.at.epoch >= settings.epochs:
        note = f"no epoch is left of {settings.epochs}; --epochs {settings.epochs + 1} or more goes on"
    if note and trainer.log is not None:
        trainer.log.say(note)
    if trainer.is_main and saved != settings:
        rewrite_settings(folder, settings)


def _with_precision(settings: TrainSettings, *, quiet: bool) -> TrainSettings:
    """The settings with what "auto" is on this machine, the same on every process: the main one's."""
    taken, why = choose_precision(settings.precision, find_device(settings.device), "training")
    if why and not quiet and processes(settings.device).is_main_process:
        print(why, file=sys.stderr)
    return replace(settings, precision=broadcast_object_list([taken])[0])


def _shared_run_folder(settings: TrainSettings, name: str) -> Path:
    """A fresh run folder, the same on every process: the main one makes it and tells the others."""
    folder = [str(claim_folder(settings.out, name)) if processes(settings.device).is_main_process else ""]
    return Path(broadcast_object_list(folder)[0])


def _write_config(
    folder: Path, model: Detector, settings: TrainSettings, instead: Mapping[str, object]
) -> None:
    """config.yaml: what `pagoda train --config` reads back, with the model's card and the versions."""
    content = {
        "model": (model.origin or {}).get("model"),
        "options": (model.origin or {}).get("options", {}),
        "train": to_plain(settings),
        "card": json.loads(json.dumps(model.card())),
        "versions": machine_facts(),
        **instead,
    }
    text = yaml.safe_dump(content, sort_keys=False, allow_unicode=True)
    write_atomically(folder / "config.yaml", lambda path: path.write_text(text, encoding="utf-8"))


def _report(
    folder: Path,
    model: Detector,
    val_data: AnnotatedDataset[AnyTargets],
    settings: TrainSettings,
    before: DetectionResult | None,
    result: DetectionResult,
    *,
    num_pictures: int = 6,
) -> Path:
    """report.html: one page with settings, curves, tables and pictures."""
    shown = range(min(num_pictures, len(val_data)))
    pictures = []
    limits = {"min_score": 0.3}
    for index, found in zip(
        shown, detect_dataset(model, val_data, indices=shown, limits=limits), strict=True
    ):
        picture, targets = val_data[index]
        if isinstance(targets, TubeTargets):
            picture, targets = picture[targets.key], targets.at(targets.key)
        array = picture.permute(1, 2, 0).contiguous().numpy()
        name = targets.file or f"picture {index}"
        pictures.append(
            (f"{name}: annotated", draw_targets(array, targets, val_data.label_map, min_side=320))
        )
        pictures.append((f"{name}: found, score ≥ 0.3", draw_detections(array, found, min_side=320)))
    return write_report(
        folder / "report.html",
        title=folder.name,
        settings={**to_plain(settings), "model": model.card()["model"]},
        records=read_records(folder / "metrics.jsonl"),
        before=before.metrics if before else None,
        result=result,
        pictures=pictures,
    )
