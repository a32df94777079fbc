"""Small whole data sets with all that a format can say: masks, keypoints, turned boxes, identities, ignored regions."""

import base64
import json
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from drawn_layouts import HEIGHT, WIDTH, coco, draw, label_studio, labelme, voc, write
from PIL import Image

from pagoda.ops.rle import encode_masks
from pagoda.structures.posetrack_skeletons import POSETRACK_17

CORNERS = [4, 6, 24, 6, 24, 16]
"""x, y, … of a triangle"""
POINTS = ["nose", "left_eye", "right_eye"]
MOT_ROWS = "1,7,11,6,10,9,1,1,1\n2,7,12,6,10,9,1,1,1\n3,7,12,7,10,9,1,1,1\n3,8,2,3,10,9,0,1,1\n"
FOUND_ROWS = "1,7,11,6,10,9,0.7,-1,-1,-1\n2,7,12,6,10,9,0.7,-1,-1,-1\n3,2,12,7,10,9,0.7,-1,-1,-1\n"
"""of three frames"""


def coco_with_shapes(root: Path) -> None:
    """A polygon, run lengths as numbers and as text, a crowd, a turned box; keypoints."""
    draw(root / "images/a.png", root / "images/b.png")
    document = coco("a.png", "b.png", area=200.0, keypoints=[5, 7, 2, 8, 7, 1, 0, 0, 0], num_keypoints=2)
    first, second = document["annotations"]
    first["segmentation"] = [CORNERS, [1, 1, 3, 1, 3, 3, 1, 3]]
    second["segmentation"] = {"size": [HEIGHT, WIDTH], "counts": [86, 10, 704]}
    mask = np.zeros((1, HEIGHT, WIDTH), bool)
    mask[:, 6:16, 4:24] = True
    text = {"size": [HEIGHT, WIDTH], "counts": encode_masks(mask)[0]}
    third = {**first, "id": 3, "iscrowd": 1, "segmentation": text}
    turned = {key: value for key, value in second.items() if key != "segmentation"}
    turned |= {"id": 4, "attributes": {"rotation": 30.0}, "ignore": 1}
    document["annotations"] += [third, turned]
    document["categories"][0] |= {"keypoints": POINTS, "skeleton": [[1, 2], [1, 3]], "flip_pairs": [[1, 2]]}
    write(root / "annotations/train.json", document)


def coco_of_poses(root: Path) -> None:
    coco_with_shapes(root)
    (root / "annotations/train.json").rename(root / "annotations/person_keypoints_val2017.json")


def voc_with_attributes(root: Path) -> None:
    draw(root / "JPEGImages/a.png")
    turned = "<attributes><attribute><name>rotation</name><value>30</value></attribute></attributes>"
    more = f"<difficult>1</difficult><truncated>0</truncated><pose>Left</pose>{turned}</object>"
    write(root / "Annotations/a.xml", voc("a.png").replace("</object>", more))


def yolo_polygons(root: Path) -> None:
    draw(root / "images/train/a.png", root / "images/val/b.png")
    write(root / "labels/train/a.txt", "0 0.1 0.3 0.6 0.3 0.6 0.8\n1 0.5 0.5 0.2 0.2\n")
    write(root / "labels/val/b.txt", "0 0.1 0.3 0.6 0.3 0.6 0.8\n")
    write(
        root / "data.yaml", "path: .\ntrain: images/train\nval: images/val\nnc: 2\nnames: {0: cat, 1: dog}\n"
    )


def yolo_poses(root: Path) -> None:
    draw(root / "images/a.png")
    write(root / "labels/a.txt", "0 0.35 0.55 0.5 0.5 0.3 0.4 2 0.4 0.5 1 0 0 0\n")
    points = f"kpt_shape: [3, 3]\nflip_idx: [0, 2, 1]\nkpt_names: {{0: [{', '.join(POINTS)}]}}\n"
    write(root / "data.yaml", f"train: images\nnames: [cat]\n{points}")


def labelme_of_shapes(root: Path) -> None:
    draw(root / "a.png")
    png = BytesIO()
    Image.fromarray(np.full((4, 6), 255, np.uint8)).save(png, "png")
    mask = base64.b64encode(png.getvalue()).decode()
    shapes = [
        {"label": "dog", "points": [[1, 1], [9, 1], [9, 9]], "shape_type": "polygon", "group_id": 1},
        {"label": "eye", "points": [[3, 2]], "shape_type": "point", "group_id": 1},
        {"label": "cat", "points": [[20, 10], [24, 10]], "shape_type": "circle", "flags": {"difficult": True}},
        {"label": "cat", "points": [[4, 4], [9, 7]], "shape_type": "mask", "mask": mask},
        {"label": "line", "points": [[4, 4], [9, 7]], "shape_type": "line", "group_id": None},
    ]  # fmt: skip
    write(root / "a.json", labelme("a.png", *shapes))


