"""Small objects in large pictures: the whole made smaller, tiles of ours, and slices of sahi's.

    python benchmarks/tiles.py train                          # a model of 320×240 pixels, some minutes on one core
    python benchmarks/tiles.py accuracy --model MODEL         # AP, the whole against tiles, and ways to merge
    python benchmarks/tiles.py memory --model MODEL           # peak memory of pictures of 20,000×20,000 pixels
    python benchmarks/tiles.py speed --model MODEL            # pictures per second; with sahi, where it is installed

Mosaics of 4,000×3,000 pixels hold some hundred shapes of 12 to 40 pixels, which the model, that makes pictures 320×240,
cannot see in the whole. With `--large` shapes of up to 480 pixels lie among them, larger than a tile. The model is
trained on crops of such mosaics at their own pixels.
"""

from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
import tyro
from torch import Tensor

from pagoda.data.drawn.synthetic import DrawnShapes
from pagoda.data.table.annotations import Annotations
from pagoda.data.table.assembly import tabulate
from pagoda.models import create_model
from pagoda.ops.boxes import clip_boxes
from pagoda.recipes.training_run import train_on
from pagoda.structures.instances import Targets
from pagoda.structures.labels import LabelMap
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
        """Its shapes."""
        return self[index][1]

    @cached_property
    def annotations(self) -> Annotations:
        """Of all pictures."""
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
        """Of the drawings."""
        return self._mosaics.label_map

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> tuple[Tensor, Targets]:
        return self._crops[index]

    def picture(self, index: int) -> Tensor:
        """(3, H, W) uint8"""
        return self._crops[index][0]

    def targets(self, index: int) -> Targets:
        """Its shapes."""
        return self._crops[index][1]

    @cached_property
    def annotations(self) -> Annotations:
        """Of all crops."""
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
                share = _areas(boxes) / _areas(moved)
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


def _areas(boxes: Tensor) -> Tensor:
    return (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])


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


def main() -> None:
    tyro.extras.subcommand_cli_from_dict({"train": Train}).run()


if __name__ == "__main__":
    main()
