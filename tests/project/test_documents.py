"""Pages name only what is there, and the figure of the rooms is the architecture's table."""

import ast
import re
from pathlib import Path
from runpy import run_path

import pytest

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
TABLE = run_path(str(Path(__file__).with_name("test_architecture.py")))
MAY_IMPORT, GROUND = TABLE["MAY_IMPORT"], TABLE["GROUND"]
HOMES = (ROOT, ROOT / "src" / "pagoda", DOCS)
ARCHITECTURE, LIST = DOCS / "architecture.md", DOCS / "decisions" / "README.md"
RECORDS = sorted(path for path in LIST.parent.glob("*.md") if path != LIST)
PAGES = [ARCHITECTURE, LIST, *RECORDS, DOCS / "conventions.md"]
OTHERS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted(set(DOCS.glob("*.md")) - set(PAGES))]

# `ops/nms.py`, `ops/nms.py:nms_survivors`, `tests/test_api.py::test_it`, but not anybody's `FILE.py:FUNCTION`; folders
# are written from the top on.
FILE = re.compile(r"`(?!FILE\.py)((?:[\w.-]+/)*[\w.-]+\.(?:py|md|toml))(?:::?([\w.]+))?`")
FOLDER = re.compile(r"`((?:src|tests|docs|tools|benchmarks)(?:/[\w.-]+)*)/?`")
MODULE = re.compile(r"\bpagoda(?:\.[A-Za-z_]\w*)+")
LINK = re.compile(r"\]\(([^)#]+)(?:#[^)]*)?\)")


def read(page: Path) -> str:
    """The page; of the conventions the glossary alone."""
    text = page.read_text(encoding="utf-8")
    return text[text.index("\n## Glossary") :] if page.stem == "conventions" else text


def place_of(name: str) -> Path | None:
    """Of a path as the pages write it: from the top, from the package or from docs/."""
    return next((home / name for home in HOMES if (home / name).exists()), None)


def defines(path: Path, name: str) -> bool:
    """Whether a file of Python defines a function, a class, or a method as Class.method."""
    body = ast.parse(path.read_text(encoding="utf-8")).body
    for part in name.split("."):
        node = next((each for each in body if getattr(each, "name", None) == part), None)
        if node is None:
            return False
        body = getattr(node, "body", [])
    return True


def is_there(name: str) -> bool:
    """Whether a dotted name is a module of ours, or something in one; nothing is imported for it."""
    parts = name.split(".")
    for count in range(len(parts), 0, -1):
        place = ROOT.joinpath("src", *parts[:count])
        file = place / "__init__.py" if place.is_dir() else place.with_suffix(".py")
        inside = ".".join(parts[count:])
        if file.is_file():
            passed_on = count == 1 and f'"{inside}": ' in file.read_text(encoding="utf-8")
            return not inside or passed_on or defines(file, inside)
    return False


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_what_a_page_names_is_there(page):
    text = read(page)
    gone = [name for name in FOLDER.findall(text) if not (ROOT / name).exists()]
    gone += [name for name in MODULE.findall(text) if not is_there(name)]
    gone += [link for link in LINK.findall(text) if ":" not in link and not (page.parent / link).exists()]
    for name, inside in FILE.findall(text):
        place = place_of(name)
        if place is None or (inside and not defines(place, inside)):
            gone.append(f"{name}:{inside}" if inside else name)
    assert not gone, f"{page.relative_to(ROOT)} names {', '.join(sorted(set(gone)))}, which is not there"


@pytest.mark.parametrize("page", OTHERS, ids=lambda page: page.stem)
def test_paths_and_modules_of_the_other_pages_are_there(page):
    """Names without a folder are left alone: these pages call the reader's own files so, too."""
    text = read(page)
    gone = [name for name, _ in FILE.findall(text) if "/" in name and place_of(name) is None]
    gone += [name for name in MODULE.findall(text) if not is_there(name)]
    assert not gone, f"{page.relative_to(ROOT)} names {', '.join(sorted(set(gone)))}, which is not there"


def test_the_checks_see_what_the_pages_name():
    text = read(ARCHITECTURE)
    assert len(FILE.findall(text)) > 60 and FOLDER.findall(text)
    assert ("ops/nms.py", "nms_survivors") in FILE.findall(text)
    assert defines(place_of("ops/nms.py"), "nms_survivors") and not defines(place_of("ops/nms.py"), "NMS")
    assert all(map(is_there, ("pagoda.load", "pagoda.ops", "pagoda.models", "pagoda.models.load")))
    assert not any(map(is_there, ("pagoda.lode", "pagoda.oops", "pagoda.models.lode")))
    assert place_of("ops/nms.py") is not None and place_of("ops/mns.py") is None


def test_the_figure_shows_every_room_above_those_it_may_import():
    figure = re.search(r"```text\n(.*?)```", read(ARCHITECTURE), flags=re.S).group(1)
    rooms = {*MAY_IMPORT, *GROUND}
    lines: dict[str, int] = {}
    for number, line in enumerate(figure.split("\n")[1:]):  # the first one names the columns
        for word in line.replace("·", " ").replace("─", " ").split():
            assert word in rooms, f"the figure shows '{word}', which is no room of the architecture's table"
            assert word not in lines, f"the figure shows '{word}' twice"
            lines[word] = number
    assert not rooms - set(lines), f"the figure lacks {', '.join(sorted(rooms - set(lines)))}"
    for here, allowed in MAY_IMPORT.items():
        above = [there for there in (*allowed, *GROUND) if lines[there] <= lines[here]]
        assert not above, f"'{here}' may import {', '.join(above)}, which the figure does not show below it"


@pytest.mark.parametrize("record", RECORDS, ids=lambda record: record.stem)
def test_a_decision_is_short_dated_and_listed(record):
    assert re.fullmatch(r"\d{4}-[a-z0-9-]+", record.stem), f"{record.name} should be NNNN-name.md"
    text = record.read_text(encoding="utf-8")
    title = text.split("\n", 1)[0].removeprefix("# ")
    assert f"[{title}]({record.name})" in read(LIST), f"docs/decisions/README.md does not list {record.name}"
    assert re.findall(r"^\*\*(\w+)\.\*\*", text, flags=re.M) == ["Context", "Decision", "Consequences"]
    assert re.search(r"\b20\d\d-\d\d-\d\d\b", text), f"{record.name} has no date"
    assert len(text.splitlines()) <= 30, f"{record.name} is longer than 30 lines"


def test_decisions_are_counted_without_gaps():
    assert [int(record.stem[:4]) for record in RECORDS] == list(range(1, len(RECORDS) + 1))


@pytest.mark.parametrize("name", ["README.md", "CONTRIBUTING.md"])
def test_the_pages_can_be_found(name):
    links = LINK.findall((ROOT / name).read_text(encoding="utf-8"))
    assert {"docs/architecture.md", "docs/decisions/README.md"} <= set(links)
    assert all((ROOT / link).exists() for link in links if ":" not in link)
