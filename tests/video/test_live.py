"""Live sources: frames as they come, the oldest dropped and counted; streams that stall, end, break, return, change."""

import gc
import os
import sys
import threading
import time

import av
import numpy as np
import pytest
from streams import MULTIPART, PATIENCE, STREAM, RtspServer, Server, encoded, jpeg, jpegs, number_of, sound

from pagoda.pictures.read import PictureError
from pagoda.video.addresses import live_address
from pagoda.video.connection import CALM, MAX_HELD, LiveQueue
from pagoda.video.live import LiveSource

pytestmark = pytest.mark.medium

COUNT = 30


class Clock:
    """Stands still unless it is set, or goes as `beside`; once it `runs`, five seconds more pass with every look."""

    def __init__(self, beside=lambda: 0.0) -> None:
        self.now, self.runs, self._beside = 0.0, threading.Event(), beside

    def __call__(self) -> float:
        self.now += 5 if self.runs.is_set() else 0
        return self.now + self._beside()


def until(condition) -> None:
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.005)


def numbers(frames) -> list[int]:
    return [number_of(frame.picture) for frame in frames]


def frame(size=(4, 4)) -> av.VideoFrame:
    return av.VideoFrame.from_ndarray(np.zeros((*size, 3), np.uint8), format="rgb24")


def test_frames_wait_as_long_as_they_can_be_done_in_time():
    clock = Clock()
    queue = LiveQueue(max_delay=0.5, clock=clock)
    for number in range(4):
        clock.now = number / 10
        assert queue.put(frame())
    assert (taken := queue.take(work_seconds=0.1)).arrived == 0 and taken.num_dropped == 0
    clock.now = 0.5  # the one of 0.1 would be 0.55 old
    assert (taken := queue.take(work_seconds=0.15)).arrived == 0.3 and taken.num_dropped == 2
    assert not queue.wait(0)


def test_the_newest_stays_however_long_the_work_takes():
    clock = Clock()
    queue = LiveQueue(max_delay=0.5, clock=clock)
    for number in range(10):
        clock.now = number / 10
        assert queue.put(frame())
    clock.now = 99.0
    assert (taken := queue.take(work_seconds=9)).arrived == 0.9 and taken.num_dropped == 9


@pytest.mark.parametrize(("seconds", "most_apart"), [(0.125, 4), (0.04, 2)])
def test_who_is_too_slow_gets_the_newest_at_even_distances(seconds, most_apart):
    """A source of 30 frames per second, slow and nearly quick enough work: twenty seconds of each."""
    clock, taken, put = Clock(), [], 0
    queue = LiveQueue(max_delay=0.5, clock=clock)
    for number in range(int(20 / seconds)):
        now = number * seconds
        while put / 30 <= now:
            clock.now = put / 30
            queue.put(frame())
            put += 1
        clock.now = now
        if queue.wait(0):
            taken.append((queue.take(work_seconds=seconds), now))
    delays = [now + seconds - each.arrived for each, now in taken]
    apart = np.diff([round(30 * each.arrived) for each, _ in taken])
    assert max(delays) <= 0.5 + 1e-6
    later = next(number for number, (each, _) in enumerate(taken) if each.num_dropped) + 1
    assert max(delays[later:]) <= 1 / 30 + seconds + 1e-6 and max(apart[later:]) <= most_apart
    assert sum(each.num_dropped for each, _ in taken) + len(taken) == round(30 * taken[-1][0].arrived) + 1


def test_who_is_quick_again_misses_nothing():
    clock = Clock()
    queue = LiveQueue(max_delay=0.5, clock=clock)
    for number in range(31 + CALM):
        clock.now = number / 30
        queue.put(frame())
        if number >= 30:  # a second of work, and from then on none
            assert queue.take().num_dropped == (30 if number == 30 else 0)
    for _ in range(3):  # a short one
        queue.put(frame())
    assert [queue.take().num_dropped for _ in range(3)] == [0, 0, 0]


