"""One model, several threads: the results of one, and nobody's mode or statistics changed."""

import copy
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from torch import nn

from pagoda.data.drawn.synthetic import DrawnShapes
from pagoda.evaluating import evaluating
from pagoda.evaluation.runner import detect_dataset
from pagoda.exporting.optimize import optimize
from pagoda.follow.clips import detect_frames
from pagoda.models import create_model
from pagoda.structures.instances import Detections

pytestmark = pytest.mark.medium

SMALL = {"width": 16, "head_depth": 1, "short_side": 48, "long_side": 64}
MODELS = {
    "fcos_resnet18_fpn": SMALL,
    "retinanet_resnet18_fpn": SMALL,
    "mask_rcnn_resnet18_fpn": {"width": 16, "short_side": 48, "long_side": 64},
}


def build(name: str) -> torch.nn.Module:
    torch.manual_seed(0)
    model = create_model(name, num_classes=3, **MODELS.get(name, SMALL)).eval()
    head = getattr(model, "class_head", None)
    if head is not None:
        torch.nn.init.zeros_(head.predict.bias)  # scores near .5: something is found everywhere
    return model


def pictures(count: int) -> list[np.ndarray]:
    data = DrawnShapes(count, image_size=(48, 64), seed=4)
    return [data[index][0].permute(1, 2, 0).contiguous().numpy() for index in range(count)]


def same(found: list[Detections], expected: list[Detections]) -> bool:
    return all(
        torch.equal(a.boxes, b.boxes) and torch.equal(a.scores, b.scores) and torch.equal(a.labels, b.labels)
        for a, b in zip(found, expected, strict=True)
    )


HOOKED = pytest.param("fcos_timm:legacy_xception_fpn", marks=pytest.mark.medium)


@pytest.mark.parametrize("is_training", [False, True])
@pytest.mark.parametrize("name", [*MODELS, HOOKED])
def test_eight_threads_find_what_one_finds(name: str, is_training: bool) -> None:
    model, seen = build(name), pictures(2)
    expected = model.predict(seen)
    model.train(is_training)
    before = copy.deepcopy(model.state_dict())
    with ThreadPoolExecutor(8) as threads:
        results = list(threads.map(lambda _: model.predict(seen), range(8)))
    assert sum(map(len, expected)) > 0 and all(same(found, expected) for found in results)
    assert model.training is is_training
    assert all(torch.equal(tensor, before[key]) for key, tensor in model.state_dict().items())


def test_a_model_that_is_trained_meanwhile_keeps_its_mode() -> None:
    model, seen = build("fcos_resnet18_fpn").train(), pictures(2)
    modes: list[set[bool]] = []

    def another_thread_looks(*_: object) -> None:
        handle.remove()  # once, in the middle of the training step; the twin has no hook then
        with ThreadPoolExecutor(1) as thread:
            thread.submit(model.predict, seen).result()
        modes.append({module.training for module in model.modules()})

    handle = model.neck.register_forward_hook(another_thread_looks)
    data = DrawnShapes(2, image_size=(48, 64), seed=4)
    samples = [data[index] for index in range(2)]
    images = model.input_spec.prepare([picture for picture, _ in samples])
    losses = model.losses(images, [target for _, target in samples])
    sum(losses.values()).backward()
    assert modes == [{True}]


@pytest.mark.parametrize("way", ["predict", "stream", "evaluate", "video"])
def test_nobody_changes_the_mode_on_the_way(way: str) -> None:
    name = "detect_and_track_resnet18_3d" if way == "video" else "fcos_resnet18_fpn"
    torch.manual_seed(0)
    options = {"width": 16, "short_side": 48, "long_side": 64}
    model = create_model(name, num_classes=1, **options).train()
    model.backbone.eval()  # somebody's own mixture of modes
    before = [module.training for module in model.modules()]
    data = DrawnShapes(3, image_size=(48, 64), seed=4)
    ways = {
        "predict": lambda: [model.predict(pictures(1)[0])],
        "stream": lambda: model.predict(pictures(2), stream=True),
        "evaluate": lambda: detect_dataset(model, data),
        "video": lambda: detect_frames(model, pictures(3)),
    }
    for _ in ways[way]():
        assert [module.training for module in model.modules()] == before
    assert [module.training for module in model.modules()] == before


def test_the_twin_has_the_weights_themselves() -> None:
    model = build("fcos_resnet18_fpn")
    assert evaluating(model) is model
    twin = evaluating(model.train())
    assert twin is not model and not any(module.training for module in twin.modules())
    ours, theirs = model.state_dict(keep_vars=True), twin.state_dict(keep_vars=True)
    assert ours.keys() == theirs.keys() and all(ours[name] is theirs[name] for name in ours)


def test_threads_draw_what_one_draws() -> None:
    found = build("fcos_resnet18_fpn").predict(pictures(1)[0])
    expected = found.plot()
    with ThreadPoolExecutor(8) as threads:
        assert all(
            np.array_equal(drawn, expected) for drawn in threads.map(lambda _: found.plot(), range(32))
        )


def test_attributes_that_cannot_be_copied_are_shared():
    model = nn.Sequential(nn.BatchNorm1d(2), nn.Linear(2, 2)).train()
    model.lock, model.seen = threading.Lock(), []
    twin = evaluating(model)
    assert twin is not model and twin.lock is model.lock and twin.seen is model.seen
    assert model.training and model[0].training and not twin.training and not twin[0].training
    assert twin[1].weight is model[1].weight and twin[0].running_mean is model[0].running_mean


@pytest.mark.parametrize("dtype", [torch.float16, torch.float64, torch.bfloat16])
def test_weights_of_another_precision_are_told_with_what_to_do(dtype: torch.dtype) -> None:
    model, picture = build("retinanet_resnet18_fpn"), pictures(1)[0]
    expected = model.predict(picture)
    changed = copy.deepcopy(model).to(dtype)
    told = (
        rf"backbone must have weights of torch\.float32, got {dtype}: undo it by model\.to\(torch\.float32\)"
    )
    with pytest.raises(ValueError, match=told):
        changed.predict(picture)
    with pytest.raises(ValueError, match=told):
        list(detect_dataset(changed, DrawnShapes(1, image_size=(48, 64), seed=4)))
    if dtype == torch.float64:  # in which no bit is lost
        assert same([changed.float().predict(picture)], [expected])
    else:
        assert isinstance(optimize(model, dtype=dtype).predict(picture), Detections)
