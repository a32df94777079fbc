"""`--help` of a verb: its common options first, and with --help-all every one, in the words of the dataclass."""

import ast
import re
import shlex
import sys
from collections.abc import Collection, Iterator, Sequence
from contextlib import suppress
from dataclasses import MISSING, field, fields, is_dataclass, make_dataclass
from inspect import cleandoc, getsource
from itertools import pairwise
from shutil import get_terminal_size
from textwrap import dedent, wrap
from types import NoneType
from typing import Annotated, Literal, NoReturn, get_args, get_origin, get_type_hints

import tyro

from pagoda.cli.arguments.json_options import json_options

HELP_FLAGS = {"-h", "--help", "--help-all"}


def show_help(command: type, verb: str, arguments: Sequence[str], default: object = None) -> NoReturn:
    """Prints the help of a command and exits with 0; `default` is the command before anything is typed.

    Without --help-all among the arguments, options that the class does not name in `common` are counted in the last
    line; a class without `common` has few, and shows all.
    """
    hidden: list[str] = []
    common: Sequence[str] | None = getattr(command, "common", None)
    if common is not None and "--help-all" not in arguments:
        hidden = [name for name in _optional(command, default) if name not in common]
    print(description_of(command, get_terminal_size().columns), end="\n\n")
    shown = _class_shown(command, default, hidden)
    with json_options, suppress(SystemExit):
        tyro.cli(shown, prog=f"pagoda {verb}", description="", args=["--help"])
    if hidden:
        words = ["--help-all" if word in HELP_FLAGS else word for word in arguments]
        print(f"{len(hidden)} more options: {shlex.join(['pagoda', *verb.split(), *words])}")
    sys.exit(0)


def description_of(command: type, width: int = 80) -> str:
    """The docstring of a command in lines of `width`; examples, which begin with "pagoda ", as a shell takes them.

    >>> class Fold:
    ...     '''Fold it, twice.
    ...
    ...     pagoda fold a
    ...     pagoda fold b --times 2 --out c
    ...     '''
    >>> print(description_of(Fold, width=30))
    Fold it, twice.
    <BLANKLINE>
    $ pagoda fold a
    $ pagoda fold b --times 2 \\
        --out c
    """
    paragraphs = []
    for lines, are_examples in paragraphs_of(command):
        told = [_example(line, width) for line in lines] if are_examples else wrap(" ".join(lines), width)
        paragraphs.append("\n".join(told))
    return "\n\n".join(paragraphs)


def paragraphs_of(command: type) -> Iterator[tuple[list[str], bool]]:
    """The lines of each paragraph of a command's docstring, and whether they are examples: all begin with "pagoda ".

    Without what is for those who call it in Python: what it raises, and examples for there.
    """
    for paragraph in cleandoc(command.__doc__ or "").split("\n\n"):
        if paragraph.startswith((">>> ", "Raises ")):
            continue
        lines = paragraph.splitlines()
        yield lines, all(line.startswith("pagoda ") for line in lines)


def _example(line: str, width: int) -> str:
    """On several lines where one is too long; a flag stays beside its values."""
    held = re.sub(r" (?!--)", "\0", f"$ {line}")
    parts = wrap(held, width - 2, subsequent_indent=4 * " ", break_long_words=False, break_on_hyphens=False)
    return " \\\n".join(parts).replace("\0", " ")


def _class_shown(options: type, chosen: object, hidden: Collection[str] = (), path: str = "") -> type:
    """The dataclass as tyro is to show it: what is required first, then `common`, then the others.

    `chosen` holds the values it begins with, None stands for those of the class. `hidden` are names with dots, counted
    from the command, to which `path` leads.
    """
    hints, lines = get_type_hints(options, include_extras=True), lines_of(options)
    order = {name: place for place, name in enumerate(getattr(options, "common", ()))}
    made = []
    for name, value in values_of(options, chosen).items():
        hint = hints[name]
        if is_dataclass(value):
            hint = _class_shown(type(value), value, hidden, f"{path}{name}.")
            value = hint()
        else:
            text, default = _told(lines.get(name, ""), value)
            hint = Annotated[
                hint, tyro.conf.arg(help=text, metavar=_metavar(hint), help_behavior_hint=default)
            ]
        hint = tyro.conf.Suppress[hint] if path + name in hidden else hint
        made.append((name, hint, field() if value is MISSING else field(default=value)))
    made.sort(key=lambda row: -1 if row[2].default is MISSING else order.get(row[0], len(order)))
    paragraphs = {"__doc__": description_of(options, sys.maxsize)}
    return make_dataclass(options.__name__, made, kw_only=True, frozen=True, namespace=paragraphs)


def lines_of(options: type) -> dict[str, str]:
    """{field: the text below it}, of a dataclass and those it inherits from, each as one line.

    >>> from pagoda.cli.info import InfoCommand
    >>> lines_of(InfoCommand)["size"]
    'height and width of the picture, in pixels'
    """
    lines = {}
    for each in reversed(options.__mro__):
        for statement, after in pairwise(_statements(each)):
            is_field, is_text = isinstance(statement, ast.AnnAssign), isinstance(after, ast.Expr)
            if is_field and is_text and isinstance(after.value, ast.Constant):
                lines[statement.target.id] = " ".join(after.value.value.split())
    return lines


def _statements(kind: type) -> list[ast.stmt]:
    """Of a class's body; none where it stands in no file, as the options of one zoo model."""
    with suppress(OSError, TypeError):
        return ast.parse(dedent(getsource(kind))).body[0].body
    return []


def values_of(options: type, chosen: object) -> dict[str, object]:
    """{field: its value before anything is typed}, of `chosen`, where it is not None; dataclasses.MISSING for those
    that have to be.

    >>> from pagoda.cli.models import ModelsCommand
    >>> values_of(ModelsCommand, None)
    {'published': False, 'json': False}
    """
    values = {}
    for each in fields(options):
        value = each.default if each.default_factory is MISSING else each.default_factory()
        value = value if chosen is None else getattr(chosen, each.name)
        values[each.name] = MISSING if value is tyro.MISSING else value
    return values


def _optional(options: type, chosen: object, path: str = "") -> Iterator[str]:
    """The names, with dots, of all flags that may be left out."""
    hints = get_type_hints(options, include_extras=True)
    for name, value in values_of(options, chosen).items():
        if is_dataclass(value):
            yield from _optional(type(value), value, f"{path}{name}.")
        elif value is not MISSING and tyro.conf.Positional not in get_args(hints[name]):
            yield path + name


def _told(line: str, value: object) -> tuple[str | None, str | None]:
    """The text of an option and its default; None for tyro's own "(default: …)", where the text has not said it."""
    text, said, default = line.partition("default:")
    if said:
        return text.strip() or None, said + default
    if value is MISSING:
        return line or None, "(required)"
    return line or None, "(default: none)" if value in ("", ()) else None


def _metavar(hint: object) -> str | None:
    """How several of a few words are written, which tyro would say twice; None for all else."""
    kinds = [hint, *get_args(hint)]
    for words in (get_args(kind)[0] for kind in kinds if get_origin(kind) is tuple):
        if get_origin(words) is Literal:
            none = "{None}|" if NoneType in kinds else ""
            return f"{none}[{{{','.join(get_args(words))}}} ...]"
    return None
