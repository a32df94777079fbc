"""Options as people write them: each is checked where it is given, by the type it is annotated with."""

import math
import os
from collections.abc import Callable, Collection, Mapping
from dataclasses import MISSING, fields, is_dataclass
from functools import wraps
from inspect import Parameter, signature
from numbers import Integral, Real
from reprlib import Repr
from types import NoneType, UnionType
from typing import (
    TYPE_CHECKING,
    Any,
    Literal,
    TypeAlias,
    TypeVar,
    Union,
    get_args,
    get_origin,
    get_type_hints,
)

from pagoda.messages import nearest

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

JsonObject: TypeAlias = dict[str, Any]
"""what JSON and YAML files hold between braces: values by name, which nobody has checked yet"""
Target = TypeVar("Target", bound=Callable[..., object])
Options = TypeVar("Options", bound="DataclassInstance")
_NUMBERS: dict[object, str] = {
    bool: "True or False",
    int: "a whole number",
    float: "a number",
    NoneType: "None",
}
_SCHEMA_TYPES: dict[object, str] = {
    bool: "boolean",
    int: "integer",
    float: "number",
    str: "string",
    NoneType: "null",
}
LARGEST = 2**63
"""of whole numbers: a tensor holds none from here on"""
_shorten = Repr()
_shorten.maxstring = _shorten.maxother = 80


def checked(target: Target) -> Target:
    """A class whose constructor, or a function that, refuses words and numbers which its annotations do not admit.

    Of a class every annotation made of `Literal`, bool, int, float and option dataclasses counts, also inside
    Optional, tuples, sequences and mappings; of a function those with a `Literal`. Raises ValueError with the name of
    the option, what it may be, what came and the nearest word, before the constructor or the function begins.
    Stands above `@dataclass`; a subclass with a constructor of its own needs its own.

    >>> @checked
    ... def turn(way: Literal["left", "right"]) -> None: ...
    >>> turn("Right")
    Traceback (most recent call last):
    ValueError: turn: way must be one of 'left', 'right', got 'Right'; did you mean 'right'?
    """
    if isinstance(target, type):
        _check_constructor(target)
        return target
    check = _checker(target, target.__name__, _has_words)

    @wraps(target)
    def guarded(*args: object, **kwargs: object) -> Any:
        check(args, kwargs)
        return target(*args, **kwargs)

    return guarded  # type: ignore[return-value]


def is_option(hint: object) -> bool:
    """Whether an annotation speaks of words, numbers or option dataclasses, so that `checked` looks at it.

    >>> is_option(Literal["left", "right"]), is_option(float | None), is_option(str)
    (True, True, False)
    """
    if _is_union(hint) or get_origin(hint) in (tuple, list, dict) or _is_collection(hint):
        return any(is_option(part) for part in get_args(hint) if part is not Ellipsis)
    return get_origin(hint) is Literal or hint in (bool, int, float) or _is_dataclass(hint)


def admits(hint: object, value: object) -> bool:
    """Whether a value may stand where `hint` is annotated; whole numbers are numbers; NaN and what no tensor holds are
    none.

    >>> admits(float, 3), admits(int, 3.0), admits(bool, 1), admits(float, math.nan)
    (True, False, False, False)
    >>> admits(tuple[int, ...], [1, 2]), admits(Literal["left"] | None, "right")
    (True, False)
    """
    origin = get_origin(hint)
    if origin is Literal:
        return any(
            value == word and type(word) is not bool and isinstance(value, type(word))
            for word in get_args(hint)
        )
    if _is_union(hint):
        return any(admits(part, value) for part in get_args(hint))
    if origin in (tuple, list) or _is_collection(hint):
        return _admits_items(origin, get_args(hint), value)
    if hint in (bool, int, float, None, NoneType):
        return _admits_number(hint, value)
    return not isinstance(hint, type) or isinstance(value, hint)


