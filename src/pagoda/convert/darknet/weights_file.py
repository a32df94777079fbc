"""Darknet's `.weights` files: a header, then float32 numbers, layer by layer, without a name or a shape."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import prod
from pathlib import Path
from struct import pack, unpack

import numpy as np
import torch
from torch import Tensor

from pagoda.files.text import refuse_endless
from pagoda.layers.darknet_layer import DarknetLayer, Shape, shapes_of
from pagoda.plain import checked
from pagoda.weights.file_types import WeightsError, check_exists
from pagoda.zoo.yolov1 import NETS, OF_MAPS, DarknetNet

PIECE = 2**22
"""numbers written at a time"""


@checked
@dataclass(frozen=True, kw_only=True)
class Header:
    """The first 16 or 20 bytes.

    >>> len(Header(major=0, minor=1).packed()), len(Header().packed()), Header(major=1001).is_transposed
    (16, 20, True)
    """

    major: int = 0
    """of darknet's version"""
    minor: int = 2
    """likewise"""
    revision: int = 0
    """likewise"""
    seen: int = 0
    """pictures it was trained on"""

    @property
    def is_long(self) -> bool:
        """`seen` has 8 bytes, not 4."""
        return self.major * 10 + self.minor >= 2 and self.major < 1000 and self.minor < 1000

    @property
    def is_transposed(self) -> bool:
        """Connected layers are stored input by input."""
        return self.major > 1000 or self.minor > 1000

    def packed(self) -> bytes:
        return pack("<iii", self.major, self.minor, self.revision) + pack(
            "<Q" if self.is_long else "<i", self.seen
        )

    def text(self) -> str:
        """The way into a card.

        >>> Header.parse(Header(seen=64123).text()).seen
        64123
        """
        return f"{self.major}.{self.minor}.{self.revision} seen {self.seen}"

    @classmethod
    def parse(cls, text: str) -> "Header":
        """What `text` wrote. Raises ValueError."""
        version, _, seen = text.partition(" seen ")
        major, minor, revision = (int(part) for part in version.split("."))
        return cls(major=major, minor=minor, revision=revision, seen=int(seen))


@checked
@dataclass(frozen=True)
class Entry:
    """One tensor of a file, under the name that it has in our model."""

    name: str
    """in the state dict"""
    shape: tuple[int, ...]
    """of our tensor"""
    is_matrix: bool = False
    """of a connected layer, which some files hold transposed"""


def entries_of(layers: Sequence[DarknetLayer], shape: Shape) -> list[Entry]:
    """What a file of a network that reads (channels, height, width) holds, in its order.

    >>> layer = DarknetLayer(kind="connected", outputs=5, batch_norm=True)
    >>> [entry.name.removeprefix("head.predict.") for entry in entries_of([layer], (3, 2, 2))][:3]
    ['norm.of_cells.bias', 'core.weight', 'norm.of_cells.weight']
    """
    found = []
    for layer, path, (before, after) in zip(
        layers, module_paths(layers), pairwise([shape, *shapes_of(layers, shape)]), strict=True
    ):
        found += _entries(layer, path, before, after)
    return found


def module_paths(layers: Sequence[DarknetLayer]) -> list[str]:
    """Where each layer is in our model: the trunk, the head, and its last.

    >>> convolution, last = DarknetLayer(kind="convolutional"), DarknetLayer(kind="connected")
    >>> module_paths([convolution, DarknetLayer(kind="dropout"), last])
    ['backbone.layers.0', 'head.layers.0', 'head.predict']
    """
    first = next((place for place, layer in enumerate(layers) if layer.kind not in OF_MAPS), len(layers))
    paths = [
        f"backbone.layers.{place}" if place < first else f"head.layers.{place - first}"
        for place in range(len(layers))
    ]
    return [*paths[:-1], "head.predict"]


