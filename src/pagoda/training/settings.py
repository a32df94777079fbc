"""Everything a run can be told. Flags, YAML and the saved config all come from these fields."""

import math
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from importlib.util import find_spec
from typing import TYPE_CHECKING, Literal

from pagoda.batch_size import AnyBatchSize
from pagoda.data.balance import Balance
from pagoda.data.tiles import Tiling
from pagoda.plain import JsonObject, checked

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

TrackerName = Literal["mlflow", "wandb", "trackio"]

FROM_ZERO, SHARE = (0, sys.float_info.max), (0, 1)
RANGES = {
    "learning_rate": FROM_ZERO, "weight_decay": FROM_ZERO, "momentum": SHARE, "backbone_factor": FROM_ZERO,
    "bias_factor": FROM_ZERO, "final_factor": SHARE, "warmup_steps": FROM_ZERO, "warmup_factor": SHARE,
    "clip_norm": FROM_ZERO, "clip_each": FROM_ZERO, "accumulate": (1, 2**31), "ema_decay": SHARE,
    "mosaic": SHARE, "zoom_out": SHARE, "iou_crop": SHARE, "horizontal_flip": SHARE, "vertical_flip": SHARE,
    "photometric": SHARE,
    "copy_paste": SHARE, "copy_paste_count": (1, 100), "mixup": SHARE, "balance_threshold": SHARE,
    "epochs": (1, 2**31), "batch_size": (1, 2**31), "seed": FROM_ZERO, "workers": (0, 1024), "val_every": (1, 2**31),
    "patience": FROM_ZERO, "save_seconds": (0, math.inf),
    "tiles": (0, 2**31), "tile_overlap": (0, 0.9), "tile_share": SHARE, "tile_empty": SHARE,
}  # fmt: skip
"""the lowest and the highest value of every number"""


def _check_ranges(settings: object) -> None:
    """Raises ValueError with the name of the first number that is not in its range."""
    for name, (low, high) in RANGES.items():
        value = getattr(settings, name, low)
        if isinstance(value, str):  # auto
            continue
        if value < low:
            raise ValueError(f"{name} must be at least {low}, got {value}")
        if value > high:
            raise ValueError(
                f"{name} must be {f'at most {high}' if value < math.inf else 'finite'}, got {value}"
            )


@checked
@dataclass(frozen=True, kw_only=True)
class OptimSettings:
    """How weights are changed: optimiser, learning rate by step, clipping of gradients, moving average.

    Raises ValueError for a number outside its range, for a word that is no choice and for a value of another type.

    >>> OptimSettings(optimizer="sgd", learning_rate=0.01).momentum
    0.9
    >>> OptimSettings(final_factor=2.0)
    Traceback (most recent call last):
    ValueError: final_factor must be at most 1, got 2.0
    """

    optimizer: Literal["adamw", "sgd"] = "adamw"
    """adamw learns from scratch in short runs; sgd, with momentum, is what most published recipes use"""
    learning_rate: float = 2e-3
    """the highest value, after warm-up; suits adamw and batches of 8, sgd takes about 0.01 per 16 pictures"""
    weight_decay: float = 0.05
    """of convolution kernels only, never of norms, biases and scales; suits adamw, sgd takes about 0.0001"""
    momentum: float = 0.9
    """for sgd: share of the last step that is taken again"""
    backbone_factor: float = 1.0
    """the backbone's learning rate relative to the rest; less than 1 suits pretrained ones"""
    frozen_stages: int | None = None
    """of the backbone that do not learn: 1 the stem, 2 stem and C2, … 5 all of it; None: as the model has it (of our
    own flavours: 0)"""
    norm_eval: bool = False
    """the backbone's batch norms keep the statistics they come with, for small batches on a pretrained one"""
    bias_factor: float = 1.0
    """the learning rate of biases relative to the rest; 2 in Caffe2's programs"""
    schedule: Literal["cosine", "multistep"] = "cosine"
    """cosine: the rate falls along half a cosine to final_factor; multistep: it is divided by ten at milestones"""
    final_factor: float = 0.01
    """where cosine ends, relative to learning_rate"""
    milestones: tuple[float, ...] = (0.67, 0.89)
    """multistep: shares of the run after which the rate is divided by ten"""
    warmup_steps: int = 50
    """steps with a lower rate at the start, so that fresh weights do not diverge; long runs take 500 and more"""
    warmup: Literal["linear", "constant"] = "linear"
    """linear: the rate rises from warmup_factor to its full value; constant: it stays there and then jumps"""
    warmup_factor: float = 0.001
    """where warm-up starts (linear) or stays (constant), relative to learning_rate"""
    clip_norm: float = 10.0
    """largest norm of all gradients together, so that one odd batch spoils little; 0 turns clipping off"""
    clip_each: float = 0.0
    """largest gradient norm of each tensor, cut before the total is (EfficientDet); 0 turns it off"""
    accumulate: int = 1
    """batches per optimiser step: 4 of 2 pictures learn as one of 8 in less memory, but for batch norms"""
    ema_decay: float = 0.998
    """memory of a moving average of weights and buffers, which is validated and saved; 0 turns it off"""
    ema_ramp: Literal["exponential", "counted"] = "exponential"
    """how its memory grows over the steps: decay · (1 − exp(−(step + 1) / 100)), or TensorFlow's
    min(decay, (1 + step) / (10 + step))"""

    def __post_init__(self) -> None:
        _check_ranges(self)
        if not all(0 <= share <= 1 for share in self.milestones):
            raise ValueError(
                f"milestones are shares of the run, 0 … 1, got {', '.join(f'{each:g}' for each in self.milestones)};"
                " of epochs, divide them by the number of epochs: 8 and 11 of 12 are 0.67 and 0.92"
            )


