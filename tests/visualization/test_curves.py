"""Curves: they come from the numbers given, long runs stay small, empty input is explained."""

import xml.etree.ElementTree as ElementTree
from types import SimpleNamespace

import numpy as np
import pytest

from pagoda.visualization.curves import has_curves, learning_curves, loss_terms, pr_curves

pytestmark = pytest.mark.medium


def step(number, **more):
    return {"kind": "step", "step": number, "epoch": 0, "lr": 0.01, "loss": 2.0 / (number + 1), **more}


def val(epoch, **metrics):
    return {"kind": "val", "epoch": epoch, "metrics": metrics}


def num_panels(svg):
    groups = ElementTree.fromstring(svg).iter("{http://www.w3.org/2000/svg}g")
    return sum(group.get("id", "").startswith("axes_") for group in groups)


def test_panels_follow_the_data():
    steps = [step(n) for n in range(5)]
    assert num_panels(learning_curves([*steps, val(1, AP=0.1), val(2, AP=0.2)])) == 3
    assert num_panels(learning_curves(steps)) == 2
    assert num_panels(learning_curves([val(1, AP=0.1)])) == 1
    assert num_panels(learning_curves([{"kind": "val", "epoch": 1, "AP": 0.1, "AP50": None}])) == 1


def test_nothing_to_draw_is_explained():
    assert not has_curves([{"kind": "start"}])
    with pytest.raises(ValueError, match=r"nothing to draw.* got 1 records of kinds \['start'\]"):
        learning_curves([{"kind": "start"}])


def test_same_numbers_same_bytes_and_long_runs_stay_small():
    records = [step(n, loss_box=1.0) for n in range(20_000)]
    first = learning_curves(records)
    assert first == learning_curves(records)
    assert len(first) < 100_000


def test_loss_terms_are_told_from_other_numbers():
    assert loss_terms([step(0, loss_box=1.0, images_per_second=9.0), step(1, loss_class=1)]) == [
        "loss_box",
        "loss_class",
    ]
    assert loss_terms([step(0, box=1.0, images_per_second=9.0, note="x", resumed=True)]) == ["box"]


def test_losses_that_are_not_numbers_do_not_stop_the_report():
    assert num_panels(learning_curves([step(0), step(1, loss=float("nan")), step(2, loss=None)])) == 2


def scores(num_classes):
    return SimpleNamespace(
        metrics={},
        per_class={f"kind {i}": {"objects": i} for i in range(num_classes)},
        recall=np.linspace(0, 1, 101),
        precision={f"kind {i}": np.full((2, 101), 0.5 if i else np.nan) for i in range(num_classes)},
        protocol="",
    )


def test_pr_curves_draw_both_thresholds_and_skip_classes_without_objects():
    assert num_panels(pr_curves(scores(3))) == 2
    assert num_panels(pr_curves(scores(30), max_classes=4)) == 2
    with pytest.raises(ValueError, match="no class has an object"):
        pr_curves(scores(1))
