"""What torch.save wrote, in today's form or that of before 1.6, read without running anything it names.

torch's own restricted loader comes first. It refuses files with objects of other programs in them (the
configuration of a run, its log), so these are read again with inert stand-ins in place of the objects.
"""

import pickle
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import IO

import torch
from torch import Tensor

from pagoda.plain import JsonObject
from pagoda.weights.file_types import WeightsError, python_command
from pagoda.weights.pickles import Admitted, NumbersUnpickler, Refused, damaged


class Foreign:
    """Stands for an object of another program: made of anything, keeps nothing, does nothing.

    >>> thing = Foreign("anything", at="all")
    >>> thing.append(3), thing() is thing
    (None, True)
    """

    name = ""

    def __new__(cls, *_: object, **__: object) -> "Foreign":
        return object.__new__(cls)

    def __init__(self, *_: object, **__: object) -> None:
        """Whatever it was made of stays out."""

    def __call__(self, *_: object, **__: object) -> "Foreign":
        return self

    def _nothing(self, *_: object) -> None:
        """How pickles fill lists, sets, dicts and objects of classes of their own."""

    __setstate__ = __setitem__ = append = extend = add = update = _nothing


def read_checkpoint(path: Path) -> object:
    """The content of a torch.save file on the CPU, with a `Foreign` for each object of another program.

    Tensors are in memory of their own, not mapped from the file: a state dict saved under the name it was
    read from would otherwise be overwritten while it is being written.

    Raises WeightsError for damaged files and TorchScript programs.

    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     torch.save({"epoch": 3}, Path(folder, "a.pth"))
    ...     read_checkpoint(Path(folder, "a.pth"))
    {'epoch': 3}
    """
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, UnicodeDecodeError):
        pass  # read again below, when this error and the tensors it holds on to are gone
    except Exception as error:  # a damaged file fails in a dozen ways; every one is told with its cause
        if "TorchScript" in str(error):
            program = (
                f"import torch; torch.save(torch.jit.load({str(path)!r}, map_location='cpu').state_dict(),"
                f" {str(path.with_suffix('.state.pth'))!r})"
            )
            raise WeightsError(
                f"{path} is a TorchScript program, not weights; save its state_dict if you trust it:"
                f" {python_command(program)}"
            ) from error
        raise damaged(path, error) from error
    return _read_with_stand_ins(path)


def read_saved(path: Path) -> JsonObject:
    """What Pagoda itself wrote by torch.save: entries by name, tensors and plain values. Raises WeightsError.

    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     torch.save([3], Path(folder, "a.pth"))
    ...     try:
    ...         read_saved(Path(folder, "a.pth"))
    ...     except WeightsError as error:
    ...         print(str(error).rpartition("should")[2])
     hold entries by name, got list
    """
    if path.exists() and not path.is_file():
        raise WeightsError(f"{path} is a folder, a pipe or a device; expected a file")
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise
    except Exception as error:  # a damaged file fails in a dozen ways; every one is told with its cause
        raise damaged(path, error) from error
    if not isinstance(content, dict):
        raise WeightsError(f"{path} should hold entries by name, got {type(content).__name__}")
    return content


def _read_with_stand_ins(path: Path) -> object:
    reader = SimpleNamespace(__name__=__name__, Unpickler=CheckpointUnpickler, load=_load)
    try:
        # Not torch's restricted reader but ours, which imports nothing either.
        return torch.load(
            path, map_location="cpu", weights_only=False, pickle_module=reader, encoding="latin1"
        )
    except Refused as error:
        raise WeightsError(
            f"{path} is refused: {error}. Nothing of it was run. Save its state_dict alone with the program it"
            " is from"
        ) from error
    except Exception as error:
        raise damaged(path, error) from error


def _load(file: IO[bytes], *, encoding: str = "latin1") -> object:
    return CheckpointUnpickler(file, encoding=encoding).load()


class CheckpointUnpickler(NumbersUnpickler):
    """Admits tensors besides numbers; any other name leads to a `Foreign` class of that name."""

    def find_class(self, module: str, name: str) -> object:
        stand_in = _TENSORS.get((module, name))
        return super().find_class(module, name) if stand_in is None else Admitted(name, stand_in)

    def unknown(self, module: str, name: str) -> object:
        return type(name, (Foreign,), {"name": f"{module}.{name}"})


def _tensor(storage: object, offset: object, size: object, stride: object, *rest: object) -> Tensor:
    """`rest`: requires_grad, hooks and, since torch 2, flags of conjugated and negated views."""
    if not isinstance(storage, torch.storage.TypedStorage):
        raise Refused(f"it holds a tensor whose storage is a {type(storage).__name__}")
    if len(rest) > 2 and rest[2]:
        raise Refused(f"it holds a tensor with flags {rest[2]!r}")
    # torch has no public name for this; the name stands in every file it ever wrote.
    return torch._utils._rebuild_tensor(storage, offset, size, stride)


def _parameter(data: object, *_: object) -> object:
    return data


def _instance(cls: object, *_: object) -> Foreign:
    """Objects of Python 2 style classes and of subclasses of built-in ones."""
    if not (isinstance(cls, type) and issubclass(cls, Foreign)):
        raise Refused(f"it makes an object of {cls!r}")
    return cls()


_TENSORS: dict[tuple[str, str], Callable[..., object]] = {
    ("torch._utils", "_rebuild_tensor"): _tensor,
    ("torch._utils", "_rebuild_tensor_v2"): _tensor,
    ("torch._utils", "_rebuild_parameter"): _parameter,
    ("torch", "Size"): tuple,
    ("copyreg", "_reconstructor"): _instance,
}
