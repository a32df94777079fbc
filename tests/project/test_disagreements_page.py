"""Every row of docs/disagreements.md that names a test names one that is there."""

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_every_named_test_exists() -> None:
    page = (ROOT / "docs" / "disagreements.md").read_text(encoding="utf-8")
    named = set(re.findall(r"\btest_\w+\b(?!\.py)", re.sub(r"`[^`]*\.py`", "", page)))
    files = {path.name for path in (ROOT / "tests").rglob("test_*.py")}
    known = {
        name
        for path in (ROOT / "tests").rglob("test_*.py")
        for name in re.findall(r"^def (test_\w+)", path.read_text(encoding="utf-8"), re.M)
    }
    missing = {name for name in named - known if f"{name}.py" not in files}
    assert len(named) > 30 and not missing, f"docs/disagreements.md names tests that are not there: {missing}"