@checked
@dataclass(frozen=True, kw_only=True)
class AugmentSettings:
    """What training pictures go through, in this order; validation sees them as they are.

    Raises ValueError for a probability that is not 0 … 1, and for what is pasted where nothing is.

    >>> AugmentSettings(vertical_flip=0.5).horizontal_flip  # aerial pictures have no upright
    0.5
    """

    mosaic: float = 0.0
    """probability of joining four pictures into one: more and smaller objects, for long runs; not for clips"""
    copy_paste: float = 0.0
    """probability of pasting objects of another picture into this one, by their masks where the data have some, else by
    their boxes; not for clips"""
    copy_paste_count: int = 5
    """the most objects pasted into one picture; as few as 1 are as likely"""
    copy_paste_classes: tuple[str, ...] = ()
    """names of the classes that are pasted; none: all"""
    copy_paste_rare: bool = False
    """paste classes in inverse proportion to their number of objects, not in proportion to it"""
    mixup: float = 0.0
    """probability of blending two pictures, with the objects of both, for long runs; not for clips"""
    zoom_out: float = 0.0
    """probability of a picture up to four times smaller in an empty frame: more small objects, for long runs (SSD)"""
    iou_crop: float = 0.0
    """probability of a random crop that keeps some object (SSD); not for clips"""
    scale_range: tuple[float, float] = (0.8, 1.25)
    """pictures are resized by a random factor in this range, then cropped or padded; 1 1: plain resizing"""
    horizontal_flip: float = 0.5
    """probability of a mirrored picture; 0 where left and right mean something, as in text or traffic signs"""
    vertical_flip: float = 0.0
    """probability of a picture upside down; 0.5 suits pictures without an upright, from the air or a microscope"""
    photometric: float = 0.0
    """probability of each change of brightness, contrast, saturation and hue; for long runs"""

    def __post_init__(self) -> None:
        _check_ranges(self)
        idle = [name for name in ("copy_paste_classes", "copy_paste_rare") if getattr(self, name)]
        if idle and not self.copy_paste:
            raise ValueError(
                f"nothing is pasted that {' and '.join(idle)} could choose, for copy_paste is 0: give a probability,"
                " e.g. augment.copy_paste=0.5"
            )


