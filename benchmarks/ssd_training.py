"""SSD beside torchvision's: the same body, size, batch, epochs and data; accuracy, and steps per second in turns.

python benchmarks/ssd_training.py --data DIR/bccd                 # ResNet-18 from scratch, 320×240, batch 8, 12 epochs
python benchmarks/ssd_training.py --data DIR/bccd --what speed    # the steps alone

* pagoda – `ssd_resnet18` under Pagoda's default recipe, in bf16 unless --precision says fp32.
* torchvision – its SSD class on torchvision's ResNet-18 (C3 to C5) with three further levels as in its SSD300, its
  default boxes with the published ratios, in float32; SGD 0.01, momentum 0.9, decay 1e-4, warm-up over the first epoch,
  ÷10 at 2/3 and 11/12 of the run, horizontal flips: the recipe that its other detectors have in benchmarks/accuracy.py.

Learns from train+val and is scored on test by the same evaluator. Steps are timed in turns, a few of each at a time,
reading and augmenting included, so that other work on the machine slows both alike; medians of the turns.
"""

import argparse
import json
import statistics
from collections.abc import Iterator
from itertools import cycle
from time import perf_counter

import torch
from accuracy import REFERENCE, score_peer, train_pagoda
from torch import Tensor, nn
from torchvision.models import resnet18
from torchvision.models._utils import IntermediateLayerGetter
from torchvision.models.detection.anchor_utils import DefaultBoxGenerator
from torchvision.models.detection.ssd import SSD

from pagoda.data.augment.transforms import Compose, HorizontalFlip
from pagoda.data.dataset import DetectionDataset
from pagoda.data.formats.reader import open_annotations
from pagoda.data.loading import BatchPlan, TrainingView, make_loader
from pagoda.models import create_model
from pagoda.recipes.augmentation import training_transform
from pagoda.structures.instances import Targets
from pagoda.training.ema import ModelAverage
from pagoda.training.optim import build_optimizer, rate_factor, set_rate
from pagoda.training.settings import TrainSettings

HEIGHT, WIDTH = 240, 320
RATIOS = [[2], [2, 3], [2, 3], [2, 3], [2], [2]]


