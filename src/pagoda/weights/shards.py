"""Weights in several files, told by an index: {"weight_map": {tensor: file}} as model.safetensors.index.json."""

import hashlib
import re
import shlex
from collections.abc import Callable, Mapping
from pathlib import Path

from torch import Tensor

from pagoda.files.text import read_json
from pagoda.messages import counted, short_list
from pagoda.weights.file_types import WeightsError

INDEX = ".index.json"
SHARD = re.compile(r"(?P<name>.+)-\d+-of-\d+(?P<suffix>\.\w+)")
WEIGHTS = (".safetensors", ".pth", ".pt", ".pkl", ".ckpt", ".bin", ".weights")
DISTRIBUTED = ".distcp"
"""of the files of torch.distributed.checkpoint"""


def is_index(path: Path) -> bool:
    """Whether its name is that of an index.

    >>> is_index(Path("model.safetensors.index.json")), is_index(Path("model.safetensors"))
    (True, False)
    """
    return path.name.endswith(INDEX)


def weights_in(folder: Path) -> list[Path]:
    """The indices and weights files of a folder; none where it is no folder.

    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     for name in ("a.pth", "notes.txt"):
    ...         Path(folder, name).touch()
    ...     [path.name for path in weights_in(Path(folder))]
    ['a.pth']
    """
    if not folder.is_dir():
        return []
    return sorted(path for path in folder.iterdir() if path.name.endswith((*WEIGHTS, INDEX, DISTRIBUTED)))


def file_in(folder: Path) -> Path:
    """The index in a folder, or its one weights file. Raises WeightsError that names what could be given."""
    if any(path.name.endswith(DISTRIBUTED) for path in weights_in(folder)):
        raise WeightsError(_of_distributed(folder))
    files = [path for path in weights_in(folder) if not is_index(path)]
    indices = [path for path in weights_in(folder) if is_index(path)]
    found = indices or [path for path in files if not SHARD.fullmatch(path.name)]
    if len(found) == 1:
        return found[0]
    if found:
        raise WeightsError(f"{folder} is a folder: give one of {', '.join(str(path) for path in found[:6])}")
    if files:
        raise WeightsError(
            f"{folder} holds {files[0].name} and {len(files) - 1} more shards without their index (*{INDEX}),"
            " which says what is in which: fetch it into the same folder and give that"
        )
    raise WeightsError(f"{folder} is a folder without weights files ({', '.join(WEIGHTS)})")


def _of_distributed(folder: Path) -> str:
    return (
        f"{folder} is a checkpoint of torch.distributed.checkpoint; make one file of it and give that: python -m"
        f" torch.distributed.checkpoint.format_utils dcp_to_torch {shlex.quote(str(folder))}"
        f" {shlex.quote(f'{folder}.pth')}"
    )


def refuse_shard(path: Path) -> None:
    """Raises WeightsError where a file is only one of several, with what to give instead.

    >>> refuse_shard(Path("model.pth"))  # a file of its own: nothing is raised
    """
    if path.name.endswith(DISTRIBUTED):
        raise WeightsError(_of_distributed(path.parent))
    found = SHARD.fullmatch(path.name)
    if found is None or found["suffix"] not in WEIGHTS:
        return
    index = path.with_name(f"{found['name']}{found['suffix']}{INDEX}")
    if index.is_file():
        raise WeightsError(f"{path} is one of several files that hold the weights together: give {index}")
    raise WeightsError(
        f"{path} is one of several files that hold the weights together, and their index {index.name} is not"
        " beside it: fetch it and the other files into that folder, then give the index"
    )


def read_shards(index: Path, read: Callable[[Path], object]) -> dict[str, Tensor]:
    """All tensors that the index names. Raises WeightsError where a file or a tensor is not there."""
    places, tensors = _places(index), {}
    for file in dict.fromkeys(places.values()):
        content = read(index.parent / file)
        wanted = [name for name, there in places.items() if there == file]
        lacking = [name for name in wanted if not isinstance(content, Mapping) or name not in content]
        if lacking:
            raise WeightsError(
                f"{index.parent / file} lacks {counted(len(lacking), 'tensor')} that {index.name} expects there"
                f" ({short_list(lacking, 3)}): files of different versions? fetch all of them again"
            )
        assert isinstance(content, Mapping)
        tensors |= {name: content[name] for name in wanted}
    return tensors


def places_in(index: Path) -> dict[str, str]:
    """{tensor: file}. Raises WeightsError unless all files should lie beside the index.

    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     index = Path(folder, "a.index.json")
    ...     _ = index.write_text('{"weight_map": {"w": "a-1-of-1.pth"}}')
    ...     places_in(index)
    {'w': 'a-1-of-1.pth'}
    """
    content = read_json(index)
    places = content.get("weight_map") if isinstance(content, dict) else None
    if not isinstance(places, dict) or not places:
        raise WeightsError(f"{index} should hold {{'weight_map': {{tensor: file}}}}, but has no such entry")
    for file in places.values():
        if not isinstance(file, str) or file != Path(file).name or "\\" in file:
            raise WeightsError(f"{index} leads to {file!r}; its files should lie beside it")
    return places


def _places(index: Path) -> dict[str, str]:
    """{tensor: file}. Raises WeightsError unless all files lie beside the index."""
    places = places_in(index)
    absent = [file for file in dict.fromkeys(places.values()) if not (index.parent / file).is_file()]
    if absent:
        raise WeightsError(
            f"{index} leads to {short_list(absent, 4)}, not found in {index.parent}: fetch the missing files into"
            " that folder"
        )
    return places


def digest_of_shards(index: Path) -> str:
    """SHA-256 of all files one after the other in order of name, as `cat` and `sha256sum` would tell it."""
    digest = hashlib.sha256()
    for file in sorted(set(_places(index).values())):
        with (index.parent / file).open("rb") as stream:
            while piece := stream.read(1 << 20):
                digest.update(piece)
    return digest.hexdigest()


def sha256_of(path: str | Path) -> str:
    """The SHA-256 of a file, read in pieces; of an index of shards, of all of them.

    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     _ = Path(folder, "a.pth").write_bytes(b"abc")
    ...     sha256_of(Path(folder, "a.pth"))[:8]
    'ba7816bf'
    """
    if is_index(Path(path)):
        return digest_of_shards(Path(path))
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
