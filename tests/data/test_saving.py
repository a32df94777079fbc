"""What a saved COCO file holds, of a data set that is somebody's own."""

import json
from pathlib import Path

import pytest
import torch
from torch import Tensor

from pagoda.data.saving import write_coco_folder
from pagoda.data.table.assembly import tabulate
from pagoda.ops.rle import encode_masks
from pagoda.structures.instances import Targets
from pagoda.structures.labels import LabelMap

LABELS = LabelMap(("cat", "dog"), (3, 8))


def targets(count: int, **columns) -> Targets:
    boxes = torch.tensor([[1.0, 2.0, 4.5, 6.0], [0.1, 0.2, 0.7, 9.0]])[:count]
    labels, ignored = torch.tensor([1, 0])[:count], torch.tensor([False, True])[:count]
    return Targets(boxes, labels, (10, 12), ignored, **columns)


class OwnPictures:
    """Three pictures: with masks, with keypoints, with nothing."""

    label_map = LABELS

    def __init__(self) -> None:
        self.masks = torch.zeros(2, 10, 12, dtype=torch.bool)
        self.masks[0, 2:6, 1:4] = True

    def __len__(self) -> int:
        return 3

    def picture(self, index: int) -> Tensor:
        return torch.full((3, 10, 12), index, dtype=torch.uint8)

    def targets(self, index: int) -> Targets:
        if index == 0:
            return targets(2, masks=self.masks)
        if index == 1:
            points, visibility = torch.tensor([[[1.5, 2.5], [0.0, 0.0]]]), torch.tensor([[2, 0]])
            return targets(1, keypoints=points, visibility=visibility, areas=torch.tensor([7.5]))
        return targets(0)


def test_entries_of_a_saved_file(tmp_path: Path) -> None:
    own = OwnPictures()
    document = json.loads(write_coco_folder(own, tmp_path).read_text())
    assert list(document) == ["info", "images", "categories", "annotations"] and document["info"] == {}
    assert document["images"][1] == {"id": 2, "file_name": "000002.png", "height": 10, "width": 12}
    assert len(document["images"]) == 3
    assert [(each["id"], each["name"]) for each in document["categories"]] == [(3, "cat"), (8, "dog")]
    assert document["categories"][0]["keypoints"] == ["point_0", "point_1"]
    texts = encode_masks(own.masks.numpy())
    x, y, right, bottom = own.targets(0).boxes[1].double().tolist()
    box = [x, y, right - x, bottom - y]
    first, second, third = document["annotations"]
    assert first == {
        "id": 1, "image_id": 1, "category_id": 8, "bbox": [1.0, 2.0, 3.5, 4.0], "area": 14.0, "iscrowd": 0,
        "segmentation": {"size": [10, 12], "counts": texts[0]},
    }  # fmt: skip
    assert second == {
        "id": 2, "image_id": 1, "category_id": 3, "bbox": box, "area": box[2] * box[3], "iscrowd": 1,
        "segmentation": {"size": [10, 12], "counts": texts[1]},
    }  # fmt: skip
    assert third == {
        "id": 3, "image_id": 2, "category_id": 8, "bbox": [1.0, 2.0, 3.5, 4.0], "area": 7.5, "iscrowd": 0,
        "keypoints": [1.5, 2.5, 2.0, 0.0, 0.0, 0.0], "num_keypoints": 1,
    }  # fmt: skip


def test_a_table_needs_names_and_ids() -> None:
    with pytest.raises(ValueError, match="picture 0 needs a file name and an image id"):
        tabulate([targets(1)], label_map=LABELS, root=Path(), source="here")


def test_a_box_that_is_not_finite_is_refused_by_its_file() -> None:
    broken = targets(2, file="a.png", image_id=1)
    broken.boxes[1, 2] = float("nan")
    with pytest.raises(ValueError, match=r"a\.png: box 1 must be made of finite numbers, got .*nan"):
        tabulate([broken], label_map=LABELS, root=Path(), source="here")
