"""One training step beside torchvision's: losses and gradients of detectors on R50-FPN, two 480×640 pictures.

    python benchmarks/training_step.py --repeats 5 --threads 2
    python benchmarks/training_step.py --models faster_rcnn_resnet50_fpn mask_rcnn_resnet50_fpn

Peer and variants run alternately in one process on the same pictures and boxes, every parameter trainable,
batch norm live; the optimiser is left out (it is the same).

`--clock cpu` counts processor time instead, which a busy machine disturbs less (use it with one thread).
"""

import argparse
import platform
import statistics
import time

import torch
import torchvision
from torch import Tensor
from torchvision.models import detection

from pagoda.models import create_model
from pagoda.structures.instances import Targets

CLOCKS = {"wall": time.perf_counter, "cpu": time.process_time}
HEIGHT, WIDTH, BATCH, OBJECTS = 480, 640, 2, 10
VARIANTS = {
    "eager fp32": ("fp32", False),
    "channels_last fp32": ("fp32", True),
    "channels_last bf16": ("bf16", True),
}


def sample() -> tuple[list[Tensor], list[Targets]]:
    """Noise with ten boxes of 32 to 232 pixels each; half of each box is its object."""
    pictures = [torch.randint(0, 256, (3, HEIGHT, WIDTH), dtype=torch.uint8) for _ in range(BATCH)]
    targets = []
    for _ in range(BATCH):
        corner = torch.rand(OBJECTS, 2) * torch.tensor([WIDTH - 240.0, HEIGHT - 240.0])
        boxes = torch.cat([corner, corner + 32 + 200 * torch.rand(OBJECTS, 2)], 1)
        labels = torch.randint(0, 80, (OBJECTS,))
        none = torch.zeros(OBJECTS, dtype=torch.bool)
        targets.append(Targets(boxes, labels, (HEIGHT, WIDTH), none, masks=left_halves(boxes)))
    return pictures, targets


def left_halves(boxes: Tensor) -> Tensor:
    """(N, H, W) bool."""
    left, top, right, bottom = boxes[:, :, None, None].unbind(1)
    x, y = torch.arange(WIDTH)[None, None], torch.arange(HEIGHT)[None, :, None]
    return (x >= left) & (x < (left + right) / 2) & (y >= top) & (y < bottom)


def peer(name: str, pictures: list[Tensor], targets: list[Targets]):
    is_region = "rcnn" in name  # whose classes count the background as 0
    model = getattr(detection, name.replace("_rcnn", "rcnn"))(
        weights=None, weights_backbone=None, num_classes=80 + is_region, min_size=HEIGHT, max_size=WIDTH
    ).train()
    wanted = [
        {"boxes": target.boxes, "labels": target.labels + is_region, "masks": target.masks.byte()}
        for target in targets
    ]

    def step() -> None:
        model.zero_grad(set_to_none=True)
        sum(model([picture / 255 for picture in pictures], wanted).values()).backward()

    return step


def ours(name: str, precision: str, channels_last: bool, pictures: list[Tensor], targets: list[Targets]):
    layout = torch.channels_last if channels_last else torch.contiguous_format
    if "rcnn" in name:  # as many proposals and samples as the peer's, and nothing frozen
        model = create_model(f"{name}.torchvision", num_classes=80, norm="batch", frozen_stages=0)
    else:
        # The peer's own network: its first RetinaNet has no norm in the heads, its FCOS has group norm.
        head_norm = "none" if name.startswith("retinanet") else "group"
        model = create_model(name, num_classes=80, head_norm=head_norm)
    model.train().to(memory_format=layout)

    def step() -> None:
        model.zero_grad(set_to_none=True)
        images = model.input_spec.batch(pictures).to(memory_format=layout)
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
            losses = model.losses(images, targets)
        sum(losses.values()).backward()

    return step


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", nargs="+", default=["fcos_resnet50_fpn", "retinanet_resnet50_fpn"])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--clock", choices=CLOCKS, default="wall")
    options = parser.parse_args()
    clock = CLOCKS[options.clock]
    torch.set_num_threads(options.threads)
    print(
        f"{platform.machine()}, {options.threads} threads, {options.clock} clock; torch {torch.__version__},"
        f" torchvision {torchvision.__version__}, Python {platform.python_version()}\n"
    )
    print("| model | variant | median s | torchvision / variant |\n|---|---|--:|--:|")
    for name in options.models:
        torch.manual_seed(0)
        pictures, targets = sample()
        steps = {"torchvision eager fp32": peer(name, pictures, targets)}
        for variant, (precision, channels_last) in VARIANTS.items():
            steps[variant] = ours(name, precision, channels_last, pictures, targets)
        seconds: dict[str, list[float]] = {variant: [] for variant in steps}
        for repeat in range(options.repeats + 1):  # the first warms up
            for variant, step in steps.items():
                since = clock()
                step()
                if repeat:
                    seconds[variant].append(clock() - since)
        medians = {variant: statistics.median(values) for variant, values in seconds.items()}
        base = medians["torchvision eager fp32"]
        for variant, median in medians.items():
            print(f"| {name} | {variant} | {median:.2f} | {base / median:.2f} |", flush=True)


if __name__ == "__main__":
    main()
