"""Batches follow from seed and epoch alone: not from workers, processes, restarts or global random states."""

import os
import pickle
import random
from collections import Counter
from dataclasses import fields, replace
from itertools import pairwise
from multiprocessing.reduction import ForkingPickler
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from pagoda.data.augment.transforms import Compose, HorizontalFlip, Mosaic, RandomIoUCrop
from pagoda.data.loading import (
    Batch,
    BatchPlan,
    Draw,
    Sample,
    Skipped,
    TrainingView,
    collate,
    make_loader,
)
from pagoda.pictures.read import PictureError
from pagoda.structures.instances import Targets


class NoisyPictures:
    """Ten pictures of growing width; number 3 is corrupt, number 8 holds nothing."""

    def __len__(self) -> int:
        return 10

    def __getitem__(self, index: int) -> tuple[Tensor, Targets]:
        if index == 3:
            raise PictureError("cannot read 3.jpg: it is cut short")
        size = (200, 190 + index)
        picture = torch.full((3, *size), index, dtype=torch.uint8)
        if index == 8:
            return picture, Targets.empty(size)
        boxes = torch.tensor([[0.0, 0.0, 4.0, 4.0], [1.0, 1.0, 5.0, index + 6.0]])
        masks = torch.zeros(2, *size, dtype=torch.bool)  # too large to travel inside a message
        masks[1, :, index] = True
        return picture, Targets(
            boxes, torch.tensor([0, index]), size, torch.tensor([True, False]), masks=masks, image_id=index
        )


def add_noise(picture: Tensor, targets: Targets) -> tuple[Tensor, Targets]:
    """Draws from all three random states."""
    noise = torch.randint(0, 100, picture.shape, dtype=torch.uint8)
    return picture + noise + random.randrange(50) + np.random.randint(50), targets


def fail(picture: Tensor, targets: Targets) -> tuple[Tensor, Targets]:
    raise ZeroDivisionError("a bug of the transform")


def assert_same_targets(one: Targets, other: Targets) -> None:
    for name in (f.name for f in fields(Targets)):
        a, b = getattr(one, name), getattr(other, name)
        if isinstance(a, Tensor):
            assert a.dtype == b.dtype and torch.equal(a, b), name
        else:
            assert a == b, name


def assert_same_batches(one: list[Batch], other: list[Batch]) -> None:
    assert len(one) == len(other)
    for a, b in zip(one, other, strict=True):
        assert a.draws == b.draws and a.skipped == b.skipped
        assert all(torch.equal(x, y) for x, y in zip(a.pictures, b.pictures, strict=True))
        for x, y in zip(a.targets, b.targets, strict=True):
            assert_same_targets(x, y)


def random_states() -> tuple[list[int], tuple, tuple]:
    name, keys, *rest = np.random.get_state()
    return torch.get_rng_state().tolist(), random.getstate(), (name, keys.tolist(), *rest)


def test_a_draw_decides_its_sample() -> None:
    view = TrainingView(NoisyPictures(), add_noise)
    first = view[Draw(2, 7)].picture
    view[Draw(5, 7)], torch.rand(3), random.random(), np.random.rand()
    assert torch.equal(view[Draw(2, 7)].picture, first)
    assert not torch.equal(view[Draw(2, 8)].picture, first)


def test_a_view_can_be_sent_to_another_process() -> None:
    pictures = [NoisyPictures()[index] for index in (0, 1, 2)]
    small = [(picture, replace(targets, masks=None)) for picture, targets in pictures]
    view = TrainingView(small, Compose([Mosaic(small, (32, 32)), HorizontalFlip(), RandomIoUCrop()]))
    copy = pickle.loads(pickle.dumps(view))
    for seed in range(5):
        one, other = view[Draw(1, seed)], copy[Draw(1, seed)]
        assert torch.equal(one.picture, other.picture)
        assert_same_targets(one.targets, other.targets)


def test_random_states_are_left_alone() -> None:
    view = TrainingView(NoisyPictures(), add_noise)
    before = random_states()
    view[Draw(2, 7)], view[Draw(3, 7)]
    assert random_states() == before
    for num_workers in (0, 1):
        list(make_loader(view, [[Draw(2, 7)]], num_workers=num_workers))
        assert random_states() == before


