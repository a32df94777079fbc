"""Write src/pagoda/catalogue/models.json from the models, and docs/models.md from that.

python tools/models_page.py          # the page alone
python tools/models_page.py --all    # trace every model anew first, which takes minutes; times stay as they are
"""

import argparse
from dataclasses import replace
from itertools import groupby
from pathlib import Path

from pagoda.catalogue.table import FILE, TRAINED, Catalogue, ModelRow, as_text, catalogue, measured_row
from pagoda.models import list_models

ROOT = Path(__file__).resolve().parents[1]
TABLE = ROOT / "src" / "pagoda" / "catalogue" / FILE
PAGE = ROOT / "docs" / "models.md"
HEAD = """\
# Models

Every model of the zoo by name, for 80 classes, without a flavour; `pagoda models --json` says the same to programs.
Any backbone goes with any neck, timm's too, whether it is in the list or not: see [Compose](compose.md). Made by
`python tools/models_page.py` from `src/pagoda/catalogue/models.json`, which the tests hold to the models.

* **work**: multiplications for one picture of this height and width (of Detect-and-Track: one clip), as
  `pagoda info` counts them.
* **fp32, best**: milliseconds per picture, by `python benchmarks/models.py`, on {machine}: PyTorch
  as the model is, and the quickest form there, int8 without looking at accuracy. Most were not measured.
* **here**: box AP of a model trained with Pagoda; benchmarks/RESULTS.md has the commands. **published**: the best that
  others have published of this model; nothing of it was measured here.
* **takes**: whose checkpoints load: [old weights](old_weights.md)."""


def measure_all() -> None:
    """Every model traced; times as they stand."""
    before = {row.name: row for row in catalogue().rows} if TABLE.is_file() else {}
    machine = catalogue().machine if TABLE.is_file() else ""
    rows = []
    for name in list_models():
        row, old = measured_row(name), before.get(name)
        if old is not None:
            row = replace(row, fp32_ms=old.fp32_ms, best_ms=old.best_ms, best_form=old.best_form)
        rows.append(row)
        print(name, row.parameters, row.multiplications, flush=True)
    TABLE.write_text(as_text(Catalogue(machine=machine, rows=tuple(rows))), encoding="utf-8")


def page() -> str:
    """docs/models.md."""
    parts = [HEAD.format(machine=catalogue().machine or "no machine yet")]
    for detector, group in groupby(catalogue().rows, key=lambda row: row.detector):
        rows = list(group)
        parts.append(f"## {detector}\n\ntakes {', '.join(rows[0].programs) or 'its own checkpoints only'}")
        head = "| model | parameters | work | pictures | fp32 ms | best ms | here | published |"
        parts.append("\n".join([head, "|---|--:|--:|--:|--:|--:|---|---|", *map(_line, rows)]))
    return "\n\n".join(parts) + "\n"


def _line(row: ModelRow) -> str:
    here = "; ".join(f"{score.ap} {score.data} ({score.how})" for score in TRAINED.get(row.name, ()))
    best = row.published
    cells = (
        f"`{row.name}`",
        f"{row.parameters / 1e6:.1f} M",
        f"{row.multiplications / 1e9:.3g} G",
        "{}×{}".format(*row.size),
        "" if row.fp32_ms is None else f"{row.fp32_ms:.0f}",
        "" if row.best_ms is None else f"{row.best_ms:.0f} ({row.best_form})",
        here,
        "" if best is None else f"{best.ap:.1f} {best.metric} ({best.program})",
    )
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--all", action="store_true", help="trace every model anew")
    if parser.parse_args().all:
        measure_all()
        catalogue.cache_clear()
    PAGE.write_text(page(), encoding="utf-8")
    print(PAGE)
