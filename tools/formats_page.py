"""Write docs/formats.md from the table in pagoda.data.format_table."""

from pathlib import Path

from pagoda.data.format_table import page

PAGE = Path(__file__).resolve().parents[1] / "docs" / "formats.md"

if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
    print(PAGE)
