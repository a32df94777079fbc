"""Other programs' checkpoints as models of ours: same tensors, same conventions, same numbers."""

from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from pathlib import Path

from pagoda.convert.architecture.dense import Architecture
from pagoda.convert.architecture.effdet import told_form
from pagoda.convert.architecture.mmdet_pixels import recorded_pixels
from pagoda.convert.architecture.recorded_config import recorded_box_weights, recorded_classes, recorded_input
from pagoda.convert.assign import check_told, fill_model
from pagoda.convert.conversion import Conversion
from pagoda.convert.names.pyramids import in_sequentials
from pagoda.convert.names.tensorflow import is_tensorflow
from pagoda.convert.read_darknet import convert_darknet, is_darknet
from pagoda.convert.recognise import (
    ForeignCheckpoint,
    flavour_of,
    open_foreign,
    published_row,
)
from pagoda.convert.tensor_slices import Layout
from pagoda.detectors.contract import Detector
from pagoda.layers.unallocated import WithoutMemory
from pagoda.messages import counted
from pagoda.plain import JsonObject
from pagoda.structures.labels import LabelMap
from pagoda.weights.files import WeightsError
from pagoda.zoo.cards import with_state
from pagoda.zoo.class_names import published_classes
from pagoda.zoo.efficientdet import VARIANTS
from pagoda.zoo.families import FAMILIES, build_detector, options_from
from pagoda.zoo.flavours.base import Flavour
from pagoda.zoo.flavours.detect_and_track import DetectAndTrackFlavour
from pagoda.zoo.flavours.efficientdet import EFFDET_LITE0, EFFDET_LITE0_CANVAS, EfficientDetFlavour
from pagoda.zoo.options import ModelName, check_known


def convert(
    path: str | Path,
    *,
    flavour: str | Flavour | None = None,
    label_map: LabelMap | None = None,
    num_classes: int | None = None,
    options: Mapping[str, object] | None = None,
    allow_missing: bool = False,
    wanted: str | None = None,
    take: str | None = None,
    cfg: str | Path | None = None,
) -> Conversion:
    """The detector in another program's checkpoint.

    Args:
        flavour: the conventions it was trained in, by name or (for a changed config) as an object; None: as the
            file tells.
        label_map: its classes where they are not the published ones.
        num_classes: what you expect; another number raises.
        options: options of the model that tensors do not tell: standardized, some plugins, norm.
        allow_missing: tensors that the file lacks keep their initial values instead of raising, and those that
            the model has no place for are left out.
        wanted: the model you expect, by the zoo's name without flavour; another one raises and is named.
        take: which weights, where the file holds several: their key, the beginning of their names, a word of it,
            or "ema" for the averaged ones.
        cfg: darknet's file that describes the network of a `.weights` file; None: the published one of its size.

    Raises WeightsError, which names the file and what to do, for files that hold no known detector, another one
    than expected, or less or more than the model has places for; ValueError for options it has no use for.

    >>> from tempfile import TemporaryDirectory
    >>> from pagoda.convert.write_checkpoint import write_for
    >>> from pagoda.models import create_model
    >>> small = {"levels": (2,), "num_stages": 1, "top_level": 3, "width": 32, "head_depth": 1}
    >>> model = create_model("fcos_resnet18_fpn.torchvision", num_classes=2, **small)
    >>> with TemporaryDirectory() as folder:
    ...     file = write_for(model, "torchvision", Path(folder, "fcos.pth")).file
    ...     converted = convert(Path(folder, file))
    >>> converted.report.source, converted.report.missing, len(converted.model.label_map)
    ('torchvision FCOS', [], 2)
    """
    if is_darknet(path) or cfg is not None:
        if take or wanted or options or allow_missing:
            raise ValueError(
                f"{path} holds one network, which its .cfg describes: give flavour, classes and cfg alone"
            )
        return convert_darknet(path, cfg, flavour=flavour, label_map=label_map, num_classes=num_classes)
    checkpoint = open_foreign(path, wanted=wanted, take=take)
    architecture = checkpoint.architecture
    if architecture.detector is None:
        raise WeightsError(
            f"{path} holds a backbone ({architecture.backbone}, {checkpoint.source.title}), not a detector;"
            f" use create_model(…, backbone_weights='{path}') or load_backbone('{path}')"
        )
    if num_classes not in (None, architecture.num_classes):
        raise WeightsError(
            f"{path} was trained on {counted(architecture.num_classes, 'class', 'classes')}, not {num_classes}"
        )
    name, conventions, notes = choose_conventions(checkpoint, flavour)
    is_told = (
        flavour is not None or wanted is not None or not {"fusion", "activation"}.isdisjoint(options or {})
    )
    form, conventions, more = _with_told_form(checkpoint, conventions, flavour, is_told=is_told)
    notes += more
    labels = label_map or _classes_of(checkpoint, conventions)
    if len(labels) != architecture.num_classes:
        raise WeightsError(
            f"{path} was trained on {counted(architecture.num_classes, 'class', 'classes')} but the label"
            f" map names {len(labels)}"
        )
    parts = ModelName(architecture.detector, architecture.backbone, architecture.neck or "", name)
    check_told(checkpoint, options or {})
    chosen = options_from({**architecture.options, **form, **(options or {})}, parts, conventions)
    build = partial(build_detector, parts, labels, chosen, conventions)
    # what is missing keeps the numbers it starts with
    with nullcontext() if allow_missing else WithoutMemory():
        model = build()
    layout = _layout_of(model, checkpoint)
    ours = model.state_dict().keys()
    places = {
        source: layout.place(in_sequentials(canonical, ours))
        for source, canonical in checkpoint.renamed.taken.items()
    }
    report = fill_model(model, checkpoint, places, allow_missing=allow_missing)
    model = with_state(model, model.state_dict(), build)
    report.notes += notes + _neck_notes(checkpoint, options or {})
    model.origin = {**(model.origin or {}), "provenance": report.provenance()}
    model.inclusive = model.postprocess.inclusive and not model.sees_clips
    return Conversion(model.eval(), report, places)


