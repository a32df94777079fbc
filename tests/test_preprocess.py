"""Pictures on their way into a network and boxes on their way back, against the programs that trained the weights."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from torch import Tensor, nn
from torchvision.models.detection.transform import GeneralizedRCNNTransform
from torchvision.transforms.v2 import functional
from torchvision.transforms.v2.functional import _geometry as geometry

from pagoda.detectors.fcos import FCOS
from pagoda.exporting.program import PixelsToDetections, export_pixels
from pagoda.heads.dense import DenseHead
from pagoda.necks.fpn import FPN
from pagoda.ops import resize
from pagoda.preprocess import InputSpec
from pagoda.structures.instances import Detections
from pagoda.structures.labels import LabelMap

TORCHVISION = InputSpec(resample="float", rounding="torchvision")
BUBBLIIIING = InputSpec(
    resample="bicubic",
    fit="letterbox",
    canvas=(600, 600),
    pad_multiple=1,
    mean=(0.406, 0.456, 0.485),
    std=(0.225, 0.224, 0.229),
)
EFFICIENTDET = InputSpec(fit="corner", canvas=(512, 512), pad_multiple=128, border=(124, 116, 104))
SMALL = {
    "letterbox": replace(BUBBLIIIING, canvas=(64, 96)),
    "corner": replace(EFFICIENTDET, canvas=(128, 96)),
}


def picture(height: int, width: int) -> Tensor:
    return torch.randint(0, 256, (3, height, width), dtype=torch.uint8)


# Resized (height, width) by maskrcnn-benchmark, detectron2 and torchvision of pictures of (width, height).
RESIZED = {
    (640, 480): ((800, 1066), (800, 1067), (800, 1066)),
    (480, 640): ((1066, 800), (1067, 800), (1066, 800)),
    (500, 375): ((800, 1066), (800, 1067), (800, 1066)),
    (640, 427): ((800, 1199), (800, 1199), (800, 1199)),
    (640, 426): ((800, 1201), (800, 1202), (800, 1201)),
    (500, 333): ((800, 1201), (800, 1201), (800, 1201)),
    (1920, 1080): ((750, 1333), (750, 1333), (749, 1333)),
    (1280, 720): ((750, 1333), (750, 1333), (749, 1333)),
    (640, 360): ((750, 1333), (750, 1333), (749, 1333)),
    (2000, 1000): ((666, 1332), (667, 1333), (666, 1333)),
    (1333, 800): ((800, 1333), (800, 1333), (800, 1333)),
    (1000, 1000): ((800, 800), (800, 800), (800, 800)),
    (640, 640): ((800, 800), (800, 800), (800, 800)),
    (612, 612): ((800, 800), (800, 800), (800, 800)),
    (334, 500): ((1197, 800), (1198, 800), (1197, 799)),  # torchvision falls short of the short side
    (3000, 400): ((178, 1335), (178, 1333), (177, 1333)),  # maskrcnn-benchmark passes the long one
    (586, 640): ((873, 800), (874, 800), (873, 800)),
}
PADDED = {
    (640, 480): (800, 1088),
    (640, 427): (800, 1216),
    (1920, 1080): (768, 1344),
    (3000, 400): (192, 1344),
}


@pytest.mark.parametrize("size_wh", RESIZED)
def test_sizes_become_whole_as_in_each_program(size_wh: tuple[int, int]) -> None:
    size = (size_wh[1], size_wh[0])
    roundings = ("maskrcnn_benchmark", "nearest", "torchvision")
    sizes = tuple(InputSpec(rounding=rounding).resized(size) for rounding in roundings)
    assert sizes == RESIZED[size_wh]
    if size_wh in PADDED:
        assert tuple(map(InputSpec().padded, sizes[0])) == PADDED[size_wh]


def test_float_is_what_torchvision_feeds_its_detectors_to_the_bit() -> None:
    transform = GeneralizedRCNNTransform(64, 100, [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]).eval()
    pictures = [picture(*size) for size in ((48, 64), (50, 33), (108, 192), (97, 61), (64, 64), (300, 40))]
    expected, _ = transform([pixels / 255 for pixels in pictures])
    found = replace(TORCHVISION, short_side=64, long_side=100).prepare(pictures)
    assert torch.equal(found.pixels, expected.tensors)
    assert [tuple(size) for size in found.sizes.tolist()] == expected.image_sizes


@pytest.mark.parametrize(
    "size", [(375, 500), (480, 640), (97, 61), (333, 500), (601, 600), (1, 700), (600, 600)]
)
def test_letterbox_is_pillows_picture_in_the_middle_of_grey(size: tuple[int, int]) -> None:
    pixels = picture(*size)
    height, width = size
    scale = min(600 / width, 600 / height)
    new_width, new_height = max(1, int(width * scale)), max(1, int(height * scale))
    image = Image.fromarray(pixels.permute(1, 2, 0).contiguous().numpy())
    expected = Image.new("RGB", (600, 600), (128, 128, 128))
    resized = image.resize((new_width, new_height), Image.Resampling.BICUBIC)
    expected.paste(resized, ((600 - new_width) // 2, (600 - new_height) // 2))
    array = np.asarray(expected)
    assert torch.equal(BUBBLIIIING.resize(pixels), torch.from_numpy(array.copy()).permute(2, 0, 1))
    batch = BUBBLIIIING.prepare([pixels])
    mean, std = (np.array(values, np.float32) for values in ((0.406, 0.456, 0.485), (0.225, 0.224, 0.229)))
    network_input = (array.astype(np.float32) / np.float32(255) - mean) / std
    np.testing.assert_array_equal(batch.pixels[0].permute(1, 2, 0), network_input)
    assert batch.sizes.tolist() == [[600, 600]]


def test_corner_pads_with_the_colour_at_bottom_and_right() -> None:
    pictures = [picture(512, 300), picture(200, 512)]  # nothing to resize
    batch = EFFICIENTDET.prepare(pictures)
    assert batch.sizes.tolist() == [[512, 300], [200, 512]]
    for pixels, normalized in zip(pictures, batch.pixels, strict=True):
        expected = Image.new("RGB", (512, 512), (124, 116, 104))
        expected.paste(Image.fromarray(pixels.permute(1, 2, 0).contiguous().numpy()))
        whole = torch.from_numpy(np.array(expected)).permute(2, 0, 1)
        assert torch.equal(normalized, EFFICIENTDET.normalize(whole))
    assert EFFICIENTDET.resized((375, 500)) == (384, 512) and EFFICIENTDET.resized((333, 500)) == (340, 512)
    assert EFFICIENTDET.prepare([picture(10, 10)]).pixels.shape == (1, 3, 512, 512)


def test_the_default_is_as_it_was() -> None:
    pixels = picture(300, 400)
    spec = InputSpec(short_side=120, long_side=150)
    assert torch.equal(spec.resize(pixels), functional.resize(pixels, [113, 150], antialias=True))
    assert spec.resize(pixels[:, :113, :150]).data_ptr() == pixels.data_ptr()  # nothing to do, nothing copied


@pytest.mark.parametrize("in_bytes", [True, False])
@pytest.mark.parametrize("shape", [(3, 97, 131), (4, 50, 70), (5, 3, 60, 80), (3, 1, 7), (3, 200, 3)])
def test_the_default_equals_torchvision_to_the_bit(shape, in_bytes, monkeypatch) -> None:
    """In bytes where torch has an operator for them, as torchvision decides; in floats elsewhere."""
    if in_bytes and not resize._computes_in_bytes():
        pytest.skip("torch resizes in floats on this processor")
    monkeypatch.setattr(resize, "_computes_in_bytes", lambda: in_bytes)
    monkeypatch.setattr(geometry, "_do_native_uint8_resize_on_cpu", lambda interpolation: in_bytes)
    pixels = torch.randint(0, 256, shape, dtype=torch.uint8)
    for size in ((31, 41), (200, 150), (97, 20), (1, 90)):
        spec = InputSpec(fit="stretch", canvas=size)
        for each in (pixels, pixels.movedim(-3, -1).contiguous().movedim(-1, -3)):  # also channels last
            expected = functional.resize(each, list(size), antialias=True)
            assert torch.equal(spec.resize(each), expected), size


def test_a_single_pixel_is_a_mean() -> None:
    spec = InputSpec(fit="stretch", canvas=(1, 1))
    last = torch.full((40, 30, 3), 7, dtype=torch.uint8).movedim(
        -1, 0
    )  # torch's operator of bytes refuses it
    assert spec.resize(last).flatten().tolist() == [7, 7, 7]


def test_float_rounds_to_whole_greys_where_bytes_are_asked_for() -> None:
    pixels, spec = picture(60, 90), replace(TORCHVISION, short_side=50)
    difference = spec.batch([spec.resize(pixels)]).pixels - spec.prepare([pixels]).pixels
    assert 0 < difference.abs().max() <= 0.501 / 255 / 0.224
    assert spec.resize(pixels).dtype == torch.uint8


@pytest.mark.parametrize("order", ["RGB", "BGR"])
@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
def test_normalizing_follows_the_formula_and_leaves_the_picture_alone(order: str, dtype: torch.dtype) -> None:
    pixels = picture(5, 7).to(dtype)
    before = pixels.clone()
    found = InputSpec(channel_order=order).normalize(pixels)
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    expected = (pixels.float() / 255 - mean[:, None, None]) / std[:, None, None]
    assert torch.equal(found, expected.flip(0) if order == "BGR" else expected)
    assert torch.equal(pixels, before)
    caffe = InputSpec(
        scale=1.0, mean=(122.7717, 115.9465, 102.9801), std=(1.0, 1.0, 1.0), channel_order="BGR"
    )
    expected = pixels.flip(0).float() - torch.tensor([102.9801, 115.9465, 122.7717])[:, None, None]
    assert torch.equal(caffe.normalize(pixels), expected)


SPECS = {
    "default": InputSpec(),
    "maskrcnn": InputSpec(rounding="maskrcnn_benchmark"),
    "torchvision": TORCHVISION,
    "letterbox": BUBBLIIIING,
    "wide letterbox": replace(BUBBLIIIING, canvas=(300, 700)),
    "corner": EFFICIENTDET,
}


def detections(boxes: Tensor, image_size: tuple[int, int]) -> Detections:
    ones = torch.ones(len(boxes))
    return Detections(boxes, ones, ones.long(), image_size, LabelMap.numbered(2))


@pytest.mark.parametrize("name", SPECS)
@given(height=st.integers(1, 3000), width=st.integers(1, 3000))
def test_boxes_come_back_from_where_they_were_put(name: str, height: int, width: int) -> None:
    spec, size = SPECS[name], (height, width)
    x1, x2 = torch.rand(2, 20).mul(width).sort(0).values
    y1, y2 = torch.rand(2, 20).mul(height).sort(0).values
    boxes = torch.stack([x1, y1, x2, y2], 1)
    there = spec.to_frame(boxes, size)
    frame = spec.frame(size) if spec.fit == "letterbox" else spec.resized(size)
    assert (there >= -1e-3).all() and (there <= torch.tensor([frame[1], frame[0]] * 2) + 1e-3).all()
    (back,) = spec.restore([detections(there, frame)], [size])
    assert back.image_size == size
    torch.testing.assert_close(back.boxes, boxes, atol=1e-3 * max(1, max(size) / 600), rtol=1e-4)


def test_a_bright_spot_and_its_box_move_together() -> None:
    pixels = torch.zeros(3, 40, 90, dtype=torch.uint8)
    pixels[:, 10:20, 30:60] = 255
    for spec in (*SMALL.values(), replace(TORCHVISION, short_side=80)):
        frame = spec.prepare([pixels]).pixels[0, 0]
        content = frame[: spec.frame((40, 90))[0], : spec.frame((40, 90))[1]]
        rows, columns = (content > 1.5).nonzero().unbind(1)
        (x1, y1, x2, y2) = spec.to_frame(torch.tensor([[30.0, 10, 60, 20]]), (40, 90))[0].tolist()
        seen = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
        assert torch.tensor(seen).sub(torch.tensor([x1, y1, x2, y2])).abs().max() <= 1


def test_what_is_found_on_the_border_is_cut() -> None:
    found = detections(torch.tensor([[0.0, 0, 600, 600], [0, 0, 10, 10]]), (600, 600))
    (back,) = BUBBLIIIING.restore([found], [(300, 600)])
    assert back.boxes.tolist() == [[0, 0, 600, 300], [0, 0, 10, 0]]


@pytest.mark.parametrize("name", [*SMALL, "default"])
@pytest.mark.parametrize("size", [(33, 50), (64, 96), (200, 150)])
def test_pad_is_batch_for_pictures_of_one_size(name: str, size: tuple[int, int]) -> None:
    spec = SMALL.get(name, InputSpec(channel_order="BGR"))
    pictures = [picture(*size), picture(*size)]
    assert torch.equal(spec.pad(spec.normalize(torch.stack(pictures))), spec.batch(pictures).pixels)


class Patches(nn.Module):
    """The smallest backbone: one convolution over patches that do not overlap."""

    channels, strides = {3: 8}, {3: 8}

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 8, stride=8)

    def forward(self, x: Tensor) -> dict[int, Tensor]:
        return {3: self.conv(x)}


@pytest.mark.medium
@pytest.mark.parametrize("name", SMALL)
def test_exported_graphs_pad_alike(name: str) -> None:
    backbone = Patches()
    neck = FPN(backbone.channels, 32, top_level=3)
    heads = [DenseHead(neck.channels, outputs, depth=1) for outputs in (2, 5)]
    model = FCOS(backbone, neck, class_head=heads[0], box_head=heads[1], input_spec=SMALL[name]).eval()
    with torch.no_grad():
        heads[0].predict.bias.zero_()
        heads[0].predict.weight.normal_(std=0.3)  # so that the border shows
    # Everything is kept, so that nothing hangs on which of two near-equal scores is the higher one.
    keep_all = model.postprocess.with_limits(
        min_score=0.0, max_iou=1.0, max_candidates=10_000, max_detections=10_000
    )
    program = export_pixels(PixelsToDetections(model, keep_all)).module()
    for size in ((90, 60), (128, 96), (200, 70)):
        images = torch.stack([picture(*size), picture(*size)])
        boxes, scores, labels = program(images)
        with torch.no_grad():
            expected = model.detect(model.input_spec.batch(list(images)), postprocess=keep_all)
        for index, found in enumerate(expected):
            assert len(found) == len(scores[index]) > 100
            same = (scores[index][:, None] - found.scores).abs() <= 1e-5
            same &= (boxes[index][:, None] - found.boxes).abs().amax(-1) <= 1e-2
            same &= labels[index][:, None] == found.labels
            assert same.any(0).all() and same.any(1).all()


def test_settings_survive_json_and_cards_of_before_are_read() -> None:
    for spec in SPECS.values():
        assert InputSpec.from_dict(json.loads(json.dumps(spec.to_dict()))) == spec
    old = InputSpec().to_dict()
    for name in ("resample", "fit", "canvas", "border"):
        del old[name]
    assert InputSpec.from_dict(old) == InputSpec()


def test_settings_that_contradict_each_other_are_refused() -> None:
    for wrong in ({"fit": "letterbox"}, {"fit": "corner"}, {"canvas": (600, 600)}):
        with pytest.raises(ValueError, match=r"need canvas=\(height, width\)"):
            InputSpec(**wrong)
    with pytest.raises(ValueError, match='resample="float" goes with fit="resize" or "stretch"'):
        InputSpec(resample="float", fit="corner", canvas=(600, 600))


@pytest.mark.skipif(not InputSpec().takes_strips, reason="strips are for processors with AVX2")
@pytest.mark.parametrize(
    "fit",
    [
        {},
        {"rounding": "torchvision"},
        {"fit": "letterbox", "canvas": (64, 100)},
        {"fit": "corner", "canvas": (80, 50)},
        {"fit": "stretch", "canvas": (37, 91)},
    ],
)
@pytest.mark.parametrize("size", [(375, 500), (61, 97), (601, 3), (1, 700), (60, 60)])
def test_a_picture_in_strips_is_resized_to_the_same_bits(size: tuple[int, int], fit: dict) -> None:
    spec = InputSpec(**{"short_side": 60, "long_side": 90, **fit})
    whole = picture(*size)
    for height in (1, 7, 400, 1000):
        parts = whole.split(height, 1)
        strips = [part.permute(1, 2, 0).contiguous().permute(2, 0, 1) for part in parts]
        assert torch.equal(spec.resize_strips(iter(strips), size), spec.resize(whole))
    assert not replace(spec, resample="bicubic").takes_strips


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"mean": (0.0, 0.0, 1e308)}, "finite, at most 1e"),
        ({"std": (1.0, 1.0, 1e-300)}, "scale and std not 0"),
        ({"scale": math.inf}, "finite"),
        ({"border": 256}, "border must be from 0 to 255, got 256"),
        ({"border": (0, -1, 0)}, "border must be from 0 to 255, got -1"),
    ],
)
def test_numbers_that_no_pixel_can_have_are_refused(wrong: dict, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        InputSpec(**wrong)


@pytest.mark.parametrize("size", [(375, 500), (61, 97), (601, 600), (1, 700)])
def test_stretched_pictures_are_pillows_and_boxes_find_back(size: tuple[int, int]) -> None:
    """bubbliiiing with letterbox_image=False."""
    spec = replace(BUBBLIIIING, fit="stretch", canvas=(60, 90))
    pixels = picture(*size)
    resized = Image.fromarray(pixels.permute(1, 2, 0).numpy()).resize((90, 60), Image.Resampling.BICUBIC)
    assert torch.equal(spec.resize(pixels), torch.from_numpy(np.array(resized)).permute(2, 0, 1))
    batch = spec.prepare([pixels, picture(33, 44)])
    assert batch.pixels.shape == (2, 3, 60, 90) and batch.sizes.tolist() == [[60, 90]] * 2
    box = torch.tensor([[0.0, 0.0, size[1] / 2, float(size[0])]])
    framed = spec.to_frame(box, size)
    torch.testing.assert_close(framed, torch.tensor([[0.0, 0.0, 45.0, 60.0]]))
    found = Detections(
        framed, torch.ones(1), torch.zeros(1, dtype=torch.long), (60, 90), LabelMap.numbered(1)
    )
    torch.testing.assert_close(spec.restore([found], [size])[0].boxes, box)


GREY = InputSpec(mean=(0.5,), std=(0.25,), pad_multiple=1, short_side=20, long_side=40)
RGBA = replace(GREY, mean=(0.1, 0.2, 0.3, 0.4), std=(1.0, 1.0, 1.0, 0.5))


def test_a_network_of_one_channel_reads_pillows_grey() -> None:
    pixels = picture(31, 47)
    grey = np.asarray(Image.fromarray(pixels.permute(1, 2, 0).numpy()).convert("L")).astype(np.float32)
    found = GREY.batch([pixels]).pixels
    assert found.shape == (1, 1, 31, 47) and GREY.read_channels == 3
    np.testing.assert_array_equal(found[0, 0], (grey / np.float32(255) - np.float32(0.5)) / np.float32(0.25))
    assert torch.equal(replace(GREY, channel_order="BGR").batch([pixels]).pixels, found)
    same = pixels[:1].expand(3, -1, -1)  # of a grey file
    assert torch.equal(GREY.normalize(same), GREY.normalize(pixels[:1]))


def test_a_network_of_four_channels_reads_the_opacity_last() -> None:
    pixels = torch.cat([picture(31, 47), picture(31, 47)[:1]])
    found = RGBA.batch([pixels]).pixels[0]
    torch.testing.assert_close(found[3], (pixels[3] / 255 - 0.4) / 0.5)
    torch.testing.assert_close(found[0], pixels[0] / 255 - 0.1)
    order = [2, 1, 0, 3]
    assert torch.equal(replace(RGBA, channel_order="BGR").batch([pixels]).pixels[0], found[order])
    opaque = RGBA.batch([pixels[:3]]).pixels[0]
    assert torch.equal(opaque[:3], found[:3]) and torch.unique(opaque[3]).tolist() == [pytest.approx(1.2)]
    assert RGBA.read_channels == 4 and InputSpec.from_dict(json.loads(json.dumps(RGBA.to_dict()))) == RGBA


@pytest.mark.parametrize("spec", [GREY, RGBA], ids=["grey", "rgba"])
@pytest.mark.parametrize(
    "fit",
    [
        {},
        {"resample": "float"},
        {"fit": "letterbox", "canvas": (40, 40), "resample": "bicubic"},
        {"fit": "corner", "canvas": (40, 60), "border": (9, 8, 7)},
        {"fit": "stretch", "canvas": (20, 30)},
    ],
)
def test_every_way_in_knows_the_channels(spec: InputSpec, fit: dict) -> None:
    spec = replace(spec, **fit)
    pictures = [
        torch.cat([picture(*size), picture(*size)[:1]])[: spec.read_channels] for size in ((30, 40), (33, 21))
    ]
    batch = spec.prepare(pictures)
    assert batch.pixels.shape[:2] == (2, spec.channels) and torch.isfinite(batch.pixels).all()
    resized = spec.resize(pictures[0])
    assert resized.shape[0] == spec.read_channels
    exported = spec.pad(spec.normalize(resized[None]))
    assert exported.shape[1] == spec.channels
    if fit.get("fit") in ("corner", "letterbox", "stretch"):
        torch.testing.assert_close(exported[0], batch.pixels[0])


def test_other_numbers_of_channels_are_refused() -> None:
    for wrong in ({"mean": (0.5,)}, {"mean": (), "std": ()}, {"mean": (0.5,) * 2, "std": (0.5,) * 2}):
        with pytest.raises(
            ValueError, match=r"one channel \(grey\), three \(RGB\) or four \(RGBA\), each with a mean"
        ):
            InputSpec(**wrong)


def slow_corners(plane: list[list[float]], height: int, width: int) -> list[list[float]]:
    """Darknet's resize: columns first, then rows; the last of each is a copy."""

    def along(line: list[float], after: int) -> list[float]:
        step = (len(line) - 1) / (after - 1)
        inner = [
            (1 - (x * step - int(x * step))) * line[int(x * step)]
            + (x * step - int(x * step)) * line[min(int(x * step) + 1, len(line) - 1)]
            for x in range(after - 1)
        ]
        return [*inner, line[-1]]

    wide = [along(row, width) for row in plane]
    columns = [along([row[x] for row in wide], height) for x in range(width)]
    return [[column[y] for column in columns] for y in range(height)]


