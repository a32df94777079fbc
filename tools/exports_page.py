"""Write docs/exporting.md from the table in pagoda.exporting.support."""

from pathlib import Path

from pagoda.exporting.support import page

PAGE = Path(__file__).resolve().parents[1] / "docs" / "exporting.md"

if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
    print(PAGE)
