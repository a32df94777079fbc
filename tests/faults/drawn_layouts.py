"""Small whole data sets, one function for each layout that is read; every picture has one cat."""

import base64
import json
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any, NamedTuple

from PIL import Image

WIDTH, HEIGHT = 40, 20
BOX = (4, 6, 24, 16)
"""xyxy of the one object of class cat in every picture"""


def draw(*paths: Path) -> None:
    for number, path in enumerate(paths):
        path.parent.mkdir(parents=True, exist_ok=True)
        image = Image.new(
            "RGB", (WIDTH, HEIGHT), (number * 40, 200 - number * 40, sum(map(ord, path.stem)) % 256)
        )
        image.paste((255, 255, 0), BOX)
        image.save(path)


def write(path: Path, content: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")


def coco(*files: str, **fields: Any) -> dict[str, Any]:
    images = [
        {"id": i, "width": WIDTH, "height": HEIGHT, "file_name": name} for i, name in enumerate(files, 1)
    ]
    bbox = [BOX[0], BOX[1], BOX[2] - BOX[0], BOX[3] - BOX[1]]
    annotations = [
        {"id": i, "image_id": i, "category_id": 1, "bbox": bbox, "iscrowd": 0, **fields}
        for i in range(1, len(files) + 1)
    ]
    return {"images": images, "annotations": annotations, "categories": [{"id": 1, "name": "cat"}]}


def voc(filename: str, size: bool = True) -> str:
    corners = "".join(
        f"<{name}>{value}</{name}>"
        for name, value in zip(
            ("xmin", "ymin", "xmax", "ymax"), (BOX[0] + 1, BOX[1] + 1, *BOX[2:]), strict=True
        )
    )
    sides = f"<size><width>{WIDTH}</width><height>{HEIGHT}</height></size>" if size else ""
    box = f"<object><name>cat</name><bndbox>{corners}</bndbox></object>"
    return f"<annotation><filename>{filename}</filename>{sides}{box}</annotation>"


YOLO_LINE = "0 0.35 0.55 0.5 0.5\n"


def labelme(picture: str | None, *more: dict, **fields: Any) -> dict[str, Any]:
    shape = {"label": "cat", "points": [BOX[:2], BOX[2:]], "shape_type": "rectangle", "group_id": None}
    sizes = {"imageHeight": HEIGHT, "imageWidth": WIDTH}
    return {
        "version": "5",
        "shapes": [shape, *more],
        "imagePath": picture,
        "imageData": None,
        **sizes,
        **fields,
    }


def labelme_embedded() -> dict[str, Any]:
    buffer = BytesIO()
    image = Image.new("RGB", (WIDTH, HEIGHT))
    image.save(buffer, "png")
    return labelme("gone.png", imageData=base64.b64encode(buffer.getvalue()).decode())


def via_regions(name: str, **attributes: str) -> dict[str, Any]:
    shape = {"name": "rect", "x": BOX[0], "y": BOX[1], "width": BOX[2] - BOX[0], "height": BOX[3] - BOX[1]}
    region = {"shape_attributes": shape, "region_attributes": attributes or {"species": "cat"}}
    return {f"{name}99": {"filename": name, "size": 99, "regions": [region], "file_attributes": {}}}


def createml(name: str) -> list[dict[str, Any]]:
    place = {"x": (BOX[0] + BOX[2]) / 2, "y": (BOX[1] + BOX[3]) / 2, "width": 20, "height": 10}
    return [{"image": name, "annotations": [{"label": "cat", "coordinates": place}]}]


def label_studio(picture: str) -> list[dict[str, Any]]:
    value = {"x": 10, "y": 30, "width": 50, "height": 50, "rotation": 0, "rectanglelabels": ["cat"]}
    result = {"type": "rectanglelabels", "from_name": "label", "value": value}
    result |= {"original_width": WIDTH, "original_height": HEIGHT}
    return [{"id": 1, "data": {"image": picture}, "annotations": [{"result": [result]}]}]


def two_splits(root: Path, make: Callable[[str, str], None]) -> None:
    for split, name in (("train", "a"), ("valid", "b")):
        make(split, name)


# ---- one function per drawn layout


def coco_folder(root: Path) -> None:
    draw(root / "images/train/a.png", root / "val2017/b.png")
    write(root / "annotations/train.json", coco("a.png"))
    write(root / "annotations/instances_val2017.json", coco("b.png"))


def coco_roboflow(root: Path) -> None:
    draw(root / "train/a.png", root / "valid/b.png")
    write(root / "train/_annotations.coco.json", coco("a.png"))
    write(root / "valid/_annotations.coco.json", coco("b.png"))


def coco_one_file(root: Path) -> None:
    draw(root / "a.png")
    write(root / "_annotations.coco.json", coco("a.png"))


def coco_at_root(root: Path) -> None:
    draw(root / "images/a.png", root / "images/b.png")
    write(root / "train.json", coco("a.png"))
    write(root / "val.json", coco("b.png"))


def coco_per_split(root: Path) -> None:
    draw(root / "train/images/a.png", root / "val/images/b.png")
    write(root / "train/annotations.json", coco("a.png"))
    write(root / "val/annotations.json", coco("b.png"))


def coco_labelstudio(root: Path) -> None:
    draw(root / "images/0f-a.png")
    write(root / "result.json", coco("images\\0f-a.png"))


def coco_fiftyone(root: Path) -> None:
    draw(root / "data/a.png")
    write(root / "labels.json", coco("a.png"))


def coco_cvat(root: Path) -> None:
    draw(root / "images/default/cam 1/ä.PNG")
    write(root / "annotations/instances_default.json", coco("cam 1/ä.PNG", attributes={"rotation": 0.0}))


def coco_lvis(root: Path) -> None:
    draw(root / "train2017/a.png", root / "val2017/b.png")
    for split, name in (("train", "train2017/a.png"), ("val", "val2017/b.png")):
        document = coco(name)
        document["images"][0] |= {"coco_url": f"http://images.invalid/{name}"}
        del document["images"][0]["file_name"]
        write(root / f"annotations/lvis_{split}.json", document)


def voc_folder(root: Path) -> None:
    draw(root / "JPEGImages/a.png", root / "JPEGImages/b.png")
    for name in "ab":
        write(root / f"Annotations/{name}.xml", voc(f"{name}.png"))
    write(root / "ImageSets/Main/train.txt", "a\n")
    write(root / "ImageSets/Main/val.txt", "b\n")


def voc_cvat(root: Path) -> None:
    draw(root / "JPEGImages/cam 1/a.png")
    write(root / "Annotations/cam 1/a.xml", voc("cam 1/a.png"))
    write(root / "ImageSets/Main/default.txt", '"cam 1/a"\n')


def voc_roboflow(root: Path) -> None:
    draw(root / "train/a_png.rf.0a.png", root / "valid/b_png.rf.0b.png")
    write(root / "train/a_png.rf.0a.xml", voc("a_png.rf.0a.png"))
    write(root / "valid/b_png.rf.0b.xml", voc("b_png.rf.0b.png"))


def voc_flat(root: Path) -> None:
    draw(root / "a.png")
    write(root / "a.xml", voc("a", size=False))  # labelImg leaves the ending out


def voc_labels_and_data(root: Path) -> None:
    draw(root / "data/a.png")
    write(root / "labels/a.xml", voc("a.png"))


def voc_small_letters(root: Path) -> None:
    draw(root / "images/a.png")
    write(root / "annotations/xmls/a.xml", voc("a.png"))


def voc_in_each_split(root: Path) -> None:
    draw(root / "train/images/a.png", root / "valid/images/b.png")
    two_splits(root, lambda split, name: write(root / split / f"annotations/{name}.xml", voc(f"{name}.png")))


def yolo_folder(root: Path) -> None:
    draw(root / "train/images/a.png", root / "valid/images/b.png")
    two_splits(root, lambda split, name: write(root / split / f"labels/{name}.txt", YOLO_LINE))
    places = "train: ../train/images\nval: ../valid/images\ntest: ../test/images\n"
    write(root / "data.yaml", f"{places}nc: 1\nnames: ['cat']\n")


def yolo_fold(root: Path) -> None:
    draw(root / "images/all/a.png", root / "images/all/b.png")
    for name in "ab":
        write(root / f"labels/all/{name}.txt", YOLO_LINE)
    for fold, (train, val) in enumerate(("ab", "ba")):
        write(root / f"fold{fold}_train.txt", f"./images/all/{train}.png\n")
        write(root / f"fold{fold}_val.txt", f"images\\all\\{val}.png\n")
        lists = f"train: fold{fold}_train.txt\nval: fold{fold}_val.txt\n"
        write(root / f"fold{fold}.yaml", f"path: .\n{lists}names: [cat]\n")


def yolo_of_another_machine(root: Path) -> None:
    draw(root / "images/train/a.png", root / "images/val/b.png")
    write(root / "labels/train/a.txt", YOLO_LINE)
    write(root / "labels/val/b.txt", YOLO_LINE)
    write(root / "val.txt", "C:\\sets\\pets\\images\\val\\b.png\n")
    places = "path: /content/pets\ntrain: /content/pets/images/train\nval: val.txt\n"
    write(root / "data.yaml", f"{places}names: {{0: cat}}\n")


def yolo_with_names(root: Path) -> None:
    draw(root / "images/a.png")
    write(root / "labels/a.txt", YOLO_LINE)
    write(root / "classes.txt", "cat\n")


def yolo_flat(root: Path) -> None:
    draw(root / "a.png")
    write(root / "a.txt", YOLO_LINE)
    write(root / "classes.txt", "cat\n")


def yolo_cvat(root: Path) -> None:
    draw(root / "obj_train_data/a.png", root / "obj_valid_data/b.png")
    write(root / "obj_train_data/a.txt", YOLO_LINE)
    write(root / "obj_valid_data/b.txt", YOLO_LINE)
    lists = "train = data/train.txt\nvalid = data/valid.txt\n"
    write(root / "obj.data", f"classes = 1\n{lists}names = data/obj.names\nbackup = backup/\n")
    write(root / "obj.names", "cat\n")
    write(root / "train.txt", "data/obj_train_data/a.png\n")
    write(root / "valid.txt", "data/obj_valid_data/b.png\n")


def yolo_roboflow_darknet(root: Path) -> None:
    draw(root / "train/a.png", root / "valid/b.png")
    two_splits(root, lambda split, name: write(root / split / f"{name}.txt", YOLO_LINE))
    two_splits(root, lambda split, _: write(root / split / "_darknet.labels", "cat\n"))


def labelme_beside(root: Path) -> None:
    draw(root / "train/a.png", root / "valid/b.png")
    two_splits(root, lambda split, name: write(root / split / f"{name}.json", labelme(f"{name}.png")))


def labelme_apart(root: Path) -> None:
    draw(root / "images/a.png", root / "images/b.png", root / "images/cam 1/a.png")
    write(root / "labels/a.json", labelme("..\\images\\a.png"))
    write(root / "labels/b.json", labelme("../images/b.png"))
    write(root / "labels/deep/er/a.json", labelme("../../../images/cam 1/a.png"))


def labelme_inside(root: Path) -> None:
    write(root / "a.json", labelme_embedded())


def createml_roboflow(root: Path) -> None:
    draw(root / "train/a.png", root / "valid/b.png")
    two_splits(
        root, lambda split, name: write(root / split / "_annotations.createml.json", createml(f"{name}.png"))
    )


def via_project(root: Path) -> None:
    draw(root / "a.png")
    write(root / "via_project.json", {"_via_settings": {}, "_via_img_metadata": via_regions("a.png")})


def via_annotations(root: Path) -> None:
    draw(root / "train/a.png", root / "val/b.png")
    write(root / "train/via_region_data.json", via_regions("a.png"))
    write(root / "val/via_region_data.json", via_regions("b.png"))


def label_studio_export(root: Path) -> None:
    draw(root / "images/0f-a b.png")
    write(root / "project-1.json", label_studio("/data/upload/1/0f-a%20b.png"))


class Drawn(NamedTuple):
    draw: Callable[[Path], None]
    row: str
    """of the table of formats"""
    kind: str
    splits: dict[str, int]
    """split → pictures, each with one cat"""
    place: str = "."
    """what is opened"""


BOTH = {"train": 1, "val": 1}
DRAWN = [
    Drawn(coco_folder, "coco", "coco", BOTH),
    Drawn(coco_roboflow, "coco_beside", "coco", BOTH),
    Drawn(coco_one_file, "coco_beside", "coco", {"train": 1}),
    Drawn(coco_at_root, "coco_loose", "coco", BOTH),
    Drawn(coco_per_split, "coco_loose", "coco", BOTH),
    Drawn(coco_labelstudio, "coco_labelstudio", "coco", {"train": 1}),
    Drawn(coco_fiftyone, "coco_fiftyone", "coco", {"train": 1}),
    Drawn(coco_cvat, "coco_cvat", "coco", {"default": 1}),
    Drawn(coco_lvis, "coco_lvis", "coco", {"lvis_train": 1, "lvis_val": 1}),
    Drawn(voc_folder, "voc", "voc", BOTH),
    Drawn(voc_cvat, "voc", "voc", {"default": 1}),
    Drawn(voc_roboflow, "voc_beside", "voc", BOTH),
    Drawn(voc_flat, "voc_beside", "voc", {"train": 1}),
    Drawn(voc_labels_and_data, "voc_near", "voc", {"train": 1}),
    Drawn(voc_small_letters, "voc_near", "voc", {"train": 1}),
    Drawn(voc_in_each_split, "voc_near", "voc", BOTH),
    Drawn(yolo_folder, "yolo", "yolo", BOTH),
    Drawn(yolo_fold, "yolo", "yolo", BOTH, "fold1.yaml"),
    Drawn(yolo_of_another_machine, "yolo", "yolo", BOTH),
    Drawn(yolo_with_names, "yolo_names", "yolo", {"train": 1}),
    Drawn(yolo_flat, "yolo_names", "yolo", {"train": 1}),
    Drawn(yolo_cvat, "yolo_darknet", "yolo", BOTH),
    Drawn(yolo_cvat, "yolo_darknet", "yolo", BOTH, "obj.data"),
    Drawn(yolo_roboflow_darknet, "yolo_darknet", "yolo", BOTH),
    Drawn(labelme_beside, "labelme", "labelme", BOTH),
    Drawn(labelme_apart, "labelme", "labelme", {"train": 3}),
    Drawn(labelme_inside, "labelme", "labelme", {"train": 1}),
    Drawn(createml_roboflow, "createml", "createml", BOTH),
    Drawn(via_project, "via", "via", {"train": 1}),
    Drawn(via_annotations, "via", "via", BOTH),
    Drawn(label_studio_export, "labelstudio", "labelstudio", {"train": 1}),
]
