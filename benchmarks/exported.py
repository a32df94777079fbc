"""Exported files beside torch: ONNX Runtime, OpenVINO in fp32 and in int8, and what of the machine's int8 they use.

    python benchmarks/exported.py --repeats 11 --threads 2
    python benchmarks/exported.py --checkpoint CKPT --pictures DIR --repeats 11 --threads 2

Without a checkpoint: models, picture and peer of inference.py and region_inference.py, random weights, so that int8
says how quick it is and nothing about accuracy. With one: from picture files, which are decoded and resized each time,
one by one and eight together, through torch, through `pagoda.load` of the exported files and through the runtime
without torch.

OpenVINO's rows are of a shape that has come often, as in a folder of like pictures or a video: it is compiled for that
shape alone (`pagoda export --size` writes such a file at once). Peer and variants run alternately in one process. The
roof of int8 is a chain of the 3×3 convolutions that inference.py takes for its roofs, quantised and run by OpenVINO.
"""

import argparse
import platform
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import inference
import numpy as np
import region_inference
import torch
from inference import CLOCKS, ROOF_FLOPS, Pair, Run, cpu_name, network_flops, roof, timings
from torchvision.models import detection

import pagoda
import pagoda_runtime
from pagoda.convert.to_program import to_source
from pagoda.detectors.contract import Detector
from pagoda.exporting import engines
from pagoda.exporting.engines import compile_model, silent_import
from pagoda.exporting.exported import load_exported
from pagoda.exporting.onnx import export_onnx
from pagoda.exporting.openvino import ir_of, quantize, write_ir
from pagoda.exporting.optimize import optimize
from pagoda.exporting.parity_pictures import fitted
from pagoda.models import create_model
from pagoda.pictures.read import list_pictures, read_picture
from pagoda_runtime import backends

MODELS = [
    "fcos_resnet50_fpn",
    "retinanet_resnet50_fpn",
    "faster_rcnn",
    "mask_rcnn",
    "efficientdet_d0",
    "ssd300_vgg16",
]
CHAIN = 8
"""convolutions of the int8 roof one after the other: what enters and leaves them is no part of it"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", nargs="+", choices=MODELS, default=MODELS)
    parser.add_argument("--checkpoint", help="a trained model instead")
    parser.add_argument("--pictures", help="folder whose first files it sees")
    parser.add_argument("--repeats", type=int, default=11)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--clock", choices=CLOCKS, default="wall")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    engines.OFTEN = backends.OFTEN = 1
    versions = ", ".join(
        f"{name} {silent_import(name).__version__}" for name in ("onnxruntime", "openvino", "nncf")
    )
    print(f"{cpu_name()}, {options.threads} threads, {options.clock} clock;", end=" ")
    print(f"torch {torch.__version__}, {versions}, Python {platform.python_version()}")
    with torch.inference_mode(), TemporaryDirectory() as folder:
        if options.checkpoint:
            from_files(options.checkpoint, options.pictures, options, Path(folder))
            return
        for name in options.models:
            compare(name, options, Path(folder))


def compare(name: str, options: argparse.Namespace, folder: Path) -> None:
    """From a picture in memory to detections."""
    model, picture, peer, run_peer = pair(name)
    runs: dict[str, Run] = {f"{peer}, eager fp32": lambda: run_peer(picture)}
    variants = {"eager fp32": model, **torch_variants(model), **exported(model, [picture.numpy()], folder)}
    for label, variant in variants.items():
        runs[label] = lambda variant=variant: variant.detect(variant.input_spec.prepare([picture]))
    report(name, runs, options, network_flops(model, picture))


def pair(name: str) -> Pair:
    if name == "ssd300_vgg16":
        return ssd_pair()
    if name.endswith("_fpn") or name.startswith("efficientdet"):
        return inference.pair(name)
    model, picture, peer = region_inference.pair(name)
    return Pair(model, picture, "torchvision", lambda picture: peer([picture / 255]))


def ssd_pair() -> Pair:
    """SSD300 and torchvision's with the same random weights, in which the background is likely as after training."""
    torch.manual_seed(0)
    model = create_model("ssd300_vgg16.torchvision", num_classes=90).eval()
    for layer in model.class_head.predict.values():
        layer.bias.view(-1, 91)[:, -1] = 6.0
    peer = detection.ssd300_vgg16(weights=None, weights_backbone=None, num_classes=91).eval()
    peer.load_state_dict(to_source(model, "torchvision"))
    picture = torch.randint(0, 256, (3, inference.HEIGHT, inference.WIDTH), dtype=torch.uint8)
    return Pair(model, picture, "torchvision", lambda picture: peer([picture / 255]))


