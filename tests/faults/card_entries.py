"""Every entry of the cards of every family, changed in every way: a sentence that names file and entry, or a model.

    python tests/faults/card_entries.py --count 100000 [--only mask_rcnn_resnet18_fpn] [--show 50]

All entries of a card in turn are of another type, not a number, negative, huge, missing, or one more or less. A model
that is built all the same must find objects in a picture and have a loss; anything else is a fault, as are more seconds
and memory than `limits` allows. `--count` is shared by the families; beyond what there is, nothing is tried.
"""

import copy
import json
import math
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

import torch
from limits import Tried, command, limited, most_held, multiple
from mutations import places

from pagoda.cli.main import EXPECTED
from pagoda.detectors.contract import Detector
from pagoda.models import create_model, load
from pagoda.structures.instances import Detections, Targets
from pagoda.structures.linker_settings import LinkerSettings
from pagoda.structures.thresholds import ScoreThresholds
from pagoda.structures.tubes import TubeTargets
from pagoda.tracking.linking import tuned_tracker
from pagoda.weights.files import save_weights

ROOM = 2**30
SECONDS = 60
SIDES = {"short_side": 32, "long_side": 32}
NARROW = {"width": 8, "base_channels": 8, **SIDES}
TOWERS = {**NARROW, "head_depth": 1}
CLIPS = {"width": 8, "head_depth": 1, **SIDES}
MODELS: dict[str, dict[str, Any]] = {
    "fcos_resnet18_fpn": TOWERS,
    "retinanet_resnet18_fpn": TOWERS,
    "efficientdet_d0": {"canvas": (64, 64), "width": 8, "cells": 1, "head_depth": 1},
    "yolov1_resnet18": {"canvas": (64, 64), "width": 8, "base_channels": 8, "head_depth": 1},
    "yolov1.darknet": {
        "canvas": (64, 64),
        "side": 2,
        "layers": ({"kind": "maxpool", "size": 8, "stride": 8}, {"kind": "local"}, {"kind": "connected"}),
    },
    "mask_rcnn_resnet18_fpn": TOWERS,
    "mask_rcnn_resnet18_c4": NARROW,
    "keypoint_rcnn_resnet18_fpn": TOWERS,
    "detect_and_track_resnet18_2d": CLIPS,
    "detect_and_track_resnet18_c4_2d": CLIPS,
    "detect_and_track_resnet18_3d": CLIPS,
}
VALUES: tuple[Any, ...] = (
    None, True, 0, -1, 1, 10**9, 10**30, 1e308, -0.5, math.nan, math.inf, "x", "y" * 3000, [], {}, [1.0], [[0, 1]],
    [[-1, 64], [64, 1e9]], [0] * 200,
)  # fmt: skip
WIDEST = 2**15
"""bytes by which a header may grow"""


class Change(NamedTuple):
    """One entry of a card with another value, or without one."""

    entry: tuple[Any, ...]
    what: str
    value: tuple[Any, ...] = ()

    def of(self, card: Any) -> Any:
        """The card after it."""
        card = copy.deepcopy(card)
        if self.value:
            _parent(card, self.entry)[self.entry[-1]] = self.value[0]
        elif self.entry:
            del _parent(card, self.entry)[self.entry[-1]]
        return card


def changes(card: Any) -> Iterator[Change]:
    """All of them, entry by entry."""
    for entry in places(card)[1:]:
        for value in VALUES:
            yield Change(entry, repr(value)[:20], (value,))
        yield Change(entry, "gone")
        value = _parent(card, entry)[entry[-1]]
        if isinstance(value, list) and value:
            yield Change(entry, "one less", (value[:-1],))
            yield Change(entry, "one more", ([*value, value[-1]],))
        if isinstance(value, dict):
            yield Change(entry, "one more", ({**value, "unheard_of": 1},))


def _parent(card: Any, entry: tuple[Any, ...]) -> Any:
    for key in entry[:-1]:
        card = card[key]
    return card


class CardedFile:
    """A small model in a file of ours, whose card can be written anew without touching its numbers."""

    def __init__(self, name: str, folder: Path) -> None:
        torch.manual_seed(0)
        model = create_model(name, num_classes=2, **MODELS[name])
        model.thresholds = ScoreThresholds(
            scores={"class_0": 0.5, "class_1": 0.25}, kind="precision", precision=0.9, split="val"
        )
        numbers = {"min_score": 0.01, "max_cost": 0.7, "max_lost_frames": 12.0}
        model.linker = LinkerSettings(linker="byte", numbers=numbers, metric="HOTA", split="train")
        self.path = save_weights(folder / "a.safetensors", model.state_dict(), model.card())
        content = self.path.read_bytes()
        length = int.from_bytes(content[:8], "little")
        self._header = json.loads(content[8 : 8 + length])
        self.card = json.loads(self._header["__metadata__"]["pagoda"])
        self._length = length + WIDEST
        room = self._length.to_bytes(8, "little") + b" " * self._length
        self.path.write_bytes(room + content[8 + length :])
        self.write(self.card)

    def write(self, card: Any) -> None:
        self._header["__metadata__"]["pagoda"] = json.dumps(card)
        with self.path.open("r+b") as file:
            file.seek(8)
            file.write(json.dumps(self._header).encode().ljust(self._length))


