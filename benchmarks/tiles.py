"""Small objects in large pictures: the whole made smaller, tiles of ours, and slices of sahi's.

    python benchmarks/tiles.py train                          # a model of 320×240 pixels, some minutes on one core
    python benchmarks/tiles.py accuracy --model MODEL         # AP, the whole against tiles, and ways to join
    python benchmarks/tiles.py memory --model MODEL           # peak memory of pictures of 20,000×20,000 pixels
    python benchmarks/tiles.py speed --model MODEL            # pictures per second; with sahi, where it is installed

Mosaics of 4,000×3,000 pixels hold some hundred shapes of 12 to 40 pixels, which the model, that makes pictures 320×240,
cannot see in the whole. With `--large` shapes of up to 480 pixels lie among them, larger than a tile. The model is
trained on crops of such mosaics at their own pixels.
"""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cached_property
from importlib.util import find_spec
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import torch
import tyro
from PIL import Image
from torch import Tensor

from pagoda.batch_size import BatchSize
from pagoda.data.drawn.synthetic import DrawnShapes
from pagoda.data.table.annotations import Annotations
from pagoda.data.table.assembly import tabulate
from pagoda.detectors.contract import Detector
from pagoda.evaluation.runner import evaluator_of
from pagoda.models import create_model, load
from pagoda.ops.boxes import box_areas, clip_boxes
from pagoda.ops.nms import nms_survivors
from pagoda.recipes.training_run import train_on
from pagoda.structures.instances import Detections, Targets
from pagoda.structures.labels import LabelMap
from pagoda.tiling.detect import detect_windows, join_tiles
from pagoda.tiling.tiles import Tiles
from pagoda.training.settings import AugmentSettings, OptimSettings, TrainSettings

CELL = (100, 125)
"""(height, width) of a drawing in a mosaic: its shapes are 12 to 40 pixels large"""
INPUT = (240, 320)
"""(short, long) side of the model"""
MIN_VISIBLE = 0.4
"""share of a shape that a crop must show to have it as an object"""


@dataclass(frozen=True)
class Mosaics:
    """Drawings side by side, and where their shapes are; data of `count` pictures.

    Of every ten blocks of 500×500 pixels three hold one shape of up to 240 pixels, and one of 1000×1000 one of up to
    480, where it is `large`.
    """

    count: int
    size: tuple[int, int] = (3000, 4000)
    seed: int = 0
    large: bool = False
    empty_share: float = 0.6
    """of cells"""
    label_map: LabelMap = field(default_factory=lambda: replace(DrawnShapes(1).label_map, skeleton=None))

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> tuple[Tensor, Targets]:
        picture, boxes, labels = self._made(index)
        return picture, self._targets(index, boxes, labels)

    def picture(self, index: int) -> Tensor:
        """(3, H, W) uint8"""
        return self._made(index)[0]

    def targets(self, index: int) -> Targets:
        return self[index][1]

    @cached_property
    def annotations(self) -> Annotations:
        made = map(self.targets, range(len(self)))
        return tabulate(made, label_map=self.label_map, root=Path(), source="drawn mosaics")

    def _targets(self, index: int, boxes: Tensor, labels: Tensor) -> Targets:
        ignored = torch.zeros(len(boxes), dtype=torch.bool)
        return Targets(boxes, labels, self.size, ignored, image_id=index + 1, file=f"{index + 1:06d}.png")

    def _made(self, index: int) -> tuple[Tensor, Tensor, Tensor]:
        rng = np.random.default_rng((self.seed, index))
        picture = torch.zeros(3, *self.size, dtype=torch.uint8)
        boxes, labels = [torch.zeros(0, 4)], [torch.zeros(0, dtype=torch.long)]
        taken = np.zeros(self.size, bool)

        def fill(side: tuple[int, int], share: float, max_objects: int, empty_share: float) -> None:
            height, width = side
            for top in range(0, self.size[0] - height + 1, height):
                for left in range(0, self.size[1] - width + 1, width):
                    spot = (slice(top, top + height), slice(left, left + width))
                    if taken[spot].any() or rng.uniform() >= share:
                        continue
                    seed = int(rng.integers(2**31))
                    cell, there = DrawnShapes(
                        1, side, seed, max_objects=max_objects, empty_share=empty_share
                    )[0]
                    picture[:, *spot], taken[spot] = cell, True
                    boxes.append(there.boxes + torch.tensor([left, top, left, top]))
                    labels.append(there.labels)

        if self.large:
            fill((1000, 1000), 0.1, 1, 0.0)
            fill((500, 500), 0.3, 1, 0.0)
        fill(CELL, 1.0, 3, self.empty_share)
        return picture, torch.cat(boxes), torch.cat(labels)


