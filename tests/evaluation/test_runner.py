"""Scoring a model on a dataset: what it is fed, what cannot be read, what does not fit."""

import pytest
import torch

from pagoda.data.synthetic import DrawnShapes
from pagoda.evaluation.runner import check_same_classes, detect_dataset, evaluate
from pagoda.pictures import PictureError
from pagoda.structures.instances import Detections
from pagoda.structures.labels import LabelMap
from pagoda.zoo.models import create_model


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    labels = LabelMap.from_names(["circle", "square", "triangle"])
    return create_model(
        "fcos_resnet18_fpn", label_map=labels, width=32, head_depth=1, short_side=64, long_side=64
    )


class Oracle(torch.nn.Module):
    """Says what is annotated: a model that cannot be wrong."""

    def __init__(self, data, model):
        super().__init__()
        self.data, self.input_spec, self.label_map = data, model.input_spec, data.label_map
        self.postprocess = model.postprocess
        self.weight = torch.nn.Parameter(torch.zeros(1))
        self.shown = 0

    def detect(self, images, *, postprocess):
        found = []
        for size in images.sizes.tolist():
            targets = self.data[self.shown][1]
            scale = size[0] / targets.image_size[0]
            scores = torch.ones(len(targets))
            found.append(
                Detections(targets.boxes * scale, scores, targets.labels, tuple(size), self.label_map)
            )
            self.shown += 1
        return found


@pytest.mark.parametrize("side", [64, 128])  # the network's size, and pictures twice as large
def test_an_oracle_scores_one(model, side):
    data = DrawnShapes(7, image_size=(side, side), seed=5)
    result = evaluate(Oracle(data, model), data, batch_size=3)
    assert result.metrics["AP"] == pytest.approx(1)


def test_the_model_is_left_in_its_mode(model):
    data = DrawnShapes(2, image_size=(64, 64), seed=5)
    model.train()
    list(detect_dataset(model, data))
    assert model.training


class Broken:
    """Picture 1 of the wrapped dataset cannot be read."""

    def __init__(self, data):
        self.data, self.annotations, self.label_map = data, data.annotations, data.label_map

    def __len__(self):
        return len(self.data)

    def __getitem__(self, index):
        if index == 1:
            raise PictureError("b.png: truncated")
        return self.data[index]


def test_unreadable_pictures_count_as_missed_and_are_named(model):
    data = Broken(DrawnShapes(4, image_size=(64, 64), seed=5))
    result = evaluate(model, data, batch_size=2)
    assert "1 pictures could not be read: b.png: truncated" in result.protocol
    assert result.num_images == 4
    with pytest.raises(PictureError):
        list(detect_dataset(model, data))


def test_classes_that_do_not_meet_are_named():
    check_same_classes(["a", "b"], ["a", "b"])
    with pytest.raises(ValueError, match="unknown to the model: c; not in the data: b"):
        check_same_classes(["a", "b"], ["a", "c"])
    with pytest.raises(ValueError, match="another order"):
        check_same_classes(["a", "b"], ["b", "a"])
