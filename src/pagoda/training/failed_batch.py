"""When a loss is not finite: what was fed in, which term, which picture, which layer, and why, probably."""

import copy
import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from numbers import Real
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from pagoda.criteria.normalize import alone
from pagoda.detectors.contract import Detector
from pagoda.files.atomic import write_atomically
from pagoda.layers.memory_format import is_channels_last
from pagoda.plain import check_option, checked
from pagoda.structures.images import ImageBatch
from pagoda.structures.instances import Targets
from pagoda.structures.tubes import AnyTargets, TubeTargets
from pagoda.training.ema import local_piece
from pagoda.training.last import Saved, random_state
from pagoda.weights.file_types import WeightsError
from pagoda.weights.files import save_torch
from pagoda.weights.torch_files import read_saved


class NotFiniteError(FloatingPointError):
    """Training stopped: a loss or gradient became NaN or infinite. The message says where and what to try."""


@dataclass(frozen=True)
class Diagnosis:
    """What a look at the guilty batch found.

    >>> print(Diagnosis({"boxes": 0.5, "classes": float("nan")}, ["b.jpg"], "neck.lateral3", "…").describe())
    terms: boxes 0.5, classes nan
    pictures: b.jpg
    first layer not finite: neck.lateral3
    likely cause: …
    """

    terms: dict[str, float]
    """every loss term of the batch"""
    pictures: list[str]
    """files whose own loss is not finite"""
    layer: str | None
    """the first module that put out a number that is not finite"""
    cause: str
    """the likeliest reason with its remedy, a sentence for people"""

    def describe(self) -> str:
        """Four lines for a terminal: terms, pictures, layer, cause."""
        terms = ", ".join(f"{name} {value:.4g}" for name, value in self.terms.items())
        return (
            f"terms: {terms}\npictures: {', '.join(self.pictures) or 'none alone, only the batch together'}"
            f"\nfirst layer not finite: {self.layer or 'none'}\nlikely cause: {self.cause}"
        )


SAVED = ("boxes", "labels", "ignored", "areas", "masks", "keypoints", "visibility")
"""of the targets, whatever of it they have"""
SAVED_OF_CLIPS = ("boxes", "labels", "visible", "ignored", "track_ids", "key", "keypoints", "visibility")
_ENTRIES = {
    "card": dict,
    "weights": Mapping[str, Tensor],
    "random": dict,
    "pictures": Sequence[Tensor],
    "targets": Sequence[dict],
    "losses": Mapping[str, Real],
    "precision": Literal["fp32", "bf16"],
    "channels_last": bool,
}


def save_capsule(
    path: Path, model: Detector, pictures: Sequence[Tensor], targets: Sequence[AnyTargets], **facts: object
) -> Path:
    """A capsule file: pictures (uint8), targets, weights, random state and `facts`, which loads without code.

    `facts` must hold losses, precision and channels_last to be replayed, in types `torch.load` takes with weights_only.

    >>> from tempfile import TemporaryDirectory
    >>> import pagoda
    >>> model = pagoda.create_model("fcos_resnet18_fpn", num_classes=1, base_channels=8, width=8, norm_groups=4)
    >>> facts = {"losses": {"boxes": float("nan")}, "precision": "fp32", "channels_last": True}
    >>> black = torch.zeros(3, 32, 32, dtype=torch.uint8)
    >>> with TemporaryDirectory() as folder:
    ...     path = save_capsule(Path(folder, "capsule.pt"), model, [black], [Targets.empty((32, 32))], **facts)
    ...     content, targets = load_capsule(path)
    >>> content["losses"], len(targets)
    ({'boxes': nan}, 1)
    """
    content = {
        "card": model.card(),
        "weights": model.state_dict(),
        "random": random_state(),
        "held": {
            "frozen_stages": getattr(getattr(model, "backbone", None), "frozen_stages", None),
            "norm_eval": model.holds_statistics,
        },
        "pictures": list(pictures),
        "targets": [
            {
                **{name: getattr(t, name) for name in _saved(t)},
                "image_size": list(t.image_size),
                "file": t.file,
            }
            for t in targets
        ],
        **facts,
    }
    return write_atomically(path, lambda temporary: save_torch(temporary, content))


@checked
def kept_failure(
    path: Path,
    model: Detector,
    pictures: Sequence[Tensor],
    targets: Sequence[AnyTargets],
    *,
    what: str,
    step: int,
    losses: Mapping[str, float],
    precision: Literal["fp32", "bf16"],
    channels_last: bool,
) -> NotFiniteError:
    """The error to raise of a batch whose `what` is not finite; it is kept at `path`, where the disk takes it."""
    diagnosis = diagnose(model, pictures, targets, precision=precision)
    facts = {"precision": precision, "channels_last": channels_last}
    try:
        save_capsule(path, model, pictures, targets, what=what, losses=losses, **facts)
        kept = f"everything is kept in {path}; look again with: pagoda replay {shlex.quote(str(path))}"
    except OSError as error:
        kept = f"the batch is not kept: {error}"
    return NotFiniteError(f"the {what} is not finite at step {step}\n{diagnosis.describe()}\n{kept}")


def not_finite_gradients(model: nn.Module) -> list[str]:
    """Names of the parameters whose gradient is NaN or infinite somewhere.

    >>> layer = nn.Linear(1, 1)
    >>> layer(torch.tensor([torch.inf])).sum().backward()
    >>> not_finite_gradients(layer)
    ['weight']
    """
    return [
        name
        for name, parameter in model.named_parameters()
        if parameter.grad is not None and not torch.isfinite(local_piece(parameter.grad)).all()
    ]


