"""`pagoda val --results`: boxes, masks and keypoints of anybody's results file, without a model."""

import json
from pathlib import Path

import pytest
from PIL import Image

from pagoda.cli.main import main
from pagoda.data.drawn.synthetic import DrawnShapes
from pagoda.data.formats.reader import open_annotations
from pagoda.data.saving import write_coco_folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("drawn")
    write_coco_folder(DrawnShapes(5, (64, 64), 3), folder, split="val")
    return folder


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


def test_pictures_with_more_objects_than_count_are_warned_of(folder, tmp_path, capsys):
    file = write(tmp_path / "results.json", perfect(folder, "bbox"))
    assert run("val", "--results", file, "--data", str(folder), "--max-detections", "1", "--json") == 0
    scores = json.loads(capsys.readouterr().out)
    assert scores["metrics"]["AP"] < 1 and "max 1 detections per image and class" in scores["protocol"]
    (warning,) = scores["warnings"]
    assert "more objects of one class" in warning
    limit = warning.split("--max-detections ")[1].split()[0]
    assert run("val", "--results", file, "--data", str(folder), "--max-detections", limit, "--json") == 0
    again = json.loads(capsys.readouterr().out)
    assert again["metrics"]["AP"] == pytest.approx(1) and not again["warnings"]
    assert run("val", "--results", file, "--data", str(folder), "--max-detections", "0") == 1
    assert "max_detections must be at least 1" in capsys.readouterr().err


def test_classes_of_a_results_document_meet_by_name(folder, tmp_path, capsys):
    """Its ids are its own, and it has a class that the data do not have."""
    document = open_annotations(folder, "val").to_coco()
    moved = {category["id"]: category["id"] + 40 for category in document["categories"]}
    rows = [{**row, "category_id": moved[row["category_id"]]} for row in perfect(folder, "bbox")]
    rows.append({**rows[0], "category_id": 7, "score": 0.99})
    categories = [{"id": moved[c["id"]], "name": c["name"]} for c in document["categories"]]
    whole = {"annotations": rows, "categories": [*categories, {"id": 7, "name": "star"}]}
    file = write(tmp_path / "results.json", whole)
    assert run("val", "--results", file, "--data", str(folder), "--json") == 0
    scores = json.loads(capsys.readouterr().out)
    assert scores["metrics"]["AP"] == pytest.approx(1)
    assert "1 detection of classes that the data do not have left out: 'star'" in scores["protocol"]
    file = write(tmp_path / "none.json", {**whole, "categories": [{"id": 7, "name": "star"}]})
    assert run("val", "--results", file, "--data", str(folder)) == 1
    assert "of the classes 'star', none of which the data have" in " ".join(capsys.readouterr().err.split())


def test_text_everywhere_is_scored_and_what_was_left_out_is_said(data: Path, capsys) -> None:
    row = {"image_id": "1", "category_id": 1.0, "bbox": ["10", "10", "20", "20"], "score": "0.9"}
    (data / "results.json").write_text(json.dumps([row]))
    assert run("val", "--results", str(data / "results.json"), "--data", str(data), "--json") == 0
    told = capsys.readouterr()
    result = json.loads(told.out)
    assert result["metrics"]["AP"] == pytest.approx(1) and list(result["per_class"]) == ["0"]
    assert "no image has the id 99; its 1 annotation is left out" in told.err


def test_results_that_are_none_are_named(data: Path, capsys) -> None:
    row = {"image_id": "1", "category_id": 1, "bbox": [10, 10, 20, 20], "score": "high"}
    (data / "results.json").write_text(json.dumps([row]))
    assert run("val", "--results", str(data / "results.json"), "--data", str(data)) == 1
    told = "".join(capsys.readouterr().err.split())  # lines break anywhere in a path
    assert "results.json:result0:scoremustbeanumber,got'high'" in told


def test_scores_to_cut_at_stand_below_each_task(folder, tmp_path, capsys):
    rows = perfect(folder, "bbox", "segmentation", "keypoints")
    rows[0]["score"] = 0.25
    file, page = write(tmp_path / "results.json", rows), tmp_path / "new" / "page.html"
    words = ("val", "--results", file, "--data", str(folder), "--precision-at", "1")
    assert run(*words, "--json", "--report", str(page)) == 0
    scores = json.loads(capsys.readouterr().out)
    for found in (scores, scores["others"]["segm"], scores["others"]["keypoints"]):
        points = found["operating"]["thresholds"].values()
        assert {point["at_precision"]["score"]["value"] for point in points} <= {0.25, 0.5}
        assert all(point["best_f1"]["recall"]["value"] == 1 for point in points)
    assert scores["others"]["segm"]["operating"]["confusion"] is None
    counts = scores["operating"]["confusion"]["counts"]
    assert sum(map(sum, counts)) == sum(counts[k][k] for k in range(len(counts))) == len(rows)
    assert page.read_text().count("scores to cut at") == 3
    assert run(*words, "--report", str(page)) == 1
    assert "choose another name" in capsys.readouterr().err
    assert run(*words, "--calibration", "--rounds", "0") == 0
    assert "Calibration of detections" in (text := capsys.readouterr().out) and "bootstrap" not in text
