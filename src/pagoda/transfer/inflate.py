"""A trained detector of pictures as the beginning of one of clips (Girdhar 2018): its tensors, given a time axis."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from pagoda.convert.names.detect_and_track import STAGE
from pagoda.convert.read_backbone import load_backbone
from pagoda.convert.recognise import open_foreign
from pagoda.detectors.contract import Detector
from pagoda.detectors.two_stage import TwoStageDetector
from pagoda.heads.roi_box import BoxHead
from pagoda.layers.inflate import Inflation, inflate_state
from pagoda.messages import counted
from pagoda.models import load, local_file
from pagoda.plain import JsonObject, checked
from pagoda.weights.files import has_card

COUNTERS = "num_batches_tracked"
PIXELS = ("channel_order", "scale", "mean", "std")


@dataclass(frozen=True)
class StartReport:
    """What became of every tensor; `text()` for people, `to_dict()` for machines.

    >>> print(StartReport("r18.pkl", taken=["a", "b"], fresh=["c"], left={"d": "of other classes"}).text())
    taken       2 tensors of r18.pkl
    fresh       1: c
    left        1: of other classes (d)
    """

    file: str
    """name of the trained detector's file"""
    taken: list[str]
    """the model's tensors that hold the file's now"""
    fresh: list[str]
    """those that keep their initial values"""
    left: dict[str, str] = field(default_factory=dict)
    """{tensor of the file: why it is not taken}"""
    notes: list[str] = field(default_factory=list)
    """what weights alone do not bring along, one line each"""

    def to_dict(self) -> JsonObject:
        """All fields by name, ready for JSON."""
        return asdict(self)

    def text(self) -> str:
        """The report for people, one fact per line."""
        lines = [f"taken       {counted(len(self.taken), 'tensor')} of {self.file}"]
        lines += [f"fresh       {len(self.fresh)}: {', '.join(self.fresh)}"] if self.fresh else []
        why: dict[str, list[str]] = {}
        for name, reason in self.left.items():
            why.setdefault(reason, []).append(name)
        lines += [f"left        {len(names)}: {reason} ({', '.join(names)})" for reason, names in why.items()]
        return "\n".join([*lines, *(f"note        {note}" for note in self.notes)])


@checked
def start_from(
    model: Detector, path: str | Path, *, inflation: Inflation = "center", take: str | None = None
) -> StartReport:
    """Fill `model` with what of a trained detector (or backbone) matches by name and shape; the rest stays.

    Kernels of pictures get a time axis where the model's have one. In a C4 network the backbone's last stage
    serves the box head. Predictions whose rows mean something else in the model, other anchors or classes say,
    are left; keypoints are taken over in their order.

    Args:
        path: a checkpoint of ours or of any known program, or an address.
        take: which weights, where it holds several (see `convert.read.convert`).
    """
    state, theirs = trained(path, take)
    wanted = model.state_dict()
    state = {our_name(name, wanted): tensor for name, tensor in state.items() if not name.endswith(COUNTERS)}
    state = inflate_state(state, wanted, inflation)
    left = _not_wanted(state, wanted, {} if theirs is None else _other_rows(theirs, model))
    taken = {name: tensor for name, tensor in state.items() if name not in left}
    model.load_state_dict(taken, strict=False)
    fresh = [name for name in wanted if name not in taken and not name.endswith(COUNTERS)]
    if theirs is not None and model.origin is not None and "provenance" in (theirs.origin or {}):
        model.origin = {**model.origin, "provenance": (theirs.origin or {})["provenance"]}
    return StartReport(
        Path(path).name, list(taken), fresh, left, [] if theirs is None else notes(theirs, model)
    )


def _not_wanted(
    state: Mapping[str, Tensor], wanted: Mapping[str, Tensor], barred: Mapping[str, str]
) -> dict[str, str]:
    """{tensor of the file: why it is left}. A bias goes with its weight."""
    left: dict[str, str] = {}
    for name, tensor in state.items():
        weight = f"{name.removesuffix('bias')}weight"
        other = next((why for prefix, why in barred.items() if name.startswith(prefix)), None)
        if name not in wanted:
            left[name] = "the model has no such tensor"
        elif other is not None:
            left[name] = other
        elif tensor.shape != wanted[name].shape:
            left[name] = f"{tuple(tensor.shape)} there, {tuple(wanted[name].shape)} here"
        elif name.endswith(".bias") and weight in left:
            left[name] = f"so is {weight}"
    return left


