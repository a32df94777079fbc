"""Where programs of this field differ on valid input, and Pagoda is a party: the rows of docs/disagreements.md
on runtimes, precision, pictures and files. Rows on scores, tracks and formats are tested where those are."""

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from torch import nn

from pagoda.data.augment.geometry import mirror, resize
from pagoda.layers.norm import build_norm
from pagoda.preprocess import InputSpec
from pagoda.structures.instances import Detections, Targets
from pagoda.structures.labels import LabelMap
from pagoda.weights.state_dict import read_foreign


def test_whole_number_boxes_are_floats_at_the_door() -> None:
    boxes = torch.tensor([[1, 1, 4, 6]])
    targets = Targets(boxes, torch.zeros(1, dtype=torch.long), (7, 5), torch.zeros(1, dtype=torch.bool))
    found = Detections(boxes, torch.ones(1), torch.zeros(1, dtype=torch.long), (7, 5), LabelMap.numbered(1))
    assert targets.boxes.dtype == found.boxes.dtype == torch.float32
    _, half = resize(torch.zeros(3, 7, 5, dtype=torch.uint8), targets, 14, 15)
    assert half.boxes.tolist() == [[3, 2, 12, 12]]


def test_a_pixel_and_its_key_point_are_mirrored_to_the_same_place() -> None:
    """Column 1 of 8 has its middle at 1.5; mirrored it is column 6 with its middle at 6.5."""
    picture = torch.zeros(3, 4, 8, dtype=torch.uint8)
    picture[:, 2, 1] = 255
    targets = Targets(
        torch.tensor([[1.0, 2, 2, 3]]),
        torch.zeros(1, dtype=torch.long),
        (4, 8),
        torch.zeros(1, dtype=torch.bool),
        keypoints=torch.tensor([[[1.5, 2.5]]]),
        visibility=torch.tensor([[2]]),
    )
    picture, targets = mirror(picture, targets, ())
    assert picture[0].nonzero().tolist() == [[2, 6]]
    assert targets.keypoints.tolist() == [[[6.5, 2.5]]] and targets.boxes.tolist() == [[6, 2, 7, 3]]


@pytest.mark.parametrize("side", [30, 5], ids=["enlarged", "shrunk"])
def test_cubic_resizing_has_one_path_in_both_directions(side: int) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (11, 11, 3), dtype=np.uint8)
    spec = InputSpec(resample="bicubic", short_side=side, long_side=side)
    ours = spec.resize(torch.from_numpy(pixels).permute(2, 0, 1)).permute(1, 2, 0).numpy()
    theirs = Image.fromarray(pixels).resize((side, side), Image.Resampling.BICUBIC)
    assert np.array_equal(ours, np.asarray(theirs))


def test_running_statistics_are_kept_in_full_precision_under_bf16() -> None:
    """In bfloat16 a mean of 10 with momentum .1 would stop at 9.5625."""
    norm = build_norm("batch", 4).train()
    pixels = 10 + torch.randn(8, 4, 16, 16, generator=torch.Generator().manual_seed(0))
    with torch.autocast("cpu", torch.bfloat16):
        for _ in range(200):
            norm(nn.functional.conv2d(pixels, torch.eye(4)[..., None, None]))
    assert norm.running_mean.dtype == torch.float32
    assert (norm.running_mean - 10).abs().max() < 0.1


@pytest.mark.skipif(not hasattr(torch, "float8_e8m0fnu"), reason="this torch has no float8_e8m0fnu")
def test_float8_tensors_beside_the_weights_are_read_from_the_file(tmp_path) -> None:
    scales = torch.ones(4).to(torch.float8_e8m0fnu)
    try:
        save_file({"scales": scales, "weight": torch.ones(2)}, tmp_path / "a.safetensors")
    except Exception as error:  # versions before 0.6 know no such type
        pytest.skip(f"safetensors cannot write it: {error}")
    assert read_foreign(tmp_path / "a.safetensors").tensors["weight"].tolist() == [1, 1]
