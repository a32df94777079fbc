"""A YOLOv1 of ours as darknet reads it: a `.weights` file, and its network as a `.cfg` beside it."""

from pathlib import Path

from torch import Tensor

from pagoda.convert.darknet.cfg import cfg_text
from pagoda.convert.darknet.weights_file import Entry, Header, entries_of, write_weights
from pagoda.convert.read_darknet import CENTERED
from pagoda.convert.write_checkpoint import WayBackReport
from pagoda.detectors.contract import Detector
from pagoda.detectors.yolov1 import YOLOv1
from pagoda.files.atomic import write_atomically
from pagoda.plain import flat
from pagoda.weights.shards import sha256_of
from pagoda.zoo.families import options_from, parse_name
from pagoda.zoo.flavours.yolov1 import DARKNET, YOLOv1Flavour
from pagoda.zoo.option_groups import DarknetOptions
from pagoda.zoo.yolov1 import darknet_layers

PROGRAM, ENDING = "darknet", ".weights"
COMPUTED = ("coder.sigmoid", "input_spec.fit", "input_spec.resample", "input_spec.mean", "input_spec.std")
COMPUTED += ("input_spec.channel_order", "input_spec.scale")
EPSILON = 1e-6
"""which darknet adds to deviations"""


def write_darknet(model: Detector, path: str | Path) -> WayBackReport:
    """Write `path`, a `.weights` file, and the `.cfg` of the same name.

    A model that was read from such a file and not trained gives the same bytes again. Raises ValueError for a model
    that is no network of darknet's layers, and FileExistsError where there is another `.cfg`.

    >>> write_darknet(Detector(), "a.weights")
    Traceback (most recent call last):
    ValueError: darknet reads YOLOv1 of its own layers (yolov1, yolov1_tiny …), not a Detector
    """
    path, conventions, options = Path(path), _conventions(model), _options(model)
    layers = darknet_layers(parse_name((model.origin or {})["model"]), options, len(model.label_map))
    spec = model.input_spec
    shape = (spec.channels, *(spec.canvas or (0, 0)))
    entries = entries_of(layers, shape)
    said = (model.origin or {}).get("provenance", {})
    header = Header.parse(said["header"]) if "header" in said else Header()
    tensors = _tensors(model, entries, conventions)
    is_centered = spec.mean == spec.std == CENTERED
    grid, num_boxes = model.head.grid, model.head.num_boxes  # type: ignore[union-attr]
    text = cfg_text(
        layers,
        shape,
        grid[0],
        num_boxes,
        conventions,
        len(model.label_map),
        is_centered=is_centered,  # type: ignore[index, arg-type]
    )
    cfg = path.with_suffix(".cfg")
    if cfg.exists() and cfg.read_text(encoding="utf-8") != text:
        raise FileExistsError(
            f"{cfg} is there already and describes another network; move it, or write elsewhere"
        )
    written = write_atomically(path, lambda draft: write_weights(draft, header, entries, tensors))
    write_atomically(cfg, lambda draft: draft.write_text(text, encoding="utf-8"))
    return WayBackReport(
        file=written.name,
        sha256=sha256_of(written),
        program=PROGRAM,
        tensors=len(entries),
        left_out=[name for name in model.state_dict() if name.endswith("num_batches_tracked")],
        differences=_differences(conventions, spec.to_dict(), is_centered=is_centered),
        licence=said.get("licence", ""),
    )


def _conventions(model: Detector) -> YOLOv1Flavour:
    origin = model.origin or {}
    if not isinstance(model, YOLOv1) or model.head.grid is None or "flavour" not in origin:
        raise ValueError(
            f"darknet reads YOLOv1 of its own layers (yolov1, yolov1_tiny …), not a {type(model).__name__}"
            f"{' on another backbone' if isinstance(model, YOLOv1) else ''}"
        )
    return YOLOv1Flavour.from_dict(origin["flavour"])


def _options(model: Detector) -> DarknetOptions:
    origin = model.origin or {}
    options = options_from(origin["options"], parse_name(origin["model"]))
    assert isinstance(options, DarknetOptions)
    return options


def _tensors(model: Detector, entries: list[Entry], conventions: YOLOv1Flavour) -> dict[str, Tensor]:
    """Ours, with variances that make up for another epsilon. Raises ValueError where none can."""
    state = model.state_dict()
    if conventions.cell_norm == "darknet":
        return state
    eps = 1e-5  # of PyTorch's norms
    for entry in entries:
        if entry.name.endswith("running_var"):
            deviation = (state[entry.name].double() + eps).sqrt() - EPSILON
            state[entry.name] = deviation.square().float()
    return state


def _differences(conventions: YOLOv1Flavour, spec: dict[str, object], *, is_centered: bool) -> list[str]:
    here = {**flat(conventions.to_dict()), **flat({"input_spec": spec})}
    there = flat(DARKNET.to_dict())
    if is_centered:
        there |= {"input_spec.mean": list(CENTERED), "input_spec.std": list(CENTERED)}
    return [
        f"{name}: {here[name]!r} here, {there[name]!r} there"
        for name in COMPUTED
        if here[name] != there[name]
    ]
