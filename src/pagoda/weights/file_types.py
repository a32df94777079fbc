"""Where weights are: path or address; and what kind of file they are in, by its first bytes."""

import re
import shlex
import tarfile
from pathlib import Path
from typing import Literal

Kind = Literal["safetensors", "torch zip", "torch legacy", "pickle"]
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
)


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
    """The kind of a weights file, by its first bytes; what is unknown counts as safetensors.

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
        return "torch zip"
    for signature, what in _MISTAKEN:
        if start.startswith(signature):
            raise WeightsError(f"{path} holds no weights: it is {what}")
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
    return "pickle" if path.suffix.lower() in (".pkl", ".pickle") else "safetensors"
