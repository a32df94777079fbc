"""Annotations and picture files as (picture, targets) pairs."""

from collections.abc import Callable
from typing import Literal

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from pagoda.data.table.annotations import Annotations
from pagoda.pictures.read import PictureError, read_picture, stored_size
from pagoda.plain import checked
from pagoda.structures.instances import Targets
from pagoda.structures.labels import LabelMap

Transform = Callable[[Tensor, Targets], tuple[Tensor, Targets]]


@checked
class DetectionDataset(Dataset):
    """Item i is (picture (3, H, W) uint8 RGB, its `Targets`), after `transform` where there is one.

    With 4 `channels` pictures are RGBA, for networks that read the fourth.

    A picture that cannot be read, or is not of its annotated size, raises `PictureError`.

    >>> from tempfile import TemporaryDirectory
    >>> from pagoda.data.drawn.synthetic import DrawnShapes
    >>> from pagoda.data.formats.reader import open_annotations
    >>> from pagoda.data.saving import write_coco_folder
    >>> with TemporaryDirectory() as folder:
    ...     shapes = DrawnShapes(2, (32, 48))
    ...     _ = write_coco_folder(shapes, folder)
    ...     dataset = DetectionDataset(open_annotations(folder))
    ...     picture, targets = dataset[0]
    >>> len(dataset), tuple(picture.shape), torch.equal(picture, shapes.picture(0))
    (2, (3, 32, 48), True)
    """

    def __init__(
        self, annotations: Annotations, transform: Transform | None = None, *, channels: Literal[3, 4] = 3
    ) -> None:
        self.annotations = annotations
        self.transform = transform
        self.channels = channels

    @property
    def label_map(self) -> LabelMap:
        return self.annotations.label_map

    def __len__(self) -> int:
        return len(self.annotations)

    def __getitem__(self, index: int) -> tuple[Tensor, Targets]:
        picture, targets = self.picture(index), self.targets(index)
        return (picture, targets) if self.transform is None else self.transform(picture, targets)

    def picture(self, index: int) -> Tensor:
        """(3, H, W) uint8 RGB as stored, before any transform; with 4 channels RGBA.

        Raises PictureError as the class says.
        """
        return torch.from_numpy(self.pixels(index)).permute(2, 0, 1).contiguous()

    def pixels(self, index: int) -> np.ndarray:
        """The same as (H, W, 3) uint8, or 4 channels, as it is read."""
        pixels = read_picture(self.annotations.path(index), channels=self.channels)
        annotated_height, annotated_width = self.annotations.sizes[index].tolist()
        height, width, _ = pixels.shape
        if (height, width) != (annotated_height, annotated_width):
            raise PictureError(self._wrong_size(index, (height, width), (annotated_height, annotated_width)))
        return pixels

    def boxes_only(self) -> "DetectionDataset":
        """The same without masks and keypoints, so that none are decoded."""
        return DetectionDataset(self.annotations.boxes_only(), self.transform, channels=self.channels)

    def targets(self, index: int) -> Targets:
        """What is annotated in the picture, before any transform."""
        return self.annotations.targets(index)

    def _wrong_size(self, index: int, found: tuple[int, int], annotated: tuple[int, int]) -> str:
        path = self.annotations.path(index)
        message = (
            f"{path} is {found[0]}×{found[1]} (height×width), but its boxes were annotated"
            f" for {annotated[0]}×{annotated[1]} in {self.annotations.source}"
        )
        if found == annotated[::-1] and stored_size(path) == annotated:
            return (
                f"{message}: the size before its EXIF rotation. Remove the EXIF orientation from the file,"
                " or annotate the upright picture"
            )
        return f"{message}; restore the annotated picture or scale the boxes"
