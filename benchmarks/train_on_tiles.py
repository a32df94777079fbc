"""What tiles are worth where objects are small: the same model from tiles and from resized pictures, in as many steps.

    python benchmarks/train_on_tiles.py             # draws, trains both, scores both
    python benchmarks/train_on_tiles.py --reading   # what reading a tile of a large JPEG takes, kept and not kept

Drawn pictures of 2,000×1,500 with objects of 12 to 40 pixels. One model learns from tiles of 240×240, the other from
whole pictures, which it sees at 320×240. Both are scored on tiles, the second also on whole pictures.
"""

import argparse
import math
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

import pagoda
from pagoda.data.drawn.shapes import OUTLINES, Shape, background, paint, place
from pagoda.data.formats.reader import open_annotations
from pagoda.data.loading import BatchPlan
from pagoda.data.saving import write_coco_folder
from pagoda.data.tiled_dataset import TiledDataset
from pagoda.data.tiles import Tiling, cut_annotations
from pagoda.evaluation.coco.result import DetectionResult
from pagoda.evaluation.runner import evaluate
from pagoda.structures.instances import Targets
from pagoda.structures.labels import LabelMap

SMALL = {"base_channels": 16, "width": 64, "head_depth": 2, "short_side": 240, "long_side": 320}
NAMES = ("circle", "square", "triangle")
CELL = 60
"""pixels between the places where objects may lie: none touches another"""
PATCH = 48
"""pixels in which one object is drawn"""


class Mosaics:
    """Large pictures of many small shapes on one clouded ground, the same for the same seed."""

    label_map = LabelMap.from_names(NAMES)

    def __init__(self, count: int, size: tuple[int, int], seed: int) -> None:
        self.count, self.size, self.seed = count, size, seed

    def __len__(self) -> int:
        return self.count

    def picture(self, index: int) -> torch.Tensor:
        rng = np.random.default_rng((self.seed, index, 1))
        pixels = paint(rng, background(rng, self.size), [])
        for (top, left), shape in self._objects(index):
            patch = pixels[top : top + PATCH, left : left + PATCH]
            patch[:] = paint(rng, patch.astype(np.float32) / 255, [shape])
        return torch.from_numpy(pixels).permute(2, 0, 1)

    def targets(self, index: int) -> Targets:
        boxes, labels = [], []
        for (top, left), shape in self._objects(index):
            ys, xs = np.nonzero(shape.mask)
            boxes.append([left + xs.min(), top + ys.min(), left + xs.max() + 1, top + ys.max() + 1])
            labels.append(shape.label)
        return Targets(
            boxes=torch.tensor(np.array(boxes), dtype=torch.float32).reshape(-1, 4),
            labels=torch.tensor(labels),
            image_size=self.size,
            ignored=torch.zeros(len(labels), dtype=torch.bool),
        )

    def _objects(self, index: int) -> list[tuple[tuple[int, int], Shape]]:
        """(top, left) of each patch and the shape in it; one place in three holds an object."""
        rng = np.random.default_rng((self.seed, index, 0))
        found = []
        for top in range(0, self.size[0] - CELL, CELL):
            for left in range(0, self.size[1] - CELL, CELL):
                label, radius = (
                    int(rng.integers(len(NAMES))),
                    math.exp(rng.uniform(math.log(6.5), math.log(20))),
                )
                y, x = rng.integers(0, CELL - PATCH + 1, 2).tolist()
                angle, is_there = rng.uniform(0, 2 * math.pi), rng.random() < 1 / 3
                if is_there:
                    middle = (PATCH / 2, PATCH / 2)
                    shape = place(NAMES[label], label, middle, radius, angle, (PATCH, PATCH))
                    found.append(((top + y, left + x), shape))
        return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--reading", action="store_true", help="only time reading, on pictures of 4,000×3,000"
    )
    parser.add_argument("--models", nargs="+", default=["tiles", "resized"], choices=["tiles", "resized"])
    parser.add_argument("--train", type=int, default=9, help="pictures to learn from")
    parser.add_argument("--val", type=int, default=3, help="pictures to score on")
    parser.add_argument("--tile", type=int, default=240)
    parser.add_argument(
        "--epochs", type=int, default=1, help="over all tiles; the other model gets as many steps"
    )
    parser.add_argument("--batch-size", type=int, default=4)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    assert set(NAMES) <= set(OUTLINES)
    with tempfile.TemporaryDirectory() as folder:
        if options.reading:
            time_reading(folder)
        else:
            compare(folder, options)


def compare(folder: str, options: argparse.Namespace) -> None:
    for split, count, seed in (
        ("train", options.train, options.seed),
        ("val", options.val, options.seed + 1_000_003),
    ):
        write_coco_folder(Mosaics(count, (1500, 2000), seed), folder, split=split, ending="jpg")
    tiling = Tiling(size=options.tile)
    tiles = cut_annotations(open_annotations(folder, "train"), tiling)
    print(f"learnt from: {tiles.words()}")
    val = open_annotations(folder, "val")
    on_tiles = TiledDataset(cut_annotations(val, tiling))
    print(f"scored on: {on_tiles.tiles.words()}", flush=True)
    steps = options.epochs * -(-len(tiles) // options.batch_size)
    epochs = round(steps / -(-options.train // options.batch_size))
    print(
        f"{steps} steps of {options.batch_size}\n\n| learnt from | scored on | AP | AP50 |\n|---|---|--:|--:|",
        flush=True,
    )
    settings = {"tiles": {"tiles": options.tile, "epochs": options.epochs}, "resized": {"epochs": epochs}}
    for name in options.models:
        run = pagoda.train(
            "fcos_resnet18_fpn",
            folder,
            options=SMALL,
            out=f"{folder}/runs",
            batch_size=options.batch_size,
            seed=options.seed,
            val_every=settings[name]["epochs"],
            precision="fp32",
            quiet=True,
            **settings[name],
        )
        if name == "resized":
            tell(name, "whole pictures", run.result)
        tell(name, "tiles", run.result if name == "tiles" else evaluate(run.model, on_tiles))


def tell(name: str, where: str, result: DetectionResult) -> None:
    print(f"| {name} | {where} | {percent(result, 'AP')} | {percent(result, 'AP50')} |", flush=True)


def percent(result: DetectionResult, name: str) -> str:
    return f"{100 * result.metrics[name]:.1f}"


def time_reading(folder: str, *, count: int = 4) -> None:
    write_coco_folder(Mosaics(count, (3000, 4000), 0), folder, ending="jpg")
    tiles = cut_annotations(open_annotations(folder, "train"), Tiling(size=640))
    size = sum(path.stat().st_size for path in Path(folder, "images", "train").iterdir()) / count / 1e6
    print(
        f"{count} JPEG of 4,000×3,000 ({size:.1f} MB) in {len(tiles)} tiles of 640×640, drawn as an epoch draws them"
    )
    for name, kept in (("all shuffled, nothing kept", False), ("pictures kept for their tiles", True)):
        dataset = TiledDataset(tiles)
        plan = BatchPlan(images=len(tiles), batch_size=8, seed=0, parts=dataset.parts if kept else None)
        draws = [draw for batch in plan.epoch(0) for draw in batch]
        draws = draws if kept else draws[:40]
        if not kept:
            dataset.recent.count = 1
        since = time.perf_counter()
        for draw in draws:
            dataset.picture(draw.index)
        print(f"{name}: {1000 * (time.perf_counter() - since) / len(draws):.1f} ms a tile")


if __name__ == "__main__":
    main()
