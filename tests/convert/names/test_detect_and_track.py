"""Detect-and-Track's pickles: every blob of the three published networks in its place, everything else refused."""

import os
import pickle
import struct
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn.functional import conv2d, conv_transpose2d, max_pool2d

import pagoda
from pagoda.convert.read import convert
from pagoda.convert.recognise import ForeignCheckpoint, flavour_of, recognised
from pagoda.convert.to_program import to_source
from pagoda.models import create_model, is_of_clips
from pagoda.structures.posetrack_skeletons import PERSON_17
from pagoda.weights.files import WeightsError
from pagoda.zoo.cards import model_from_card

Shape = tuple[int, ...]
BLOCKS = {18: (2, 2, 2, 2), 50: (3, 4, 6, 3), 101: (3, 4, 23, 3)}
WIDTHS = (64, 128, 256, 512)
KEYPOINTS = 17


def conv(name: str, outputs: int, inputs: int, *kernel: int) -> Iterator[tuple[str, Shape]]:
    yield f"{name}_w", (outputs, inputs, *kernel)
    yield f"{name}_b", (outputs,)


def affine(name: str, channels: int) -> Iterator[tuple[str, Shape]]:
    yield f"{name}_bn_s", (channels,)
    yield f"{name}_bn_b", (channels,)


def stage(depth: int, stage: int, kernel: int) -> Iterator[tuple[str, Shape]]:
    """res2 … res5 with `kernel` frames per 3×3: two of these in basic blocks, one between 1×1s in bottlenecks."""
    width, growth = WIDTHS[stage - 2], 1 if depth == 18 else 4
    outputs = width * growth
    inputs = 64 if stage == 2 else WIDTHS[stage - 3] * growth
    for block in range(BLOCKS[depth][stage - 2]):
        name = f"res{stage}_{block}_branch"
        spatial, point = (kernel, 3, 3), (1, 1, 1)
        branches = {"2a": (width, inputs, *spatial), "2b": (width, width, *spatial)}
        if growth == 4:
            branches = {
                "2a": (width, inputs, *point),
                "2b": (width, width, *spatial),
                "2c": (outputs, width, *point),
            }
        if inputs != outputs:
            branches["1"] = (outputs, inputs, *point)
        for branch, shape in branches.items():
            yield f"{name}{branch}_w", shape
            yield from affine(f"{name}{branch}", shape[0])
        inputs = outputs


def keypoint_blobs(*kernel: int, fixed: str) -> Iterator[tuple[str, Shape]]:
    for index in range(8):
        yield from conv(f"conv_fcn{index + 1}", 512, 512 if index else 256, *kernel)
    yield "kps_score_lowres_w", (512, KEYPOINTS, 4, 4)
    yield "kps_score_lowres_b", (KEYPOINTS,)
    yield f"{fixed}_w", (KEYPOINTS, KEYPOINTS, 4, 4)
    yield f"{fixed}_b", (KEYPOINTS,)


def stem() -> Iterator[tuple[str, Shape]]:
    yield "conv1_w", (64, 3, 1, 7, 7)
    yield from affine("res_conv1", 64)


def c4_blobs(*, time: bool) -> dict[str, Shape]:
    """ResNet-18 on one level; with time all kernels have a time axis, without only those of the body."""
    kernel, one = (3 if time else 1), ((1,) if time else ())
    spatial, last = ((3, 3, 3) if time else (3, 3)), ("_1" if time else "")
    point = (1, 1, 1) if time else (1, 1)
    return dict(
        [
            *stem(),
            *stage(18, 2, 1),
            *stage(18, 3, kernel),
            *stage(18, 4, kernel),
            *conv("conv_rpn", 256, 256, *spatial),
            *conv(f"rpn_cls_logits{last}", 12, 256, *point),
            *conv(f"rpn_bbox_pred{last}", 48, 256, *point),
            *stage(18, 5, 1),
            *conv(f"cls_score{last}", 2, 512, *(3 * one)),
            *conv(f"bbox_pred{last}", 8, 512, *(3 * one)),
            *keypoint_blobs(*spatial, fixed="kps_score_prefinal" if time else "kps_score"),
        ]
    )


