"""Annotations spoilt on purpose are suspect, right ones are not; what nobody annotated is found."""

import pytest
from scripted import Picture, Said, ScriptedPictures, scripted
from test_planted import Planter

from pagoda.explain.why.examine import why

NAME = "fcos_resnet18_fpn"


def look(pictures):
    return why(scripted(NAME, pictures), ScriptedPictures(pictures))


@pytest.fixture
def planter():
    return Planter(NAME)


def right(planter, count):
    return [planter.plant("found") for _ in range(count)]


def test_right_annotations_are_not_suspect(planter):
    assert look(right(planter, 20)).suspects == []


def test_another_class(planter):
    """The model has .8 for the other class where it has nothing for the annotated one."""
    pictures = [*right(planter, 20), planter.plant("wrong class")]
    (suspect,) = look(pictures).suspects
    assert (suspect.kind, suspect.image_id, suspect.object) == ("class", 21, 0)
    assert suspect.label != suspect.suggested and suspect.suspicion > 0.9
    assert f"annotated as {suspect.label}" in suspect.words


def test_two_objects_in_one_place_contradict_nobody(planter):
    twin = planter.plant("wrong class")
    twin.boxes.append(twin.boxes[0])
    twin.labels.append((twin.labels[0] + 1) % 2)
    assert look([*right(planter, 20), twin]).suspects == []


def test_another_box(planter):
    box = planter.box()
    loose = Picture([box], [0], [Said(planter.priors_near(box, 1)[0], planter.shifted(box, 0.4), {0: 0.9})])
    suspects = look([*right(planter, 40), loose]).suspects
    assert [(each.kind, each.image_id, each.object, each.detection) for each in suspects] == [
        ("box", 41, 0, 0)
    ]


def test_an_object_that_nobody_annotated(planter):
    """Found again in the mirrored, smaller picture, or it is a wrong detection on the background like any other."""
    pictures = right(planter, 20)
    forgotten = planter.plant("found")
    forgotten.boxes, forgotten.labels, kept = [[1.0, 1.0, 9.0, 9.0]], [2], forgotten.labels[0]
    pictures.append(forgotten)
    told = look(pictures)
    # Scripted networks say the same of the mirrored picture: in its middle alone that is the same place.
    assert not told.suspects and [each.kind for each in told.wrong] == ["background"]
    middle = [88.0, 60.0, 168.0, 140.0]
    small = [side * 0.8 for side in middle]
    first, second = planter.priors_near(middle, 2)
    forgotten.said = [Said(first, middle, {kept: 0.7}), Said(second, small, {kept: 0.7})]
    told = look(pictures)
    (suspect,) = (each for each in told.suspects if each.kind == "missing")
    assert suspect.label == "" and suspect.object is None and suspect.suspicion == 0.5
    assert [each.kind for each in told.wrong if each.detection == suspect.detection] == ["not annotated"]


def test_what_lies_in_a_crowd_is_not_missing(planter):
    pictures = right(planter, 20)
    crowd = planter.plant("found")
    crowd.ignored = [True]
    pictures.append(crowd)
    told = look(pictures)
    assert told.suspects == [] and [each.kind for each in told.wrong] == ["crowd"]