def check_option(owner: str, name: str, hint: object, value: object) -> None:
    """Raises ValueError where `hint` does not admit the value of the option `name`.

    >>> check_option("Resize", "short", int, "800")
    Traceback (most recent call last):
    ValueError: Resize: short must be a whole number, got '800'; that is text: write 800
    """
    if admits(hint, value):
        return
    words = tuple(_words(hint))
    near = nearest(value, words) if isinstance(value, str) else None
    help_ = f"; did you mean {near!r}?" if near else ""
    if isinstance(value, str) and not words and _as_number(value) is not None:
        help_ = f"; that is text: write {_as_number(value):g}"
    raise ValueError(f"{owner}: {name} must be {describe(hint)}, got {_shorten.repr(value)}{help_}")


def check_counts(**counts: int | None) -> None:
    """Raises ValueError with the name of a count below 1; None, where it is admitted, stands for no limit.

    >>> check_counts(batch_size=4, max_frames=None)
    >>> check_counts(batch_size=0)
    Traceback (most recent call last):
    ValueError: batch_size must be at least 1, got 0
    """
    for name, count in counts.items():
        if count is not None and count < 1:
            raise ValueError(f"{name} must be at least 1, got {count}")


def check_numbers(options: object, low: float, high: float, *names: str) -> None:
    """Raises ValueError where one of the named fields is not from `low` to `high`; None and tensors pass, of sequences
    each number counts.

    >>> from types import SimpleNamespace
    >>> check_numbers(SimpleNamespace(eps=-1.0), 0, 1, "eps")
    Traceback (most recent call last):
    ValueError: SimpleNamespace: eps must be from 0 to 1, got -1.0
    """
    for name in names:
        for number in _numbers_in(getattr(options, name)):
            if not low <= number <= high:
                raise ValueError(
                    f"{type(options).__name__}: {name} must be from {low:g} to {high:g}, got {number}"
                )


def describe(hint: object) -> str:
    """What may stand where `hint` is annotated, in words.

    >>> describe(Literal["sgd", "adamw"] | None), describe(tuple[float, float]), describe(list[int])
    ("one of 'sgd', 'adamw' or None", '(a number, a number)', 'a sequence, each of it a whole number')
    """
    origin, parts = get_origin(hint), get_args(hint)
    if origin is Literal:
        return f"one of {', '.join(map(repr, parts))}"
    if _is_union(hint):
        return " or ".join(describe(part) for part in parts)
    if origin in (tuple, list) and parts[-1:] != (Ellipsis,) and len(parts) > 1:
        return f"({', '.join(describe(part) for part in parts)})"
    if origin is not None and parts and _is_mapping(origin):
        return f"a mapping of {describe(parts[0])} to {describe(parts[-1])}"
    if origin in (tuple, list) or _is_collection(hint):
        return f"a sequence, each of it {describe(parts[0])}" if parts else "a sequence"
    return _NUMBERS.get(hint) or str(getattr(hint, "__name__", None) or hint)


def value_schema(hint: object) -> JsonObject:
    """What may stand where `hint` is annotated, as a JSON Schema; of a dataclass only that it is an object.

    Raises TypeError for other types than `checked` knows, and text.

    >>> value_schema(Literal["sgd", "adamw"] | None)
    {'anyOf': [{'enum': ['sgd', 'adamw']}, {'type': 'null'}]}
    >>> value_schema(tuple[int, int])
    {'type': 'array', 'prefixItems': [{'type': 'integer'}, {'type': 'integer'}], 'minItems': 2, 'maxItems': 2}
    """
    origin, parts = get_origin(hint), get_args(hint)
    if origin is Literal:
        return {"enum": list(parts)}
    if _is_union(hint):
        return {"anyOf": [value_schema(part) for part in parts]}
    if origin is tuple and parts[-1] is Ellipsis:
        return {"type": "array", "items": value_schema(parts[0])}
    if origin is tuple:
        items = [value_schema(part) for part in parts]
        return {"type": "array", "prefixItems": items, "minItems": len(items), "maxItems": len(items)}
    if _is_dataclass(hint):
        return {"type": "object"}
    if hint not in _SCHEMA_TYPES:
        raise TypeError(f"no JSON Schema is known for {hint}")
    return {"type": _SCHEMA_TYPES[hint]}


