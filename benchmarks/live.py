"""How late a live source is followed when the model is too slow for it, what is dropped, and what that holds in memory.

    python benchmarks/live.py                     # 10 minutes: 30 frames per second of 1280x720, a model that does 8
    python benchmarks/live.py --minutes 0.5 --max-delay 0.2

Another process sends JPEG frames over HTTP, each at its time, as a camera does. A small network of random weights, held
back to the given rate, follows them as `pagoda track` does, with all files written. Three times are taken of each
frame: from when it was decoded until the model begins, which is what the source can keep short; and until its objects
are known, from when it was decoded and from when it was sent.
"""

import io
import json
import socket
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import psutil
import torch
import tyro
from PIL import Image

from pagoda.follow.follower import FollowedFrame, TrackOptions, VideoFollower
from pagoda.follow.run import follow_video
from pagoda.models import create_model
from pagoda.structures.instances import Detections
from pagoda.video.live import LiveFrame, LiveSource

MEGABYTE = 2**20
DRAWN = 60
"""frames that are drawn; the stream shows them again and again"""


@dataclass(frozen=True, kw_only=True)
class Settings:
    minutes: float = 10.0
    frames_per_second: float = 30.0
    """of the source"""
    model_per_second: float = 8.0
    """frames that the model manages"""
    max_delay: float = 0.5
    height: int = 720
    width: int = 1280
    report_minutes: tuple[float, ...] = (1, 2, 5, 10)
    serve: bool = False
    """be the sender: prints its port, and the time of its first frame once somebody has connected"""


def serve(settings: Settings) -> None:
    """Send one frame after the other, each at its time."""
    rng, parts = np.random.default_rng(0), []
    ground = np.kron(
        rng.integers(40, 200, (settings.height // 40, settings.width // 40, 3), dtype=np.uint8),
        np.ones((40, 40, 1), np.uint8),
    )
    for number in range(DRAWN):
        file = io.BytesIO()
        Image.fromarray(np.roll(ground, 4 * number, axis=1)).save(file, "JPEG", quality=80)
        head = b"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n" % len(file.getvalue())
        parts.append(head + file.getvalue() + b"\r\n")
    with socket.create_server(("127.0.0.1", 0)) as server:
        print(json.dumps({"port": server.getsockname()[1]}), flush=True)
        connection, _ = server.accept()
        connection.recv(2**16)
        connection.sendall(
            b"HTTP/1.0 200 OK\r\nContent-Type: multipart/x-mixed-replace; boundary=frame\r\n\r\n"
        )
        start = time.monotonic()
        print(json.dumps({"start": start}), flush=True)
        for number in range(round(60 * settings.minutes * settings.frames_per_second)):
            time.sleep(max(0.0, start + number / settings.frames_per_second - time.monotonic()))
            connection.sendall(parts[number % DRAWN])


def slow_model(settings: Settings, began: list[float]):
    """A detector whose `predict` takes as long as a frame may, and says when it began."""
    torch.manual_seed(0)
    model = create_model("fcos_resnet18_fpn", num_classes=3, width=32, short_side=120, long_side=160).eval()
    torch.nn.init.constant_(model.class_head.predict.bias, 0.0)  # untrained, and sure to see something
    model.postprocess = model.postprocess.with_limits(max_detections=10)
    predict = model.predict

    def slowly(picture: np.ndarray, **limits: float) -> Detections:
        began.append(time.monotonic())
        end = began[-1] + 1 / settings.model_per_second
        found = predict(picture, **limits)
        time.sleep(max(0.0, end - time.monotonic()))
        return found

    model.predict = slowly
    return model


def follow(settings: Settings, folder: Path) -> None:
    words = [sys.executable, __file__, "--serve", *(f"--{name}={getattr(settings, name.replace('-', '_'))}" for name in
             ("minutes", "frames-per-second", "height", "width"))]  # fmt: skip
    began: list[float] = []
    model = slow_model(settings, began)
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as sender:
        port = json.loads(sender.stdout.readline())["port"]
        options = TrackOptions(max_delay=settings.max_delay, reconnect=0, min_score=0.3)
        source = options.open(f"http://127.0.0.1:{port}/live")
        assert isinstance(source, LiveSource)
        start = json.loads(sender.stdout.readline())["start"]
        own, since_sent, waited, due = [], [], [], list(settings.report_minutes)
        process = psutil.Process()
        print("| minute | frames | dropped | resident, MB |\n|--:|--:|--:|--:|")

        def on_frame(each: FollowedFrame) -> None:
            assert isinstance(each.frame, LiveFrame)
            own.append(source.delay(each.frame))
            waited.append(began[-1] - each.frame.arrived)
            since_sent.append(time.monotonic() - start - each.frame.number / settings.frames_per_second)
            if due and time.monotonic() - start > 60 * due[0] - 0.5:
                resident = process.memory_info().rss / MEGABYTE
                print(f"| {due.pop(0):g} | {len(own)} | {source.num_dropped} | {resident:.1f} |", flush=True)

        run = follow_video(VideoFollower(model, source, options), folder, on_frame=on_frame, quiet=True)
    print(f"\n{run.num_frames} frames followed; {run.left_out}; {run.failure or 'the stream ended'}")
    delays_of = {"until the model begins": waited, "since decoded": own, "since sent": since_sent}
    for name, delays in delays_of.items():
        median, most, worst = np.percentile(delays, [50, 99.9, 100])
        above = sum(delay > settings.max_delay for delay in delays)
        print(
            f"{name}: median {median:.3f} s, 99.9 % within {most:.3f} s, longest {worst:.3f} s,"
            f" {above} of {len(delays)} above {settings.max_delay:g} s"
        )


def main(settings: Settings) -> None:
    torch.set_num_threads(1)
    if settings.serve:
        serve(settings)
        return
    with tempfile.TemporaryDirectory() as folder:
        follow(settings, Path(folder) / "out")


if __name__ == "__main__":
    main(tyro.cli(Settings, description=__doc__.splitlines()[0]))
