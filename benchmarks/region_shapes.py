"""Pasting masks and reading keypoint maps beside torchvision's functions: the same arrays, the same results.

    python benchmarks/region_shapes.py --repeats 9 --threads 2
    python benchmarks/region_shapes.py --repeats 9 --threads 1 --clock cpu

100 masks of 28×28 cells into pictures of 480×640 and 800×1333, and 100 × 17 maps of 56×56 over boxes of such
pictures, sides from a twentieth to a half of the picture's. Both run alternately in one process. torchvision leaves
probabilities where Pagoda leaves pixels that belong or not; the comparison with 0.5 counts for it, too.

`--clock cpu` counts processor time instead, which a busy machine disturbs less (use it with one thread).
"""

import argparse
import platform
from collections.abc import Callable

import torch
import torchvision
from inference import CLOCKS, cpu_name, timings
from torch import Tensor
from torch.nn.functional import interpolate
from torchvision.models.detection import roi_heads

from pagoda.ops.heatmaps import heatmaps_to_keypoints
from pagoda.ops.masks import paste_masks

SIZES = ((480, 640), (800, 1333))
OBJECTS, KEYPOINTS = 100, 17


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--clock", choices=CLOCKS, default="wall")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    print(f"{cpu_name()}, {options.threads} threads, {options.clock} clock;", end=" ")
    print(
        f"torch {torch.__version__}, torchvision {torchvision.__version__}, Python {platform.python_version()}\n"
    )
    print("| what | picture | torchvision ms | Pagoda ms | torchvision / Pagoda | largest difference |")
    print("|---|---|--:|--:|--:|--:|")
    torch.manual_seed(0)
    with torch.inference_mode():
        for size in SIZES:
            boxes = drawn_boxes(size)
            for what, (theirs, ours, difference) in {
                "pasting": pasting(boxes, size),
                "keypoints": decoding(boxes),
            }.items():
                medians, _ = timings({"theirs": theirs, "ours": ours}, options.repeats, CLOCKS[options.clock])
                times = [medians[name] * 1e3 for name in ("theirs", "ours")]
                print(f"| {what} | {size[0]}×{size[1]} | {times[0]:.1f} | {times[1]:.1f}", end=" ")
                print(f"| {times[0] / times[1]:.1f} | {difference} |")


def drawn_boxes(size: tuple[int, int]) -> Tensor:
    """(OBJECTS, 4), small ones more often."""
    frame = torch.tensor(size[::-1], dtype=torch.float32)
    sides = (0.05 + 0.45 * torch.rand(OBJECTS, 2).square()) * frame
    corner = torch.rand(OBJECTS, 2) * (frame - sides)
    return torch.cat([corner, corner + sides], 1)


Pair = tuple[Callable[[], Tensor], Callable[[], Tensor], str]
"""torchvision's, ours, and by how much they differ"""


def pasting(boxes: Tensor, size: tuple[int, int]) -> Pair:
    blobs = torch.rand(OBJECTS, 1, 5, 5)
    masks = interpolate(blobs, size=(28, 28), mode="bicubic").clamp(0, 1)

    def theirs() -> Tensor:
        return roi_heads.paste_masks_in_image(masks, boxes, size)[:, 0] > 0.5

    def ours() -> Tensor:
        return paste_masks(masks[:, 0], boxes, size, rule="whole_pixels")

    return theirs, ours, f"{int((theirs() != ours()).sum())} pixels of {int(theirs().sum())}"


def decoding(boxes: Tensor) -> Pair:
    blobs = torch.randn(OBJECTS, KEYPOINTS, 14, 14) * 3
    maps = interpolate(blobs, size=(56, 56), mode="bilinear")

    def theirs() -> Tensor:
        return roi_heads.heatmaps_to_keypoints(maps, boxes)[0][..., :2]

    def ours() -> Tensor:
        return heatmaps_to_keypoints(maps, boxes)[0]

    return theirs, ours, f"{float((theirs() - ours()).abs().max()):.4f} pixels"


if __name__ == "__main__":
    main()
