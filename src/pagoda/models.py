"""From a name or a checkpoint to a model."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from torch import nn

from pagoda.backbones.resnet3d import ResNet3D
from pagoda.backbones.timm import TimmBackbone, pretrained_network
from pagoda.convert.report import ConversionReport
from pagoda.detectors.contract import Detector
from pagoda.files.text import with_home
from pagoda.layers.inflate import Inflation, inflate_state
from pagoda.machine import find_device
from pagoda.messages import counted, short_list
from pagoda.plain import checked
from pagoda.structures.labels import LabelMap
from pagoda.weights.file_types import is_remote
from pagoda.weights.files import WeightsError, has_card, read_card
from pagoda.weights.shards import INDEX, WEIGHTS, file_in, refuse_shard, sha256_of, weights_in
from pagoda.zoo.cards import classes_in, model_in, model_of_file
from pagoda.zoo.class_names import published_classes
from pagoda.zoo.detect_and_track import DetectAndTrackOptions
from pagoda.zoo.families import (
    FAMILIES,
    MODELS,
    build_detector,
    conventions_for,
    is_known,
    options_from,
    parse_name,
)
from pagoda.zoo.flavours.base import Flavour
from pagoda.zoo.options import check_known

# What reads other programs' files is imported where one is met: it is a third of what loading would take along,
# and a checkpoint of ours, whose card says all, needs none of it.


def list_models() -> list[str]:
    """The names `create_model` takes, without their flavours; "timm:NAME" may stand for the backbone.

    >>> [name for name in list_models() if name.startswith("mask_rcnn_resnet50")]
    ['mask_rcnn_resnet50_c4', 'mask_rcnn_resnet50_dc5', 'mask_rcnn_resnet50_fpn']
    """
    return list(MODELS)


def list_flavours(detector: str) -> list[str]:
    """What may follow the name of a model of this detector, after a dot: whose conventions it keeps.

    Raises ValueError with the nearest name for an unknown detector.

    >>> list_flavours("fcos")[:4]  # fcos_resnet50_fpn.original, …
    ['original', 'improved', 'adelaidet', 'detectron2']
    """
    check_known("detector", detector, FAMILIES)
    return [name for name in FAMILIES[detector].flavours if name]


def create_model(
    name: str, *, num_classes: int | None = None, label_map: LabelMap | None = None, **options: Any
) -> Detector:
    """A new detector called `name` for `num_classes` foreground classes, or for the classes of `label_map`.

    `options` are those of this model (`pagoda info NAME --help-all` lists them); one that it has no use for raises, and
    an unknown name or option raises with the nearest right word.

    >>> create_model("fcos_ghostnet_50_fpn", label_map=LabelMap.from_names(["cat", "dog"]), width=16).levels
    [3, 4, 5, 6, 7]
    """
    parts = parse_name(name)
    conventions = conventions_for(parts)
    if label_map is None:
        if num_classes is None:
            raise ValueError(f"create_model('{name}') needs num_classes=… or label_map=…")
        label_map = LabelMap.numbered(num_classes)
        if parts.flavour:
            keypoints = options.get("num_keypoints")
            label_map = published_classes(conventions.class_names, num_classes, num_keypoints=keypoints)
    elif num_classes not in (None, len(label_map)):
        raise ValueError(
            f"num_classes is {num_classes} but the label map names {counted(len(label_map), 'class', 'classes')}"
        )
    chosen = options_from(options, parts, conventions)
    inflation = chosen.inflation if isinstance(chosen, DetectAndTrackOptions) else None
    model = build_detector(parts, label_map, chosen, conventions)
    if chosen.backbone_weights:
        from pagoda.convert.report import say_choice

        report = load_backbone_weights(
            model.backbone, chosen.backbone_weights, inflation=inflation, take=chosen.take
        )
        say_choice(report, chosen.take)
        return model
    for option, value in (("inflation", inflation), ("take", chosen.take)):
        if value:
            raise ValueError(f"{option}={value!r} is for backbone_weights=…; give both or neither")
    return model


@checked
def load_backbone_weights(
    backbone: nn.Module, source: str, *, inflation: Inflation | None = None, take: str | None = None
) -> ConversionReport:
    """Fill a backbone from a file of any known program, or from timm with "timm:NAME" (may download).

    The classifier is left out; anything else that is missing or of another shape raises. `inflation` (center) is
    what the taps in time of a backbone of clips make of kernels of pictures; `take` says which weights where the
    file holds several (see `convert.read.convert`).

    >>> load_backbone_weights(nn.Conv2d(3, 8, 3), "resnet50.pth", inflation="center")
    Traceback (most recent call last):
    ValueError: a Conv2d looks at pictures and has no use for inflation='center'
    """
    if take and source.startswith("timm:"):
        raise ValueError(f"{source} holds one set of weights: leave {take=} out")
    if inflation is not None and not isinstance(backbone, ResNet3D):
        raise ValueError(f"a {type(backbone).__name__} looks at pictures and has no use for {inflation=}")
    if isinstance(backbone, TimmBackbone):
        return _fill_from_timm(backbone, source, take)
    if not source.startswith("timm:"):
        from pagoda.convert.read_backbone import fill_backbone

        return fill_backbone(backbone, local_file(source), inflation=inflation or "center", take=take)
    state = pretrained_network(source.removeprefix("timm:")).state_dict()
    wanted = backbone.state_dict()
    missing = [name for name in wanted if name not in state and not name.endswith("num_batches_tracked")]
    if missing:
        raise WeightsError(
            f"{source} lacks {counted(len(missing), 'tensor')} of this backbone: {', '.join(missing[:3])} …"
        )
    taken = inflate_state({n: state[n] for n in wanted if n in state}, wanted, inflation or "center")
    backbone.load_state_dict(taken, strict=False)
    return ConversionReport(
        file=source,
        sha256="",
        source="timm",
        licence="that of its card on huggingface.co/timm",
        model=source.removeprefix("timm:"),
        parameters=sum(parameter.numel() for parameter in backbone.parameters()),
        taken=len(taken),
        dropped=dict.fromkeys(state.keys() - taken.keys(), "not part of this backbone"),
    )


def _fill_from_timm(backbone: TimmBackbone, source: str, take: str | None = None) -> ConversionReport:
    """A network of timm from its own weights, "timm:NAME" (may download), from a file of the plain network, or from one
    of a known program that has this network in it."""
    from pagoda.convert.read_backbone import fill_backbone
    from pagoda.convert.recognise import has_timm_body
    from pagoda.weights.prefixes import peel
    from pagoda.weights.provenance import Reading
    from pagoda.weights.state_dict import read_foreign

    is_named, reading = source.startswith("timm:"), Reading()
    path = None if is_named else local_file(source)
    if path is None:
        state = pretrained_network(source.removeprefix("timm:")).state_dict()
    else:
        content = read_foreign(path, take=take)
        if has_timm_body(content.tensors):  # under another program's names
            return fill_backbone(backbone, path, take=take)
        peeled = peel(path, content.tensors, knows=backbone.knows_plain, alone=backbone.knows_plain)
        state = dict(peeled.tensors)
        reading = Reading(
            content.taken, (*content.beside, *peeled.beside), peeled.notes, tuple(content.dropped)
        )
    try:
        left = backbone.load_plain(state)
    except ValueError as error:
        raise WeightsError(f"{source}: {error}") from error
    return ConversionReport(
        file=source if path is None else path.name,
        sha256="" if path is None else sha256_of(path),
        source="timm",
        licence="that of its card on huggingface.co/timm",
        model=source.removeprefix("timm:") if is_named else type(backbone).__name__,
        parameters=sum(parameter.numel() for parameter in backbone.parameters()),
        taken=len(state) - len(left),
        dropped=dict.fromkeys(left, "not part of this backbone"),
        notes=list(reading.notes),
        weights=reading.taken,
        choice=reading.choice(),
        left=list(reading.dropped),
    )


def local_file(place: str | Path) -> Path:
    """The file itself; an address is fetched. Raises FileNotFoundError that knows where published files are.

    >>> local_file("resnet50-11ad3fa6.pth")
    Traceback (most recent call last):
    FileNotFoundError: no weights file at resnet50-11ad3fa6.pth
    """
    if is_remote(place):
        from pagoda.weights.remote import fetch

        return fetch(str(place))
    path = with_home(place)
    if path.is_dir():
        return file_in(path)
    if not path.is_file():
        from pagoda.convert.published import find_published

        row = find_published(path.name)
        hint = f"; {row.name} is published at {row.url}: give that address to fetch it" if row else ""
        raise FileNotFoundError(f"no weights file at {path}{hint}")
    refuse_shard(path)
    return path


def is_of_clips(model: str | Path | Detector, *, take: str | None = None) -> bool:
    """Whether a zoo name, a checkpoint (ours or not) or a built model stands for one that looks at clips of videos.

    `take` says which weights, where a foreign checkpoint holds several.

    >>> is_of_clips("detect_and_track_resnet18_3d"), is_of_clips("fcos_resnet18_fpn")
    (True, False)
    """
    if isinstance(model, Detector):
        return model.sees_clips
    name: str | None = str(model)
    if is_checkpoint(str(model)):
        path = local_file(model)
        if not has_card(path):
            from pagoda.convert.recognise import open_foreign

            detector = open_foreign(path, take=take).architecture.detector
            return detector in FAMILIES and FAMILIES[detector].of_clips
        name = model_in(read_card(path), path)
    return name is not None and is_known(name) and FAMILIES[parse_name(name).detector].of_clips


def is_checkpoint(name: str) -> bool:
    """Whether a word stands for a file of weights (that may be missing) or an address, not for a zoo model.

    >>> is_checkpoint("fcos_resnet50_fpn"), is_checkpoint("mine.safetensors"), is_checkpoint("hf:me/mine/best.pth")
    (False, True, True)
    """
    return is_remote(name) or name.endswith(SUFFIXES) or Path(name).is_file() or bool(weights_in(Path(name)))


SUFFIXES = (*WEIGHTS, INDEX)


def load(
    path: str | Path,
    *,
    num_classes: int | None = None,
    label_map: LabelMap | None = None,
    flavour: str | Flavour | None = None,
    options: Mapping[str, object] | None = None,
    build: Callable[[int], Detector] | None = None,
    take: str | None = None,
    device: str | None = None,
) -> Detector:
    """The model of a checkpoint, with its weights, classes and preprocessing, in evaluation mode.

    Our own checkpoints say what they are; those of other programs are recognised by their tensors (see
    `convert.read.convert`, which also reports what became of each). An address, "https://…" or
    "hf:OWNER/REPO/FILE", is fetched once and kept (see `weights.remote`).

    Args:
        num_classes: what you expect; another number in the checkpoint raises.
        label_map: the classes of a foreign checkpoint that was not trained on the published ones.
        flavour: the conventions of a foreign checkpoint where its tensors leave a choice.
        options: options of the model that a foreign checkpoint's tensors do not tell: standardized, plugins.
        build: for models that are not in the zoo: the function that composes them, called with num_classes.
        take: which weights of a foreign checkpoint that holds several: their key, the beginning of their names, a
            word of it, or "ema" for the averaged ones. Where it is not given and there are several, a warning says
            which were taken.
        device: where it computes: "auto" is the accelerator, where there is one; None the processor.

    What `pagoda export` wrote (.onnx, .xml) is loaded, too: it predicts, is scored and follows like its model, but
    cannot be trained.

    Raises FileNotFoundError for no file, WeightsError for one that is of no known program or of other classes than
    expected, ValueError for options that a checkpoint of Pagoda says itself.

    >>> load("runs/mine/best.safetensors")
    Traceback (most recent call last):
    FileNotFoundError: no weights file at runs/mine/best.safetensors
    """
    if is_exported(path):
        return _exported(path, num_classes, device, label_map, flavour, options, build, take)
    model = _checkpoint(path, num_classes, label_map, flavour, options, build, take)
    return model if device is None else model.to(find_device(device))


def is_exported(path: str | Path) -> bool:
    """Whether the name is that of a file that `pagoda export` writes.

    >>> is_exported("model.onnx"), is_exported("best.safetensors")
    (True, False)
    """
    return Path(path).suffix.lower() in (".onnx", ".xml")


def _exported(path: str | Path, num_classes: int | None, device: str | None, *others: object) -> Detector:
    from pagoda.exporting.clips.exported import load_any  # brings a runtime, which checkpoints do without

    if any(others):
        raise ValueError(
            f"{path} is an exported file: its classes, conventions and weights are part of it; leave label_map,"
            " flavour, options, build and take out"
        )
    if device not in (None, "auto", "cpu"):
        raise ValueError(f"exported files run on the processor; {path} cannot be taken to {device!r}")
    model = load_any(path)
    names = model.label_map.names
    if num_classes not in (None, len(names)):
        raise WeightsError(
            f"{path} knows {counted(len(names), 'class', 'classes')} ({short_list(names, 5)}), not {num_classes}"
        )
    return model


def _checkpoint(
    path: str | Path,
    num_classes: int | None,
    label_map: LabelMap | None,
    flavour: str | Flavour | None,
    options: Mapping[str, Any] | None,
    build: Callable[[int], Detector] | None,
    take: str | None,
) -> Detector:
    path = local_file(path)
    if not has_card(path):
        from pagoda.convert.read import convert
        from pagoda.convert.report import say_choice

        conversion = convert(
            path, flavour=flavour, label_map=label_map, num_classes=num_classes, options=options, take=take
        )
        say_choice(conversion.report, take)
        return conversion.model
    if flavour is not None or label_map is not None or options or take:
        raise ValueError(
            f"{path} is a checkpoint of Pagoda and says itself what its flavour, classes and options are; it holds"
            " one set of weights"
        )
    card = read_card(path)
    names = classes_in(card, path).names
    if num_classes not in (None, len(names)):
        raise WeightsError(
            f"{path} was trained on {counted(len(names), 'class', 'classes')} ({short_list(names, 5)}), not"
            f" {num_classes}"
        )
    return model_of_file(path, card, build=build).eval()
