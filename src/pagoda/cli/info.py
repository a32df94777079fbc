"""pagoda info MODEL --size H W"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import tyro

from pagoda.cli.arguments.model_options import options_typed
from pagoda.cli.arguments.parsing import open_model, parse
from pagoda.explain.structure.describe import describe_model
from pagoda.files.atomic import write_atomically
from pagoda.files.text import json_text
from pagoda.plain import checked
from pagoda.structures.labels import LabelMap
from pagoda.training.settings import to_plain
from pagoda.zoo.class_names import published_classes
from pagoda.zoo.options import ModelOptions, Options


@checked
@dataclass(frozen=True, kw_only=True)
class InfoCommand:
    """Explain a model stage by stage and level by level.

    pagoda info fcos_resnet50_fpn --size 800 1120 --html fcos.html
    """

    common = (
        "size", "num_classes", "html", "json", "model.width", "model.short_side", "model.long_side", "model.canvas",
    )  # fmt: skip

    architecture: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="MODEL")]
    """a name of `pagoda models`, a checkpoint, or FILE.py:FUNCTION"""
    size: tuple[int, int] = (800, 1333)
    """height and width of the picture, in pixels"""
    num_classes: int | None = None
    """for models without a checkpoint; default: COCO's 80, for those of poses a person with 17 keypoints"""
    take: str = ""
    """which weights of another program's file, where it holds several: their key, or ema for the averaged ones"""
    model: Options = field(default_factory=ModelOptions)
    """what can be chosen of this model, as it is before anything is"""
    html: str = ""
    """also write a page with a drawn diagram to this file"""
    json: bool = False
    """print stages, levels and parts as JSON"""


def _poses_of(architecture: str) -> LabelMap | None:
    """The classes that models of poses are known for; None for other models, and for files."""
    if ":" in architecture:
        return None
    if architecture.startswith("detect_and_track_"):
        return published_classes("posetrack_person", 1)
    return published_classes("coco_person", 1) if architecture.startswith("keypoint_rcnn_") else None


def main(arguments: Sequence[str]) -> int:
    default = InfoCommand(architecture=tyro.MISSING, model=options_typed(InfoCommand, arguments))
    command = parse(InfoCommand, "info", arguments, default)
    model = open_model(
        command.architecture,
        num_classes=command.num_classes or 80,
        label_map=_poses_of(command.architecture) if command.num_classes is None else None,
        options=to_plain(command.model),
        take=command.take,
    )
    asked = command.size != InfoCommand.size
    structure = describe_model(model, command.size if asked else model.fixed_size or command.size)
    if command.html:
        target = Path(command.html)
        write_atomically(target, lambda path: path.write_text(structure.to_html(), encoding="utf-8"))
    print(json_text(structure.to_dict()) if command.json else structure.to_table())
    return 0