def via_of_shapes(root: Path) -> None:
    draw(root / "a.png")
    shapes = [
        {"name": "polygon", "all_points_x": [4, 24, 24], "all_points_y": [6, 6, 16]},
        {"name": "circle", "cx": 14, "cy": 10, "r": 4},
        {"name": "ellipse", "cx": 14, "cy": 10, "rx": 4, "ry": 3, "theta": 0.5},
        {"name": "point", "cx": 14, "cy": 10},
    ]
    values = ({"class": "cat"}, {"class": {"cat": True, "dog": False}}, {"class": "dog", "age": "3"}, {})
    regions = [
        {"shape_attributes": shape, "region_attributes": each}
        for shape, each in zip(shapes, values, strict=True)
    ]
    picture = {"filename": "a.png", "size": 99, "regions": regions, "file_attributes": {}}
    write(root / "via_project.json", {"_via_settings": {}, "_via_img_metadata": {"a.png99": picture}})


def label_studio_of_shapes(root: Path) -> None:
    draw(root / "a.png")
    tasks = label_studio("a.png")
    (first,) = tasks[0]["annotations"][0]["result"]
    values = {
        "polygonlabels": {"points": [[10, 10], [20, 10], [20, 30]]},
        "ellipselabels": {"x": 50, "y": 50, "radiusX": 10, "radiusY": 10, "rotation": 20},
        "rectanglelabels": {"x": 50, "y": 50, "width": 20, "height": 10, "rotation": 30},
        "brushlabels": {"rle": [1]},
    }
    for kind, value in values.items():
        tasks[0]["annotations"][0]["result"].append(
            {**first, "type": kind, "value": {**value, kind: ["dog"]}}
        )
    write(root / "project-1.json", tasks)


def csv_lists(root: Path) -> None:
    """YOLO whose splits are lists, of several files."""
    draw(root / "images/a.png", root / "images/b.png", root / "images/c.png")
    for name in "abc":
        write(root / f"labels/{name}.txt", "0 0.35 0.55 0.5 0.5\n")
    write(root / "one.txt", "images/a.png\n./images/b.png\n")
    write(root / "two.txt", "images/c.png\n")
    write(root / "data.yaml", "path: .\ntrain: [one.txt, two.txt]\nval: two.txt\nnames:\n  - cat\n")


class Rich(NamedTuple):
    draw: Callable[[Path], None]
    place: str = "."
    """what is opened"""


RICH = [
    Rich(coco_with_shapes),
    Rich(coco_of_poses),
    Rich(coco_with_shapes, "annotations/train.json"),
    Rich(voc_with_attributes),
    Rich(yolo_polygons),
    Rich(yolo_poses),
    Rich(csv_lists, "data.yaml"),
    Rich(labelme_of_shapes),
    Rich(via_of_shapes),
    Rich(label_studio_of_shapes),
]


# ---- videos


def picture_names() -> list[str]:
    return [f"images/train/walk/{number:06d}.png" for number in (1, 2, 3)]


def posetrack_17(*, is_truth: bool = True) -> dict[str, Any]:
    score = {} if is_truth else {"score": [0.6]}
    points = [{"id": [joint], "x": [5 + joint], "y": [4 + joint], **score} for joint in range(15)]
    person = {
        "track_id": [3],
        "annopoints": [{"point": points}],
        "x1": [2],
        "y1": [2],
        "x2": [9],
        "y2": [9],
        **score,
    }
    region = {"point": [{"x": [30], "y": [2]}, {"x": [39], "y": [2]}, {"x": [39], "y": [9]}]}
    labelled = {"is_labeled": [1], "ignore_regions": [region]} if is_truth else {}
    return {
        "annolist": [
            {"image": [{"name": name}], "annorect": [person], **labelled} for name in picture_names()
        ]
    }


def posetrack_18(*, is_truth: bool = True) -> dict[str, Any]:
    images = [
        {"id": number, "file_name": name, "frame_id": number, "vid_id": "7", "height": HEIGHT, "width": WIDTH,
         "is_labeled": True, "nframes": 3, "ignore_regions_x": [[30, 39, 39]], "ignore_regions_y": [[2, 2, 9]]}
        for number, name in enumerate(picture_names(), 1)
    ]  # fmt: skip
    triples = [value for joint in range(17) for value in (5 + joint, 4 + joint / 2, 1 if is_truth else 0.6)]
    people = [
        {"id": number, "image_id": number, "track_id": 3, "category_id": 1, "keypoints": triples,
         "bbox": [4, 3, 20, 12], "bbox_head": [4, 3, 6, 5]}
        for number in (1, 2, 3)
    ]  # fmt: skip
    scores = {} if is_truth else {"scores": [0.6] * 17, "score": 0.5}
    names = [{"id": 1, "name": "person", "keypoints": list(POSETRACK_17.names), "skeleton": [[1, 2]]}]
    return {"images": images, "annotations": [each | scores for each in people], "categories": names}


def draw_posetrack(root: Path, content: dict[str, Any]) -> None:
    draw(*(root / name for name in picture_names()))
    write(root / "annotations/train/walk.json", json.dumps(content))


def predictions() -> dict[str, Any]:
    thing = {"name": "pedestrian", "label": 0, "score": 0.5, "box_xyxy": [11, 6, 21, 15], "track_id": 3}
    rows = [
        {"file": f"walk/{number}.png", "image_id": None, "image_size": [HEIGHT, WIDTH], "objects": [thing]}
        for number in (1, 2, 3)
    ]
    return {"predictions": rows, "failed": []}
