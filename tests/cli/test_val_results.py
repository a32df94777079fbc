"""`pagoda val --results`: boxes, masks and keypoints of anybody's results file, without a model."""

import json

import pytest

from pagoda.cli.main import main
from pagoda.data.layouts import open_annotations
from pagoda.data.saving import write_coco_folder
from pagoda.data.synthetic import DrawnShapes


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("drawn")
    write_coco_folder(DrawnShapes(5, (64, 64), 3), folder, split="val")
    return folder


def run(*arguments):
    """The exit code."""
    with pytest.raises(SystemExit) as stop:
        main(list(arguments))
    return stop.value.code


def write(path, rows):
    path.write_text(json.dumps(rows))
    return str(path)


def perfect(folder, *keys):
    document = open_annotations(folder, "val").to_coco()
    rows = document["annotations"]
    return [{**{key: row[key] for key in ("image_id", "category_id", *keys)}, "score": 0.5} for row in rows]


def test_every_task_of_the_file_is_scored(folder, tmp_path, capsys):
    file = write(tmp_path / "results.json", perfect(folder, "bbox", "segmentation", "keypoints"))
    assert run("val", "--results", file, "--data", str(folder), "--json") == 0
    scores = json.loads(capsys.readouterr().out)
    for key in ("AP", "segm/AP", "keypoints/AP"):
        assert scores["metrics"][key] == pytest.approx(1)
    assert run("val", "--results", file, "--data", str(folder)) == 0
    text = capsys.readouterr().out
    assert "\nMasks\n" in text and "\nKeypoints\n" in text and "OKS (sigmas all 0.05)" in text


def test_masks_alone_bring_their_boxes(folder, tmp_path, capsys):
    file = write(tmp_path / "results.json", perfect(folder, "segmentation"))
    assert run("val", "--results", file, "--data", str(folder), "--json") == 0
    scores = json.loads(capsys.readouterr().out)
    assert scores["metrics"]["AP"] == pytest.approx(1) and "keypoints/AP" not in scores["metrics"]
    assert "drawn around their masks" in scores["protocol"]


def test_a_mask_of_another_size_is_named(folder, tmp_path, capsys):
    rows = perfect(folder, "segmentation")
    rows[1]["segmentation"] = {"size": [32, 32], "counts": [32 * 32]}
    file = write(tmp_path / "results.json", rows)
    assert run("val", "--results", file, "--data", str(folder)) == 1
    assert "result 1: the mask is of a picture of (height, width) (32, 32)" in " ".join(
        capsys.readouterr().err.split()
    )
