"""Text, JSON and YAML as people's programs write them, and the numbers, names and truth values in them.

A byte-order mark is never content, a file that cannot be decoded is named, and names stay the text they are.
"""

import codecs
import json
import math
import re
import stat
from collections.abc import Collection
from numbers import Real
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from pagoda.plain import JsonObject

_MARKS = ((codecs.BOM_UTF8, "utf-8-sig"), (codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16"))
_MARK = "\ufeff"
_BREAKS = re.compile(r"\s*[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]+\s*")
"""Line breaks, control characters and halves of letters, which no line of text can hold"""
DEEPEST = 64
"""lists and mappings in each other; settings and annotations need less than ten"""
MOST_VALUES = 1_000_000
"""of a YAML file whose aliases are written out"""
LONGEST_YAML = 4_000_000
"""letters; files of this kind hold settings"""
_ESCAPED = re.compile(r"\\.", re.DOTALL)
_PIECE = 1 << 20
# What values raise that look like dates, numbers or keys and are none.
_NO_VALUES = (ValueError, OverflowError, TypeError, AttributeError, KeyError, IndexError)
_NUMBER = re.compile(r"[+-]?((\d+\.?\d*|\.\d+)(e[+-]?\d+)?|nan|inf(inity)?)", re.IGNORECASE | re.ASCII)
_WHOLE = re.compile(r"([+-]?\d{1,40})(\.0*)?", re.ASCII)
_WORDS = {"1": True, "true": True, "yes": True, "0": False, "false": False, "no": False, "": False}


def read_text(path: str | Path) -> str:
    """The file as text without its byte-order mark: UTF-8, or UTF-16 where a mark says so.

    Raises ValueError naming the file, the byte and the remedy where it is in another encoding, and for a named pipe or
    a device, which may never end; those that a shell hands over (/dev/fd) are read.

    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     path = Path(folder, "names.txt")
    ...     _ = path.write_bytes(codecs.BOM_UTF16_LE + "Füße".encode("utf-16-le"))
    ...     read_text(path)
    'Füße'
    """
    refuse_endless(path)
    content = Path(path).read_bytes()
    encoding = next((name for mark, name in _MARKS if content.startswith(mark)), "utf-8")
    try:
        return content.decode(encoding)
    except UnicodeDecodeError as error:
        raise ValueError(
            f"{path} is not UTF-8 text (byte {error.start} is 0x{content[error.start]:02x}); save it as UTF-8"
        ) from error


def with_home(path: str | Path) -> Path:
    """The path with the folder of that person for ~ and ~NAME; as it is where nobody has that name."""
    try:
        return Path(path).expanduser()
    except RuntimeError:
        return Path(path)


def refuse_endless(path: str | Path) -> None:
    """Raises ValueError for a named pipe, a socket or a device; what is not there, and folders, pass."""
    mode = Path(path).stat().st_mode if Path(path).exists() else 0
    is_handed_over = str(path).startswith(("/dev/fd/", "/dev/stdin", "/proc/"))
    if not is_handed_over and (stat.S_ISFIFO(mode) or stat.S_ISCHR(mode) or stat.S_ISSOCK(mode)):
        raise ValueError(
            f"{path} is a pipe or a device, which may never end, and no file; copy what it gives into a file"
        )


def read_json(path: str | Path) -> Any:
    """The value in a JSON file; ValueError naming the file and the place where it is none."""
    text = read_text(path)
    try:
        return parse_json(text)
    except ValueError as error:
        raise ValueError(f"{path} is not a JSON file: {error}") from error


def parse_json(text: str | bytes) -> Any:
    """The value of a JSON text; ValueError where it is none, also for nesting beyond `DEEPEST`.

    >>> parse_json('{"lr": 0.1}')
    {'lr': 0.1}
    >>> parse_json("[" * 65 + "]" * 65)
    Traceback (most recent call last):
    ValueError: its values are nested more than 64 deep
    """
    text = text.decode() if isinstance(text, bytes) else text
    if nesting(text) > DEEPEST:
        raise ValueError(f"its values are nested more than {DEEPEST} deep")
    return json.loads(text)


def json_text(value: object, *, indent: int | None = None) -> str:
    """Strict JSON of plain values: null for NaN and infinity, which JSON does not have.

    >>> json_text({"score": float("nan"), "box": [0.5, float("inf")]})
    '{"score": null, "box": [0.5, null]}'
    """
    try:
        return json.dumps(value, indent=indent, allow_nan=False)
    except ValueError:
        return json.dumps(_finite(value), indent=indent, allow_nan=False)


def _finite(value: object) -> object:
    """Plain values with None for each number that is not finite."""
    if isinstance(value, dict):
        return {key: _finite(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def nesting(text: str) -> int:
    """How deep lists and mappings lie in each other in a JSON text, told without reading it.

    >>> nesting('{"a": [[1], "]]"]}'), nesting("7")
    (3, 0)
    """
    text = _ESCAPED.sub("", text) if "\\" in text else text
    deepest = depth = is_quoted = 0
    for start in range(0, len(text), _PIECE):
        letters = np.frombuffer(text[start : start + _PIECE].encode("utf-8", "surrogatepass"), np.uint8)
        quotes = np.cumsum(letters == ord('"')) + is_quoted
        signs = letters | 32  # [ and { differ in this bit alone, and so do ] and }
        steps = (signs == ord("{")).astype(np.int64) - (signs == ord("}"))
        depths = depth + np.cumsum(np.where(quotes & 1, 0, steps))
        deepest = max(deepest, int(depths.max()))
        depth, is_quoted = int(depths[-1]), int(quotes[-1] & 1)
    return deepest


def is_too_deep(value: object) -> bool:
    """Whether plain values are nested more than `DEEPEST`, or lie within themselves.

    >>> loop = []
    >>> loop.append(loop)
    >>> is_too_deep([[1]]), is_too_deep(loop)
    (False, True)
    """
    level: list[dict | list | tuple] = [[value]]
    for _ in range(DEEPEST + 1):
        inner = (part for whole in level for part in (whole.values() if isinstance(whole, dict) else whole))
        level = list({id(part): part for part in inner if isinstance(part, dict | list | tuple)}.values())
        if not level:
            return False
    return True


def read_yaml(path: str | Path, *, as_text: Collection[str] = ()) -> JsonObject:
    """The mapping in a YAML file, {} where it holds something else.

    Under the top-level keys of `as_text` every value is text as it is written: `names: [no, yes, 007]` are three
    names, neither truth values nor numbers. Keys are read as usual. Raises ValueError naming the file, also for a key
    given twice, nesting without end, and aliases that stand for more than `MOST_VALUES`.

    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     path = Path(folder, "data.yaml")
    ...     _ = path.write_text("names: [no, 007]\\nnc: 2\\n")
    ...     read_yaml(path), read_yaml(path, as_text=["names"])
    ({'names': [False, 7], 'nc': 2}, {'names': ['no', '007'], 'nc': 2})
    """
    text = read_text(path)
    if len(text) > LONGEST_YAML:
        raise ValueError(f"cannot read {path}: {len(text)} letters of YAML, at most {LONGEST_YAML} are read")
    loader = None
    try:
        loader = yaml.SafeLoader(text)  # which looks at its letters
        node = loader.get_single_node()
        if not isinstance(node, yaml.MappingNode):
            return {}
        _count_values(node, {})
        for key, value in node.value:
            if isinstance(key, yaml.ScalarNode) and key.value in as_text:
                _keep_text(value)
        content = loader.construct_document(node)
        if is_too_deep(content):
            raise ValueError(f"its values are nested more than {DEEPEST} deep")
        return content
    except RecursionError as error:
        raise ValueError(f"cannot read {path}: its values are nested without end") from error
    except (yaml.YAMLError, *_NO_VALUES) as error:
        raise ValueError(f"cannot read {path}: {error}") from error
    finally:
        if loader is not None:
            loader.dispose()


def _count_values(node: yaml.Node, counts: dict[int, int]) -> int:
    """The values of a node, its aliases written out; `counts`: of the nodes met before, 0 while open."""
    if counts.setdefault(id(node), 0):
        return counts[id(node)]
    parts = [] if isinstance(node, yaml.ScalarNode) else node.value
    if isinstance(node, yaml.MappingNode):
        _refuse_repeated(node)
        parts = [part for pair in node.value for part in pair]
    open_parts = [part for part in parts if counts.get(id(part)) == 0]
    if open_parts:
        raise ValueError(f"an alias leads back to what it stands in (line {node.start_mark.line + 1})")
    counts[id(node)] = count = 1 + sum(_count_values(part, counts) for part in parts)
    if count > MOST_VALUES:
        raise ValueError(f"its aliases stand for more than {MOST_VALUES} values")
    return count


def _refuse_repeated(node: yaml.MappingNode) -> None:
    keys = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode) and key.value != "<<"]
    twice = sorted({key for key in keys if keys.count(key) > 1}) if len(set(keys)) < len(keys) else []
    if twice:
        raise ValueError(
            f"{', '.join(map(repr, twice[:3]))} is given twice (below line {node.start_mark.line + 1})"
        )


def _keep_text(node: yaml.Node) -> None:
    if isinstance(node, yaml.ScalarNode):
        node.tag = "tag:yaml.org,2002:str"
    elif isinstance(node, yaml.SequenceNode):
        for item in node.value:
            _keep_text(item)
    elif isinstance(node, yaml.MappingNode):
        for _, value in node.value:
            _keep_text(value)


def truth_value(value: object, what: str) -> bool:
    """Whether a flag of a file is set; absent (None) and empty is not set.

    0, 1, true, false, yes and no, as numbers, truth values or text in any case. Raises ValueError that begins
    with `what` (file, entry and key) for everything else.

    >>> truth_value("0", "a.json: annotation 1: iscrowd"), truth_value(" True ", "b.xml: difficult")
    (False, True)
    """
    if value is None or isinstance(value, bool):
        return bool(value)
    if isinstance(value, int | float) and value in (0, 1):
        return bool(value)
    if isinstance(value, str) and value.strip().lower() in _WORDS:
        return _WORDS[value.strip().lower()]
    raise ValueError(f"{what} must be 0 or 1 (or true, false, yes, no), got {value!r}")


def as_number(value: object) -> float | None:
    """The number that is meant, also where it is written as text; None where it is none. Truth values are none.

    >>> as_number("10.5"), as_number(3), as_number("3 px"), as_number(True)
    (10.5, 3.0, None, None)
    """
    if isinstance(value, str):
        text = value.strip()
        return float(text) if _NUMBER.fullmatch(text) else None
    if isinstance(value, bool) or not isinstance(value, Real):
        return None
    try:
        return float(value)
    except OverflowError:
        return None


def as_whole(value: object) -> int | None:
    """The whole number that is meant, also as 1.0 or as text; None where it is none.

    >>> as_whole(7.0), as_whole("7"), as_whole(7.5), as_whole("seven")
    (7, 7, None, None)
    """
    if isinstance(value, str):
        found = _WHOLE.fullmatch(value.strip())
        return int(found[1]) if found else None
    if isinstance(value, bool) or not isinstance(value, Real):
        return None
    try:
        whole = int(value)  # type: ignore[call-overload]
    except (ValueError, OverflowError):  # NaN, infinity
        return None
    return whole if whole == value else None


def one_line(text: str) -> str:
    """`text` with a space for every run of line breaks and control characters, and no space at either end.

    >>> one_line("traffic\\r\\n  light\\x07")
    'traffic light'
    """
    return _BREAKS.sub(" ", text).strip()


def as_name(value: object) -> str | None:
    """A name as text on `one_line` without byte-order mark; "" where it is missing, None for lists and such.

    >>> as_name(0), as_name(True), as_name(" cat\\n"), as_name(None), as_name(["cat"])
    ('0', 'true', 'cat', '', None)
    """
    if isinstance(value, str):
        return one_line(value.replace(_MARK, ""))
    if value is None:
        return ""
    return json.dumps(value) if isinstance(value, bool | int | float) else None
