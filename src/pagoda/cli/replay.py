"""pagoda replay CAPSULE"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Annotated

import tyro

from pagoda.cli.arguments.parsing import parse, typed_build
from pagoda.files.text import json_text
from pagoda.layers.memory_format import order_weights
from pagoda.machine import find_device
from pagoda.plain import checked
from pagoda.training.failed_batch import diagnose, load_capsule
from pagoda.training.last import restore_random_state
from pagoda.training.optim import hold_parts
from pagoda.zoo.cards import model_of_state


@checked
@dataclass(frozen=True, kw_only=True)
class ReplayCommand:
    """Run the batch again that stopped a training run, and explain it."""

    capsule: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="CAPSULE")]
    """capsule-step….pt in the run's folder"""
    model: str = ""
    """FILE.py:FUNCTION that composes the model, when it is not one of the zoo's; a capsule never chooses code"""
    device: str = "auto"
    """auto, cpu, cuda, cuda:1, mps; auto: an accelerator, if there is one"""
    json: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """print the losses as they were recorded, and the diagnosis, as JSON"""


def main(arguments: Sequence[str]) -> int:
    command = parse(ReplayCommand, "replay", arguments)
    content, targets = load_capsule(command.capsule)
    build = typed_build(command.model)
    model = model_of_state(content["card"], content["weights"], build=build, where=command.capsule)
    if "held" in content:  # what older versions wrote learnt all of the model
        hold_parts(model, **content["held"])
    if content["channels_last"]:
        order_weights(model, channels_last=True)
    model = model.to(find_device(command.device)).train()
    restore_random_state(content["random"], command.capsule)
    diagnosis = diagnose(model, content["pictures"], targets, precision=content["precision"])
    recorded = ", ".join(f"{name} {value:.4g}" for name, value in content["losses"].items())
    if command.json:
        print(json_text({"recorded": content["losses"], **asdict(diagnosis)}))
    else:
        print(f"recorded: {recorded}\n{diagnosis.describe()}")
    return 0
