"""Two pictures made one: objects of another picture pasted in (`CopyPaste`), or both shown at once (`Mixup`).

As everywhere in `augment`, every draw comes from torch's CPU generator, that of the other picture too, so the seed of
a sample decides it alone. N objects of the picture at hand.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from pagoda.data.augment import geometry
from pagoda.data.augment.draws import below, between, happens, scaled
from pagoda.data.augment.geometry import Window, frame_of
from pagoda.data.augment.transforms import Carry, Transform
from pagoda.data.table.annotations import Annotations
from pagoda.data.table.presence import presence_of
from pagoda.data.table.samples import Samples
from pagoda.messages import did_you_mean
from pagoda.plain import checked
from pagoda.structures.instances import Targets

MIN_VISIBLE = 0.3
"""An object of which less than this share is left beside what was pasted over it is dropped."""
NO_TRACK = -1
"""The track id of an object that comes from another picture: it belongs to no track of this one."""


@dataclass(frozen=True, eq=False)
class PasteSources:
    """Which pictures hold objects of which class, and how likely a class is: what `CopyPaste` draws from.

    >>> from pagoda.data.drawn.synthetic import DrawnShapes
    >>> sources = PasteSources.of(DrawnShapes(8).annotations, classes=["square"])
    >>> sources.chances.tolist(), sources.draw()[1]
    ([0.0, 1.0, 0.0], 1)
    """

    pictures: tuple[np.ndarray, ...]
    """of each class the pictures that hold an object of it which can be learnt"""
    chances: np.ndarray
    """(classes,) of each class to be drawn; they sum to 1"""

    @classmethod
    def of(
        cls, annotations: Annotations, *, classes: Collection[str] = (), rare: bool = False
    ) -> "PasteSources":
        """The sources in a data set: objects of `classes`, or of all.

        A class is as likely as its share of the objects; with `rare` in inverse proportion to it, so that in the long
        run as many objects of each are pasted as would make up for the others. Raises ValueError for a class that is
        not there, and where nothing could be pasted.
        """
        names = annotations.label_map.names
        for name in classes:
            if name not in names:
                raise ValueError(
                    f"nothing can be pasted of class '{name}', not one of {annotations.source};"
                    f" {did_you_mean(name, names)}"
                )
        rows = presence_of(annotations)
        counts = np.bincount(rows.labels, weights=rows.counts, minlength=len(names))
        wanted = np.array([not classes or name in classes for name in names]) & (counts > 0)
        if not wanted.any():
            told = f" of {', '.join(classes)}" if classes else ""
            raise ValueError(
                f"no object{told} of {annotations.source} can be learnt, so there is nothing to paste:"
                " train with augment.copy_paste=0"
            )
        chances = np.where(wanted, 1 / np.maximum(counts, 1) if rare else counts, 0.0)
        pictures = tuple(rows.pictures[rows.labels == label] for label in range(len(names)))
        return cls(pictures, chances / chances.sum())

    def draw(self) -> tuple[int, int]:
        """(picture, class): a class by its chance, then one of its pictures, each as likely as the others."""
        edges = np.cumsum(self.chances)
        label = int(np.searchsorted(edges, torch.rand((), dtype=torch.double).item() * edges[-1], "right"))
        return int(self.pictures[label][below(len(self.pictures[label]))]), label


@checked
@dataclass(frozen=True, eq=False)
class CopyPaste:
    """With probability `p`, 1 … `max_count` objects of another picture are pasted into this one (Ghiasi 2021).

    They are of one class and one picture, drawn from `sources`; where that holds fewer, an object comes more than
    once (as small objects do in Kisantal 2019). Each is scaled by `low` … `high` times what fits its picture into this
    frame, mirrored with probability `flip`, and put at a random place inside the frame, where Ghiasi moves the whole
    picture. With masks in `dataset` the pixels of the mask are pasted; where an object has none the whole box is, with
    what else is in it. Later objects lie over earlier ones. What they hide: see `geometry.cover_targets`; what is left
    of an object below `min_visible` is dropped. Ignored objects are not pasted, and stay where they are.

    >>> from pagoda.data.drawn.synthetic import DrawnShapes
    >>> shapes = DrawnShapes(4, image_size=(64, 64), seed=1)
    >>> sources = PasteSources.of(shapes.annotations)
    >>> paste = CopyPaste(shapes, sources, p=1.0, max_count=1, pairs=shapes.label_map.skeleton.flip_pairs)
    >>> picture, targets = torch.zeros(3, 64, 64, dtype=torch.uint8), Targets.empty((64, 64))
    >>> pasted, seen = paste(picture, targets)
    >>> len(seen), bool(pasted.any()), bool(picture.any())
    (1, True, False)
    """

    dataset: Samples[Targets]
    """the pictures that `sources` count"""
    sources: PasteSources
    """what is drawn from"""
    p: float = 0.5
    """share of the pictures into which something is pasted, 0 … 1"""
    max_count: int = 5
    """the most objects that are pasted into one picture"""
    low: float = 0.8
    """the smallest factor on the size of an object"""
    high: float = 1.25
    """the largest"""
    flip: float = 0.5
    """share of the objects that are mirrored left to right"""
    pairs: Sequence[tuple[int, int]] | None = None
    """keypoints that change places then, as in `HorizontalFlip`"""
    min_visible: float = MIN_VISIBLE
    """share of an object that must be left to see"""
    carry: Carry | None = None
    """what pasted objects bring along, as it has been done to the picture's own already; None: all they have"""

    def __post_init__(self) -> None:
        if self.max_count < 1:
            raise ValueError(f"max_count must be at least 1, got {self.max_count}")

    def __call__(self, picture: Tensor, targets: Targets) -> tuple[Tensor, Targets]:
        frame = frame_of(picture, targets)
        if not happens(self.p):
            return picture, targets
        index, label = self.sources.draw()
        source, theirs = self.dataset[index]
        if self.carry is not None:
            _, theirs = replace(self.carry, masks=True)(source, theirs)  # by masks it is cut out
        theirs = theirs[~theirs.ignored & (theirs.labels == label)]
        count, order = 1 + below(self.max_count), torch.randperm(len(theirs))
        canvas, top = picture.clone(), torch.full(frame, -1, dtype=torch.int16)
        parts = []
        for number in range(count if len(theirs) else 0):
            chosen = order[number % len(order)]
            part = self._paste(canvas, top, len(parts), source, theirs[chosen[None]])
            parts += [part] if part is not None else []
        seen = [geometry.cover_targets(targets, top >= 0, self.min_visible)]
        for number, part in enumerate(parts[:-1]):
            seen.append(geometry.cover_targets(part, top > number, self.min_visible))
        seen += parts[-1:]  # nothing lies over the last
        return canvas, geometry.join_targets(seen)

    def _paste(
        self, canvas: Tensor, top: Tensor, number: int, source: Tensor, one: Targets
    ) -> Targets | None:
        """One object written into the canvas and, as `number`, into the map of what lies on top; its targets there.

        None where nothing is left of it at that size.
        """
        patch, part = self._patch(source, one, (canvas.shape[1], canvas.shape[2]))
        if not len(part):
            return None
        height, width = frame_of(patch, part)
        alpha = torch.ones(height, width, dtype=torch.bool)
        if part.masks is not None and bool(one.masks.any()):
            alpha = part.masks[0]
        y, x = below(canvas.shape[1] - height + 1), below(canvas.shape[2] - width + 1)
        if not alpha.any():
            return None
        place = (slice(y, y + height), slice(x, x + width))
        canvas[:, *place] = torch.where(alpha, patch, canvas[:, *place])
        top[place] = torch.where(alpha, number, top[place])
        placed = geometry.cut_targets(part, Window(-y, -x, canvas.shape[1], canvas.shape[2]))
        placed = _of_no_track(placed)
        return placed if self.carry is None else self.carry(canvas, placed)[1]

    def _patch(self, source: Tensor, one: Targets, frame: tuple[int, int]) -> tuple[Tensor, Targets]:
        """The object cut out along its box, at the size and the way round in which it is pasted."""
        sides = frame_of(source, one)
        x1, y1 = one.boxes[0, :2].floor().int().tolist()
        x2, y2 = one.boxes[0, 2:].ceil().int().tolist()
        patch, part = geometry.cut(source, one, Window(y1, x1, y2 - y1, x2 - x1), fill=0)
        if not len(part):
            return patch, part
        scale = min(frame[0] / sides[0], frame[1] / sides[1]) * between(self.low, self.high)
        scale = min(scale, frame[0] / (y2 - y1), frame[1] / (x2 - x1))
        height, width = min(scaled(y2 - y1, scale), frame[0]), min(scaled(x2 - x1, scale), frame[1])
        patch, part = geometry.resize(patch, part, height, width)
        return geometry.mirror(patch, part, self.pairs) if happens(self.flip) else (patch, part)


