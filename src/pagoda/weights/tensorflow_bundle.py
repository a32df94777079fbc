"""Variables of a TensorFlow checkpoint ("tensor bundle") without TensorFlow.

NAME.index is a sorted table (LevelDB's): blocks of entries whose keys share prefixes with the one before, an index
block with the place of each, and a footer. An entry's value is a small protocol buffer: dtype, shape, file, offset
and size of the numbers in NAME.data-SHARD-of-SHARDS.
"""

import struct
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from pagoda.weights.file_types import WeightsError
from pagoda.weights.pickles import damaged

FOOTER, TRAILER, MAGIC = 48, 5, 0xDB4775248B80FB57
DTYPES = {1: "<f4", 2: "<f8", 3: "<i4", 4: "u1", 6: "i1", 9: "<i8", 10: "?", 19: "<f2"}
LONGEST_KEYS = 64
"""letters of names for each byte of an index: entries share beginnings with the one before"""
Fields = dict[int, list[int | bytes]]


def read_bundle(prefix: str | Path) -> dict[str, np.ndarray]:
    """{name: value} of the numeric variables of the checkpoint PREFIX.index. Raises WeightsError for broken files."""
    prefix = Path(prefix)
    index = prefix.with_name(f"{prefix.name}.index")
    if not index.is_file():
        raise WeightsError(f"{index} is missing: a TensorFlow checkpoint has an index beside its data")
    try:
        return _variables(prefix, index)
    except WeightsError:
        raise
    except Exception as error:  # a damaged table fails in a dozen ways; every one is told with its cause
        raise damaged(index, error) from error


def _variables(prefix: Path, index: Path) -> dict[str, np.ndarray]:
    entries = dict(_table_entries(index.read_bytes(), index))
    header = _parse_fields(entries.pop(b"", b""))
    shards = int(header.get(1, [1])[0])
    variables = {}
    for key, value in entries.items():
        fields = _parse_fields(value)
        dtype = DTYPES.get(int(fields.get(1, [0])[0]))
        if dtype is None or 7 in fields:  # text, or a slice of a partitioned variable
            continue
        shard, offset, size = (int(fields.get(number, [0])[0]) for number in (3, 4, 5))
        data = prefix.with_name(f"{prefix.name}.data-{shard:05d}-of-{shards:05d}")
        if not data.is_file():
            raise WeightsError(f"{data} is missing: {index.name} says that variables are in it")
        shape = _shape_of(fields)
        count = size // np.dtype(dtype).itemsize
        if count != int(np.prod(shape, dtype=np.int64)):
            raise WeightsError(
                f"{index}: {key.decode()} has {size} bytes, which do not fit its shape {shape}"
            )
        if offset + size > data.stat().st_size:
            raise WeightsError(f"{data} ends before {key.decode()}: it is cut short")
        numbers = np.fromfile(data, dtype, count, offset=offset)
        variables[key.decode()] = numbers.reshape(shape)
    return variables


def _shape_of(fields: Fields) -> tuple[int, ...]:
    """Of an entry's TensorShapeProto: its dims' sizes."""
    sides = [
        _parse_fields(bytes(dim))
        for part in fields.get(2, [])
        for dim in _parse_fields(bytes(part)).get(2, [])
    ]
    return tuple(int(side.get(1, [0])[0]) for side in sides)


def _table_entries(content: bytes, where: Path) -> Iterator[tuple[bytes, bytes]]:
    """(key, value) in order."""
    if len(content) < FOOTER or struct.unpack("<Q", content[-8:])[0] != MAGIC:
        raise WeightsError(
            f"{where} is no index of a TensorFlow checkpoint: it does not end in the table's mark"
        )
    footer = content[-FOOTER:]
    _, at = _read_varint(footer, 0)
    _, at = _read_varint(footer, at)  # place and size of the table's notes on itself
    end = letters = 0
    for _, handle in _block_entries(content, *_read_handle(footer, at), where):
        start, size = _read_handle(handle, 0)
        if start < end:
            raise WeightsError(f"{where} is damaged: its blocks lie in each other")
        end = start + size
        for key, value in _block_entries(content, start, size, where):
            letters += len(key)
            if letters > LONGEST_KEYS * len(content):
                raise WeightsError(f"{where} is damaged: its names are longer than such a file can hold")
            yield key, value


def _block_entries(content: bytes, start: int, size: int, where: Path) -> Iterator[tuple[bytes, bytes]]:
    """(key, value) of one block."""
    if start + size + TRAILER > len(content) or size < 4:
        raise WeightsError(
            f"{where} is cut short: a block of {size} bytes at {start} in a file of {len(content)}"
        )
    if content[start + size] != 0:
        raise WeightsError(f"{where} is compressed, which TensorFlow's own checkpoints are not")
    block = content[start : start + size]
    restarts = struct.unpack("<I", block[-4:])[0]
    end, at, key = size - 4 * (restarts + 1), 0, b""
    while at < end:
        shared, at = _read_varint(block, at)
        fresh, at = _read_varint(block, at)
        length, at = _read_varint(block, at)
        key = key[:shared] + block[at : at + fresh]
        yield key, block[at + fresh : at + fresh + length]
        at += fresh + length


def _read_handle(content: bytes, at: int) -> tuple[int, int]:
    """(start, size) of a block."""
    start, at = _read_varint(content, at)
    return start, _read_varint(content, at)[0]


def _read_varint(content: bytes, at: int) -> tuple[int, int]:
    """A whole number in groups of seven bits, lowest first, and where it ends."""
    value = shift = 0
    while True:
        byte = content[at]
        value |= (byte & 127) << shift
        at, shift = at + 1, shift + 7
        if byte < 128:
            return value, at


def _parse_fields(content: bytes) -> Fields:
    """{field number: values} of a protocol buffer; nested messages and text stay bytes."""
    fields: Fields = {}
    at = 0
    while at < len(content):
        tag, at = _read_varint(content, at)
        value: int | bytes
        if tag & 7 == 0:
            value, at = _read_varint(content, at)
        elif tag & 7 == 2:
            length, at = _read_varint(content, at)
            value, at = content[at : at + length], at + length
        elif tag & 7 in (1, 5):
            length = 8 if tag & 7 == 1 else 4
            value, at = content[at : at + length], at + length
        else:
            raise ValueError(f"a protocol buffer with a field of unknown form {tag & 7}")
        fields.setdefault(tag >> 3, []).append(value)
    return fields
