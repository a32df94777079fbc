"""A model of ours as another program would save it: its names, the order of its anchors, its epsilon."""

from collections.abc import Mapping
from itertools import chain

from torch import Tensor

from pagoda.backbones.resnet import ResNet
from pagoda.convert.names.rules import restore
from pagoda.convert.programs import SOURCES
from pagoda.convert.rcnn_rows import anchor_order, rcnn_rows, reweighted
from pagoda.convert.source import Source
from pagoda.convert.tensor_slices import Layout
from pagoda.detectors.contract import Detector
from pagoda.detectors.rcnn import RCNN
from pagoda.plain import flat
from pagoda.zoo.families import conventions_for, is_known, parse_name
from pagoda.zoo.flavours.base import Flavour, RetinaNetFlavour
from pagoda.zoo.flavours.rcnn import RCNNFlavour
from pagoda.zoo.options import check_known

# Where `COMPUTED` differs the same tensors give other predictions, and no tensor could make up for it.
COMPUTED = ("body.style", "body.pooling", "body.extra_from", "body.relu_before_extra", "body.neck_relu")
COMPUTED += ("resampling", "head_activation")
COMPUTED += ("coder", "level_scale", "quality_on", "anchors", "input_spec")
COMPUTED += ("anchor_style", "anchor_steps", "pooling", "proposals.inference", "one_level", "upsampling")
COMPUTED += ("box_clip", "whole_sizes", "norm_eps", "lite_extras", "lite_plain_last")
COMPUTED += (
    "rpn_coder",
    "box_coder",
    "postprocess.paste",
    "postprocess.keypoint_score",
)
# Rows are multiplied to make up for these, and of proposals only those in use count.
MADE_UP_FOR = (
    "coder.weights",
    "rpn_coder.weights",
    "box_coder.weights",
    "one_level_proposals.training",
)
# Norms with the backbone's epsilon: C4 networks have its last stage in the box head.
BODY = ("backbone.", "box_head.trunk.stage.")


def to_source(model: Detector, source: str) -> dict[str, Tensor]:
    """The model's tensors as another program would save them, so that its raw predictions are the model's.

    Names and rows are brought into that program's order, variances make up for another epsilon, and box deltas
    for other weights. What cannot be made up for `differences` tells. Raises ValueError where the program has
    no place for a tensor of the model.

    >>> from pagoda.models import create_model
    >>> small = {"levels": (2,), "num_stages": 1, "top_level": 3, "width": 32, "head_depth": 1}
    >>> model = create_model("fcos_resnet18_fpn.torchvision", num_classes=2, **small)
    >>> [name for name in to_source(model, "torchvision") if "ctrness" in name]
    ['head.regression_head.bbox_ctrness.weight', 'head.regression_head.bbox_ctrness.bias']
    """
    chosen, theirs = _written_as(model, source)
    ours = _conventions_of(model)
    state = dict(model.state_dict())
    if isinstance(ours, RetinaNetFlavour) and isinstance(theirs, RetinaNetFlavour):
        state |= _reordered(state, ours, theirs, len(model.label_map))
    if isinstance(ours, RCNNFlavour) and isinstance(theirs, RCNNFlavour):
        state |= rcnn_rows(state, ours, theirs, pyramid=_neck_of(model) == "fpn")
    layout = Layout(
        len(model.label_map),
        quality_on=getattr(model, "quality_on", None),
        box_order=chosen.box_order,
        box_rows=getattr(model.box_head, "outputs", 4),
        background=chosen.background,
    )
    canonical = _canonical_names(state, layout, chosen)
    names = restore(canonical, chosen.rules_to_write(canonical))
    more = _epsilon_of(model) - theirs.body.eps if isinstance(model.backbone, ResNet) else 0.0
    written = {}
    for canonical, name in names.items():
        place = layout.place(canonical)
        tensor = place.read(state[place.name]).clone()
        is_variance = canonical.startswith(BODY) and canonical.endswith(".running_var")
        written[name] = _with_epsilon(tensor, more, name) if is_variance and more else tensor
    return written


def _written_as(model: Detector, source: str) -> tuple[Source, Flavour]:
    """The program's form and conventions that are nearest to the model's and have a place for every tensor."""
    detector = detector_of(model)
    # Scale and shift alone cannot hold our norms, and nobody runs Caffe2 any more.
    fitting = [each for each in SOURCES if detector in each.flavours and not each.affine_norms]
    if not fitting:
        raise ValueError(
            f"{type(model).__name__} models cannot be written for another program, only read from one"
        )
    check_known("source to write for", source, {each.name for each in fitting})
    ours, neck = _conventions_of(model), _neck_of(model)
    candidates = [
        (each, conventions_for(parse_name((model.origin or {})["model"])._replace(flavour=name)))
        for each in fitting
        for name in each.flavours[detector]
        if each.name == source and (not each.necks or neck in each.necks)
    ]
    if not candidates:
        raise ValueError(f"{source} has no form for {detector} with the neck '{neck}'")
    errors: dict[str, str] = {}
    for each, theirs in sorted(candidates, key=lambda pair: len(unlike(ours, pair[1], neck))):
        layout = Layout(len(model.label_map), quality_on=getattr(model, "quality_on", None))
        try:
            canonical = _canonical_names(model.state_dict(), layout, each)
            restore(canonical, each.rules_to_write(canonical))
        except ValueError as error:
            errors[each.title] = str(error)
            continue
        return each, theirs
    raise ValueError("; ".join(f"{title}: {error}" for title, error in errors.items()))