def trained(path: str | Path, take: str | None = None) -> tuple[dict[str, Tensor], Detector | None]:
    """(tensors by our names, the detector they are of); None for a backbone alone."""
    path = local_file(path)
    if not has_card(path) and open_foreign(path, take=take).architecture.detector is None:
        backbone = load_backbone(path, take=take)
        return {f"backbone.{name}": tensor for name, tensor in backbone.state_dict().items()}, None
    model = load(path, take=take)
    return model.state_dict(), model


def our_name(name: str, wanted: Mapping[str, Tensor]) -> str:
    """What the model calls a tensor of another detector; the same where it has none like it.

    >>> our_name("box_head.classes.bias", {"box_head.head.classes.bias": torch.zeros(2)})
    'box_head.head.classes.bias'
    """
    if name in wanted:
        return name
    others = (
        name.replace("box_head.", "box_head.head.", 1),
        name.replace("backbone.layer4.", STAGE, 1),
    )
    return next((other for other in others if other in wanted), name)


def _other_rows(theirs: Detector, ours: Detector) -> dict[str, str]:
    """{beginning of our names: why rows of equal shape mean something else there}."""
    if not (isinstance(theirs, TwoStageDetector) and isinstance(ours, TwoStageDetector)):
        return {}
    found = {}
    if not _same_anchors(theirs, ours):
        found["rpn_head."] = "of other anchors"
    there, here = box_head(theirs), box_head(ours)
    prefix = "box_head.head." if ours.sees_clips else "box_head."
    if theirs.label_map.names != ours.label_map.names:
        found[f"{prefix}classes."] = found[f"{prefix}deltas."] = "of other classes"
    elif (there.background, there.background_box) != (here.background, here.background_box):
        found[f"{prefix}classes."] = found[f"{prefix}deltas."] = "the background stands elsewhere"
    elif there.coder.weights != here.coder.weights:
        found[f"{prefix}deltas."] = f"box deltas of weights {there.coder.weights}, here {here.coder.weights}"
    return found


def _same_anchors(theirs: TwoStageDetector, ours: TwoStageDetector) -> bool:
    """Whether both have anchors of the same sides, to the rounding of old programs, in the same order."""
    if theirs.levels != ours.levels:
        return False
    for level in ours.levels:
        cells = [model.anchors.of_cell(level) for model in (theirs, ours)]
        there, here = (cell[:, 2:] - cell[:, :2] for cell in cells)
        if there.shape != here.shape or not torch.allclose(there, here, rtol=0.1):
            return False
    return True


def box_head(model: TwoStageDetector) -> BoxHead:
    """The box head that looks at single frames: the model's own, or the one inside its tube head."""
    return model.box_head.head if model.sees_clips else model.box_head


def notes(theirs: Detector, ours: Detector) -> list[str]:
    """What weights alone do not bring along, one line each."""
    lines = []
    for name in PIXELS:
        there, here = getattr(theirs.input_spec, name), getattr(ours.input_spec, name)
        if there != here:
            lines.append(f"pixels were trained with {name}={there!r}, but the model reads them with {here!r}")
    bodies = [(each.origin or {}).get("flavour", {}).get("body", {}).get("style") for each in (theirs, ours)]
    if bodies[0] != bodies[1]:
        lines.append(f"bottlenecks were trained in the style {bodies[0]!r}, but stride in {bodies[1]!r}")
    skeletons = theirs.label_map.skeleton, ours.label_map.skeleton
    if skeletons[0] is not None and skeletons[1] is not None:
        pairs = zip(skeletons[0].names, skeletons[1].names, strict=False)
        changed = [f"{there} → {here}" for there, here in pairs if there != here]
        lines += [f"keypoints begin as others: {', '.join(changed)}"] if changed else []
    return lines
