"""Every row of the table of formats that is a data set is drawn and opened; the page is the table."""

from pathlib import Path

import pytest
from drawn_layouts import BOX, DRAWN, HEIGHT, WIDTH, Drawn

from pagoda.data.dataset import DetectionDataset
from pagoda.data.format_table import FORMATS, page
from pagoda.data.formats.layouts import KIND_NAMES, KNOWN, find_dataset
from pagoda.data.formats.reader import open_annotations
from pagoda.data.writing import page as exchange
from pagoda.explain.doctor.examine import examine


@pytest.mark.parametrize("drawn", DRAWN, ids=lambda drawn: f"{drawn.draw.__name__}-{drawn.place}")
def test_every_layout_opens(tmp_path: Path, drawn: Drawn) -> None:
    drawn.draw(tmp_path)
    layout = find_dataset(tmp_path / drawn.place)
    assert (layout.kind, {name: 1 for name in layout.splits}) == (drawn.kind, dict.fromkeys(drawn.splits, 1))
    assert layout.describe().startswith(f"{KIND_NAMES[layout.kind]} data set in ")
    for split, count in drawn.splits.items():
        annotations = open_annotations(tmp_path / drawn.place, split)
        assert (len(annotations), annotations.counts()) == (count, {"cat": count})
        for picture, targets in (DetectionDataset(annotations)[index] for index in range(count)):
            assert picture.shape == (3, HEIGHT, WIDTH) and targets.boxes.tolist() == [list(BOX)]


@pytest.mark.parametrize("drawn", DRAWN, ids=lambda drawn: f"{drawn.draw.__name__}-{drawn.place}")
def test_the_doctor_opens_every_layout(tmp_path: Path, drawn: Drawn) -> None:
    drawn.draw(tmp_path)
    report = examine(tmp_path / drawn.place)
    pictures = {name: split["pictures"] for name, split in report.statistics["splits"].items()}
    assert pictures == drawn.splits and report.statistics["pictures_opened"] == sum(drawn.splits.values())
    alike = {"leaks", "near_leaks", "near_duplicate_pictures"}  # the drawn pictures are
    assert not {finding.kind for finding in report.problems} - alike, report.text()


def test_every_row_on_reading_is_drawn() -> None:
    assert {row.key for row in FORMATS if row.use == "data set" and row.is_read} == {d.row for d in DRAWN}
    assert len({row.key for row in FORMATS}) == len(FORMATS)


def test_the_page_is_the_table(repository: Path) -> None:
    written = (repository / "docs" / "formats.md").read_text(encoding="utf-8")
    assert written == page(), "run python tools/formats_page.py"


def test_the_page_of_exchange_is_the_table(repository: Path) -> None:
    written = (repository / "docs" / "data_exchange.md").read_text(encoding="utf-8")
    assert written == exchange.page(), "run python tools/formats_page.py"


def test_what_is_said_elsewhere_agrees(repository: Path) -> None:
    readme = (repository / "README.md").read_text(encoding="utf-8")
    table = " ".join(row.name for row in FORMATS)
    for name in KIND_NAMES.values():
        assert name in readme, f"name {name} in README.md"
        assert name in KNOWN, f"name {name} in KNOWN (data/formats/layouts.py)"
        assert name in table or (name == "VIA" and "VGG Image Annotator" in table), name
