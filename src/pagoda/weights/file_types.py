"""Where weights are: path or address; and what kind of file they are in, by its first bytes."""

import re
import shlex
import tarfile
import zipfile
from pathlib import Path, PurePosixPath
from typing import Literal

from pagoda.messages import counted

Kind = Literal["safetensors", "torch zip", "torch legacy", "pickle", "darknet"]
HUB = "hf:"
"""what addresses of files on huggingface.co begin with"""

# How every file of torch.save before version 1.6 begins: a pickled number, behind at most a header.
_LEGACY_MAGIC = (0x1950A86A20F9469CFC6C).to_bytes(10, "little")
_LONGEST_HEADER = 32
_MISTAKEN = (
    (b"version https://git-lfs", "a Git LFS pointer; fetch the file itself with `git lfs pull`"),
    (b"\x89HDF", "an HDF5 file (Keras?); convert it with the program it is from"),
    (b"\x1f\x8b", "compressed with gzip; unpack it first"),
    (b"7z\xbc\xaf", "a 7z archive; unpack it first"),
    (b"BZh", "compressed with bzip2; unpack it first"),
    (b"\xfd7zXZ", "compressed with xz; unpack it first"),
    (
        b"\x93NUMPY",
        "one array of NumPy (.npy); save all arrays by their names, with torch.save or as .safetensors",
    ),
    (b"GGUF", "a GGUF file of llama.cpp, which holds no detectors"),
)
_RENDERED = "save its weights by name in the program it is from, with torch.save or as .safetensors"
_CALLED = {
    ".tflite": "a program of TensorFlow Lite",
    ".pb": "a graph of TensorFlow",
    ".caffemodel": "weights of Caffe",
    ".engine": "an engine of TensorRT",
    ".plan": "an engine of TensorRT",
    ".trt": "an engine of TensorRT",
    ".msgpack": "weights of Flax",
    ".mlmodel": "a program of Core ML",
    ".param": "a graph of ncnn",
}
"""Endings of files that do not tell by their first bytes what they are"""
_TEXT = frozenset((*range(32, 127), 9, 10, 13))


class WeightsError(ValueError):
    """A weights file that cannot be used; the message names the file, what is wrong and what to do."""


class WeightsNote(UserWarning):
    """What should be known of weights that were loaded: which of several were taken."""


def python_command(program: str) -> str:
    """The command that runs a program, to be typed into a shell.

    In double quotes, which every shell knows, unless the program needs others.

    >>> print(python_command("print('a')"))
    python -c "print('a')"
    """
    return f"python -c {shlex.quote(program)}" if re.search(r'["$`!]', program) else f'python -c "{program}"'


def is_remote(name: object) -> bool:
    """Whether a name is an address and not a path.

    >>> is_remote("https://host/fcos.pth"), is_remote("hf:owner/repo/fcos.pth"), is_remote("fcos.pth")
    (True, True, False)
    """
    schemes = ("http://", "https://", "file://")
    return isinstance(name, str) and (name.lower().startswith(schemes) or name.startswith(HUB))


def check_exists(path: str | Path) -> None:
    """Raises FileNotFoundError unless there is a file at `path`.

    >>> check_exists("nowhere.pth")
    Traceback (most recent call last):
    FileNotFoundError: no weights file at nowhere.pth
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f"no weights file at {path}")


def kind_of(path: str | Path) -> Kind:
    """The kind of a weights file, by its first bytes; darknet's by its name; what is unknown counts as safetensors.

    Raises WeightsError for files that hold no weights, with what they are, and FileNotFoundError.

    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     _ = Path(folder, "a.pth").write_bytes(b"PK...")
    ...     kind_of(Path(folder, "a.pth"))
    'torch zip'
    """
    path = Path(path)
    check_exists(path)
    with path.open("rb") as file:
        start = file.read(512)
    if not start:
        raise WeightsError(
            f"{path} is not a whole weights file (0 bytes; it is empty): truncated download or full disk?"
        )
    # Before all others: the length of a header can begin with the first bytes of a pickle (0x80) or a zip (PK).
    if start[8:9] == b"{" and int.from_bytes(start[:8], "little") <= path.stat().st_size - 8:
        return "safetensors"
    if start.startswith(b"PK"):
        _refuse_other_zip(path)
        return "torch zip"
    for signature, what in _MISTAKEN:
        if start.startswith(signature):
            raise WeightsError(f"{path} holds no weights: it is {what}")
    if path.suffix.lower() == ".weights" and not start.lstrip().startswith(b"<"):
        return "darknet"
    if path.suffix.lower() in _CALLED:
        what = _CALLED[path.suffix.lower()]
        raise WeightsError(f"{path} is not read: by its name it is {what}; {_RENDERED}")
    # A tar is told by its checksum, wherever it begins: torch would unpack one that looks like a pickle.
    if start.strip(b"\0") and tarfile.is_tarfile(path):
        raise WeightsError(f"{path} holds no weights itself: it is a tar archive; unpack it first")
    if start.lstrip().startswith(b"<"):
        raise WeightsError(
            f"{path} holds no weights: it is a web page (HTML or XML), so the download met an error page or"
            " needs a login; open the address in a browser and save the file itself"
        )
    if start.startswith(b"\x80"):
        return "torch legacy" if _LEGACY_MAGIC in start[:_LONGEST_HEADER] else "pickle"
    # Pickles of protocols 0 and 1 begin in many ways; their suffix is the only hint.
    if path.suffix.lower() in (".pkl", ".pickle"):
        return "pickle"
    if _TEXT.issuperset(start) and path.suffix.lower() != ".json":  # the index of shards is one
        words = start[:60].decode().split()
        raise WeightsError(f"{path} holds no weights: it is a text, which begins '{' '.join(words)}'")
    return "safetensors"


def _refuse_other_zip(path: Path) -> None:
    """Raises WeightsError for an archive that torch did not write; one that is cut short is told by whoever reads."""
    try:
        with zipfile.ZipFile(path) as archive:
            names = [name for name in archive.namelist() if not name.endswith("/")]
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError):
        return
    if not names or any(PurePosixPath(name).name in ("data.pkl", "constants.pkl") for name in names):
        return
    what = f"a zip archive of {counted(len(names), 'file')}, as {names[0]}; unpack it first"
    if all(name.endswith(".npy") for name in names):
        what = f"an archive of NumPy arrays (.npz); {_RENDERED}"
    elif "model.weights.h5" in names:
        what = f"a file of Keras; {_RENDERED}"
    raise WeightsError(f"{path} holds no weights that are read: it is {what}")