def from_plain(cls: type[Options], values: object, where: str = "") -> Options:
    """A dataclass of options from what JSON and YAML have of it: mappings for those within, lists for tuples; a path is
    the text it stands for, where text is asked for.

    `where` stands before the names of settings in messages: "optim.". Raises ValueError for what is no mapping, for an
    unknown name, with the nearest known one, for one that is missing, and for values the class refuses.

    >>> from dataclasses import dataclass
    >>> @dataclass
    ... class Optim:
    ...     lr: float = 0.1
    ...     steps: tuple[int, ...] = ()
    >>> from_plain(Optim, {"steps": [8, 11]})
    Optim(lr=0.1, steps=(8, 11))
    >>> from_plain(Optim, {"Lr": 1}, "optim.")
    Traceback (most recent call last):
    ValueError: unknown setting 'optim.Lr'; did you mean 'optim.lr'?
    """
    if not isinstance(values, Mapping):
        name = where.removesuffix(".") or cls.__name__
        raise ValueError(f"{name} must hold settings by name, got {_shorten.repr(values)}")
    known = {field.name: field for field in fields(cls) if field.init}
    for name in values:
        if name not in known:
            near = nearest(name, known) if isinstance(name, str) else None
            hint = f"; did you mean '{where}{near}'?" if near else f"; known: {', '.join(known)}"
            raise ValueError(f"unknown setting {_shorten.repr(f'{where}{name}')}{hint}")
    for name, field in known.items():
        if name not in values and field.default is field.default_factory is MISSING:
            raise ValueError(f"the setting '{where}{name}' of {cls.__name__} is missing")
    hints = get_type_hints(cls)
    return cls(**{name: _as_hinted(hints[name], value, f"{where}{name}.") for name, value in values.items()})


def _as_hinted(hint: object, value: object, where: str) -> Any:
    parts = get_args(hint) or (hint,)
    if isinstance(value, Mapping):
        inner = next((part for part in parts if _is_dataclass(part)), None)
        return value if inner is None else from_plain(inner, value, where)
    if isinstance(value, list | tuple) and not _is_mapping(get_origin(hint)):
        return tuple(_as_hinted(parts[0], item, where) for item in value)
    if hint is str and isinstance(value, os.PathLike):
        return os.fspath(value)
    if hint is str and not isinstance(value, str):
        name = where.removesuffix(".")
        raise ValueError(f"the setting '{name}' must be text, in quotes, got {_shorten.repr(value)}")
    return value


def _check_constructor(target: type) -> None:
    """Adds the check to `__new__`, which nothing laid around `__init__` precedes, and to `__init__` where a
    subclass calls it.
    """
    if "__init__" not in vars(target):
        raise TypeError(f"{target.__name__} has no constructor of its own to check")
    create, begin = target.__new__, target.__init__  # type: ignore[misc]
    check = _checker(begin, target.__name__, is_option)

    def new(cls: type, *args: object, **kwargs: object) -> Any:
        if cls.__init__ is target.__init__:  # type: ignore[misc]
            check((cls, *args), kwargs)
        return create(cls) if create is object.__new__ else create(cls, *args, **kwargs)  # type: ignore[call-overload]

    @wraps(begin)
    def init(self: Any, *args: object, **kwargs: object) -> None:
        if type(self).__init__ is not target.__init__:  # type: ignore[misc]
            check((self, *args), kwargs)
        begin(self, *args, **kwargs)

    new.__wrapped__ = begin  # type: ignore[attr-defined]  # whose parameters `help` and `signature` then show
    target.__new__, target.__init__ = new, init  # type: ignore[misc, assignment, method-assign]


