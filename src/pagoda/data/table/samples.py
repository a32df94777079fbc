"""What a data set has to give: `DetectionDataset`, `ClipDataset` and `DrawnShapes` do, and so may one of your own."""

from typing import Protocol, TypeVar

from torch import Tensor

from pagoda.data.table.annotations import Annotations
from pagoda.structures.instances import Targets
from pagoda.structures.labels import LabelMap
from pagoda.structures.tubes import AnyTargets

Given = TypeVar("Given", bound=AnyTargets, covariant=True)


class Samples(Protocol[Given]):
    """Pictures, uint8 (3, H, W), or clips, (T, 3, H, W), with their targets, by index: enough for a step to learn.

    >>> import torch
    >>> samples: Samples[Targets] = [(torch.zeros(3, 4, 6, dtype=torch.uint8), Targets.empty((4, 6)))]
    >>> len(samples), samples[0][1].image_size
    (1, (4, 6))
    """

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> tuple[Tensor, Given]:
        """Raises PictureError where the picture cannot be read."""
        ...


class AnnotatedDataset(Samples[Given], Protocol[Given]):
    """Samples with the table of all that is annotated: enough for a whole training, and to be scored."""

    @property
    def label_map(self) -> LabelMap:
        """The classes that the targets' labels count."""
        ...

    @property
    def annotations(self) -> Annotations:
        """Row i is of sample i, and has its `image_id`."""
        ...


class PictureDataset(AnnotatedDataset[Targets], Protocol):
    """An annotated data set of pictures that shows them as they are stored, too: enough to be saved.

    >>> from pagoda.data.drawn.synthetic import DrawnShapes
    >>> shapes: PictureDataset = DrawnShapes(2, (32, 48))
    >>> tuple(shapes.picture(0).shape), shapes.annotations.sizes.tolist()
    ((3, 32, 48), [[32, 48], [32, 48]])
    """

    def picture(self, index: int) -> Tensor:
        """uint8 (3, H, W) RGB, before any transform."""
        ...

    def targets(self, index: int) -> Targets:
        """What is annotated in the picture, before any transform."""
        ...
