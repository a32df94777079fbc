#!/usr/bin/env bash
# Datumaro 1.13.12: DOTA (rotated boxes) exported to COCO, YOLO, VOC, LabelMe or Open Images becomes a data set of all
# pictures and no object. Neither an exception nor a warning says so, nor does logging at INFO; COCO gets
# image_info_train.json instead of instances_train.json, and YOLO an empty text file, which stands for a picture without
# objects. The polygons, or the upright boxes around them, would fit; DOTA itself and CVAT are written in full. Counts
# compared before and after a conversion have to be of annotations: those of items agree.
#
# Output seen:  read: 1 item, 2 rotated boxes
#               coco 1 item 0 annotations, yolo 1 item 0 annotations, voc 1 item 0 annotations,
#               label_me 1 item 0 annotations, open_images 1 item 0 annotations; dota 1 item 2 annotations, cvat 1 item 2 annotations
#               said while exporting the five: nothing; label file of YOLO: 0 bytes
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet datumaro==1.13.12 numpy==2.4.6 pillow==12.3.0
cd "$folder"
venv/bin/python - <<'PYTHON'
import contextlib
import io
import logging
import os
import warnings
from pathlib import Path

import datumaro
from PIL import Image

for part in ("images", "labelTxt"):
    Path("dota/train", part).mkdir(parents=True)
Image.new("RGB", (300, 200)).save("dota/train/images/a.png")
Path("dota/train/labelTxt/a.txt").write_text(
    "imagesource:GoogleEarth\ngsd:0.1\n"
    "100 50 180 50 180 90 100 90 plane 0\n"
    "50 50 90 90 70 110 30 70 ship 0\n"
)
dataset = datumaro.Dataset.import_from("dota", "dota")
kinds = [annotation.type.name for item in dataset for annotation in item.annotations]
print(f"read: {len(dataset)} item, {len(kinds)} rotated boxes")
assert kinds == ["rotated_bbox"] * 2

said = io.StringIO()
logging.basicConfig(stream=said, level=logging.INFO, force=True)
logging.captureWarnings(True)
warnings.simplefilter("always")


def export(name: str, read_as: str = "") -> tuple[int, int]:
    """Items and annotations that Datumaro itself finds in what it has written."""
    dataset.export(name, name, save_media=True)
    logging.disable()
    with contextlib.redirect_stderr(io.StringIO()):
        back = datumaro.Dataset.import_from(os.path.abspath(name), read_as or name)
    logging.disable(logging.NOTSET)
    return len(back), sum(len(item.annotations) for item in back)


read_as = {"coco": "coco_image_info", "yolo": "", "voc": "", "label_me": "", "open_images": ""}
lost = {name: export(name, name_back) for name, name_back in read_as.items()}
heard = said.getvalue()
whole = {name: export(name) for name in ("dota", "cvat")}
lines = [", ".join(f"{n} {i} item {a} annotations" for n, (i, a) in found.items()) for found in (lost, whole)]
print("; ".join(lines))
empty = Path("yolo/obj_train_data/a.txt").stat().st_size
print(f"said while exporting the five: {heard or 'nothing'}; label file of YOLO: {empty} bytes")
assert set(lost.values()) == {(1, 0)} and set(whole.values()) == {(1, 2)} and heard == "" and empty == 0
assert not Path("coco/annotations/instances_train.json").exists()
PYTHON
