"""Pickles of numbers: what Python 2 and 3 wrote is read, what could run is named and stays where it is."""

import io
import os
import pickle
import struct
import warnings
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest

from pagoda.training.failed_batch import load_capsule
from pagoda.weights.file_types import WeightsError
from pagoda.weights.pickles import read_pickle


def written(folder: Path, content: bytes) -> Path:
    path = folder / "weights.pkl"
    path.write_bytes(content)
    return path


def text(value: str) -> bytes:
    """A `str` of Python 2: SHORT_BINSTRING, or BINSTRING when long."""
    raw = value.encode("latin1")
    return b"U" + bytes([len(raw)]) + raw if len(raw) < 256 else b"T" + struct.pack("<i", len(raw)) + raw


def array(values: np.ndarray, code: str = "f4", order: str = "<") -> bytes:
    """An array as Python 2 pickled it: rebuilt empty, then given its state."""
    shape = b"(" + b"".join(b"M" + struct.pack("<H", side) for side in values.shape) + b"t"
    dtype = b"cnumpy\ndtype\n(" + text(code) + b"K\x00K\x01tR"
    dtype += b"(K\x03" + text(order) + b"NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
    raw = text(values.astype(np.dtype(code).newbyteorder(order)).tobytes().decode("latin1"))
    start = b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(K\x00t" + text("b") + b"tR"
    return start + b"(K\x01" + shape + dtype + b"\x89" + raw + b"tb"


VALUES = np.linspace(-3, 3, 300, dtype=np.float32).reshape(3, 100)


def test_a_detectron_pickle_of_python_2(tmp_path: Path) -> None:
    body = b"\x80\x02}(" + text("blobs") + b"}(" + text("conv1_w") + array(VALUES)
    body += text("big") + array(VALUES, "i8", ">") + b"u" + text("cfg") + text("MODEL:\n  N\xe4me: é") + b"u."
    read = read_pickle(written(tmp_path, body))
    assert list(read) == ["blobs", "cfg"] and read["cfg"] == "MODEL:\n  N\xe4me: é"
    np.testing.assert_array_equal(read["blobs"]["conv1_w"], VALUES)
    np.testing.assert_array_equal(read["blobs"]["big"], VALUES.astype(np.int64))
    assert read["blobs"]["conv1_w"].dtype == np.float32


@pytest.mark.parametrize("protocol", range(6))
def test_whatever_this_python_pickles_of_numbers_comes_back(tmp_path: Path, protocol: int) -> None:
    arrays = {
        "float": VALUES,
        "turned": VALUES.T,
        "half": VALUES.astype(np.float16),
        "empty": np.zeros((0, 4)),
        "one": np.array(3, np.int64),
        "yes": np.array([True, False]),
        "big endian": VALUES.astype(">f8"),
        "words": np.array(["größer", "b"]),
    }
    content = OrderedDict(
        arrays, number=np.float64(0.1), raw=b"\x00\xff", list=[1, 2.5, None, "größer", (True,)]
    )
    read = read_pickle(written(tmp_path, pickle.dumps(content, protocol=protocol)))
    assert list(read) == list(content)
    for name, expected in arrays.items():
        np.testing.assert_array_equal(read[name], expected)
        assert read[name].dtype.newbyteorder("=") == expected.dtype.newbyteorder("=")
    assert read["number"] == 0.1 and read["raw"] == b"\x00\xff" and read["list"] == content["list"]


class Calls:
    """Pickles as a call of anything."""

    def __init__(self, function: object, *arguments: object) -> None:
        self.call = function, arguments

    def __reduce__(self) -> tuple:
        return self.call


def forged_array(dtype: bytes, raw: bytes) -> bytes:
    """An array of one element whose dtype and content are the given opcodes."""
    start = b"\x80\x02cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(K\x00tU\x01btR(K\x01(K\x01t"
    return start + dtype + b"\x89" + raw + b"tb."


MARKER = "EXECUTED"
ATTACKS = {
    # what runs a command
    "system": (pickle.dumps(Calls(os.system, f"touch {MARKER}")), r"posix\.system|nt\.system"),
    "eval": (pickle.dumps(Calls(eval, f"open('{MARKER}', 'w')")), r"builtins\.eval"),
    "within a dict": (
        pickle.dumps({"blobs": {"w": VALUES, "x": Calls(exec, f"open('{MARKER}', 'w')")}}),
        r"builtins\.exec",
    ),
    "nested": (pickle.dumps(Calls(getattr, Calls(__import__, "os"), "system")), r"builtins\.getattr"),
    "python 2 name": (b"\x80\x02c__builtin__\neval\nU\x011\x85R.", r"__builtin__\.eval"),
    # by way of what is admitted
    "attribute of a module": (b"\x80\x04\x8c\x05numpy\x8c\x09os.system\x93.", r"numpy\.os\.system"),
    "attribute of a callable": (
        b"\x80\x04\x8c\x15numpy.core.multiarray\x8c\x18_reconstruct.__globals__\x93.",
        r"_reconstruct\.__globals__",
    ),
    "numpy's loader": (pickle.dumps(Calls(np.load, "x.npy")), r"numpy\.load"),
    "an array called": (b"\x80\x02cnumpy\nndarray\n(K\x05\x85tR.", r"calls numpy\.ndarray"),
    "a callable changed": (
        b"\x80\x02c_codecs\nencode\n}U\x08__code__Nsb.",
        r"change _codecs\.encode",
    ),
    "another encoding": (
        b"\x80\x02c_codecs\nencode\nX\x01\x00\x00\x00aX\x05\x00\x00\x00rot13\x86R.",
        "rot13",
    ),
    # dtypes that would make numpy take bytes for objects
    "objects": (forged_array(b"cnumpy\ndtype\nU\x02O8K\x00K\x01\x87R", b"](K\x01e"), "dtype 'O8'"),
    "objects of numpy's own": (pickle.dumps(np.array([{}], object)), r"dtype 'O8?'"),
    "objects that call": (
        pickle.dumps(np.array([Calls(os.system, f"touch {MARKER}")], object)),
        r"dtype 'O8?'|\.system",
    ),
    "structure": (pickle.dumps(np.zeros(1, [("a", "f4")])), "dtype 'V4'"),
    "fields hung on a plain dtype": (
        forged_array(
            b"cnumpy\ndtype\nU\x02f8K\x00K\x01\x87R(K\x03U\x01|NU\x01a\x85}U\x01acnumpy\ndtype\nU\x02f4K\x00K\x01\x87R"
            b"K\x00\x86sK\x08K\x01K\x00tb",
            text("\x41" * 8),
        ),
        "structured dtype",
    ),
    "no dtype at all": (forged_array(b"U\x02O8", text("x" * 8)), "whose dtype is a str"),
    "a list for bytes": (forged_array(b"cnumpy\ndtype\nU\x02f4K\x00K\x01\x87R", b"](K\x01e"), "made of list"),
    "a scalar of objects": (
        b"\x80\x02cnumpy.core.multiarray\nscalar\ncnumpy\ndtype\nU\x02O8K\x00K\x01\x87RU\x01x\x86R.",
        "dtype 'O8'",
    ),
}


@pytest.mark.parametrize("name", ATTACKS)
def test_what_could_run_is_named_and_not_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.chdir(tmp_path)
    content, expected = ATTACKS[name]
    with pytest.raises(WeightsError, match=rf"weights\.pkl is refused: .*({expected})"):
        read_pickle(written(tmp_path, content))
    assert not Path(MARKER).exists()


@pytest.mark.parametrize("name", ["system", "eval", "within a dict", "objects that call"])
def test_the_traps_are_armed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.chdir(tmp_path)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the file that eval opens is never closed
        pickle.loads(ATTACKS[name][0])
    assert Path(MARKER).exists()


def test_persistent_ids_and_new_objects_are_refused(tmp_path: Path) -> None:
    for content in (
        b"\x80\x02U\x01xQ.",
        b"\x80\x02ccollections\nOrderedDict\n)\x81.",
        b"(I1\ni__builtin__\neval\n.",
    ):
        with pytest.raises(WeightsError, match=r"weights\.pkl is refused"):
            read_pickle(written(tmp_path, content))


def test_nothing_admitted_can_be_changed_for_later_files(tmp_path: Path) -> None:
    """A pickle that writes attributes into what it may name must not spoil the next one."""
    for name in (
        b"cnumpy\ndtype\n",
        b"ccollections\nOrderedDict\n",
        b"cnumpy.core.multiarray\n_reconstruct\n",
    ):
        for state in (b"}U\x05_makeNs", b"N}U\x05_makeNs\x86"):
            with pytest.raises(WeightsError, match="tries to change"):
                read_pickle(written(tmp_path, b"\x80\x02" + name + state + b"b."))
    test_whatever_this_python_pickles_of_numbers_comes_back(tmp_path, 2)


@pytest.mark.parametrize("protocol", [0, 2, 4, 5])
def test_truncated_anywhere(tmp_path: Path, protocol: int) -> None:
    whole = pickle.dumps(
        {"blobs": {"w": VALUES[:, :3].copy(), "n": np.float32(1)}, "cfg": "x"}, protocol=protocol
    )
    for size in range(1, len(whole), 7):
        with pytest.raises(WeightsError, match=r"weights\.pkl is refused: it is truncated or damaged"):
            read_pickle(written(tmp_path, whole[:size]))


def test_noise_never_gets_further_than_an_error(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    whole = bytearray(pickle.dumps({"blobs": {"w": VALUES[:, :5].copy()}, "cfg": "x"}, protocol=2))
    assert read_pickle(written(tmp_path, bytes(whole)))["cfg"] == "x"
    refused = 0
    for _ in range(300):
        spoilt = bytearray(whole)
        for place in random.integers(0, len(whole), 3):
            spoilt[place] = random.integers(256)
        try:
            read_pickle(written(tmp_path, bytes(spoilt)))
        except WeightsError as error:
            assert "weights.pkl" in str(error)
            refused += 1
    assert refused > 200  # noise among the numbers alone changes them, and is read


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"no weights file at .*nowhere\.pkl"):
        read_pickle(tmp_path / "nowhere.pkl")


def test_arrays_can_be_written_to(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    pickle.dump({"w": VALUES}, buffer, protocol=4)
    read = read_pickle(written(tmp_path, buffer.getvalue()))
    read["w"] += 1
    np.testing.assert_array_equal(read["w"], VALUES + 1)


@pytest.mark.parametrize("content", [b"no pickle at all", b"\x80\x02}q\x00.", bytes(64)])
def test_nobody_is_advised_to_read_a_damaged_file_in_a_way_that_runs_it(
    tmp_path: Path, content: bytes
) -> None:
    with pytest.raises(WeightsError, match=r"weights\.pkl (is refused: it is|should|is no)") as error:
        load_capsule(written(tmp_path, content))
    assert "weights_only" not in str(error.value)


def test_a_capsule_that_is_no_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="is a folder, a pipe or a device; expected a file"):
        load_capsule(tmp_path)