def differences(model: Detector, source: str) -> list[str]:
    """In what the other program will not compute what the model computes, one line each.

    >>> from pagoda.models import create_model
    >>> small = {"levels": (2,), "num_stages": 1, "top_level": 3, "width": 32, "head_depth": 1}
    >>> model = create_model("fcos_resnet18_fpn.torchvision", num_classes=2, **small)
    >>> differences(model, "torchvision")
    []
    >>> [line.partition(":")[0] for line in differences(model, "detectron2")][:2]
    ['body.style', 'input_spec.rounding']
    """
    return unlike(_conventions_of(model), _written_as(model, source)[1], _neck_of(model))


def unlike(ours: Flavour, theirs: Flavour, neck: str) -> list[str]:
    """Conventions that no tensor could make up for, of a model with this neck."""
    here, there = flat(ours.to_dict()), flat(theirs.to_dict())
    ignored = MADE_UP_FOR + (("one_level",) if neck == "fpn" else ("proposals", "pooling.sampling_ratio"))
    return [
        f"{name}: {value!r} here, {there.get(name)!r} there"
        for name, value in here.items()
        if name.startswith(COMPUTED) and not name.startswith(ignored) and there.get(name) != value
    ]


def detector_of(model: Detector) -> str:
    """What the zoo's name of such a model begins with: "fcos", "mask_rcnn", "ssd300", …"""
    name = (model.origin or {}).get("model")
    if is_known(name):
        return parse_name(str(name)).detector
    if not isinstance(model, RCNN):
        return type(model).__name__.lower()
    if model.mask_head is not None:
        return "mask_rcnn"
    return "faster_rcnn" if model.keypoint_head is None else "keypoint_rcnn"


def _neck_of(model: Detector) -> str:
    """fpn, c4, dc5, …; empty for models that are not the zoo's."""
    return parse_name(model.origin["model"]).neck if model.origin else ""


def _conventions_of(model: Detector) -> Flavour:
    """What the model was built with. Raises ValueError for models that are not the zoo's."""
    if not model.origin or "flavour" not in model.origin:
        raise ValueError(
            "only models of the zoo can be written for another program; build it with create_model"
        )
    return type(conventions_for(parse_name(model.origin["model"]))).from_dict(model.origin["flavour"])


def _canonical_names(state: Mapping[str, Tensor], layout: Layout, source: Source) -> list[str]:
    """Of every tensor to be written. Scales that are all 1 need no place: they say nothing."""
    kept = [name for name in state if not name.endswith("running_count.mean")]
    if "scales" in state and not any((rule.ours or "").startswith("scales.") for rule in source.rules):
        kept = [name for name in kept if name != "scales" or not bool((state["scales"] == 1).all())]
    return list(
        chain.from_iterable(
            layout.canonical_names(name, len(state[name]) if state[name].ndim else 0) for name in kept
        )
    )


def _epsilon_of(model: Detector) -> float:
    """The epsilon of the norms in the backbone that have statistics; 0 where there are none."""
    return next((m.eps for m in model.backbone.modules() if hasattr(m, "running_var")), 0.0)


def _with_epsilon(variance: Tensor, more: float, name: str) -> Tensor:
    """The variance to which a program that adds less (by `more`) comes up to ours."""
    if bool((variance + more <= 0).any()):
        raise ValueError(f"{name} holds variances below {-more:g}, which the other program's epsilon exceeds")
    return variance + more


def _reordered(
    state: Mapping[str, Tensor], ours: RetinaNetFlavour, theirs: RetinaNetFlavour, num_classes: int
) -> dict[str, Tensor]:
    """The predictions with anchors in the other program's order and deltas of its weights."""
    order = anchor_order(ours.anchors, theirs.anchors)
    found = {}
    for head, rows in (("class_head", num_classes), ("box_head", 4)):
        for kind in ("weight", "bias"):
            tensor = state[f"{head}.predict.{kind}"].unflatten(0, (-1, rows))[order]
            if head == "box_head":
                tensor = reweighted(tensor, ours.coder, theirs.coder)
            found[f"{head}.predict.{kind}"] = tensor.flatten(0, 1)
    return found
