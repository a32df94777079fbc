#!/usr/bin/env bash
# sahi 0.12.8: slice_coco, which cuts a COCO data set into tiles, reads "iscrowd" and writes 0 for every annotation. A
# region that stands for many objects, which COCO's scores ignore and training leaves alone, becomes one object in each
# tile that it reaches into; detections of those who stand in it become false alarms. Nothing is said of that: a line
# tells that masks of run lengths, which crowds have, are skipped. Objects of which a box alone is known get a rectangle
# of whole pixels as their mask.
#
# Output seen:  whole picture: crowd regions [1, 0], AP 1.00 of who finds the object and three in the crowd
#               two tiles: crowd regions [0, 0, 0], AP 0.08 of the same boxes cut by tile
#               the object of a box alone has the mask [[20, 10, 20, 30, 41, 30, 41, 10]]
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet sahi==0.12.8 pycocotools==2.0.11 opencv-python-headless==5.0.0.93 numpy==2.4.6
cd "$folder"
cat > use.py <<'PYTHON'
import io
import json
from contextlib import redirect_stderr, redirect_stdout

import numpy as np
from PIL import Image
from pycocotools import mask
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from sahi.slicing import slice_coco

Image.new("RGB", (100, 80)).save("street.png")
crowd = np.zeros((80, 100), np.uint8, order="F")
crowd[20:60, 10:60] = 1
flat = np.concatenate([[0], crowd.ravel(order="F"), [2]])
counts = np.diff(np.flatnonzero(np.diff(flat, prepend=-1) != 0)).tolist()
counts[0] -= 1
regions = [
    {"id": 1, "image_id": 1, "category_id": 1, "bbox": [10, 20, 50, 40], "area": 2000, "iscrowd": 1,
     "segmentation": {"size": [80, 100], "counts": counts}},
    {"id": 2, "image_id": 1, "category_id": 1, "bbox": [70.4, 10.4, 20.8, 20.2], "area": 420, "iscrowd": 0,
     "segmentation": []},
]  # fmt: skip
assert mask.decode(mask.frPyObjects(regions[0]["segmentation"], 80, 100)).tolist() == crowd.tolist()
whole = {
    "images": [{"id": 1, "file_name": "street.png", "width": 100, "height": 80}],
    "categories": [{"id": 1, "name": "person"}],
    "annotations": regions,
}
json.dump(whole, open("whole.json", "w"))
with redirect_stderr(io.StringIO()):
    tiles, _ = slice_coco(
        "whole.json", ".", output_coco_annotation_file_name="tiles", output_dir="tiles", slice_height=80,
        slice_width=50, overlap_height_ratio=0, overlap_width_ratio=0,
    )  # fmt: skip


def score(truth: dict, found: list[dict]) -> float:
    with redirect_stdout(io.StringIO()):
        coco = COCO()
        coco.dataset = truth
        coco.createIndex()
        scored = COCOeval(coco, coco.loadRes(found), "bbox")
        scored.evaluate()
        scored.accumulate()
        scored.summarize()
    return float(scored.stats[0])


def boxes(offsets: dict[int, int]) -> list[dict]:
    """Three who stand in the crowd, then the object; by the tile in which they are."""
    places = [(12.0, 25.0, 10.0, 25.0), (25.0, 30.0, 10.0, 25.0), (38.0, 28.0, 10.0, 25.0), (70.4, 10.4, 20.8, 20.2)]
    return [
        {"image_id": number, "category_id": 1, "bbox": [x - left, y, w, h], "score": 0.9 - 0.1 * (y < 20)}
        for x, y, w, h in places
        for number, left in offsets.items()
        if left <= x < left + (100 if len(offsets) == 1 else 50)
    ]


before, after = score(whole, boxes({1: 0})), score(tiles, boxes({1: 0, 2: 50}))
kinds = [[each["iscrowd"] for each in document["annotations"]] for document in (whole, tiles)]
print(f"whole picture: crowd regions {kinds[0]}, AP {before:.2f} of who finds the object and three in the crowd")
print(f"two tiles: crowd regions {kinds[1]}, AP {after:.2f} of the same boxes cut by tile")
rectangle = tiles["annotations"][-1]["segmentation"]
print("the object of a box alone has the mask", rectangle)
assert kinds == [[1, 0], [0, 0, 0]] and round(before, 2) == 1 and round(after, 2) == 0.08
assert rectangle == [[20, 10, 20, 30, 41, 30, 41, 10]]
PYTHON
venv/bin/python use.py
