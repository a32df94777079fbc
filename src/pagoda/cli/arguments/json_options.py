"""Options whose values are lists in lists or made of parts: on the command line they are written as JSON."""

import json
from collections.abc import Callable
from dataclasses import asdict
from sys import maxsize
from typing import Any, Literal, NamedTuple, get_args, get_origin

from tyro.constructors import ConstructorRegistry, PrimitiveConstructorSpec, PrimitiveTypeInfo

from pagoda.backbones.resnet_options import Plugin
from pagoda.layers.darknet_layer import DarknetLayer
from pagoda.plain import admits, from_plain
from pagoda.zoo.composed_options import plugins_from

Blocks = tuple[tuple[bool, ...], ...]


class Form(NamedTuple):
    """How the values of a type are written.

    >>> FORMS[Blocks | None].read([[False, True]])
    ((False, True),)
    """

    example: str
    """what the help shows"""
    read: Callable[[object], object]
    """from JSON's lists and mappings; ValueError for others"""
    write: Callable[[Any], object]
    """to them"""


def _blocks_from(value: object) -> Blocks | None:
    """Lists of truth values, or null."""
    blocks = value
    if isinstance(value, list):
        blocks = tuple(tuple(stage) if isinstance(stage, list) else stage for stage in value)
    if not admits(Blocks | None, blocks):
        raise ValueError(f"expected a list for each stage, each of true and false, got {json.dumps(value)}")
    return blocks


def _layers_from(value: object) -> tuple[DarknetLayer, ...]:
    """A list of mappings; what these may say, `DarknetLayer` tells."""
    if not isinstance(value, list):
        raise ValueError(f"expected a list of layers, each of it {{'kind': …}}, got {json.dumps(value)}")
    return tuple(from_plain(DarknetLayer, layer, f"layers.{number}.") for number, layer in enumerate(value))


FORMS: dict[object, Form] = {
    tuple[Plugin, ...]: Form(
        """'[{"module": "context_block", "options": {"ratio": 0.5}}]'""",
        plugins_from,
        lambda plugins: [asdict(plugin) for plugin in plugins],
    ),
    tuple[DarknetLayer, ...]: Form(
        """'[{"kind": "maxpool", "size": 2, "stride": 2}, {"kind": "connected"}]'""",
        _layers_from,
        lambda layers: [asdict(layer) for layer in layers],
    ),
    Blocks | None: Form("'[[false, false], [true, true]]'", _blocks_from, lambda blocks: blocks),
}
json_options = ConstructorRegistry()


@json_options.primitive_rule
def _json_rule(kind: PrimitiveTypeInfo) -> PrimitiveConstructorSpec[object] | None:
    """How one word becomes such a value; None for types that tyro knows."""
    form = FORMS.get(kind.type)
    if form is None:
        return None
    return PrimitiveConstructorSpec(
        nargs=1,
        metavar=form.example,
        instance_from_str=lambda words: form.read(_value_of(words[0], form)),
        is_instance=lambda value: admits(kind.type, value),
        str_from_instance=lambda value: [json.dumps(form.write(value))],
    )


def _value_of(text: str, form: Form) -> object:
    """What stands in the text. Raises ValueError with an example where it is no JSON."""
    try:
        return json.loads(text)
    except ValueError as error:
        raise ValueError(f"expected JSON as {form.example}, got {text}: {error}") from error


def most_words(hint: object) -> int:
    """How many words of the command line a value of this type has at most.

    >>> most_words(bool), most_words(tuple[int, int] | None), most_words(tuple[str, ...]) == maxsize
    (0, 2, True)
    """
    parts = get_args(hint)
    if hint is bool:
        return 0
    if get_origin(hint) is tuple and hint not in FORMS:
        return maxsize if parts[-1] is Ellipsis else len(parts)
    return max([1, *(most_words(part) for part in parts if part is not Ellipsis and hint not in FORMS)])


def least_words(hint: object) -> int:
    """How many words of the command line a value of this type has at least: None is one.

    >>> least_words(tuple[int, int]), least_words(tuple[int, int] | None), least_words(tuple[str, ...])
    (2, 1, 0)
    """
    parts = get_args(hint)
    if get_origin(hint) is tuple and hint not in FORMS:
        return 0 if parts[-1] is Ellipsis else len(parts)
    if hint in FORMS or get_origin(hint) is Literal:
        return 1
    return min([least_words(part) for part in parts], default=1)