def pyramid_blobs(depth: int, *, kernel: int = 1) -> dict[str, Shape]:
    """The network that won: body and pyramid with a time axis of one frame, heads without any."""
    growth = 1 if depth == 18 else 4
    blobs = dict(
        [*stem(), *stage(depth, 2, 1), *(b for level in (3, 4, 5) for b in stage(depth, level, kernel))]
    )
    for level in (5, 4, 3, 2):
        last = f"res{level}_{BLOCKS[depth][level - 2] - 1}_sum"
        lateral = "" if level == 5 else "_lateral"
        blobs |= conv(f"fpn_inner_{last}{lateral}", 256, WIDTHS[level - 2] * growth, 1, 1, 1)
        blobs |= conv(f"fpn_{last}", 256, 256, kernel, 3, 3)
    blobs |= conv("conv_rpn_fpn2", 256, 256, 3, 3)
    blobs |= conv("rpn_cls_logits_fpn2", 3, 256, 1, 1)
    blobs |= conv("rpn_bbox_pred_fpn2", 12, 256, 1, 1)
    blobs |= {**dict(conv("fc6", 1024, 12544)), **dict(conv("fc7", 1024, 1024))}
    blobs |= {**dict(conv("cls_score", 2, 1024)), **dict(conv("bbox_pred", 8, 1024))}
    return blobs | dict(keypoint_blobs(3, 3, fixed="kps_score"))


def bilinear() -> np.ndarray:
    """What Detectron calls its interpolation: each map on its own, 1 - |distance| / 2."""
    line = [1 - abs(x - 1.5) / 2 for x in range(4)]
    kernel = np.zeros((KEYPOINTS, KEYPOINTS, 4, 4), np.float32)
    for k in range(KEYPOINTS):
        for row in range(4):
            for column in range(4):
                kernel[k, k, row, column] = line[row] * line[column]
    return kernel


def values(blobs: Mapping[str, Shape]) -> dict[str, np.ndarray]:
    """Numbers that keep a network sane, another piece of one random line in every blob."""
    noise = np.random.default_rng(0).standard_normal(1 << 18).astype(np.float32)
    found = {}
    for index, (name, shape) in enumerate(blobs.items()):
        size = int(np.prod(shape))
        piece = np.resize(np.roll(noise, 997 * index), size).reshape(shape)
        fan_in = size // shape[0]
        found[name] = 1 + 0.1 * piece if name.endswith("_s") else piece * (2 / max(fan_in, 2)) ** 0.5
        if name in ("kps_score_w", "kps_score_prefinal_w"):
            found[name] = bilinear()
        if name in ("kps_score_b", "kps_score_prefinal_b"):
            found[name] = np.zeros(shape, np.float32)
    return found


NETWORKS = {
    "detect_and_track_resnet18_c4_2d": (c4_blobs(time=False), 90, 29_629_880),
    "detect_and_track_resnet18_c4_3d": (c4_blobs(time=True), 90, 71_359_928),
    "detect_and_track_resnet101_2d": (pyramid_blobs(101), 362, 78_187_147),
}
JUNK = {
    **{f"{name}_momentum": (4,) for name in ("conv_rpn_w", "conv_fcn1_w", "kps_score_lowres_w")},
    "lr": (1,),
    "weight_order": (1,),
}
# What a ResNet-18 on C4 keeps of the Keypoint R-CNN (on a pyramid) that it began as.
OLD_HEADS = {
    name: shape
    for name, shape in pyramid_blobs(18).items()
    if name.startswith(
        ("fpn_", "conv_rpn_fpn2", "rpn_", "fc6", "fc7", "cls_score", "bbox_pred", "kps_score_w")
    )
}
CONFIG = """!!python/object/new:detectron.utils.collections.AttrDict
dictitems:
  MODEL: !!python/object/new:detectron.utils.collections.AttrDict
    dictitems:
      BBOX_REG_WEIGHTS: !!python/tuple [10.0, 10.0, 5.0, 5.0]
  VIDEO: !!python/object/new:detectron.utils.collections.AttrDict
    dictitems: {NUM_FRAMES: 3, NUM_FRAMES_MID: 5, TIME_INTERVAL: 2}
"""


