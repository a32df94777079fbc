"""What the verbs share: flags from dataclasses, models by name, file or function."""

import importlib.util
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Literal, TypeVar

import tyro

from pagoda.cli.arguments.help import HELP_FLAGS, show_help
from pagoda.cli.arguments.json_options import json_options
from pagoda.convert.report import collected_notes
from pagoda.data.formats.coco_masks_keypoints import read_skeleton
from pagoda.data.reading.category_ids import read_categories
from pagoda.data.reading.complaints import Complaints
from pagoda.detectors.contract import Detector
from pagoda.exporting.optimize import quicken
from pagoda.files.drafts import sweep_drafts
from pagoda.files.text import as_whole, json_text, one_line, read_json, read_text
from pagoda.machine import PRECISIONS, choose_precision, find_device
from pagoda.models import create_model, is_checkpoint, is_exported, load
from pagoda.places import told_at
from pagoda.plain import JsonObject, checked
from pagoda.structures.labels import LabelMap

T = TypeVar("T")
AnyPrecision = Literal["auto", "fp32", "bf16", "fp16"]


def parse(command: type[T], verb: str, arguments: Sequence[str], default: T | None = None) -> T:
    """Flags of the dataclass `command`; `a.b=v` is taken for `--a.b v`. Wrong usage exits with 2, --help and its
    like with 0.

    >>> from pagoda.training.settings import TrainSettings
    >>> parse(TrainSettings, "train", ["--data", "DIR", "optim.momentum=0.5"]).optim.momentum
    0.5
    """
    if "--help-json" in arguments:
        from pagoda.cli.arguments.described import (
            describe,  # it knows the options of every model, and of training
        )

        print(json_text(describe(command, verb, default), indent=1))
        sys.exit(0)
    if HELP_FLAGS & set(arguments):
        show_help(command, verb, arguments, default)
    accepted = [f"--{word}" if re.match(r"^[a-z_]\w*(\.\w+)*=", word) else word for word in arguments]
    with json_options:
        return tyro.cli(command, prog=f"pagoda {verb}", args=accepted, default=default)


def names_code(model: object) -> bool:
    """Whether a word is of the form FILE.py:FUNCTION.

    >>> names_code("nets/mine.py:build"), names_code("mine.py"), names_code("timm:resnet18")
    (True, False, False)
    """
    file, separator, _ = str(model).rpartition(":")
    return bool(separator) and file.endswith(".py")


def find_build(model: str) -> Callable[[int], Detector] | None:
    """The function of "FILE.py:FUNCTION"; None when `model` is not of that form.

    The file is run: only for a word that somebody typed, never for one that stands in a card, config or capsule.
    Raises FileNotFoundError where there is no such file, ValueError where it has no such function.

    >>> find_build("fcos_resnet18_fpn") is None
    True
    >>> find_build("nowhere.py:build")
    Traceback (most recent call last):
    FileNotFoundError: no file nowhere.py to take the function 'build' from
    """
    if not names_code(model):
        return None
    file, _, name = model.rpartition(":")
    if not Path(file).is_file():
        raise FileNotFoundError(f"no file {file} to take the function '{name}' from")
    spec = importlib.util.spec_from_file_location(Path(file).stem, file)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    if not callable(getattr(module, name, None)):
        raise ValueError(f"{file} has no function '{name}'; it should take num_classes and return a detector")
    return getattr(module, name)


def open_checkpoint(path: str, model: str = "", take: str = "") -> Detector:
    """A checkpoint; `model` is FILE.py:FUNCTION when it is not one of the zoo's, `take` the key of its weights."""
    if is_exported(path):
        raise ValueError(
            f"{path} is an exported file: it predicts, follows and can be scored, and this needs the checkpoint that it"
            " was made of"
        )
    build = typed_build(model)
    with warnings_as_notes():
        return load(path, build=build, take=take or None)


@checked
def open_ready(
    path: str, model: str = "", take: str = "", *, device: str = "auto", precision: AnyPrecision = "fp32"
) -> Detector:
    """A checkpoint as it looks at pictures quickest on `device`: norms folded, memory laid out; or an exported file.

    Another precision than fp32 is said on standard error, and why it was chosen. Raises ValueError for a device that
    is not there, and for what an exported file cannot change.
    """
    if is_exported(path):
        given = {
            "--model": model,
            "--take": take,
            "--precision": precision not in ("auto", "fp32") and precision,
        }
        refused = [f"{flag} {value}" for flag, value in given.items() if value]
        if refused:
            raise ValueError(
                f"{path} is an exported file, which {', '.join(refused)} cannot change: leave it out"
            )
        return load(path, device=device)
    place = find_device(device)
    taken, why = choose_precision(precision, place)
    if why:
        print(why, file=sys.stderr)
    return quicken(open_checkpoint(path, model, take).to(place), dtype=PRECISIONS[taken])


