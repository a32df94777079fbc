"""A ResNet over clips that slide by one frame: everything anew for each clip, or stem and layer1 once per frame.

Clips of T frames, one centred on every frame of a video. The published 3-D models saw short sides of 256 pixels, ours
sees 320, the best published 2-D one 800. Both ways hold the same weights and must return the same bits; they take
turns in one process. Weights are random, which does not matter.

    python benchmarks/sliding_clips.py --threads 1 --clock cpu
    python benchmarks/sliding_clips.py --depth 50 --num-frames 5 --repeats 3 --sizes 256x320

`--clock cpu` counts processor time instead, which a busy machine disturbs less (use it with one thread).
"""

import argparse
import platform
import statistics
import time
from collections import deque
from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from pagoda.backbones.resnet3d import ResNet3D

SIZES = ("256x320", "320x576", "512x640", "800x1056")
CLOCKS: dict[str, Callable[[], float]] = {"wall": time.perf_counter, "cpu": time.process_time}
Pyramid = dict[int, Tensor]


def recompute(network: ResNet3D, video: Tensor, num_frames: int) -> Iterator[Pyramid]:
    """The pyramid of every full clip of the video (1, 3, frames, H, W), each for itself."""
    for start in range(video.shape[2] - num_frames + 1):
        yield network(video[:, :, start : start + num_frames])


def reuse(network: ResNet3D, video: Tensor, num_frames: int) -> Iterator[Pyramid]:
    """The same with the features of the last frames kept."""
    kept: deque[Tensor] = deque(maxlen=num_frames)
    for frame in range(video.shape[2]):
        kept.append(network.frame_features(video[:, :, frame : frame + 1]))
        if len(kept) == num_frames:
            yield network.from_frame_features(torch.cat(list(kept), dim=2))


WAYS = {"every clip anew": recompute, "frames kept": reuse}


def seconds_per_clip(
    clips: Iterator[Pyramid], clock: Callable[[], float]
) -> tuple[list[float], list[Pyramid]]:
    """The time of each clip but the first, for which all frames are new either way; and the pyramids."""
    seconds, pyramids = [], [next(clips)]
    while True:
        start = clock()
        pyramid = next(clips, None)
        if pyramid is None:
            return seconds, pyramids
        seconds.append(clock() - start)
        pyramids.append(pyramid)


def compare(options: argparse.Namespace, size: str, dtype: torch.dtype) -> dict[str, float]:
    """Median milliseconds per clip, which is per frame of the video."""
    torch.manual_seed(0)
    network = ResNet3D(options.depth, levels=(4,), time_kernel=3).eval()
    video = torch.randn(1, 3, options.num_frames + options.clips, *map(int, size.split("x")))
    seconds: dict[str, list[float]] = {way: [] for way in WAYS}
    for repeat in range(options.repeats + 1):
        found = {}
        for way, run in WAYS.items():
            with torch.inference_mode(), torch.autocast("cpu", dtype, enabled=dtype != torch.float32):
                clips = run(network, video, options.num_frames)
                times, found[way] = seconds_per_clip(clips, CLOCKS[options.clock])
            if repeat:  # the first warms up
                seconds[way] += times
        for anew, kept in zip(*found.values(), strict=True):
            assert all(torch.equal(x, kept[level]) for level, x in anew.items()), "the ways differ"
    return {way: 1e3 * statistics.median(values) for way, values in seconds.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--depth", type=int, default=18)
    parser.add_argument("--num-frames", type=int, default=3, help="T of a clip")
    parser.add_argument("--sizes", nargs="+", default=SIZES, help="height x width of the frames, in pixels")
    parser.add_argument("--clips", type=int, default=6, help="timed in every repeat")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--clock", choices=CLOCKS, default="wall")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    print(
        f"{platform.machine()}, {options.threads} threads, {options.clock} clock; torch {torch.__version__},"
        f" Python {platform.python_version()}; ResNet3D-{options.depth} to C4, T = {options.num_frames}\n"
    )
    print("| frames | precision | " + " | ".join(f"{way}, ms per frame" for way in WAYS) + " | ratio |")
    print("|---|---|--:|--:|--:|")
    for size in options.sizes:
        for label, dtype in (("fp32", torch.float32), ("bf16", torch.bfloat16)):
            anew, kept = compare(options, size, dtype).values()
            print(f"| {size} | {label} | {anew:.0f} | {kept:.0f} | {anew / kept:.2f} |", flush=True)


if __name__ == "__main__":
    main()