def test_frames_that_wait_are_bounded_in_bytes_too():
    queue = LiveQueue(max_delay=1000, clock=Clock())
    large = frame((4320, 7680))
    before = sys.getrefcount(large)
    for _ in range(20):
        queue.put(large)
    assert sys.getrefcount(large) - before == 5
    assert queue.take().num_dropped == 19


@pytest.mark.parametrize(
    ("max_delay", "later", "expected"),
    [
        (0.5, 0, list(range(COUNT))),
        (0.5, 10, [COUNT - 1]),
        (0.0, 0.01, [COUNT - 1]),
        (None, 10, list(range(COUNT))),
    ],
)
def test_who_asks_late_gets_what_is_young_and_is_told_what_is_not_there(max_delay, later, expected):
    clock = Clock()
    with Server(lambda n, request: [MULTIPART, *jpegs(range(COUNT))]) as server:
        source = LiveSource(server.address, max_delay=max_delay, reconnect=0, clock=clock)
        until(lambda: source.is_ended or max_delay is None)
        clock.now += later
        seen = list(source)
    assert numbers(seen) == [each.number for each in seen] == expected
    dropped = COUNT - len(expected)
    assert source.num_dropped == sum(each.num_dropped for each in seen) == dropped
    assert source.num_frames == len(expected)
    said = f"{dropped} of {COUNT} frames dropped to stay within {max_delay:g} s" if dropped else ""
    assert source.left_out == said
    assert max_delay is None or source.delay(seen[-1]) == later


def test_nothing_is_dropped_where_the_source_can_wait():
    queue = LiveQueue(max_delay=None, clock=Clock())
    done = []
    thread = threading.Thread(target=lambda: done.extend(queue.put(frame()) for _ in range(MAX_HELD + 3)))
    thread.start()
    until(lambda: len(done) == MAX_HELD)
    for _ in range(3):
        queue.take()
    thread.join(PATIENCE)
    assert done == [True] * (MAX_HELD + 3)


@pytest.mark.parametrize(
    ("scheme", "answer"),
    [
        ("http", [MULTIPART, *jpegs(range(COUNT))]),
        ("http", [STREAM, encoded(range(COUNT))]),
        ("http", [STREAM, encoded(range(COUNT), codec="libx264")]),
        ("tcp", [encoded(range(COUNT))]),
        ("tcp", [encoded(range(COUNT), codec="mjpeg", kind="mjpeg")]),
        ("rtsp", [encoded(range(COUNT))]),
    ],
)
def test_streams_of_every_kind(scheme, answer):
    server = (
        RtspServer(lambda n, request: answer) if scheme == "rtsp" else Server(lambda n, r: answer, scheme)
    )
    with server:
        source = LiveSource(server.address, reconnect=0, clock=Clock())
        seen = numbers(source)
    assert seen == list(range(COUNT))[: len(seen)]
    assert len(seen) >= COUNT - 1, "RTSP keeps the last frame until the next one comes"
    assert source.frames_per_second in (25, 30) and source.left_out == ""
    with pytest.raises(ValueError, match="its frames come once"):
        next(iter(source))


def test_times_are_those_of_the_clock_or_where_nothing_is_dropped_of_the_stream():
    for max_delay, expected in ((0.5, [0.0] * COUNT), (None, [number / 30 for number in range(COUNT)])):
        with Server(lambda n, request: [STREAM, encoded(range(COUNT))]) as server:
            source = LiveSource(server.address, max_delay=max_delay, reconnect=0, clock=Clock())
            assert [each.seconds for each in source] == pytest.approx(expected, abs=1e-3)


@pytest.mark.parametrize("end", ["breaks", "stalls"])
def test_a_stream_that_returns_is_gone_on_with(end):
    clock, never, said = Clock(time.monotonic), threading.Event(), []

    def answer(number, request):
        yield MULTIPART
        yield from jpegs(range(10 * number, 10 * number + 10))
        if end == "stalls" and not number:
            clock.runs.set()
            yield never

    with Server(answer) as server:
        source = LiveSource(
            server.address, max_delay=None, stall_seconds=200, first_pause=0.01, clock=clock, reconnect=2
        )
        source.attend(say=said.append, asked_to_end=lambda: source.num_frames == 20)
        seen = []
        for each in source:
            clock.runs.clear() if len(seen) == 10 else None
            seen.append(each)
        never.set()
    assert numbers(seen) == [each.number for each in seen] == list(range(20))
    assert source.num_reconnects == 1 and source.left_out == "connected anew 1 time"
    why = "it ended" if end == "breaks" else "no frame came for 200 seconds"
    assert said[0] == f"{server.address}: {why}; connecting anew in 0.01 s (attempt 1 of 2)"


