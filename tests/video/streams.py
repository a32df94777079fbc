"""Streams to test with: frames whose grey tells their number, and servers that send what they are told."""

import base64
import io
import re
import socket
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from fractions import Fraction

import av
import numpy as np
from PIL import Image

Sent = bytes | threading.Event
"""what a server sends, or what it waits for before it goes on"""
BOUNDARY = b"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n"
MULTIPART = b"HTTP/1.0 200 OK\r\nContent-Type: multipart/x-mixed-replace; boundary=frame\r\n\r\n"
STREAM = b"HTTP/1.0 200 OK\r\nContent-Type: application/octet-stream\r\n\r\n"
PATIENCE = 30
"""seconds after which a server that waits in vain gives up, and the test fails for it"""


def grey_of(number: int) -> int:
    """Of frame `number`; those of 50 frames differ."""
    return 20 + 4 * (number % 50)


def number_of(picture: np.ndarray) -> int:
    """The number of a frame by its grey."""
    return round((float(picture.mean()) - 20) / 4)


def jpeg(number: int, size: tuple[int, int] = (48, 64)) -> bytes:
    """A file with the frame of that number."""
    file = io.BytesIO()
    Image.new("RGB", size[::-1], (grey_of(number),) * 3).save(file, "JPEG")
    return file.getvalue()


def jpegs(numbers: Iterable[int], size: tuple[int, int] = (48, 64)) -> Iterator[bytes]:
    """Parts of an MJPEG stream over HTTP, as cameras send it."""
    for number in numbers:
        content = jpeg(number, size)
        yield BOUNDARY % len(content) + content + b"\r\n"


def encoded(
    numbers: Iterable[int],
    *,
    codec: str = "mpeg2video",
    kind: str = "mpegts",
    size: tuple[int, int] = (48, 64),
) -> bytes:
    """A file of a kind that may be cut anywhere and go on with the next."""
    file = io.BytesIO()
    with av.open(file, "w", format=kind) as container:
        stream = container.add_stream(codec, rate=30)
        stream.height, stream.width, stream.pix_fmt = *size, "yuvj420p" if codec == "mjpeg" else "yuv420p"
        stream.options, stream.bit_rate = {"bf": "0", "g": "1"}, 4_000_000
        for number in numbers:
            frame = av.VideoFrame.from_ndarray(np.full((*size, 3), grey_of(number), np.uint8), format="rgb24")
            frame.pts, frame.time_base = number, Fraction(1, 30)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return file.getvalue()


def sound() -> bytes:
    """MPEG-TS with two seconds of silence and no pictures."""
    file = io.BytesIO()
    with av.open(file, "w", format="mpegts") as container:
        stream = container.add_stream("mp2", rate=44100)
        for number in range(75):
            silence = np.zeros((1, 1152 * 2), np.int16)
            frame = av.AudioFrame.from_ndarray(silence, format="s16", layout="stereo")
            frame.sample_rate, frame.pts = 44100, number * 1152
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return file.getvalue()


class Server:
    """A server for a `with` block: `answer` says what connection number n, counted from 0, gets for its first request.

    Its end is the end of the connection.
    """

    def __init__(self, answer: Callable[[int, bytes], Iterable[Sent]], scheme: str = "http") -> None:
        self.requests: list[bytes] = []
        self.over = threading.Event()
        self._answer = answer
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.place = f"127.0.0.1:{self._socket.getsockname()[1]}"
        self.address = f"{scheme}://{self.place}/live"

    def __enter__(self) -> "Server":
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.over.set()
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()

    def _accept(self) -> None:
        for number in range(1000):
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(connection, number), daemon=True).start()

    def _serve(self, connection: socket.socket, number: int) -> None:
        with connection, suppress(OSError):
            self._talk(connection, number)

    def _talk(self, connection: socket.socket, number: int) -> None:
        request = b"" if self.address.startswith("tcp") else connection.recv(2**16)
        self.requests.append(request)
        for sent in self._answer(number, request):
            if isinstance(sent, bytes):
                connection.sendall(sent)
            else:
                assert sent.wait(PATIENCE)


class RtspServer(Server):
    """Sends MPEG-TS in RTP over the connection of RTSP, to who knows the password, if there is one."""

    def __init__(self, answer: Callable[[int, bytes], Iterable[Sent]], login: str = "") -> None:
        super().__init__(answer, "rtsp")
        self._login = base64.b64encode(login.encode()) if login else b""

    def _talk(self, connection: socket.socket, number: int) -> None:
        sdp = (
            b"v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\ns=live\r\nt=0 0\r\nm=video 0 RTP/AVP 33\r\na=control:one\r\n"
        )
        more = {
            b"OPTIONS": (b"Public: DESCRIBE, SETUP, PLAY\r\n", b""),
            b"DESCRIBE": (b"Content-Type: application/sdp\r\nContent-Length: %d\r\n" % len(sdp), sdp),
            b"SETUP": (b"Session: 1\r\nTransport: RTP/AVP/TCP;unicast;interleaved=0-1\r\n", b""),
            b"PLAY": (b"Session: 1\r\n", b""),
        }
        verb = b""
        while verb != b"PLAY":
            request = connection.recv(2**16)
            if not request:
                return
            self.requests.append(request)
            verb, turn = request.split()[0], re.search(rb"CSeq: \d+\r\n", request)[0]
            if self._login and self._login not in request:
                connection.sendall(
                    b'RTSP/1.0 401 No\r\n%bWWW-Authenticate: Basic realm="door"\r\n\r\n' % turn
                )
                continue
            head, body = more[verb]
            connection.sendall(b"RTSP/1.0 200 OK\r\n" + turn + head + b"\r\n" + body)
        packets = 0
        for sent in self._answer(number, b""):
            if not isinstance(sent, bytes):
                assert sent.wait(PATIENCE)
                continue
            for start in range(0, len(sent), 7 * 188):
                payload = sent[start : start + 7 * 188]
                rtp = (
                    bytes([0x80, 33]) + packets.to_bytes(2) + (packets * 90).to_bytes(4) + bytes(4) + payload
                )
                connection.sendall(b"$\0" + len(rtp).to_bytes(2) + rtp)
                packets = (packets + 1) % 2**16
