"""ONNX files with one output less, and without what only that one needs: ONNX Runtime computes all that a file holds,
whatever it is asked for (its `only_execute_path_to_fetches` works in builds for training alone).

Protocol buffers are read as they lie in the file, field by field; everything else stays byte by byte. This file stands
in Pagoda and in pagoda-runtime, the same in both.
"""

from collections.abc import Iterator

# Numbers of fields, as onnx.proto has them.
GRAPH, NODE, INITIALIZER, OUTPUT = 7, 1, 5, 12
NAME_OF_VALUE, NAME_OF_TENSOR = 1, 8
NODE_INPUT, NODE_OUTPUT, NODE_ATTRIBUTE = 1, 2, 5
SUBGRAPH, SUBGRAPHS = 6, 11

Field = tuple[int, memoryview, memoryview]
"""(number, the whole field, its content)"""


def without_output(model: bytes, name: str, unless_lacking: str) -> bytes | None:
    """The model without its output `name`; None where it has none of that name, or lacks the other one.

    None also for bytes that are no model: whoever opens them next says what is wrong.

    >>> without_output(b"no model", "masks", "mask_probabilities") is None
    True
    """
    try:
        parts = list(fields(memoryview(model)))
        (graph,) = [content for number, _, content in parts if number == GRAPH]
        fewer = _graph_without(list(fields(graph)), name, unless_lacking)
    except (ValueError, IndexError, RecursionError):
        return None
    if fewer is None:
        return None
    head = bytes([GRAPH << 3 | 2]) + varint(len(fewer))
    return b"".join(head + fewer if number == GRAPH else bytes(whole) for number, whole, _ in parts)


def _graph_without(parts: list[Field], name: str, unless_lacking: str) -> bytes | None:
    outputs = {text(content, NAME_OF_VALUE) for number, _, content in parts if number == OUTPUT}
    if not {name, unless_lacking} <= outputs:
        return None
    needed = outputs - {name}
    for number, _, content in reversed(parts):  # a node stands behind those whose results it reads
        if number == NODE and needed & names(content, NODE_OUTPUT):
            needed |= read_by(content)

    def stays(number: int, content: memoryview) -> bool:
        if number == NODE:
            return bool(needed & names(content, NODE_OUTPUT))
        if number == INITIALIZER:
            return text(content, NAME_OF_TENSOR) in needed
        return number != OUTPUT or text(content, NAME_OF_VALUE) != name

    return b"".join(whole for number, whole, content in parts if stays(number, content))


def read_by(node: memoryview) -> set[str]:
    """Names of all values that a node may read, those that its subgraphs take from outside among them."""
    found = names(node, NODE_INPUT)
    for graph in subgraphs(node):
        inner = list(fields(graph))
        found |= {text(content, NAME_OF_VALUE) for number, _, content in inner if number == OUTPUT}
        found |= set().union(*(read_by(content) for number, _, content in inner if number == NODE))
    return found


def subgraphs(node: memoryview) -> list[memoryview]:
    """The graphs that a node runs: the branches of an If, the body of a Scan."""
    attributes = [content for number, _, content in fields(node) if number == NODE_ATTRIBUTE]
    return [
        content
        for attribute in attributes
        for number, _, content in fields(attribute)
        if number in (SUBGRAPH, SUBGRAPHS)
    ]


def names(message: memoryview, field: int) -> set[str]:
    """The texts that stand in a field of a message."""
    return {str(content, "utf-8") for number, _, content in fields(message) if number == field}


def text(message: memoryview, field: int) -> str:
    """The one text in a field of a message, "" where there is none."""
    return next((str(content, "utf-8") for number, _, content in fields(message) if number == field), "")


def fields(message: memoryview) -> Iterator[Field]:
    """The fields of a message, in their order. Raises ValueError or IndexError for what is none."""
    at = 0
    while at < len(message):
        start = at
        key, at = read_varint(message, at)
        kind = key & 7
        if kind == 0:
            end = read_varint(message, at)[1]
        elif kind == 2:
            size, at = read_varint(message, at)
            end = at + size
        elif kind in (1, 5):
            end = at + (8 if kind == 1 else 4)
        else:
            raise ValueError(f"expected a field of kind 0, 1, 2 or 5, got {kind}")
        if end > len(message):
            raise ValueError(f"expected {end} bytes at least, got {len(message)}")
        yield key >> 3, message[start:end], message[at:end]
        at = end


def read_varint(message: memoryview, at: int) -> tuple[int, int]:
    """(the number that begins at `at`, where it ends): seven bits a byte, lowest first, the eighth if more follow."""
    value = shift = 0
    while True:
        byte = message[at]
        value, shift, at = value | (byte & 127) << shift, shift + 7, at + 1
        if byte < 128:
            return value, at


def varint(value: int) -> bytes:
    """What `read_varint` reads.

    >>> read_varint(memoryview(varint(300)), 0)
    (300, 2)
    """
    written = bytearray()
    while value > 127:
        written.append(value & 127 | 128)
        value >>= 7
    return bytes([*written, value])