def typed_build(model: str) -> Callable[[int], Detector] | None:
    """The function that --model names; None where the flag is not given. Raises ValueError for any other word.

    >>> typed_build("fcos_resnet18_fpn")
    Traceback (most recent call last):
    ValueError: --model takes FILE.py:FUNCTION for models that are not in the zoo, got 'fcos_resnet18_fpn'
    """
    build = find_build(model)
    if model and build is None:
        raise ValueError(f"--model takes FILE.py:FUNCTION for models that are not in the zoo, got '{model}'")
    return build


@contextmanager
def warnings_as_notes() -> Iterator[None]:
    """What is to be known of weights that are loaded within goes to standard error, a line each: "note: …"."""
    with collected_notes() as lines:
        yield
    for line in lines:
        print(f"note: {line}", file=sys.stderr)


def open_model(
    model: str,
    *,
    take: str = "",
    num_classes: int = 80,
    label_map: LabelMap | None = None,
    options: JsonObject | None = None,
) -> Detector:
    """A checkpoint by its path, a zoo model by its name, or a composed one as FILE.py:FUNCTION.

    `take` is the key of a checkpoint's weights, where it holds several. The classes of new models are `label_map`'s,
    or `num_classes` numbered ones; `options` are those of the zoo model. Raises ValueError for `take` without a
    checkpoint, and for options the model has no use for.

    >>> import torch
    >>> with torch.device("meta"):
    ...     model = open_model("fcos_resnet18_fpn", num_classes=3, options={"width": 32})
    >>> type(model).__name__, len(model.label_map)
    ('FCOS', 3)
    """
    build = find_build(model)
    if build is not None:
        composed = build(len(label_map) if label_map else num_classes)
        if label_map is not None:
            composed.label_map = label_map
        return composed
    if is_checkpoint(model) or is_exported(model):
        return open_checkpoint(model, take=take)
    if take:
        raise ValueError(f"--take is for checkpoints, and {model} is none")
    with warnings_as_notes():
        if label_map is not None:
            return create_model(model, label_map=label_map, **(options or {}))
        return create_model(model, num_classes=num_classes, **(options or {}))


def read_labels(file: str) -> LabelMap:
    """Classes from a text file with one name per line; or, with keypoints, from a COCO file's categories (.json).

    Raises FileNotFoundError where there is none, ValueError for empty lines, names that stand twice, and COCO files
    without categories.

    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     file = Path(folder, "names.txt")
    ...     _ = file.write_text("cat\\ndog\\n")
    ...     print(read_labels(str(file)).names)
    ('cat', 'dog')
    """
    path = Path(file)
    if not path.is_file():
        raise FileNotFoundError(f"no file of class names at {file}; one name per line is enough")
    if path.suffix.lower() == ".json":
        content = read_json(path)
        categories = content.get("categories") if isinstance(content, dict) else None
        if not isinstance(categories, list) or not categories:
            raise ValueError(
                f"{file} has no categories: a COCO file or a text file with a name per line is needed"
            )
        complaints = Complaints(file)
        label_map = read_categories(categories, file, complaints)
        skeleton = read_skeleton(categories, [], file, complaints)
        complaints.check()
        for note in complaints.notes():
            print(note, file=sys.stderr)
        # In the order of the file: it is what the numbers of a foreign model mean.
        order = [label_map.label_of(as_whole(entry["id"])) for entry in categories]
        names, ids = label_map.names, label_map.category_ids
        return LabelMap(tuple(names[k] for k in order), tuple(ids[k] for k in order), skeleton)
    text = read_text(path)
    names = [line.strip() for line in text.rstrip().splitlines()]
    if not names or "" in names:
        where = f"line {names.index('') + 1} is empty" if names else "it is empty"
        raise ValueError(f"{file} should hold one class name per line, but {where}")
    for written, name in ((each, one_line(each)) for each in names):
        if name != written:
            print(f"{file}: {written!r} becomes '{name}'", file=sys.stderr)
    with told_at(path):
        return LabelMap.from_names(map(one_line, names))


def refuse_existing(path: str | Path, *, overwrite: bool) -> Path:
    """The path of a file to write; raises FileExistsError where it is there already and nobody said overwrite.

    What killed processes have left half written beside it is removed.

    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     print(refuse_existing(f"{folder}/new.safetensors", overwrite=False).name)
    new.safetensors
    """
    path = Path(path)
    sweep_drafts(path.parent)
    if path.exists() and not overwrite:
        raise FileExistsError(f"{path} exists; choose another name or say --overwrite")
    return path
