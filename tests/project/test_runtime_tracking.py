"""The runtime's linkers are Pagoda's, written anew whenever those change."""

import ast

import pytest

from runtime_tracking import FILES, SOURCE, TARGET, for_runtime


@pytest.mark.parametrize("name", FILES)
def test_files_are_current(name):
    expected = for_runtime((SOURCE / f"{name}.py").read_text(encoding="utf-8"), name)
    found = (TARGET / f"{name}.py").read_text(encoding="utf-8")
    assert _said(found) == _said(expected), "run python tools/runtime_tracking.py"


def test_every_other_file_is_written_by_hand():
    others = {path.stem for path in TARGET.glob("*.py")} - set(FILES)
    assert others == {"__init__", "assignment", "linkers", "tracker"}


def _said(text: str) -> list[str]:
    """What a module does, whatever its layout; names that are imported in the order of the alphabet."""
    lines = [ast.unparse(node) for node in ast.parse(text).body if not isinstance(node, ast.ImportFrom)]
    imported = {
        f"{node.module}.{name.name}"
        for node in ast.parse(text).body
        if isinstance(node, ast.ImportFrom)
        for name in node.names
    }
    return [*sorted(imported), *lines]