def test_a_stream_that_does_not_return_is_given_up():
    def answer(number, request):
        return [MULTIPART, *jpegs(range(3))] if not number else [b"HTTP/1.0 503 Busy\r\n\r\n"]

    said, seen = [], []
    with Server(answer) as server:
        source = LiveSource(server.address, reconnect=3, first_pause=0.01)
        source.attend(say=said.append)
        with pytest.raises(
            PictureError,
            match="was lost after 3 frames, and 3 attempts to connect anew failed: Server returned 5",
        ):
            seen.extend(source)
    assert len(seen) == 3 and len(server.requests) == 4
    assert [each.partition(" in ")[2] for each in said] == [
        "0.01 s (attempt 1 of 3)", "0.02 s (attempt 2 of 3)", "0.04 s (attempt 3 of 3)"
    ]  # fmt: skip


def test_a_stall_is_the_end_where_nobody_connects_anew():
    clock, never = Clock(), threading.Event()

    def answer(number, request):
        yield from [MULTIPART, *jpegs(range(10))]
        clock.runs.set()
        yield never

    with Server(answer) as server:
        source = LiveSource(server.address, max_delay=None, reconnect=0, stall_seconds=200, clock=clock)
        with pytest.raises(PictureError, match="was lost after 10 frames: no frame came for 200 seconds"):
            list(source)
        never.set()


@pytest.mark.parametrize("how", ["at once", "when it returns"])
def test_another_size_ends_it(how):
    def answer(number, request):
        yield MULTIPART
        yield from jpegs(range(5), (96, 64) if number else (48, 64))
        if how == "at once":
            yield from jpegs(range(5), (96, 64))

    with Server(answer) as server:
        source = LiveSource(server.address, max_delay=None, reconnect=1, first_pause=0.01)
        seen = []
        with pytest.raises(
            PictureError, match=r"frame 5 has \(height, width\) \(96, 64\), those before \(48, 64\)"
        ):
            seen.extend(source)
    assert numbers(seen) == list(range(5))


def test_another_codec_after_a_break_is_the_same_stream():
    def answer(number, request):
        return [
            STREAM,
            encoded(range(10 * number, 10 * number + 10), codec=["mpeg2video", "libx264"][number % 2]),
        ]

    with Server(answer) as server:
        source = LiveSource(server.address, max_delay=None, reconnect=1, first_pause=0.01)
        source.attend(asked_to_end=lambda: source.num_frames == 20)
        assert numbers(source) == list(range(20))


def test_damaged_packets_are_passed_over_and_counted():
    good = list(jpegs(range(COUNT)))
    damaged = good[:10] + [each[:-400] + bytes(400) for each in good[10:12]] + good[12:]
    damaged[15] = damaged[15].replace(b"\xff\xd8\xff", b"\0\0\0")
    with Server(lambda n, request: [MULTIPART, *damaged]) as server:
        source = LiveSource(server.address, reconnect=0, clock=Clock())
        seen = numbers(source)
    assert seen[:10] == list(range(10)) and seen[-10:] == list(range(20, 30)) and len(seen) <= COUNT - 1
    assert source.num_damaged == COUNT - len(seen) and "passed over" in source.left_out


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ([b"HTTP/1.0 404 Not Found\r\n\r\n"], "404 Not Found"),
        ([b"HTTP/1.0 401 Unauthorized\r\n\r\n"], "401 Unauthorized"),
        ([b"HTTP/1.0 200 OK\r\nContent-Type: text/html\r\n\r\n" + b"<p>hello</p>" * 99], "does it send a video stream"),
        ([STREAM, sound()], "it holds sound only"),
        ([], "it ended without a single frame"),
        ([STREAM, jpeg(0)], "a picture, no stream"),
        ([STREAM, encoded(range(9), codec="flv1", kind="flv")], "a whole video of 0.3 seconds, no live stream"),
    ],
)  # fmt: skip
def test_what_is_no_stream_is_said(answer, said):
    with Server(lambda n, request: answer) as server:
        address = server.address.replace("//", "//me:secret@")
        with pytest.raises(PictureError, match=said) as caught:
            LiveSource(address)
    assert str(caught.value).startswith(f"{server.address} cannot be read: ")
    assert len(server.requests) <= 2, "what never worked is not tried again and again"


