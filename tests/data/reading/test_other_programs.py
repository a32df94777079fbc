"""Formats that are not read are named, with a remedy; those that need no other program are followed."""

import json
import zipfile
from pathlib import Path

import pytest
from PIL import Image

from pagoda.data.formats.layouts import find_dataset
from pagoda.data.formats.reader import open_annotations
from pagoda.explain.doctor.examine import examine

KITTI = (
    "Car 0.00 0 -1.57 5.00 6.00 24.00 16.00 1.5 1.6 3.9 1.0 1.5 10.0 -1.5\n"
    "DontCare -1 -1 -10 1 1 2 2 -1 -1 -1 -1000 -1000 -1000 -10\n"
)
BDD = [
    {
        "name": "a.png",
        "labels": [{"id": "1", "category": "car", "box2d": {"x1": 4, "y1": 6, "x2": 24, "y2": 16}}],
    }
]
SUPERVISELY = {
    "tags": [],
    "size": {"height": 20, "width": 40},
    "objects": [
        {
            "classTitle": "cat",
            "geometryType": "rectangle",
            "points": {"exterior": [[4, 6], [24, 16]], "interior": []},
        }
    ],
}
CVAT_HEAD = "<?xml version='1.0'?>\n<annotations>\n<version>1.1</version><meta><task></task></meta>"
DATUMARO = {
    "categories": {"label": {"labels": [{"name": "cat"}]}},
    "items": [{"id": "a", "annotations": [{"type": "bbox", "label_id": 0, "bbox": [4, 6, 20, 10]}]}],
}
VOTT = {
    "asset": {"name": "a.png"},
    "regions": [{"tags": ["cat"], "boundingBox": {"left": 4}}],
    "version": "2.1.0",
}
DARWIN = {
    "version": "2.0",
    "item": {"name": "a.png"},
    "annotations": [{"bounding_box": {"x": 4}, "name": "cat"}],
}
RESULT = [{"image_id": 1, "category_id": 1, "bbox": [4, 6, 20, 10], "score": 0.5}]
NO_CATEGORIES = {
    "images": [{"id": 1, "file_name": "a.png"}],
    "annotations": [{"id": 1, "image_id": 1, "category_id": 1, "bbox": [4, 6, 20, 10]}],
}
DOTA = "imagesource:GoogleEarth\ngsd:0.1\n4 6 24 6 24 16 4 16 plane 0\n"

CASES = {
    "KITTI": (
        {"training/label_2/a.txt": KITTI},
        "a label file of KITTI",
        r"datum convert -i .* -if kitti -f coco",
    ),
    "KITTI of TAO": (
        {"labels/a.txt": KITTI},
        "a label file of KITTI",
        "/training/image_2 and the labels into",
    ),
    "BDD100K": (
        {"labels/det_20/det_train.json": BDD},
        "a file of BDD100K or Scalabel",
        r"label\.to_coco -m det -i",
    ),
    "BDD100K in annotations": (
        {"annotations/det_train.json": BDD},
        "a file of BDD100K or Scalabel",
        r"to_coco",
    ),
    "Supervisely": (
        {"meta.json": {"classes": [], "tags": []}, "ds0/ann/a.png.json": SUPERVISELY},
        "an annotation of Supervisely",
        "app 'Export to COCO'",
    ),
    "CVAT for images": (
        {
            "annotations.xml": f"{CVAT_HEAD}<image id='0' name='a.png'><box label='cat'/></image></annotations>"
        },
        "a file of 'CVAT for images'",
        "again as 'COCO 1.0'",
    ),
    "CVAT for video": (
        {"annotations.xml": f"{CVAT_HEAD}<track id='0' label='cat'><box frame='0'/></track></annotations>"},
        "a file of 'CVAT for video'",
        "or as 'MOT 1.1'",
    ),
    "CVAT, a long head": (
        {"annotations.xml": CVAT_HEAD + " " * 70000 + "<image id='0'></image></annotations>"},
        "a file of CVAT",
        "again as 'COCO 1.0'",
    ),
    "Datumaro": ({"annotations/train.json": DATUMARO}, "a file of Datumaro", r"-if datumaro -f coco"),
    "VoTT": ({"a-asset.json": VOTT}, "a file of VoTT", "again as 'Pascal VOC'"),
    "V7 Darwin": ({"annotations/a.json": DARWIN}, "a file of V7 Darwin", "darwin convert coco"),
    "COCO results": ({"results.json": RESULT}, "a list of COCO results", "these are predictions"),
    "COCO without categories": ({"labels.json": NO_CATEGORIES}, "a COCO file without one of", '"categories"'),
    "DOTA": ({"labelTxt/a.txt": DOTA}, "a label file of DOTA", "`class x1 y1 x2 y2 x3 y3 x4 y4`"),
    "WIDER FACE": (
        {"list.txt": "p/a.png\n1\n4 6 20 10 0 0 0 0 0 0\n"},
        "a list of WIDER FACE",
        "-if wider_face",
    ),
    "YOLO without names": (
        {"labels/a.txt": "0 0.35 0.55 0.5 0.5\n"},
        "a label file of YOLO without the names",
        "classes.txt",
    ),
    "VIA's CSV": (
        {"via.csv": "filename,file_size,region_shape_attributes\n"},
        "a CSV file of VIA",
        r"Export Annotations \(as json\)",
    ),
    "Roboflow's CSV": (
        {"train/_annotations.csv": "filename,width,height,class,xmin,ymin,xmax,ymax\n"},
        "a table of boxes",
        "again as COCO",
    ),
    "keras-yolo3": (
        {"classes.txt": "cat\n", "train.txt": "images/a.png 4,6,24,16,0\n"},
        "a list of pictures with boxes",
        "write one COCO file",
    ),
    "keras-retinanet": (
        {"train.csv": "images/a.png,4,6,24,16,cat\n"},
        "a table of boxes",
        "write one COCO file",
    ),
    "Open Images": (
        {"train-annotations-bbox.csv": "ImageID,Source,LabelName,Confidence,XMin,XMax,YMin,YMax\n"},
        "a table of Open Images",
        "write one COCO file",
    ),
    "VIA 3": (
        {"p.json": {"project": {}, "view": {"1": {"fid_list": []}}, "metadata": {}}},
        "a project of VIA 3",
        "COCO",
    ),
    "Labelbox": (
        {"e.ndjson": {"data_row": {}, "projects": {}}},
        "an export of Labelbox",
        "write one COCO file",
    ),
    "Ultralytics": (
        {"e.ndjson": {"type": "dataset", "class_names": {}}},
        "a data set of Ultralytics",
        "YOLO format",
    ),
    "Hugging Face": (
        {"train/metadata.jsonl": {"file_name": "a.png", "objects": {"bbox": []}}},
        "metadata of Hugging Face",
        "write one COCO file",
    ),
    "SageMaker": (
        {"o.manifest": {"source-ref": "s3://b/a.png"}},
        "a manifest of SageMaker",
        "write one COCO file",
    ),
    "Parquet": ({"data/train-0.parquet": "PAR1"}, "a Parquet table", "write one COCO file"),
    "TFRecord": ({"train/cats.tfrecord": "\x00"}, "a TFRecord", "again as COCO"),
    "an archive": ({"export.zip": "PK"}, "an archive", "unpack it"),
}


