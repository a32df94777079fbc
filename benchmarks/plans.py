"""What runs are said to take before they begin, and what they take: models on data sets, each in two processes.

python benchmarks/plans.py DIR [NAME …]     DIR holds bccd, coco_tiny, mirror_mouse, nuclei and voc_toy; NAMEs of RUNS

One process says what the run would take, as `pagoda train … --plan` does, and trains nothing; the other one trains, and
tries no large batch between its steps, so that its peak is that of the run alone. Seconds are the processor's, of one
thread, so that neighbours change them little; memory is the process's peak.
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
from pagoda.recipes import planning, training_run
from pagoda.recipes.by_name import recipe_settings
from pagoda.training.loop import Trainer
from pagoda.training.plan import Pace, RunPlan
from pagoda.training.settings import TrainSettings, to_plain
from pagoda.training.trial import Trial

ALL = {"train_split": "coco_as_published", "val_split": "coco_as_published"}
SMALL = {"width": 64, "short_side": 128, "long_side": 213}
RUNS = {
    "fcos": ("fcos_resnet18_fpn", "bccd", "", SMALL, {"epochs": 2}),
    "retinanet": (
        "retinanet_resnet18_fpn", "voc_toy", "", {"width": 64, "short_side": 192, "long_side": 320},
        {**ALL, "epochs": 12, "val_every": 3, "batch_size": 2},
    ),
    "mask_rcnn": ("mask_rcnn_resnet18_fpn", "nuclei", "rcnn_small", SMALL, {"epochs": 2, "val_every": 1}),
    "mask_rcnn_long": ("mask_rcnn_resnet18_fpn", "nuclei", "rcnn_small", SMALL, {"epochs": 12, "val_every": 4}),
    "keypoint_rcnn": (
        "keypoint_rcnn_resnet18_fpn", "mirror_mouse", "rcnn_small", SMALL,
        {"epochs": 12, "val_every": 4, "augment": {"horizontal_flip": 0.0}},
    ),
    "efficientdet": (
        "efficientdet_d0", "coco_tiny", "efficientdet_small", {"canvas": [128, 128]},
        {"epochs": 10, "val_every": 5, "batch_size": 4},
    ),
}  # fmt: skip
"""name → (model, data, recipe, its options, settings)"""


def run_of(name: str, data: Path, out: str) -> tuple[str, TrainSettings, dict]:
    """(model, settings, its options) of one of `RUNS`."""
    model, folder, recipe, options, changes = RUNS[name]
    base = to_plain(recipe_settings(recipe, "") if recipe else TrainSettings(data=""))
    words = {"device": "cpu", "precision": "fp32", "data": str(data / folder), "out": out, **changes}
    plain = TrainSettings(data="")
    return model, training_run.settings_with(training_run.settings_with(plain, base), words), options


def said(name: str, data: Path) -> dict[str, float]:
    """What the run would take, and what it took to find that out."""
    plan_of = Trial.plan
    Trial.plan = lambda self, num_scored: plan_of(self, num_scored, clock=process_time)
    model, settings, options = run_of(name, data, "")
    since = process_time()
    plan = training_run.plan(model, settings, options=options, quiet=True)
    return {"s": plan.seconds, "MB": plan.memory / 2**20, "plan s": process_time() - since}


def took(name: str, data: Path) -> dict[str, float]:
    """What it takes, and what its first steps alone say of that."""
    plans: list[RunPlan] = []
    seconds: list[float] = []
    plan_of, run = planning.plan_of, Trainer.run

    def plan_steps(*arguments: object, heaviest: object, **words: object) -> RunPlan:
        plans.append(plan_of(*arguments, **words))
        return plans[-1]

    def time_run(trainer: Trainer) -> object:
        since = process_time()
        result = run(trainer)
        seconds.append(process_time() - since)
        return result

    planning.plan_of, planning.Pace, Trainer.run = plan_steps, partial(Pace, process_time), time_run
    with TemporaryDirectory() as out:
        model, settings, options = run_of(name, data, out)
        training_run.train(model, settings, options=options)
    first = plans[0]
    return {
        "s": seconds[0],
        "MB": peak_memory() / 2**20,
        "steps s": first.seconds,
        "steps MB": first.memory / 2**20,
    }


def main(data: str, *names: str) -> None:
    if len(names) == 2 and names[0] in ("said", "took"):
        torch.set_num_threads(1)
        measure = {"said": said, "took": took}[names[0]]
        print(json.dumps(measure(names[1], Path(data))))
        return
    for name in names or RUNS:
        told, real = (
            json.loads(subprocess.check_output([sys.executable, __file__, data, word, name]))
            for word in ("said", "took")
        )
        print(
            f"{name:15} said {told['s']:5.0f} s {told['MB']:5.0f} MB (in {told['plan s']:.0f} s),"
            f" took {real['s']:5.0f} s {real['MB']:5.0f} MB:"
            f" {told['s'] / real['s']:.2f} {told['MB'] / real['MB']:.2f};"
            f" first steps alone {real['steps s'] / real['s']:.2f} {real['steps MB'] / real['MB']:.2f}",
            flush=True,
        )


if __name__ == "__main__":
    main(*sys.argv[1:])