def _entries(layer: DarknetLayer, path: str, before: Shape, after: Shape) -> list[Entry]:
    outputs, window = layer.outputs, (before[0], layer.size, layer.size)
    if layer.kind == "local":
        cells = after[1] * after[2]
        return [
            Entry(f"{path}.core.bias", (outputs, cells)),
            Entry(f"{path}.core.weight", (cells, outputs, prod(window))),
        ]
    if layer.kind not in ("convolutional", "connected"):
        return []
    is_connected = layer.kind == "connected"
    weight = Entry(
        f"{path}.core.weight", (outputs, prod(before)) if is_connected else (outputs, *window), is_connected
    )
    if not layer.batch_norm:
        return [Entry(f"{path}.core.bias", (outputs,)), weight]
    norm = f"{path}.norm.of_cells" if is_connected else f"{path}.norm"
    bias, *others = (
        Entry(f"{norm}.{name}", (outputs,)) for name in ("bias", "weight", "running_mean", "running_var")
    )
    return [bias, weight, *others] if is_connected else [bias, *others, weight]


def count_numbers(layers: Sequence[DarknetLayer], shape: Shape) -> int:
    """Numbers in a file, behind its header.

    >>> count_numbers(NETS["yolov1_tiny"].layers, (3, 448, 448))
    27099950
    """
    return sum(prod(entry.shape) for entry in entries_of(layers, shape))


def guess_net(path: str | Path) -> tuple[str, DarknetNet] | None:
    """(name, network) of the one published network whose files have exactly this many bytes; None: of none."""
    size = Path(path).stat().st_size
    fitting = [
        (name, net)
        for name, net in NETS.items()
        if size - 4 * count_numbers(net.layers, (3, *net.canvas)) == len(read_header(path).packed())
    ]
    return fitting[0] if len(fitting) == 1 else None


def read_header(path: str | Path) -> Header:
    """The header of a file. Raises WeightsError where there is less, and FileNotFoundError."""
    path = Path(path)
    check_exists(path)
    refuse_endless(path)
    with path.open("rb") as file:
        start = file.read(20)
    if len(start) < 16:
        raise WeightsError(
            f"{path} is no weights file of darknet: a header has 16 bytes or 20, got {len(start)}"
        )
    major, minor, revision = unpack("<iii", start[:12])
    header = Header(major=major, minor=minor, revision=revision)
    if header.is_long and len(start) < 20:
        raise WeightsError(
            f"{path} is no whole weights file of darknet: its header has 20 bytes, got {len(start)}"
        )
    (seen,) = unpack("<Q", start[12:20]) if header.is_long else unpack("<i", start[12:16])
    if not -(2**31) <= seen < 2**63:
        raise WeightsError(f"{path} is no weights file of darknet: it was trained on {seen} pictures")
    return Header(major=major, minor=minor, revision=revision, seen=seen)


def read_weights(path: str | Path, entries: Sequence[Entry]) -> tuple[Header, dict[str, Tensor]]:
    """(header, {our name: tensor}). Raises WeightsError, with the bytes expected and found, where a file has more or
    less than the entries."""
    path = Path(path)
    header = read_header(path)
    expected = len(header.packed()) + 4 * sum(prod(entry.shape) for entry in entries)
    found = path.stat().st_size
    if found != expected:
        cut = "shorter: the download was cut off, or" if found < expected else "longer:"
        raise WeightsError(
            f"{path} has {found:,} bytes, but the network has {expected:,} in a file with this header; it is {cut} the"
            " .cfg is of another network"
        )
    tensors = {}
    with path.open("rb") as file:
        file.seek(len(header.packed()))
        for entry in entries:
            numbers = np.fromfile(file, dtype="<f4", count=prod(entry.shape))
            values = torch.from_numpy(numbers.astype(np.float32, copy=False))
            if entry.is_matrix and header.is_transposed:
                values = values.reshape(entry.shape[::-1]).t().contiguous()
            tensors[entry.name] = values.reshape(entry.shape)
    return header, tensors


def write_weights(
    path: str | Path, header: Header, entries: Sequence[Entry], tensors: Mapping[str, Tensor]
) -> None:
    """A file that holds these tensors in the entries' order."""
    with Path(path).open("wb") as file:
        file.write(header.packed())
        for entry in entries:
            values = tensors[entry.name].detach().cpu().float()
            if entry.is_matrix and header.is_transposed:
                values = values.t()
            for piece in values.contiguous().reshape(-1).split(PIECE):
                file.write(piece.numpy().astype("<f4", copy=False).tobytes())