@checked
@dataclass(frozen=True, eq=False)
class Mixup:
    """With probability `p`, this picture and another of `dataset` shown at once, with the objects of both.

    The other is resized to fit this frame and lies at its top left; where it ends, this one is seen alone. The share
    of this picture is drawn from a beta distribution (`alpha`, `alpha`). Zhang 2019 draws it with 1.5 and weighs each
    object's loss by it; here every object counts fully, so a higher `alpha` keeps the shares near one half.

    >>> box, label, ignored = torch.tensor([[0.0, 0.0, 4.0, 4.0]]), torch.tensor([0]), torch.tensor([False])
    >>> other = torch.full((3, 8, 8), 200, dtype=torch.uint8), Targets(box, label, (8, 8), ignored)
    >>> mixed, targets = Mixup([other], p=1.0)(torch.zeros(3, 8, 16, dtype=torch.uint8), Targets.empty((8, 16)))
    >>> len(targets), bool(mixed[:, :, :8].all()), bool(mixed[:, :, 8:].any())
    (1, True, False)
    """

    dataset: Samples[Targets]
    """what the other picture is drawn from, each as likely as the others"""
    p: float = 0.5
    """share of the pictures that are mixed with another, 0 … 1"""
    alpha: float = 8.0
    """both parameters of the beta distribution: 1 draws every share alike, 8 three in four between 0.36 and 0.64"""
    prepare: Transform | None = None
    """what is done to the drawn picture first; the given one has had it already"""

    def __post_init__(self) -> None:
        if not self.alpha > 0:
            raise ValueError(f"alpha of a beta distribution must be above 0, got {self.alpha}")

    def __call__(self, picture: Tensor, targets: Targets) -> tuple[Tensor, Targets]:
        frame = frame_of(picture, targets)
        if not happens(self.p):
            return picture, targets
        other, theirs = self.dataset[below(len(self.dataset))]
        if self.prepare is not None:
            other, theirs = self.prepare(other, theirs)
        sides = frame_of(other, theirs)
        scale = min(frame[0] / sides[0], frame[1] / sides[1])
        height, width = (min(scaled(side, scale), limit) for side, limit in zip(sides, frame, strict=True))
        other, theirs = geometry.resize(other, theirs, height, width)
        share = torch.distributions.Beta(self.alpha, self.alpha).sample().item()
        mixed = picture.clone()
        both = picture[:, :height, :width] * share + other * (1 - share)
        mixed[:, :height, :width] = both.round().to(torch.uint8)
        placed = geometry.cut_targets(theirs, Window(0, 0, *frame))
        return mixed, geometry.join_targets([targets, _of_no_track(placed)])


def _of_no_track(targets: Targets) -> Targets:
    ids = targets.track_ids
    return targets if ids is None else replace(targets, track_ids=torch.full_like(ids, NO_TRACK))
