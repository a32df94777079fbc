"""The adapter for sahi that docs/tiles.md shows."""

from pathlib import Path

import numpy as np
import pytest
import torch

from pagoda.models import create_model

sahi_predict = pytest.importorskip("sahi.predict", reason="sahi is not installed")
PAGE = Path(__file__).parents[2] / "docs" / "tiles.md"


def test_sahi_finds_in_a_slice_what_the_model_does():
    code, names = (
        PAGE.read_text("utf-8").partition("## With sahi")[2].split("```python\n")[1].split("```")[0],
        {},
    )
    exec(code, names)
    torch.manual_seed(0)
    model = create_model(
        "fcos_resnet18_fpn", num_classes=2, width=16, base_channels=16, short_side=64, long_side=64
    ).eval()
    with torch.no_grad():
        model.class_head.predict.bias.zero_()
    theirs = names["PagodaDetectionModel"](model=model, confidence_threshold=0.45, device="cpu")
    picture = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    expected = model.predict(picture, min_score=0.45)
    found = sahi_predict.get_prediction(picture, theirs).object_prediction_list
    boxes = np.array([each.bbox.to_xyxy() for each in found])
    assert len(expected) > 0
    np.testing.assert_allclose(boxes, expected.boxes.numpy(), atol=0.01)
    assert [each.category.name for each in found] == expected.names
    sliced = sahi_predict.get_sliced_prediction(
        np.tile(picture, (2, 2, 1)), theirs, slice_height=64, slice_width=64, verbose=0
    )
    assert len(sliced.object_prediction_list) > 0
