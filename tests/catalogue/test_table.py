"""The table of all models: every model is in it, as it is, and the page is the table."""

from dataclasses import replace
from pathlib import Path

import pytest

import models_page
from pagoda.catalogue.table import TRAINED, catalogue, measured_row, rows
from pagoda.models import list_models

REMEDY = "run python tools/models_page.py --all"


def test_every_model_is_in_it_once():
    assert [row.name for row in catalogue().rows] == list_models(), REMEDY
    assert set(TRAINED) <= set(rows())


@pytest.mark.medium
@pytest.mark.parametrize("name", list_models()[::12])
def test_its_numbers_are_the_models_own(name):
    """A few of them; the first of what a change of a part would move."""
    written = replace(rows()[name], fp32_ms=None, best_ms=None, best_form="")
    assert written == measured_row(name), REMEDY


def test_the_page_is_the_table(repository: Path):
    written = (repository / "docs" / "models.md").read_text(encoding="utf-8")
    assert written == models_page.page(), "run python tools/models_page.py"


def test_what_was_measured_says_where():
    timed = [row for row in catalogue().rows if row.fp32_ms is not None]
    assert all(row.best_ms is not None and row.best_form for row in timed)
    assert bool(timed) == bool(catalogue().machine)


def test_whose_checkpoints_a_model_takes_and_what_others_reached():
    fcos = rows()["fcos_resnet50_fpn"]
    assert {"torchvision", "mmdet", "adelaidet", "fcos"} <= set(fcos.programs)
    assert fcos.published is not None and fcos.published.ap > 37
    assert rows()["faster_rcnn_resnet50_c4"].programs != rows()["faster_rcnn_resnet50_fpn"].programs
