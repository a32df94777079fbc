"""The list of all pictures on the disk, a line each, in blocks that are looked at one by one."""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from pagoda.cluster.sources import Place
from pagoda.files.text import json_text, parse_json

BLOCK = 64
"""pictures in each block but the last: what is done anew where a process dies"""


class Block(NamedTuple):
    """Neighbours in the list."""

    number: int
    """from 0; their results are in the part of that number"""
    start: int
    """of its first line, in bytes of the list"""
    size: int
    """bytes"""
    num_pictures: int


@dataclass(frozen=True)
class Listing:
    """What a list holds."""

    blocks: list[Block]
    """in order"""
    sha256: str
    """of its bytes"""

    @property
    def num_pictures(self) -> int:
        return sum(block.num_pictures for block in self.blocks)


def write_listing(places: Iterable[Place], path: Path) -> Listing:
    """The list at `path`, and what it holds.

    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     path = Path(folder, "sources.jsonl")
    ...     listing = write_listing((Place(f"{n}.png", f"/a/{n}.png") for n in range(65)), path)
    ...     last = read_block(path, listing.blocks[1])
    >>> [block.num_pictures for block in listing.blocks], last
    ([64, 1], [Place(file='64.png', at='/a/64.png', row=None)])
    """
    digest, blocks, start = hashlib.sha256(), [], 0
    with path.open("wb") as file:
        remaining = iter(places)
        while some := list(islice(remaining, BLOCK)):
            text = "".join(f"{json_text(list(place))}\n" for place in some).encode()
            file.write(text)
            digest.update(text)
            blocks.append(Block(len(blocks), start, len(text), len(some)))
            start += len(text)
    return Listing(blocks, digest.hexdigest())


def read_block(path: Path, block: Block) -> list[Place]:
    """The pictures of a block."""
    with path.open("rb") as file:
        file.seek(block.start)
        return [Place(*parse_json(line)) for line in file.read(block.size).splitlines()]
