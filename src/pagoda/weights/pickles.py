"""Pickles of numbers, text and numpy arrays, and nothing that runs: what Detectron and detectron2 publish.

A pickle is a program: it names callables, calls them and sets their state. Here a name leads to a stand-in
of ours or to an error, never to an import, so that nothing of the file's choosing is called. Even numpy's own
functions stay out: they trust the layout of a dtype that a pickle describes, and a forged one makes them take
bytes for pointers.
"""

import pickle
import re
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

import numpy as np

from pagoda.weights.file_types import WeightsError, check_exists

_PLAIN_DTYPE = re.compile(r"[biufc]\d{1,2}|[SU]\d{1,9}")


class Refused(pickle.UnpicklingError):
    """The pickle asks for something that is not admitted; the message names it."""


def read_pickle(path: str | Path) -> object:
    """What the pickle at `path` holds, written by Python 2 or 3: plain values, containers and numpy arrays.

    Strings of Python 2 are read as latin-1. Raises WeightsError, which names the callable where the pickle
    asks for anything else.

    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     _ = Path(folder, "a.pkl").write_bytes(pickle.dumps({"w": np.ones(2)}))
    ...     read_pickle(Path(folder, "a.pkl"))["w"].tolist()
    [1.0, 1.0]
    """
    check_exists(path)
    try:
        with Path(path).open("rb") as file:
            return NumbersUnpickler(file, encoding="latin1").load()
    except Refused as error:
        raise WeightsError(
            f"{path} is refused: {error}. Nothing of it was run. Save its state_dict alone with the program it"
            " is from"
        ) from error
    except Exception as error:  # a damaged pickle fails in a dozen ways; every one is told with its cause
        raise damaged(path, error) from error


def damaged(path: str | Path, error: Exception) -> WeightsError:
    """The error for a file that ends too soon or makes no sense, with the reader's own words.

    >>> print(damaged("a.pkl", EOFError("Ran out of input")))
    a.pkl is refused: it is truncated or damaged (EOFError: Ran out of input); fetch it again
    """
    lines = str(error).splitlines() or ["the file ends too soon"]
    # torch's own words begin with the advice to read the file in a way that runs what is in it.
    reason = next((line.strip() for line in lines if "weights_only" not in line and line.strip()), "")
    return WeightsError(
        f"{path} is refused: it is truncated or damaged ({type(error).__name__}: {reason}); fetch it again"
    )


class Admitted:
    """A callable that a pickle may name: it can be called, and nothing else can be done to it."""

    __slots__ = ("_make", "name")

    def __init__(self, name: str, make: Callable[..., object]) -> None:
        self.name, self._make = name, make

    def __call__(self, *arguments: object) -> object:
        return self._make(*arguments)

    def __setstate__(self, state: Any) -> None:
        raise Refused(f"it tries to change {self.name}")


class ReadArray(np.ndarray):
    """An array whose dtype was built here, not by the pickle."""

    def __setstate__(self, state: Any) -> None:
        _, shape, dtype, is_fortran, raw = state
        raw = raw.encode("latin1") if isinstance(raw, str) else raw
        if not isinstance(raw, bytes):
            raise Refused(f"it holds an array made of {type(raw).__name__}, not of bytes")
        super().__setstate__((1, shape, _checked(dtype).build(), bool(is_fortran), raw))


class ReadDtype:
    """A dtype as the pickle describes it: numbers, truth values or text of one size, no fields, no objects."""

    __slots__ = ("code", "order")

    def __init__(self, code: str, *_: object) -> None:
        if not (isinstance(code, str) and _PLAIN_DTYPE.fullmatch(code)):
            raise Refused(f"it holds an array of dtype {code!r}; admitted are numbers and text")
        self.code, self.order = code, "|"

    def __setstate__(self, state: Any) -> None:
        order, subarray, names, fields = state[1:5]
        if order not in ("<", ">", "|", "=") or any(part is not None for part in (subarray, names, fields)):
            raise Refused("it holds an array of a structured dtype; admitted are numbers and text")
        self.order = order

    def build(self) -> np.dtype:
        return np.dtype(self.code).newbyteorder(self.order)


class ReadDict(OrderedDict):
    """An OrderedDict; attributes a pickle wants to hang on it (torch's version numbers) are left out."""

    def __setstate__(self, state: Any) -> None:
        """Nothing is kept."""


def _checked(dtype: object) -> ReadDtype:
    if not isinstance(dtype, ReadDtype):
        raise Refused(f"it holds an array whose dtype is a {type(dtype).__name__}")
    return dtype


def _empty_array(*_: object) -> ReadArray:
    return np.ndarray.__new__(ReadArray, (0,), np.uint8)  # its state follows


def _scalar(dtype: object, raw: object) -> np.generic:
    raw = raw.encode("latin1") if isinstance(raw, str) else raw
    if not isinstance(raw, bytes):
        raise Refused(f"it holds a scalar made of {type(raw).__name__}, not of bytes")
    return np.frombuffer(raw, _checked(dtype).build(), count=1)[0]


def _array_of_buffer(raw: object, dtype: object, shape: Any, order: str) -> np.ndarray:
    if not isinstance(raw, bytes | bytearray):
        raise Refused(f"it holds an array made of {type(raw).__name__}, not of bytes")
    return np.frombuffer(raw, _checked(dtype).build()).reshape(shape, order="F" if order == "F" else "C")


def _bytes_of_text(text: object, encoding: object = None) -> bytes:
    """How protocol 2 of Python 3 writes bytes."""
    if not isinstance(text, str) or encoding != "latin1":
        raise Refused(f"it calls _codecs.encode with encoding {encoding!r}; admitted is latin1 of text")
    return text.encode("latin1")


def _empty_bytes(*arguments: object) -> bytes:
    """How protocols 0 to 2 of Python 3 write bytes of no length."""
    if arguments:
        raise Refused(f"it calls bytes with {len(arguments)} arguments; admitted is none")
    return b""


def _only_a_name(*_: object) -> None:
    raise Refused("it calls numpy.ndarray, which it may only name")


_STAND_INS: dict[tuple[str, str], Callable[..., object]] = {
    ("numpy", "ndarray"): _only_a_name,
    ("numpy", "dtype"): ReadDtype,
    ("_codecs", "encode"): _bytes_of_text,
    ("__builtin__", "bytes"): _empty_bytes,
    ("collections", "OrderedDict"): ReadDict,
    **{
        (f"numpy.{core}.{module}", name): stand_in
        for core in ("core", "_core")  # before and since numpy 2
        for module, name, stand_in in (
            ("multiarray", "_reconstruct", _empty_array),
            ("multiarray", "scalar", _scalar),
            ("numeric", "_frombuffer", _array_of_buffer),  # protocol 5, Python's own choice since 3.14
        )
    },
}


class NumbersUnpickler(pickle.Unpickler):
    """Admits numpy arrays, scalars and dtypes, bytes and OrderedDict; refuses every other name by name."""

    def __init__(self, file: IO[bytes], *, encoding: str = "latin1") -> None:
        super().__init__(file, encoding=encoding)

    def find_class(self, module: str, name: str) -> object:
        stand_in = _STAND_INS.get((module, name))
        return self.unknown(module, name) if stand_in is None else Admitted(f"{module}.{name}", stand_in)

    def unknown(self, module: str, name: str) -> object:
        """What stands for a name that is not admitted."""
        raise Refused(
            f"it asks for {module}.{name}, which could run code when opened; admitted are numpy arrays and"
            " plain values"
        )
