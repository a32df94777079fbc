"""Files as accidents and ill will leave them: seeded, so that every damaged file can be made again.

`damage(content, rng)` spoils bytes of any kind, `spoil(tree, rng)` values as JSON and YAML have them, `spoil_text` such
a document as text. Each gives what it did, in words, and the result.
"""

import copy
import json
import math
from collections.abc import Callable
from random import Random
from typing import Any

DEEP = 3000
"""brackets in brackets, more than any reader of JSON goes along with"""
SWAPS: tuple[Any, ...] = (
    None, True, 0, -1, 1, 7, 10**9, 10**30, -(2**63), 1e308, -0.5, math.nan, math.inf, "", "x", "007", "\x00", "人\n車",
    "../../x", "y" * 5000, [], {}, [[]], [1, "a", None], {"a": 1}, [0] * 1000, {"type": "__import__"},
)  # fmt: skip
"""what stands where another value was expected"""


def _span(content: bytes, rng: Random) -> tuple[int, int]:
    start = rng.randrange(len(content) + 1)
    return start, min(len(content), start + rng.choice((1, 2, 8, 64, 4096)))


def flip_bits(content: bytes, rng: Random) -> bytes:
    spoilt = bytearray(content)
    for _ in range(rng.choice((1, 1, 3, 30)) if content else 0):
        spoilt[rng.randrange(len(spoilt))] ^= 1 << rng.randrange(8)
    return bytes(spoilt)


def flip_early_bits(content: bytes, rng: Random) -> bytes:
    """In the first bytes, where formats have their lengths and marks."""
    return flip_bits(content[:256], rng) + content[256:]


def truncate(content: bytes, rng: Random) -> bytes:
    return content[: rng.randrange(len(content) + 1)]


def cut_out(content: bytes, rng: Random) -> bytes:
    start, end = _span(content, rng)
    return content[:start] + content[end:]


def double(content: bytes, rng: Random) -> bytes:
    start, end = _span(content, rng)
    return content[:end] + content[start:]


def overwrite(content: bytes, rng: Random) -> bytes:
    """With zeros, ones, spaces, brackets or noise."""
    start, end = _span(content, rng)
    filling = rng.choice((b"\x00", b"\xff", b" ", b"[", bytes([rng.randrange(256)])))
    return content[:start] + filling * (end - start) + content[end:]


def recode(content: bytes, rng: Random) -> bytes:
    """The text in an encoding that nobody announced, or a byte that is none of it."""
    encoding = rng.choice(("utf-16", "utf-16-le", "utf-32", "utf-8-sig", "latin-1"))
    if encoding == "latin-1":
        at = rng.randrange(len(content) + 1)
        return content[:at] + b"\xe9\xff" + content[at:]
    return content.decode("latin-1").encode(encoding)


DAMAGES: tuple[Callable[[bytes, Random], bytes], ...] = (
    flip_bits, flip_early_bits, truncate, cut_out, double, overwrite, recode,
)  # fmt: skip


def damage(content: bytes, rng: Random) -> tuple[str, bytes]:
    """(what was done, the bytes after it)."""
    change = rng.choice(DAMAGES)
    return change.__name__, change(content, rng)


def places(tree: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The keys that lead to every value of a tree, the tree itself first."""
    inner = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    return [path, *(place for key, value in inner for place in places(value, (*path, key)))]


def nested(depth: int, rng: Random) -> Any:
    """Lists or mappings in each other."""
    value: Any = 0
    wrap = rng.choice((lambda inner: [inner], lambda inner: {"a": inner}))
    for _ in range(depth):
        value = wrap(value)
    return value


def spoil(tree: Any, rng: Random) -> tuple[str, Any]:
    """(what was done, a copy of plain values in which one is swapped, gone, doubled, renamed or nested)."""
    path = rng.choice(places(tree))
    if not path:
        value = rng.choice(SWAPS)
        return f"the whole becomes {value!r:.30}", value
    tree = copy.deepcopy(tree)
    parent = tree
    for key in path[:-1]:
        parent = parent[key]
    key, where = path[-1], ".".join(map(str, path))
    what = rng.choice(("swap", "swap", "swap", "scale", "delete", "rename", "double", "nest"))
    if what == "delete":
        del parent[key]
    elif what == "rename" and isinstance(parent, dict):
        parent[rng.choice(("", "x", f"{key} ", str(key).upper(), "a.b"))] = parent.pop(key)
    elif what == "double" and isinstance(parent, list):
        parent.insert(key, copy.deepcopy(parent[key]))
    elif what == "nest":
        parent[key] = nested(rng.choice((1, 2, 80)), rng)
    elif what == "scale" and isinstance(parent[key], int | float):
        parent[key] *= rng.choice((-1, 1000, 10**6, 10**9))
    else:
        what = "swap"
        parent[key] = rng.choice(SWAPS)
    return f"{what} {where}", tree


def nest_text(text: str, rng: Random) -> str:
    """Brackets without end in the place of a value."""
    opening, closing = rng.choice((("[", "]"), ('{"a":', "}")))
    deep = opening * DEEP + "0" + closing * DEEP
    at = text.find(":", rng.randrange(len(text) + 1))
    return deep if at < 0 else f"{text[: at + 1]} {deep}, {text[at + 1 :]}"


def repeat_key(text: str, rng: Random) -> str:
    """The first key a second time, with another value."""
    at = text.find("{")
    end = text.find(":", at)
    return text if min(at, end) < 0 else f"{text[: at + 1]}{text[at + 1 : end]}: 0, {text[at + 1 :]}"


def long_number(text: str, rng: Random) -> str:
    """A value of five thousand digits."""
    at = text.find(":", rng.randrange(len(text) + 1))
    return f"{text[: at + 1]} {'9' * 5000}, {text[at + 1 :]}"


TEXT_CHANGES: tuple[Callable[[str, Random], str], ...] = (nest_text, repeat_key, long_number)


def spoil_text(text: str, rng: Random, write: Callable[[Any], str] = json.dumps) -> tuple[str, bytes]:
    """(what was done, a spoilt copy of a JSON document): its values mostly, else its text or its bytes.

    `write` puts plain values into another notation of the same meaning, YAML say.
    """
    how = rng.random()
    if how < 0.7:
        what, tree = spoil(json.loads(text), rng)
        return what, write(tree).encode("utf-8", "surrogatepass")
    if how < 0.85:
        change = rng.choice(TEXT_CHANGES)
        return change.__name__, change(text, rng).encode()
    return damage(write(json.loads(text)).encode(), rng)
