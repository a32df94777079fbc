"""Weights, cards, capsules, states and settings, damaged by the thousand: each ends in a sentence that names the file.

    python tests/faults/weights_and_cards.py --count 3000 [--seed 0] [--only capsule] [--show]

A damaged file may still be read; then it must do no harm. What counts as a fault: an exception that the command line
does not expect (a traceback), a message without the file's name, memory beyond twice what the whole file takes (and
`ROOM`), and more seconds than a whole file would ever need.
"""

import io
import json
import tempfile
import warnings
from collections.abc import Callable, Iterator
from contextlib import redirect_stdout, suppress
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import torch
import yaml
from limits import Tried, command, limited, most_held, multiple
from mutations import damage, spoil_text
from safetensors.torch import save_file

from pagoda.cli.arguments.parsing import read_labels
from pagoda.cli.main import EXPECTED
from pagoda.cli.replay import main as replay
from pagoda.cli.train import default_from
from pagoda.convert.recognise import open_foreign
from pagoda.models import create_model, load
from pagoda.recipes.resuming import config_of_run, settings_in
from pagoda.training.failed_batch import save_capsule
from pagoda.training.last import load_last, random_state, save_last
from pagoda.training.settings import TrainSettings, to_plain
from pagoda.weights.files import save_weights
from pagoda.weights.state_dict import read_foreign

ROOM = 2**28
"""bytes that any reader may take, for modules that are imported late"""
SECONDS = 60
SMALL = {"width": 8, "head_depth": 1, "base_channels": 8, "short_side": 32, "long_side": 32}


@dataclass(frozen=True)
class Kind:
    """A kind of file: how a whole one is made in a folder, what spoils its bytes, and what reads it."""

    make: Callable[[Path], Path]
    spoil: Callable[[bytes, Random], tuple[str, bytes]]
    read: Callable[[Path], object]


@cache
def small_model() -> Any:
    torch.manual_seed(0)
    return create_model("fcos_resnet18_fpn", num_classes=2, **SMALL)


def tensors() -> dict[str, torch.Tensor]:
    return {f"layer{i}.weight": torch.arange(60.0).reshape(3, 4, 5) for i in range(8)}


def of_ours(folder: Path) -> Path:
    model = small_model()
    return save_weights(folder / "a.safetensors", model.state_dict(), model.card())


def plain_safetensors(folder: Path) -> Path:
    save_file(tensors(), folder / "a.safetensors")
    return folder / "a.safetensors"


def spoil_card(content: bytes, rng: Random) -> tuple[str, bytes]:
    """The card's values within a sound file, or the file's bytes."""
    if rng.random() < 0.2:
        return damage(content, rng)
    length = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + length])
    what, card = spoil_text(header["__metadata__"]["pagoda"], rng)
    header["__metadata__"]["pagoda"] = card.decode("utf-8", "replace")
    text = json.dumps(header).encode()
    return what, len(text).to_bytes(8, "little") + text + content[8 + length :]


def spoil_header(content: bytes, rng: Random) -> tuple[str, bytes]:
    """What the header of a .safetensors file says of its tensors, or the file's bytes."""
    if rng.random() < 0.4:
        return damage(content, rng)
    length = int.from_bytes(content[:8], "little")
    what, text = spoil_text(content[8 : 8 + length].decode(), rng)
    return what, len(text).to_bytes(8, "little") + text + content[8 + length :]


def spoil_json(content: bytes, rng: Random) -> tuple[str, bytes]:
    return spoil_text(content.decode(), rng)


def spoil_yaml(content: bytes, rng: Random) -> tuple[str, bytes]:
    """Values and bytes, and aliases that stand for others of their kind."""
    if rng.random() < 0.1:
        lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
        lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, rng.choice((3, 9, 30)))]
        return "aliases of aliases", content + "\n".join(lines).encode()
    write = lambda tree: yaml.safe_dump(tree, allow_unicode=rng.random() < 0.5)  # noqa: E731
    return spoil_text(json.dumps(yaml.safe_load(content)), rng, write)


def torch_file(folder: Path, *, is_zip: bool = True) -> Path:
    content = {"model": tensors(), "epoch": 3, "cfg": {"a": [1, 2, {"b": None}]}}
    torch.save(content, folder / "a.pth", _use_new_zipfile_serialization=is_zip)
    return folder / "a.pth"


def bare_pickle(folder: Path) -> Path:
    import pickle

    blobs = {name: tensor.numpy() for name, tensor in tensors().items()}
    (folder / "a.pkl").write_bytes(pickle.dumps({"blobs": blobs, "cfg": "x: 1"}))
    return folder / "a.pkl"


def npz(folder: Path) -> Path:
    np.savez(folder / "a.npz", **{name: tensor.numpy() for name, tensor in tensors().items()})
    return folder / "a.npz"


def varint(value: int) -> bytes:
    groups = []
    while value > 127:
        groups.append(value & 127 | 128)
        value >>= 7
    return bytes([*groups, value])


def table(entries: dict[bytes, bytes]) -> bytes:
    """A block of a LevelDB table with one restart."""
    body = b"".join(
        varint(0) + varint(len(key)) + varint(len(value)) + key + value for key, value in entries.items()
    )
    return body + (0).to_bytes(4, "little") + (1).to_bytes(4, "little")


