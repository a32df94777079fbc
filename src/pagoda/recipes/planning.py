"""What a run is made of before it begins, and what it will take: said when its first steps tell, or before it."""

import sys
from dataclasses import replace
from time import monotonic

import numpy as np

from pagoda.batch_size import is_out_of_memory
from pagoda.data.balance import picture_factors
from pagoda.data.loading import TrainingView
from pagoda.data.table.samples import AnnotatedDataset
from pagoda.data.tiled_dataset import TiledDataset
from pagoda.detectors.contract import Detector
from pagoda.evaluation.coco.result import DetectionResult
from pagoda.memory import available_memory, forget_peak, held_memory, peak_memory
from pagoda.messages import in_bytes, lasting
from pagoda.recipes.augmentation import heaviest_changes, training_transform
from pagoda.recipes.target_fields import lighten
from pagoda.structures.tubes import AnyTargets
from pagoda.training.last import Position
from pagoda.training.loop import Trainer
from pagoda.training.plan import Pace, RunPlan
from pagoda.training.settings import AugmentSettings, TrainSettings
from pagoda.training.trial import Heaviest, Trial, plan_of

Dataset = AnnotatedDataset[AnyTargets]


def learnt(
    model: Detector, train_data: Dataset, settings: TrainSettings
) -> tuple[Dataset, TrainingView, np.ndarray | None]:
    """(what a run learns from, as far as its model looks at it; how it sees that; how often it draws each picture)

    >>> import pagoda
    >>> from pagoda.data.drawn.synthetic import DrawnShapes
    >>> model = pagoda.create_model("fcos_resnet18_fpn", num_classes=3, base_channels=8, width=8, norm_groups=4)
    >>> light, view, factors = learnt(model, DrawnShapes(4), TrainSettings(data="drawn"))
    >>> len(view), factors
    (4, None)
    """
    light = lighten(train_data, model)
    view = _view(model, train_data, light, settings.augment)
    factors = picture_factors(light.annotations, settings.balance, threshold=settings.balance_threshold)
    return light, view, factors


def heaviest_of(model: Detector, train_data: Dataset, val_data: Dataset, settings: TrainSettings) -> Heaviest:
    """What the largest batches of a run are made of.

    >>> import pagoda
    >>> from pagoda.data.drawn.synthetic import DrawnShapes
    >>> model = pagoda.create_model("fcos_resnet18_fpn", num_classes=3, base_channels=8, width=8, norm_groups=4)
    >>> heaviest_of(model, DrawnShapes(4, seed=1), DrawnShapes(2), TrainSettings(data="drawn")).objects.tolist()
    [5, 3, 5, 0]
    """
    light = lighten(train_data, model)
    view = _view(model, train_data, light, heaviest_changes(settings.augment))
    return Heaviest(view=view, objects=np.diff(light.annotations.offsets), scored=lighten(val_data, model))


def trial_of(model: Detector, train_data: Dataset, val_data: Dataset, settings: TrainSettings) -> Trial:
    """A run that may be tried before it begins. Raises ValueError where several processes train together.

    >>> import pagoda
    >>> from pagoda.data.drawn.synthetic import DrawnShapes
    >>> model = pagoda.create_model("fcos_resnet18_fpn", num_classes=3, base_channels=8, width=8, norm_groups=4)
    >>> trial_of(model, DrawnShapes(4), DrawnShapes(2), TrainSettings(data="drawn")).sizes.shape
    (4, 2)
    """
    light, view, factors = learnt(model, train_data, settings)
    heaviest = heaviest_of(model, train_data, val_data, settings)
    return Trial(model, view, settings, light.annotations.sizes, factors, heaviest)


def watched(
    trainer: Trainer, heaviest: Heaviest, num_scored: int, *, is_open: bool
) -> DetectionResult | None:
    """Run to the end; say what it will take as soon as its steps tell, and at the end what it took."""
    since, pace, log, begun = monotonic(), Pace(), trainer.log, replace(trainer.at)
    if log is None:
        return trainer.run()

    def watch() -> None:
        if pace():
            log.say(_plan_between_steps(trainer, pace, num_scored, begun, heaviest, is_open=is_open).text())

    trainer.on_step = watch
    result = trainer.run()
    peak = peak_memory(trainer.device)
    log.say(f"took {lasting(monotonic() - since)}{'' if peak is None else f' and {in_bytes(peak)}'}")
    return result


def with_batch_size(
    model: Detector,
    train_data: Dataset,
    val_data: Dataset,
    settings: TrainSettings,
    most: int,
    *,
    quiet: bool,
) -> TrainSettings:
    """The settings with as many pictures at a time as fit where that is "auto", accumulated to `most` for each step."""
    if settings.batch_size != "auto":
        return settings
    size, why = trial_of(model, train_data, val_data, settings).fitting(most)
    forget_peak()  # what the run takes is told of the run
    accumulate = settings.optim.accumulate * round(most / size)
    if not quiet:
        told = f", {accumulate} batches for each step" if accumulate > 1 else ""
        print(f"batch size {size}{told} ({why})", file=sys.stderr)
    return replace(settings, batch_size=size, optim=replace(settings.optim, accumulate=accumulate))


def _view(model: Detector, train_data: Dataset, light: Dataset, augment: AugmentSettings) -> TrainingView:
    parts = light.parts if isinstance(light, TiledDataset) else None
    return TrainingView(light, training_transform(model, train_data, augment), parts)


def _plan_between_steps(
    trainer: Trainer, pace: Pace, num_scored: int, begun: Position, heaviest: Heaviest, *, is_open: bool
) -> RunPlan:
    """With the largest batches tried, where this process is the only one and memory is there for another like it."""
    room, held = available_memory(), held_memory()
    is_roomy = trainer.device.type != "cpu" or room is None or held is None or room > held
    tried = heaviest if trainer.num_processes == 1 and is_roomy else None
    try:
        return plan_of(trainer, pace, num_scored, begun=begun, is_open=is_open, heaviest=tried)
    except RuntimeError as error:
        if not is_out_of_memory(error):
            raise
        told = str(error).splitlines()[0]
    print(
        f"warning: the largest batch of this run did not fit into memory when it was tried ({told}); where it comes the"
        " run may fail: take a smaller --batch-size, or auto",
        file=sys.stderr,
    )
    return plan_of(trainer, pace, num_scored, begun=begun, is_open=is_open)
