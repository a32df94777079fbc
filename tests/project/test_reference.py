"""The site of `make docs`: it leaves no page out, and its reference names what there is."""

import ast
import re
from pathlib import Path
from runpy import run_path

import pytest
import yaml

import pagoda

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
REFERENCE = sorted((DOCS / "api").glob("*.md"))


def named_on(page: Path) -> list[str]:
    return re.findall(r"^::: (\S+)$", page.read_text(encoding="utf-8"), flags=re.M)


def is_there(name: str) -> bool:
    """Whether a dotted name is a module, or a class or function in one; read, not imported."""
    path = ROOT.joinpath("src", *name.split("."))
    if path.with_suffix(".py").is_file():
        return True
    file = path.parent.with_suffix(".py")
    body = ast.parse(file.read_text(encoding="utf-8")).body if file.is_file() else []
    return any(getattr(node, "name", None) == path.name for node in body)


@pytest.mark.parametrize("page", REFERENCE, ids=lambda page: page.stem)
def test_what_the_reference_names_is_there(page):
    names = named_on(page)
    assert names and len(set(names)) == len(names)
    assert [name for name in names if not is_there(name)] == []


def test_the_reference_begins_with_all_that_the_package_passes_on():
    passed_on = {f"{home}.{name}" for name, home in pagoda._HOMES.items()}
    assert set(named_on(DOCS / "api" / "index.md")) == passed_on


def test_no_page_is_left_out():
    config = yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))
    listed = re.findall(r"[\w/]+\.md", str(config["nav"]))
    pages = {path.relative_to(DOCS).as_posix() for path in DOCS.rglob("*.md")}
    assert {page for page in pages if not re.match(r"decisions/0", page)} <= set(listed)
    assert len(set(listed)) == len(listed)


def test_links_that_leave_the_pages_become_words():
    leaves = run_path(str(ROOT / "tools" / "docs_links.py"))["without_outside_links"]
    assert leaves("see [faults](../tests/faults), [x](training.md)", 0) == "see faults, [x](training.md)"
    assert leaves("[a](../ops.md) [b](../../README.md)", 1) == "[a](../ops.md) b"


def test_examples_become_code():
    pytest.importorskip("griffe")
    fenced = run_path(str(ROOT / "tools" / "docs_doctests.py"))["fenced"]
    assert fenced("Sum.\n\n>>> 1 + 1\n2\n\nMore.") == "Sum.\n\n\n```pycon\n>>> 1 + 1\n2\n```\n\nMore."
