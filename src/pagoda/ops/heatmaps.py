"""Keypoints as one cell of a map over their box: which cell to learn, and which place the map speaks of.

R regions, N objects, K keypoints, S × S cells.
"""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

# Keys' cubic convolution with a = −0.75, as cv2 and torch have it.
CUBIC = -0.75
# As many values of enlarged maps are held at once; more no longer fit into a processor's cache.
CHUNK = 1_000_000


def keypoints_to_cells(
    keypoints: Float[Tensor, "r k 2"],
    visible: Bool[Tensor, "r k"],
    boxes: Float[Tensor, "r 4"],
    *,
    size: int,
    inclusive: bool = False,
) -> tuple[Int[Tensor, "r k"], Bool[Tensor, "r k"]]:
    """(cell, whether it counts) for each keypoint: row · size + column of the S × S map over its region's box.

    A point on the right or lower side belongs to the last cell; one outside, or not visible, counts nothing.
    `inclusive` measures boxes by the legacy rule, sides + 1.

    >>> points, seen = torch.tensor([[[5., 0.], [9., 9.], [99., 0.]]]), torch.ones(1, 3, dtype=torch.bool)
    >>> keypoints_to_cells(points, seen, torch.tensor([[0., 0., 10., 10.]]), size=2)
    (tensor([[1, 3, 0]]), tensor([[ True,  True, False]]))
    """
    corner, far = boxes[:, None, :2], boxes[:, None, 2:]
    sides = far - corner + int(inclusive)
    place = ((keypoints - corner) * (size / sides)).floor()
    place = torch.where(keypoints == far, size - 1.0, place)
    counts = visible & ((place >= 0) & (place < size)).all(-1)
    column, row = torch.where(counts[..., None], place, 0.0).to(torch.long).unbind(-1)
    return row * size + column, counts


def heatmaps_to_keypoints(
    maps: Float[Tensor, "n k s s"], boxes: Float[Tensor, "n 4"]
) -> tuple[Float[Tensor, "n k 2"], Float[Tensor, "n k"], Float[Tensor, "n k"]]:
    """(places, logits, probabilities): where each map, enlarged to its box's pixels, is highest.

    Maps are resized bicubically to ⌈height⌉ × ⌈width⌉ of the box; the first highest pixel's centre, scaled back,
    is the place in pixels of the picture. The logit is the resized map's there. The probability is its
    exponential over the sum of all exponentials of the map before resizing, so that large and small boxes compare
    (detectron2).

    Boxes are taken by size, several together: the product of two matrices enlarges all their maps at once.

    >>> maps = torch.zeros(1, 1, 2, 2)
    >>> maps[0, 0, 1, 0] = 4.0  # the lower left quarter of the box is the likeliest
    >>> places, logits, _ = heatmaps_to_keypoints(maps, torch.tensor([[10., 20., 12., 22.]]))
    >>> places.tolist(), logits.tolist()
    ([[[10.5, 21.5]]], [[4.0]])
    """
    sides = (boxes[:, 2:] - boxes[:, :2]).clamp(min=1)
    pixels = sides.ceil()
    places = maps.new_zeros(*maps.shape[:2], 2)
    logits = maps.new_zeros(maps.shape[:2])
    for rows in _alike(pixels, maps.shape[1]):
        width, height = (int(side) for side in pixels[rows].amax(0))
        across = cubic_weights(pixels[rows, 0], width, maps.shape[-1])[:, None]  # (n, 1, width, S)
        down = cubic_weights(pixels[rows, 1], height, maps.shape[-1])[:, None]
        best, cell = (down @ maps[rows] @ across.transpose(-1, -2)).flatten(2).max(-1)
        found = torch.stack([cell % width, cell // width], dim=-1)
        # Beyond a smaller box its last pixel is repeated: found there, it is meant.
        found = torch.minimum(found, pixels[rows, None] - 1) + 0.5
        places[rows] = found * (sides / pixels)[rows, None] + boxes[rows, None, :2]
        logits[rows] = best
    weight = (maps - logits[..., None, None]).exp().sum((2, 3))
    return places, logits, 1 / weight


def _alike(pixels: Float[Tensor, "n 2"], num_keypoints: int) -> list[Tensor]:
    """Rows in groups of similar (width, height), none whose enlarged maps pass `CHUNK` unless it is one alone."""
    order = (pixels[:, 0] * pixels[:, 1]).argsort(descending=True).tolist()
    groups: list[list[int]] = []
    frame = (0.0, 0.0)
    for row, (width, height) in zip(order, pixels[order].tolist(), strict=True):
        grown = (max(frame[0], width), max(frame[1], height))
        if groups:
            count = len(groups[-1]) + 1
            is_full = count * num_keypoints * grown[0] * grown[1] > CHUNK
            is_wasteful = grown[0] * grown[1] > 1.5 * width * height
        if not groups or is_full or is_wasteful:
            groups.append([])
            grown = (width, height)
        groups[-1].append(row)
        frame = grown
    return [torch.tensor(group, device=pixels.device) for group in groups]


def cubic_weights(sides: Float[Tensor, " n"], longest: int, cells: int) -> Float[Tensor, "n longest cells"]:
    """How much each of `cells` values counts at every pixel of axes enlarged to `sides`, whose last is repeated.

    `longest` is the number of pixels to give, at least the longest side.

    >>> cubic_weights(torch.tensor([2.0]), 3, 2).int().tolist()  # as it is; the third pixel repeats the last
    [[[1, 0], [0, 1], [0, 1]]]
    """
    pixel = torch.arange(longest, device=sides.device, dtype=sides.dtype)
    pixel = torch.minimum(pixel, sides[:, None] - 1)
    place = (pixel + 0.5) * (cells / sides)[:, None] - 0.5
    first = place.floor()
    fraction = place - first
    weights = sides.new_zeros(len(sides), longest, cells)
    for tap in (-1, 0, 1, 2):
        at = (first + tap).clamp(0, cells - 1).to(torch.long)  # the border's values go on beyond it
        weights.scatter_add_(2, at[..., None], _cubic((fraction - tap).abs())[..., None])
    return weights


def _cubic(distance: Float[Tensor, "*n"]) -> Float[Tensor, "*n"]:
    """The kernel at distances up to 2."""
    near = ((CUBIC + 2) * distance - (CUBIC + 3)) * distance**2 + 1
    far = ((CUBIC * distance - 5 * CUBIC) * distance + 8 * CUBIC) * distance - 4 * CUBIC
    return torch.where(distance <= 1, near, far)