def use(model: Detector) -> None:
    """Objects of a picture, and a loss."""
    model = model.eval()
    generator = torch.Generator().manual_seed(0)
    picture = torch.randint(0, 256, (3, 40, 48), dtype=torch.uint8, generator=generator)
    model.predict(picture)
    if model.thresholds is not None and not model.sees_clips:
        model.predict(picture, min_score="card")
    frames = (len(model.frames_around),) if model.sees_clips else ()
    channels, sides = model.input_spec.read_channels, model.input_spec.canvas or (32, 32)
    images = model.input_spec.batch([torch.zeros(*frames, channels, *sides, dtype=torch.uint8)])
    losses = model.losses(images, [_target(model, frames)])  # type: ignore[list-item]
    sum(losses.values()).backward()  # type: ignore[union-attr]


def follow(model: Detector) -> None:
    """An object in three frames, by the linker of the card."""
    if model.linker is None:
        return
    box, one = torch.tensor([[4.0, 4.0, 20.0, 20.0]]), torch.tensor([0])
    found = Detections(box, torch.tensor([0.9]), one, (32, 32), model.label_map)
    tracker = tuned_tracker(model.linker)
    for each in (found, found[:0], found):
        tracker.update(each)


def _target(model: Detector, frames: tuple[int, ...]) -> Targets | TubeTargets:
    """One object with all that the model learns."""
    box, one = torch.tensor([4.0, 4.0, 20.0, 20.0]).expand(1, *frames, 4), torch.tensor([0])
    more: dict[str, torch.Tensor] = {}
    head = getattr(model, "keypoint_head", None)
    if head is not None:
        more["keypoints"] = torch.full((1, *frames, head.num_keypoints, 2), 10.0)
        more["visibility"] = torch.full((1, *frames, head.num_keypoints), 2)
    if "masks" in model.learns:
        more["masks"] = torch.ones(1, 32, 32, dtype=torch.bool)
    if frames:
        seen = torch.ones(1, *frames, dtype=torch.bool)
        return TubeTargets(box, one, seen, (32, 32), one > 0, one, key=frames[0] // 2, **more)
    return Targets(box, one, (32, 32), one > 0, **more)


def trial(path: Path, change: Change, card: Any) -> str:
    """ "read", "refused", or the fault that a change of the card shows."""
    what = f"{'.'.join(map(str, change.entry))} = {change.what}"
    stage = "load"
    try:
        with limited(SECONDS, ROOM), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            model = load(path)
            stage = "use"
            use(model)
            stage = "link"
            follow(model)
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:
        if stage == "use" or not isinstance(error, EXPECTED):
            return f"traceback ({what}): {stage}: {type(error).__name__}: {error!s:.160}"
        if stage == "load" and str(path) not in str(error):
            return f"no file named ({what}): {error!s:.160}"
        told = str(error).replace(str(path), "")
        if "does not fit the model its card describes" in told or any(
            word in told for word in _words(change, card)
        ):
            return "refused"
        return f"no entry named ({what}): {told:.160}"
    return "read"


def _words(change: Change, card: Any) -> Sequence[str]:
    """What a message may call the entry: by its name or that of what it is in, in words, in the singular; or by what
    was in it."""
    names = [key for key in change.entry if isinstance(key, str)][-2:]
    in_words = [name.replace("_", " ").removesuffix("s") for name in names]
    value = _parent(card, change.entry)[change.entry[-1]]
    return [
        *names,
        *in_words,
        in_words[-1].split()[-1],
        "unheard_of",
        *(value if isinstance(value, dict) else ()),
        *([value] if value and isinstance(value, str) else ()),
    ]


def run(name: str, numbers: range) -> Iterator[Tried]:
    """The changes of these numbers in an order that mixes the entries."""
    with tempfile.TemporaryDirectory() as place:
        file = CardedFile(name, Path(place))
        all_changes = list(changes(file.card))
        Random(0).shuffle(all_changes)
        result, needed = most_held(partial(trial, file.path, Change((), "nothing"), file.card))
        if result != "read":
            raise AssertionError(f"the whole file: {result}")
        for number in numbers[: len(all_changes) - numbers.start]:
            file.write(all_changes[number].of(file.card))
            result, held = most_held(partial(trial, file.path, all_changes[number], file.card))
            yield Tried(number, result, multiple(held, needed))


if __name__ == "__main__":
    with suppress(KeyboardInterrupt):
        command(__doc__.splitlines()[0], MODELS, run)
