"""What a detector decodes with it also learns with; counts that losses are divided by travel with its weights."""

import pytest
import torch

from pagoda.criteria.dense import FCOSCriterion, RetinaNetCriterion
from pagoda.models import create_model
from pagoda.ops.box_coding import BoxCoder
from pagoda.structures.images import ImageBatch
from pagoda.structures.instances import Targets

SMALL = {"num_classes": 2, "width": 32, "head_depth": 1}
IMAGES = ImageBatch(torch.zeros(1, 3, 64, 96), torch.tensor([[64, 96]]))
TARGET = Targets(
    torch.tensor([[8.0, 12, 57, 50]]), torch.tensor([1]), (64, 96), torch.zeros(1, dtype=torch.bool)
)


@pytest.mark.parametrize("name", ["retinanet_resnet18_fpn", "efficientdet_resnet18_bifpn"])
@pytest.mark.parametrize("coder", [BoxCoder(weights=(10.0, 10.0, 5.0, 5.0)), BoxCoder(inclusive=True)])
def test_what_is_right_to_the_losses_is_found(name, coder):
    torch.manual_seed(0)
    model = create_model(name, **SMALL).eval()
    assert isinstance(model.coder, BoxCoder) and not hasattr(model.criterion, "coder")
    model.coder = coder
    with torch.no_grad():
        outputs = model(IMAGES)
    priors = torch.cat(outputs.priors)
    deltas = coder.encode(TARGET.boxes.expand(len(priors), 4), priors)
    outputs = outputs._replace(box_outputs=deltas[None])
    model.forward = lambda images: outputs
    assert model.losses(IMAGES, [TARGET])["loss_box"].item() == pytest.approx(0, abs=1e-5)
    every = model.postprocess.with_limits(min_score=0.0, max_detections=1)
    (found,) = model.detect(IMAGES, postprocess=every)
    torch.testing.assert_close(found.boxes, TARGET.boxes, rtol=0, atol=1e-2)


def test_heads_of_two_stages_bring_their_coders():
    model = create_model("faster_rcnn_resnet18_fpn.maskrcnn_benchmark", num_classes=2, width=32)
    assert model.rpn_head.coder == BoxCoder(inclusive=True)
    assert model.box_head.coder == BoxCoder(weights=(10.0, 10.0, 5.0, 5.0), inclusive=True)
    boxes, deltas = torch.tensor([[0.0, 0, 9, 9]]), torch.tensor([[1.0, 0, 0, 0]])
    assert model.decode(deltas, boxes).tolist() == [[1, 0, 10, 9]]


@pytest.mark.parametrize(
    ("name", "criterion"),
    [
        ("fcos_resnet18_fpn", FCOSCriterion(moving_start=300.0)),
        ("retinanet_resnet18_fpn", RetinaNetCriterion(moving_start=300.0)),
        ("efficientdet_resnet18_bifpn", RetinaNetCriterion(moving_start=300.0)),
    ],
)
def test_counts_travel_with_the_weights(name, criterion):
    """Whatever detector a criterion serves, it says which count is kept."""
    plain = create_model(name, **SMALL)
    assert plain.running_count is None
    kind = type(plain)
    parts = {part: getattr(plain, part) for part in ("class_head", "box_head", "label_map", "input_spec")}
    model = kind(plain.backbone, plain.neck, **parts, criterion=criterion).train()
    model.losses(ImageBatch(torch.randn(2, 3, 64, 96), IMAGES.sizes.repeat(2, 1)), [TARGET] * 2)
    mean = model.state_dict()["running_count.mean"]
    assert 0 < mean < 300
    again = kind(plain.backbone, plain.neck, **parts, criterion=criterion)
    again.load_state_dict(model.state_dict())
    assert again.running_count.mean == mean