class Body(nn.Module):
    """C3 to C5 of torchvision's ResNet-18 and three further levels."""

    def __init__(self) -> None:
        super().__init__()
        self.body = IntermediateLayerGetter(
            resnet18(weights=None), {"layer2": "0", "layer3": "1", "layer4": "2"}
        )
        self.extra = nn.ModuleList()
        inputs = 512
        for outputs in (512, 256, 256):
            block = nn.Sequential(
                nn.Conv2d(inputs, outputs // 2, 1),
                nn.ReLU(inplace=True),
                nn.Conv2d(outputs // 2, outputs, 3, 2, 1),
                nn.ReLU(inplace=True),
            )
            for layer in block:
                if isinstance(layer, nn.Conv2d):
                    nn.init.xavier_uniform_(layer.weight)
                    nn.init.zeros_(layer.bias)
            self.extra.append(block)
            inputs = outputs

    def forward(self, pictures: Tensor) -> dict[str, Tensor]:
        found = dict(self.body(pictures))
        x = found["2"]
        for number, block in enumerate(self.extra, start=3):
            x = block(x)
            found[str(number)] = x
        return found


def torchvision_ssd(num_classes: int) -> SSD:
    """Its class counts the background."""
    return SSD(
        Body(),
        DefaultBoxGenerator(RATIOS),
        (WIDTH, HEIGHT),
        num_classes + 1,
        score_thresh=0.001,
        detections_per_img=100,
    )


class CountedFrom0(nn.Module):
    """torchvision's SSD as `accuracy.score_peer` asks: labels without the background."""

    def __init__(self, model: SSD) -> None:
        super().__init__()
        self.model = model

    def forward(self, pictures: list[Tensor]) -> list[dict[str, Tensor]]:
        return [{**found, "labels": found["labels"] - 1} for found in self.model(pictures)]


def with_background(targets: Targets) -> dict[str, Tensor]:
    return {"boxes": targets.boxes, "labels": targets.labels + 1}


class Peer:
    """torchvision's SSD, a step at a time."""

    def __init__(self, train: DetectionDataset, settings: TrainSettings) -> None:
        torch.manual_seed(settings.seed)
        self.model = torchvision_ssd(len(train.label_map)).train()
        self.optimizer = build_optimizer(self.model, REFERENCE)
        plan = BatchPlan(images=train.annotations.sizes, batch_size=settings.batch_size, seed=settings.seed)
        self.total, self.number = settings.epochs * len(plan), 0
        view = TrainingView(train, Compose([HorizontalFlip(0.5)]))
        self.batches = batches_of(view, plan, settings.epochs)

    def step(self) -> None:
        batch = next(self.batches)
        pictures = [picture / 255 for picture in batch.pictures]
        losses = self.model(pictures, list(map(with_background, batch.targets)))
        sum(losses.values()).backward()
        set_rate(self.optimizer, rate_factor(self.number, self.total, REFERENCE))
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.number += 1


class Ours:
    """Pagoda's SSD, a step at a time, as its training loop steps."""

    def __init__(self, train: DetectionDataset, settings: TrainSettings, name: str) -> None:
        torch.manual_seed(settings.seed)
        model = create_model(name, label_map=train.label_map, canvas=(HEIGHT, WIDTH))
        self.model = model.train().to(memory_format=torch.channels_last)
        self.optim, self.precision = settings.optim, settings.precision
        self.optimizer = build_optimizer(self.model, self.optim)
        self.average = ModelAverage(self.model, self.optim.ema_decay)
        plan = BatchPlan(images=train.annotations.sizes, batch_size=settings.batch_size, seed=settings.seed)
        self.total, self.number = settings.epochs * len(plan), 0
        view = TrainingView(train, training_transform(model, train, settings.augment))
        self.batches = batches_of(view, plan, settings.epochs)

    def step(self) -> None:
        batch = next(self.batches)
        images = self.model.input_spec.batch(batch.pictures)
        with torch.autocast("cpu", torch.bfloat16, enabled=self.precision == "bf16"):
            losses = self.model.losses(images, batch.targets)
        sum(losses.values()).backward()
        nn.utils.clip_grad_norm_(self.model.parameters(), self.optim.clip_norm)
        set_rate(self.optimizer, rate_factor(self.number, self.total, self.optim))
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.average.update(self.model, self.number)
        self.number += 1


def batches_of(view: TrainingView, plan: BatchPlan, epochs: int) -> Iterator:
    for epoch in cycle(range(epochs)):
        yield from make_loader(view, plan.epoch(epoch))


def in_turns(ours: Ours, peer: Peer, turns: int, steps: int) -> dict[str, float]:
    """Median steps per second of both, and their ratio."""
    rates: dict[str, list[float]] = {"pagoda": [], "torchvision": []}
    for turn in range(turns + 1):
        for name, side in (("pagoda", ours), ("torchvision", peer)):
            since = perf_counter()
            for _ in range(steps):
                side.step()
            if turn:  # the first warms up
                rates[name].append(steps / (perf_counter() - since))
    found = {name: statistics.median(each) for name, each in rates.items()}
    return {**found, "ratio": found["pagoda"] / found["torchvision"]}


def train_torchvision(train: DetectionDataset, val: DetectionDataset, settings: TrainSettings) -> list[dict]:
    """Rows {"epoch", "seconds", "AP", "AP50"}."""
    peer, seconds, rows = Peer(train, settings), 0.0, []
    for epoch in range(settings.epochs):
        since = perf_counter()
        for _ in range(peer.total // settings.epochs):
            peer.step()
        seconds += perf_counter() - since
        if (epoch + 1) % settings.val_every == 0 or epoch + 1 == settings.epochs:
            rows.append({"epoch": epoch + 1, "seconds": seconds, **score_peer(CountedFrom0(peer.model), val)})
            print(json.dumps({"torchvision": "SSD", **rows[-1]}), flush=True)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", required=True, help="the bccd folder")
    parser.add_argument("--what", nargs="+", choices=["speed", "accuracy"], default=["speed", "accuracy"])
    parser.add_argument(
        "--systems", nargs="+", choices=["pagoda", "torchvision"], default=["pagoda", "torchvision"]
    )
    parser.add_argument("--model", default="ssd_resnet18")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--val-every", type=int, default=3, help="epochs between scores")
    parser.add_argument("--precision", default="bf16", choices=["fp32", "bf16"])
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--steps", type=int, default=4, help="of each, in a turn")
    arguments = parser.parse_args()
    train = DetectionDataset(open_annotations(arguments.data, "train+val"))
    val = DetectionDataset(open_annotations(arguments.data, "test"))
    for seed in arguments.seeds:
        settings = TrainSettings(
            data=arguments.data,
            epochs=arguments.epochs,
            val_every=arguments.val_every,
            seed=seed,
            precision=arguments.precision,
        )
        if "speed" in arguments.what:
            pair = Ours(train, settings, arguments.model), Peer(train, settings)
            print(
                json.dumps({"steps per second": in_turns(*pair, arguments.turns, arguments.steps)}),
                flush=True,
            )
        if "accuracy" in arguments.what:
            if "pagoda" in arguments.systems:
                train_pagoda(arguments.model, train, val, settings, {"canvas": (HEIGHT, WIDTH)})
            if "torchvision" in arguments.systems:
                train_torchvision(train, val, settings)


if __name__ == "__main__":
    main()
