"""Every family on a GPU: finds, learns, goes on and leaves as on the processor. `make test-gpu` runs these alone.

PAGODA_TEST_DEVICE=cpu runs the same lines on the processor, where there is no GPU to try them on.
"""

import json
import os
import subprocess
import sys
from copy import deepcopy
from pathlib import Path

import pytest
import torch

import pagoda
from pagoda.data.drawn.synthetic import DrawnShapes
from pagoda.data.saving import write_coco_folder
from pagoda.detectors.contract import Detector
from pagoda.exporting.onnx import export_onnx
from pagoda.exporting.optimize import optimize
from pagoda.exporting.parity_pictures import drawn_pictures
from pagoda.machine import measure
from pagoda.structures.images import ImageBatch

sys.path.insert(0, str(Path(__file__).parent))
from test_detectors import DENSE, DETECTORS, batch_of, check_losses, find, objects

DEVICE = os.environ.get("PAGODA_TEST_DEVICE", "cuda")
pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(
        DEVICE == "cuda" and not torch.cuda.is_available(), reason="needs a GPU that torch can use"
    ),
]
SIZES = [(64, 96), (75, 133)]
SMALL = {"width": 32, "head_depth": 1, "base_channels": 16, "short_side": 64, "long_side": 64}


@pytest.fixture(params=DETECTORS, ids=list(DETECTORS))
def model(request: pytest.FixtureRequest) -> Detector:
    torch.manual_seed(0)
    return DETECTORS[request.param](3).eval()


def moved(images: ImageBatch) -> ImageBatch:
    return ImageBatch(images.pixels.to(DEVICE), images.sizes.to(DEVICE))


def test_it_finds_what_the_processor_finds(model: Detector) -> None:
    images = batch_of(model, *SIZES)
    expected = find(model, images)
    found = find(model.to(DEVICE), moved(images))
    for ours, theirs in zip(found, expected, strict=True):
        assert ours.boxes.device.type == DEVICE
        best = min(len(ours), len(theirs), 10)
        # GPUs multiply in other orders, and some in fewer bits: which of equals is taken is theirs.
        torch.testing.assert_close(ours.scores[:best].cpu(), theirs.scores[:best], rtol=0, atol=0.01)


def test_it_learns(model: Detector) -> None:
    model = model.to(DEVICE).train()
    images = batch_of(model, *SIZES)
    targets = [objects(model, 4, size).to(DEVICE) for size in SIZES]
    losses = check_losses(model, moved(images), targets)
    assert all(loss.device.type == DEVICE for loss in losses.values())


@pytest.mark.parametrize("name", DENSE)
def test_losses_are_those_of_the_processor(name: str) -> None:
    torch.manual_seed(0)
    model = DENSE[name](3).train()
    images, targets = batch_of(model, *SIZES), [objects(model, 4, size) for size in SIZES]
    expected = model.losses(images, targets)
    found = deepcopy(model).to(DEVICE).losses(moved(images), [each.to(DEVICE) for each in targets])
    for term, loss in expected.items():
        assert found[term].item() == pytest.approx(loss.item(), rel=0.01), term


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_optimised_copies_find_the_same(dtype: torch.dtype) -> None:
    model = pagoda.create_model("fcos_resnet18_fpn", num_classes=3, **SMALL).eval().to(DEVICE)
    torch.nn.init.normal_(model.class_head.predict.weight, std=0.5)
    pictures = drawn_pictures((96, 128), 2)
    for ours, theirs in zip(
        optimize(model, dtype=dtype).predict(pictures), model.predict(pictures), strict=True
    ):
        assert len(theirs) > 10
        torch.testing.assert_close(ours.scores[:10], theirs.scores[:10], rtol=0, atol=0.05)


def test_a_model_on_it_is_exported(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime", reason="needs pip install 'pagoda-vision[export]'")
    model = pagoda.create_model("fcos_resnet18_fpn", num_classes=3, **SMALL).eval().to(DEVICE)
    torch.nn.init.normal_(model.class_head.predict.weight, std=0.5)
    with_tf32 = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = False  # whose ten bits no file computes
    try:
        assert export_onnx(model, tmp_path / "model.onnx", min_score=0.2).passed
    finally:
        torch.backends.cudnn.allow_tf32 = with_tf32


def test_the_machine_is_measured() -> None:
    machine = measure(torch.device(DEVICE), seconds=0.2)
    assert machine.quickest("inference") in ("fp32", "bf16", "fp16")
    assert machine.quickest("training") in ("fp32", "bf16")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    for split, count in (("train", 8), ("val", 4)):
        write_coco_folder(DrawnShapes(count, image_size=(64, 64), seed=1), folder, split=split)
    return folder


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_run_trains_and_goes_on(data: Path, tmp_path: Path, precision: str) -> None:
    settings = {"device": DEVICE, "precision": precision, "batch_size": 4, "out": str(tmp_path)}
    run = pagoda.train("retinanet_resnet18_fpn", data, epochs=1, options=SMALL, quiet=True, **settings)
    again = pagoda.train(resume=run.folder, epochs=2, quiet=True)
    assert again.folder == run.folder and again.result.num_images == 4
    best = run.folder / "best.safetensors"
    assert next(pagoda.load(best, device=DEVICE).parameters()).device.type == DEVICE


def test_one_process_of_a_group_trains(data: Path, tmp_path: Path) -> None:
    small = [f"--model.{name.replace('_', '-')}={value}" for name, value in SMALL.items()]
    launcher = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--standalone",
        "--nproc-per-node=1",
        "--no-python",
    ]
    verb = [sys.executable, "-m", "pagoda", "train", "retinanet_resnet18_fpn", f"--data={data}", "--epochs=1"]
    done = subprocess.run(
        [*launcher, *verb, "--batch-size=4", f"--device={DEVICE}", f"--out={tmp_path}", *small],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert list(tmp_path.glob("*/best.safetensors"))


def test_commands_compute_on_it(data: Path, tmp_path: Path) -> None:
    run = pagoda.train(
        "fcos_resnet18_fpn", data, epochs=1, options=SMALL, quiet=True, device=DEVICE, out=str(tmp_path)
    )
    best = str(run.folder / "best.safetensors")
    for words in (
        ["predict", best, str(data / "images" / "val"), f"--out={tmp_path / 'found'}", "--json"],
        ["val", best, f"--data={data}", "--json"],
    ):
        done = subprocess.run(
            [sys.executable, "-m", "pagoda", *words, f"--device={DEVICE}"],
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout.splitlines()[-1])
