"""The walkers for every test of this folder."""

import importlib.util
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def walkers():
    """The module walkers.py beside this file."""
    spec = importlib.util.spec_from_file_location("walkers", Path(__file__).with_name("walkers.py"))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