def test_where_nobody_listens_and_where_nothing_comes():
    with Server(lambda n, request: []) as server:
        pass
    with pytest.raises(PictureError, match="cannot be read: Connection refused"):
        LiveSource(server.address)
    never = threading.Event()
    with Server(lambda n, request: [STREAM, never]) as server:
        clock = Clock()
        clock.runs.set()
        with pytest.raises(PictureError, match="no frame came for 200 seconds"):
            LiveSource(server.address, stall_seconds=200, clock=clock)
        never.set()


def test_a_password_is_sent_and_never_shown():
    with RtspServer(lambda n, request: [encoded(range(9))], login="me:secret") as server:
        source = LiveSource(f"rtsp://me:secret@{server.place}/door?key=hidden", reconnect=0)
        frames = list(source)
        with pytest.raises(PictureError) as caught:
            LiveSource(f"rtsp://me:wrong-secret@{server.place}/door")
    shown = f"{source.name} {source.address} {frames[0].name} {caught.value!r} {caught.value.__cause__}"
    assert len(frames) >= 8 and "401" in shown and server.place in shown
    assert "secret" not in shown and "hidden" not in shown and "me:" not in shown


@pytest.mark.parametrize(
    ("words", "shown"),
    [
        ("rtsp://u:p@host:554/a", "rtsp://host:554/a"),
        ("rtsp://u:p@ss@host/a", "rtsp://host/a"),
        ("rtsp://u:p/ss?@host/a", "rtsp://host/a"),
        ("http://u:p#s@[::1]:80/a?t=1#b", "http://[::1]:80/a?…"),
        ("HTTP://host/@people/live", "http://host/@people/live"),
        ("https://u@host", "https://host"),
    ],
)
def test_of_an_address_only_the_place_is_shown(words, shown):
    assert live_address(words).shown == shown


@pytest.mark.parametrize("name", ["playlist", "list of parts"])
@pytest.mark.parametrize("way", ["http", "pipe"])
def test_what_comes_in_can_open_no_file_of_this_machine(tmp_path, name, way):
    film = tmp_path / "private.ts"
    film.write_bytes(encoded(range(COUNT)))
    text = {
        "playlist": f"#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:1,\nfile://{film}\n#EXT-X-ENDLIST\n",
        "list of parts": f"ffconcat version 1.0\nfile file://{film}\n",
    }[name]
    if way == "http":
        with Server(lambda n, request: [STREAM, text.encode()]) as server, pytest.raises(PictureError):
            LiveSource(server.address)
        return
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    for words in (text, text.replace("file file://", "file ").replace(str(film), "private.ts")):
        feed(pipe, words.encode())
        with pytest.raises(PictureError):
            LiveSource(pipe)


def feed(pipe, content: bytes) -> None:
    """In a thread that waits for somebody to read."""

    def write() -> None:
        with open(pipe, "wb") as file:
            file.write(content)

    threading.Thread(target=write, daemon=True).start()


