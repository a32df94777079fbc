"""Detect-and-Track by name: the published sizes, its forms, and what is refused."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from pagoda.detectors.detect_and_track import DetectAndTrack
from pagoda.exporting.program import export_forward
from pagoda.follow.clips import detect_frames, tracker_for
from pagoda.models import create_model, is_of_clips
from pagoda.structures.images import ImageBatch
from pagoda.structures.labels import LabelMap
from pagoda.structures.posetrack_skeletons import PERSON_17
from pagoda.structures.tubes import TubeTargets
from pagoda.weights.files import save_weights
from pagoda.zoo.cards import model_from_card

pytestmark = pytest.mark.medium

SMALL = {"width": 32, "head_depth": 1, "short_side": 64, "long_side": 96}
PUBLISHED = {  # parameters with the affine maps and the fixed bilinear kernel that the original counts; what trains
    "detect_and_track_resnet18_c4_2d.original": (29_629_880, 29_458_775),
    "detect_and_track_resnet18_c4_3d.original": (71_359_928, 71_188_823),
    "detect_and_track_resnet101_2d.original": (78_187_147, 77_854_762),
}
FIXED = 17 * 17 * 16 + 17


@pytest.mark.parametrize(("name", "total", "trainable"), [(n, *counts) for n, counts in PUBLISHED.items()])
def test_published_parameter_totals(name: str, total: int, trainable: int) -> None:
    with torch.device("meta"):
        model = create_model(name, num_classes=1)
    parameters = list(model.parameters())
    affine = sum(
        buffer.numel() for key, buffer in model.named_buffers() if key.endswith((".weight", ".bias"))
    )
    assert sum(p.numel() for p in parameters) + affine + FIXED == total
    assert sum(p.numel() for p in parameters if p.requires_grad) == trainable
    assert model.label_map == PERSON_17 and is_of_clips(name) and is_of_clips(model)


def clip_batch(length: int) -> tuple[ImageBatch, list[TubeTargets]]:
    """Two clips, the second without any object."""
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randn(2, 3, length, 64, 96, generator=generator)
    boxes = torch.tensor([10.0, 5, 40, 60]) + torch.arange(length)[:, None] * torch.tensor([2.0, 0, 2, 0])
    targets = TubeTargets(
        boxes[None],
        torch.zeros(1, dtype=torch.long),
        torch.ones(1, length, dtype=torch.bool),
        (64, 96),
        torch.zeros(1, dtype=torch.bool),
        torch.tensor([7]),
        length // 2,
        keypoints=boxes[None, :, None, :2] + 10 * torch.rand(1, length, 17, 2, generator=generator),
        visibility=torch.full((1, length, 17), 2),
    )
    return ImageBatch(pixels, torch.tensor([[64, 96], [60, 90]])), [targets, targets[:0]]


def with_few(model: DetectAndTrack, proposals: int) -> DetectAndTrack:
    """And four tubes: hundreds of regions of a fresh network say no more than a dozen."""
    rules, few = model.proposals, {"max_proposals": proposals}
    training, inference = replace(rules.training, **few), replace(rules.inference, **few)
    model.proposals = replace(rules, training=training, inference=inference)
    model.postprocess = model.postprocess.with_limits(min_score=0.0, max_detections=4)
    return model


@pytest.mark.parametrize(
    ("neck", "options", "length"),
    [
        ("3d", {}, 3),
        ("3d", {"num_frames": 5}, 5),
        ("2d", {}, 1),
        pytest.param("c4_3d", {}, 3, marks=pytest.mark.slow),  # its original, below
        ("c4_2d", {}, 1),
        ("3d", {"link": "center"}, 1),
        ("c4_3d", {"link": "mean"}, 1),
        pytest.param("c4_3d", {"num_frames": 9, "time_stride": True}, 3, marks=pytest.mark.slow),  # c5_3d
        ("c5_3d", {"num_frames": 5, "time_stride": True}, 1),
        ("3d.original", {}, 3),
        ("c4_3d.original", {}, 3),
    ],
)
def test_every_form_learns_and_sees(neck: str, options: dict, length: int) -> None:
    torch.manual_seed(0)
    model = create_model(f"detect_and_track_resnet18_{neck}", label_map=PERSON_17, **SMALL, **options)
    # With c4 every region goes through the last stage of the backbone.
    model = with_few(model, 12 if neck.startswith("c4") else 40)
    images, targets = clip_batch(model.num_frames)
    losses = model.losses(images, targets)
    assert set(losses) == {"loss_objectness", "loss_rpn_box", "loss_class", "loss_box", "loss_keypoint"}
    sum(losses.values()).backward()
    assert all(torch.isfinite(p.grad).all() for p in model.parameters() if p.grad is not None)
    frozen = [n for n, p in model.named_parameters() if not p.requires_grad]
    assert bool(frozen) == ("original" in neck)
    assert all(n.startswith(("backbone.conv1", "backbone.layer1")) for n in frozen)
    with torch.inference_mode():
        model.eval()
        tubes = model.detect_tubes(images)
        outputs = model(images)
    assert [each.boxes.shape for each in tubes] == [(4, length, 4)] * 2
    assert tubes[0].keypoints.shape == (4, length, 17, 2)
    assert outputs.boxes.shape[2] == length
    assert [found.boxes.shape for found in model.detect(images)] == [(4, 4)] * 2


@pytest.mark.parametrize(
    ("neck", "num_frames", "middle"),
    [
        ("c4_3d", 9, (3, 4, 5)),
        ("c4_3d", 5, (1, 2)),
        ("c4_3d", 3, (1,)),
        ("c5_3d", 9, (3, 4)),
        ("c5_3d", 4, (2,)),
    ],
)
def test_strides_in_time_leave_tubes_of_the_middle_frames(
    neck: str, num_frames: int, middle: tuple[int, ...]
) -> None:
    """Found and annotated alike; each stage from layer2 on halves the frames, an odd number rounded up."""
    torch.manual_seed(0)
    model = create_model(
        f"detect_and_track_resnet18_{neck}",
        label_map=LabelMap.from_names(["car"]),
        **SMALL,
        num_frames=num_frames,
        time_stride=True,
    ).eval()
    model = with_few(model, 8)
    images, (targets, _) = clip_batch(num_frames)
    with torch.inference_mode():
        tubes, _ = model.detect_tubes(images)
        (features,) = model.pyramid(model.frame_features(images.pixels)).values()
    assert features.shape[2] == len(middle) == tubes.boxes.shape[1]
    assert tubes.frames == middle and tubes.frames[tubes.key] == num_frames // 2
    assert torch.equal(targets.around_key(len(middle)).boxes, targets.boxes[:, list(middle)])


def test_tubes_of_a_video_through_strides_in_time() -> None:
    torch.manual_seed(0)
    options = {**SMALL, "num_frames": 9, "time_stride": True}
    model = create_model("detect_and_track_resnet18_c5_3d", label_map=LabelMap.from_names(["car"]), **options)
    frames = np.random.default_rng(0).integers(0, 255, (6, 64, 96, 3), dtype=np.uint8)
    found = list(detect_frames(model, list(frames), limits={"min_score": 0.0, "max_detections": 2}))
    assert [tubes.frames for tubes in found] == [(0, 0), (0, 1), (1, 2), (2, 3), (3, 4), (4, 5)]
    tracker = tracker_for(model, "tubes", min_score=0.0)
    tracked = [tracker.update(tubes) for tubes in detect_frames(model, list(frames))]
    assert [len(each.track_ids) > 0 for each in tracked] == [True] * 6


def test_a_picture_is_a_clip_that_stands_still() -> None:
    torch.manual_seed(0)
    model = create_model("detect_and_track_resnet18_3d", label_map=PERSON_17, **SMALL).eval()
    picture = torch.randn(1, 3, 64, 96)
    still = picture[:, :, None].expand(-1, -1, 3, -1, -1)
    sizes = torch.tensor([[64, 96]])
    limits = model.postprocess.with_limits(min_score=0.0, max_detections=4)
    with torch.inference_mode():
        (one,) = model.detect(ImageBatch(picture, sizes), postprocess=limits)
        (other,) = model.detect(ImageBatch(still, sizes), postprocess=limits)
    assert torch.equal(one.boxes, other.boxes) and torch.equal(one.keypoints, other.keypoints)


@pytest.mark.parametrize("neck", ["3d", "c4_2d.original", "c4_3d"])
def test_a_card_builds_it_again(neck: str) -> None:
    options = {**SMALL, "frame_interval": 2, **({"time_stride": True} if neck == "c4_3d" else {})}
    model = create_model(f"detect_and_track_resnet18_{neck}", label_map=PERSON_17, **options)
    again = model_from_card(model.card())
    again.load_state_dict(model.state_dict())
    assert again.frame_interval == 2 and again.num_frames == model.num_frames
    strides = {model.backbone.layer2[0].conv1.stride, again.backbone.layer2[0].conv1.stride}
    assert strides == {(2 if neck == "c4_3d" else 1, 2, 2)}
    assert again.criterion == model.criterion and again.postprocess == model.postprocess


def test_without_skeleton_there_are_boxes_only() -> None:
    model = create_model("detect_and_track_resnet18_3d", label_map=LabelMap.from_names(["car"]), **SMALL)
    images, targets = clip_batch(3)
    assert model.keypoint_head is None and "loss_keypoint" not in model.losses(images, targets)


def test_what_has_no_use_is_refused() -> None:
    with pytest.raises(ValueError, match="use for the option deform='v2', which is for ResNets of pictures"):
        create_model("detect_and_track_resnet18_3d", num_classes=1, deform="v2")
    with pytest.raises(ValueError, match="no use for the option num_frames=3, which is for Detect-and-Track"):
        create_model("fcos_resnet18_fpn", num_classes=1, num_frames=3)
    with pytest.raises(ValueError, match="clips go through a ResNet with time"):
        create_model("detect_and_track_ghostnet_100_3d", num_classes=1)


@pytest.mark.slow  # tests/batteries/test_exports.py takes one for another network
def test_it_exports() -> None:
    torch.manual_seed(0)
    model = create_model("detect_and_track_resnet18_3d", label_map=PERSON_17, **SMALL).eval()
    model = with_few(model, 30)
    images = ImageBatch(torch.randn(2, 3, 3, 64, 96), torch.tensor([[64, 96], [50, 90]]))
    program = export_forward(model, num_frames=3).module()
    with torch.no_grad():
        exported, eager = program(images), model(images)
    # The graph has conv3d where the model sums conv2d: boxes decoded from wide anchors feel the rounding.
    torch.testing.assert_close(exported.boxes, eager.boxes, atol=1e-3, rtol=1e-5)
    assert torch.equal(exported.labels, eager.labels)
    for name in ("scores", "keypoint_logits"):
        torch.testing.assert_close(
            getattr(exported, name),
            getattr(eager, name),
            rtol=1e-4,
            atol=1e-4,
            msg=lambda text, name=name: f"{name}: {text}",
        )


def test_checkpoints_say_that_they_look_at_clips(tmp_path) -> None:
    for name, is_it in (("detect_and_track_resnet18_2d", True), ("fcos_resnet18_fpn", False)):
        model = create_model(name, num_classes=1, width=32)
        file = save_weights(tmp_path / f"{name}.safetensors", model.state_dict(), model.card())
        assert is_of_clips(file) is is_it and is_of_clips(name) is is_it