def from_files(checkpoint: str, source: str, options: argparse.Namespace, folder: Path) -> None:
    """From picture files to detections; the first forty calibrate, the next eight are timed."""
    model = pagoda.load(checkpoint).eval()
    files = [str(file) for file in list_pictures(source)]
    calibration = [read_picture(file).transpose(2, 0, 1) for file in files[:40]]
    files = files[40:48]
    variants = {"eager fp32": model, **torch_variants(model), **exported(model, calibration, folder)}
    together: dict[str, Run] = {
        f"{label}, together": lambda variant=variant: variant.predict(files, batch_size=len(files))
        for label, variant in variants.items()
    }
    for label, file in (
        ("ONNX Runtime", "model.onnx"),
        ("OpenVINO", "model.xml"),
        ("OpenVINO, int8", "int8.xml"),
    ):
        runtime = variants[f"{label}, runtime without torch"] = pagoda_runtime.load(folder / file)
        together[f"{label}, runtime without torch, together"] = partial(runtime.predict, files)
    runs: dict[str, Run] = {
        label: lambda variant=variant: [variant.predict(file) for file in files]
        for label, variant in variants.items()
    } | together
    print(f"{len(files)} files of {calibration[0].shape[2]}×{calibration[0].shape[1]} pixels a run")
    report(checkpoint, runs, options, 0.0)


def torch_variants(model: Detector) -> dict[str, Detector]:
    return {"optimized fp32": optimize(model), "optimized bf16": optimize(model, dtype=torch.bfloat16)}


def exported(model: Detector, calibration: list[np.ndarray], folder: Path) -> dict[str, Detector]:
    """The three files, without the checks that `pagoda export` makes before it keeps one."""
    pictures = [torch.from_numpy(np.ascontiguousarray(each)) for each in calibration]
    export_onnx(model, folder / "model.onnx", pictures=pictures[:1], overwrite=True)
    ir, modules = ir_of(model, model.postprocess)
    write_ir(ir, folder / "model.xml")
    frames = (fitted(model.input_spec, picture, None) for picture in pictures)
    quantized, counts = quantize(ir, modules, frames, len(pictures))
    write_ir(quantized, folder / "int8.xml")
    print(f"int8: {counts[0]} layers, {counts[1]} stay in fp32")
    files = {"ONNX Runtime": "model.onnx", "OpenVINO": "model.xml", "OpenVINO, int8": "int8.xml"}
    return {label: load_exported(folder / file) for label, file in files.items()}


def report(name: str, runs: dict[str, Run], options: argparse.Namespace, flops: float) -> None:
    runs |= {"roof fp32": roof(torch.float32), "roof bf16": roof(torch.bfloat16), "roof int8": int8_roof()}
    medians, fastest = timings(runs, options.repeats, CLOCKS[options.clock])
    limits = {
        kind: ROOF_FLOPS * (CHAIN if kind == "int8" else 1) / fastest[f"roof {kind}"]
        for kind in ("fp32", "bf16", "int8")
    }
    print(
        f"{name}: {flops / 1e9:.0f} GFLOP; roof",
        ", ".join(f"{k} {v / 1e9:.0f} GFLOP/s" for k, v in limits.items()),
    )
    first, *_ = medians
    print(f"\n| variant | median ms | fastest ms | × {first} | share of the roof |\n|---|--:|--:|--:|--:|")
    for label, seconds in medians.items():
        if label.startswith("roof"):
            continue
        kind = next((kind for kind in ("int8", "bf16") if kind in label), "fp32")
        share = f"{flops / seconds / limits[kind]:.0%}" if flops else "–"
        print(
            f"| {label} | {seconds * 1e3:.1f} | {fastest[label] * 1e3:.1f} | {medians[first] / seconds:.2f} | {share} |"
        )


def int8_roof() -> Run:
    """CHAIN × ROOF_FLOPS in int8."""
    openvino, nncf = silent_import("openvino"), silent_import("nncf")
    ops = openvino.opset13
    draw = np.random.default_rng(0)
    images = ops.parameter([1, 256, 64, 64], np.float32)
    node = images
    for _ in range(CHAIN):
        weight = ops.constant(draw.normal(0, 0.03, (256, 256, 3, 3)).astype(np.float32))
        node = ops.relu(ops.convolution(node, weight, [1, 1], [1, 1], [1, 1], [1, 1]))
    pixels = draw.normal(0, 1, (1, 256, 64, 64)).astype(np.float32)
    quantized = nncf.quantize(openvino.Model([node], [images]), nncf.Dataset([pixels]), subset_size=1)
    compiled = compile_model(quantized)
    request = compiled.create_infer_request()
    request.set_input_tensor(openvino.Tensor(pixels))
    return request.infer


if __name__ == "__main__":
    main()
