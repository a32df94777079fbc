"""Pictures of what is taken for what, and of scores beside what they are worth."""

import re
from xml.etree import ElementTree

import numpy as np
import pytest

from pagoda.evaluation.coco.calibration import Calibration, Reliability
from pagoda.evaluation.coco.confusion import ConfusionMatrix
from pagoda.visualization.confusion import confusion_picture, reliability_curve


def texts(svg: bytes) -> list[str]:
    """What matplotlib notes beside the outlines of its letters."""
    ElementTree.fromstring(svg)
    return re.findall(r"<!-- (.*?) -->", svg.decode())


def matrix(counts, names):
    counts = np.array(counts)
    return ConfusionMatrix(tuple(names), counts, np.full(len(names), 0.5))


def test_each_cell_has_its_number_and_each_class_its_name():
    svg = confusion_picture(matrix([[31, 2, 0], [0, 17, 45], [6, 0, 0]], ["cat", "$a$b"]))
    found = texts(svg)
    assert {"31", "17", "45", "6", "cat", "background"} <= set(found) and found.count("0") == 4
    assert found.count("cat") == 2 and any("$a$b" in text.replace("\\", "") for text in found)
    assert svg == confusion_picture(matrix([[31, 2, 0], [0, 17, 45], [6, 0, 0]], ["cat", "$a$b"]))


def test_of_many_classes_the_most_confused_are_shown():
    counts = np.diag(np.arange(61))
    counts[7, 33] = counts[40, 60] = 99  # 7 for 33; 40 not found
    many = matrix(counts, [f"c{number}" for number in range(60)])
    found = texts(confusion_picture(many))
    assert {"c7", "c33", "c40"} <= set(found) and any("20 of 60 classes" in text for text in found)
    assert {7, 33, 40} <= set(many.most_confused(20)) and many.most_confused(20) == sorted(
        many.most_confused(20)
    )
    assert "40 more classes, confused less often, are in --json" in many.table()


@pytest.mark.parametrize("number", [0, 1, 500])
def test_reliability_is_drawn_also_where_nothing_was_found(number):
    scores = np.linspace(0.05, 1, number)
    curve = Reliability.of(scores, scores > 0.5)
    found = texts(reliability_curve(Calibration(curve, {}, {}, {}, float("nan"))))
    error = "–" if not number else f"{curve.error:.3f}"
    assert any(f"ECE {error}" in text for text in found) and "Detections" in found
