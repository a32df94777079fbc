"""From a foreign file to what it holds: its program, its architecture and its tensors under canonical names."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from torch import Tensor

from pagoda.convert.architecture.deformable import told_kind
from pagoda.convert.architecture.dense import Architecture, dense_architecture
from pagoda.convert.architecture.detect_and_track import clip_architecture
from pagoda.convert.architecture.mmdet_neck import with_recorded_neck
from pagoda.convert.architecture.mmdet_pixels import RGB, is_open, named_pixels, recorded_pixels
from pagoda.convert.architecture.plugins import body_shapes
from pagoda.convert.architecture.rcnn import rcnn_architecture
from pagoda.convert.architecture.recorded_config import recorded_clips, recorded_style
from pagoda.convert.names.efficientdet import efficientdet_architecture, told_apart
from pagoda.convert.names.rules import Renamed, rename
from pagoda.convert.names.tensorflow import effdet_state, is_tensorflow, read_variables, which_variables
from pagoda.convert.programs import is_detector, is_known, recognise
from pagoda.convert.published import Published, find_published
from pagoda.convert.source import Source
from pagoda.convert.ssd import ssd_architecture
from pagoda.convert.tensor_slices import shapes_of
from pagoda.messages import counted
from pagoda.weights.files import WeightsError
from pagoda.weights.prefixes import peel
from pagoda.weights.provenance import Reading
from pagoda.weights.state_dict import ForeignState, read_foreign

WHERE = "pagoda.load takes the word, and pagoda convert, whose file every other command reads"


@dataclass(frozen=True)
class ForeignCheckpoint:
    """A checkpoint whose program is known: its tensors, canonical names and the architecture they tell."""

    path: Path
    """the file it was read from"""
    source: Source
    """the program that wrote it"""
    renamed: Renamed
    """its names as canonical names, and what is left out"""
    tensors: Mapping[str, Tensor]
    """by the source's names"""
    architecture: Architecture
    """what names and shapes tell of the model"""
    metadata: Mapping[str, object] = field(default_factory=dict)
    """the plain rest of the file"""
    reading: Reading = field(default_factory=Reading)
    """which of the file's weights these are, and what lies beside them"""

    def canonical(self) -> dict[str, str]:
        """{canonical name: source name}."""
        return {canonical: source for source, canonical in self.renamed.taken.items()}


def open_foreign(
    path: str | Path, *, wanted: str | None = None, take: str | None = None
) -> ForeignCheckpoint:
    """Read, recognise and rename. Raises WeightsError with what was found where the file cannot be used.

    Args:
        wanted: the zoo's name of the model that is expected: tensors of another raise.
        take: which weights, where a file holds several: see `read_foreign`.
    """
    path = Path(path)
    if is_tensorflow(path):
        variables = read_variables(path)
        averaged, told = which_variables(path, variables, take)
        try:
            state = effdet_state(variables, averaged=averaged)
        except WeightsError as error:
            raise WeightsError(f"{path}: {error}") from error
        return recognised(path, state, wanted=wanted, reading=told)
    content = read_foreign(path, take=take)
    tensors, reading = _known_names(path, content)
    return recognised(path, tensors, content.metadata, wanted=wanted, reading=reading)


def _known_names(path: Path, content: ForeignState) -> tuple[Mapping[str, Tensor], Reading]:
    """The tensors without what wrappers put before their names, and how they were found."""
    peeled = peel(path, content.tensors, knows=is_known, alone=is_detector)
    cut = [f"'{content.stripped}' is cut off, with which its names began"] if content.stripped else []
    return peeled.tensors, Reading(
        content.taken, (*content.beside, *peeled.beside), (*cut, *peeled.notes), tuple(content.dropped)
    )


def recognised(
    path: str | Path,
    tensors: Mapping[str, Tensor],
    metadata: Mapping[str, object] | None = None,
    *,
    wanted: str | None = None,
    reading: Reading | None = None,
) -> ForeignCheckpoint:
    """What tensors from `path` are, by their names and shapes; see `open_foreign`.

    Raises WeightsError for tensors of no known program, and for those of a model that is not built.

    >>> from pagoda.convert.to_program import to_source
    >>> from pagoda.models import create_model
    >>> small = {"levels": (2,), "num_stages": 1, "top_level": 3, "width": 32, "head_depth": 1}
    >>> model = create_model("fcos_resnet18_fpn.torchvision", num_classes=2, **small)
    >>> checkpoint = recognised("fcos.pth", to_source(model, "torchvision"))
    >>> checkpoint.source.title, checkpoint.architecture.backbone, checkpoint.architecture.num_classes
    ('torchvision FCOS', 'resnet18', 2)
    """
    path = Path(path)
    source = recognise(tensors, str(path))
    try:
        rules = source.rules_to_read(shapes_of(tensors))
        if source.check is not None:
            source.check(tensors)
    except WeightsError as error:
        raise WeightsError(f"{path} looks like {source.title}, but {error}") from error
    renamed = rename(tensors, rules)
    doubled = len(renamed.taken) - len(set(renamed.taken.values()))
    if doubled:
        raise WeightsError(
            f"{path} holds {counted(doubled, 'tensor')} twice, under an older and a newer name"
        )
    shapes = {
        renamed.taken[name]: shape for name, shape in shapes_of(tensors).items() if name in renamed.taken
    }
    try:
        if "efficientdet" in source.flavours:
            architecture = efficientdet_architecture(shapes)
        elif "detect_and_track" in source.flavours:
            architecture = clip_architecture(shapes, recorded_clips(metadata or {}))
        elif source.background is not None:
            architecture = ssd_architecture(shapes, has_tables=source.box_tables)
        else:
            read = rcnn_architecture if source.regions else dense_architecture
            architecture = read(shapes, group_norm=_has_group_norm(source, tensors, shapes))
            if source.name == "mmdet":
                told = with_recorded_neck(architecture.options, metadata or {})
                architecture = replace(architecture, options=told)
    except WeightsError as error:
        raise WeightsError(f"{path} looks like {source.title}, but {error}") from error
    body = body_shapes(shapes)
    options, question = told_kind(architecture.options, body, metadata or {}, path.name)
    architecture = replace(architecture, options=options, deform_question=question)
    architecture = told_apart(architecture, path, wanted)
    return ForeignCheckpoint(
        path, source, renamed, tensors, architecture, metadata or {}, reading or Reading()
    )


