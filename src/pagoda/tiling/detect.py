"""A picture tile by tile through a model, and what it found put together. T tiles."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from pagoda.batch_size import BatchSize
from pagoda.ops.masks import join_mask_crops
from pagoda.postprocess.select import Select
from pagoda.preprocess import InputSpec
from pagoda.structures.images import ImageBatch
from pagoda.structures.instances import Detections
from pagoda.structures.labels import LabelMap
from pagoda.tiling.seams import Merged, merge
from pagoda.tiling.tiles import Tiles

REACH = 8.0
"""pixels of the network: a cell of the finest level that most models have, see `seams.merge`"""

MAX_MASK_PIXELS = 2**28
"""of all masks of a picture together; more are not held as pixels, see `Detections.mask_windows`"""


class TileDetector(Protocol):
    """What is asked of a model; every `Detector` has it."""

    input_spec: InputSpec
    label_map: LabelMap
    sees_clips: bool
    parameters: Callable[[], Iterator[Tensor]]

    def detect(
        self,
        images: ImageBatch,
        *,
        postprocess: Select | None = None,
        sizes: Sequence[tuple[int, int]] | None = None,
    ) -> list[Detections]: ...


def check_takes_tiles(model: TileDetector) -> None:
    """Raises ValueError for a model that looks at clips."""
    if model.sees_clips:
        raise ValueError(
            f"{type(model).__name__} looks at clips, whose objects cannot be put together from tiles; leave tiles out"
        )


def detect_tiled(
    model: TileDetector,
    strips: Iterable[Tensor],
    size: tuple[int, int],
    tiles: Tiles,
    *,
    whole: Callable[[], ImageBatch],
    postprocess: Select,
    together: BatchSize,
) -> Detections:
    """The objects of one picture of (height, width), in its pixels; one that is better not cut is looked at as a whole.

    `max_detections` of `postprocess` is for each tile. Raises ValueError for masks without probabilities, as exported
    files of earlier versions have.

    Args:
        model: in evaluation mode.
        strips: uint8 (C, h, W) from top to bottom, of which no more is held than a row of tiles takes.
        whole: gives the whole picture as a batch of its own.
        together: how many tiles are computed at a time.

    >>> import pagoda
    >>> model = pagoda.create_model("fcos_resnet18_fpn", num_classes=1, base_channels=8, width=8, norm_groups=4)
    >>> picture, spec = torch.zeros(3, 64, 96, dtype=torch.uint8), model.input_spec
    >>> how = {"postprocess": model.postprocess, "together": BatchSize(2)}
    >>> whole = lambda: spec.prepare([picture])
    >>> detect_tiled(model.eval(), [picture], (64, 96), Tiles(side=64), whole=whole, **how).image_size
    (64, 96)
    """
    windows = tiles.windows(size, model.input_spec)
    with torch.inference_mode():
        if windows is None:
            return model.detect(whole(), postprocess=postprocess, sizes=[size])[0]
        found = list(detect_windows(model, strips, windows, size, postprocess, together))
        if tiles.whole:
            (seen,) = model.detect(whole(), postprocess=postprocess, sizes=[size])
            found.append(_without_pixels(seen).to("cpu"))
            windows = np.concatenate([windows, [[0, 0, size[1], size[0]]]])
    joined = join_tiles(found, windows, postprocess=postprocess, spec=model.input_spec)
    is_small = len(joined) * size[0] * size[1] <= MAX_MASK_PIXELS
    return joined.found_by.with_masks(joined) if joined.mask_crops is not None and is_small else joined


def detect_windows(
    model: TileDetector,
    strips: Iterable[Tensor],
    windows: np.ndarray,
    size: tuple[int, int],
    postprocess: Select,
    together: BatchSize,
) -> Iterator[Detections]:
    """Those of each tile, in pixels of the picture, masks not pasted."""
    device = next(model.parameters()).device

    def look(tiles: Sequence[Tensor]) -> list[Detections]:
        images = model.input_spec.prepare(tiles, device=device)
        sizes = [(tile.shape[-2], tile.shape[-1]) for tile in tiles]
        found = model.detect(images, postprocess=postprocess, sizes=sizes)
        return [_without_pixels(each).to("cpu") for each in found]

    rows = _Rows(strips)
    for top in np.unique(windows[:, 1]):
        row = windows[windows[:, 1] == top]
        band = rows.take(int(top), int(row[0, 3]))
        tiles = [band[:, :, left:right] for left, right in row[:, [0, 2]].tolist()]
        most = together.of(model.input_spec.frame((tiles[0].shape[-2], tiles[0].shape[-1])))
        for window, each in zip(row, together.run(look, tiles, most=most), strict=True):
            yield _moved(each, window[:2], size)


def join_tiles(
    found: Sequence[Detections], windows: np.ndarray, *, postprocess: Select, spec: InputSpec
) -> Detections:
    """One `Detections` of those of each window (T, 4), all in pixels of the picture; see `seams.merge`.

    >>> box, one, labels = torch.tensor([[2.0, 2.0, 8.0, 8.0]]), torch.tensor([0.9]), torch.tensor([0])
    >>> found = Detections(box, one, labels, (10, 15), LabelMap.from_names(["cat"]))
    >>> windows = np.array([[0, 0, 10, 10], [5, 0, 15, 10]])
    >>> rest = replace(found, boxes=torch.tensor([[5.0, 2.0, 8.0, 8.0]]))  # what the second tile sees of the first's
    >>> join_tiles([found, rest], windows, postprocess=Select(), spec=InputSpec())
    Detections(1 in 10×15: cat 0.90)
    """
    joined = _together(found)
    tiles = np.repeat(np.arange(len(found)), [len(each) for each in found])
    side = (int(windows[0, 3] - windows[0, 1]), int(windows[0, 2] - windows[0, 0]))
    labels = joined.labels.numpy()
    boxes = joined.boxes.double().numpy().copy()
    boxes[:, 2:] += int(joined.inclusive)
    merged = merge(
        boxes,
        joined.scores.double().numpy(),
        np.zeros_like(labels) if postprocess.across_classes else labels,
        tiles,
        windows,
        max_iou=float(postprocess.max_iou),
        reach=REACH * max(side) / max(spec.resized(side)),
    )
    return _objects(joined, merged)


class _Rows:
    """Rows of a picture that comes as strips; those above what was asked for last are gone."""

    def __init__(self, strips: Iterable[Tensor]) -> None:
        self._strips = iter(strips)
        self._held: Tensor | None = None
        self._top = 0

    def take(self, top: int, bottom: int) -> Tensor:
        """(C, bottom − top, W); neither may lie above that of the call before, and the first `top` is 0."""
        parts = [] if self._held is None else [self._held[:, top - self._top :]]
        count = sum(part.shape[1] for part in parts)
        while top + count < bottom:
            parts.append(next(self._strips))
            count += parts[-1].shape[1]
        self._held, self._top = parts[0] if len(parts) == 1 else torch.cat(parts, dim=1), top
        return self._held[:, : bottom - top]


def _without_pixels(found: Detections) -> Detections:
    if found.masks is not None and found.mask_crops is None:
        raise ValueError(
            "masks of tiles are put together from their probabilities, which files exported by earlier versions do not"
            " have; export it anew"
        )
    return replace(found, masks=None)


def _moved(found: Detections, start: np.ndarray, size: tuple[int, int]) -> Detections:
    """Objects of a tile that begins at `start` (x, y), in pixels of the picture."""
    offset = found.boxes.new_tensor(start.tolist())
    points = None if found.keypoints is None else found.keypoints + offset
    return replace(found, boxes=found.boxes + offset.repeat(2), keypoints=points, image_size=size)


def _together(found: Sequence[Detections]) -> Detections:
    """The objects of all, one after the other."""
    names = found[0]._rows()
    return replace(found[0], **{name: torch.cat([getattr(each, name) for each in found]) for name in names})


def _objects(joined: Detections, merged: Merged) -> Detections:
    """The objects of `merged`, with masks and keypoints of those that stand for them, or of their parts."""
    boxes = torch.from_numpy(merged.boxes)
    boxes[:, 2:] -= int(joined.inclusive)
    objects = replace(
        joined[torch.from_numpy(merged.rows)],
        boxes=boxes.to(joined.boxes.dtype),
        scores=torch.from_numpy(merged.scores).to(joined.scores.dtype),
    )
    for place, rows in merged.parts.items():
        parts = joined[torch.from_numpy(rows)]
        if objects.mask_crops is not None:
            objects.mask_crops[place] = join_mask_crops(parts.mask_crops, parts.boxes, objects.boxes[place])
        if objects.keypoints is not None and parts.keypoint_scores is not None:
            best = parts.keypoint_scores.argmax(0)
            every = torch.arange(len(best))
            objects.keypoints[place] = parts.keypoints[best, every]
            objects.keypoint_scores[place] = parts.keypoint_scores[best, every]
    return objects
