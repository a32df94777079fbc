"""Figures of the whole house, by `tools/measure_house.py`. They only get better: nobody loosens a limit."""

import pytest

from measure_house import docstrings, fields_without_line, loaded_by

MOST_SILENT_FIELDS = 0
"""of dataclasses, without a line of text below them"""
MOST_MODULES = 128
"""of ours that `pagoda.load` takes along"""
LEAST_EXAMPLES = 0.5
"""share of the public functions and classes whose docstring shows one"""


def test_fields_of_dataclasses_say_what_they_are():
    silent, fields = fields_without_line()
    assert silent <= MOST_SILENT_FIELDS and fields > 1000


@pytest.mark.medium
def test_loading_takes_few_modules_along():
    assert loaded_by("pagoda.load")[0] <= MOST_MODULES


def test_docstrings_show_examples():
    shown, public = docstrings()
    assert shown / public >= LEAST_EXAMPLES
