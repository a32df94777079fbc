"""Healthy drawn data, and copies of it that tests may damage: of boxes alone, and with masks and keypoints."""

import json
import shutil
from pathlib import Path

import pytest

from pagoda.data.drawn.synthetic import DrawnShapes
from pagoda.data.saving import write_coco_folder


@pytest.fixture(scope="session")
def healthy(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("healthy")
    for split, count, seed in (("train", 6, 1), ("val", 4, 3)):
        write_coco_folder(DrawnShapes(count, (96, 128), seed, empty_share=0), folder, split=split)
    return folder


class CocoFolder:
    """A copy of the healthy data that can be damaged."""

    def __init__(self, root: Path, *, boxes_only: bool) -> None:
        self.root = root
        self.documents = {
            split: json.loads((root / "annotations" / f"{split}.json").read_text())
            for split in ("train", "val")
        }
        self.train = self.documents["train"]
        self.val = self.documents["val"]
        for document in self.documents.values() if boxes_only else ():
            for entry in document["annotations"]:
                for key in ("segmentation", "keypoints", "num_keypoints"):
                    del entry[key]
            document["categories"] = [{"id": c["id"], "name": c["name"]} for c in document["categories"]]

    def picture(self, number: int, split: str = "train") -> Path:
        return self.root / "images" / split / f"{number:06d}.png"

    def save(self) -> None:
        for split, document in self.documents.items():
            (self.root / "annotations" / f"{split}.json").write_text(json.dumps(document))

    def image(self, number: int) -> dict:
        return next(image for image in self.train["images"] if image["id"] == number)

    def add(self, box: list, **fields) -> None:
        """An annotation of the first train picture."""
        number = max(entry["id"] for entry in self.train["annotations"]) + 1
        entry = {"id": number, "image_id": 1, "category_id": 1, "bbox": box, "iscrowd": 0}
        self.train["annotations"].append(entry | fields)


@pytest.fixture
def coco(healthy, tmp_path) -> CocoFolder:
    shutil.copytree(healthy, tmp_path / "data")
    return CocoFolder(tmp_path / "data", boxes_only=True)


@pytest.fixture
def coco_with_shapes(healthy, tmp_path) -> CocoFolder:
    shutil.copytree(healthy, tmp_path / "data")
    return CocoFolder(tmp_path / "data", boxes_only=False)
