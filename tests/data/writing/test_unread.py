"""Fields of files that no reader takes up: all that the tables know are counted, and none that are read."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import yaml
from PIL import Image

from pagoda.cli.main import main
from pagoda.data.drawn.walking import WalkingFigures
from pagoda.data.formats.layouts import find_dataset
from pagoda.data.tracks.folders import write_video_folder
from pagoda.data.unread.fields import FIELDS, Fields
from pagoda.data.unread.pictures import unread_of_pictures
from pagoda.data.unread.videos import unread_of_videos
from pagoda.data.writing.contents import open_contents
from pagoda.data.writing.folder import plan
from pagoda.data.writing.videos import open_video_contents

SIZE = (12, 16)
EVERY = [(kind, part) for kind, parts in FIELDS.items() for part in parts]


@pytest.mark.parametrize(("kind", "part"), EVERY)
def test_a_field_is_read_or_silent_or_lost_and_lost_ones_count(kind: str, part: str) -> None:
    fields = FIELDS[kind][part]
    every = [*fields.read, *fields.silent, *fields.lost]
    assert len(set(every)) == len(every)
    assert list(fields.told(dict.fromkeys(every, 0.5))) == list(fields.lost)
    assert list(fields.told(dict.fromkeys(every, None))) == []
    assert list(fields.told({"nobody_knows_it": "text"})) == ["nobody_knows_it"]


def test_an_id_of_0_says_something() -> None:
    fields = Fields("image", ("id",))
    assert list(fields.told({"person_id": 0, "count": 0, "tags": [], "notes": {"a": None}})) == ["person_id"]


def picture(place: Path) -> None:
    place.parent.mkdir(parents=True, exist_ok=True)
    Image.new("L", SIZE[::-1], 90).save(place)


def labelme(folder: Path, shapes: list[dict[str, Any]], **more: object) -> Path:
    picture(folder / "a.png")
    document = {"shapes": shapes, "imagePath": "a.png", "imageData": None, "imageHeight": SIZE[0]}
    (folder / "a.json").write_text(json.dumps({**document, "imageWidth": SIZE[1], **more}))
    return folder


def box(label: str, **more: object) -> dict[str, Any]:
    return {"label": label, "points": [[1, 1], [8, 9]], "shape_type": "rectangle", "flags": {}, **more}


def counts(folder: Path) -> dict[str, int]:
    """Of each thing that is not read how often it was counted."""
    total: Counter[str] = Counter()
    for each, count in unread_of_pictures(find_dataset(folder)).items():
        total[each.key] += count
    return dict(+total)


def test_fields_of_labelme(tmp_path: Path) -> None:
    silent = {"version": "5.5.0", "flags": {"done": False}, "lineColor": [0, 255, 0, 128]}
    quiet = box("cat", flags={"difficult": True}, group_id=None, description="", attributes={}, score=None)
    quiet |= {"kie_linking": [], "direction": 0, "fill_color": [1, 2, 3], "difficult": "false"}
    assert counts(labelme(tmp_path / "quiet", [quiet], **silent)) == {}
    turned = {
        "label": "cat",
        "points": [[1, 1], [5, 1], [5, 5], [1, 5]],
        "shape_type": "rotation",
        "direction": 0.5,
    }
    telling = [
        box("cat", description="asleep", score=0.75, flags={"seen": True}, attributes={"color": "red"}),
        box("cat", group_id=3),
        box("hat", group_id=3, kie_linking=[[1, 2]]),
        turned,
        {"label": "cat", "points": [[3, 3], [5, 5]], "shape_type": "circle"},
        {"label": "way", "points": [[3, 3], [5, 5]], "shape_type": "line"},
        {"label": "eye", "points": [[3, 3]], "shape_type": "point"},
    ]
    folder = labelme(tmp_path / "telling", telling, flags={"night": True}, text="a yard", mine=7)
    once = dict.fromkeys(
        ("description", "score", "attributes", "kie_linking", "rotation", "circle", "line", "point"), 1
    )
    assert counts(folder) == once | {"flags": 2, "text": 1, "mine": 1, "group_id": 2}


def test_fields_of_yolo(tmp_path: Path) -> None:
    picture(tmp_path / "images" / "train" / "a.png")
    label = tmp_path / "labels" / "train" / "a.txt"
    label.parent.mkdir(parents=True)
    label.write_text("0 0.5 0.5 0.5 0.5 0.4 0.4 2\n")
    description = {
        "path": ".",
        "train": "images/train",
        "nc": 2,
        "names": ["cat", "dog"],
        "kpt_shape": [1, 3],
    }
    description |= {"flip_idx": [0], "kpt_names": {0: ["nose"], 1: ["nose"]}}
    (tmp_path / "data.yaml").write_text(yaml.safe_dump(description))
    assert counts(tmp_path) == {}
    description |= {"kpt_names": {0: ["nose"], 1: ["snout"]}, "download": "https://x", "channels": 3}
    description["roboflow"] = {"license": "MIT"}
    (tmp_path / "data.yaml").write_text(yaml.safe_dump(description))
    (tmp_path / "notes.json").write_text("{}")
    once = dict.fromkeys(("kpt_names", "download", "channels", "roboflow", "notes.json"), 1)
    assert counts(tmp_path) == once
    losses = {loss.key: loss.text for loss in plan(open_contents(tmp_path), "yolo").losses}
    assert losses["unread roboflow"] == "1 file with roboflow: lost, for it is not read"


def test_what_is_lost_of_a_part_is_counted_in_all_that_was_read(tmp_path: Path, capsys) -> None:
    picture(tmp_path / "in" / "a.png")
    coordinates = {"x": 5, "y": 5, "width": 4, "height": 4}
    annotations = [{"label": name, "coordinates": coordinates, "score": 0.5} for name in ("cat", "dog")]
    (tmp_path / "in" / "x.json").write_text(json.dumps([{"image": "a.png", "annotations": annotations}]))
    with pytest.raises(SystemExit):
        main(["data", "subset", str(tmp_path / "in"), str(tmp_path / "out"), "--classes", "cat"])
    assert (
        f"with score: lost, for it is not read; counted in all of {tmp_path / 'in'}"
        in capsys.readouterr().out
    )


def test_fields_of_the_others(tmp_path: Path) -> None:
    picture(tmp_path / "createml" / "a.png")
    coordinates = {"x": 5, "y": 5, "width": 4, "height": 4}
    entry = {"image": "a.png", "annotations": [{"label": "cat", "coordinates": coordinates, "score": 0.5}]}
    (tmp_path / "createml" / "x.json").write_text(json.dumps([{**entry, "imageURL": "https://x"}]))
    assert counts(tmp_path / "createml") == {"imageURL": 1, "score": 1}
    picture(tmp_path / "via" / "a.png")
    shape = {"name": "rect", "x": 1, "y": 1, "width": 4, "height": 4}
    region = {"shape_attributes": shape, "region_attributes": {"class": "cat", "color": "red"}}
    entry = {"filename": "a.png", "size": 99, "regions": [region], "file_attributes": {"place": "yard"}}
    (tmp_path / "via" / "via.json").write_text(json.dumps({"a.png99": entry}))
    assert counts(tmp_path / "via") == {"file_attributes": 1, "color": 1}
    value = {"x": 10, "y": 10, "width": 30, "height": 30, "rotation": 0, "rectanglelabels": ["cat"]}
    result = {
        "id": "r",
        "type": "rectanglelabels",
        "value": value,
        "original_width": 16,
        "original_height": 12,
    }
    task = {
        "id": 1,
        "data": {"image": "a.png"},
        "annotations": [{"result": [{**result, "meta": {"text": ["?"]}}]}],
    }
    picture(tmp_path / "studio" / "a.png")
    (tmp_path / "studio" / "x.json").write_text(json.dumps([{**task, "predictions": [{"score": 0.5}]}]))
    assert counts(tmp_path / "studio") == {"predictions": 1, "meta": 1}


def test_fields_of_coco_and_voc(tmp_path: Path) -> None:
    image = {"id": 1, "file_name": "a.png", "height": SIZE[0], "width": SIZE[1], "license": 3, "coco_url": ""}
    entry = {"id": 1, "image_id": 1, "category_id": 1, "bbox": [1, 1, 4, 4], "track_id": 0}
    entry["attributes"] = {"rotation": 0.5, "occluded": False}
    document = {
        "images": [image],
        "annotations": [entry],
        "info": {"year": 2017},
        "licenses": [{"id": 0, "url": ""}],
    }
    document["categories"] = [{"id": 1, "name": "cat", "supercategory": "animal"}]
    picture(tmp_path / "coco" / "images" / "train" / "a.png")
    (tmp_path / "coco" / "annotations").mkdir()
    (tmp_path / "coco" / "annotations" / "train.json").write_text(json.dumps(document))
    assert counts(tmp_path / "coco") == dict.fromkeys(("license", "track_id", "info", "supercategory"), 1)
    assert main_says(tmp_path / "coco", tmp_path / "out")["unread supercategory"] == 1
    picture(tmp_path / "voc" / "JPEGImages" / "a.png")
    (tmp_path / "voc" / "Annotations").mkdir()
    corners = "<bndbox><xmin>1</xmin><ymin>1</ymin><xmax>5</xmax><ymax>5</ymax></bndbox>"
    attributes = "".join(
        f"<attribute><name>{name}</name><value>{value}</value></attribute>"
        for name, value in (("rotation", "0.0"), ("occluded", "False"), ("color", "red"))
    )
    (tmp_path / "voc" / "Annotations" / "a.xml").write_text(
        "<annotation><folder>x</folder><filename>a.png</filename><source><database>Unknown</database></source>"
        f"<owner><name>me</name><flickrid>7</flickrid></owner><segmented>1</segmented><object><name>cat</name>{corners}"
        f"<pose>Left</pose><truncated>0</truncated><attributes>{attributes}</attributes><part><name>head</name>{corners}"
        "</part></object></annotation>"
    )
    assert counts(tmp_path / "voc") == dict.fromkeys(("owner", "segmented", "pose", "attributes", "part"), 1)


def main_says(folder: Path, out: Path) -> dict[str, int]:
    """What losses.json says after a conversion."""
    with pytest.raises(SystemExit) as stop:
        main(["data", "convert", str(folder), str(out), "--to", "coco"])
    assert stop.value.code == 0
    return {each["what"]: each["count"] for each in json.loads((out / "losses.json").read_text())["losses"]}


def test_only_the_splits_that_are_read_count(tmp_path: Path) -> None:
    for split in ("train", "val"):
        labelme(tmp_path / split, [box("cat", score=0.5 if split == "train" else None)])
    assert [loss.key for loss in open_contents(tmp_path).unread] == ["unread score"]
    assert open_contents(tmp_path, ["val"]).unread == ()
    assert [loss.count for loss in open_contents(tmp_path, ["train+val"]).unread] == [1]


def unread(document: dict[str, Any], folder: Path) -> dict[str, int]:
    path = folder / "a.json"
    path.write_text(json.dumps(document))
    return {each.key: count for each, count in unread_of_videos([path]).items() if count}


def test_fields_of_posetrack_2018(tmp_path: Path) -> None:
    walk = WalkingFigures(num_videos=1, num_frames=3, image_size=(32, 40), seed=1)
    write_video_folder(walk, tmp_path, "train")
    assert open_video_contents(tmp_path).unread == ()
    (path,) = (tmp_path / "annotations" / "train").glob("*.json")
    document = json.loads(path.read_text())
    document["images"][1] |= {"mask_file": "mask/1.png", "has_no_densepose": True}
    document["annotations"][0] |= {"person_id": 0, "category_id": 7}
    shown = [flag for flag in document["annotations"][1]["keypoints"][2::3] if flag]
    document["annotations"][1]["keypoints"][2::3] = [
        2 * flag for flag in document["annotations"][1]["keypoints"][2::3]
    ]
    hidden = sum(flag for entry in document["annotations"] for flag in entry["keypoints"][2::3] if flag == 1)
    document["categories"][0]["supercategory"] = "animal"
    path.write_text(json.dumps(document))
    assert shown and hidden
    expected = dict.fromkeys(
        ("mask_file", "has_no_densepose", "person_id", "category_id", "supercategory"), 1
    )
    told = {loss.key.removeprefix("unread "): loss.count for loss in open_video_contents(tmp_path).unread}
    assert told == expected | {"visibility": hidden}


def test_fields_of_posetrack_2017(tmp_path: Path) -> None:
    def person(track: int, *visible: int) -> dict[str, Any]:
        joints = [{"id": [k], "x": [k], "y": [k], "is_visible": [flag]} for k, flag in enumerate(visible)]
        return {"track_id": [track], "annopoints": [{"point": joints}]}

    frame = {"image": [{"name": "a.jpg"}], "imgnum": [1], "is_labeled": [1]}
    quiet = {"annolist": [{**frame, "annorect": [person(1, 1, 1)]}]}
    assert unread(quiet, tmp_path) == {}
    twice = person(2, 1)
    twice["annopoints"] *= 2
    people = [{**person(1, 1, 0), "scale": [2.5], "objpos": [{"x": [4], "y": [5]}]}, twice]
    told = unread({"annolist": [{**frame, "vididx": [3], "annorect": people}]}, tmp_path)
    assert told == dict.fromkeys(("is_visible", "scale", "objpos", "vididx", "annopoints"), 1)


def test_the_frame_rate_of_mot_is_counted(tmp_path: Path) -> None:
    sequence = tmp_path / "train" / "walk"
    (sequence / "gt").mkdir(parents=True)
    (sequence / "gt" / "gt.txt").write_text("1,1,2,3,4,5,1,1,0.5\n")
    lines = ["[Sequence]", "name=walk", "imDir=img1", "frameRate=25", "seqLength=1", "imExt=.png"]
    (sequence / "seqinfo.ini").write_text("\n".join([*lines, "imWidth=16", "imHeight=12"]))
    found = {each.key: count for each, count in unread_of_videos([sequence]).items() if count}
    assert found == {"framerate": 1, "visibility": 1}
