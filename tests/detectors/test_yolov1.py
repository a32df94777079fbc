"""YOLOv1 learns: a few pictures by heart, whichever its head."""

from dataclasses import replace

import pytest
import torch

from pagoda.data.drawn.synthetic import DrawnShapes
from pagoda.models import create_model
from pagoda.zoo.yolov1 import LOCAL, connected, conv, pooled

SMALL = (*pooled((16, 32, 64, 128), norm=True), conv(256, 3), replace(LOCAL, outputs=32), connected(1))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("yolov1_resnet18", {"levels": (4,), "width": 64}),
        ("yolov1", {"layers": SMALL, "side": 8, "num_boxes": 2}),
    ],
)
def test_learns_four_pictures_by_heart(name: str, options: dict) -> None:
    torch.manual_seed(0)
    shapes = DrawnShapes(4, (128, 128), seed=3, max_objects=3)
    pictures, targets = zip(*(shapes[index] for index in range(4)), strict=True)
    model = create_model(name, label_map=shapes.label_map, canvas=(128, 128), **options).train()
    images = model.input_spec.batch(pictures)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    for _ in range(200):
        optimizer.zero_grad()
        sum(model.losses(images, targets).values()).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 10.0)
        optimizer.step()
    with torch.no_grad():
        found = model.eval().detect(images, postprocess=model.postprocess.with_limits(min_score=0.6))
    for each, target in zip(found, targets, strict=True):
        order, wanted = each.boxes[:, 0].argsort(), target.boxes[:, 0].argsort()
        assert each.labels[order].tolist() == target.labels[wanted].tolist()
        torch.testing.assert_close(each.boxes[order], target.boxes[wanted], rtol=0, atol=4.0)
