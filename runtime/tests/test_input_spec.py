"""Sizes, borders and the way back are those of Pagoda's InputSpec."""

import numpy as np
import pytest

from pagoda_runtime import Detections, InputSpec, LabelMap

pytestmark = pytest.mark.medium

LABELS = LabelMap(("a", "b"), (1, 2))
SPECS = [
    {},
    {"short_side": 60, "long_side": 70},
    {"short_side": 50, "long_side": 90, "rounding": "torchvision"},
    {"short_side": 50, "long_side": 90, "rounding": "maskrcnn_benchmark"},
    {"short_side": 50, "long_side": 90, "resample": "bicubic"},
    {"canvas": (64, 96), "fit": "letterbox", "border": (1, 2, 3)},
    {"canvas": (96, 64), "fit": "letterbox", "mean": (0.1, 0.2, 0.3, 0.4), "std": (1.0, 1.0, 1.0, 1.0)},
    {"canvas": (64, 96), "fit": "corner"},
    {"canvas": (64, 96), "fit": "stretch", "mean": (0.5,), "std": (0.5,)},
]


@pytest.fixture(params=SPECS, ids=[" ".join(map(str, spec.values())) or "default" for spec in SPECS])
def both(request):
    """(Pagoda's, the runtime's read from what Pagoda writes)."""
    theirs = pytest.importorskip("pagoda.preprocess").InputSpec(**request.param)
    return theirs, InputSpec.from_dict(theirs.to_dict())


def test_sizes_and_offsets(both, rng):
    theirs, ours = both
    assert ours.read_channels == theirs.read_channels
    for size in [*rng.integers(1, 3000, (300, 2)).tolist(), [1, 1], [1, 2000], [800, 800]]:
        assert ours.resized(tuple(size)) == theirs.resized(tuple(size))
        assert ours.offset(tuple(size)) == theirs.offset(tuple(size))


def test_pixels(both, rng):
    torch = pytest.importorskip("torch")
    theirs, ours = both
    for size in rng.integers(1, 120, (8, 2)).tolist():
        picture = rng.integers(0, 256, (*size, ours.read_channels), dtype=np.uint8)
        expected = theirs.resize(torch.from_numpy(picture).permute(2, 0, 1)).numpy()
        assert np.array_equal(ours.prepare(picture), expected)


def test_the_way_back(both, rng):
    torch = pytest.importorskip("torch")
    structures = pytest.importorskip("pagoda.structures.instances")
    theirs, ours = both
    for size in rng.integers(5, 200, (8, 2)).tolist():
        size = tuple(size)
        frame = ours.prepare(np.zeros((*size, ours.read_channels), np.uint8)).shape[1:]
        boxes = rng.uniform(-10, 120, (6, 4)).astype(np.float32)
        points = rng.uniform(-10, 120, (6, 3, 2)).astype(np.float32)
        scores, labels = np.ones(6, np.float32), np.zeros(6, np.int64)
        found = Detections(boxes, scores, labels, frame, LABELS, keypoints=points)
        as_tensors = structures.Detections(
            *map(torch.from_numpy, (boxes, scores, labels)), frame, LABELS, keypoints=torch.from_numpy(points)
        )
        (expected,), restored = theirs.restore([as_tensors], [size]), ours.restore(found, size)
        assert restored.image_size == expected.image_size == size
        np.testing.assert_array_equal(restored.boxes, expected.boxes.numpy())
        np.testing.assert_array_equal(restored.keypoints, expected.keypoints.numpy())


def test_masks_leave_the_border_behind():
    spec = InputSpec(fit="letterbox", canvas=(60, 100))
    masks = np.zeros((1, 60, 100), bool)
    masks[0, 15:45, 50:100] = True  # the lower right quarter, of 60×120 shown at 50×100 from row 5 on
    found = Detections(
        np.array([[50.0, 15, 100, 45]], np.float32),
        np.ones(1),
        np.zeros(1, int),
        (60, 100),
        LABELS,
        masks=masks,
    )
    restored = spec.restore(found, (60, 120))
    assert restored.masks.shape == (1, 60, 120)
    np.testing.assert_array_equal(np.argwhere(restored.masks[0])[0], [12, 60])
    np.testing.assert_array_equal(np.argwhere(restored.masks[0])[-1], [47, 119])
    np.testing.assert_allclose(restored.boxes, [[60, 12, 120, 48]])


def test_settings_of_a_newer_version_are_refused():
    with pytest.raises(ValueError, match=r"mirror.*install a newer one"):
        InputSpec.from_dict({"mirror": True})
    with pytest.raises(ValueError, match="resample='lanczos'"):
        InputSpec.from_dict({"resample": "lanczos"})
