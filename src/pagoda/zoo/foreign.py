"""Other programs' checkpoints as models of ours: same tensors, same conventions, same numbers."""

from dataclasses import dataclass, replace
from pathlib import Path

from torch import Tensor, nn

from pagoda.detectors.contract import Detector
from pagoda.structures.labels import LabelMap
from pagoda.weights.convert.checkpoint import ForeignCheckpoint, flavour_of, open_foreign
from pagoda.weights.convert.layout import Layout, Place, fill
from pagoda.weights.convert.report import ConversionReport, sha256_of
from pagoda.weights.convert.rules import restore
from pagoda.weights.convert.sources import SOURCES
from pagoda.weights.files import WeightsError
from pagoda.zoo.backbones import BackboneChoices, build_backbone
from pagoda.zoo.class_names import published_classes
from pagoda.zoo.dense import FAMILIES, ModelName, build_detector
from pagoda.zoo.flavours import Flavour
from pagoda.zoo.options import check_known, options_from

# Counters of batches, statistics of norms that are stored as scale and shift, and averages that training keeps.
OPTIONAL = ("num_batches_tracked", "positives.mean")
STATISTICS = ("running_mean", "running_var")


@dataclass(frozen=True)
class Conversion:
    """A converted detector, what happened, and where each foreign tensor went."""

    model: Detector
    report: ConversionReport
    places: dict[str, Place]
    """{source name: place in the model}"""


def convert(
    path: str | Path,
    *,
    flavour: str | Flavour | None = None,
    label_map: LabelMap | None = None,
    num_classes: int | None = None,
    allow_missing: bool = False,
) -> Conversion:
    """The detector in another program's checkpoint.

    Args:
        flavour: the conventions it was trained in, by name or (for a changed config) as an object; None: as the
            file tells.
        label_map: its classes where they are not the published ones.
        num_classes: what you expect; another number raises.
        allow_missing: tensors that the file lacks keep their initial values instead of raising.
    """
    checkpoint = open_foreign(path)
    architecture = checkpoint.architecture
    if architecture.detector is None:
        raise WeightsError(
            f"{path} holds a backbone ({architecture.backbone}, {checkpoint.source.title}), not a detector;"
            f" use create_model(…, backbone_weights='{path}') or load_backbone('{path}')"
        )
    if num_classes not in (None, architecture.num_classes):
        raise WeightsError(f"{path} was trained on {architecture.num_classes} classes, not {num_classes}")
    name, conventions = choose_conventions(checkpoint, flavour)
    labels = label_map or published_classes(conventions.class_names, architecture.num_classes or 0)
    if len(labels) != architecture.num_classes:
        raise WeightsError(
            f"{path} was trained on {architecture.num_classes} classes but the label map names {len(labels)}"
        )
    parts = ModelName(architecture.detector, architecture.backbone, architecture.neck or "", name)
    model = build_detector(parts, labels, options_from(architecture.options), conventions)
    layout = layout_of(model, checkpoint)
    places = {source: layout.place(canonical) for source, canonical in checkpoint.renamed.taken.items()}
    report = fill_model(model, checkpoint, places, allow_missing=allow_missing)
    return Conversion(model.eval(), report, places)


def choose_conventions(checkpoint: ForeignCheckpoint, flavour: str | Flavour | None) -> tuple[str, Flavour]:
    """(name, conventions); an object keeps the name of what the file looks like."""
    architecture = checkpoint.architecture
    flavours = FAMILIES[architecture.detector or ""].flavours
    if isinstance(flavour, str):
        check_known(f"flavour of {architecture.detector}", flavour, [known for known in flavours if known])
    known = checkpoint.source.flavours[architecture.detector or ""]
    name = known[0] if isinstance(flavour, Flavour) else flavour_of(checkpoint, flavour)
    conventions = flavour if isinstance(flavour, Flavour) else flavours[name]
    if architecture.extra_from is not None:
        conventions = replace(conventions, body=replace(conventions.body, extra_from=architecture.extra_from))
    return name, conventions


def layout_of(model: Detector, checkpoint: ForeignCheckpoint) -> Layout:
    """How this model joins its predictions."""
    return Layout(
        len(model.label_map),
        quality_on=getattr(model, "quality_on", None),
        box_order=checkpoint.source.box_order,
        box_rows=checkpoint.architecture.box_rows,
    )


