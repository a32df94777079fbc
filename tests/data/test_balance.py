"""Pictures drawn more often for their classes: the factors, what an epoch makes of them, and what is said."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pagoda.data.balance import balance_remark, picture_factors
from pagoda.data.loading import BatchPlan, rounded_counts
from pagoda.data.table.annotations import Annotations
from pagoda.data.table.assembly import ImageColumns, ObjectColumns, assemble
from pagoda.structures.labels import LabelMap

each_picture = st.lists(st.lists(st.integers(0, 3), max_size=5), min_size=1, max_size=12)


def table_of(labels: list[list[int]], *, ignored: int = -1, no_area: int = -1) -> Annotations:
    """One picture per list of classes; those of class `ignored` are crowds, those of `no_area` lie outside."""
    count = len(labels)
    images = ImageColumns([f"{k}.png" for k in range(count)], [*range(count)], [(10, 10)] * count)
    objects = ObjectColumns()
    for owner, of_picture in enumerate(labels):
        for label in of_picture:
            x = 20.0 if label == no_area else 2.0
            objects.add(owner, (x, 2.0, 4.0, 4.0), label, label == ignored)
    names = LabelMap.from_names(["a", "b", "c", "d"])
    return assemble(images, objects, label_map=names, root=Path(), source="here")


@given(labels=each_picture, threshold=st.floats(0, 1))
def test_repeat_factors_as_the_paper_has_them(labels: list[list[int]], threshold: float) -> None:
    expected = []
    for of_picture in labels:
        of_classes = [1.0]
        for label in of_picture:
            frequency = sum(label in other for other in labels) / len(labels)
            of_classes.append(max(1.0, (threshold / frequency) ** 0.5))
        expected.append(max(of_classes))
    found = picture_factors(table_of(labels), "repeat-factor", threshold=threshold)
    np.testing.assert_allclose(found, expected)


@given(labels=each_picture)
def test_class_factors_give_every_class_the_same_number_of_draws(labels: list[list[int]]) -> None:
    """Drawing a class and then one of its pictures, written out; empty pictures as often as without."""
    there = sorted({label for of_picture in labels for label in of_picture})
    num_full = sum(bool(of_picture) for of_picture in labels)
    expected = np.array([0.0 if of_picture else 1.0 for of_picture in labels])
    for label in there:
        holders = [k for k, of_picture in enumerate(labels) if label in of_picture]
        expected[holders] += num_full / len(there) / len(holders)
    found = picture_factors(table_of(labels), "class", threshold=0.1)
    np.testing.assert_allclose(found, expected)
    np.testing.assert_allclose(found.sum(), len(labels))


def test_only_what_can_be_learnt_counts() -> None:
    labels = [[0], [0], [0, 1], [0, 2], []]
    plain = picture_factors(table_of(labels), "repeat-factor", threshold=0.8)
    assert plain.tolist() == [1.0, 1.0, 2.0, 2.0, 1.0]
    crowd = picture_factors(table_of(labels, ignored=1, no_area=2), "repeat-factor", threshold=0.8)
    assert crowd.tolist() == [1.0] * 5
    assert picture_factors(table_of(labels), "none", threshold=0.8) is None
    nothing = table_of([[], []])
    assert picture_factors(nothing, "class", threshold=0.1).tolist() == [1.0, 1.0]


@given(
    factors=st.lists(st.floats(0, 50), min_size=1, max_size=30).filter(lambda values: sum(values) > 1e-3),
    seed=st.integers(0, 1000),
)
def test_counts_are_rounded_up_or_down_and_sum_up(factors: list[float], seed: int) -> None:
    factors = np.array(factors)
    counts = rounded_counts(factors, np.random.default_rng(seed))
    means = factors * len(factors) / factors.sum()
    assert counts.sum() == len(factors)
    assert (counts >= np.floor(means - 1e-6)).all() and (counts <= np.ceil(means + 1e-6)).all()


def test_counts_have_the_right_mean() -> None:
    factors = np.array([0.2, 0.7, 1.0, 1.0, 3.1, 0.0])
    counts = np.array([rounded_counts(factors, np.random.default_rng(seed)) for seed in range(4000)])
    np.testing.assert_allclose(counts.mean(0), factors, atol=0.04)


def test_neighbours_do_not_take_turns() -> None:
    """With a fixed order every second of these pictures would come, always the other one of each pair."""
    factors = np.array([0.5, 0.5] * 10 + [1.5, 1.5] * 10)
    counts = np.array([rounded_counts(factors, np.random.default_rng(seed)) for seed in range(2000)])
    assert abs(np.corrcoef(counts[:, 0], counts[:, 1])[0, 1]) < 0.1


@given(
    count=st.integers(2, 40),
    batch_size=st.integers(1, 5),
    num_processes=st.integers(1, 3),
    by_aspect=st.booleans(),
    shuffle=st.booleans(),
    seed=st.integers(0, 50),
)
def test_a_balanced_epoch_has_the_steps_of_another(
    count: int, batch_size: int, num_processes: int, by_aspect: bool, shuffle: bool, seed: int
) -> None:
    random = np.random.default_rng(count)
    sizes, factors = random.integers(5, 9, (count, 2)), random.random(count) * 4 + 0.01
    options = {"images": sizes, "seed": seed, "shuffle": shuffle, "group_by_aspect": by_aspect}
    together = batch_size * num_processes
    plain = BatchPlan(batch_size=together, **options)
    whole = BatchPlan(batch_size=together, factors=factors, **options)
    parts = [
        BatchPlan(
            batch_size=batch_size, num_processes=num_processes, process_index=k, factors=factors, **options
        )
        for k in range(num_processes)
    ]
    assert len(plain) == len(whole) == len(parts[0])
    epoch = whole.epoch(1)
    assert [len(batch) for batch in epoch] == [len(batch) for batch in plain.epoch(1)]
    for batch, *slices in zip(epoch, *(part.epoch(1) for part in parts), strict=True):
        drawn = [draw for piece in slices for draw in piece]
        assert drawn[: len(batch)] == batch and set(drawn[len(batch) :]) <= set(batch)
    for start in range(len(whole) + 1):
        assert whole.epoch(1, start) == epoch[start:]
    times = Counter(draw.index for batch in epoch for draw in batch)
    means = factors * count / factors.sum()
    for index in range(count):
        assert np.floor(means[index] - 1e-6) <= times[index] <= np.ceil(means[index] + 1e-6)
    seeds = [draw.seed for batch in epoch for draw in batch]
    assert len(set(seeds)) == count, "a picture that comes twice gets other changes each time"
    if by_aspect:
        is_wide = sizes[:, 1] > sizes[:, 0]
        kinds = [{bool(is_wide[draw.index]) for draw in batch} for batch in epoch]
        assert sum(len(kind) > 1 for kind in kinds) <= 1


def test_equal_factors_change_only_which_seed_is_whose() -> None:
    plan = BatchPlan(images=9, batch_size=4, seed=2, factors=np.ones(9))
    assert sorted(draw.index for batch in plan.epoch(0) for draw in batch) == [*range(9)]
    assert plan.epoch(0) == BatchPlan(images=9, batch_size=4, seed=2).epoch(0)
    assert plan.epoch(0) != plan.epoch(1)


@pytest.mark.parametrize(
    ("factors", "message"),
    [
        (np.ones(3), r"factors must be one per picture, \(4,\), got \(3,\)"),
        (np.array([1, 1, np.nan, 1]), "factors must be finite and 0 or more"),
        (np.array([1, 1, -1, 1]), "factors must be finite and 0 or more"),
        (np.zeros(4), "with one above 0"),
    ],
)
def test_impossible_factors_are_refused(factors: np.ndarray, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        BatchPlan(images=4, batch_size=2, seed=0, factors=factors)


def test_what_is_said() -> None:
    table = table_of([[0, 0], [0], [0], [0, 1]])
    remark = balance_remark(table, picture_factors(table, "repeat-factor", threshold=1.0))
    assert remark == "balanced, objects per epoch: b × 1.6, a × 0.96; 4 pictures are drawn, as without"
    remark = balance_remark(table, picture_factors(table, "repeat-factor", threshold=0.25))
    assert remark == (
        "balance changes nothing: every picture is drawn as often as the others; the rarest class, b, is in 0.25 of"
        " them, which a balance_threshold above that repeats"
    )
    names = LabelMap.from_names([f"c{k}" for k in range(14)])
    many = table_of([[]])
    images = ImageColumns([f"{k}.png" for k in range(15)], [*range(15)], [(10, 10)] * 15)
    objects = ObjectColumns()
    for owner in range(15):
        for label in range(min(owner, 14)):
            objects.add(owner, (2.0, 2.0, 4.0, 4.0), label, False)
    many = assemble(images, objects, label_map=names, root=Path(), source="here")
    remark = balance_remark(many, picture_factors(many, "class", threshold=0.1))
    assert "… 4 classes between …" in remark and remark.count("×") == 10
