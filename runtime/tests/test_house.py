"""The limits of the house hold in the runtime, too."""

import ast
import re
from pathlib import Path

import pytest

import pagoda_runtime

pytestmark = pytest.mark.medium

PACKAGE = Path(pagoda_runtime.__file__).parent
ROOT = Path(__file__).resolve().parents[2]
FILES = sorted(PACKAGE.rglob("*.py"))
MAX_FILE, MAX_BODY = 400, 60
ALLOWED = {"PIL", "numpy", "onnxruntime", "openvino"}


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(PACKAGE).as_posix())
def test_files_are_small_documented_and_import_what_is_installed(path):
    import sys

    text = path.read_text(encoding="utf-8")
    tree = ast.parse(text)
    assert len(text.splitlines()) <= MAX_FILE
    assert ast.get_docstring(tree) or not text, f"{path.name} does not say what it is about"
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef):
            assert node.end_lineno - node.body[0].lineno < MAX_BODY, node.name
        names = [each.name for each in node.names] if isinstance(node, ast.Import) else []
        names += [node.module or "."] if isinstance(node, ast.ImportFrom) else []
        roots = {name.partition(".")[0] for name in names} - set(sys.stdlib_module_names)
        assert roots <= ALLOWED | {"pagoda_runtime"}, f"{path.name} imports {roots}"


def test_the_version_is_pagodas():
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert pagoda_runtime.__version__ == re.findall(r"^## (\d+\.\d+\.\d+)", changelog, re.M)[0]