def fill_model(
    model: nn.Module, checkpoint: ForeignCheckpoint, places: dict[str, Place], *, allow_missing: bool
) -> ConversionReport:
    """Put the tensors where they belong. Raises WeightsError that lists what is missing or of another shape."""
    state, tensors = model.state_dict(), checkpoint.tensors
    dropped = dict(checkpoint.renamed.dropped)
    unknown = list(checkpoint.renamed.unknown)
    for source, place in list(places.items()):
        if place.name not in state:
            if place.name.endswith(OPTIONAL):
                dropped[source] = "a counter that fixed norms do not need"
            else:
                unknown.append(source)
            del places[source]
    misshapen = [
        f"{source} {tuple(tensors[source].shape)} instead of {tuple(place.read(state[place.name]).shape)}"
        for source, place in places.items()
        if tensors[source].numel() != place.read(state[place.name]).numel()
    ]
    missing = missing_tensors(state, places, affine=checkpoint.source.affine_norms)
    if misshapen or (missing and not allow_missing):
        raise WeightsError(
            f"{checkpoint.path} ({checkpoint.source.title}) does not fill the model it describes:"
            f" {len(missing)} tensors missing ({', '.join(missing[:5])} …),"
            f" {len(misshapen)} of another shape ({', '.join(misshapen[:3])});"
            " a whole file is needed, or allow_missing=True (--allow-missing) to keep fresh values there"
        )
    fill(state, places, tensors)
    return ConversionReport(
        file=checkpoint.path.name,
        sha256=sha256_of(checkpoint.path),
        source=checkpoint.source.title,
        licence=checkpoint.source.licence,
        model=(getattr(model, "origin", None) or {}).get("model", checkpoint.architecture.backbone),
        parameters=sum(parameter.numel() for parameter in model.parameters()),
        taken=len(places),
        dropped=dropped,
        unknown=unknown,
        missing=missing,
    )


def missing_tensors(state: dict[str, Tensor], places: dict[str, Place], *, affine: bool) -> list[str]:
    """Ours that nothing fills, wholly or in part."""
    rows = dict.fromkeys(state, 0)
    for place in places.values():
        rows[place.name] += len(place.read(state[place.name])) if state[place.name].ndim else 1
    optional = OPTIONAL + (STATISTICS if affine else ())
    return [
        name
        for name, tensor in state.items()
        if rows[name] < (len(tensor) if tensor.ndim else 1) and not name.endswith(optional)
    ]


def load_backbone(path: str | Path, **choices: object) -> nn.Module:
    """The backbone in a file of any known program (a detector's, too), with its weights, in evaluation mode.

    `choices` are fields of `BackboneChoices` that weights cannot tell: style, dilations, frozen_stages …
    """
    checkpoint = open_foreign(path)
    told = {name: value for name, value in checkpoint.architecture.options.items() if name in KNOWN_CHOICES}
    for name in choices:
        check_known("backbone choice", name, KNOWN_CHOICES)
    backbone = build_backbone(checkpoint.architecture.backbone, BackboneChoices(**{**told, **choices}))
    fill_backbone(backbone, path)
    return backbone.eval()


KNOWN_CHOICES = tuple(BackboneChoices.__dataclass_fields__)


def fill_backbone(backbone: nn.Module, path: str | Path) -> ConversionReport:
    """Fill a backbone that is built already; whatever else the file holds is left out."""
    checkpoint = open_foreign(path)
    state = backbone.state_dict()
    places = {
        source: Place(canonical.removeprefix("backbone."))
        for source, canonical in checkpoint.renamed.taken.items()
        if canonical.startswith("backbone.")
    }
    # Stages above the last one wanted, and a classifier, are no loss.
    places = {source: place for source, place in places.items() if place.name in state}
    return fill_model(backbone, checkpoint, places, allow_missing=False)


def to_source(model: Detector, source: str) -> dict[str, Tensor]:
    """The model's tensors under another program's names, as that program would save them.

    Raises ValueError where the program has no place for a tensor of the model.
    """
    detector = type(model).__name__.lower()
    fitting = [each for each in SOURCES if each.name == source and detector in each.flavours]
    check_known("source to write for", source, {each.name for each in SOURCES if detector in each.flavours})
    named = model.origin["model"].rpartition(".")[2] if model.origin else ""
    chosen = next((each for each in fitting if named in each.flavours[detector]), fitting[0])
    state = model.state_dict()
    layout = Layout(
        len(model.label_map),
        quality_on=getattr(model, "quality_on", None),
        box_order=chosen.box_order,
        box_rows=len(state["box_head.predict.bias"]),
    )
    canonical = [
        name
        for ours, tensor in state.items()
        if not ours.endswith(OPTIONAL)
        for name in layout.canonical_names(ours, len(tensor) if tensor.ndim else 0)
    ]
    names = restore(canonical, chosen.rules)
    places = {name: layout.place(name) for name in canonical}
    return {names[name]: places[name].read(state[places[name].name]).clone() for name in canonical}
