"""From a foreign file to what it holds: its program, its architecture and its tensors under canonical names."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from pagoda.weights.convert.architecture import Architecture, dense_architecture
from pagoda.weights.convert.layout import shapes_of
from pagoda.weights.convert.rules import Renamed, rename
from pagoda.weights.convert.sources import Source, recognise
from pagoda.weights.files import WeightsError
from pagoda.weights.foreign import read_foreign


@dataclass(frozen=True)
class ForeignCheckpoint:
    """A checkpoint that has been recognised."""

    path: Path
    source: Source
    renamed: Renamed
    tensors: Mapping[str, Tensor]
    """by the source's names"""
    architecture: Architecture

    def canonical(self) -> dict[str, str]:
        """{canonical name: source name}."""
        return {canonical: source for source, canonical in self.renamed.taken.items()}


def open_foreign(path: str | Path) -> ForeignCheckpoint:
    """Read, recognise and rename. Raises WeightsError with what was found where the file cannot be used."""
    path = Path(path)
    tensors = read_foreign(path).tensors
    source = recognise(tensors, str(path))
    renamed = rename(tensors, source.rules)
    doubled = len(renamed.taken) - len(set(renamed.taken.values()))
    if doubled:
        raise WeightsError(f"{path} holds {doubled} tensors twice, under an older and a newer name")
    shapes = {
        renamed.taken[name]: shape for name, shape in shapes_of(tensors).items() if name in renamed.taken
    }
    try:
        architecture = dense_architecture(shapes, group_norm=_has_group_norm(source, tensors, shapes))
    except WeightsError as error:
        raise WeightsError(f"{path} looks like {source.title}, but {error}") from error
    return ForeignCheckpoint(path, source, renamed, tensors, architecture)


def _has_group_norm(
    source: Source, names: Mapping[str, Tensor], shapes: Mapping[str, tuple[int, ...]]
) -> bool:
    """Of the backbone: norms without statistics, unless the source never stores any."""
    if source.affine_norms:
        return any("_gn_" in name for name in names)
    body = [name for name in shapes if name.startswith("backbone.")]
    return "backbone.bn1.weight" in body and not any(name.endswith("running_var") for name in body)


def flavour_of(checkpoint: ForeignCheckpoint, wanted: str | None = None) -> str:
    """The name of the conventions the file follows. Raises WeightsError where neither it nor its name tells.

    FCOS and its improved variant have the same tensors; deformable convolutions, MobileNetV2, and the names of
    the published files tell them apart.
    """
    source, architecture = checkpoint.source, checkpoint.architecture
    known = source.flavours.get(architecture.detector or "", ())
    if wanted is not None or len(known) < 2:
        return known[0] if wanted is None else wanted
    options, name = architecture.options, checkpoint.path.name.lower()
    if source.name == "mmdet":  # norm_on_bbox comes with convolutions that keep their bias
        return known[1] if options["head_bias"] else known[0]
    if options["head_deform"] or "deform" in options or "imprv" in name:
        return "improved"
    if architecture.backbone == "mobilenet_v2" or name.startswith(("fcos_r_", "fcos_x_")):
        return "original"
    raise WeightsError(
        f"{checkpoint.path} holds {source.title}, but its tensors do not tell which of {' and '.join(known)} it is;"
        f" say flavour='{known[1]}' (--flavour {known[1]}) if it was trained with a config called fcos_imprv_…,"
        f" flavour='{known[0]}' otherwise"
    )
