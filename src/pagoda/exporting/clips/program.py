"""A detector of clips as graphs of fixed size: whole, or cut in two where the work on single frames ends.

T frames of a clip, D tubes, t frames of a tube (T unless the network shortens clips), C channels, K keypoints. A graph
takes one clip at a time, its frames as a batch of pictures.
"""

from dataclasses import replace

import torch
from torch import Tensor
from torch.export import Dim, ExportedProgram

from pagoda.detectors.two_stage import image_index
from pagoda.exporting.masks_keypoints import decode_keypoints
from pagoda.exporting.program import PixelsToDetections, trace
from pagoda.structures.images import ImageBatch


class FramesToTubes(PixelsToDetections):
    """uint8 frames (T, 3, H, W), all of one size, to what `TUBE_OUTPUTS` names, of the one clip they are."""

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        spec = self.model.input_spec
        pixels = spec.pad(spec.normalize(images)).movedim(0, 1)[None]
        return self.tubes(self.model.frame_features(pixels), ImageBatch(pixels, size_of(images)[None]))

    def tubes(self, features: Tensor, images: ImageBatch) -> tuple[Tensor, ...]:
        """boxes (1, D, t, 4), scores (1, D), labels (1, D); of poses keypoints (1, D, t, K, 2) and their scores."""
        select = replace(self.postprocess, min_score=self.min_score)
        (pyramid, _, _), outputs = self.model.look(features, images)
        found = select(outputs, images.sizes, self.model.decode)
        if self.model.keypoint_head is None:
            return found.boxes, found.scores, found.labels
        tubes, real = found.boxes.flatten(0, 1), found.labels.flatten() >= 0
        maps = self.model.keypoint_logits(pyramid, tubes, image_index(found.boxes)).float()
        places, logits, shares = decode_keypoints(maps.flatten(0, 1), tubes.flatten(0, 1))
        scores = shares if select.keypoint_score == "probability" else logits
        sizes = (1, found.boxes.shape[1], found.boxes.shape[2])
        points = places.unflatten(0, sizes) * real[None, :, None, None, None]
        surety = scores.unflatten(0, sizes) * real[None, :, None, None]
        return found.boxes, found.scores, found.labels, points, surety


class FrameToFeatures(PixelsToDetections):
    """One uint8 frame (1, 3, H, W) to its features (1, C, h, w), and its (height, width) as a tensor."""

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        spec = self.model.input_spec
        pixels = spec.pad(spec.normalize(images))[:, :, None]
        return self.model.frame_features(pixels)[:, :, 0].float(), size_of(images)


class FeaturesToTubes(FramesToTubes):
    """The features (T, C, h, w) of a clip's frames and the (height, width) of all of them to what the whole gives."""

    def forward(self, features: Tensor, size: Tensor) -> tuple[Tensor, ...]:  # type: ignore[override]
        known = features.movedim(0, 1)[None].to(next(self.model.parameters()).dtype)
        # Where cells lie follows from their stride alone: pixels are there for their shape, which nobody asks for.
        pixels = known.new_zeros(1, 1, 1, 1, 1).expand(1, 1, 1, 4 * known.shape[-2], 4 * known.shape[-1])
        return self.tubes(known, ImageBatch(pixels, size[None]))


def size_of(images: Tensor) -> Tensor:
    """(2,) the height and width of pictures (…, H, W), as a tensor that a graph can give.

    >>> size_of(torch.zeros(1, 3, 20, 30))
    tensor([20, 30])
    """
    return torch.stack([torch.full((), side, dtype=torch.long) for side in images.shape[-2:]])


def export_whole(module: FramesToTubes, size: tuple[int, int] | None) -> ExportedProgram:
    """The graph of clips of any height and width, or of (height, width) `size` alone."""
    return _of_pictures(module, module.model.num_frames, size)


def export_frames(module: FrameToFeatures, size: tuple[int, int] | None) -> ExportedProgram:
    """The graph of one frame, open as `export_whole`'s."""
    return _of_pictures(module, 1, size)


def export_tubes(module: FeaturesToTubes, size: tuple[int, int] | None) -> ExportedProgram:
    """The graph of the features of a clip's frames, open as `export_whole`'s."""
    spec, frames = module.model.input_spec, module.model.num_frames
    height, width = DRAWN if size is None else size
    with torch.no_grad():
        pixels = spec.pad(torch.zeros(1, spec.channels, height, width))
        features = module.model.frame_features(pixels[:, :, None])[:, :, 0].float()
    features = features.expand(frames, -1, -1, -1).contiguous()
    sides = None if size is not None else ({2: Dim.DYNAMIC, 3: Dim.DYNAMIC}, {})
    return trace(module, (features, torch.tensor([height, width])), sides)


DRAWN = (130, 190)
"""height and width of what a graph is traced on"""


def _of_pictures(module: PixelsToDetections, count: int, size: tuple[int, int] | None) -> ExportedProgram:
    channels = module.model.input_spec.read_channels
    images = torch.zeros(count, channels, *(DRAWN if size is None else size), dtype=torch.uint8)
    return trace(module, images, None if size is not None else {2: Dim.DYNAMIC, 3: Dim.DYNAMIC})