@dataclass(frozen=True)
class Crops:
    """Crops of mosaics at their own pixels, shapes cut off where they leave them."""

    count: int
    seed: int = 0
    large: bool = False
    size: tuple[int, int] = INPUT

    @property
    def label_map(self) -> LabelMap:
        return self._mosaics.label_map

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> tuple[Tensor, Targets]:
        return self._crops[index]

    def picture(self, index: int) -> Tensor:
        """(3, H, W) uint8"""
        return self._crops[index][0]

    def targets(self, index: int) -> Targets:
        return self._crops[index][1]

    @cached_property
    def annotations(self) -> Annotations:
        made = map(self.targets, range(len(self)))
        return tabulate(made, label_map=self.label_map, root=Path(), source="drawn crops")

    @cached_property
    def _mosaics(self) -> Mosaics:
        # Each is the source of forty crops.
        return Mosaics(-(-self.count // 40), (1000, 1500), self.seed, self.large, empty_share=0.4)

    @cached_property
    def _crops(self) -> list[tuple[Tensor, Targets]]:
        rng, crops = np.random.default_rng(self.seed), []
        height, width = self.size
        for number in range(len(self._mosaics)):
            picture, targets = self._mosaics[number]
            for _ in range(min(40, self.count - len(crops))):
                top = int(rng.integers(targets.image_size[0] - height + 1))
                left = int(rng.integers(targets.image_size[1] - width + 1))
                moved = targets.boxes - torch.tensor([left, top, left, top])
                boxes = clip_boxes(moved, self.size)
                share = box_areas(boxes) / box_areas(moved)
                seen = (share >= MIN_VISIBLE).nonzero().flatten()
                crop = Targets(
                    boxes[seen],
                    targets.labels[seen],
                    self.size,
                    torch.zeros(len(seen), dtype=torch.bool),
                    image_id=len(crops) + 1,
                    file=f"{len(crops) + 1:06d}.png",
                )
                crops.append((picture[:, top : top + height, left : left + width].contiguous(), crop))
        return crops


@dataclass(frozen=True, kw_only=True)
class Train:
    """Train the model, and print where it is."""

    crops: int = 1600
    epochs: int = 3
    large: bool = False
    """with shapes larger than a tile among them"""
    out: str = "runs"

    def run(self) -> None:
        crops = Crops(self.crops, large=self.large)
        torch.manual_seed(0)
        options = {"base_channels": 32, "width": 64, "head_depth": 2}
        sides = {"short_side": INPUT[0], "long_side": INPUT[1]}
        model = create_model("fcos_resnet18_fpn", label_map=crops.label_map, **options, **sides)
        settings = TrainSettings(
            data="drawn crops",
            epochs=self.epochs,
            batch_size=8,
            name="tiles",
            out=self.out,
            optim=OptimSettings(warmup_steps=30, ema_decay=0.99),
            augment=AugmentSettings(scale_range=(1.0, 1.0)),
        )
        run = train_on(model, crops, Crops(64, seed=1, large=self.large), settings)
        print(f"{run.folder}/best.safetensors")


@dataclass(frozen=True, kw_only=True)
class Accuracy:
    """AP of the whole picture against that of its tiles, put together in several ways."""

    model: str
    count: int = 2
    """mosaics"""
    large: bool = False
    overlap: float = 0.2

    def run(self) -> None:
        torch.set_num_threads(1)
        model, limits = load(self.model).eval(), {"min_score": 0.001, "max_detections": 2000}
        mosaics, tiles = Mosaics(self.count, seed=9, large=self.large), Tiles(overlap=self.overlap)
        select = model.postprocess.with_limits(min_score=0.001)
        evaluators = {name: evaluator_of(mosaics, limits) for name in ("whole", *WAYS)}
        doubles, objects = dict.fromkeys(evaluators, 0), 0
        for number in range(self.count):
            picture, targets = mosaics[number]
            size, objects = targets.image_size, objects + len(targets)
            windows = tiles.windows(size, model.input_spec)
            assert windows is not None
            with torch.inference_mode():
                whole = model.detect(model.input_spec.prepare([picture]), postprocess=select, sizes=[size])[0]
                found = list(detect_windows(model, [picture], windows, size, select, BatchSize(8)))
            every = np.concatenate([windows, [[0, 0, size[1], size[0]]]])
            for name, evaluator in evaluators.items():
                if name == "whole":
                    joined = whole
                else:
                    parts = ([*found, whole], every) if name.endswith("+ whole") else (found, windows)
                    joined = WAYS[name](*parts, model)
                evaluator.update(replace(joined, image_id=targets.image_id))
                doubles[name] += num_doubles(joined.above(0.3), targets)
        print(f"{objects} shapes in {self.count} mosaics, {len(windows)} tiles each")
        for name, evaluator in evaluators.items():
            metrics = evaluator.result().metrics
            scores = "  ".join(f"{key} {metrics[key]:.3f}" for key in ("AP", "AP50", "AP75"))
            print(f"{name:34} {scores}  doubles from 0.3 on: {doubles[name]}")


def num_doubles(found: Detections, targets: Targets) -> int:
    """Detections of a shape beyond the first: those whose middle lies in it, of its class."""
    middle = (found.boxes[:, None, :2] + found.boxes[:, None, 2:]) / 2
    inside = ((middle > targets.boxes[:, :2]) & (middle < targets.boxes[:, 2:])).all(-1)
    inside &= found.labels[:, None] == targets.labels
    # One on a shape that lies on a larger one is of the smaller.
    areas = torch.where(inside, box_areas(targets.boxes), torch.inf)
    owners = areas.argmin(1)[inside.any(1)]
    return int((torch.bincount(owners, minlength=len(targets)) - 1).clamp(min=0).sum())


def by_seams(found: list[Detections], windows: np.ndarray, model: Detector) -> Detections:
    """Ours."""
    return join_tiles(found, windows, postprocess=model.postprocess, spec=model.input_spec)


def by_iou(found: list[Detections], windows: np.ndarray, model: Detector) -> Detections:
    """What an equally suppressing model would make of all boxes together."""
    joined = _all_of(found)
    limits = {"max_iou": float(model.postprocess.max_iou)}
    joined = joined[nms_survivors(joined.boxes, joined.scores, joined.labels, **limits)]
    return joined[joined.scores.argsort(descending=True)]


def by_smaller(
    found: list[Detections], windows: np.ndarray, model: Detector, *, joins: bool = False
) -> Detections:
    """Suppression by the share of the smaller box, above a half; `joins`: around all that is suppressed (as sahi)."""
    joined = _all_of(found).above(0.05)  # pair by pair all would take minutes
    joined = joined[joined.scores.argsort(descending=True, stable=True)]
    boxes, areas = joined.boxes, box_areas(joined.boxes)
    alive, kept, around = torch.ones(len(joined), dtype=torch.bool), [], boxes.clone()
    for row in range(len(joined)):
        if not alive[row]:
            continue
        sides = torch.minimum(boxes[row, 2:], boxes[:, 2:]) - torch.maximum(boxes[row, :2], boxes[:, :2])
        share = sides.clamp(min=0).prod(1) / torch.minimum(areas[row], areas)
        gone = alive & (share > 0.5) & (joined.labels == joined.labels[row])
        gone[row] = True
        alive &= ~gone
        kept.append(row)
        around[row] = torch.cat([boxes[gone, :2].amin(0), boxes[gone, 2:].amax(0)])
    return replace(joined, boxes=around if joins else boxes)[kept]


def by_joining(found: list[Detections], windows: np.ndarray, model: Detector) -> Detections:
    """Boxes around all that share half of the smaller."""
    return by_smaller(found, windows, model, joins=True)


def _all_of(found: list[Detections]) -> Detections:
    parts = {
        name: torch.cat([getattr(each, name) for each in found]) for name in ("boxes", "scores", "labels")
    }
    return replace(found[0], **parts)


WAYS: dict[str, Callable[[list[Detections], np.ndarray, Detector], Detections]] = {
    "seams": by_seams,
    "seams + whole": by_seams,
    "IoU": by_iou,
    "share of the smaller": by_smaller,
    "share of the smaller, joined": by_joining,
}


@dataclass(frozen=True, kw_only=True)
class Memory:
    """Peak memory of `pagoda predict --tiles auto` on one picture of each format."""

    model: str
    side: int = 20_000
    tiles: str = "auto"
    formats: tuple[str, ...] = ("tif", "png")

    def run(self) -> None:
        with tempfile.TemporaryDirectory() as folder:
            for ending in self.formats:
                path = Path(folder, f"large.{ending}")
                # In a process of its own: a child begins with the peak of the process that starts it.
                drawing = get_context("spawn").Process(target=_draw_large, args=(path, self.side))
                drawing.start()
                drawing.join()
                command = [sys.executable, "-m", "pagoda", "predict", self.model, str(path)]
                started = time.perf_counter()
                running = subprocess.Popen([*command, "--tiles", self.tiles, "--out", f"{folder}/{ending}"])
                _, status, usage = os.wait4(running.pid, 0)
                assert status == 0
                peak = usage.ru_maxrss / 2**10
                print(
                    f"{ending} of {self.side}×{self.side}: at most {peak:.0f} MB,"
                    f" {time.perf_counter() - started:.0f} s; file {path.stat().st_size / 2**20:.0f} MB"
                )
                path.unlink()


def _draw_large(path: Path, side: int) -> None:
    """The same drawing again and again."""
    cell, _ = DrawnShapes(1, (500, 500), 1, max_objects=6, empty_share=0.0)[0]
    tile = Image.fromarray(cell.permute(1, 2, 0).numpy())
    image = Image.new("RGB", (side, side))
    for top in range(0, side, 500):
        for left in range(0, side, 500):
            image.paste(tile, (left, top))
    how = {"compression": "tiff_adobe_deflate"} if path.suffix == ".tif" else {"compress_level": 1}
    image.save(path, **how)


@dataclass(frozen=True, kw_only=True)
class Speed:
    """Seconds for a mosaic, in turns: ours, and sahi's with the same model and tiles, where it is installed."""

    model: str
    rounds: int = 3
    size: tuple[int, int] = (3000, 4000)
    batch_size: int = 8

    def run(self) -> None:
        torch.set_num_threads(1)
        model = load(self.model).eval()
        picture = Mosaics(1, self.size, seed=9).picture(0).permute(1, 2, 0).contiguous().numpy()
        side = Tiles().side_for(model.input_spec)

        def ours() -> int:
            found = model.predict(picture, tiles=Tiles(), min_score=0.3, batch_size=self.batch_size)
            assert isinstance(found, Detections)
            return len(found)

        ways: dict[str, Callable[[], int]] = {"pagoda": ours}
        if find_spec("sahi"):
            from tiles_by_sahi import sliced_by_sahi

            ways["sahi"] = sliced_by_sahi(model, picture, side)
        seconds: dict[str, list[float]] = {name: [] for name in ways}
        for _ in range(self.rounds):
            for name, way in ways.items():
                started = time.process_time()
                count = way()
                seconds[name].append(time.process_time() - started)
                print(f"{name}: {count} objects in {seconds[name][-1]:.1f} s of the processor", flush=True)
        for name, each in seconds.items():
            print(f"{name}: {1 / float(np.median(each)):.3f} pictures a second")


def main() -> None:
    commands = {"train": Train, "accuracy": Accuracy, "memory": Memory, "speed": Speed}
    tyro.extras.subcommand_cli_from_dict(commands).run()


if __name__ == "__main__":
    main()
