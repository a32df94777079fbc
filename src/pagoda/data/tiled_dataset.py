"""Tiles of pictures as a data set: a picture is read once for those of its tiles that come near one another."""

from threading import Lock
from typing import Literal

import numpy as np

from pagoda.data.dataset import DetectionDataset, Transform
from pagoda.data.loading import Parts
from pagoda.data.tiles import Tiles
from pagoda.plain import checked

KEPT_BYTES = 2**28
"""Of pixels of whole pictures that are kept for their next tiles, by each process that reads; one picture at least"""


@checked
class TiledDataset(DetectionDataset):
    """Item i is tile i: its pixels (3, h, w) uint8 RGB and what is seen there of the objects.

    `Targets.file` names the picture and where in it the tile's left upper corner lies. A picture that cannot be read,
    or is not of its annotated size, raises `PictureError` for each of its tiles.

    >>> import torch
    >>> from tempfile import TemporaryDirectory
    >>> from pagoda.data.drawn.synthetic import DrawnShapes
    >>> from pagoda.data.formats.reader import open_annotations
    >>> from pagoda.data.saving import write_coco_folder
    >>> from pagoda.data.tiles import Tiling, cut_annotations
    >>> with TemporaryDirectory() as folder:
    ...     shapes = DrawnShapes(2, (64, 96))
    ...     _ = write_coco_folder(shapes, folder)
    ...     tiles = TiledDataset(cut_annotations(open_annotations(folder), Tiling(size=64)))
    ...     picture, targets = tiles[1]
    >>> len(tiles), torch.equal(picture, shapes.picture(0)[:, :, 32:]), targets.file
    (4, True, '000001.png at 32, 0')
    """

    def __init__(
        self,
        tiles: Tiles,
        transform: Transform | None = None,
        *,
        channels: Literal[3, 4] = 3,
        recent: "RecentPictures | None" = None,
    ) -> None:
        super().__init__(tiles.annotations, transform, channels=channels)
        self.tiles = tiles
        self.recent = (
            RecentPictures(DetectionDataset(tiles.pictures, channels=channels)) if recent is None else recent
        )
        """shared by data sets of the same pictures"""

    @property
    def parts(self) -> Parts:
        """How tiles are to be drawn so that few pictures are read twice, the same on every machine."""
        return Parts(self.tiles.owners, self.recent.count)

    def pixels(self, index: int) -> np.ndarray:
        """(h, w, 3) uint8, or 4 channels: the tile before any transform."""
        left, top, right, bottom = self.tiles.windows[index].tolist()
        return self.recent.pixels(int(self.tiles.owners[index]))[top:bottom, left:right].copy()

    def boxes_only(self) -> "TiledDataset":
        """The same without masks and keypoints; pictures that are kept are kept for both."""
        return TiledDataset(
            self.tiles.boxes_only(), self.transform, channels=self.channels, recent=self.recent
        )


class RecentPictures:
    """The pictures of a data set, of which the last ones stay in memory: as many as `KEPT_BYTES` hold."""

    def __init__(self, dataset: DetectionDataset) -> None:
        self.dataset = dataset
        largest = int(dataset.annotations.sizes.astype(np.int64).prod(1).max(initial=1)) * dataset.channels
        self.count = max(KEPT_BYTES // largest, 1)
        self._kept: dict[int, np.ndarray] = {}
        self._lock = Lock()  # one thread may read ahead while another looks

    def pixels(self, index: int) -> np.ndarray:
        """(H, W, 3) uint8, or 4 channels; not to be written into. Raises PictureError as `DetectionDataset` does."""
        with self._lock:
            pixels = self._kept.pop(index, None)
            if pixels is None:
                pixels = self.dataset.pixels(index)
            self._kept[index] = pixels  # the last one stands at the end
            if len(self._kept) > self.count:
                del self._kept[next(iter(self._kept))]
            return pixels

    def __reduce__(self) -> tuple:
        """Without the pixels: every process that reads keeps its own."""
        return RecentPictures, (self.dataset,)