def y4m(count: int) -> bytes:
    head = b"YUV4MPEG2 W64 H48 F30:1 Ip A1:1 C444\n"
    return head + b"".join(
        b"FRAME\n" + bytes([round(16 + (20 + 4 * number) * 219 / 255)]) * 64 * 48 + bytes([128]) * 64 * 48 * 2
        for number in range(count)
    )


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
@pytest.mark.parametrize(
    "content",
    [
        y4m(COUNT),
        encoded(range(COUNT)),
        encoded(range(COUNT), codec="mjpeg", kind="mjpeg"),
        encoded(range(COUNT), codec="libx264", kind="matroska"),
        encoded(range(COUNT), codec="libx264", kind="h264"),
    ],
    ids=["y4m", "mpegts", "mjpeg", "matroska", "h264"],
)
def test_a_named_pipe_is_read_to_its_end(tmp_path, content):
    pipe = tmp_path / "door.pipe"
    os.mkfifo(pipe)
    feed(pipe, content)
    source = LiveSource(pipe, clock=Clock())
    assert numbers(source) == list(range(COUNT)) and source.name == "door" and source.left_out == ""


def test_standard_input(monkeypatch):
    reading, writing = os.pipe()
    monkeypatch.setattr(sys, "stdin", os.fdopen(reading))
    feed(writing, y4m(COUNT))
    source = LiveSource("-", clock=Clock())
    assert numbers(source) == list(range(COUNT)) and source.name == "standard-input"
    with pytest.raises(ValueError, match="standard input cannot be opened anew"):
        LiveSource("-", reconnect=2)


def test_a_pipe_that_stalls_and_one_that_nobody_writes(tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    clock = Clock()
    clock.runs.set()
    with pytest.raises(PictureError, match=r"pipe cannot be read: no frame came for 100 seconds"):
        LiveSource(pipe, stall_seconds=100, clock=clock)
    clock.runs.clear()
    with open(pipe, "r+b", buffering=0) as file:
        threading.Thread(target=file.write, args=[y4m(10)], daemon=True).start()
        source = LiveSource(pipe, stall_seconds=100, clock=clock)
        seen = []
        with pytest.raises(PictureError, match=r"was lost after 10 frames: no frame came for 100 seconds"):
            for each in source:
                seen.append(each)
                clock.runs.set() if len(seen) == 10 else None
    assert numbers(seen) == list(range(10))


def test_it_ends_when_asked_also_while_nothing_comes():
    never, asked = threading.Event(), threading.Event()
    with Server(lambda n, request: [MULTIPART, *jpegs(range(10)), never]) as server:
        source = LiveSource(server.address, max_delay=None)
        source.attend(asked_to_end=asked.is_set)
        seen = []
        for each in source:
            seen.append(each)
            if len(seen) == 10:
                threading.Timer(0.05, asked.set).start()
        never.set()
    assert numbers(seen) == list(range(10))


def test_nobody_reads_for_a_source_that_is_gone():
    def threads():
        return [each for each in threading.enumerate() if each.name.startswith("live 127")]

    over = threading.Event()
    until(lambda: not threads())

    def answer(number, request):
        yield MULTIPART
        while not over.is_set():
            yield from jpegs([1])

    with Server(answer) as server:
        source = LiveSource(server.address)
        assert len(threads()) == 1
        del source
        gc.collect()
        until(lambda: not threads())
        over.set()


@pytest.mark.parametrize(
    ("words", "options", "said"),
    [
        (
            "rtmp://host/live",
            {},
            "expected a stream of rtsp://, .*, got rtmp://host/live; did you mean 'rtsp'",
        ),
        ("rtps://u:secret@host", {}, "got rtps://host;"),
        ("http://", {}, "expected an address such as http://HOST/PATH"),
        ("http://h/a", {"max_delay": -1.0}, "max_delay must be seconds from 0 on, or None"),
        ("http://h/a", {"reconnect": -1}, "reconnect must be 0 or more"),
        ("http://h/a", {"stall_seconds": 0.0}, "stall_seconds must be above 0"),
        ("webcam:", {}, "expected a camera by its number or name, such as webcam:0"),
    ],
)
def test_mistakes_are_told_before_anything_is_opened(words, options, said):
    with pytest.raises(ValueError, match=said):
        LiveSource(words, **options)


@pytest.mark.skipif(sys.platform != "linux", reason="cameras are files here only")
def test_a_camera_that_is_not_there():
    with pytest.raises(
        FileNotFoundError, match="there is no camera /dev/video97; a number is that of /dev/video"
    ):
        LiveSource("webcam:97")
