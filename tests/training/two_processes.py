"""Started twice by test_distributed.py: losses, normalisers and validation on half of the data each."""

import json
import os
import sys
from pathlib import Path

import torch
from torch import distributed

from pagoda.data.drawn.synthetic import DrawnShapes
from pagoda.evaluation.runner import evaluate
from pagoda.models import create_model
from pagoda.structures.instances import Targets


def main(out: Path) -> None:
    torch.set_num_threads(1)
    rank = int(os.environ["RANK"])
    if int(os.environ["WORLD_SIZE"]) > 1:
        distributed.init_process_group("gloo")
    found = {}
    data = DrawnShapes(5, image_size=(64, 64), seed=3)
    for name in ("fcos_resnet18_fpn", "retinanet_resnet18_fpn"):
        torch.manual_seed(0)
        model = create_model(
            name,
            label_map=data.label_map,
            width=32,
            head_depth=1,
            base_channels=16,
            short_side=64,
            long_side=64,
        ).eval()
        samples = [data[index] for index in range(4)]
        targets = [t for _, t in samples[:2]] + [Targets.empty((64, 64))] * 2  # the second half has no object
        pictures = [p for p, _ in samples]
        if os.environ["WORLD_SIZE"] == "2":
            half = slice(0, 2) if rank == 0 else slice(2, 4)
            pictures, targets = pictures[half], targets[half]
        losses = model.losses(model.input_spec.batch(pictures), targets)
        sum(losses.values()).backward()
        result = evaluate(model, data, batch_size=2)
        found[name] = {
            "losses": {key: value.item() for key, value in losses.items()},
            "finite": all(
                torch.isfinite(p.grad).all().item() for p in model.parameters() if p.grad is not None
            ),
            "metrics": result.to_dict()["metrics"],
        }
    (out / f"rank{rank}.json").write_text(json.dumps(found))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