def empty(blobs: Mapping[str, Shape]) -> dict[str, Tensor]:
    """Shapes are real, but all elements of a tensor are one number."""
    fixed = torch.from_numpy(bilinear())
    return {
        name: fixed if shape == tuple(fixed.shape) else torch.zeros(()).expand(shape)
        for name, shape in blobs.items()
    }


def told(blobs: Mapping[str, Shape], config: str | None = None) -> ForeignCheckpoint:
    return recognised("model_final.pkl", empty(blobs), {} if config is None else {"cfg": config})


def name_of(checkpoint: ForeignCheckpoint) -> str:
    found = checkpoint.architecture
    return f"{found.detector}_{found.backbone}_{found.neck}"


# Names and shapes


@pytest.mark.parametrize("name", NETWORKS)
def test_every_blob_has_its_place_and_every_place_its_blob(name: str) -> None:
    blobs, count, total = NETWORKS[name]
    assert len(blobs) == count and sum(int(np.prod(shape)) for shape in blobs.values()) == total
    found = told({**blobs, **JUNK})
    assert name_of(found) == name and flavour_of(found) == "original"
    assert found.architecture.num_classes == 1 and found.architecture.options["num_keypoints"] == KEYPOINTS
    taken = found.renamed.taken
    with torch.device("meta"):
        state = create_model(f"{name}.original", num_classes=1).state_dict()
    ours = {key for key in state if not key.endswith(("running_mean", "running_var"))}
    assert set(taken.values()) == ours and len(taken) == len(ours) == count - 2
    for blob, place in taken.items():
        assert int(np.prod(blobs[blob])) == state[place].numel(), blob
    assert not found.renamed.unknown
    fixed = "kps_score_prefinal" if name.endswith("3d") else "kps_score"
    assert set(found.renamed.dropped) == {*JUNK, f"{fixed}_w", f"{fixed}_b"}


@pytest.mark.parametrize("time", [False, True], ids=["2d", "3d"])
def test_what_is_left_of_the_first_checkpoint_is_listed_and_not_taken(time: bool) -> None:
    blobs = c4_blobs(time=time)
    left = {name: shape for name, shape in OLD_HEADS.items() if name not in blobs}
    alone, found = told(blobs), told({**left, **blobs})
    assert found.source is alone.source and found.architecture == alone.architecture
    assert found.renamed.taken == alone.renamed.taken and not found.renamed.unknown
    new = found.renamed.dropped.keys() - alone.renamed.dropped.keys()
    assert new == left.keys() and len(new) == (31 if time else 26)
    why = {found.renamed.dropped[name] for name in new}
    assert why == {"left of the checkpoint that its training began with"}


def test_a_body_without_time_axis_is_told_by_its_single_level() -> None:
    blobs = {n: (*s[:2], *s[3:]) if len(s) == 5 else s for n, s in c4_blobs(time=False).items()}
    assert name_of(told(blobs)) == "detect_and_track_resnet18_c4_2d"
    pyramid = {n: (*s[:2], *s[3:]) if len(s) == 5 else s for n, s in pyramid_blobs(101).items()}
    found = told(pyramid)  # the same network on pictures
    assert found.source.name == "caffe2" and name_of(found) == "keypoint_rcnn_resnet101_fpn"


def test_resnet18_on_a_pyramid_is_read_too() -> None:
    assert name_of(told(pyramid_blobs(18))) == "detect_and_track_resnet18_2d"
    assert name_of(told(pyramid_blobs(50))) == "detect_and_track_resnet50_2d"


