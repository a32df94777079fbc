"""pagoda doctor DIR"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from functools import cache, partial
from typing import Annotated

import tyro

from pagoda.cli.arguments.model_options import flag_value, options_for, refuse_flags
from pagoda.cli.arguments.parsing import open_model, parse
from pagoda.data.formats.layouts import find_dataset
from pagoda.data.formats.reader import open_annotations
from pagoda.explain.doctor.coverage import examine_coverage
from pagoda.explain.doctor.examine import examine
from pagoda.explain.doctor.input_size import choose_tiles
from pagoda.files.text import json_text
from pagoda.plain import checked
from pagoda.progress import Progress
from pagoda.recipes.initial_model import fit_size, is_size_open
from pagoda.training.settings import to_plain
from pagoda.zoo.families import is_known
from pagoda.zoo.options import ModelOptions, Options


@checked
@dataclass(frozen=True, kw_only=True)
class DoctorCommand:
    """Look for defects in a dataset; with --model also in how that model would see it.

    pagoda doctor DIR
    pagoda doctor DIR --model fcos_resnet18_fpn --options.short-side 240 --options.long-side 320
    """

    common = ("model", "json", "options.short_side", "options.long_side", "options.canvas")

    data: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="DIR")]
    """dataset folder"""
    inside_only: bool = False
    """refuse pictures outside the data set's folder: named by `..`, by an absolute path or through a link"""
    model: str = ""
    """a zoo name, a checkpoint or FILE.py:FUNCTION"""
    take: str = ""
    """which weights of another program's file, where it holds several: their key, or ema for the averaged ones"""
    options: Options = field(default_factory=ModelOptions)
    """what can be chosen of the model of --model"""
    json: bool = False
    """print what was found as JSON"""


def main(arguments: Sequence[str]) -> int:
    """0 when nothing wrong was found, 1 otherwise."""
    model = flag_value(arguments, "--model")
    options = options_for(model)
    refuse_flags(arguments, "options", options, model)
    default = DoctorCommand(data=tyro.MISSING, options=options)
    command = parse(DoctorCommand, "doctor", arguments, default)
    with Progress() as bar:
        task = cache(partial(bar.task, "opening pictures"))
        report = examine(
            command.data,
            inside_only=command.inside_only,
            progress=lambda done, total: task(total)(done),
        )
    if not command.json:
        # Before the model: annotations with errors may stop the reading below.
        print(report.text())
    coverage = tiles = None
    if command.model:
        splits = find_dataset(command.data).splits
        split = "train" if "train" in splits else next(iter(splits))
        annotations = open_annotations(command.data, split, inside_only=command.inside_only)
        model = open_model(
            command.model,
            label_map=annotations.label_map,
            options=to_plain(command.options),
            take=command.take,
        )
        if is_known(command.model) and is_size_open(command.model, to_plain(command.options)):
            fit_size(model, annotations)  # as a run would
        coverage, tiles = examine_coverage(model, annotations), choose_tiles(model, annotations)
    if command.json:
        told = {
            "coverage": coverage.to_dict() if coverage else None,
            "tiles": asdict(tiles) if tiles else None,
        }
        print(json_text({**report.to_dict(), **told}))
    elif coverage:
        print("\n" + coverage.text())
        if tiles:
            print(f"  → {tiles.why}")
    return 1 if report.problems else 0
