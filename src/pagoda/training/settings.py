"""Everything a run can be told. Flags, YAML and the saved config all come from these fields."""

import math
import sys
from dataclasses import asdict, dataclass, field, is_dataclass
from typing import Any, Literal

from pagoda.plain import checked

FROM_ZERO, SHARE = (0, sys.float_info.max), (0, 1)
RANGES = {
    "learning_rate": FROM_ZERO, "weight_decay": FROM_ZERO, "momentum": SHARE, "backbone_factor": FROM_ZERO,
    "bias_factor": FROM_ZERO, "final_factor": SHARE, "warmup_steps": FROM_ZERO, "warmup_factor": SHARE,
    "clip_norm": FROM_ZERO, "clip_each": FROM_ZERO, "accumulate": (1, 2**31), "ema_decay": SHARE,
    "mosaic": SHARE, "iou_crop": SHARE, "horizontal_flip": SHARE, "vertical_flip": SHARE, "photometric": SHARE,
    "epochs": (1, 2**31), "batch_size": (1, 2**31), "seed": FROM_ZERO, "workers": (0, 1024), "val_every": (1, 2**31),
    "patience": FROM_ZERO, "save_seconds": (0, math.inf),
}  # fmt: skip
"""the lowest and the highest value of every number"""


def check_ranges(settings: Any) -> None:
    """Raises ValueError with the name of the first number that is not in its range."""
    for name, (low, high) in RANGES.items():
        value = getattr(settings, name, low)
        if value < low:
            raise ValueError(f"{name} must be at least {low}, got {value}")
        if value > high:
            raise ValueError(
                f"{name} must be {f'at most {high}' if value < math.inf else 'finite'}, got {value}"
            )


@checked
@dataclass(frozen=True, kw_only=True)
class OptimSettings:
    """How weights are changed."""

    optimizer: Literal["adamw", "sgd"] = "adamw"
    learning_rate: float = 2e-3
    """the highest value, after warm-up, for the batch size used"""
    weight_decay: float = 0.05
    """of convolution kernels only; norms, biases and scales are never decayed"""
    momentum: float = 0.9
    """for sgd"""
    backbone_factor: float = 1.0
    """the backbone's learning rate relative to the rest; 0.1 suits pretrained ones"""
    bias_factor: float = 1.0
    """the learning rate of biases relative to the rest; 2 in Caffe2's programs"""
    schedule: Literal["cosine", "multistep"] = "cosine"
    final_factor: float = 0.01
    """where cosine ends, relative to learning_rate"""
    milestones: tuple[float, ...] = (0.67, 0.89)
    """multistep: shares of the run after which the rate is divided by ten"""
    warmup_steps: int = 50
    warmup: Literal["linear", "constant"] = "linear"
    warmup_factor: float = 0.001
    """where warm-up starts (linear) or stays (constant), relative to learning_rate"""
    clip_norm: float = 10.0
    """largest total gradient norm; 0 turns clipping off"""
    clip_each: float = 0.0
    """largest gradient norm of each tensor, cut before the total is (EfficientDet); 0 turns it off"""
    accumulate: int = 1
    """batches per optimiser step"""
    ema_decay: float = 0.998
    """moving average of weights and buffers, used for validation and saving; 0 turns it off"""
    ema_ramp: Literal["exponential", "counted"] = "exponential"
    """how its memory grows over the steps: decay · (1 − exp(−(step + 1) / 100)), or TensorFlow's
    min(decay, (1 + step) / (10 + step))"""

    def __post_init__(self) -> None:
        check_ranges(self)
        if not all(0 <= share <= 1 for share in self.milestones):
            raise ValueError(
                f"milestones are shares of the run, 0 … 1, got {', '.join(f'{each:g}' for each in self.milestones)};"
                " of epochs, divide them by the number of epochs: 8 and 11 of 12 are 0.67 and 0.92"
            )


@checked
@dataclass(frozen=True, kw_only=True)
class AugmentSettings:
    """What training pictures go through, in this order."""

    mosaic: float = 0.0
    """probability of joining four pictures into one"""
    iou_crop: float = 0.0
    """probability of a random crop that keeps some object (SSD)"""
    scale_range: tuple[float, float] = (0.8, 1.25)
    """pictures are resized by a random factor in this range, then cropped or padded; (1, 1): plain resizing"""
    horizontal_flip: float = 0.5
    vertical_flip: float = 0.0
    photometric: float = 0.0
    """probability of each change of brightness, contrast, saturation and hue; for long runs"""

    def __post_init__(self) -> None:
        check_ranges(self)


@checked
@dataclass(frozen=True, kw_only=True)
class TrainSettings:
    """One training run."""

    data: str
    """dataset folder in any layout of docs/formats.md, recognised by its files; or a YOLO folder's YAML file"""
    train_split: str = "train"
    """split to learn from; join several with +"""
    val_split: str = "val"
    """split to score on"""
    inside_only: bool = False
    """refuse pictures outside the data set's folder: named by `..`, by an absolute path or through a link"""
    epochs: int = 12
    batch_size: int = 8
    """pictures per batch and process"""
    seed: int = 0
    workers: int = 0
    """processes that read pictures; 0 reads in the training process"""
    device: str = "auto"
    """auto, cpu, cuda, cuda:1, mps"""
    precision: Literal["fp32", "bf16"] = "fp32"
    """bf16: autocast; quicker where the processor multiplies bf16 natively"""
    channels_last: bool = True
    """memory order of pictures and weights; quicker convolutions on most machines"""
    val_every: int = 1
    """epochs between validations; the last epoch is always scored"""
    patience: int = 0
    """stop after so many validations without a better AP (of masks and keypoints where the model has them); 0 never
    stops early"""
    save_seconds: float = 60.0
    """`last/` is written at least this often, also within an epoch"""
    out: str = "runs"
    """folder for runs"""
    name: str = ""
    """of the run's folder; default: the model's name"""
    optim: OptimSettings = field(default_factory=OptimSettings)
    augment: AugmentSettings = field(default_factory=AugmentSettings)

    def __post_init__(self) -> None:
        check_ranges(self)
        low, high = self.augment.scale_range
        if not 0 < low <= high:
            raise ValueError(f"augment.scale_range must be 0 < low ≤ high, got {low}, {high}")


def to_plain(settings: Any) -> dict[str, Any]:
    """Nested dicts, lists and numbers for YAML and JSON."""
    return {
        name: list(value)
        if isinstance(value, tuple)
        else to_plain(value)
        if isinstance(value, dict)
        else value
        for name, value in (
            asdict(settings) if is_dataclass(settings) and not isinstance(settings, type) else settings
        ).items()
    }