def bundle(folder: Path) -> Path:
    """A TensorFlow checkpoint of two variables, written by hand."""
    numbers = np.arange(12, dtype="<f4")
    (folder / "a.data-00000-of-00001").write_bytes(numbers.tobytes() * 2)
    entries = {b"": b"\x08\x01"}
    for number in range(2):
        shape = b"\x12\x08" + b"\x12\x02\x08\x03" + b"\x12\x02\x08\x04"
        entries[b"layer/kernel%d" % number] = (
            b"\x08\x01" + shape + b"\x20" + varint(48 * number) + b"\x28\x30"
        )
    block = table(entries)
    index = table({b"zzz": varint(0) + varint(len(block))})
    content = block + b"\x00" * 5 + index + b"\x00" * 5
    handles = varint(0) + varint(0) + varint(len(block) + 5) + varint(len(index))
    footer = handles.ljust(40, b"\x00") + (0xDB4775248B80FB57).to_bytes(8, "little")
    (folder / "a.index").write_bytes(content + footer)
    return folder / "a.index"


def shards(folder: Path) -> Path:
    save_file(tensors(), folder / "m-00001-of-00001.safetensors")
    index = {"weight_map": dict.fromkeys(tensors(), "m-00001-of-00001.safetensors")}
    (folder / "m.safetensors.index.json").write_text(json.dumps(index))
    return folder / "m.safetensors.index.json"


def capsule(folder: Path) -> Path:
    from pagoda.data.drawn.synthetic import DrawnShapes

    data = DrawnShapes(2, image_size=(64, 64), seed=0)
    pictures, targets = zip(*data, strict=True)
    facts = {"losses": {"class": 1.0}, "precision": "fp32", "channels_last": False, "step": 3}
    model = create_model("fcos_resnet18_fpn", num_classes=len(data.label_map), **SMALL)
    return save_capsule(folder / "capsule-step3.pt", model, pictures, targets, **facts)


def spoil_saved(content: bytes, rng: Random) -> tuple[str, bytes]:
    """Plain values within what torch.save wrote, or the file's bytes."""
    if rng.random() < 0.5:
        return damage(content, rng)
    tree = torch.load(io.BytesIO(content), weights_only=True)
    key = rng.choice(sorted(tree))
    from mutations import SWAPS, spoil

    try:
        what, tree[key] = spoil(json.loads(json.dumps(tree[key])), rng)
    except TypeError:  # tensors
        what, tree[key] = f"swap {key}", rng.choice((*SWAPS, torch.zeros(3), {"x": torch.zeros(2)}))
    if rng.random() < 0.1:
        del tree[key]
    written = io.BytesIO()
    torch.save(tree, written)
    return f"{key}: {what}", written.getvalue()


def read_replay(path: Path) -> None:
    with redirect_stdout(io.StringIO()):
        replay([str(path)])


def state(folder: Path) -> Path:
    save_last(folder, {"model": tensors(), "random": random_state(), "step": 3, "epoch": 1})
    return folder / "last" / "state.pt"


def config(folder: Path) -> Path:
    content = {
        "model": "fcos_resnet18_fpn",
        "options": SMALL,
        "train": to_plain(TrainSettings(data="d")),
        "card": json.loads(json.dumps(small_model().card())),
    }
    (folder / "config.yaml").write_text(yaml.safe_dump(content))
    return folder / "config.yaml"


def read_config(path: Path) -> None:
    from pagoda.zoo.cards import model_from_card

    content = config_of_run(path.parent)
    settings_in(content, path)
    default_from(content, str(path), None)
    with torch.device("meta"):
        model_from_card(content["card"], where=path)


def labels(folder: Path) -> Path:
    people = {"id": 1, "name": "person", "keypoints": ["a", "b"], "skeleton": [[1, 2]], "flip_pairs": []}
    (folder / "labels.json").write_text(json.dumps({"categories": [people, {"id": 7, "name": "dog"}]}))
    return folder / "labels.json"


KINDS: dict[str, Kind] = {
    "card": Kind(of_ours, spoil_card, load),
    "safetensors": Kind(plain_safetensors, spoil_header, read_foreign),
    "torch zip": Kind(torch_file, damage, read_foreign),
    "torch legacy": Kind(lambda folder: torch_file(folder, is_zip=False), damage, read_foreign),
    "pickle": Kind(bare_pickle, damage, read_foreign),
    "npz": Kind(npz, damage, open_foreign),
    "bundle": Kind(bundle, damage, open_foreign),
    "index.json": Kind(shards, spoil_json, read_foreign),
    "capsule": Kind(capsule, spoil_saved, read_replay),
    "state": Kind(state, spoil_saved, lambda path: load_last(path.parent.parent)),
    "config.yaml": Kind(config, spoil_yaml, read_config),
    "labels": Kind(labels, spoil_json, lambda path: read_labels(str(path))),
}


def trial(name: str, seed: int, folder: Path, whole: bytes, path: Path) -> str:
    """ "read", "refused", or the fault that a spoilt file of this kind shows."""
    kind = KINDS[name]
    what, content = kind.spoil(whole, Random(f"{name} {seed}"))
    path.write_bytes(content)
    try:
        with limited(SECONDS, ROOM), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            kind.read(path)
    except (KeyboardInterrupt, SystemExit):
        raise
    except EXPECTED as error:
        text = str(error.args[0] if isinstance(error, KeyError) and error.args else error)
        return (
            "refused" if str(path) in text or str(folder) in text else f"no file named ({what}): {text:.160}"
        )
    except BaseException as error:
        return f"traceback ({what}): {type(error).__name__}: {error!s:.160}"
    return "read"


def run(name: str, seeds: range) -> Iterator[Tried]:
    """Each spoilt copy."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        path = KINDS[name].make(folder)
        whole = path.read_bytes()
        needed = 0
        if name not in ("npz", "bundle"):
            KINDS[name].read(path)
            _, needed = most_held(partial(KINDS[name].read, path))
        for seed in seeds:
            result, held = most_held(partial(trial, name, seed, folder, whole, path))
            yield Tried(seed, result, multiple(held, needed))


if __name__ == "__main__":
    with suppress(KeyboardInterrupt):
        command(__doc__.splitlines()[0], KINDS, run)
