"""Names, labels and category ids: one map, three ways to ask, clear refusals."""

import dataclasses

import pytest

from pagoda.structures.labels import LabelMap

PETS = LabelMap(("cat", "dog", "horse"), (17, 18, 19))


def test_three_ways_to_ask():
    assert len(PETS) == 3
    assert [PETS.label_of(i) for i in (17, 18, 19)] == [0, 1, 2]
    assert PETS.label_named("horse") == 2
    assert PETS.category_ids[PETS.label_named("dog")] == 18


def test_round_trip_through_a_dictionary():
    assert LabelMap.from_dict(PETS.to_dict()) == PETS


def test_names_alone_are_numbered_from_one():
    assert LabelMap.from_names(["a", "b"]).category_ids == (1, 2)
    assert LabelMap.numbered(2) == LabelMap.from_names(["class_0", "class_1"])


def test_cannot_be_changed():
    with pytest.raises(dataclasses.FrozenInstanceError):
        PETS.names = ("bird",)


@pytest.mark.parametrize(
    ("names", "ids", "words"),
    [
        (("cat",), (1, 2), "1 names and 2 ids"),
        (("cat", "cat"), (1, 2), "name given twice in the label map: cat"),
        (("cat", "dog"), (3, 3), "category id given twice in the label map: 3"),
    ],
)
def test_contradictions_are_refused(names, ids, words):
    with pytest.raises(ValueError, match=words):
        LabelMap(names, ids)


def test_unknown_names_and_ids_suggest_what_is_there():
    with pytest.raises(KeyError, match="did you mean 'horse'"):
        PETS.label_named("hrose")
    with pytest.raises(KeyError, match="known: cat, dog, horse"):
        PETS.label_named("zeppelin")
    with pytest.raises(KeyError, match="category id 1 is not one of 17, 18, 19"):
        PETS.label_of(1)
    with pytest.raises(KeyError, match="80 in all"):
        LabelMap.numbered(80).label_of(99)
    with pytest.raises(ValueError, match="must be ≥ 1, got 0"):
        LabelMap.numbered(0)
