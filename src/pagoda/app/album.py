"""The pictures of a data set, one by one, as pixels and annotations."""

from dataclasses import dataclass

import numpy as np

from pagoda.data.dataset import DetectionDataset
from pagoda.data.table.annotations import Annotations
from pagoda.explain.why.objects import chosen_pictures
from pagoda.pictures.read import PictureError


@dataclass(frozen=True, eq=False)
class Album:
    """A data set to leaf through.

    >>> from pagoda.data.drawn.synthetic import DrawnShapes
    >>> album = Album(DetectionDataset(DrawnShapes(3).annotations))
    >>> len(album), album.name(1), album.find("000002.png"), len(album.annotations(1))
    (3, '000002.png', 1, 1)
    """

    dataset: DetectionDataset
    """read as the model wants it"""

    def __len__(self) -> int:
        return len(self.dataset)

    def name(self, index: int) -> str:
        """As the data set has it."""
        return str(self.dataset.annotations.files[index])

    def find(self, name: str) -> int:
        """The index of the picture of this name, or of this end of it. Raises ValueError with the nearest one."""
        return chosen_pictures(self.dataset, [name.strip()])[0]

    def annotations(self, index: int) -> Annotations:
        """Of this picture alone."""
        return self.dataset.annotations.subset([index])

    def pixels(self, index: int) -> np.ndarray:
        """(H, W, 3) RGB uint8, or RGBA. Raises PictureError, which names the picture as the data set does."""
        try:
            return self.dataset.pixels(index)
        except PictureError as error:
            path = str(self.dataset.annotations.path(index))
            raise PictureError(str(error).replace(path, self.name(index))) from error
