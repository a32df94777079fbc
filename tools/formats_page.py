"""Write docs/formats.md and docs/data_exchange.md from the tables of formats."""

from pathlib import Path

from pagoda.data import format_table
from pagoda.data.writing import page as exchange

DOCS = Path(__file__).resolve().parents[1] / "docs"

if __name__ == "__main__":
    for name, page in (("formats.md", format_table.page), ("data_exchange.md", exchange.page)):
        (DOCS / name).write_text(page(), encoding="utf-8")
        print(DOCS / name)
