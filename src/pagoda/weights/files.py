"""Weights on disk: safetensors with a JSON card inside. Nothing read here can run code."""

import json
import shutil
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from pagoda.files.text import DEEPEST, nesting
from pagoda.plain import JsonObject
from pagoda.weights.file_types import WeightsError, check_exists, kind_of
from pagoda.weights.tensors import read_tensors

CARD_KEY = "pagoda"
LONGEST_CARD = 2**24
"""letters"""


def save_weights(path: str | Path, state: Mapping[str, Tensor], card: Mapping[str, object]) -> Path:
    """Write tensors and card as one .safetensors file, atomically; the same content gives the same bytes.

    Raises OSError where it cannot be written.

    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     path = save_weights(Path(folder, "a.safetensors"), {"w": torch.ones(2)}, {"model": "mine"})
    ...     path.name, read_card(path), load_weights(path)[0]
    ('a.safetensors', {'model': 'mine'}, {'w': tensor([1., 1.])})
    """
    from pagoda.files.atomic import write_atomically  # a model that is only loaded writes nothing

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


def change_card(path: str | Path, card: Mapping[str, object]) -> Path:
    """Another card in a checkpoint of ours, whose tensors stay as they are, byte by byte; whole or not at all.

    A link stays one: the file that it leads to changes. Raises WeightsError where the file is no checkpoint of ours,
    OSError where it cannot be written.

    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     path = save_weights(Path(folder, "a.safetensors"), {"w": torch.ones(2)}, {"model": "mine"})
    ...     read_card(change_card(path, {"model": "yours"})), load_weights(path)[0]
    ({'model': 'yours'}, {'w': tensor([1., 1.])})
    """
    from pagoda.files.atomic import write_atomically

    read_card(path)
    place = Path(path).resolve()

    def write(draft: Path) -> None:
        with place.open("rb") as old, draft.open("wb") as new:
            header = json.loads(old.read(int.from_bytes(old.read(8), "little")))
            header["__metadata__"][CARD_KEY] = json.dumps(card)
            text = json.dumps(header, ensure_ascii=False, separators=(",", ":")).encode()
            text = text.ljust(
                -(-len(text) // 8) * 8
            )  # the format wants the tensors to begin at a multiple of 8
            new.write(len(text).to_bytes(8, "little") + text)
            shutil.copyfileobj(old, new, 2**20)

    write_atomically(place, write)
    return Path(path)


def state_hash(state: Mapping[str, Tensor]) -> str:
    """A SHA-256 of names, types, shapes and values, whatever file they come from.

    >>> state_hash({"w": torch.ones(2)})[:8], state_hash({"w": torch.ones(1, 2)})[:8]
    ('2b95105f', '34535baf')
    """
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


def save_torch(path: str | Path, content: object) -> None:
    """`torch.save` in place, with the system's reason in an OSError where it cannot be written.

    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     save_torch(Path(folder, "a.pth"), {"step": 3})
    ...     torch.load(Path(folder, "a.pth"))
    {'step': 3}
    """
    try:
        with open(path, "wb") as file:
            torch.save(content, file)
    except RuntimeError as error:  # how torch tells of a full disk, and of whatever else came while it wrote
        cause = error.__context__
        if isinstance(cause, KeyboardInterrupt):
            raise cause from None
        raise OSError(str(cause or error)) from error


def has_card(path: str | Path) -> bool:
    """Whether the file is a checkpoint of ours. Raises FileNotFoundError.

    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     save_torch(Path(folder, "a.pth"), {"w": torch.ones(2)})
    ...     has_card(Path(folder, "a.pth")), has_card(save_weights(Path(folder, "a.safetensors"), {}, {}))
    (False, True)
    """
    check_exists(path)
    if _is_torch_file(Path(path)):
        return False
    try:
        with safe_open(str(path), framework="pt") as file:
            return CARD_KEY in (file.metadata() or {})
    except SafetensorError:
        return False


def read_card(path: str | Path) -> JsonObject:
    """The card alone. Raises WeightsError when the file is no checkpoint of ours.

    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     read_card(save_weights(Path(folder, "a.safetensors"), {"w": torch.ones(2)}, {"model": "mine"}))
    {'model': 'mine'}
    """
    check_exists(path)
    try:
        with safe_open(str(path), framework="pt") as file:
            metadata = file.metadata() or {}
    except SafetensorError as error:
        raise WeightsError(_explain_unreadable(Path(path), error)) from error
    except UnicodeDecodeError as error:
        raise WeightsError(_explain_unreadable(Path(path), error)) from error
    if CARD_KEY not in metadata:
        raise WeightsError(
            f"{path} holds tensors but no card, so the model cannot be rebuilt from it; build the model with"
            " create_model and hand the file over as backbone_weights, or load it with load_state_dict"
        )
    return _parsed(metadata[CARD_KEY], path)


def _parsed(text: str, path: str | Path) -> JsonObject:
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


def load_weights(path: str | Path) -> tuple[dict[str, Tensor], JsonObject]:
    """(tensors, card) of a checkpoint.

    Raises WeightsError where the file is no checkpoint of ours.

    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     path = save_weights(Path(folder, "a.safetensors"), {"w": torch.ones(2)}, {"model": None})
    ...     tensors, card = load_weights(path)
    >>> tensors, card
    ({'w': tensor([1., 1.])}, {'model': None})
    """
    card = read_card(path)
    return read_tensors(path), card


def _is_torch_file(path: Path) -> bool:
    """A zip archive or a bare pickle, by its first bytes."""
    return kind_of(path) != "safetensors"


def _explain_unreadable(path: Path, error: Exception) -> str:
    """Why a file is not the checkpoint somebody took it for, and what to do."""
    if _is_torch_file(path):
        return (
            f"{path} is a PyTorch pickle, not a checkpoint of Pagoda (.safetensors);"
            " backbone weights in that form go to backbone_weights"
        )
    size = path.stat().st_size
    return f"{path} is not a whole .safetensors file ({size} bytes; {error}): truncated or another format?"
