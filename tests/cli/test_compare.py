"""`pagoda compare`: two results files, or a model beside one; what cannot be compared is said before anybody waits."""

import json
from pathlib import Path

import pytest

import pagoda
from pagoda.cli import compare as command
from pagoda.cli.main import main
from pagoda.data.drawn.synthetic import DrawnShapes
from pagoda.data.formats.reader import open_annotations
from pagoda.data.saving import write_coco_folder
from pagoda.structures.labels import LabelMap

OPTIONS = {"base_channels": 8, "width": 8, "norm_groups": 4, "short_side": 64, "long_side": 64}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("drawn")
    write_coco_folder(DrawnShapes(12, (64, 64), 3), folder, split="val")
    return folder


@pytest.fixture(scope="module")
def files(folder, tmp_path_factory):
    """Everything found, and nothing of the first half of the pictures."""
    document = open_annotations(folder, "val").to_coco()
    rows = [
        {**{key: row[key] for key in ("image_id", "category_id", "bbox")}, "score": 0.5}
        for row in document["annotations"]
    ]
    seen = {image["id"] for image in document["images"][6:]}
    place = tmp_path_factory.mktemp("results")
    for name, kept in (("all", rows), ("half", [row for row in rows if row["image_id"] in seen])):
        (place / f"{name}.json").write_text(json.dumps(kept))
    return {name: str(place / f"{name}.json") for name in ("all", "half")}


def run(*arguments):
    """The exit code."""
    with pytest.raises(SystemExit) as stop:
        main(["compare", *map(str, arguments)])
    return stop.value.code


def test_two_results_files(folder, files, capsys):
    assert run(files["half"], files["all"], "--data", folder, "--rounds", 200) == 0
    text = capsys.readouterr().out
    assert (
        "AP: cannot be told: +35.3 points" in text
        and "too near to 0" in text
        and "12 pictures, 200 bootstrap samples" in text
    )
    assert "of 12 pictures are otherwise" in text and "better  0000" in text and "worse" not in text
    assert "errors (boxes, IoU .5, from the scores of best F1 on)" in text
    (missed,) = (line.split() for line in text.splitlines() if line.startswith("missed: nothing there"))
    assert int(missed[3]) > 0 and missed[4] == "0" and missed[-1] == "fewer"
    assert run(files["half"], files["all"], "--data", folder, "--rounds", 50, "--json") == 0
    said = json.loads(capsys.readouterr().out)
    assert said["parts"]["AP"]["ap"] == pytest.approx(1) and said["parts"]["AP"]["low"] > 0
    assert said["errors"]["missed: nothing there"]["verdict"] == "fewer"
    assert said["errors"]["wrong: background"]["change"] == 0
    assert 4 <= len(said["pictures"]) <= 6 and all(each["found"] > 0 for each in said["pictures"])


def test_classes_that_the_data_do_not_have_are_counted(folder, files, tmp_path, capsys):
    rows = json.loads(Path(files["all"]).read_text())
    names = open_annotations(folder, "val").label_map
    categories = [{"id": i, "name": name} for i, name in zip(names.category_ids, names.names, strict=True)]
    more = [*rows, {**rows[0], "category_id": 99}]
    document = {"images": [], "annotations": more, "categories": [*categories, {"id": 99, "name": "zebra"}]}
    (tmp_path / "more.json").write_text(json.dumps(document))
    assert run(files["all"], tmp_path / "more.json", "--data", folder, "--rounds", 20) == 0
    assert "of classes that the data do not have, left out: 0 and 1 detections" in capsys.readouterr().out


def test_a_model_beside_results(folder, files, monkeypatch, capsys):
    model = pagoda.create_model(
        "fcos_resnet18_fpn", label_map=open_annotations(folder, "val").label_map, **OPTIONS
    )
    monkeypatch.setattr(command, "open_ready", lambda path, model_, take, **where: model.eval())
    assert (
        run("m.safetensors", files["all"], "--data", folder, "--rounds", 20, "--second-seeds", files["all"])
        == 0
    )
    assert "runs: 1 and 2" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["nothing.json", "all"], "nothing.json"),
        (["all", "other"], "results of the classes 'zebra', none of which the data have"),
        (["all", "all", "--rounds", "0"], "rounds"),
        (["all", "all", "--split", "test"], "--split val"),
    ],
)
def test_what_cannot_be_compared(folder, files, tmp_path, capsys, words, told):
    other = {"images": [], "annotations": [], "categories": [{"id": 1, "name": "zebra"}]}
    other["annotations"] = [{"image_id": 1, "category_id": 1, "bbox": [0, 0, 5, 5], "score": 0.5}]
    (tmp_path / "other.json").write_text(json.dumps(other))
    known = {**files, "other": str(tmp_path / "other.json")}
    assert run(*(known.get(word, word) for word in words), "--data", folder) == 1
    assert told in capsys.readouterr().err


def test_a_second_model_of_other_classes_is_told_before_the_first_looks(folder, monkeypatch, capsys):
    known = open_annotations(folder, "val").label_map
    labels = {"a.pt": known, "b.pt": LabelMap.from_names(["zebra", "gnu"])}
    looked = []

    def opened(path, *_, **__):
        model = pagoda.create_model("fcos_resnet18_fpn", label_map=labels[path], **OPTIONS).eval()
        model.register_forward_pre_hook(lambda *_: looked.append(path))
        return model

    monkeypatch.setattr(command, "open_ready", opened)
    assert run("a.pt", "b.pt", "--data", folder) == 1
    assert "not in the data: zebra, gnu" in capsys.readouterr().err and not looked


def test_models_of_clips_are_sent_elsewhere(folder, files, monkeypatch, capsys):
    model = pagoda.create_model("detect_and_track_resnet18_2d", num_classes=1, width=8, head_depth=1)
    monkeypatch.setattr(command, "open_ready", lambda path, model_, take, **where: model.eval())
    assert run("m.safetensors", files["all"], "--data", folder) == 1
    assert "for models of single pictures; score those of clips by pagoda val" in capsys.readouterr().err


def test_a_page_on_which_both_stand_side_by_side(folder, files, tmp_path, capsys):
    out = tmp_path / "new" / "out"
    for _ in range(2):
        assert run(files["half"], files["all"], "--data", folder, "--rounds", 50, "--out", out) == 0
    assert str(out / "compare-2.html") in capsys.readouterr().err
    assert sorted(each.name for each in out.iterdir()) == [
        "compare-2.html", "compare-2.json", "compare.html", "compare.json"
    ]  # fmt: skip
    page = (out / "compare.html").read_text()
    data = json.loads(page.split('id="data">')[1].split("</script>")[0])
    said = json.loads((out / "compare.json").read_text())
    assert len(data["entries"]) == len(said["pictures"]) >= 4
    for entry, change in zip(data["entries"], said["pictures"], strict=True):
        found = [sum(row[6] >= 0 for row in side) for side in entry["sides"]]
        assert found[1] - found[0] == change["found"] and found == [0, len(entry["objects"])]
    assert len(json.loads(page.split('id="pictures">')[1].split("</script>")[0])) == len(data["entries"])
    assert "cannot be told: +35.3 points" in page


def test_a_folder_that_cannot_be_made_is_told_before_the_work(folder, files, tmp_path, capsys):
    (tmp_path / "file").touch()
    assert run(files["all"], files["all"], "--data", folder, "--out", tmp_path / "file") == 1
    assert "could not write" in capsys.readouterr().err
