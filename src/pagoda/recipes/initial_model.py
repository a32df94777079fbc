"""The model a run begins with: a new one, somebody's own, or a trained one fitted to the classes of the data."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import ClassVar

from pagoda.convert.report import collected_notes
from pagoda.data.table.annotations import Annotations
from pagoda.detectors.contract import Detector, check_input
from pagoda.explain.doctor.input_size import choose_size
from pagoda.models import create_model, is_checkpoint, is_exported, load
from pagoda.plain import JsonObject, checked
from pagoda.structures.labels import LabelMap
from pagoda.transfer.classes import adapt_classes
from pagoda.transfer.rcnn import keypoints_fit
from pagoda.zoo.composed_options import changed, read_options
from pagoda.zoo.families import FAMILIES, parse_name
from pagoda.zoo.options import Options

Build = Callable[[int], Detector]
"""Composes a model that is not in the zoo, from the number of classes."""
SIDES = ("short_side", "long_side")
"""options that say the size of pictures"""


@checked
@dataclass(frozen=True, kw_only=True)
class CheckpointOptions(Options):
    """What can be chosen of a trained model: the size of its pictures, and which of a file's weights.

    >>> print(CheckpointOptions.refusal("mine.pt", said="width", of="fcos"))
    mine.pt is a trained model: of its options only short_side, long_side, canvas can be changed, got width
    """

    of: ClassVar[str] = "trained models"
    """whose options these are, in messages"""

    short_side: int | None = None
    """pixels: the shorter side pictures are resized to (as it was trained)"""
    long_side: int | None = None
    """pixels: the longer side is never larger"""
    canvas: tuple[int, int] | None = None
    """height and width in pixels of the frame that pictures are fitted into, where the model has one"""
    take: str | None = None
    """which weights of the file, where it holds several: their key, or ema for the averaged ones"""

    @classmethod
    def refusal(cls, model: str, said: str, of: str) -> str:
        """What is wrong where somebody says an option that these have not; `of` is whose it is."""
        sizes = "short_side, long_side, canvas"
        return f"{model} is a trained model: of its options only {sizes} can be changed, got {said}"


@dataclass(frozen=True)
class Start:
    """The model a run begins with, and how it came about."""

    model: Detector
    """with the classes of the data, untrained or trained"""
    text: str = ""
    """for people; empty where there is nothing to say"""
    config: Mapping[str, object] = field(default_factory=dict)
    """what config.yaml says instead of the card: a run from a checkpoint must not be repeated from scratch"""


def starting_model(
    model: str | Path | Detector,
    labels: LabelMap,
    *,
    options: JsonObject | None = None,
    build: Build | None = None,
    table: Annotations | None = None,
) -> Start:
    """The model a run begins with, for the classes `labels`.

    Args:
        model: a zoo name, a name for what `build` composes, a checkpoint (ours or not; an address), or a built model.
        options: those of a zoo model, or `CheckpointOptions`; a built model has none, and ValueError is raised.
        build: composes a model from the number of classes.
        table: what the run is to learn, which decides the size of pictures where nobody else does: for a zoo model in
            our own flavour without short_side and long_side (`explain.doctor.input_size.choose_size`).

    >>> import pagoda
    >>> model = pagoda.create_model("fcos_resnet18_fpn", num_classes=2, base_channels=8, width=8, norm_groups=4)
    >>> starting_model(model, LabelMap.from_names(["cat", "dog"])).model.label_map.names
    ('cat', 'dog')
    """
    if isinstance(model, Path) or (isinstance(model, str) and (is_checkpoint(model) or is_exported(model))):
        return _from_checkpoint(str(model), labels, options=options or {}, build=build)
    if isinstance(model, str) and build is not None:
        composed = build(len(labels))
        composed.label_map, composed.origin = labels, {"model": model, "options": {}}
        return Start(composed)
    if isinstance(model, str):
        created = create_model(model, label_map=labels, **(options or {}))
        if table is None or not is_size_open(model, options or {}):
            return Start(created)
        return Start(created, fit_size(created, table))
    if options:
        raise ValueError(f"options belong to a model named by its zoo name, not to a built one: {options}")
    return _fitted(model, labels)


def begin_anew(model: Detector) -> None:
    """Let a model that is to learn forget what holds for the weights it begins with."""
    model.inclusive = False  # what it learns from now on are the edges of objects
    model.thresholds = model.linker = None  # chosen for scores that it will not give any more


def is_size_open(model: str, options: Mapping[str, object]) -> bool:
    """Whether nobody has chosen a size: a zoo model in our own flavour that resizes pictures by their sides.

    >>> is_size_open("fcos_resnet18_fpn", {}), is_size_open("fcos_resnet18_fpn", {"short_side": 320})
    (True, False)
    >>> is_size_open("fcos_resnet18_fpn.original", {}), is_size_open("efficientdet_d0", {})
    (False, False)
    """
    name = parse_name(model)
    family = FAMILIES[name.detector]
    has_sides = family.flavours[name.flavour].input_spec.canvas is None and not family.of_clips
    return has_sides and not name.flavour and all(options.get(side) is None for side in SIDES)


def fit_size(model: Detector, table: Annotations) -> str:
    """Give a model the size that suits `table` as if it had been asked for; what was chosen and why, "" for nothing."""
    choice = choose_size(model, table)
    if choice is None:
        return ""
    sides = dict(zip(SIDES, (choice.short_side, choice.long_side), strict=True))
    model.input_spec = replace(model.input_spec, **sides)  # type: ignore[arg-type]
    origin = model.origin or {}
    model.origin = {**origin, "options": {**origin.get("options", {}), **sides}}
    return choice.why


def _from_checkpoint(path: str, labels: LabelMap, *, options: JsonObject, build: Build | None) -> Start:
    """A trained model: its heads made anew where classes or keypoints differ, its pictures resized where asked."""
    if is_exported(path):
        raise ValueError(
            f"{path} is an exported file, which cannot be trained; start from the checkpoint it was made of"
        )
    chosen = changed(read_options(CheckpointOptions, options, path))
    take = chosen.pop("take", None)
    with collected_notes() as notes:
        loaded = load(path, build=build, take=take)
    has_canvas = loaded.input_spec.canvas is not None
    useless = [name for name in chosen if (name == "canvas") != has_canvas]
    if useless:
        raise ValueError(
            f"{path} {'fits pictures into a canvas' if has_canvas else 'resizes pictures by their sides'}: change"
            f" {'canvas' if has_canvas else 'short_side and long_side'}, not {', '.join(useless)}"
        )
    start = _fitted(loaded, labels, is_positional=False)
    start.model.input_spec = replace(loaded.input_spec, **chosen)
    check_input(start.model)
    lines = [f"starts from {path}", *(f"note        {note}" for note in notes), start.text]
    provenance = (loaded.origin or {}).get("provenance")
    if provenance:
        lines.append(f"licence     {provenance['licence']} ({provenance['source']})")
    text = "\n".join(line for line in lines if line)
    return Start(
        start.model, text, {"model": path, "options": {**chosen, **({"take": take} if take else {})}}
    )


def _fitted(model: Detector, labels: LabelMap, *, is_positional: bool = True) -> Start:
    """The model for these classes. `is_positional`: classes that are only numbered take the names in order."""
    fits = keypoints_fit(model, labels.skeleton, model.label_map.skeleton)
    if model.label_map.names == labels.names and fits:
        model.label_map = labels
        return Start(model)
    if is_positional and model.label_map == LabelMap.numbered(len(labels)):
        model.label_map = labels
        return Start(model)
    adapted = adapt_classes(model, labels)
    return Start(adapted.model, adapted.text())