def test_corrupt_pictures_are_skipped_and_reported() -> None:
    batch = next(iter(make_loader(TrainingView(NoisyPictures()), [[Draw(2, 0), Draw(3, 0), Draw(8, 0)]])))
    assert [draw.index for draw in batch.draws] == [2, 8]
    assert [targets.image_size for targets in batch.targets] == [(200, 192), (200, 198)]
    assert batch.skipped == [Skipped(3, "cannot read 3.jpg: it is cut short")]
    assert collate([Skipped(3, "gone")]) == Batch([], [], [], [Skipped(3, "gone")])


def test_other_errors_are_raised_with_their_draw() -> None:
    with pytest.raises(ZeroDivisionError, match="a bug of the transform") as caught:
        TrainingView(NoisyPictures(), fail)[Draw(2, 7)]
    assert caught.value.__notes__ == ["while preparing training sample Draw(index=2, seed=7)"]


def test_workers_make_the_same_batches() -> None:
    view = TrainingView(NoisyPictures(), add_noise)
    batches = BatchPlan(images=10, batch_size=3, seed=4).epoch(0)
    alone, helped = (list(make_loader(view, batches, num_workers=count)) for count in (0, 2))
    assert sum(len(batch.skipped) for batch in alone) == 1
    assert_same_batches(alone, helped)


def test_batches_travel_whole() -> None:
    view = TrainingView(NoisyPictures())
    batch = collate([view[Draw(index, 0)] for index in range(10)])
    copy = pickle.loads(pickle.dumps(batch))
    assert_same_batches([batch], [copy])
    copy.targets[0].boxes.add_(1)  # what arrives can be written to


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="counts open files the way Linux lists them")
def test_batches_travel_with_few_open_files() -> None:
    view = TrainingView(NoisyPictures())
    batch = collate([view[Draw(index, 0)] for index in range(10)])
    before = len(os.listdir("/proc/self/fd"))
    message = bytes(ForkingPickler.dumps(batch))
    assert len(message) < 20_000, "pixels and masks go through shared memory"
    opened = len(os.listdir("/proc/self/fd")) - before
    assert opened <= 2 * (9 + 8) + 1, "each picture and each set of masks takes one, and one to hand it over"


