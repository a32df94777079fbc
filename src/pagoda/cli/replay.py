"""pagoda replay CAPSULE"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Annotated

import tyro

from pagoda.cli.parsing import parse, typed_build
from pagoda.layers.memory_order import order_weights
from pagoda.plain import checked
from pagoda.training.capsule import diagnose, load_capsule
from pagoda.training.checkpoints import restore_random_state
from pagoda.zoo.models import model_from_card


@checked
@dataclass(frozen=True, kw_only=True)
class ReplayCommand:
    """Run the batch again that stopped a training run, and explain it."""

    capsule: Annotated[str, tyro.conf.Positional]
    """capsule-step….pt in the run's folder"""
    model: str = ""
    """FILE.py:FUNCTION that composes the model, when it is not one of the zoo's; a capsule never chooses code"""
    json: bool = False


def main(arguments: Sequence[str]) -> int:
    command = parse(ReplayCommand, "replay", arguments)
    content, targets = load_capsule(command.capsule)
    model = model_from_card(content["card"], build=typed_build(command.model), where=command.capsule)
    model.load_state_dict(content["weights"])
    if content["channels_last"]:
        order_weights(model, channels_last=True)
    model.train()
    restore_random_state(content["random"])
    diagnosis = diagnose(model, content["pictures"], targets, precision=content["precision"])
    recorded = ", ".join(f"{name} {value:.4g}" for name, value in content["losses"].items())
    if command.json:
        print(json.dumps({"recorded": content["losses"], **asdict(diagnosis)}))
    else:
        print(f"recorded: {recorded}\n{diagnosis.describe()}")
    return 0
