"""A command as data: what its help tells, for programs that fill in forms and write command lines."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import MISSING, is_dataclass
from importlib import import_module
from sys import maxsize
from types import ModuleType
from typing import Any, get_args, get_type_hints

import tyro

from pagoda.cli.arguments.help import lines_of, paragraphs_of, values_of
from pagoda.cli.arguments.json_options import FORMS, least_words, most_words
from pagoda.models import list_models
from pagoda.plain import JsonObject, value_schema
from pagoda.training.settings import to_plain
from pagoda.version import __version__
from pagoda.zoo.composed_options import GROUPS
from pagoda.zoo.options import ModelOptions, Options

NOTES = {
    "value": "a JSON Schema of what the option holds; null is written None",
    "words": "the least and the most words of the command line that a value has; a most of null: any number",
    "of": "the models that have the option; without it, all that the command takes",
    "common": "whether --help shows it; --help-all shows every one",
}
"""what the keys of an option mean where their names do not say it"""


def describe_program(verbs: Mapping[str, str], modules: Mapping[str, str]) -> JsonObject:
    """The whole command line: `verbs` and all that stands behind them, {verb: what it does}.

    A verb is the module `pagoda.cli.VERB`, or what `modules` has for it: it has a class of flags that ends in Command,
    where it does something by itself, and SUBVERBS, {word: name of a module}, where there are some.
    """
    commands = []
    for verb, summary in verbs.items():
        found = list(_commands(verb, import_module(modules.get(verb, f"pagoda.cli.{verb}"))))
        if verb not in dict(found):  # it does nothing but by the verbs behind it
            nothing = {"description": summary, "examples": [], "arguments": [], "options": []}
            commands.append({"summary": summary, "command": verb, **nothing})
        for words, command in found:
            described = describe(command, words)
            first = described["description"].partition("\n\n")[0]
            commands.append({"summary": summary if words == verb else first, **described})
    return {
        "program": "pagoda",
        "version": __version__,
        "notes": NOTES,
        "models": list_models(),
        "commands": commands,
    }


def _commands(verb: str, module: ModuleType) -> Iterator[tuple[str, type]]:
    """A verb's words and its class of flags, then those of the verbs behind it."""
    for name, value in vars(module).items():
        if name.endswith("Command") and value.__module__ == module.__name__:
            yield verb, value
    for word, behind in getattr(module, "SUBVERBS", {}).items():
        yield from _commands(f"{verb} {word}", import_module(behind))


def describe(command: type, verb: str, default: object = None) -> JsonObject:
    """One command; `default` is it before anything is typed, with the options of the model that is named there.

    >>> from pagoda.cli.info import InfoCommand
    >>> described = describe(InfoCommand, "info")
    >>> [argument["argument"] for argument in described["arguments"]]
    ['MODEL']
    >>> size = next(option for option in described["options"] if option["flag"] == "--size")
    >>> size["words"], size["default"], size["value"]["prefixItems"][0]
    ([2, 2], [800, 1333], {'type': 'integer'})
    """
    paragraphs = list(paragraphs_of(command))
    rows = list(_rows(command, default, getattr(command, "common", None)))
    return {
        "command": verb,
        "description": "\n\n".join(" ".join(lines) for lines, are_examples in paragraphs if not are_examples),
        "examples": [line for lines, are_examples in paragraphs if are_examples for line in lines],
        "arguments": [row for row in rows if "argument" in row],
        "options": [row for row in rows if "flag" in row],
    }


def _rows(
    options: type, chosen: object, common: Sequence[str] | None, path: str = ""
) -> Iterator[JsonObject]:
    """Every argument and flag of a class, those of the classes within among them."""
    hints, lines = get_type_hints(options, include_extras=True), lines_of(options)
    for name, value in values_of(options, chosen).items():
        if type(value) in (Options, ModelOptions):
            yield from _of_any_model(common, f"{path}{name}.")
        elif is_dataclass(value):
            yield from _rows(type(value), value, common, f"{path}{name}.")
        else:
            yield _row(path + name, hints[name], lines.get(name, ""), value, common)


def _of_any_model(common: Sequence[str] | None, path: str) -> Iterator[JsonObject]:
    """What can be chosen of one model or another, where none is named."""
    for group in GROUPS:
        hints, lines, values = get_type_hints(group), lines_of(group), values_of(group, None)
        for name in group.__annotations__:
            row = _row(path + name, hints[name], lines.get(name, ""), values[name], common)
            yield row | {"of": group.of}


def _row(name: str, hint: Any, line: str, value: object, common: Sequence[str] | None) -> JsonObject:
    kinds = get_args(hint) if hasattr(hint, "__metadata__") else (hint,)
    kind = kinds[0]
    flag = f"--{name}".replace("_", "-")
    metavar = next((part.metavar for part in kinds if getattr(part, "metavar", None)), None)
    least, most = (0, 0) if kind is bool else (least_words(kind), most_words(kind))
    row: JsonObject = (
        {"argument": str(metavar).split()[0]} if tyro.conf.Positional in kinds else {"flag": flag}
    )
    if kind is bool and tyro.conf.FlagCreatePairsOff not in kinds:
        before, dot, last = name.replace("_", "-").rpartition(".")
        row["negation"] = f"--{before}{dot}no-{last}"
    row |= {
        "name": name,
        "help": line,
        "value": _schema(kind),
        "words": [least, None if most == maxsize else most],
    }
    row["required"] = value is MISSING
    if value is not MISSING:
        form = FORMS.get(kind)
        row["default"] = to_plain({name: form.write(value) if form else value})[name]
    if "flag" in row:
        row["common"] = common is None or name in common or value is MISSING
    return row


def _schema(kind: object) -> JsonObject:
    """Of a value; of one that is written as JSON in one word, an example too."""
    form = FORMS.get(kind)
    return value_schema(kind) | ({"written": "JSON", "example": form.example} if form else {})
