"""From a name or a checkpoint to a model."""

from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from torch import nn

from pagoda.detectors.contract import Detector
from pagoda.preprocess import InputSpec
from pagoda.structures.labels import LabelMap
from pagoda.weights.files import WeightsError, load_weights, read_state_dict
from pagoda.zoo.dense import MODELS
from pagoda.zoo.options import check_known, options_from


def list_models() -> list[str]:
    """The names `create_model` takes."""
    return sorted(MODELS)


def create_model(
    name: str, *, num_classes: int | None = None, label_map: LabelMap | None = None, **options: Any
) -> Detector:
    """A new detector called `name` for `num_classes` foreground classes, or for the classes of `label_map`.

    `options` are the fields of `ModelOptions`; an unknown name or option raises with the nearest right word.
    """
    check_known("model", name, MODELS)
    if label_map is None:
        if num_classes is None:
            raise ValueError(f"create_model('{name}') needs num_classes=… or label_map=…")
        label_map = LabelMap.numbered(num_classes)
    elif num_classes not in (None, len(label_map)):
        raise ValueError(f"num_classes is {num_classes} but the label map names {len(label_map)} classes")
    chosen = options_from(options)
    model = MODELS[name](label_map, chosen)
    if chosen.backbone_weights:
        load_backbone(model.backbone, chosen.backbone_weights)
    # Rebuilding from a checkpoint must not ask for the ImageNet file again.
    model.origin = {"model": name, "options": asdict(replace(chosen, backbone_weights=None))}
    return model


def load_backbone(backbone: nn.Module, source: str) -> None:
    """Fill a backbone by name from a file, or from timm with "timm:NAME" (which may download).

    The classifier (`fc.*`) is left out; anything else that is missing or of another shape raises.
    """
    if source.startswith("timm:"):
        import timm

        state = timm.create_model(source.removeprefix("timm:"), pretrained=True).state_dict()
    else:
        state = read_state_dict(source)
    wanted = backbone.state_dict()
    missing = [name for name in wanted if name not in state and not name.endswith("num_batches_tracked")]
    misshapen = [
        f"{name} {tuple(state[name].shape)} instead of {tuple(tensor.shape)}"
        for name, tensor in wanted.items()
        if name in state and state[name].shape != tensor.shape
    ]
    if missing or misshapen:
        raise WeightsError(
            f"{source} does not fit this backbone: {len(missing)} tensors missing ({', '.join(missing[:3])} …),"
            f" {len(misshapen)} of another shape ({', '.join(misshapen[:3])})"
        )
    backbone.load_state_dict({name: state[name] for name in wanted if name in state}, strict=False)


def model_from_card(
    card: dict[str, Any], *, build: Callable[[int], Detector] | None = None, where: str | Path = "the card"
) -> Detector:
    """The model a card describes, with fresh weights; `build` composes models that are not in the zoo."""
    label_map = LabelMap.from_dict(card["label_map"])
    if build is not None:
        model = build(len(label_map))
        model.label_map, model.origin = label_map, {"model": card["model"], "options": card["options"]}
    elif card["model"] in MODELS:
        model = create_model(card["model"], label_map=label_map, **card["options"])
    else:
        raise WeightsError(
            f"{where} holds '{card['model']}', which is not a model of the zoo; hand over the function that"
            " composes it: load(path, build=function), or --model FILE.py:FUNCTION on the command line"
        )
    model.input_spec = InputSpec.from_dict(card["input_spec"])
    return model


def load(
    path: str | Path, *, num_classes: int | None = None, build: Callable[[int], Detector] | None = None
) -> Detector:
    """The model of a checkpoint, with its weights, classes and preprocessing, in evaluation mode.

    Args:
        num_classes: what you expect; another number in the checkpoint raises.
        build: for models that are not in the zoo: the function that composes them, called with num_classes.
    """
    state, card = load_weights(path)
    names = card["label_map"]["names"]
    if num_classes not in (None, len(names)):
        raise WeightsError(
            f"{path} was trained on {len(names)} classes ({', '.join(names[:5])} …), not {num_classes}"
        )
    model = model_from_card(card, build=build, where=path)
    check_fits(path, state, model)
    model.load_state_dict(state)
    return model.eval()


def check_fits(path: str | Path, state: dict, model: Detector) -> None:
    """Raises WeightsError that lists what is missing, left over or of another shape."""
    wanted = model.state_dict()
    missing = sorted(wanted.keys() - state.keys())
    extra = sorted(state.keys() - wanted.keys())
    shapes = sorted(name for name in wanted.keys() & state.keys() if wanted[name].shape != state[name].shape)
    if missing or extra or shapes:
        found = [
            f"{len(names)} {what} ({', '.join(names[:3])} …)"
            for what, names in (("missing", missing), ("unknown", extra), ("of another shape", shapes))
            if names
        ]
        raise WeightsError(f"{path} does not fit the model its card describes: {'; '.join(found)}")
