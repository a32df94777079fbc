"""The tensors of a .safetensors file one by one: what each would be first, its numbers only when they are wanted."""

import json
from collections.abc import Collection
from pathlib import Path
from typing import IO, NamedTuple

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from pagoda.weights.file_types import WeightsError

DTYPES = {
    "F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16,
    "F8_E4M3": torch.float8_e4m3fn, "F8_E5M2": torch.float8_e5m2,
    "F8_E8M0": torch.float8_e8m0fnu, "C64": torch.complex64,
    "I64": torch.int64, "I32": torch.int32, "I16": torch.int16, "I8": torch.int8, "BOOL": torch.bool,
    "U64": torch.uint64, "U32": torch.uint32, "U16": torch.uint16, "U8": torch.uint8,
}  # fmt: skip


class Stored(NamedTuple):
    """A tensor in a file: its type, its shape and where its bytes begin."""

    dtype: torch.dtype
    shape: tuple[int, ...]
    start: int
    """of its bytes, from the beginning of the file"""


def read_header(path: str | Path) -> dict[str, Stored]:
    """{name: tensor} in the order of the file. Raises WeightsError for numbers of a kind torch does not know.

    Raises SafetensorError where the file is not whole, which is found out without reading it.

    >>> from tempfile import TemporaryDirectory
    >>> from safetensors.torch import save_file
    >>> with TemporaryDirectory() as folder:
    ...     save_file({"w": torch.ones(2, 3)}, Path(folder, "a.safetensors"))
    ...     read_header(Path(folder, "a.safetensors"))["w"].shape
    (2, 3)
    """
    with safe_open(str(path), framework="pt"):
        pass  # its header is sound: places that follow each other, sizes as the shapes say, up to the end
    with Path(path).open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(length))
    header.pop("__metadata__", None)
    stored = {}
    for name, entry in sorted(header.items(), key=lambda item: item[1]["data_offsets"]):
        if entry["dtype"] not in DTYPES:
            raise WeightsError(
                f"{path}: {name} holds numbers of the kind {entry['dtype']}, which is not read"
            )
        start = 8 + length + entry["data_offsets"][0]
        stored[name] = Stored(DTYPES[entry["dtype"]], tuple(entry["shape"]), start)
    return stored


def read_tensors(path: str | Path, names: Collection[str] | None = None) -> dict[str, Tensor]:
    """{name: tensor} of those names, or of all, on the CPU, in memory of their own: the file may go or change.

    >>> from tempfile import TemporaryDirectory
    >>> from safetensors.torch import save_file
    >>> with TemporaryDirectory() as folder:
    ...     save_file({"w": torch.ones(2), "b": torch.zeros(1)}, Path(folder, "a.safetensors"))
    ...     read_tensors(Path(folder, "a.safetensors"), ["w"])
    {'w': tensor([1., 1.])}
    """
    header = read_header(path)
    with Path(path).open("rb") as file:
        return {name: read_tensor(file, header[name]) for name in (header if names is None else names)}


def read_tensor(file: IO[bytes], stored: Stored) -> Tensor:
    """The tensor itself. Raises SafetensorError where the file ended meanwhile."""
    tensor = torch.empty(stored.shape, dtype=stored.dtype, device="cpu")
    content = tensor.view(-1).view(torch.uint8).numpy() if tensor.numel() else b""
    file.seek(stored.start)
    if len(content) and file.readinto(content) != len(content):  # type: ignore[attr-defined]
        raise SafetensorError("the file became shorter while it was read")
    return tensor
