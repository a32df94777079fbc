"""pagoda models"""

from collections.abc import Sequence
from dataclasses import dataclass

from pagoda.catalogue.table import catalogue
from pagoda.cli.arguments.parsing import parse
from pagoda.convert.published import PUBLISHED, Published
from pagoda.files.text import json_text
from pagoda.models import list_flavours
from pagoda.plain import checked
from pagoda.zoo.families import FAMILIES


@checked
@dataclass(frozen=True, kw_only=True)
class ModelsCommand:
    """List the models of the zoo with parameters and multiplications (for 80 classes), or published checkpoints.

    pagoda models
    pagoda models --published
    """

    published: bool = False
    """the checkpoints of other programs that are known by name: score, licence and address"""
    json: bool = False
    """print the list as JSON, with times, scores and whose checkpoints load"""


def main(arguments: Sequence[str]) -> int:
    command = parse(ModelsCommand, "models", arguments)
    if command.published:
        _show_published(as_json=command.json)
        return 0
    found = catalogue()
    if command.json:
        print(json_text([{**row.to_dict(), "measured_on": found.machine} for row in found.rows]))
        return 0
    print(f"{'':34} {'parameters':>12} {'work':>10}  pictures")
    for row in found.rows:
        work, size = f"{row.multiplications / 1e9:.3g} G", "{}×{}".format(*row.size)
        print(f"{row.name:34} {row.parameters / 1e6:10.1f} M {work:>10}  {size}")
    for detector in FAMILIES:
        print(f"{detector} as other programs have it: .{', .'.join(list_flavours(detector))}")
    return 0


def _show_published(*, as_json: bool) -> None:
    if as_json:
        print(json_text([row.to_dict() for row in PUBLISHED]))
        return
    program = ""
    for row in PUBLISHED:
        if row.program != program:
            program = row.program
            print(f"\n{program} · licence of the weights: {row.licence}")
        print(f"  {row.name:36} {_score(row):18} {row.model or 'not in the zoo'}")
        print(f"  {'':36} {row.url}{f'  ({row.note})' if row.note else ''}")
    print("\nScores are the publishers' own. `pagoda convert ADDRESS OUT.safetensors` fetches and converts.")


def _score(row: Published) -> str:
    return f"{row.metric} {row.ap:.1f}" if row.num_classes != 20 else f"{row.metric} {row.ap:.2f}"
