"""`why` on whole data sets: beside a slow loop, beside `evaluate`, of exported files, of foreign classes."""

import random
from collections import Counter
from dataclasses import replace

import pytest
import torch
from scripted import ScriptedPictures, scripted
from slow_reasons import reasons
from test_planted import Planter

import pagoda
from pagoda.data.dataset import DetectionDataset
from pagoda.data.drawn.synthetic import DrawnShapes
from pagoda.data.formats.reader import open_annotations
from pagoda.detectors.contract import Detector
from pagoda.evaluation.runner import evaluate
from pagoda.explain.why.examine import why
from pagoda.structures.labels import LabelMap


def noisy_fcos(label_map: LabelMap, side: int, seed: int) -> Detector:
    """A network that has learnt nothing and says a lot: boxes of many sizes, scores from 0 to 1."""
    torch.manual_seed(seed)
    small = {"base_channels": 8, "width": 16, "norm_groups": 4, "short_side": side, "long_side": side}
    model = pagoda.create_model("fcos_resnet18_fpn", label_map=label_map, **small).eval()
    forward, draw = model.forward, random.Random(seed)
    gain = draw.uniform(0.5, 2.5)

    def loud(images):
        outputs = forward(images)
        generators = [
            torch.Generator().manual_seed(int(picture.double().abs().sum())) for picture in images.pixels
        ]

        def noise(like):
            """Of each picture its own, whatever else is in the batch."""
            return torch.stack([torch.randn(like.shape[1:], generator=each) for each in generators])

        levels = zip(model.levels, outputs.priors, strict=True)
        strides = torch.cat([torch.full((len(p),), float(model.strides[level])) for level, p in levels])
        return outputs._replace(
            class_logits=gain * noise(outputs.class_logits) - 3,
            box_outputs=strides[:, None] * (1.2 + noise(outputs.box_outputs)).abs(),
            quality_logits=noise(outputs.quality_logits),
        )

    model.forward = loud
    return model


def agree_with_the_slow_loop(model: Detector, data, limits: dict) -> Counter:
    told = why(model, data, limits=limits)
    slow = replace_limits(model, limits)
    expected = {}
    for index in range(len(data)):
        picture, targets = data[index]
        slow._shown = tuple(picture.shape[-2:])
        kept = [row for row in range(len(targets)) if not targets.ignored[row]]
        boxes = targets.boxes.tolist()
        found = reasons(
            slow, picture, [boxes[row] for row in kept], [int(targets.labels[row]) for row in kept]
        )
        expected |= {(targets.image_id, kept[row]): reason for row, reason in found.items()}
    assert {(miss.image_id, miss.object): miss.reason for miss in told.misses} == expected
    return told.miss_counts()


def replace_limits(model: Detector, limits: dict) -> Detector:
    model.postprocess = model.postprocess.with_limits(**limits)
    return model


@pytest.mark.medium
@pytest.mark.parametrize("seed", range(4))
def test_reasons_are_those_of_a_slow_loop(seed):
    data = DrawnShapes(12, (96, 128), seed)
    model = noisy_fcos(data.label_map, 96, seed)
    limits = [
        {"min_score": 0.5},
        {"min_score": 0.2, "max_candidates": 40},
        {"min_score": 0.1, "max_iou": 0.3, "max_detections": 30},
        {"min_score": 0.05, "max_iou": 0.9, "max_detections": 400, "max_candidates": 2000},
    ][seed]
    counts = agree_with_the_slow_loop(model, data, limits)
    assert len(counts) >= 2, counts


@pytest.mark.slow
def test_reasons_on_real_pictures_are_those_of_a_slow_loop(shared_data, tmp_path):
    """Blood cells, a network of two epochs."""
    run = pagoda.train(
        "fcos_resnet18_fpn",
        shared_data / "bccd",
        out=tmp_path,
        epochs=2,
        options={"width": 64, "short_side": 240, "long_side": 320},
        quiet=True,
    )
    model = pagoda.load(run.folder / "best.safetensors")
    data = DetectionDataset(open_annotations(shared_data / "bccd", "val"))
    counts = agree_with_the_slow_loop(model, data, {"min_score": 0.2})
    assert len(counts) >= 3 and counts.total() > 50


def test_found_and_missed_are_those_of_evaluate():
    """Of the same limits: AP, what all kinds mended give, and which objects are found at .5."""
    data = DrawnShapes(10, (96, 128), 3)
    model = noisy_fcos(data.label_map, 96, 7)
    limits = {"min_score": 0.05, "max_detections": 100, "max_candidates": 1000, "max_iou": 0.5}
    told, scored = why(model, data, limits=limits), evaluate(model, data, limits=limits)
    assert told.ap == pytest.approx(scored.metrics["AP"], abs=1e-12)
    assert told.num_objects == scored.num_objects
    right = sum(row is not None for picture in told.pictures for row in picture.found_by)
    assert right + len(told.misses) == told.num_objects
    found = sum(len(picture.boxes) for picture in told.pictures)
    assert right + len(told.wrong) == found
    assert {each.kind for each in told.costs if each.is_miss} == set(told.miss_counts())
    assert "all at once" in told.left_out[0]


def test_only_the_pictures_that_are_named():
    data = DrawnShapes(6, (96, 128), 3)
    model = noisy_fcos(data.label_map, 96, 7)
    whole, part = why(model, data), why(model, data, indices=[4, 1])
    ids = {picture.image_id for picture in part.pictures}
    assert [picture.image_id for picture in part.pictures] == [5, 2]
    assert [miss for miss in part.misses if miss.image_id == 5] == [
        m for m in whole.misses if m.image_id == 5
    ]
    assert part.wrong == sorted(
        (each for each in whole.wrong if each.image_id in ids),
        key=lambda each: (each.image_id != 5, each.detection),
    )


def test_a_model_of_more_classes_than_the_data():
    """A detection of a class that the data do not have takes the object for it; it is no wrong detection of theirs."""
    planter = Planter("fcos_resnet18_fpn")
    pictures = [planter.plant("wrong class") for _ in range(5)]
    data = ScriptedPictures(pictures)
    model = scripted("fcos_resnet18_fpn", pictures)
    names = [("red", "white"), ("white", "red")]
    for order in names:
        few = LabelMap.from_names(list(order))
        part = ScriptedPictures(
            [
                replace(
                    picture, labels=[order.index(data.label_map.names[label]) for label in picture.labels]
                )
                for picture in pictures
            ],
            label_map=few,
        )
        told = why(model, part)
        assert told.miss_counts() == {"wrong class": 5}
        assert all(miss.label in miss.words or "takes it for" in miss.words for miss in told.misses)


def test_what_cannot_be_explained_is_refused_before_any_work():
    shapes = DrawnShapes(2, (64, 64), 1)
    model = noisy_fcos(LabelMap.from_names(["cat"]), 64, 1)
    with pytest.raises(ValueError, match="unknown to the model"):
        why(model, shapes)
    empty = DrawnShapes(2, (64, 64), 1, empty_share=1.0)
    model = noisy_fcos(empty.label_map, 64, 1)
    with pytest.raises(ValueError, match="nothing is annotated"):
        why(model, empty)


def test_nothing_is_found():
    data = DrawnShapes(3, (64, 64), 1)
    told = why(noisy_fcos(data.label_map, 64, 1), data, limits={"min_score": 1.0})
    assert len(told.misses) == told.num_objects and not told.wrong and told.ap == 0
    assert not told.suspects
