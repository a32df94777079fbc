"""Pagoda and torchvision (effdet for EfficientDet) side by side on one picture, and how much of the machine they use.

Peer and variants run alternately in one process, from the same uint8 picture (480×640, EfficientDet 512×512) to final
detections. Weights are random; the class layer of every model is rescaled so that logits have a spread of 1
and one (location, class) pair in a thousand passes the threshold of 0.05, some 500 candidates as on a street
scene. All keep 1000 candidates per level (EfficientDet 5000 in all) and 100 detections.

    python benchmarks/inference.py --repeats 15 --threads 2
    python benchmarks/inference.py --models efficientdet_d0 --repeats 15 --threads 1 --clock cpu

The convolutions are also timed one by one inside the bfloat16 network: what they alone reach of the roof, and
which of them miss MIN_SHARE of it.

`--clock cpu` counts processor time instead, which a busy machine disturbs less (use it with one thread).
"""

import argparse
import math
import platform
import statistics
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import torch
import torchvision
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode
from torchvision.models import detection

from pagoda.detectors.contract import Detector
from pagoda.exporting.optimize import optimize
from pagoda.models import create_model
from pagoda.transfer.classes import last_layer

HEIGHT, WIDTH, NUM_CLASSES = 480, 640, 80
CANVAS = (512, 512)
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
MIN_SHARE = 0.85
ROOF_FLOPS = 2 * 256**2 * 9 * 64**2
CLOCKS: dict[str, Callable[[], float]] = {"wall": time.perf_counter, "cpu": time.process_time}
Run = Callable[[], object]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", nargs="+", default=["fcos_resnet50_fpn", "retinanet_resnet50_fpn"])
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--clock", choices=CLOCKS, default="wall")
    parser.add_argument("--compile", action="store_true", help="also torch.compile, about a minute each")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    clock = CLOCKS[options.clock]
    print(f"{cpu_name()}, {options.threads} threads, {options.clock} clock;", end=" ")
    print(
        f"torch {torch.__version__}, torchvision {torchvision.__version__}, Python {platform.python_version()}"
    )
    with torch.inference_mode():
        for name in options.models:
            compare(name, options.repeats, clock, options.compile)


class Pair(NamedTuple):
    """The same work for both sides."""

    model: Detector
    picture: Tensor
    """(3, H, W) uint8"""
    peer: str
    """who it is compared with"""
    run_peer: Callable[[Tensor], object]
    """from a picture to detections"""


def pair(name: str) -> Pair:
    """Pagoda's model and the peer's, both with random weights and as many candidates."""
    torch.manual_seed(0)
    is_efficientdet = name.startswith("efficientdet")
    size = CANVAS if is_efficientdet else (HEIGHT, WIDTH)
    picture = torch.randint(0, 256, (3, *size), dtype=torch.uint8)
    # The peer's own network: its first RetinaNet has no norm in the heads, its FCOS has group norm.
    options = {"head_norm": "none" if name.startswith("retinanet") else "group"}
    options |= {"short_side": HEIGHT, "long_side": WIDTH}
    options = {"canvas": CANVAS} if is_efficientdet else options
    model = create_model(name, num_classes=NUM_CLASSES, **options).eval()
    calibrate(last_layer(model.class_head), lambda: model.detect(model.input_spec.prepare([picture])))
    peer, peer_layer, run_peer = effdet_twin(name) if is_efficientdet else torchvision_twin(name)
    calibrate(peer_layer, lambda: run_peer(picture))
    return Pair(model, picture, peer, run_peer)


def compare(name: str, repeats: int, clock: Callable[[], float], with_compile: bool) -> None:
    model, picture, peer, run_peer = pair(name)
    variants = {
        "eager fp32": model,
        "optimized fp32": optimize(model),
        "optimized bf16": optimize(model, dtype=torch.bfloat16),
    }
    if with_compile:
        variants["compiled fp32"] = optimize(model, compile=True)
        variants["compiled bf16"] = optimize(model, dtype=torch.bfloat16, compile=True)
    runs: dict[str, Run] = {f"{peer} eager fp32": lambda: run_peer(picture)}
    for label, variant in variants.items():
        runs[label] = lambda variant=variant: variant.detect(variant.input_spec.prepare([picture]))
    runs["post-processing alone"] = postprocessing(model, picture)
    for kind, dtype in (("fp32", torch.float32), ("bf16", torch.bfloat16)):
        runs[f"roof {kind}"] = roof(dtype)
    medians, fastest = timings(runs, repeats, clock)
    print_table(name, peer, medians, fastest, network_flops(model, picture))
    print_convolutions(variants["optimized bf16"], picture, repeats, clock)


