"""Several events of one window at once, and the end while a video is followed: through the real server."""

import json
import os
import signal
import subprocess
import sys
import threading
import urllib.request
from contextlib import closing
from pathlib import Path

import pytest

from pagoda.app.album import Album
from pagoda.app.events import Events
from pagoda.app.looking import Looker
from pagoda.app.serving import listen, served
from pagoda.data.dataset import DetectionDataset
from pagoda.data.drawn.walking import WalkingFigures
from pagoda.data.formats.reader import open_annotations
from pagoda.video.frames import VideoWriter

MEETING_SECONDS = 2
"""that one event waits for another to run beside it"""


class Window:
    """One person, whose browser is asked for nothing: the same requests, written by hand."""

    def __init__(self, address: str, name: str) -> None:
        self.address, self.name = address, name
        config = json.loads(self._ask("config"))
        self._ids = {part["id"]: part["props"].get("elem_id") for part in config["components"]}
        self._events = config["dependencies"]
        self._stream = self._threads = None
        self.said: dict[str, list[dict]] = {}
        self._done = threading.Condition()

    def _ask(self, path: str, data: bytes | None = None, kind: str = "application/json") -> bytes:
        request = urllib.request.Request(self.address + path, data, {"Content-Type": kind})
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with closing(opener.open(request, timeout=60)) as answer:
            return answer.read()

    def upload(self, path: Path) -> dict:
        edge = "----edge"
        head = f'--{edge}\r\nContent-Disposition: form-data; name="files"; filename="{path.name}"\r\n\r\n'
        body = head.encode() + path.read_bytes() + f"\r\n--{edge}--\r\n".encode()
        (place,) = json.loads(self._ask("gradio_api/upload", body, f"multipart/form-data; boundary={edge}"))
        return {"path": place, "meta": {"_type": "gradio.FileData"}, "orig_name": path.name}

    def event(self, part: str, kind: str) -> dict:
        """What happens when something is done to a part of the page."""
        for each in self._events:
            if any(kind == how and (self._ids.get(target) or "") == part for target, how in each["targets"]):
                return each
        raise AssertionError(f"no event {kind} of {part}")

    def do(self, part: str, kind: str, *values: object) -> str:
        """Ask for an event; its number."""
        event = self.event(part, kind)
        body = {
            "data": [None, *values],
            "fn_index": event["id"],
            "session_hash": self.name,
            "trigger_id": None,
        }
        number = json.loads(self._ask("gradio_api/queue/join", json.dumps(body).encode()))["event_id"]
        if self._stream is None or not self._stream.is_alive():
            self._stream = threading.Thread(target=self._listen, daemon=True)
            self._stream.start()
        return number

    def _listen(self) -> None:
        request = urllib.request.Request(f"{self.address}gradio_api/queue/data?session_hash={self.name}")
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with closing(opener.open(request, timeout=120)) as answer:
            for line in answer:
                if line.startswith(b"data:"):
                    message = json.loads(line[5:])
                    with self._done:
                        self.said.setdefault(message.get("event_id"), []).append(message)
                        self._done.notify_all()

    def wait(self, number: str, kind: str = "process_completed") -> dict:
        """The message of that kind that an event has come to."""

        def found() -> dict | None:
            return next((each for each in self.said.get(number, []) if each["msg"] == kind), None)

        with self._done:
            assert self._done.wait_for(found, timeout=90), (kind, self.said)
        message = found()
        assert message is not None and message.get("success", True), message
        return message

    def values(self, message: dict, part: str, event: dict) -> object:
        """What an event says of a part of the page."""
        parts = [self._ids.get(each) for each in event["outputs"]]
        return message["output"]["data"][parts.index(part)]


@pytest.mark.medium
def test_events_of_one_window_lose_nothing(sure_model, data_folder, monkeypatch):
    """The slider moves while the next picture is being looked at: it is the next one, and the slider is where it is."""
    pytest.importorskip("gradio", reason="needs gradio: pip install 'pagoda-vision[app]'")
    album = Album(DetectionDataset(open_annotations(data_folder, "val")))
    events = Events((Looker(sure_model(), "a"),), album)
    beside, change, look = threading.Event(), Events.change, Looker.look

    def seen_beside(self, *given):
        after = change(self, *given)
        beside.set()
        return after

    with served(events, listen(0)) as (address, _):
        window = Window(address, "somebody")
        load = next(each for each in window._events if any(how == "load" for _, how in each["targets"]))
        monkeypatch.setattr(
            window,
            "event",
            lambda part, kind, find=window.event: load if kind == "load" else find(part, kind),
        )
        window.wait(window.do("", "load"))
        monkeypatch.setattr(Events, "change", seen_beside)
        monkeypatch.setattr(
            Looker, "look", lambda self, pixels: (beside.wait(MEETING_SECONDS), look(self, pixels))[1]
        )
        following = window.do("next", "click")
        window.wait(following, "process_starts")
        moved = window.do("min-score", "change", 0.725, 0.6)
        last = window.do("next", "click")
        for number in (following, moved):
            window.wait(number)
        seen = window.values(window.wait(last), "place", window.event("next", "click"))
        assert seen == "000003.png (3 of 6)"
        said = window.values(window.wait(last), "said", window.event("next", "click"))
        count = int(said.split("a: ")[1].split()[0])
        expected = len(
            events.lookers[0].found(look(events.lookers[0], album.pixels(2)), events.limits_of(0.725, 0.6))
        )
        assert (
            count
            == expected
            < len(events.lookers[0].found(look(events.lookers[0], album.pixels(2)), events.limits))
        )


@pytest.fixture(scope="module")
def walk(tmp_path_factory):
    figures = WalkingFigures(num_videos=1, num_frames=12, image_size=(96, 128))
    frames = [figures.frame(0, number).permute(1, 2, 0).numpy() for number in range(12)]
    path = tmp_path_factory.mktemp("video") / "walk.mp4"
    with VideoWriter(path, frames_per_second=5) as writer:
        for number in range(400):
            writer.add(frames[number % 12], number / 5)
    return path


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")
@pytest.mark.parametrize(
    "stops_first", [True, False], ids=["after a stopped video", "while a video is followed"]
)
@pytest.mark.parametrize(("signum", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_it_ends(checkpoint, walk, repository, tmp_path, signum, code, stops_first):
    pytest.importorskip("gradio", reason="needs gradio: pip install 'pagoda-vision[app]'")
    paths = os.pathsep.join(str(repository / each) for each in ("src", "runtime/src"))
    process = subprocess.Popen(
        [sys.executable, "-m", "pagoda", "app", str(checkpoint), "--port", "0"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": paths, "TMPDIR": str(tmp_path)},
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    try:
        window = Window(process.stdout.readline().split()[4], "somebody")
        window.wait(window.do("files", "upload", [window.upload(walk)]))
        following = window.do("follow", "click", "byte")
        window.wait(following, "process_generating")
        if stops_first:
            window.wait(window.do("stop", "click"))
            window.wait(following)
            again = window.do("follow", "click", "byte")
            window.wait(again, "process_generating")
            window.wait(window.do("stop", "click"))
            window.wait(again)
        process.send_signal(signum)
        out, errors = process.communicate(timeout=60)
    finally:
        process.kill()
    assert (process.returncode, out, errors) == (code, "", "interrupted\n")
    assert list(tmp_path.iterdir()) == []