def choose_conventions(
    checkpoint: ForeignCheckpoint, flavour: str | Flavour | None
) -> tuple[str, Flavour, list[str]]:
    """(name, conventions, what was concluded); an object keeps the name of what the file looks like.

    >>> from pagoda.convert.recognise import recognised
    >>> from pagoda.convert.to_program import to_source
    >>> from pagoda.models import create_model
    >>> small = {"levels": (2,), "num_stages": 1, "top_level": 3, "width": 32, "head_depth": 1}
    >>> model = create_model("fcos_resnet18_fpn.torchvision", num_classes=2, **small)
    >>> choose_conventions(recognised("fcos.pth", to_source(model, "torchvision")), None)[0]
    'torchvision'
    """
    source, architecture = checkpoint.source, checkpoint.architecture
    flavours = FAMILIES[architecture.detector or ""].flavours
    known = source.flavours[architecture.detector or ""]
    notes = []
    if isinstance(flavour, Flavour):
        name, conventions = known[0], flavour
    else:
        if flavour is not None:
            check_known(f"flavour of {architecture.detector}", flavour, [each for each in flavours if each])
        name = flavour_of(checkpoint, flavour)
        if flavour is None and len(known) > 1:
            other = next(each for each in known if each != name)
            notes.append(
                f"taken for '{name}', not '{other}', by its tensors or its name; flavour='{other}' overrules"
            )
        conventions, more = _with_recorded_input(checkpoint, flavours[name], is_told=flavour is not None)
        conventions, weights = _with_recorded_weights(checkpoint, conventions)
        notes += more + weights
    if architecture.extra_from is not None:
        conventions = replace(conventions, body=replace(conventions.body, extra_from=architecture.extra_from))
    return name, conventions, notes


def _with_told_form(
    checkpoint: ForeignCheckpoint, conventions: Flavour, flavour: str | Flavour | None, *, is_told: bool
) -> tuple[JsonObject, Flavour, list[str]]:
    """(options, conventions, why) with what effdet's tensors do not tell of the pyramid and the heads."""
    if checkpoint.source.name != "effdet" or not isinstance(conventions, EfficientDetFlavour):
        return {}, conventions, []
    try:
        # Google's own files are of its published models.
        is_told = is_told or is_tensorflow(checkpoint.path)
        form = told_form(checkpoint.metadata, checkpoint.path, is_told=is_told)
    except WeightsError as error:
        raise WeightsError(f"{checkpoint.path}: {error}") from error
    variant = VARIANTS[f"efficientdet_{checkpoint.architecture.backbone}"]
    usual = {"fusion": variant.fusion, "activation": variant.activation, "topology": "bifpn"}
    options = {key: value for key, value in form.options.items() if value != usual.get(key)}
    if not isinstance(flavour, Flavour):
        conventions = replace(
            conventions,
            resampling=form.resampling,
            head_activation=form.head_activation,
            **form.conventions,
        )
        if _is_effdets_lite0(checkpoint.architecture, conventions):
            conventions = replace(conventions, **{**EFFDET_LITE0, **form.conventions})
            options = {"canvas": EFFDET_LITE0_CANVAS, **options}
    return options, conventions, [f"fusion, activations and resampling {form.why}"] if form.why else []