def write(root: Path, files: dict[str, object]) -> None:
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content if isinstance(content, str) else json.dumps(content))


@pytest.mark.parametrize("case", CASES)
def test_the_format_is_named_with_a_remedy(tmp_path: Path, case: str) -> None:
    files, name, remedy = CASES[case]
    write(tmp_path, files)
    (tmp_path / "images").mkdir()
    Image.new("RGB", (40, 20)).save(tmp_path / "images/a.png")
    file = list(files)[-1]
    for place in (tmp_path, tmp_path / file):
        with pytest.raises(ValueError, match=rf"{file} is {name}.*, which is not read: .*{remedy}"):
            open_annotations(place)


@pytest.mark.parametrize("case", CASES)
def test_the_doctor_names_it_too(tmp_path: Path, case: str) -> None:
    files, name, _ = CASES[case]
    write(tmp_path, files)
    try:
        text = examine(tmp_path).text()
    except ValueError as error:
        text = str(error)
    assert f"is {name}" in text


def test_notes_are_of_no_format(tmp_path: Path) -> None:
    write(
        tmp_path,
        {"notes.txt": "a 1 2 3 4\n", "a.json": {"a": 1}, "b.xml": "<b/>", "c.csv": "a,b\n", "empty.txt": ""},
    )
    with pytest.raises(ValueError, match=r"is no data set we know: looked for COCO .*; found a\.json"):
        find_dataset(tmp_path)


def test_remedies_that_need_no_other_program_work(tmp_path: Path) -> None:
    picture = tmp_path / "images/a.png"
    picture.parent.mkdir()
    Image.new("RGB", (40, 20)).save(picture)
    write(tmp_path, {"labels/a.txt": "0 0.35 0.55 0.5 0.5\n"})
    with zipfile.ZipFile(tmp_path / "packed.zip", "w") as archive:
        for file in ("images/a.png", "labels/a.txt"):
            archive.write(tmp_path / file, f"in/{file}")
    with pytest.raises(ValueError, match="an archive"):
        open_annotations(tmp_path / "packed.zip")
    zipfile.ZipFile(tmp_path / "packed.zip").extractall(tmp_path)
    write(tmp_path / "in", {"classes.txt": "cat\n"})
    assert open_annotations(tmp_path / "in").targets(0).boxes.tolist() == [[4, 6, 24, 16]]
    shares = "0.1 0.3 0.6 0.3 0.6 0.8 0.1 0.8"
    write(tmp_path / "in", {"labels/a.txt": f"0 {shares}\n", "data.yaml": "train: images\nnames: [plane]\n"})
    assert open_annotations(tmp_path / "in").boxes_xywh[0].tolist() == pytest.approx([4, 6, 20, 10])
    coco = tmp_path / "coco"
    write(coco, {"labels.json": NO_CATEGORIES | {"categories": [{"id": 1, "name": "cat"}]}})
    picture.rename(coco / "a.png")
    assert open_annotations(coco).boxes_xywh.tolist() == [[4, 6, 20, 10]]
