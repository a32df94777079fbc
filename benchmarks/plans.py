"""What runs are said to take, and what they take: four models on four data sets, each in a process of its own.

python benchmarks/plans.py DIR [NAME …]     DIR holds bccd, coco_tiny, nuclei and voc_toy; NAMEs are of RUNS

Seconds are the processor's, of one thread, so that busy neighbours do not change them; memory is the process's peak.
"""

import json
import subprocess
import sys
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from time import process_time

import torch

from pagoda.memory import peak_memory
from pagoda.recipes import training_run
from pagoda.recipes.by_name import recipe_settings
from pagoda.training.loop import Trainer
from pagoda.training.plan import Pace, RunPlan
from pagoda.training.settings import to_plain

ALL = {"train_split": "coco_as_published", "val_split": "coco_as_published"}
RUNS = {
    "fcos": ("fcos_resnet18_fpn", "bccd", "", {"width": 64, "short_side": 128, "long_side": 213}, {"epochs": 1}),
    "retinanet": (
        "retinanet_resnet18_fpn", "voc_toy", "", {"width": 64, "short_side": 192, "long_side": 320},
        {**ALL, "epochs": 12, "val_every": 3, "batch_size": 2},
    ),
    "mask_rcnn": (
        "mask_rcnn_resnet18_fpn", "nuclei", "rcnn_small", {"width": 64, "short_side": 128, "long_side": 213},
        {"epochs": 2, "val_every": 1},
    ),
    "efficientdet": (
        "efficientdet_d0", "coco_tiny", "efficientdet_small", {"canvas": [128, 128]},
        {"epochs": 10, "val_every": 5, "batch_size": 4},
    ),
}  # fmt: skip
"""name → (model, data, recipe, its options, settings)"""


def measure(name: str, data: Path) -> dict[str, float]:
    """One run, with a look at what it says after its first steps and at what it takes to its last validation."""
    torch.set_num_threads(1)
    model, folder, recipe, options, changes = RUNS[name]
    plans: list[RunPlan] = []
    seconds: list[float] = []
    plan_of, run = training_run.plan_of, Trainer.run

    def keep_plan(*arguments: object, **words: object) -> RunPlan:
        plans.append(plan_of(*arguments, **words))
        return plans[-1]

    def time_run(trainer: Trainer) -> object:
        since = process_time()
        result = run(trainer)
        seconds.append(process_time() - since)
        return result

    training_run.plan_of, training_run.Pace = keep_plan, partial(Pace, process_time)
    Trainer.run = time_run
    base = to_plain(recipe_settings(recipe, "") if recipe else training_run.TrainSettings(data=""))
    with TemporaryDirectory() as out:
        words = {
            **base,
            "device": "cpu",
            "precision": "fp32",
            "data": str(data / folder),
            "out": out,
            **changes,
        }
        training_run.train(
            model, training_run.settings_with(training_run.TrainSettings(data=""), words), options=options
        )
    plan, peak = plans[0], peak_memory()
    return {
        "predicted s": plan.seconds,
        "took s": seconds[0],
        "predicted MB": plan.memory / 2**20,
        "took MB": peak / 2**20,
        "time": plan.seconds / seconds[0],
        "memory": plan.memory / peak,
    }


def main(data: str, *names: str) -> None:
    if len(names) == 1:
        print(
            json.dumps(
                {
                    "name": names[0],
                    **{key: round(value, 3) for key, value in measure(names[0], Path(data)).items()},
                }
            )
        )
        return
    for name in names or RUNS:
        subprocess.run([sys.executable, __file__, data, name], check=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