def load_capsule(path: str | Path) -> tuple[Saved, list[AnyTargets]]:
    """What `save_capsule` wrote: (everything in the file by name, its targets rebuilt).

    Raises WeightsError that names the file and the entry.
    """
    content = read_saved(Path(path))
    targets: list[AnyTargets] = []
    try:
        for name, hint in _ENTRIES.items():
            check_option("it", name, hint, content.get(name))
        for picture, values in zip(content["pictures"], content["targets"], strict=True):
            _check_picture(picture)
            kind = TubeTargets if "visible" in values else Targets
            targets.append(kind(**{**values, "image_size": tuple(values["image_size"])}))
    except (ValueError, TypeError, KeyError, AttributeError, RuntimeError) as error:
        raise WeightsError(f"{path} is no capsule that can be replayed: {error}; is it damaged?") from error
    return content, targets


def _check_picture(picture: Tensor) -> None:
    """Raises ValueError unless a picture is (3 or 4, H, W) uint8, or T of them."""
    if picture.ndim not in (3, 4) or picture.shape[-3] not in (3, 4) or picture.dtype != torch.uint8:
        raise ValueError(
            f"its pictures must be (3, H, W) uint8, got {tuple(picture.shape)} of {picture.dtype}"
        )


def _saved(targets: AnyTargets) -> tuple[str, ...]:
    return SAVED_OF_CLIPS if isinstance(targets, TubeTargets) else SAVED


def diagnose(
    model: Detector, pictures: Sequence[Tensor], targets: Sequence[AnyTargets], *, precision: str
) -> Diagnosis:
    """Why the loss of a batch is not finite: run again with a look at every layer, then picture by picture.

    `precision` is the run's, "fp32" or "bf16"; the model is left as it was.

    >>> import pagoda
    >>> model = pagoda.create_model("fcos_resnet18_fpn", num_classes=1, base_channels=8, width=8, norm_groups=4)
    >>> box, label = torch.tensor([[9.0, 9, 1, 1]]), torch.tensor([0])
    >>> turned = Targets(box, label, image_size=(32, 32), ignored=torch.tensor([False]), file="a.jpg")
    >>> diagnose(model.eval(), [torch.zeros(3, 32, 32, dtype=torch.uint8)], [turned], precision="fp32").cause
    'box 0 of a.jpg is degenerate ([9.0, 9.0, 1.0, 1.0]); run `pagoda doctor` on the dataset'
    """
    model = copy.deepcopy(model)
    layer: list[str] = []
    hooks = [
        module.register_forward_hook(_first_not_finite(name, layer))
        for name, module in model.named_modules()
        if not list(module.children())
    ]
    terms = batch_losses(model, pictures, targets, precision)
    for hook in hooks:
        hook.remove()
    guilty = []
    model.eval()  # one picture has no batch statistics
    for picture, target in zip(pictures, targets, strict=True):
        alone = batch_losses(model, [picture], [target], precision)
        if not all(torch.isfinite(torch.tensor(value)) for value in alone.values()):
            guilty.append(str(target.file))
    return Diagnosis(terms, guilty, layer[0] if layer else None, _likely_cause(model, targets, precision))


def batch_losses(
    model: Detector, pictures: Sequence[Tensor], targets: Sequence[AnyTargets], precision: str
) -> dict[str, float]:
    """{name: value} of every loss term, computed in the given precision, in whatever mode the model is, as if there
    were no other process."""
    device = next(model.parameters()).device
    images = _like_weights(model.input_spec.batch(pictures, device=device), model)
    moved: list[Any] = [target.to(device) for target in targets]
    with alone(), torch.no_grad(), torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16"):
        losses = model.losses(images, moved)
    return {name: value.item() for name, value in losses.items()}


def _like_weights(images: ImageBatch, model: nn.Module) -> ImageBatch:
    """The batch in the memory order of the model's kernels: another order rounds differently."""
    return images.to(memory_format=torch.channels_last) if is_channels_last(model) else images


def _first_not_finite(name: str, found: list[str]) -> Callable[[nn.Module, tuple[object, ...], object], None]:
    """A forward hook that notes `name` when nothing before it was noted."""

    def hook(module: nn.Module, inputs: tuple[object, ...], output: object) -> None:
        if not found and isinstance(output, Tensor) and not torch.isfinite(output).all():
            found.append(name)

    return hook


def _likely_cause(model: Detector, targets: Sequence[AnyTargets], precision: str) -> str:
    """One sentence: the first of degenerate box, label out of range, spoilt or overgrown weights, else a remedy."""
    for target in targets:
        boxes = target.boxes[target.visible] if isinstance(target, TubeTargets) else target.boxes
        sides = boxes[:, 2:] - boxes[:, :2]
        bad = (~torch.isfinite(boxes).all(1) | (sides <= 0).any(1)).nonzero().squeeze(1).tolist()
        if bad:
            return (
                f"box {bad[0]} of {target.file} is degenerate ({boxes[bad[0]].tolist()});"
                " run `pagoda doctor` on the dataset"
            )
        if len(target) and not 0 <= int(target.labels.min()) <= int(target.labels.max()) < len(
            model.label_map
        ):
            return f"a label of {target.file} is outside 0 … {len(model.label_map) - 1}; run `pagoda doctor`"
    for name, parameter in model.named_parameters():
        if not torch.isfinite(parameter).all():
            return f"the weight {name} is already not finite: an earlier step was too large; lower the learning rate"
    largest = max(float(parameter.detach().abs().max()) for parameter in model.parameters())
    if largest > 1e3:
        return (
            f"weights have grown to {largest:.3g}: lower optim.learning_rate or lengthen optim.warmup_steps"
        )
    remedy = "lower optim.learning_rate, lengthen optim.warmup_steps or set optim.clip_norm"
    return f"{remedy}{'; or train with --precision fp32' if precision == 'bf16' else ''}"
