"""What objects look like, told by features that a detector has computed anyway: vectors for linkers to compare."""

import threading
from types import TracebackType

from torch import Tensor, nn
from torch.nn.functional import avg_pool2d
from torch.utils.hooks import RemovableHandle

from pagoda.detectors.contract import Detector
from pagoda.ops.roi import roi_align

ROWS, COLUMNS = 4, 2
"""cells of a box whose features are kept apart: people are told by what is above and below"""


def pool_appearance(features: Tensor, boxes: Tensor, images: Tensor, *, stride: float) -> Tensor:
    """(N, C · 8) vectors of unit length of N boxes: RoIAlign over 4 × 2 cells of one level (B, C, h, w).

    Args:
        boxes: (N, 4) xyxy pixels of the batch, of which a cell of `features` is `stride`.
        images: (N,) which picture each box lies in.

    >>> import torch
    >>> box = torch.tensor([[0., 0., 20., 40.]])
    >>> looks = pool_appearance(torch.rand(1, 16, 8, 8), box, torch.tensor([0]), stride=8)
    >>> looks.shape, looks.norm().round(decimals=3).item()
    (torch.Size([1, 128]), 1.0)
    """
    cells = roi_align(features, boxes, images, resolution=ROWS, stride=stride, sampling_ratio=2)
    flat = avg_pool2d(cells, (1, ROWS // COLUMNS)).flatten(1)
    return flat / flat.norm(dim=1, keepdim=True).clamp(min=1e-12)


class PyramidWatch:
    """Sees the features that a detector's heads read, as they are computed. For a `with` block.

    The finest level tells most of how an object looks. Each thread sees what it computed itself.

    >>> import torch
    >>> from pagoda.models import create_model
    >>> model = create_model("fcos_resnet18_fpn", num_classes=1, base_channels=8, width=16, norm_groups=4).eval()
    >>> with PyramidWatch(model) as watch:
    ...     found = model.predict(torch.zeros(3, 64, 96, dtype=torch.uint8))
    ...     watch.appearance(torch.tensor([[0., 0., 20., 40.]]), torch.tensor([0])).shape
    torch.Size([1, 128])
    """

    def __init__(self, model: Detector) -> None:
        self._model, self._mine = model, threading.local()
        self._handles: list[RemovableHandle] = []

    def __enter__(self) -> "PyramidWatch":
        neck = getattr(self._model, "neck", None)
        self._handles = (
            [neck.register_forward_hook(self._see)] if isinstance(neck, nn.Module) else self._watch_backbone()
        )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for handle in self._handles:
            handle.remove()

    def appearance(self, boxes: Tensor, images: Tensor) -> Tensor:
        """`pool_appearance` of what this thread saw last; of clips in their key frames."""
        features, stride = self._mine.features, self._mine.stride
        if features.ndim == 5:
            features = features[:, :, features.shape[2] // 2]
        return pool_appearance(features.float(), boxes.to(features.device).float(), images, stride=stride)

    def _watch_backbone(self) -> list[RemovableHandle]:
        """A model without a neck reads one stage or the whole backbone's output."""
        backbone = self._model.get_submodule("backbone")
        if self._model.sees_clips:  # its stages are called one by one
            level = min(backbone.channels)
            stage = backbone.stages()[level]
            return [stage.register_forward_hook(lambda _, inputs, x: self._see(_, inputs, {level: x}))]
        return [backbone.register_forward_hook(self._see)]

    def _see(self, module: nn.Module, inputs: tuple[object, ...], pyramid: dict[int, Tensor]) -> None:
        level = min(pyramid)
        strides = getattr(self._model, "strides", None)
        self._mine.features = pyramid[level]
        self._mine.stride = float(2**level if strides is None else strides[level])
