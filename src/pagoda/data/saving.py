"""Any data set of (picture, targets) saved as a COCO folder."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

import torch
from PIL import Image
from torch import Tensor

from pagoda.data.table.annotations import categories_to_coco
from pagoda.files.atomic import inside, write_atomically, writing
from pagoda.ops.rle import as_rle, encode_masks
from pagoda.structures.instances import Targets
from pagoda.structures.labels import LabelMap
from pagoda.structures.skeleton import Skeleton


class _Readable(Protocol):
    label_map: LabelMap

    def __len__(self) -> int: ...
    def picture(self, index: int) -> Tensor: ...
    def targets(self, index: int) -> Targets: ...


def write_coco_folder(
    dataset: _Readable, path: str | Path, *, split: str = "train", ending: str = "png"
) -> Path:
    """Save pictures and targets as images/<split>/ and annotations/<split>.json; returns the JSON file.

    Masks are written as run lengths, keypoints where there are any. Raises FileExistsError rather than
    replace a split, ValueError for one that would lie outside `path`. With `ending` "jpg" the pixels lose a little.
    """
    path = Path(path)
    json_path, pictures = inside(path, "annotations", f"{split}.json"), inside(path, "images", split)
    if json_path.exists() or (pictures.is_dir() and any(pictures.iterdir())):
        there = json_path if json_path.exists() else f"a folder {pictures} with files"
        raise FileExistsError(f"{there} is there already; remove it or choose another split")
    pictures.mkdir(parents=True, exist_ok=True)
    images: list[dict] = []
    annotations: list[dict] = []
    num_keypoints = 0
    for index in range(len(dataset)):
        targets = dataset.targets(index)
        height, width = targets.image_size
        file = f"{index + 1:06d}.{ending}"
        pixels = dataset.picture(index).permute(1, 2, 0).numpy()
        with writing(pictures / file):
            Image.fromarray(pixels).save(pictures / file, quality=95)  # of no effect on PNG
        images.append({"id": index + 1, "file_name": file, "height": height, "width": width})
        for entry in _coco_objects(targets, dataset.label_map):
            annotations.append({"id": len(annotations) + 1, "image_id": index + 1, **entry})
        num_keypoints = num_keypoints if targets.keypoints is None else targets.keypoints.shape[1]
    label_map = dataset.label_map
    if num_keypoints and label_map.skeleton is None:
        skeleton = Skeleton(tuple(f"point_{number}" for number in range(num_keypoints)))
        label_map = replace(label_map, skeleton=skeleton)
    categories = categories_to_coco(label_map)
    document = {"info": {}, "images": images, "categories": categories, "annotations": annotations}
    text = json.dumps(document)
    return write_atomically(json_path, lambda temporary: temporary.write_text(text, encoding="utf-8"))


def _coco_objects(targets: Targets, label_map: LabelMap) -> list[dict[str, Any]]:
    """The objects of one picture as COCO entries without ids."""
    boxes = targets.boxes.double().tolist()
    texts = [] if targets.masks is None else encode_masks(targets.masks.numpy())
    entries: list[dict[str, Any]] = []
    for row, (x1, y1, x2, y2) in enumerate(boxes):
        entry = {
            "category_id": label_map.category_ids[int(targets.labels[row])],
            "bbox": [x1, y1, x2 - x1, y2 - y1],
            "area": (x2 - x1) * (y2 - y1) if targets.areas is None else float(targets.areas[row]),
            "iscrowd": int(targets.ignored[row]),
        }
        if targets.masks is not None:
            entry["segmentation"] = as_rle(texts[row], targets.image_size)
        if targets.keypoints is not None and targets.visibility is not None:
            triples = torch.cat([targets.keypoints[row], targets.visibility[row, :, None]], 1)
            entry["keypoints"] = triples.flatten().tolist()
            entry["num_keypoints"] = int((targets.visibility[row] > 0).sum())
        entries.append(entry)
    return entries