def _is_effdets_lite0(architecture: Architecture, conventions: EfficientDetFlavour) -> bool:
    """Whether it is effdet's own lite variant, which fuses by weights."""
    is_weighted = architecture.options.get("fusion") == "fast"
    return architecture.backbone == "lite0" and is_weighted and not conventions.tensorflow


def _neck_notes(checkpoint: ForeignCheckpoint, given: Mapping[str, object]) -> list[str]:
    """What to be known of an FPN with norms, where nothing tells whether ReLUs stand behind them."""
    told = {**checkpoint.architecture.options, **given}
    is_open = checkpoint.source.name in ("fcos", "maskrcnn_benchmark", "mmdet") and "neck_relu" not in told
    if not is_open or told.get("neck_norm") not in ("group", "batch"):
        return []
    return [
        "no ReLU behind the norms of the neck, as nothing tells of one; options={'neck_relu': True} of pagoda.load"
        " puts it there"
    ]


def _with_recorded_input(
    checkpoint: ForeignCheckpoint, conventions: Flavour, *, is_told: bool
) -> tuple[Flavour, list[str]]:
    """The conventions, and why, with what the file or its published name says of the pictures.

    `is_told`: somebody named the conventions, which then count more than a config.
    """
    spec, notes = conventions.input_spec, []
    if checkpoint.source.name == "mmdet" and not is_told:
        recorded = recorded_pixels(checkpoint.metadata, spec)
        if recorded is not None and recorded != spec:
            spec = recorded
            notes.append(f"{spec.channel_order} pixels, mean and deviation as the config in the file says")
    if checkpoint.source.name in ("detectron2", "adelaidet"):
        spec, why = recorded_input(checkpoint.tensors, checkpoint.architecture.backbone, spec)
        notes += [why] if why else []
    row = published_row(checkpoint)
    sides = {} if row is None else {side: row.options[side] for side in SIDES if side in row.options}
    if sides:
        spec = replace(spec, **sides)
        notes.append(f"pictures {' × '.join(map(str, sides.values()))} as published for {row.name}")
    return replace(conventions, input_spec=spec), notes


def _with_recorded_weights(checkpoint: ForeignCheckpoint, conventions: Flavour) -> tuple[Flavour, list[str]]:
    """The conventions, and why, with the weights of box deltas that a Detect-and-Track file's config gives."""
    weights = recorded_box_weights(checkpoint.metadata)
    if weights is None or not isinstance(conventions, DetectAndTrackFlavour):
        return conventions, []
    if weights == conventions.box_coder.weights:
        return conventions, []
    note = f"box deltas have the weights {weights}, as the file's config has it (none: all 1)"
    return replace(conventions, box_coder=replace(conventions.box_coder, weights=weights)), [note]


SIDES = ("short_side", "long_side")


def _classes_of(checkpoint: ForeignCheckpoint, conventions: Flavour) -> LabelMap:
    """The names in the file, or those the source's published models have; numbers where the count fits neither."""
    count = checkpoint.architecture.num_classes or 0
    keypoints = checkpoint.architecture.options.get("num_keypoints")
    published = published_classes(conventions.class_names, count, num_keypoints=keypoints)
    names = recorded_classes(checkpoint.metadata)
    if names is None or len(names) != count or names == published.names:
        return published
    return LabelMap.from_names(names)


def _layout_of(model: Detector, checkpoint: ForeignCheckpoint) -> Layout:
    """How this model joins its predictions."""
    return Layout(
        len(model.label_map),
        quality_on=getattr(model, "quality_on", None),
        box_order=checkpoint.source.box_order,
        box_rows=checkpoint.architecture.box_rows,
        background=checkpoint.source.background,
    )
