"""What following a long video holds in memory: a model of clips, a linker and all files that are written.

    python benchmarks/stream_memory.py                        # 2,000 frames, a few minutes on one core
    python benchmarks/stream_memory.py --frames 10000 --linker byte

Draws a video of walking figures, follows it with a small network of random weights as `pagoda track` does (record,
MOT text, PoseTrack JSON, annotated video), and prints the resident memory of the process along the way. It must
stay flat once the first frames have warmed the libraries up. A random network finds as many objects in every frame
as it is let, so there is always something to link, to draw and to write.
"""

import tempfile
import time
from collections import deque
from dataclasses import dataclass, replace
from pathlib import Path

import psutil
import torch
import tyro

from pagoda.data.drawn.walking import WalkingFigures
from pagoda.detectors.contract import Detector
from pagoda.follow.clips import detect_frames
from pagoda.follow.frame_log import FoundWriter
from pagoda.follow.outputs import TrackOutputs
from pagoda.models import create_model
from pagoda.structures.posetrack_skeletons import PERSON_17
from pagoda.tracking.linking import LinkerName, create_tracker
from pagoda.video.frames import VideoFrame, VideoSource, VideoWriter

MEGABYTE = 2**20
DRAWN = 50
"""frames that are drawn; the video shows them forwards and backwards"""


@dataclass(frozen=True, kw_only=True)
class Settings:
    frames: int = 2000
    height: int = 96
    width: int = 128
    linker: LinkerName = "tubes"
    max_detections: int = 10
    report_after: tuple[int, ...] = (50, 200, 500, 1000, 2000, 5000, 10_000)
    """frames"""


def write_video(path: Path, settings: Settings) -> None:
    size = (settings.height, settings.width)
    figures = WalkingFigures(num_videos=1, num_frames=DRAWN, image_size=size, seed=1)
    drawn = [figures.frame(0, frame).permute(1, 2, 0).numpy() for frame in range(DRAWN)]
    there_and_back = drawn + drawn[-2:0:-1]
    with VideoWriter(path, frames_per_second=25) as video:
        for number in range(settings.frames):
            video.add(there_and_back[number % len(there_and_back)], number / 25)


def small_model(settings: Settings) -> Detector:
    torch.manual_seed(0)
    sizes = {"short_side": settings.height, "long_side": settings.width}
    model = create_model("detect_and_track_resnet18_3d", label_map=PERSON_17, width=32, head_depth=1, **sizes)
    model.postprocess = model.postprocess.with_limits(max_detections=settings.max_detections, min_score=0.0)
    return model.eval()


def follow(source: VideoSource, folder: Path, settings: Settings) -> None:
    process, waiting = psutil.Process(), deque[VideoFrame]()

    def pictures():
        for frame in source:
            waiting.append(frame)
            yield frame.picture

    tracker = create_tracker(settings.linker, min_score=0.0)
    outputs = TrackOutputs(folder, source.name, source.frames_per_second)
    started = last_time = time.perf_counter()
    last_number = 0
    print("| frames | resident, MB | frames/s since the row above |\n|--:|--:|--:|")
    with outputs, FoundWriter(folder / "found.jsonl", {}) as record:
        for number, found in enumerate(detect_frames(small_model(settings), pictures()), 1):
            record.add(found)
            frame = waiting.popleft()
            linked = replace(tracker.update(found), file=frame.name)
            outputs.add(linked, frame.picture, frame.seconds)
            if number in settings.report_after:
                now = time.perf_counter()
                resident = process.memory_info().rss / MEGABYTE
                rate = (number - last_number) / (now - last_time)
                print(f"| {number} | {resident:.1f} | {rate:.1f} |", flush=True)
                last_number, last_time = number, now
    print(
        f"\n{outputs.num_frames} frames in {time.perf_counter() - started:.0f} s; {outputs.table().splitlines()[-1]}"
    )


def main(settings: Settings) -> None:
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "walk.mp4"
        write_video(path, settings)
        follow(VideoSource(path), Path(folder) / "out", settings)


if __name__ == "__main__":
    main(tyro.cli(Settings, description=__doc__.splitlines()[0]))