@checked
@dataclass(frozen=True, kw_only=True)
class TrainSettings:
    """One training run: data, length, machine, and where it is written; `optim` and `augment` say how it learns.

    Raises ValueError for a value outside its range or of another type, with the name of the setting.

    >>> settings = TrainSettings(data="my_data", epochs=24, optim=OptimSettings(learning_rate=1e-3))
    >>> settings.epochs, settings.optim.learning_rate, settings.augment.horizontal_flip
    (24, 0.001, 0.5)
    """

    data: str
    """dataset folder in any layout of docs/formats.md, recognised by its files; or a YOLO folder's YAML file"""
    train_split: str = "train"
    """split to learn from; join several with +"""
    val_split: str = "val"
    """split to score on"""
    inside_only: bool = False
    """refuse pictures outside the data set's folder: named by `..`, by an absolute path or through a link"""
    epochs: int = 12
    """passes over all training pictures; the learning rate's schedule stretches with them"""
    balance: Balance = "none"
    """which pictures are drawn more often, in as many steps: repeat-factor, those with classes that are in less than
    balance_threshold of all; class, by drawing a class first, each as often as the others, and then a picture of it"""
    balance_threshold: float = 0.1
    """share of the pictures below which a class is repeated, by the root of how far it is below (repeat-factor)"""
    tiles: int = 0
    """side, in pixels of the pictures, of the tiles they are cut into, to learn from and to score on; an epoch is all
    of them; 0: whole pictures; not for clips"""
    tile_overlap: float = Tiling.overlap
    """share of a tile's side that neighbours have in common at least: an object up to so long is whole in some tile"""
    tile_share: float = Tiling.min_share
    """an object is learnt in a tile that shows at least this share of it (of its mask, else of its box), and ignored
    where less is seen"""
    tile_empty: float = Tiling.empty_share
    """share of the tiles without an object that are learnt from; all of them are scored on"""
    batch_size: AnyBatchSize = 8
    """pictures per batch and process; memory grows with it, and so should learning_rate. auto: as many of 8, or of the
    recipe's, as fit into memory, with accumulate for the rest, so that each step learns from as many"""
    seed: int = 0
    """of fresh weights, order of pictures and augmentation: the same seed gives the same run"""
    workers: int = 0
    """processes that read pictures, which changes nothing of what is learnt; 0 reads in the training process"""
    device: str = "auto"
    """auto, cpu, cuda, cuda:1, mps; auto takes an accelerator where there is one"""
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    """bf16: autocast, sums and weights stay fp32; auto: what this machine learns quicker with, as measured once; the
    choice is written into the run's config.yaml"""
    channels_last: bool = True
    """memory order of pictures and weights; quicker convolutions on most machines"""
    shard: bool = False
    """cut weights, gradients and the optimiser's means among the processes that train together, for models that do not
    fit into one; slower, and nothing else is learnt; a single process has nothing to cut"""
    val_every: int = 1
    """epochs from one validation to the next; the last epoch is always scored"""
    patience: int = 0
    """stop after so many validations without a better AP (of masks and keypoints where learnt); 0: never"""
    save_seconds: float = 60.0
    """`last/` is written at least this often, also within an epoch: what a kill can cost"""
    out: str = "runs"
    """folder in which each run gets a folder of its own"""
    name: str = ""
    """of the run's folder, to which a number is added; default: the model's name"""
    track: tuple[TrackerName, ...] = ()
    """experiment trackers that are told how the run goes, besides metrics.jsonl and TensorBoard; nothing is sent"""
    track_project: str = "pagoda"
    """under which the trackers list runs together"""
    track_online: bool = False
    """let the trackers send to where their own settings say"""
    optim: OptimSettings = field(default_factory=OptimSettings)
    """how weights are changed"""
    augment: AugmentSettings = field(default_factory=AugmentSettings)
    """what training pictures go through"""

    def __post_init__(self) -> None:
        _check_ranges(self)
        if self.balance != "repeat-factor" and self.balance_threshold != type(self).balance_threshold:
            raise ValueError(
                f"balance_threshold={self.balance_threshold:g} is for balance=repeat-factor, and balance is"
                f" {self.balance}: give both, or neither"
            )
        shares = ("tile_overlap", "tile_share", "tile_empty")
        idle = [name for name in shares if getattr(self, name) != getattr(type(self), name)]
        if idle and not self.tiles:
            raise ValueError(
                f"nothing is cut that {' and '.join(idle)} could be of, for tiles is 0: give the side of a tile in"
                " pixels, e.g. tiles=640"
            )
        _check_trackers(self.track, is_online=self.track_online)
        low, high = self.augment.scale_range
        if not 0 < low <= high:
            raise ValueError(f"augment.scale_range must be 0 < low ≤ high, got {low}, {high}")


def _check_trackers(names: tuple[TrackerName, ...], *, is_online: bool) -> None:
    """Before anything is made. Raises ImportError for a tracker that is not installed."""
    if is_online and not names:
        raise ValueError("track_online lets trackers send, and track names none: give both, or neither")
    missing = [name for name in names if find_spec(name) is None]
    if missing:
        raise ImportError(
            f"{' and '.join(missing)} cannot be imported: pip install {' '.join(missing)}, or leave track out;"
            " metrics.jsonl and TensorBoard's files are written without it"
        )


def to_plain(settings: "DataclassInstance | Mapping[str, object]") -> JsonObject:
    """Settings, or a mapping of them, as nested dicts, lists and numbers for YAML and JSON; tuples become lists.

    >>> to_plain(AugmentSettings())["scale_range"]
    [0.8, 1.25]
    """
    values = settings if isinstance(settings, Mapping) else asdict(settings)
    return {name: _plain(value) for name, value in values.items()}


def _plain(value: object) -> object:
    if isinstance(value, tuple):
        return list(value)
    return to_plain(value) if isinstance(value, dict) else value
