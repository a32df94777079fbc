"""Pictures and targets belong together, or it is said why not."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from pagoda.data.dataset import DetectionDataset
from pagoda.data.formats.reader import open_annotations
from pagoda.data.table.annotations import Annotations
from pagoda.data.table.assembly import ImageColumns, ObjectColumns, assemble
from pagoda.pictures.read import PictureError
from pagoda.structures.labels import LabelMap


def annotate(root: Path, file: str, size: tuple[int, int]) -> Annotations:
    objects = ObjectColumns()
    objects.add(0, (1, 1, 3, 3), 0, False)
    images = ImageColumns([file], [1], [size])
    return assemble(images, objects, label_map=LabelMap.from_names(["cat"]), root=root, source="here")


def test_items_are_pictures_with_targets(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (5, 8, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    dataset = DetectionDataset(annotate(tmp_path, "a.png", (5, 8)))
    picture, targets = dataset[0]
    assert np.array_equal(picture.permute(1, 2, 0).numpy(), pixels)
    assert (
        picture.dtype == torch.uint8 and picture.is_contiguous() and targets.boxes.tolist() == [[1, 1, 4, 4]]
    )
    assert len(dataset) == 1 and dataset.label_map.names == ("cat",)
    flipped = DetectionDataset(dataset.annotations, lambda picture, targets: (picture.flip(2), targets))
    assert torch.equal(flipped[0][0], picture.flip(2)) and torch.equal(flipped.picture(0), picture)


def test_another_size_is_refused(tmp_path: Path) -> None:
    Image.new("RGB", (8, 5)).save(tmp_path / "a.png")
    with pytest.raises(PictureError, match=r"a\.png is 5×8 .* annotated for 10×16 in here; restore"):
        DetectionDataset(annotate(tmp_path, "a.png", (10, 16)))[0]
    with pytest.raises(PictureError, match=r"a\.png is 5×8 .* annotated for 8×5 in here; restore"):
        DetectionDataset(annotate(tmp_path, "a.png", (8, 5)))[0]


def test_boxes_of_the_unrotated_picture_are_recognised(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (8, 5)).save(tmp_path / "a.jpg", exif=exif)
    assert DetectionDataset(annotate(tmp_path, "a.jpg", (8, 5)))[0][0].shape == (3, 8, 5)
    with pytest.raises(PictureError, match=r"is 8×5 .* for 5×8 in here: the size before its EXIF rotation"):
        DetectionDataset(annotate(tmp_path, "a.jpg", (5, 8)))[0]


@pytest.mark.parametrize(
    ("name", "split"), [("nuclei", "val"), ("coco_tiny", "train"), ("voc_toy/voc", None)]
)
def test_real_pictures_have_their_annotated_size(shared_data: Path, name: str, split: str | None) -> None:
    dataset = DetectionDataset(open_annotations(shared_data / name, split))
    for index in range(len(dataset)):
        picture, targets = dataset[index]
        assert picture.shape == (3, *targets.image_size)
