"""Weights on disk: safetensors with a JSON card inside. Nothing read here can run code."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from pagoda.atomic import write_atomically

CARD_KEY = "pagoda"


class WeightsError(ValueError):
    """A weights file that cannot be used; the message names the file, what is wrong and what to do."""


def save_weights(path: str | Path, state: Mapping[str, Tensor], card: Mapping[str, Any]) -> Path:
    """Write tensors and card as one .safetensors file, atomically."""
    # Copies: the format refuses tensors that share memory, as the weights of a head used twice do.
    tensors = {name: tensor.detach().to("cpu", copy=True).contiguous() for name, tensor in state.items()}
    metadata = {CARD_KEY: json.dumps(card), "format": "pt"}
    try:
        return write_atomically(path, lambda temporary: save_file(tensors, temporary, metadata))
    except SafetensorError as error:  # how the library tells of a full disk
        raise OSError(f"could not write {path}: {error}; free some space or choose another folder") from error


def read_card(path: str | Path) -> dict[str, Any]:
    """The card alone. Raises WeightsError when the file is no checkpoint of ours."""
    check_exists(path)
    try:
        with safe_open(str(path), framework="pt") as file:
            metadata = file.metadata() or {}
    except SafetensorError as error:
        raise WeightsError(explain_unreadable(Path(path), error)) from error
    if CARD_KEY not in metadata:
        raise WeightsError(
            f"{path} holds tensors but no card, so the model cannot be rebuilt from it; build the model with"
            " create_model and hand the file over as backbone_weights, or load it with load_state_dict"
        )
    return json.loads(metadata[CARD_KEY])


def load_weights(path: str | Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """(tensors, card) of a checkpoint."""
    card = read_card(path)
    return load_file(str(path)), card


def read_state_dict(path: str | Path) -> dict[str, Tensor]:
    """The tensors of a .safetensors file or a PyTorch .pth that holds nothing but tensors.

    A `.pth` may be a state dict or wrap one under "model" or "state_dict".
    """
    check_exists(path)
    path = Path(path)
    if not is_torch_file(path):
        try:
            return load_file(str(path))
        except SafetensorError as error:
            raise WeightsError(explain_unreadable(path, error)) from error
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged pickle fails in a dozen ways; every one is told with its cause
        reason = (str(error).splitlines() or ["the file ends too soon"])[0]
        raise WeightsError(
            f"{path} is refused: it is truncated or a pickle that holds more than tensors, which could run"
            f" code when opened ({type(error).__name__}: {reason}). Save its state_dict alone with the"
            " program it is from"
        ) from error
    for key in ("model", "state_dict"):
        if isinstance(content, dict) and isinstance(content.get(key), dict):
            content = content[key]
    if not isinstance(content, dict) or not all(isinstance(value, Tensor) for value in content.values()):
        raise WeightsError(f"{path} should hold a state dict (name → tensor), got {type(content).__name__}")
    return content


def check_exists(path: str | Path) -> None:
    """Raises FileNotFoundError."""
    if not Path(path).is_file():
        raise FileNotFoundError(f"no weights file at {path}")


def is_torch_file(path: Path) -> bool:
    """A zip archive or a bare pickle, by its first bytes."""
    with path.open("rb") as file:
        start = file.read(2)
    return start == b"PK" or start[:1] == b"\x80"


def explain_unreadable(path: Path, error: Exception) -> str:
    """Why a file is not the checkpoint somebody took it for, and what to do."""
    if is_torch_file(path):
        return (
            f"{path} is a PyTorch pickle, not a checkpoint of Pagoda (.safetensors);"
            " backbone weights in that form go to backbone_weights"
        )
    size = path.stat().st_size
    return f"{path} is not a whole .safetensors file ({size} bytes; {error}): truncated or another format?"
