"""Text, JSON and YAML as people's programs write them, and the truth values in them.

A byte-order mark is never content, a file that cannot be decoded is named, and names stay the text they are.
"""

import codecs
import json
from collections.abc import Collection
from pathlib import Path
from typing import Any

import yaml

_MARKS = ((codecs.BOM_UTF8, "utf-8-sig"), (codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16"))
_WORDS = {"1": True, "true": True, "yes": True, "0": False, "false": False, "no": False, "": False}


def read_text(path: str | Path) -> str:
    """The file as text without its byte-order mark: UTF-8, or UTF-16 where a mark says so.

    Raises ValueError naming the file, the byte and the remedy where it is in another encoding.
    """
    content = Path(path).read_bytes()
    encoding = next((name for mark, name in _MARKS if content.startswith(mark)), "utf-8")
    try:
        return content.decode(encoding)
    except UnicodeDecodeError as error:
        raise ValueError(
            f"{path} is not UTF-8 text (byte {error.start} is 0x{content[error.start]:02x}); save it as UTF-8"
        ) from error


def read_json(path: str | Path) -> Any:
    """The value in a JSON file; ValueError naming the file and the place where it is none."""
    text = read_text(path)
    try:
        return json.loads(text)
    except ValueError as error:
        raise ValueError(f"{path} is not a JSON file: {error}") from error


def read_yaml(path: str | Path, *, as_text: Collection[str] = ()) -> dict[str, Any]:
    """The mapping in a YAML file, {} where it holds something else.

    Under the top-level keys of `as_text` every value is text as it is written: `names: [no, yes, 007]` are three
    names, neither truth values nor numbers. Keys are read as usual. Raises ValueError naming the file.
    """
    text = read_text(path)
    loader = yaml.SafeLoader(text)
    try:
        node = loader.get_single_node()
        if not isinstance(node, yaml.MappingNode):
            return {}
        for key, value in node.value:
            if key.value in as_text:
                _keep_text(value)
        return loader.construct_document(node)
    except yaml.YAMLError as error:
        raise ValueError(f"cannot read {path}: {error}") from error
    finally:
        loader.dispose()


def _keep_text(node: yaml.Node) -> None:
    if isinstance(node, yaml.ScalarNode):
        node.tag = "tag:yaml.org,2002:str"
    elif isinstance(node, yaml.SequenceNode):
        for item in node.value:
            _keep_text(item)
    elif isinstance(node, yaml.MappingNode):
        for _, value in node.value:
            _keep_text(value)


def truth_value(value: Any, what: str) -> bool:
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
