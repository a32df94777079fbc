"""The size of pictures that a data set asks for: tables whose objects have known sizes, and a plain loop."""

from pathlib import Path
from statistics import median

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pagoda.data.table.annotations import Annotations
from pagoda.data.table.assembly import ImageColumns, ObjectColumns, assemble
from pagoda.explain.doctor.input_size import choose_size, served_from
from pagoda.models import create_model
from pagoda.structures.labels import LabelMap

pytestmark = pytest.mark.medium

SMALL = {"num_classes": 3, "width": 16, "base_channels": 8, "norm_groups": 4}
FCOS = create_model("fcos_resnet18_fpn", **SMALL)


def table(*pictures: tuple[tuple[int, int], list[tuple[float, int]]]) -> Annotations:
    """Each picture: (height, width) and its square objects (side, label); a negative label is ignored."""
    images, objects = ImageColumns(ids=list(range(len(pictures)))), ObjectColumns()
    for index, (size, sides) in enumerate(pictures):
        images.files.append(f"{index}.png")
        images.sizes.append(size)
        for side, label in sides:
            objects.add(index, (0, 0, side, side), abs(label), label < 0)
    return assemble(images, objects, label_map=LabelMap.numbered(3), root=Path(), source="drawn")


def sides_for(*pictures) -> tuple[int, int]:
    choice = choose_size(FCOS, table(*pictures))
    return choice.short_side, choice.long_side


@pytest.mark.parametrize(
    ("picture", "side", "expected"),
    [
        ((480, 640), 200, 320),  # large objects: smaller, but not below 320
        ((480, 640), 40, 384),  # 32 pixels are left of 40 at 480 · 32 / 40
        ((480, 640), 30, 480),  # as they are: 30 pixels are less than ample, but served
        ((480, 640), 16, 480),
        ((480, 640), 12, 640),  # enlarged until 12 pixels are 16
        ((480, 640), 4, 800),  # never beyond what the flavour has
        ((250, 250), 100, 250),  # small pictures with large objects stay as they are
        ((250, 250), 15, 288),  # 267 would do, in multiples of 32
        ((2000, 3000), 40, 800),
        ((2000, 3000), 400, 320),
        ((100, 1000), 90, 320),  # resized by its long side, as 600 × 1000 would be
    ],
)
def test_known_objects_have_known_sizes(picture, side, expected):
    assert sides_for((picture, [(side, 0)] * 12)) == (expected, round(expected * 1333 / 800))


def test_a_rare_class_of_small_objects_is_looked_after():
    many = [(200.0, 0)] * 200
    assert sides_for(((480, 640), many))[0] == 320
    assert sides_for(((480, 640), [*many, *[(20.0, 1)] * 10]))[0] == 480
    assert (
        sides_for(((480, 640), [*many, *[(20.0, 1)] * 9]))[0] == 320
    )  # too few to say what the class is like


def test_a_tenth_may_be_smaller():
    pair = [(200.0, 0)] * 95, [(5.0, 0)] * 5
    assert sides_for(((480, 640), [*pair[0], *pair[1]]))[0] == 320
    assert sides_for(((480, 640), [*pair[0], *pair[1] * 4]))[0] == 800


def test_what_is_not_learnt_does_not_count():
    boxes = [*[(200.0, 0)] * 12, *[(4.0, -1)] * 50]
    assert sides_for(((480, 640), boxes))[0] == 320
    assert choose_size(FCOS, table(((480, 640), [(4.0, -1)]))) is None
    assert choose_size(FCOS, table(((480, 640), []))) is None


def test_a_coarser_model_needs_larger_objects():
    coarse = create_model("fcos_resnet18_fpn", levels=(4, 5), **SMALL)
    assert served_from(coarse) == 32
    assert choose_size(coarse, table(((400, 400), [(20.0, 0)] * 12))).short_side == 640
    assert choose_size(FCOS, table(((400, 400), [(20.0, 0)] * 12))).short_side == 400


def test_the_reason_tells_both_sizes():
    why = choose_size(FCOS, table(((480, 640), [(40.0, 0)] * 12))).why
    for part in ("short side of 384", "half have 480", "there 40, here 32 pixels", "--model.short-side"):
        assert part in why


def plainly(pictures) -> int:
    """The rule as the page on training tells it."""
    counts = [max(min(size), max(size) * 800 / 1333) for size, _ in pictures]
    shares = [
        (side / count, label)
        for (_, sides), count in zip(pictures, counts, strict=True)
        for side, label in sides
    ]
    small = [float(np.quantile([share for share, _ in shares], 0.1))]
    for label in range(3):
        mine = [share for share, other in shares if other == label]
        small += [median(mine)] if len(mine) >= 10 else []
    own, least = median(counts), min(small)
    up = lambda side: -(-side // 32) * 32  # noqa: E731
    if least * own < 16:
        return min(800, int(up(16 / least)))
    return min(800, int(min(max(320, up(32 / least)), round(own))))


sizes = st.tuples(st.integers(120, 1500), st.integers(120, 1500))
objects = st.lists(st.tuples(st.floats(2, 119), st.integers(0, 2)), min_size=1, max_size=30)


@given(st.lists(st.tuples(sizes, objects), min_size=1, max_size=5))
def test_it_is_the_rule_of_the_page(pictures):
    short, long = sides_for(*pictures)
    assert abs(short - plainly(pictures)) <= 32 and short <= 800  # floats may round across a multiple
    assert long == round(short * 1333 / 800)


@given(st.lists(st.tuples(sizes, objects), min_size=1, max_size=5))
def test_pictures_grow_only_for_objects_that_are_too_small(pictures):
    choice = choose_size(FCOS, table(*pictures))
    own = median(max(min(size), max(size) * 800 / 1333) for size, _ in pictures)
    if choice.short_side > round(own):
        assert "without which small objects would have less" in choice.why or choice.short_side == 800
