#!/usr/bin/env bash
# torchvision 0.29.1 (transforms.v2): the transforms of KeyPoints do not agree on what a coordinate is. Flips and
# elastic displacement count pixels from their centres (x becomes width - 1 - x); resizing, rotating, shearing and
# perspective count from the picture's edge (x becomes x * scale, or width - x where it is turned by 180 degrees), as
# those of BoundingBoxes do throughout. So no way of writing keypoints down stays on the object: one flip moves those
# counted from the edge by a pixel beside their box and their picture, one resize to twice the size those counted from
# centres by half a pixel, and to flip both ways is not to turn by 180 degrees. A keypoint at the right or lower edge,
# x = width, which COCO's boxes may have, becomes -1 when it is flipped.
#
# Output seen:  where the middle of a dot of 3 x 3 pixels is afterwards: in the picture, by its box, by its keypoint;
#               and by a keypoint that was written down half a pixel less, counted from the centres of pixels
#               flipped             (47.5, 7.5)  (47.5, 7.5)  (46.5, 7.5)  (47.0, 7.0)
#               turned by 90        (7.5, 47.5)  (7.5, 47.5)  (7.5, 47.5)  (7.0, 48.0)
#               flipped both ways   (47.5, 33.5)  (47.5, 33.5)  (46.5, 32.5)  (47.0, 33.0)
#               turned by 180       (47.5, 33.5)  (47.5, 33.5)  (47.5, 33.5)  (48.0, 34.0)
#               twice as large      (27.0, 15.0)  (27.0, 15.0)  (27.0, 15.0)  (26.0, 14.0)
#               a keypoint at x = 61 of 61 pixels, flipped: x = -1.0
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet torch==2.14.1 torchvision==0.29.1 numpy==2.4.6
cd "$folder"
venv/bin/python - <<'PYTHON'
import torch
from torchvision import tv_tensors
from torchvision.transforms.v2 import functional as F

SIZE = HEIGHT, WIDTH = 41, 61
picture = torch.zeros(1, *SIZE)
picture[:, 6:9, 12:15] = 1  # the middle pixel has the centre (13.5, 7.5), counted from the edges
shown = tv_tensors.Image(picture)
box = tv_tensors.BoundingBoxes(torch.tensor([[12.0, 6, 15, 9]]), format="XYXY", canvas_size=SIZE)
from_edges, from_centres = (
    tv_tensors.KeyPoints(torch.tensor([place]), canvas_size=SIZE) for place in ([13.5, 7.5], [13.0, 7.0])
)
WAYS = {
    "flipped": F.horizontal_flip,
    "turned by 90": lambda x: F.rotate(x, 90, expand=True),
    "flipped both ways": lambda x: F.vertical_flip(F.horizontal_flip(x)),
    "turned by 180": lambda x: F.rotate(x, 180),
    "twice as large": lambda x: F.resize(x, [2 * HEIGHT, 2 * WIDTH]),
}


def middle(picture: torch.Tensor) -> tuple[float, ...]:
    """Of what is bright, from the edges."""
    weights = picture[0] / picture.sum()
    x = (weights.sum(0) * (torch.arange(picture.shape[2]) + 0.5)).sum()
    y = (weights.sum(1) * (torch.arange(picture.shape[1]) + 0.5)).sum()
    return round(float(x), 2), round(float(y), 2)


def place(points: torch.Tensor) -> tuple[float, ...]:
    return tuple(round(value, 2) for value in points[0].tolist())


seen = {}
for name, way in WAYS.items():
    corners = way(box).as_subclass(torch.Tensor)
    seen[name] = (
        middle(way(shown)),
        place((corners[:, :2] + corners[:, 2:]) / 2),
        place(way(from_edges)),
        place(way(from_centres)),
    )
    print(f"{name:<18} ", "  ".join(map(str, seen[name])))
edge = tv_tensors.KeyPoints(torch.tensor([[61.0, 7.5]]), canvas_size=SIZE)
flipped = place(F.horizontal_flip(edge))[0]
print("a keypoint at x = 61 of 61 pixels, flipped: x =", flipped)

for in_picture, of_box, _, _ in seen.values():
    assert in_picture == of_box
assert seen["flipped"][2:] == ((46.5, 7.5), (47.0, 7.0)) and seen["flipped"][0] == (47.5, 7.5)
assert seen["turned by 90"][2:] == ((7.5, 47.5), (7.0, 48.0)) and seen["turned by 90"][0] == (7.5, 47.5)
assert seen["flipped both ways"][2] == (46.5, 32.5) and seen["turned by 180"][2] == (47.5, 33.5)
assert seen["twice as large"][2:] == ((27.0, 15.0), (26.0, 14.0)) and flipped == -1.0
PYTHON