def _checker(
    function: Callable[..., object], owner: str, counts: Callable[[object], bool]
) -> Callable[..., None]:
    names: list[str] = []  # of what is given by position; both are resolved at the first call,
    hints: dict[str, object] = {}  # when every module has its names

    def check(args: tuple[object, ...], kwargs: Mapping[str, object]) -> None:
        if not hints:
            parameters = signature(function).parameters.values()
            names.extend(p.name for p in parameters if p.kind is not Parameter.KEYWORD_ONLY)
            found = get_type_hints(function)
            found.pop("return", None)
            hints.update({name: hint for name, hint in found.items() if counts(hint)} or {"": None})
        for name, value in (*zip(names, args, strict=False), *kwargs.items()):
            if name in hints:
                check_option(owner, name, hints[name], value)

    return check


def _admits_number(hint: object, value: object) -> bool:
    is_truth = isinstance(value, bool) or type(value).__name__ in ("bool", "bool_")  # numpy has its own
    if hint is bool or is_truth:
        return hint is bool and is_truth
    if isinstance(value, Integral) and not -LARGEST <= int(value) < LARGEST:
        return False
    if hint is int:
        return isinstance(value, Integral)
    if hint is float:
        return isinstance(value, Real) and not math.isnan(value)
    return value is None


def _admits_items(origin: type | None, parts: tuple[object, ...], value: object) -> bool:
    if origin is not None and _is_mapping(origin):
        if not isinstance(value, Mapping):
            return False
        return not parts or all(
            admits(parts[0], key) and admits(parts[1], item) for key, item in value.items()
        )
    if isinstance(value, str | bytes):
        return False
    if not isinstance(value, list | tuple | set | frozenset | range):
        return origin is not None and origin not in (tuple, list) and isinstance(value, origin)
    if origin is not tuple or parts[-1:] == (Ellipsis,):
        return not parts or all(admits(parts[0], item) for item in value)
    return len(value) == len(parts) and all(
        admits(part, item) for part, item in zip(parts, value, strict=True)
    )


def _numbers_in(value: object) -> list[float]:
    if isinstance(value, list | tuple):
        return [number for item in value for number in _numbers_in(item)]
    return [value] if isinstance(value, int | float) else []


def _words(hint: object) -> Collection[str]:
    parts = get_args(hint)
    if get_origin(hint) is Literal:
        return [word for word in parts if isinstance(word, str)]
    return [word for part in parts if part is not Ellipsis for word in _words(part)]


def _has_words(hint: object) -> bool:
    parts = get_args(hint)
    return get_origin(hint) is Literal or any(_has_words(part) for part in parts if part is not Ellipsis)


def _as_number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def _is_union(hint: object) -> bool:
    return get_origin(hint) in (Union, UnionType)


def _is_mapping(origin: object) -> bool:
    return isinstance(origin, type) and issubclass(origin, Mapping)


def _is_collection(hint: object) -> bool:
    origin = get_origin(hint)
    return isinstance(origin, type) and issubclass(origin, Collection)


def _is_dataclass(hint: object) -> bool:
    return isinstance(hint, type) and is_dataclass(hint)


def flat(values: Mapping[str, object], prefix: str = "") -> dict[str, object]:
    """Nested mappings as one, names joined by dots; tuples become lists, as in JSON, and empty mappings stay.

    >>> flat({"a": {"b": 1}, "c": (2, 3), "d": {}})
    {'a.b': 1, 'c': [2, 3], 'd': {}}
    """
    found: dict[str, object] = {}
    for name, value in values.items():
        if isinstance(value, Mapping) and value:
            found |= flat(value, f"{prefix}{name}.")
        else:
            found[prefix + name] = list(value) if isinstance(value, tuple) else value
    return found
