"""Scoring a model on a dataset: what it is fed, what cannot be read, what does not fit."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from pagoda.data.drawn.synthetic import DrawnShapes
from pagoda.evaluation.coco.evaluator import evaluate_results_file
from pagoda.evaluation.coco.results_file import read_results
from pagoda.evaluation.runner import check_same_classes, check_same_keypoints, detect_dataset, evaluate
from pagoda.models import create_model
from pagoda.pictures.read import PictureError
from pagoda.structures.instances import Detections
from pagoda.structures.labels import LabelMap
from pagoda.structures.skeleton import Skeleton

pytestmark = pytest.mark.medium


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

    def detect(self, images, *, postprocess, sizes):
        found = []
        for size in images.sizes.tolist():
            targets = self.data[self.shown][1]
            scale = size[0] / targets.image_size[0]
            scores = torch.ones(len(targets))
            found.append(
                Detections(targets.boxes * scale, scores, targets.labels, tuple(size), self.label_map)
            )
            self.shown += 1
        return self.restore(found, sizes)

    def restore(self, found, sizes):
        return self.input_spec.restore(found, sizes)


@pytest.mark.parametrize("side", [64, 128])  # the network's size, and pictures twice as large
def test_an_oracle_scores_one(model, side):
    data = DrawnShapes(7, image_size=(side, side), seed=5)
    result = evaluate(Oracle(data, model), data, batch_size=3)
    assert result.metrics["AP"] == pytest.approx(1)


@pytest.mark.parametrize("batch_size", [0, -2])
def test_batches_without_pictures_are_refused_rather_than_scored(model, batch_size):
    with pytest.raises(ValueError, match=f"batch_size must be at least 1, got {batch_size}"):
        evaluate(model, DrawnShapes(2, image_size=(64, 64), seed=5), batch_size=batch_size)


def test_the_model_is_left_in_its_mode(model):
    data = DrawnShapes(2, image_size=(64, 64), seed=5)
    model.train()
    list(detect_dataset(model, data))
    assert model.training


def test_unreadable_pictures_count_as_missed_and_are_named(model, corrupt_pictures):
    data = corrupt_pictures(DrawnShapes(4, image_size=(64, 64), seed=5), {1})
    result = evaluate(model, data, batch_size=2)
    assert "1 picture could not be read: 1.png: truncated" in result.protocol
    assert result.num_images == 4
    with pytest.raises(PictureError):
        list(detect_dataset(model, data))


class Mixed:
    """Drawings of several shapes, which remembers the order in which it was asked."""

    def __init__(self, *datasets):
        self.pictures = [data[index] for data in datasets for index in range(len(data))]
        self.label_map, self.asked = datasets[0].label_map, []
        self.annotations = self

    @property
    def sizes(self):
        return np.array([targets.image_size for _, targets in self.pictures])

    def to_coco(self):
        images = [{"id": index, "height": h, "width": w} for index, (h, w) in enumerate(self.sizes.tolist())]
        names = enumerate(self.label_map.names)
        categories = [{"id": self.label_map.category_ids[label], "name": name} for label, name in names]
        return {"images": images, "categories": categories, "annotations": []}

    def __len__(self):
        return len(self.pictures)

    def __getitem__(self, index):
        self.asked.append(index)
        picture, targets = self.pictures[index]
        return picture, replace(targets, image_id=index)


def test_pictures_of_alike_shape_share_a_batch(model):
    tall, wide = (DrawnShapes(3, image_size=size, seed=5) for size in ((64, 32), (32, 64)))
    data = Mixed(wide, tall)
    evaluate(model, data, batch_size=3)
    assert data.asked == [3, 4, 5, 0, 1, 2]


def test_classes_that_do_not_meet_are_named():
    check_same_classes(["a", "b"], ["a", "b"])
    with pytest.raises(ValueError, match="unknown to the model: c; not in the data: b"):
        check_same_classes(["a", "b"], ["a", "c"])
    with pytest.raises(ValueError, match="another order"):
        check_same_classes(["a", "b"], ["b", "a"])


class Bent:
    """Data with other classes in their files: `names` of the annotated shapes, `ids` as they stand there."""

    def __init__(self, data, names, ids):
        self.data, self.label_map = data, LabelMap(names, ids)
        self.annotations = self

    @property
    def sizes(self):
        return self.data.annotations.sizes

    def rows(self, targets):
        own = [self.data.label_map.names[label] for label in targets.labels.tolist()]
        return [row for row, name in enumerate(own) if name in self.label_map.names], own

    def to_coco(self):
        document = self.data.annotations.to_coco()
        renamed = dict(zip(self.label_map.names, self.label_map.category_ids, strict=True))
        names = dict(zip(self.data.label_map.category_ids, self.data.label_map.names, strict=True))
        kept = [a for a in document["annotations"] if names[a["category_id"]] in renamed]
        moved = [{**a, "category_id": renamed[names[a["category_id"]]]} for a in kept]
        categories = [{"id": number, "name": name} for name, number in renamed.items()]
        return {**document, "annotations": moved, "categories": categories}

    def __len__(self):
        return len(self.data)

    def __getitem__(self, index):
        return self.data[index]


@pytest.mark.parametrize(
    ("names", "ids"),
    [
        (("triangle", "circle", "square"), (1, 2, 3)),  # another order
        (("circle", "square", "triangle"), (5, 90, 7)),  # other ids
        (("square",), (1,)),  # a subset
        (("triangle", "circle"), (1, 2)),
    ],
)
def test_classes_meet_by_name(model, names, ids):
    data = DrawnShapes(7, image_size=(64, 64), seed=5)
    oracle = Oracle(data, model)
    result = evaluate(oracle, Bent(data, names, ids), batch_size=3)
    assert result.metrics["AP"] == pytest.approx(1) and tuple(result.per_class) == tuple(
        name for _, name in sorted(zip(ids, names, strict=True))
    )
    total = sum(len(data[index][1]) for index in range(7))
    absent = [repr(name) for name in data.label_map.names if name not in names]
    left = total - sum(int(row["detections"]) for row in result.per_class.values())
    told = f"{left} detections of classes that the data do not have left out: {', '.join(absent)}"
    assert (told in result.protocol) is bool(absent) and bool(left) is bool(absent)


def test_classes_that_the_model_does_not_know_are_refused_where_objects_have_them(model):
    data = DrawnShapes(3, image_size=(64, 64), seed=5)
    empty = Bent(data, ("circle", "square", "triangle", "star"), (1, 2, 3, 4))
    assert evaluate(Oracle(data, model), empty).metrics["AP"] == pytest.approx(1)
    oracle = Oracle(data, model)
    oracle.label_map = LabelMap.from_names(["circle", "square", "star"])
    with pytest.raises(ValueError, match="unknown to the model: triangle; not in the data: star"):
        evaluate(oracle, data)
    assert oracle.shown == 0


class AllKnowing(Oracle):
    """Says what is annotated, masks and keypoints too."""

    def restore(self, found, sizes):
        first = self.shown - len(found)
        whole = []
        for number, each in enumerate(super().restore(found, sizes), first):
            targets = self.data[number][1]
            whole.append(replace(each, masks=targets.masks, keypoints=targets.keypoints))
        return whole


def test_masks_and_keypoints_are_scored_and_saved(model, tmp_path):
    data = DrawnShapes(7, image_size=(64, 64), seed=5)
    result = evaluate(AllKnowing(data, model), data, batch_size=3, save_results=tmp_path / "results.json")
    for task in ("", "segm/", "keypoints/"):
        assert result.metrics[f"{task}AP"] == pytest.approx(1)
    again = evaluate_results_file(tmp_path / "results.json", data.annotations.to_coco(), data.label_map)
    assert again.metrics == pytest.approx(result.metrics, nan_ok=True)
    assert len(read_results(tmp_path / "results.json")) == len(data.annotations.labels)


def test_keypoints_of_another_skeleton_are_named(model):
    data = DrawnShapes(3, image_size=(64, 64), seed=5)
    oracle = AllKnowing(data, model)
    names = ("top", "east", "bottom", "left")
    oracle.label_map = replace(data.label_map, skeleton=Skeleton(names))
    with pytest.raises(
        ValueError, match="the first that differ are 'east' and 'right'; train the model on this"
    ):
        evaluate(oracle, data)
    check_same_keypoints(data.label_map, replace(data.label_map, skeleton=None))  # nothing to compare