def has_timm_body(tensors: Mapping[str, Tensor]) -> bool:
    """Whether they bear the marks of a program whose network, or whose detector's body, is one of timm's here.

    >>> import torch
    >>> has_timm_body({"conv_stem.weight": torch.zeros(32, 3, 3, 3)})  # timm's own
    False
    """
    if not is_known(tensors):
        return False
    renamed = rename(tensors, recognise(tensors, "").rules_to_read(shapes_of(tensors)))
    return any(name.startswith("backbone.body.") for name in renamed.taken.values())


def _has_group_norm(
    source: Source, names: Mapping[str, Tensor], shapes: Mapping[str, tuple[int, ...]]
) -> bool:
    """Of the backbone: norms without statistics, unless the source never stores any."""
    if source.affine_norms:
        return any("_gn_" in name for name in names)
    body = [name for name in shapes if name.startswith("backbone.")]
    return "backbone.bn1.weight" in body and not any(name.endswith("running_var") for name in body)


def published_row(checkpoint: ForeignCheckpoint) -> Published | None:
    """The published checkpoint that the file's name and its tensors both speak of."""
    row, architecture = find_published(checkpoint.path.name), checkpoint.architecture
    if row is None:
        return None
    model, _, flavour = row.model.rpartition(".")
    is_same = model == f"{architecture.detector}_{architecture.backbone}_{architecture.neck}"
    known = checkpoint.source.flavours.get(architecture.detector or "", ())
    return row if is_same and flavour in known else None


def flavour_of(checkpoint: ForeignCheckpoint, wanted: str | None = None) -> str:
    """The name of the conventions the file follows. Raises WeightsError where nothing tells.

    FCOS and its improved variant have the same tensors, and so have the two styles of mmdetection's RetinaNet.
    Deformable convolutions, MobileNetV2, a config inside the file, and the file's name tell them apart.
    """
    source, architecture = checkpoint.source, checkpoint.architecture
    known = source.flavours.get(architecture.detector or "", ())
    if wanted is not None or len(known) < 2:
        return known[0] if wanted is None else wanted
    row = published_row(checkpoint)
    if row is not None:
        return row.model.rpartition(".")[2]
    if source.name == "effdet":  # TensorFlow's layout has a bias in front of norms
        has_bias = "class_head.convs.0.conv_pw.bias" in checkpoint.canonical()
        is_adversarial = re.search(r"_ap[-_.]", checkpoint.path.name) is not None
        return ("advprop" if is_adversarial else "google") if has_bias else "effdet"
    if source.name == "mmdet":
        return _of_mmdet(checkpoint)
    options, name = architecture.options, checkpoint.path.name.lower()
    if options["head_deform"] or "deform" in options or "imprv" in name:
        return "improved"
    if architecture.backbone == "mobilenet_v2":
        return "original"
    raise WeightsError(
        f"{checkpoint.path} holds {source.title}, but its tensors do not tell which of {' and '.join(known)} it is;"
        f" say flavour='{known[1]}' (--flavour {known[1]}) if it was trained with a config called fcos_imprv_…,"
        f" flavour='{known[0]}' otherwise; {WHERE}"
    )


def _of_mmdet(checkpoint: ForeignCheckpoint) -> str:
    """FCOS: norm_on_bbox comes with convolutions that keep their bias. All others: the caffe style, by config or name.

    Raises WeightsError where the order of pixels is open.
    """
    architecture, name = checkpoint.architecture, checkpoint.path.name
    base = "mmdet"
    if architecture.detector == "fcos" and architecture.options["head_bias"]:
        base = "mmdet_improved"
    pixels = recorded_pixels(checkpoint.metadata, RGB) or named_pixels(name)
    other = "mmdet_bgr" if architecture.detector != "fcos" else f"{base}_rgb"
    if pixels is None and is_open(architecture.detector, architecture.backbone):
        rgb, bgr = ("mmdet", other) if architecture.detector != "fcos" else (other, base)
        raise WeightsError(
            f"{checkpoint.path} holds {checkpoint.source.title} on {architecture.backbone}, but neither a config in the"
            " file nor its name tells the order of its pixels, which no tensor does; say"
            f" flavour='{rgb}' (--flavour {rgb}) for RGB, or flavour='{bgr}' (--flavour {bgr}) for BGR; {WHERE}"
        )
    if architecture.detector == "fcos":
        is_rgb = pixels is not None and pixels.channel_order == "RGB"
        return other if is_rgb and architecture.backbone.startswith("resnext") else base
    style = recorded_style(checkpoint.metadata) or ("caffe" if "caffe" in name.lower() else "pytorch")
    if style == "caffe":
        return "mmdet_caffe"
    return other if pixels is not None and pixels.channel_order == "BGR" else base
