"""pagoda models"""

import json
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from pagoda.cli.parsing import parse
from pagoda.zoo.models import create_model, list_models


@dataclass(frozen=True, kw_only=True)
class ModelsCommand:
    """List the models of the zoo with their parameters (for 80 classes)."""

    json: bool = False


def main(arguments: Sequence[str]) -> int:
    command = parse(ModelsCommand, "models", arguments)
    rows = []
    for name in list_models():
        with torch.device("meta"):
            model = create_model(name, num_classes=80)
        rows.append({"name": name, "parameters": sum(p.numel() for p in model.parameters())})
    if command.json:
        print(json.dumps(rows))
    else:
        for row in rows:
            print(f"{row['name']:34} {row['parameters'] / 1e6:7.1f} M")
    return 0
