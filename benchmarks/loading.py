"""Reading and augmenting training pictures: pictures per second with 0, 1 and 2 workers.

python benchmarks/loading.py --data DIR --short 480 --long 640
"""

import argparse
import platform
import time

import torch

from pagoda.data.dataset import DetectionDataset
from pagoda.data.formats.reader import open_annotations
from pagoda.data.loading import BatchPlan, TrainingView, make_loader
from pagoda.models import create_model
from pagoda.recipes.augmentation import training_transform
from pagoda.training.settings import AugmentSettings


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", required=True)
    parser.add_argument("--split", default="train")
    parser.add_argument("--short", type=int, default=480)
    parser.add_argument("--long", type=int, default=640)
    options = parser.parse_args()
    torch.set_num_threads(1)
    data = DetectionDataset(open_annotations(options.data, options.split))
    model = create_model(
        "fcos_resnet18_fpn", label_map=data.label_map, short_side=options.short, long_side=options.long
    )
    view = TrainingView(data, training_transform(model, data, AugmentSettings()))
    plan = BatchPlan(images=data.annotations.sizes, batch_size=8, seed=0)
    print(
        f"{platform.machine()}, {len(data)} pictures to {options.short}×{options.long}, default augmentation"
    )
    for workers in (0, 1, 2):
        since = time.perf_counter()
        count = sum(len(batch.pictures) for batch in make_loader(view, plan.epoch(0), num_workers=workers))
        print(f"{workers} workers: {count / (time.perf_counter() - since):.0f} pictures per second")


if __name__ == "__main__":
    main()
