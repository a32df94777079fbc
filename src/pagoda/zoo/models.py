"""From a name or a checkpoint to a model."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from torch import nn

from pagoda.detectors.contract import Detector
from pagoda.preprocess import InputSpec
from pagoda.structures.labels import LabelMap
from pagoda.weights.files import WeightsError, has_card, load_weights
from pagoda.zoo.class_names import published_classes
from pagoda.zoo.dense import FAMILIES, MODELS, build_detector, is_known, parse_name
from pagoda.zoo.flavours import Flavour
from pagoda.zoo.foreign import convert, fill_backbone
from pagoda.zoo.options import check_known, options_from


def list_models() -> list[str]:
    """The names `create_model` takes, without their flavours; "timm:NAME" may stand for the backbone."""
    return list(MODELS)


def list_flavours(detector: str) -> list[str]:
    """What may follow the name of an FCOS or a RetinaNet: `fcos_resnet50_fpn.original`."""
    check_known("detector", detector, FAMILIES)
    return [name for name in FAMILIES[detector].flavours if name]


def create_model(
    name: str, *, num_classes: int | None = None, label_map: LabelMap | None = None, **options: Any
) -> Detector:
    """A new detector called `name` for `num_classes` foreground classes, or for the classes of `label_map`.

    `options` are the fields of `ModelOptions`; an unknown name or option raises with the nearest right word.
    """
    parts = parse_name(name)
    conventions = FAMILIES[parts.detector].flavours[parts.flavour]
    if label_map is None:
        if num_classes is None:
            raise ValueError(f"create_model('{name}') needs num_classes=… or label_map=…")
        label_map = published_classes(conventions.class_names, num_classes) if parts.flavour else None
        label_map = label_map or LabelMap.numbered(num_classes)
    elif num_classes not in (None, len(label_map)):
        raise ValueError(f"num_classes is {num_classes} but the label map names {len(label_map)} classes")
    chosen = options_from(options)
    model = build_detector(parts, label_map, chosen, conventions)
    if chosen.backbone_weights:
        load_backbone_weights(model.backbone, chosen.backbone_weights)
    return model


def load_backbone_weights(backbone: nn.Module, source: str) -> None:
    """Fill a backbone by name from a file of any known program, or from timm with "timm:NAME" (may download).

    The classifier is left out; anything else that is missing or of another shape raises.
    """
    if not source.startswith("timm:"):
        fill_backbone(backbone, source)
        return
    import timm

    state = timm.create_model(source.removeprefix("timm:"), pretrained=True).state_dict()
    wanted = backbone.state_dict()
    missing = [name for name in wanted if name not in state and not name.endswith("num_batches_tracked")]
    if missing:
        raise WeightsError(
            f"{source} lacks {len(missing)} tensors of this backbone: {', '.join(missing[:3])} …"
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
    elif is_known(card["model"]):
        parts = parse_name(card["model"])
        family = FAMILIES[parts.detector]
        conventions = family.flavours[parts.flavour]
        if "flavour" in card:
            conventions = type(conventions).from_dict(card["flavour"])
        model = build_detector(parts, label_map, options_from(card["options"]), conventions)
    else:
        raise WeightsError(
            f"{where} holds '{card['model']}', which is not a model of the zoo; hand over the function that"
            " composes it: load(path, build=function), or --model FILE.py:FUNCTION on the command line"
        )
    model.input_spec = InputSpec.from_dict(card["input_spec"])
    return model


def load(
    path: str | Path,
    *,
    num_classes: int | None = None,
    label_map: LabelMap | None = None,
    flavour: str | Flavour | None = None,
    build: Callable[[int], Detector] | None = None,
) -> Detector:
    """The model of a checkpoint, with its weights, classes and preprocessing, in evaluation mode.

    Our own checkpoints say what they are; those of other programs are recognised by their tensors (see
    `zoo.foreign.convert`, which also reports what became of each).

    Args:
        num_classes: what you expect; another number in the checkpoint raises.
        label_map: the classes of a foreign checkpoint that was not trained on the published ones.
        flavour: the conventions of a foreign checkpoint where its tensors leave a choice.
        build: for models that are not in the zoo: the function that composes them, called with num_classes.
    """
    if not has_card(path):
        return convert(path, flavour=flavour, label_map=label_map, num_classes=num_classes).model
    if flavour is not None or label_map is not None:
        raise ValueError(f"{path} is a checkpoint of Pagoda and says itself what its flavour and classes are")
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