def test_networks_that_learned_batch_norms() -> None:
    blobs = c4_blobs(time=False)
    norms = [name.removesuffix("s") for name in blobs if name.endswith("_bn_s")]
    statistics = {f"{norm}{kind}": blobs[f"{norm}s"] for norm in norms for kind in ("rm", "riv")}
    found = told(blobs | statistics)
    assert found.architecture.options["norm"] == "batch" and not found.renamed.unknown
    assert found.renamed.taken["res5_1_branch2b_bn_riv"] == "box_head.head.trunk.stage.1.bn2.running_var"
    assert found.renamed.taken["res_conv1_bn_rm"] == "backbone.bn1.running_mean"
    del statistics["res4_0_branch1_bn_riv"]
    with pytest.raises(
        WeightsError, match=r"1 statistics of batch norms are not in it \(.*downsample.1.running_var"
    ):
        told(blobs | statistics)


def test_networks_without_keypoints() -> None:
    plain = {
        name: shape
        for name, shape in c4_blobs(time=True).items()
        if not name.startswith(("conv_fcn", "kps_score"))
    }
    found = told(plain)
    assert found.architecture.options["num_keypoints"] == 0
    with torch.device("meta"):
        model = create_model(f"{name_of(found)}.original", num_classes=1, **found.architecture.options)
    assert model.keypoint_head is None and model.label_map.skeleton is None


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"kps_deconv_w": (256, 256, 4, 4)}, r"begins with a transposed convolution \(kps_deconv_w"),
        (
            {"conv_rpn_w": (256, 256, 1, 3, 3)},
            r"unlike many frames \(body 3, proposal head 1, keypoint head 3\)",
        ),
        ({"rpn_cls_logits_1_w": None}, r"it has no proposal head \(one of rpn_cls_logits_1_w"),
        ({"cls_score_1_w": None}, r"box_head.head.classes.weight is not in it: the checkpoint is cut short"),
    ],
)
def test_networks_that_ours_cannot_be(change: dict[str, Shape | None], said: str) -> None:
    blobs = {**c4_blobs(time=True), **change}
    with pytest.raises(WeightsError, match=said):
        told({name: shape for name, shape in blobs.items() if shape is not None})


@pytest.mark.parametrize("blob", ["kps_score_prefinal_w", "kps_score_prefinal_b"])
def test_a_fixed_kernel_that_is_another_is_refused(blob: str) -> None:
    tensors = empty(c4_blobs(time=True))
    tensors[blob] = tensors[blob] + 0.01
    with pytest.raises(WeightsError, match=f"{blob} .*should"):
        recognised("model_final.pkl", tensors)


# Whole files


def text(value: str) -> bytes:
    """A `str` of Python 2."""
    raw = value.encode("latin1")
    return b"U" + bytes([len(raw)]) + raw if len(raw) < 256 else b"T" + struct.pack("<i", len(raw)) + raw


def python2_pickle(blobs: Mapping[str, np.ndarray], config: str | None) -> Iterator[bytes]:
    """Pieces of what cPickle of Python 2 writes with protocol 2 of {"blobs": …, "cfg": …}, or of the blobs alone."""
    dtype = b"cnumpy\ndtype\n(" + text("f4") + b"K\x00K\x01tR"
    dtype += b"(K\x03" + text("<") + b"NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
    start = b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(K\x00t" + text("b") + b"tR"
    yield b"\x80\x02}(" + (b"" if config is None else text("blobs") + b"}(")
    for name, array in blobs.items():
        shape = b"(" + b"".join(b"M" + struct.pack("<H", side) for side in array.shape) + b"t"
        yield text(name) + start + b"(K\x01" + shape + dtype + b"\x89T" + struct.pack("<i", array.nbytes)
        yield array.tobytes()
        yield b"tb"
    yield b"u." if config is None else b"u" + text("cfg") + text(config) + b"u."


def written(folder: Path, blobs: Mapping[str, np.ndarray], config: str | None = CONFIG) -> Path:
    path = folder / "model_final.pkl"
    with path.open("wb") as file:
        file.writelines(python2_pickle(blobs, config))
    return path


@pytest.mark.medium
@pytest.mark.parametrize("name", NETWORKS)
def test_a_file_of_python_2_becomes_a_model_bit_by_bit(tmp_path: Path, name: str) -> None:
    blobs = values(NETWORKS[name][0])
    junk = {key: np.zeros(shape, np.float32) for key, shape in {**JUNK, "who_knows_w": (3,)}.items()}
    path = written(tmp_path, {**junk, **blobs})
    found = convert(path, num_classes=1)
    model, report = found.model, found.report
    assert is_of_clips(path)
    assert report.model == f"{name}.original" and report.taken == len(blobs) - 2
    assert report.unknown == ["who_knows_w"] and not report.missing
    assert JUNK.keys() < report.dropped.keys()
    assert model.label_map == PERSON_17 and "PoseTrack" not in report.licence
    state = model.state_dict()
    for source, place in found.places.items():
        assert torch.equal(state[place.name].flatten(), torch.from_numpy(blobs[source]).flatten()), source
    has_time = name.endswith("3d")
    assert (model.num_frames, model.frame_interval) == ((3, 2) if has_time else (1, 1))
    assert model.box_head.coder.weights == (10.0, 10.0, 5.0, 5.0)
    assert model.input_spec.channel_order == "BGR"
    card = model.card()
    assert (
        card["provenance"]["source"] == "Detect-and-Track" and card["provenance"]["licence"] == "Apache-2.0"
    )


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, np.ndarray]]:
    """The smallest of the three, as the dict of blobs alone, which older files are."""
    blobs = values(c4_blobs(time=False))
    return written(tmp_path_factory.mktemp("small"), blobs, None), blobs


