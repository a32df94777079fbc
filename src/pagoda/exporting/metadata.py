"""What an exported file says of itself, so that a runtime needs nothing besides it."""

import json
from collections.abc import Callable
from dataclasses import asdict, replace
from importlib.util import find_spec
from pathlib import Path
from xml.etree import ElementTree

from pagoda.detectors.contract import Detector
from pagoda.exporting.masks_keypoints import shape_names
from pagoda.files.atomic import write_atomically
from pagoda.postprocess.select import Select
from pagoda.preprocess import InputSpec
from pagoda.version import __version__

LINKER = "linker"
"""the entry with what `structures.linker_settings.LinkerSettings` has"""
THRESHOLDS = "thresholds"
"""the entry with the scores that `structures.thresholds.ScoreThresholds` has"""
INCLUSIVE = "inclusive"
"""the entry that says that boxes end with an object's last pixel (`Detections.inclusive`), where they do"""
USAGE = (
    "images: RGB uint8 (batch, 3, height, width), resized as input_spec says (fit, short_side, long_side, canvas;"
    " letterboxed ones with their border), neither normalised nor padded. boxes: xyxy pixels of images; scores:"
    " best first, 0 in unused rows; labels: index into names and category_ids, -1 in unused rows."
)
USAGE_OF_SHAPES = {
    "appearance": (
        " appearance: (batch, detections, numbers), vectors of unit length that are alike where objects look alike, 0"
        " in unused rows."
    ),
    "masks": " masks: bool, the pixels of images that belong to each object, False in unused rows.",
    "keypoints": " keypoints: xy pixels of images, named by skeleton, 0 in unused rows.",
    "keypoint_scores": " keypoint_scores: higher is surer, see postprocess.keypoint_score; 0 in unused rows.",
    "mask_probabilities": (
        " mask_probabilities: (batch, detections, M, M), that M rows of M cells inside each box belong to the object, 0"
        " in unused rows; boxes scaled to the picture and these pasted there, as postprocess.paste and"
        " postprocess.min_mask_probability say, are finer than masks scaled."
    ),
}


def metadata(model: Detector, postprocess: Select, size: tuple[int, int] | None = None) -> dict[str, str]:
    """What a runtime needs besides the graph; every value is JSON except the plain sentences.

    `size`: (height, width) where the graph takes pictures of that size alone.
    """
    skeleton = model.label_map.skeleton
    names = shape_names(model)
    spec = model.input_spec if size is None else fixed_input(model.input_spec, size)
    return {
        "pagoda_version": __version__,
        "model": str((model.origin or {}).get("model") or type(model).__name__),
        "names": json.dumps(list(model.label_map.names)),
        "category_ids": json.dumps(list(model.label_map.category_ids)),
        "input_spec": json.dumps(spec.to_dict()),
        "postprocess": json.dumps(asdict(postprocess)),
        "usage": _usage_of_images(model) + "".join(USAGE_OF_SHAPES[name] for name in names),
        **({INCLUSIVE: json.dumps(True)} if model.inclusive else {}),
        **({} if size is None else {"size": json.dumps(list(size))}),
        **({} if model.thresholds is None else {THRESHOLDS: json.dumps(model.thresholds.to_dict())}),
        **({} if model.linker is None else {LINKER: json.dumps(model.linker.to_dict())}),
        **({"skeleton": json.dumps(skeleton.to_dict())} if skeleton and "keypoints" in names else {}),
    }


def _usage_of_images(model: Detector) -> str:
    """What goes in and what comes out."""
    if model.input_spec.read_channels == 3:
        return USAGE
    return USAGE.replace("RGB uint8 (batch, 3,", "RGBA uint8 (batch, 4,")


def fixed_input(spec: InputSpec, size: tuple[int, int]) -> InputSpec:
    """The same for pictures that all have to fill `size` (height, width): scaled into it, mean grey beside them.

    >>> fixed_input(InputSpec(), (480, 640)).resized((400, 300)), fixed_input(InputSpec(), (480, 640)).border
    ((480, 360), (124, 116, 104))
    """
    if spec.fit in ("letterbox", "stretch"):
        return replace(spec, canvas=size)
    color = [min(max(round(mean * spec.scale), 0), 255) for mean in spec.mean[:3]]
    color = color if len(color) == 3 else color * 3
    color = color[::-1] if spec.channel_order == "BGR" else color
    resample = "antialias" if spec.resample == "float" else spec.resample
    return replace(spec, fit="letterbox", canvas=size, border=tuple(color), resample=resample)  # type: ignore[arg-type]


def change_metadata(path: str | Path, name: str, text: str) -> Path:
    """Another value of one entry in an exported file, .onnx or .xml; whole or not at all, and nothing else changes.

    The weights of an .xml, in the .bin beside it, are not touched. A link stays one: the file that it leads to changes.
    Raises ImportError where an .onnx is given and the package `onnx` is missing, ValueError for a file that
    `pagoda export` did not write, OSError where it cannot be written.
    """
    path = Path(path)
    write_atomically(
        path.resolve(), (_onnx_with if path.suffix.lower() == ".onnx" else _xml_with)(path, name, text)
    )
    return path


def check_changeable(path: str | Path) -> None:
    """Raises ImportError where `change_metadata` lacks a package for such a file."""
    if Path(path).suffix.lower() == ".onnx" and find_spec("onnx") is None:
        raise ImportError(
            f"writing into {path} needs onnx; install with: pip install 'pagoda-vision[export]'"
        )


def _onnx_with(path: Path, name: str, text: str) -> Callable[[Path], object]:
    check_changeable(path)
    import onnx

    model = onnx.load(str(path), load_external_data=False)
    said = {entry.key: entry.value for entry in model.metadata_props} | {name: text}
    onnx.helper.set_model_props(model, said)
    return lambda draft: draft.write_bytes(model.SerializeToString())


def _xml_with(path: Path, name: str, text: str) -> Callable[[Path], object]:
    tree = ElementTree.parse(path)
    info = tree.find("./rt_info/pagoda")
    if info is None:
        raise ValueError(f"{path} was not written by pagoda export: it says nothing of itself")
    entry = info.find(name)
    entry = ElementTree.SubElement(info, name) if entry is None else entry
    entry.set("value", text)
    return lambda draft: tree.write(draft, encoding="utf-8", xml_declaration=True)
