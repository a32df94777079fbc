"""Copies of pictures and of boxes are found, strangers are not."""

import numpy as np
from PIL import Image

from pagoda.data.drawn.synthetic import DrawnShapes
from pagoda.explain.doctor.duplicates import fingerprint, overlapping_boxes, similar_pictures


def test_overlapping_boxes_equal_a_loop():
    rng = np.random.default_rng(0)
    start = rng.uniform(0, 20, (700, 2))  # more than one block
    boxes = np.concatenate([start, start + rng.uniform(30, 40, (700, 2))], 1)[:700]
    found = {(a, b) for a, b, _ in overlapping_boxes(boxes, 0.9)}
    expected = set()
    for a in range(0, 700, 7):  # a tenth of the rows is enough
        for b in range(a + 1, 700):
            w = min(boxes[a, 2], boxes[b, 2]) - max(boxes[a, 0], boxes[b, 0])
            h = min(boxes[a, 3], boxes[b, 3]) - max(boxes[a, 1], boxes[b, 1])
            areas = np.prod(boxes[a, 2:] - boxes[a, :2]) + np.prod(boxes[b, 2:] - boxes[b, :2])
            if max(w, 0) * max(h, 0) / (areas - max(w, 0) * max(h, 0)) > 0.9:
                expected.add((a, b))
    assert expected and {pair for pair in found if pair[0] % 7 == 0} == expected


def test_copies_are_found_and_strangers_are_not():
    shapes = DrawnShapes(40, (96, 128), 11)
    pictures = [shapes.picture(index).permute(1, 2, 0).numpy() for index in range(40)]
    half = np.asarray(Image.fromarray(pictures[7]).resize((64, 48), Image.Resampling.BOX))
    darker = (pictures[12] * 0.97).astype(np.uint8)
    prints = [fingerprint(picture) for picture in [*pictures, half, darker]]
    assert similar_pictures(prints) == [[7, 40], [12, 41]]
    assert similar_pictures(prints[:1]) == []