@pytest.mark.parametrize(("before", "after"), [((2, 3), (4, 5)), ((9, 7), (5, 11)), ((20, 31), (13, 12))])
def test_corners_stay_corners_as_in_darknet(before, after) -> None:
    spec = InputSpec(
        fit="stretch", canvas=after, resample="corners", mean=(0.0,) * 3, std=(1.0,) * 3, pad_multiple=1
    )
    pixels = picture(*before)
    found = spec.prepare([pixels]).pixels[0]
    expected = torch.tensor([slow_corners(plane.tolist(), *after) for plane in pixels])
    torch.testing.assert_close(found, expected / 255, rtol=0, atol=1e-5)
    assert ((spec.resize(pixels).float() - 255 * found).abs() <= 0.501).all()  # rounded, ties either way


def test_darknets_letterbox_lies_where_it_does() -> None:
    """333 × 500 into 448: 298 rows by whole-number division, 75 … 372."""
    spec = InputSpec(fit="letterbox", canvas=(448, 448), resample="corners", border=128)
    assert spec.resized((333, 500)) == (298, 448) and spec.offset((333, 500)) == (75, 0)
    pixels = spec.prepare([torch.full((3, 333, 500), 255, dtype=torch.uint8)]).pixels
    white = pixels[0, 0] == pixels[0, 0].max()
    assert white.any(1).nonzero().flatten()[[0, -1]].tolist() == [75, 372]
    assert torch.allclose(
        pixels, spec.normalize(spec.resize(torch.full((3, 333, 500), 255, dtype=torch.uint8)))[None]
    )