class Reference:
    """ResNet-18 on one level, on one frame, straight from the blobs."""

    def __init__(self, arrays: Mapping[str, np.ndarray]) -> None:
        self.blobs = {name: torch.from_numpy(array) for name, array in arrays.items()}

    def conv(self, x: Tensor, name: str, stride: int = 1) -> Tensor:
        weight = self.blobs[f"{name}_w"]
        weight = weight[:, :, 0] if weight.ndim == 5 else weight
        return conv2d(x, weight, self.blobs.get(f"{name}_b"), stride, weight.shape[-1] // 2)

    def scaled(self, x: Tensor, name: str) -> Tensor:
        scale, shift = self.blobs[f"{name}_bn_s"], self.blobs[f"{name}_bn_b"]
        return x * scale[:, None, None] + shift[:, None, None]

    def block(self, x: Tensor, name: str, stride: int) -> Tensor:
        inner = self.scaled(self.conv(x, f"{name}_branch2a", stride), f"{name}_branch2a").relu()
        inner = self.scaled(self.conv(inner, f"{name}_branch2b"), f"{name}_branch2b")
        if f"{name}_branch1_w" in self.blobs:
            x = self.scaled(self.conv(x, f"{name}_branch1", stride), f"{name}_branch1")
        return (inner + x).relu()

    def stage(self, x: Tensor, stage: int, stride: int) -> Tensor:
        return self.block(self.block(x, f"res{stage}_0", stride), f"res{stage}_1", 1)

    def body(self, frames: Tensor) -> Tensor:
        x = self.scaled(self.conv(frames, "conv1", 2), "res_conv1").relu()
        x = max_pool2d(x, 3, 2, padding=1)
        for stage in (2, 3, 4):
            x = self.stage(x, stage, 1 if stage == 2 else 2)
        return x


@pytest.mark.medium
def test_numbers_are_those_of_the_blobs(small: tuple[Path, dict[str, np.ndarray]]) -> None:
    """Every part against the operators that its blobs are for."""
    path, arrays = small
    model, reference = pagoda.load(path), Reference(arrays)
    blobs = reference.blobs
    frames, pooled, tower = (
        50 * torch.randn(1, 3, 64, 96),
        torch.rand(3, 256, 7, 7),
        torch.rand(2, 512, 14, 14),
    )
    with torch.no_grad():
        features = model.backbone(frames[:, :, None])
        logits, deltas = model.rpn_head(features)
        classes, boxes = model.box_head(pooled[:, None])
        maps = model.keypoint_head.maps(tower)

    def close(ours: Tensor, theirs: Tensor) -> None:
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5 * float(theirs.abs().max()))

    body = reference.body(frames)
    close(features[4][:, :, 0], body)
    hidden = reference.conv(body, "conv_rpn").relu()
    close(logits, reference.conv(hidden, "rpn_cls_logits").permute(0, 2, 3, 1).flatten(1))
    close(deltas.flatten(), reference.conv(hidden, "rpn_bbox_pred").permute(0, 2, 3, 1).flatten())
    x = reference.stage(pooled, 5, 1).mean((2, 3))
    scores = x @ blobs["cls_score_w"].T + blobs["cls_score_b"]
    close(classes, scores.flip(1))  # theirs has the background first
    close(boxes.flatten(1), (x @ blobs["bbox_pred_w"].T + blobs["bbox_pred_b"])[:, 4:])
    low = conv_transpose2d(tower, blobs["kps_score_lowres_w"], blobs["kps_score_lowres_b"], 2, 1)
    close(maps, conv_transpose2d(low, blobs["kps_score_w"], blobs["kps_score_b"], 2, 1))