Twin = tuple[str, nn.Conv2d, Callable[[Tensor], object]]
"""who it is, its class layer, and the way from a picture to detections"""


def effdet_twin(name: str) -> Twin:
    """effdet's class in its bench, normalisation included."""
    import effdet  # for this comparison only
    from effdet_peer import effdet_network

    bench = effdet.DetBenchPredict(effdet_network(name, NUM_CLASSES, CANVAS)).eval()
    mean, std = (torch.tensor(values)[:, None, None] for values in (IMAGENET_MEAN, IMAGENET_STD))
    info = {"img_scale": torch.ones(1), "img_size": torch.tensor([CANVAS[::-1]]).float()}
    layer = bench.model.class_net.predict.conv_pw
    return "effdet", layer, lambda picture: bench(((picture / 255 - mean) / std)[None], info)


def torchvision_twin(name: str) -> Twin:
    """torchvision's class of the same name."""
    peer = torchvision_peer(name)
    return "torchvision", peer.head.classification_head.cls_logits, lambda picture: peer([picture / 255])


def torchvision_peer(name: str) -> nn.Module:
    build = {
        "fcos_resnet50_fpn": detection.fcos_resnet50_fpn,
        "retinanet_resnet50_fpn": detection.retinanet_resnet50_fpn,
    }[name]
    return build(
        weights=None,
        weights_backbone=None,
        num_classes=NUM_CLASSES,
        min_size=HEIGHT,
        max_size=WIDTH,
        score_thresh=0.05,
        topk_candidates=1000,
        detections_per_img=100,
    ).eval()


def calibrate(layer: nn.Conv2d, run: Run) -> None:
    """Rescale a class layer so that 0.1 % of its outputs in `run` exceed a probability of 0.05."""
    outputs: list[Tensor] = []
    hook = layer.register_forward_hook(lambda module, inputs, output: outputs.append(output.flatten()))
    run()
    hook.remove()
    logits = torch.cat(outputs)
    spread = logits.std()
    sample = (logits - logits.mean())[torch.randint(0, len(logits), (100_000,))] / spread
    offset = math.log(0.05 / 0.95) - sample.quantile(0.999)
    layer.bias.copy_((layer.bias - logits.mean()) / spread + offset)
    layer.weight.div_(spread)


def postprocessing(model: Detector, picture: Tensor) -> Run:
    """Everything after the network: scores, selection, decoding, suppression."""
    images = model.input_spec.prepare([picture])
    outputs = model(images)
    found = len(model.detect(images)[0])
    candidates = int((model.postprocess.candidates(outputs, images.sizes, model.decode).scores > 0).sum())
    print(f"\n{candidates} candidates, {found} detections")
    return lambda: model.postprocess.detect(outputs, images, model.decode, model.label_map)


def timings(
    runs: dict[str, Run], repeats: int, clock: Callable[[], float]
) -> tuple[dict[str, float], dict[str, float]]:
    """(medians, fastest) in seconds; the runs take turns, the first round is thrown away."""
    seconds: dict[str, list[float]] = {label: [] for label in runs}
    for _ in range(repeats + 1):
        for label, run in runs.items():
            start = clock()
            run()
            seconds[label].append(clock() - start)
    kept = {label: values[1:] for label, values in seconds.items()}
    return (
        {label: statistics.median(values) for label, values in kept.items()},
        {label: min(values) for label, values in kept.items()},
    )


def roof(dtype: torch.dtype) -> Run:
    """ROOF_FLOPS in one 3×3 convolution, the shape of which the machine makes the most.

    A matrix product would be the usual yardstick, but the one torch brings reaches less than half of this in
    float32 on processors not made by Intel.
    """
    images = torch.randn(1, 256, 64, 64, dtype=dtype).contiguous(memory_format=torch.channels_last)
    weight = torch.randn(256, 256, 3, 3, dtype=dtype)
    return lambda: nn.functional.conv2d(images, weight, padding=1)


def network_flops(model: Detector, picture: Tensor) -> float:
    with FlopCounterMode(display=False) as counter:
        model(model.input_spec.prepare([picture]))
    return float(counter.get_total_flops())


