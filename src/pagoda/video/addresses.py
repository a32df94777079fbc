"""Words that name a live source: a camera, a stream of the network, a pipe; and what FFmpeg may open for each."""

import re
import stat
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from pagoda.files.text import with_home
from pagoda.messages import did_you_mean
from pagoda.plain import checked

STANDARD_INPUT = "-"
CAMERA = "webcam:"
_WEB = "http,https,tls,tcp,crypto,httpproxy"
PROTOCOLS = {
    "rtsp": "rtsp,rtp,rtcp,udp,tcp",
    "rtsps": "rtsps,rtsp,rtp,rtcp,udp,tcp,tls,srtp",
    "http": _WEB,
    "https": _WEB,
    "tcp": "tcp",
    "udp": "udp",
}
"""{scheme: the protocols of FFmpeg that what is read there may use}: a playlist cannot name a file of this machine"""
NO_PROTOCOL = "none"
"""a word that no protocol has: what comes through a pipe can open nothing at all"""
_SYSTEM_CAMERAS = {"linux": "v4l2", "darwin": "avfoundation", "win32": "dshow"}


@checked
@dataclass(frozen=True)
class LiveAddress:
    """A live source by its words. No field but `target` holds its password, and that one is not printed."""

    kind: Literal["camera", "network", "pipe"]
    """what becomes of it at its end: networks and cameras are connected anew, the end of a pipe is the end"""
    shown: str
    """for messages: an address without user, password and query"""
    name: str
    """for files and frames: letters, digits, dots and dashes"""
    target: str = field(repr=False)
    """what is opened"""
    file_format: str | None = None
    """FFmpeg's name of it; None: told by the content"""
    options: dict[str, str] = field(default_factory=dict)
    """of FFmpeg, the protocols that it may use among them"""


def live_address(source: str | Path) -> LiveAddress | None:
    """What `webcam:0`, `rtsp://…`, `http(s)://…`, `tcp://…`, `udp://…`, `-` or a named pipe stands for; None for
    anything else, a file above all.

    Raises ValueError for an address of another kind, and for a camera where this system has no way to them.

    >>> live_address("rtsp://me:secret@door.local:554/main?key=7").shown
    'rtsp://door.local:554/main?…'
    >>> live_address("-").kind, live_address("street.mp4")
    ('pipe', None)
    """
    text = str(source)
    if text == STANDARD_INPUT:
        return _pipe(text, "standard input", "standard-input")
    if text.startswith(CAMERA):
        return _camera(text.removeprefix(CAMERA))
    scheme, mark, rest = text.partition("://")
    if mark and re.fullmatch(r"[A-Za-z][A-Za-z0-9+.-]*", scheme):
        return _network(scheme.lower(), rest)
    path = with_home(source)
    try:
        mode = path.stat().st_mode
    except (OSError, ValueError):
        return None
    if stat.S_ISCHR(mode):
        return _camera(str(path))
    return _pipe(str(path), str(path), path.stem) if stat.S_ISFIFO(mode) else None


def _network(scheme: str, rest: str) -> LiveAddress:
    shown = f"{scheme}://{_without_secrets(rest)}"
    if scheme not in PROTOCOLS:
        raise ValueError(
            f"expected a stream of {', '.join(f'{each}://' for each in PROTOCOLS)}, got {shown};"
            f" {did_you_mean(scheme, PROTOCOLS)}"
        )
    if not rest.strip("/"):
        raise ValueError(f"expected an address such as {scheme}://HOST/PATH, got {shown}")
    options = {"protocol_whitelist": PROTOCOLS[scheme]}
    if scheme.startswith("rtsp"):
        options["rtsp_flags"] = "prefer_tcp"  # where packets get lost, pictures break
    return LiveAddress(
        "network", shown, _plain(shown.partition("://")[2]), f"{scheme}://{rest}", None, options
    )


def _without_secrets(rest: str) -> str:
    """HOST:PORT/PATH. A password with a slash in it goes, too: what is no host is not shown."""
    authority = re.split(r"[/?#]", rest, maxsplit=1)[0]
    if not re.fullmatch(r"[\w.-]*(:\d*)?|\[[0-9A-Fa-f:.]+\](:\d*)?", authority):
        rest = rest.rpartition("@")[2]
    place, mark, _ = rest.partition("?")
    return f"{place.partition('#')[0]}{'?…' if mark else ''}"


def _camera(word: str) -> LiveAddress:
    system = _SYSTEM_CAMERAS.get(sys.platform)
    if system is None:
        raise ValueError(f"cameras are read on Linux, macOS and Windows; there is no way to {word!r} here")
    if not word:
        raise ValueError(f"expected a camera by its number or name, such as {CAMERA}0, got {CAMERA!r}")
    target = word
    if system == "v4l2":
        target = f"/dev/video{word}" if word.isdecimal() else word
        if not Path(target).exists():
            raise FileNotFoundError(f"there is no camera {target}; a number is that of /dev/video*")
    elif system == "dshow":
        if word.isdecimal():
            raise ValueError(f"cameras have names on Windows: expected {CAMERA}NAME, got {CAMERA}{word}")
        target = f"video={word}"
    options = {"protocol_whitelist": NO_PROTOCOL}
    return LiveAddress("camera", f"{CAMERA}{word}", _plain(f"camera-{word}"), target, system, options)


def _pipe(target: str, shown: str, name: str) -> LiveAddress:
    return LiveAddress("pipe", shown, _plain(name), target, None, options={"protocol_whitelist": NO_PROTOCOL})


def _plain(text: str) -> str:
    return re.sub(r"[^\w.]+", "-", text).strip("-.") or "stream"
