"""Which model a command line names, and the options that can be chosen of it."""

import re
from collections.abc import Sequence
from dataclasses import is_dataclass
from typing import get_type_hints

from pagoda.cli.arguments.json_options import most_words
from pagoda.cli.arguments.parsing import names_code
from pagoda.models import is_checkpoint
from pagoda.zoo.composed_options import GROUPS, check_applies, owner_of
from pagoda.zoo.families import options_class, parse_name
from pagoda.zoo.options import ModelOptions, Options


def options_for(model: str | None, *, checkpoint: type[Options] = Options) -> Options:
    """The options of a zoo model, a checkpoint or FILE.py:FUNCTION as they are before anything is chosen; of None or
    "" those that every model has. Raises ValueError with the nearest name for an unknown model.

    >>> hasattr(options_for("fcos_resnet18_fpn"), "head_depth"), hasattr(options_for(None), "head_depth")
    (True, False)
    """
    if not model:
        return ModelOptions()
    if names_code(model):
        return Options()
    return checkpoint() if is_checkpoint(model) else options_class(parse_name(model))()


def options_typed(command: type, arguments: Sequence[str], *, checkpoint: type[Options] = Options) -> Options:
    """`options_for` the model that the arguments of `command` name. Raises ValueError for its flags that are another
    model's.

    >>> from pagoda.cli.info import InfoCommand
    >>> options_typed(InfoCommand, ["efficientdet_d0", "--model.head-deform"])
    Traceback (most recent call last):
    ValueError: efficientdet_d0 has no use for --model.head-deform, which is for FCOS and RetinaNet; leave it out
    """
    model = model_word(command, arguments)
    options = options_for(model, checkpoint=checkpoint)
    refuse_flags(arguments, "model", options, model)
    return options


def refuse_flags(arguments: Sequence[str], prefix: str, options: Options, model: str | None) -> None:
    """Raises ValueError for a flag `--PREFIX.NAME` that is an option of other models, not of this one; of unknown
    names the parser says more.

    >>> refuse_flags(["--model.width", "64"], "model", options_for("efficientdet_d0"), "efficientdet_d0")
    >>> refuse_flags(["--model.deform", "v2"], "model", options_for("efficientdet_d0"), "efficientdet_d0")
    Traceback (most recent call last):
    ValueError: efficientdet_d0 has no use for --model.deform, which is for ResNets of pictures; leave it out
    """
    for word in arguments if model else ():
        found = re.match(rf"(?:--)?{prefix}\.(no-)?([a-z][\w-]*)", word)
        name = found[2].replace("-", "_") if found else ""
        if owner_of(name) is not None:
            check_applies(type(options), name, str(model), said=f"--{prefix}.{name.replace('_', '-')}")


def model_word(command: type, arguments: Sequence[str]) -> str | None:
    """The first word that is neither a flag nor a flag's value; None where there is none.

    >>> from pagoda.cli.info import InfoCommand
    >>> model_word(InfoCommand, ["--size", "800", "1120", "--json", "fcos_resnet50_fpn"])
    'fcos_resnet50_fpn'
    """
    lengths = _flag_lengths(command)
    values = 0
    for word in arguments:
        if word.startswith("--"):
            values = 0 if "=" in word else _length_of(word.removeprefix("--").replace("_", "-"), lengths)
        elif values:
            values = 0 if word == "None" else values - 1
        elif not word.startswith("-") and not re.match(r"[a-z_]\w*(\.\w+)*=", word):
            return word
    return None


def _length_of(flag: str, lengths: dict[str, int]) -> int:
    """How many words follow a flag, also where it says no: `--no-json`."""
    return lengths.get(flag, lengths.get(flag.replace("no-", "", 1), 1))


def _flag_lengths(command: type, prefix: str = "") -> dict[str, int]:
    """{flag of a command: how many words its value has at most}, those of every model's options among them."""
    lengths = {"help": 0, "help-all": 0, "help-json": 0}
    for name, hint in get_type_hints(command).items():
        flag = f"{prefix}{name}".replace("_", "-")
        if hint is ModelOptions or hint is Options:
            for group in GROUPS:
                lengths |= _flag_lengths(group, f"{flag}.")
        elif is_dataclass(hint):
            lengths |= _flag_lengths(hint, f"{flag}.")  # type: ignore[arg-type]
        else:
            lengths[flag] = most_words(hint)
    return lengths


def flag_value(arguments: Sequence[str], flag: str) -> str | None:
    """The word after `flag`, or behind its `=`; None where it is not given.

    >>> flag_value(["DIR", "--model=fcos_resnet18_fpn"], "--model")
    'fcos_resnet18_fpn'
    """
    for index, word in enumerate(arguments):
        if word.startswith(f"{flag}="):
            return word.partition("=")[2]
        if word == flag and index + 1 < len(arguments):
            return arguments[index + 1]
    return None
