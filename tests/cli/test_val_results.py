"""`pagoda val --results` on files as other programs write them, and what reading them has to say."""

import json
from pathlib import Path

import pytest
from PIL import Image

from pagoda.cli.main import main


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Two splits of flags and ids as text; one annotation belongs to no image."""
    (tmp_path / "annotations").mkdir()
    for split in ("train", "val"):
        (tmp_path / "images" / split).mkdir(parents=True)
        Image.new("RGB", (60, 50)).save(tmp_path / "images" / split / "a.png")
        plain = {"image_id": 1, "category_id": "1", "bbox": ["10", "10", "20.0", "20"], "iscrowd": "0"}
        document = {
            "images": [{"id": 1, "file_name": "a.png", "height": 50, "width": 60}],
            "categories": [{"id": 1, "name": 0}],
            "annotations": [{**plain, "id": 1}, {**plain, "id": 2, "image_id": 99}],
        }
        (tmp_path / "annotations" / f"{split}.json").write_text(json.dumps(document))
    return tmp_path


def run(*words: str) -> int:
    try:
        main(list(words))
    except SystemExit as end:
        return int(end.code or 0)
    return 0


def test_text_everywhere_is_scored_and_what_was_left_out_is_said(data: Path, capsys) -> None:
    row = {"image_id": "1", "category_id": 1.0, "bbox": ["10", "10", "20", "20"], "score": "0.9"}
    (data / "results.json").write_text(json.dumps([row]))
    assert run("val", "--results", str(data / "results.json"), "--data", str(data), "--json") == 0
    told = capsys.readouterr()
    result = json.loads(told.out)
    assert result["metrics"]["AP"] == pytest.approx(1) and list(result["per_class"]) == ["0"]
    assert "no image has the id 99; its 1 annotations are left out" in told.err


def test_results_that_are_none_are_named(data: Path, capsys) -> None:
    row = {"image_id": "1", "category_id": 1, "bbox": [10, 10, 20, 20], "score": "high"}
    (data / "results.json").write_text(json.dumps([row]))
    assert run("val", "--results", str(data / "results.json"), "--data", str(data)) == 1
    told = " ".join(capsys.readouterr().err.split())
    assert "results.json: result 0: score must be a number, got 'high'" in told
