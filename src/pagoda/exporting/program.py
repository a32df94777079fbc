"""What leaves the house: a detector as one graph from raw pixels to detections. B images, D detections."""

from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import replace
from functools import partial

import jaxtyping
import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram

from pagoda.detectors.appearance import PyramidWatch
from pagoda.detectors.contract import Detector
from pagoda.detectors.rcnn import RCNN
from pagoda.detectors.two_stage import image_index
from pagoda.exporting.masks_keypoints import shapes_of
from pagoda.postprocess.rcnn import SelectRoIs
from pagoda.postprocess.select import Select
from pagoda.structures.images import ImageBatch

THRESHOLD = "min_score"
"""name of the one tensor of the graph that holds the score threshold"""


class PixelsToDetections(nn.Module):
    """Normalising, padding, the network, selection and suppression in one forward.

    Takes uint8 RGB (B, 3, H, W), or RGBA (B, 4, H, W) for models that read that, each picture filling its H×W; any
    B, H and W from 1 up. Gives boxes, scores, labels and what `shape_names` says.
    The threshold is a buffer, so that a graph made from this can be tried with another one.
    """

    min_score: Tensor

    def __init__(self, model: Detector, postprocess: Select) -> None:
        super().__init__()
        self.model = deepcopy(model).cpu().eval().requires_grad_(False)
        self.register_buffer(THRESHOLD, torch.tensor(float(postprocess.min_score)))
        self.postprocess = postprocess

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        spec = self.model.input_spec
        batch, height, width = images.shape[0], images.shape[-2], images.shape[-1]
        pixels = spec.pad(spec.normalize(images))
        sides = partial(torch.full, (batch,), dtype=torch.long, device=images.device)
        sizes = torch.stack([sides(fill_value=height), sides(fill_value=width)], dim=1)
        select = replace(self.postprocess, min_score=self.min_score)
        if not self.model.exports_appearance:
            return self.chosen(ImageBatch(pixels, sizes), select, (height, width))
        with PyramidWatch(self.model) as watch:
            found = self.chosen(ImageBatch(pixels, sizes), select, (height, width))
            boxes, real = found[0], found[2].flatten() >= 0
            looks = watch.appearance(boxes.flatten(0, 1), image_index(boxes)) * real[:, None]
        return *found, looks.unflatten(0, (boxes.shape[0], boxes.shape[1]))

    def chosen(self, images: ImageBatch, select: Select, size: tuple[int, int]) -> tuple[Tensor, ...]:
        """Boxes, scores, labels, masks and keypoints; `size` of the pictures as they came in."""
        if not (isinstance(self.model, RCNN) and isinstance(select, SelectRoIs)):
            return select(self.model(images), images.sizes, self.model.decode)
        # Its forward has chosen already: masks and keypoints are of chosen objects.
        outputs = self.model(images, postprocess=select)
        return outputs.boxes, outputs.scores, outputs.labels, *shapes_of(outputs, select, size)


def export_pixels(module: PixelsToDetections, size: tuple[int, int] | None = None) -> ExportedProgram:
    """The graph of `module`, with batch, height and width left open; or of one picture of (height, width) `size`."""
    return trace_pixels(module, module.model.input_spec.read_channels, size, torch.uint8)


def trace_pixels(
    module: nn.Module, channels: int, size: tuple[int, int] | None, dtype: torch.dtype
) -> ExportedProgram:
    """The graph of a module that reads pictures (B, channels, H, W) as they are, open as `export_pixels` says."""
    if size is not None:
        return trace(module, torch.zeros(1, channels, *size, dtype=dtype), None)
    images = torch.zeros(2, channels, 130, 190, dtype=dtype)
    return trace(module, images, {0: Dim.DYNAMIC, 2: Dim.DYNAMIC, 3: Dim.DYNAMIC})


def export_forward(model: Detector, *, num_frames: int | None = None) -> ExportedProgram:
    """The graph of `model.forward(ImageBatch)`; batch is open, height and width any multiple of 32.

    `num_frames`: the graph takes clips (B, 3, T, H, W) of so many frames; None: pictures (B, 3, H, W).
    """
    sizes = torch.tensor([[160, 224], [160, 224]])
    batch = Dim("batch")
    height, width = 32 * Dim("height_32", max=1024), 32 * Dim("width_32", max=1024)
    time = () if num_frames is None else (num_frames,)
    images = ImageBatch(torch.zeros(2, model.input_spec.channels, *time, 160, 224), sizes)
    sides = {2 + len(time): height, 3 + len(time): width}
    return trace(model, images, ImageBatch({0: batch, **sides}, {0: batch}))


def trace(
    module: nn.Module, images: Tensor | ImageBatch | tuple[Tensor, ...], dynamic: object
) -> ExportedProgram:
    """torch.export of `module(images)` with the open sizes of `dynamic`, one included; None: all are fixed.

    A plain tuple holds several inputs, and `dynamic` as many.
    """
    inputs, sizes = (images, dynamic) if type(images) is tuple else ((images,), (dynamic,))
    # Without this, sides of 1 (one picture, the top level of a small one) become graphs of their own. The ONNX
    # exporter of torch sets the same switch.
    one_is_any_size = torch.fx.experimental._config.patch(backed_size_oblivious=True)
    with torch.no_grad(), one_is_any_size, _unchecked_shapes():
        return torch.export.export(module, inputs, dynamic_shapes=None if dynamic is None else sizes)


@contextmanager
def _unchecked_shapes() -> Iterator[None]:
    """Shape annotations rest, where jaxtyping's import hook made them run: an open size is no int to them."""
    before = jaxtyping.config.jaxtyping_disable
    jaxtyping.config.update("jaxtyping_disable", True)
    try:
        yield
    finally:
        jaxtyping.config.update("jaxtyping_disable", before)
