"""Weights on disk: safetensors with a JSON card inside. Nothing read here can run code."""

import json
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from pagoda.files.atomic import write_atomically
from pagoda.files.text import DEEPEST, nesting
from pagoda.weights.file_types import WeightsError, check_exists, kind_of
from pagoda.weights.state_dict import read_foreign
from pagoda.weights.tensors import read_tensors

CARD_KEY = "pagoda"
LONGEST_CARD = 2**24
"""letters"""


def save_weights(path: str | Path, state: Mapping[str, Tensor], card: Mapping[str, Any]) -> Path:
    """Write tensors and card as one .safetensors file, atomically; the same content gives the same bytes."""
    # Copies: the format refuses tensors that share memory, as the weights of a head used twice do.
    tensors = {name: tensor.detach().to("cpu", copy=True).contiguous() for name, tensor in state.items()}
    metadata = {CARD_KEY: json.dumps(card), "format": "pt"}

    def write(draft: Path) -> None:
        try:
            save_file(tensors, draft, metadata)
        except SafetensorError as error:  # how the library tells of a full disk
            raise OSError(str(error)) from error
        _sort_metadata(draft)

    return write_atomically(path, write)


def state_hash(state: Mapping[str, Tensor]) -> str:
    """A SHA-256 of names, types, shapes and values, whatever file they come from."""
    digest = sha256()
    for name, tensor in sorted(state.items()):
        values = tensor.detach().cpu().contiguous()
        digest.update(f"{name} {values.dtype} {tuple(values.shape)}\n".encode())
        digest.update(values.reshape(-1).view(torch.uint8).numpy())
    return digest.hexdigest()


def _sort_metadata(path: Path) -> None:
    """The library writes it in another order each time; a file's hash should tell its content."""
    with path.open("r+b") as file:
        length = int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(length))
        header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
        text = json.dumps(header, ensure_ascii=False, separators=(",", ":")).encode()
        if len(text) <= length:  # as the library, which pads with blanks, spells it; else all stays as it is
            file.seek(8)
            file.write(text.ljust(length))


def save_torch(path: str | Path, content: Any) -> None:
    """`torch.save` in place, with the system's reason in an OSError where it cannot be written."""
    try:
        with open(path, "wb") as file:
            torch.save(content, file)
    except RuntimeError as error:  # how torch tells of a full disk, and of whatever else came while it wrote
        cause = error.__context__
        if isinstance(cause, KeyboardInterrupt):
            raise cause from None
        raise OSError(str(cause or error)) from error


def has_card(path: str | Path) -> bool:
    """Whether the file is a checkpoint of ours. Raises FileNotFoundError."""
    check_exists(path)
    if is_torch_file(Path(path)):
        return False
    try:
        with safe_open(str(path), framework="pt") as file:
            return CARD_KEY in (file.metadata() or {})
    except SafetensorError:
        return False


def read_card(path: str | Path) -> dict[str, Any]:
    """The card alone. Raises WeightsError when the file is no checkpoint of ours."""
    check_exists(path)
    try:
        with safe_open(str(path), framework="pt") as file:
            metadata = file.metadata() or {}
    except SafetensorError as error:
        raise WeightsError(explain_unreadable(Path(path), error)) from error
    except UnicodeDecodeError as error:
        raise WeightsError(explain_unreadable(Path(path), error)) from error
    if CARD_KEY not in metadata:
        raise WeightsError(
            f"{path} holds tensors but no card, so the model cannot be rebuilt from it; build the model with"
            " create_model and hand the file over as backbone_weights, or load it with load_state_dict"
        )
    return _parsed(metadata[CARD_KEY], path)


def _parsed(text: str, path: str | Path) -> dict[str, Any]:
    """The card in a file's text."""
    if len(text) > LONGEST_CARD or nesting(text) > DEEPEST:
        raise WeightsError(
            f"{path}: its card is refused: {len(text)} letters, nested {nesting(text)} deep; at most {LONGEST_CARD}"
            f" and {DEEPEST} are read"
        )
    try:
        card = json.loads(text)
    except ValueError as error:
        raise WeightsError(f"{path}: its card is no JSON ({error}); the file is damaged") from error
    if not isinstance(card, dict):
        raise WeightsError(f"{path}: its card should be entries by name, got {type(card).__name__}")
    return card


def load_weights(path: str | Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """(tensors, card) of a checkpoint."""
    card = read_card(path)
    return read_tensors(path), card


def read_state_dict(path: str | Path, *, take: str | None = None) -> dict[str, Tensor]:
    """The tensors of a weights file of any program; what else it holds, and `take`: see `read_foreign`."""
    return read_foreign(path, take=take).tensors


def is_torch_file(path: Path) -> bool:
    """A zip archive or a bare pickle, by its first bytes."""
    return kind_of(path) != "safetensors"


def explain_unreadable(path: Path, error: Exception) -> str:
    """Why a file is not the checkpoint somebody took it for, and what to do."""
    if is_torch_file(path):
        return (
            f"{path} is a PyTorch pickle, not a checkpoint of Pagoda (.safetensors);"
            " backbone weights in that form go to backbone_weights"
        )
    size = path.stat().st_size
    return f"{path} is not a whole .safetensors file ({size} bytes; {error}): truncated or another format?"
