"""Seeded damage of the documents that annotations are: JSON, YAML, XML, lines of text, pictures.

`spoil_file(path, content, rng)` knows by the file's ending what it may damage, and gives what it did and the result.
"""

import copy
import json
import struct
import zlib
from pathlib import Path
from random import Random
from xml.etree import ElementTree

import yaml
from mutations import DEEP, damage, spoil_text

WORDS = (
    "", "x", "-1", "0", "1.5", "7", "1e309", "-1e300", "nan", "inf", "9" * 400, "9" * 5000, "0x10", "1_000", "٣", "½",
    "1000000000", "1e15", "人", "\x00", "\x1b[31m", "../../x", "/etc/passwd", "~", "a" * 5000, "1,2", "'", '"', "[",
    "&", "#", "%", "=",
)  # fmt: skip
"""what stands in a text file where a name or number was expected"""
SIDES = (0, 1, 7, 20_000, 32_767, 65_535, 100_000, 2**31 - 1, 2**32 - 1)
"""pixels, as headers of pictures may claim"""
BOMB = '<!DOCTYPE a [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;&a;&a;">]>'


def spoil_lines(content: bytes, rng: Random) -> tuple[str, bytes]:
    """A word swapped, a line gone, doubled, cut or run together with the next; or the bytes."""
    how = rng.choice(("word", "word", "word", "word", "gone", "double", "cut", "join", "bytes"))
    lines = content.decode().splitlines()
    if how == "bytes" or not lines:
        return damage(content, rng)
    at = rng.randrange(len(lines))
    if how == "gone":
        del lines[at]
    elif how == "double":
        lines.insert(at, lines[at])
    elif how == "cut":
        lines[at] = lines[at][: rng.randrange(len(lines[at]) + 1)]
    elif how == "join":
        lines[at : at + 2] = ["".join(lines[at : at + 2])]
    else:
        lines[at] = _swap_word(lines[at], rng)
    return f"{how} in line {at + 1}", "\n".join(lines).encode() + b"\n"


def _swap_word(line: str, rng: Random) -> str:
    separator = next((sign for sign in (",", "=", " ") if sign in line), " ")
    words = line.split(separator)
    words[rng.randrange(len(words))] = rng.choice(WORDS)
    return separator.join(words)


def spoil_yaml(content: bytes, rng: Random) -> tuple[str, bytes]:
    return spoil_text(json.dumps(yaml.safe_load(content)), rng, lambda tree: yaml.safe_dump(tree))


def spoil_xml(content: bytes, rng: Random) -> tuple[str, bytes]:
    """A text swapped, an element gone, doubled, renamed or nested; entities; or the bytes."""
    how = rng.choice(
        ("text", "text", "text", "gone", "double", "rename", "nest", "bomb", "encoding", "bytes")
    )
    if how == "bytes":
        return damage(content, rng)
    if how == "bomb":
        return how, BOMB.encode() + content.replace(b"cat", b"&b;")
    if how == "encoding":
        name = rng.choice((b"utf-16", b"latin-1", b"utf-7", b"none", b"cp1252"))
        return how, b'<?xml version="1.0" encoding="' + name + b'"?>' + content
    root = copy.deepcopy(ElementTree.fromstring(content))
    parents = {child: parent for parent in root.iter() for child in parent}
    child = rng.choice(list(parents))
    if how == "text":
        child.text = rng.choice([word for word in WORDS if "\x00" not in word and "\x1b" not in word])
    elif how == "gone":
        parents[child].remove(child)
    elif how == "double":
        parents[child].append(copy.deepcopy(child))
    elif how == "rename":
        child.tag = rng.choice(("x", "name", "object", "bndbox", "xmin"))
    text = ElementTree.tostring(root)
    if how == "nest":
        text = text.replace(b"<name>", b"<a>" * DEEP + b"</a>" * DEEP + b"<name>")
    return f"{how} {child.tag}", text


def spoil_picture(content: bytes, rng: Random) -> tuple[str, bytes]:
    """A PNG of other sides than its pixels, another file under its name, or the bytes."""
    how = rng.choice(("sides", "other", "bytes", "bytes"))
    if how == "bytes":
        return damage(content, rng)
    if how == "other":
        return how, rng.choice(
            (b"", b"{}", b"GIF89a" + b"\xff" * 20, b"BM" + b"\xff" * 60, b"II*\x00" + b"\xff" * 60)
        )
    header = struct.pack(">II", rng.choice(SIDES), rng.choice(SIDES)) + content[24:29]
    return how, content[:16] + header + struct.pack(">I", zlib.crc32(content[12:16] + header)) + content[33:]


def spoil_json(content: bytes, rng: Random) -> tuple[str, bytes]:
    return spoil_text(content.decode(), rng)


def spoil_rows(content: bytes, rng: Random) -> tuple[str, bytes]:
    """One JSON document of several, a line each; or a line as text."""
    if rng.random() < 0.4:
        return spoil_lines(content, rng)
    lines = content.splitlines(keepends=True)
    at = rng.randrange(len(lines))
    what, line = spoil_json(lines[at], rng)
    return f"line {at + 1}: {what}", b"".join([*lines[:at], line, b"\n", *lines[at + 1 :]])


def spoil_file(path: Path, content: bytes, rng: Random) -> tuple[str, bytes]:
    """(what was done, the content after it)."""
    by_ending = {
        ".json": spoil_json,
        ".jsonl": spoil_rows,
        ".xml": spoil_xml,
        ".yaml": spoil_yaml,
        ".png": spoil_picture,
    }
    return by_ending.get(path.suffix.lower(), spoil_lines)(content, rng)