@given(
    count=st.integers(1, 60),
    batch_size=st.integers(1, 5),
    num_processes=st.integers(1, 4),
    shuffle=st.booleans(),
    by_aspect=st.booleans(),
    drop_last=st.booleans(),
)
def test_every_index_once(
    count: int, batch_size: int, num_processes: int, shuffle: bool, by_aspect: bool, drop_last: bool
) -> None:
    sizes = np.random.default_rng(count).integers(5, 9, (count, 2))
    options = {
        "images": sizes,
        "seed": 3,
        "shuffle": shuffle,
        "group_by_aspect": by_aspect,
        "drop_last": drop_last,
    }
    together = batch_size * num_processes
    if drop_last and count < together:
        with pytest.raises(ValueError, match=f"{count} pictures make no batch of {together}"):
            BatchPlan(batch_size=together, **options)
        return
    whole = BatchPlan(batch_size=together, **options)
    parts = [
        BatchPlan(batch_size=batch_size, num_processes=num_processes, process_index=index, **options)
        for index in range(num_processes)
    ]
    epochs = [part.epoch(2) for part in parts]
    assert {len(epoch) for epoch in epochs} == {len(parts[0])} == {len(whole)}
    assert all(1 <= len(batch) <= batch_size for epoch in epochs for batch in epoch)

    for batch, *slices in zip(whole.epoch(2), *epochs, strict=True):
        drawn = [draw for piece in slices for draw in piece]
        assert drawn[: len(batch)] == batch, "slices together are the batch of one process"
        assert set(drawn[len(batch) :]) <= set(batch)
        assert len(drawn) == max(len(batch), num_processes)

    times = Counter(draw.index for batch in whole.epoch(2) for draw in batch)
    assert set(times.values()) == {1} and set(times) <= set(range(count))
    assert len(times) == (count // together * together if drop_last else count)


def test_batches_are_all_wide_or_all_tall() -> None:
    sizes = np.random.default_rng(0).integers(100, 900, (203, 2))
    plan = BatchPlan(images=sizes, batch_size=4, seed=1, group_by_aspect=True)
    is_wide = sizes[:, 1] > sizes[:, 0]
    kinds = [{bool(is_wide[draw.index]) for draw in batch} for batch in plan.epoch(0)]
    mixed = [place for place, kind in enumerate(kinds) if len(kind) > 1]
    assert len(mixed) <= 1 and all(place >= len(kinds) - 2 for place in mixed)
    runs = sum(a != b for a, b in pairwise(kinds))
    assert runs > 10, "wide and tall batches take turns"


def test_epochs_differ_and_repeat() -> None:
    plan = BatchPlan(images=40, batch_size=4, seed=1)
    assert plan.epoch(0) == plan.epoch(0) == BatchPlan(images=40, batch_size=4, seed=1).epoch(0)
    assert plan.epoch(0) != plan.epoch(1) and plan.epoch(0) != BatchPlan(
        images=40, batch_size=4, seed=2
    ).epoch(0)
    unshuffled = BatchPlan(images=40, batch_size=4, seed=1, shuffle=False)
    first, second = unshuffled.epoch(0), unshuffled.epoch(1)
    assert [draw.index for batch in first for draw in batch] == list(range(40))
    assert {d.seed for batch in first for d in batch}.isdisjoint(d.seed for batch in second for d in batch)


@pytest.mark.parametrize("by_aspect", [False, True])
def test_resuming_continues_the_epoch(by_aspect: bool) -> None:
    sizes = np.random.default_rng(0).integers(5, 9, (10, 2))
    plan = BatchPlan(images=sizes, batch_size=3, seed=4, group_by_aspect=by_aspect)
    view = TrainingView(NoisyPictures(), add_noise)
    whole = list(make_loader(view, plan.epoch(1)))
    for start in range(len(plan) + 1):
        assert_same_batches(list(make_loader(view, plan.epoch(1, start))), whole[start:])
    with pytest.raises(ValueError, match=r"start_batch must be 0 … 4, the batches of an epoch, got 5"):
        plan.epoch(1, 5)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"batch_size": 0}, "batch_size counts the pictures per process and must be ≥ 1, got 0"),
        ({"process_index": 2, "num_processes": 2}, "process_index must be 0 … num_processes-1 = 1, got 2"),
        ({"group_by_aspect": True}, "needs images=sizes"),
        ({"images": 0}, "0 pictures make no batch"),
    ],
)
def test_impossible_plans_are_refused(changed: dict[str, int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        BatchPlan(**{"images": 10, "batch_size": 2, "seed": 0, **changed})


def test_a_sample_names_its_parts() -> None:
    sample = TrainingView(NoisyPictures())[Draw(2, 7)]
    assert isinstance(sample, Sample) and sample.draw == Draw(2, 7) and len(sample.targets) == 2
    assert len(TrainingView(NoisyPictures())) == 10


@pytest.mark.parametrize(
    ("images", "processes", "batches"),
    [
        (5, 1, [[5]]),  # 4 and 1 become 5
        (6, 1, [[4, 2]]),
        (9, 1, [[4, 5]]),
        (9, 2, [[5], [4]]),  # 8 and 1
        (11, 2, [[6], [5]]),  # 8 and 3: one process would get a single picture of them
        (12, 2, [[4, 2], [4, 2]]),
        (3, 1, [[3]]),  # nothing to join it to, and large enough
        (1, 1, [[1]]),  # nothing to join it to
    ],
)
def test_a_last_batch_that_is_too_small_is_joined_to_the_one_before(images, processes, batches):
    plans = [
        BatchPlan(images=images, batch_size=4, seed=0, at_least=2, num_processes=processes, process_index=k)
        for k in range(processes)
    ]
    for epoch in range(2):
        found = [plan.epoch(epoch) for plan in plans]
        assert [[len(batch) for batch in of_one] for of_one in found] == batches
        assert sorted(draw.index for of_one in found for batch in of_one for draw in batch) == [
            *range(images)
        ]
    assert all(len(plan) == len(of_one) for plan, of_one in zip(plans, batches, strict=True))
    assert plans[0].epoch(0, len(plans[0])) == []