@pytest.mark.medium
def test_weights_of_box_deltas_are_those_of_the_config(
    tmp_path: Path, small: tuple[Path, dict[str, np.ndarray]]
) -> None:
    path, blobs = small
    assert convert(path).model.box_head.coder.weights == (
        10.0,
        10.0,
        5.0,
        5.0,
    )  # as there is no config
    older = convert(written(tmp_path, blobs, "MODEL: {NUM_CLASSES: 2}\n"))
    assert older.model.box_head.coder.weights == (1.0, 1.0, 1.0, 1.0)
    assert "(1.0, 1.0, 1.0, 1.0), as the file's config has it" in older.report.text()
    kept = model_from_card(older.model.card())
    assert (
        kept.criterion == older.model.criterion
        and kept.state_dict().keys() == older.model.state_dict().keys()
    )


@pytest.mark.medium
def test_files_that_are_refused(tmp_path: Path, small: tuple[Path, dict[str, np.ndarray]]) -> None:
    _, blobs = small
    turned = {**blobs, "res5_0_branch2a_w": blobs["res5_0_branch2a_w"].swapaxes(0, 1)}
    with pytest.raises(
        WeightsError, match=r"res5_0_branch2a_w \(256, 512, 1, 3, 3\) instead of \(512, 256, 3, 3\)"
    ):
        convert(written(tmp_path, turned))
    for shape in ((3 * 512, KEYPOINTS, 4, 4), (512, KEYPOINTS, 3, 4, 4)):  # of all frames at once; over time
        grouped = {**blobs, "kps_score_lowres_w": np.zeros(shape, np.float32)}
        with pytest.raises(WeightsError, match=rf"1 of another shape \(kps_score_lowres_w \({shape[0]}, 17,"):
            convert(written(tmp_path, grouped))
    with pytest.raises(WeightsError, match=r"1 tensors missing \(backbone.layer3.1.bn2.bias\)"):
        convert(written(tmp_path, {n: a for n, a in blobs.items() if n != "res4_1_branch2b_bn_b"}))
    with pytest.raises(WeightsError, match="was trained on 1 class, not 2"):
        convert(written(tmp_path, blobs), num_classes=2)


class Calls:
    """Pickles as a call."""

    def __init__(self, *arguments: object) -> None:
        self.arguments = arguments

    def __reduce__(self) -> tuple:
        return os.system, self.arguments


def test_nothing_in_a_file_runs(tmp_path: Path) -> None:
    mark, path = tmp_path / "ran", tmp_path / "model_final.pkl"
    for content in (
        {"blobs": {"conv1_w": Calls(f"touch {mark}")}},
        {"blobs": {}, "cfg": Calls(f"touch {mark}")},
    ):
        path.write_bytes(pickle.dumps(content, protocol=2))
        with pytest.raises(WeightsError, match=r"asks for posix.system"):
            convert(path)
    assert not mark.exists()


def test_there_is_no_way_back() -> None:
    with torch.device("meta"):
        model = create_model("detect_and_track_resnet18_c4_2d.original", num_classes=1)
    with pytest.raises(ValueError, match="cannot be written for another program, only read from one"):
        to_source(model, "detect_and_track")
