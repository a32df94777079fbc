"""Pagoda and torchvision side by side on a GPU: pictures to detections, and training steps.

    python benchmarks/gpu.py --repeats 20
    python benchmarks/gpu.py --models retinanet_resnet50_fpn --batch-size 8 --compile

Peer and variants run alternately in one process on the same pictures (480×640, 80 classes, random weights calibrated as
in inference.py), and the device is waited for around every run. `--compile` adds torch.compile and, as
"CUDA graphs", its mode "reduce-overhead"; both take minutes. `--device cpu` tries the same lines on the processor.
"""

import argparse
import platform
import statistics
import time
from collections.abc import Callable

import torch
import torchvision
from inference import HEIGHT, NUM_CLASSES, WIDTH, calibrate, torchvision_peer
from torch import Tensor, nn
from training_step import sample

from pagoda.exporting.optimize import optimize
from pagoda.models import create_model
from pagoda.transfer.classes import last_layer

Run = Callable[[], object]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", nargs="+", default=["fcos_resnet50_fpn", "retinanet_resnet50_fpn"])
    parser.add_argument("--repeats", type=int, default=20)
    parser.add_argument("--batch-size", type=int, default=1)
    parser.add_argument("--compile", action="store_true", help="also torch.compile and CUDA graphs")
    parser.add_argument("--device", default="cuda")
    options = parser.parse_args()
    device = torch.device(options.device)
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else platform.processor()
    print(
        f"{name}; torch {torch.__version__}, torchvision {torchvision.__version__}, {options.batch_size} a batch"
    )
    print("\n| model | variant | median ms | torchvision / variant |\n|---|---|--:|--:|")
    for model in options.models:
        torch.manual_seed(0)
        for work, runs in (
            ("predict", inference(model, device, options.batch_size, options.compile)),
            ("learn", training(model, device, options.compile)),
        ):
            report(f"{model}, {work}", medians(runs, options.repeats, device))


def inference(name: str, device: torch.device, batch_size: int, with_compile: bool) -> dict[str, Run]:
    """Pictures that are on the device to detections."""
    picture = torch.randint(0, 256, (3, HEIGHT, WIDTH), dtype=torch.uint8)
    head_norm = "none" if name.startswith("retinanet") else "group"
    sides = {"short_side": HEIGHT, "long_side": WIDTH}
    model = create_model(name, num_classes=NUM_CLASSES, head_norm=head_norm, **sides).eval()
    with torch.inference_mode():
        calibrate(last_layer(model.class_head), lambda: model.detect(model.input_spec.prepare([picture])))
        peer = torchvision_peer(name)
        calibrate(peer.head.classification_head.cls_logits, lambda: peer([picture / 255]))
    model, peer = model.to(device), peer.to(device)
    pictures = [picture.to(device) for _ in range(batch_size)]
    variants = {
        "eager fp32": model,
        "channels last, folded": optimize(model),
        "bf16": optimize(model, dtype=torch.bfloat16),
        "fp16": optimize(model, dtype=torch.float16),
    }
    if with_compile:
        for label, settings in (("compiled bf16", {}), ("CUDA graphs, bf16", {"mode": "reduce-overhead"})):
            variants[label] = optimize(model, dtype=torch.bfloat16)
            variants[label].compile(**settings)
    runs: dict[str, Run] = {"torchvision": lambda: peer([each / 255 for each in pictures])}
    for label, variant in variants.items():
        runs[label] = lambda variant=variant: variant.detect(
            variant.input_spec.prepare(pictures, device=device)
        )
    return {label: without_gradients(run) for label, run in runs.items()}


def without_gradients(run: Run) -> Run:
    def quiet() -> object:
        with torch.inference_mode():
            return run()

    return quiet


def training(name: str, device: torch.device, with_compile: bool) -> dict[str, Run]:
    """Losses and gradients of two pictures, the optimiser left out."""
    pictures, targets = sample()
    pictures = [picture.to(device) for picture in pictures]
    targets = [each.to(device) for each in targets]
    head_norm = "none" if name.startswith("retinanet") else "group"
    make = getattr(torchvision.models.detection, name)
    peer = make(weights=None, weights_backbone=None, num_classes=NUM_CLASSES, min_size=HEIGHT, max_size=WIDTH)
    peer = peer.train().to(device)
    wanted = [{"boxes": each.boxes, "labels": each.labels} for each in targets]
    ours, last, compiled = (
        create_model(name, num_classes=NUM_CLASSES, head_norm=head_norm).train().to(device) for _ in range(3)
    )

    def step(model: nn.Module, look: Callable[[], dict[str, Tensor]], dtype: torch.dtype | None) -> Run:
        def run() -> None:
            model.zero_grad(set_to_none=True)
            with torch.autocast(device.type, dtype or torch.bfloat16, enabled=dtype is not None):
                losses = look()
            sum(losses.values()).backward()

        return run

    def losses_of(model: nn.Module) -> Callable[[], dict[str, Tensor]]:
        return lambda: model.losses(model.input_spec.batch(pictures, device=device), targets)

    layout = torch.channels_last
    runs = {
        "torchvision": step(peer, lambda: peer([each / 255 for each in pictures], wanted), None),
        "fp32": step(ours, losses_of(ours), None),
        "channels last bf16": step(last.to(memory_format=layout), losses_of(last), torch.bfloat16),
    }
    if with_compile:
        compiled.backbone.compile()
        runs["compiled backbone, bf16"] = step(compiled, losses_of(compiled), torch.bfloat16)
    return runs


def medians(runs: dict[str, Run], repeats: int, device: torch.device) -> dict[str, float]:
    """Milliseconds; the runs take turns, two rounds are thrown away."""
    spent: dict[str, list[float]] = {label: [] for label in runs}
    for round_number in range(repeats + 2):
        for label, run in runs.items():
            wait(device)
            since = time.perf_counter()
            run()
            wait(device)
            if round_number > 1:
                spent[label].append(1000 * (time.perf_counter() - since))
    return {label: statistics.median(times) for label, times in spent.items()}


def wait(device: torch.device) -> None:
    if device.type != "cpu":
        torch.accelerator.synchronize(device)


def report(name: str, found: dict[str, float]) -> None:
    for label, milliseconds in found.items():
        print(
            f"| {name} | {label} | {milliseconds:.1f} | {found['torchvision'] / milliseconds:.2f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
