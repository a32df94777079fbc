"""A ResNet's largest maps, of a batch together and picture by picture: three ways by turns in one process, fp32.

    python benchmarks/largest_maps.py --threads 2 --repeats 9

"norms": the model as it is trained. "together" and "in parts" have its norms folded; they differ by
`ResNet.spares_caches` alone, and must give the same bits. Milliseconds per picture, median and least; random weights.
"""

import argparse
import time
from functools import partial

import torch
from inference import cpu_name, timings

from pagoda.exporting.optimize import optimize
from pagoda.models import create_model
from pagoda.structures.images import ImageBatch

CASES = (
    ("fcos_resnet18_fpn", {"width": 64}, (240, 320), 8),
    ("fcos_resnet18_fpn", {"width": 64}, (120, 160), 8),
    ("fcos_resnet50_fpn", {}, (240, 320), 8),
    ("fcos_resnet50_fpn", {}, (480, 640), 2),
)


@torch.inference_mode()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--repeats", type=int, default=9)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    print(f"{cpu_name()}, {options.threads} threads; torch {torch.__version__}\n")
    print("| network | size | pictures | norms | together | in parts |\n|---|---|--:|--:|--:|--:|")
    for name, more, size, count in CASES:
        model = create_model(name, num_classes=3, **more).eval()
        together, parts = optimize(model), optimize(model)
        together.backbone.spares_caches = False
        batch = ImageBatch(torch.rand(count, 3, *size), torch.tensor([size] * count))
        first, second = (each.backbone(batch.pixels) for each in (together, parts))
        assert all(torch.equal(first[level], second[level]) for level in first)
        ways = {"norms": model, "together": together, "in parts": parts}
        runs = {label: partial(way, batch) for label, way in ways.items()}
        medians, fastest = timings(runs, options.repeats, time.perf_counter)
        told = (f"{1e3 * medians[label] / count:.1f} ({1e3 * fastest[label] / count:.1f})" for label in runs)
        print(f"| {name} | {size[0]}×{size[1]} | {count} | {' | '.join(told)} |", flush=True)


if __name__ == "__main__":
    main()