def print_convolutions(model: Detector, picture: Tensor, repeats: int, clock: Callable[[], float]) -> None:
    """Σ FLOP / Σ median seconds of all convolutions against the roof, and those that miss MIN_SHARE of it."""
    images, at_roof = model.input_spec.prepare([picture]), roof(torch.bfloat16)
    roof_seconds = math.inf
    rounds: list[list[ConvolutionCall]] = []
    for _ in range(repeats + 1):
        for _ in range(10):
            start = clock()
            at_roof()
            roof_seconds = min(roof_seconds, clock() - start)
        rounds.append(convolution_calls(model, lambda: model(images), clock))
    limit = ROOF_FLOPS / roof_seconds
    kinds: dict[str, list[ConvolutionCall]] = defaultdict(list)
    for calls in zip(*rounds[1:], strict=True):
        kinds[calls[0].kind].append(
            calls[0]._replace(seconds=statistics.median(call.seconds for call in calls))
        )
    sums = [
        (kind, len(calls), sum(call.flops for call in calls), sum(call.seconds for call in calls))
        for kind, calls in kinds.items()
    ]
    flops, total = sum(row[2] for row in sums), sum(row[3] for row in sums)
    print(f"\nconvolutions alone, optimized bf16: {flops / 1e9:.0f} GFLOP in {total * 1e3:.1f} ms,", end=" ")
    print(
        f"{flops / total / limit:.1%} of the roof of {limit / 1e9:.0f} GFLOP/s; below {MIN_SHARE:.0%} are\n"
    )
    print("| convolution | calls | GFLOP | ms | share of the roof | ms lost |\n|---|--:|--:|--:|--:|--:|")
    for kind, count, work, seconds in sorted(sums, key=lambda row: row[2] / limit - row[3]):
        share, lost = work / seconds / limit, seconds - work / limit
        if share < MIN_SHARE:
            print(f"| {kind} | {count} | {work / 1e9:.2f} | {seconds * 1e3:.2f}", end=" ")
            print(f"| {share:.0%} | {lost * 1e3:.2f} |")


class ConvolutionCall(NamedTuple):
    kind: str
    flops: float
    seconds: float


def convolution_calls(model: nn.Module, run: Run, clock: Callable[[], float]) -> list[ConvolutionCall]:
    """Every convolution of one run, in order, timed where it stands."""
    started: list[float] = []
    calls: list[ConvolutionCall] = []

    def begin(conv: nn.Module, inputs: tuple[Tensor]) -> None:
        started.append(clock())

    def end(conv: nn.Conv2d, inputs: tuple[Tensor], output: Tensor) -> None:
        seconds = clock() - started.pop()
        kernel, stride = conv.kernel_size[0], conv.stride[0]
        height, width = output.shape[-2:]
        kind = f"{kernel}×{kernel}/{stride} {conv.in_channels}→{conv.out_channels} on {height}×{width}"
        calls.append(ConvolutionCall(kind, 2 * output[:, :1].numel() * conv.weight.numel(), seconds))

    convs = [module for module in model.modules() if isinstance(module, nn.Conv2d)]
    hooks = [conv.register_forward_pre_hook(begin) for conv in convs]
    hooks += [conv.register_forward_hook(end) for conv in convs]
    run()
    for hook in hooks:
        hook.remove()
    return calls


def print_table(
    name: str, rival: str, medians: dict[str, float], fastest: dict[str, float], flops: float
) -> None:
    roofs = {kind: ROOF_FLOPS / fastest[f"roof {kind}"] for kind in ("fp32", "bf16")}
    peer = medians[f"{rival} eager fp32"]
    print(f"{name}: {flops / 1e9:.0f} GFLOP; roof", end=" ")
    print(", ".join(f"{kind} {limit / 1e9:.0f} GFLOP/s" for kind, limit in roofs.items()), end="\n\n")
    print(f"| variant | median ms | fastest ms | × {rival} | GFLOP/s | share of the roof |")
    print("|---|--:|--:|--:|--:|--:|")
    for label, seconds in medians.items():
        if label.startswith(("roof", "post")):
            continue
        rate, limit = flops / seconds, roofs["bf16" if "bf16" in label else "fp32"]
        print(f"| {label} | {seconds * 1e3:.0f} | {fastest[label] * 1e3:.0f} | {peer / seconds:.2f}", end=" ")
        print(f"| {rate / 1e9:.0f} | {rate / limit:.0%} |")
    after = medians["post-processing alone"]
    print(f"\npost-processing: {after * 1e3:.1f} ms,", end=" ")
    print(", ".join(f"{after / medians[v]:.1%} of {v}" for v in ("eager fp32", "optimized bf16")))


def cpu_name() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


if __name__ == "__main__":
    main()
