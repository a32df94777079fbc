"""Weights from the network: only for an address that somebody typed, into one folder, whole or not at all.

The folder is PAGODA_CACHE, or ~/.cache/pagoda. A download that broke off goes on where it stopped.
"""

import hashlib
import http.client
import os
import re
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote, unquote, urlparse

from filelock import FileLock
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

from pagoda.files.atomic import safe_name
from pagoda.weights.file_types import HUB, WeightsError
from pagoda.weights.shards import is_index, places_in

TIMEOUT_SECONDS = 30.0
CHUNK_BYTES = 1 << 20
HUB_ADDRESS = re.compile(r"hf:(?P<repo>[\w.-]+/[\w.-]+)(@(?P<revision>[\w.-]+))?/(?P<file>.+)")
# torchvision and mmdetection end a file's name in the beginning of its SHA-256.
PROMISED_HASH = re.compile(r"-(?=[0-9]*[a-f])([0-9a-f]{8})\.\w+$")
_BROKEN = (urllib.error.URLError, http.client.HTTPException, TimeoutError, ConnectionError)


def _cache_folder() -> Path:
    """Where downloads are kept; delete it whenever you like."""
    return Path(os.environ.get("PAGODA_CACHE") or Path.home() / ".cache" / "pagoda")


def fetch(address: str) -> Path:
    """The file at "https://…", or at "hf:OWNER/REPO/FILE" ("hf:OWNER/REPO@REVISION/FILE"), on this disk.

    What was fetched before is used again without asking the network; with an index, the files it leads to come, too,
    from where it lies. Raises WeightsError with what to do.
    """
    if address.lower().startswith("file://"):
        raise WeightsError(f"{address} is on this machine: give the path itself, {_path_of(address)}")
    if address.startswith(HUB):
        target = _fetch_from_hub(address)
        for file in _shards_of(target):
            _fetch_from_hub(f"{address.rpartition('/')[0]}/{file}")
        return target
    key = hashlib.sha256(address.encode()).hexdigest()[:12]
    target = _cache_folder() / key / _file_name(address)
    _fetch_into(target, address)
    for file in _shards_of(target):
        _fetch_into(target.with_name(file), _beside(address, file))
    return target


def _fetch_into(target: Path, address: str) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    # Several processes of one training run ask at the same time: one fetches, the others find the file.
    with FileLock(f"{target}.lock"):
        if not target.is_file():
            _download(address, target)


def _shards_of(target: Path) -> list[str]:
    """The files that an index leads to; none for other files."""
    return list(dict.fromkeys(places_in(target).values())) if is_index(target) else []


def _beside(address: str, file: str) -> str:
    """
    >>> _beside("https://host/a/model.safetensors.index.json?download=true", "model-1.safetensors")
    'https://host/a/model-1.safetensors?download=true'
    """
    parts = urlparse(address)
    return parts._replace(path=f"{parts.path.rpartition('/')[0]}/{quote(file)}").geturl()


def _path_of(address: str) -> str:
    return unquote(urlparse(address).path)


def _file_name(address: str) -> str:
    """The last part of the path: programs tell their models apart by it.

    >>> _file_name("https://host/a/FCOS_R_50_FPN_1x.pth?download=true")
    'FCOS_R_50_FPN_1x.pth'
    """
    return safe_name(_path_of(address).rstrip("/").rpartition("/")[2] or "weights", space="_")


def _download(address: str, target: Path) -> None:
    """Into `target`, by way of `target`.part, which a later call continues."""
    part, tag = target.with_name(f"{target.name}.part"), target.with_name(f"{target.name}.part.tag")
    request = urllib.request.Request(address, headers={"User-Agent": "pagoda", **_continuation(part, tag)})
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS) as answer:
            _receive(answer, part, tag, address)
    except urllib.error.HTTPError as error:
        raise WeightsError(_refusal(address, error)) from error
    except _BROKEN as error:
        got = part.stat().st_size if part.is_file() else 0
        raise WeightsError(
            f"cannot fetch {address}: {error}; {got} bytes are kept in {part} and the same command goes on from"
            " there. Without a network, fetch the file elsewhere and give its path"
        ) from error
    digest = _sha256(part)
    promised = PROMISED_HASH.search(target.name)
    if promised and not digest.startswith(promised.group(1)):
        part.unlink()
        raise WeightsError(
            f"{address} is damaged: its name promises a SHA-256 that begins with {promised.group(1)}, got"
            f" {digest}; fetch it again"
        )
    os.replace(part, target)
    tag.unlink(missing_ok=True)
    print(f"fetched {target} ({target.stat().st_size} bytes, sha256 {digest})", file=sys.stderr)


def _continuation(part: Path, tag: Path) -> dict[str, str]:
    """Headers that ask for the rest only, and only if the file on the server is still the same."""
    if not (part.is_file() and part.stat().st_size and tag.is_file()):
        return {}
    return {"Range": f"bytes={part.stat().st_size}-", "If-Range": tag.read_text(encoding="utf-8")}


def _receive(answer: http.client.HTTPResponse, part: Path, tag: Path, address: str) -> None:
    have = part.stat().st_size if answer.status == http.client.PARTIAL_CONTENT else 0
    length = answer.headers.get("Content-Length")
    total = None if length is None else have + int(length)
    etag = answer.headers.get("ETag", "")
    # A weak ETag ("W/…") does not vouch for single bytes.
    validator = answer.headers.get("Last-Modified") if not etag or etag.startswith("W/") else etag
    if validator:
        tag.write_text(validator, encoding="utf-8")
    else:
        tag.unlink(missing_ok=True)
    with part.open("ab" if have else "wb") as file, _progress(part, have, total) as advance:
        while chunk := answer.read(CHUNK_BYTES):
            file.write(chunk)
            advance(len(chunk))
    got = part.stat().st_size
    if total is not None and got != total:
        raise ConnectionError(f"the connection ended after {got} of {total} bytes")


@contextmanager
def _progress(part: Path, have: int, total: int | None) -> Iterator[Callable[[int], None]]:
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(part.name.removesuffix(".part"), total=total, completed=have)
        yield lambda count: bar.advance(task, count)


def _refusal(address: str, error: urllib.error.HTTPError) -> str:
    hints = {
        401: "it needs a login: fetch it with a browser and give the path",
        403: "it needs a login: fetch it with a browser and give the path",
        404: "there is no such file; look at the address, or at `pagoda models --published`",
        416: "the part that is kept is longer than the file: delete it and try again",
    }
    return f"cannot fetch {address}: {error.code} {error.reason}; {hints.get(error.code, 'try again later')}"


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _fetch_from_hub(address: str) -> Path:
    found = HUB_ADDRESS.fullmatch(address)
    if not found:
        raise WeightsError(
            f"an address of the hub reads hf:OWNER/REPO/FILE or hf:OWNER/REPO@REVISION/FILE, got '{address}'"
        )
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    try:
        kept = hf_hub_download(
            found["repo"],
            found["file"],
            revision=found["revision"],
            cache_dir=_cache_folder() / "huggingface",
        )
    except LocalEntryNotFoundError as error:
        raise WeightsError(
            f"cannot fetch {address}: the hub did not answer and the file is not in {_cache_folder()};"
            " without a network, fetch it elsewhere and give its path"
        ) from error
    except HfHubHTTPError as error:
        raise WeightsError(
            f"cannot fetch {address}: {str(error).splitlines()[0]}; look at the name, and for a private"
            " repository log in with `hf auth login`"
        ) from error
    return Path(kept)
