"""Files of clips: videos are followed as in PyTorch, with one file or two; what does not go together is refused."""

import json
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

import pagoda_runtime
from pagoda_runtime import ClipModel, ModelFileError, PictureError
from pagoda_runtime.command import main

pytestmark = pytest.mark.medium

onnx = pytest.importorskip("onnx")
CLIP = {
    "part": "whole",
    "num_frames": 3,
    "frame_interval": 1,
    "tube_frames": [0, 1, 2],
    "this": "",
    "other": "",
}
METADATA = {
    "pagoda_version": "0.1.0",
    "model": "drawn",
    "names": json.dumps(["person"]),
    "category_ids": json.dumps([1]),
    "input_spec": json.dumps({"short_side": 8, "long_side": 16, "std": [1, 1, 1], "scale": 255.0}),
    "postprocess": json.dumps({"min_score": 0.05}),
}
FRAMES = CLIP | {"part": "frames", "this": "a", "other": "b"}
CLIPS = CLIP | {"part": "clips", "this": "b", "other": "a"}


def nodes(*, of_features: bool, frames: int) -> list:
    """A network whose one object tells which frames it saw: boxes end at their grey values, of T frames."""
    helper, tensor = onnx.helper, onnx.numpy_helper.from_array
    grey = "features" if of_features else "images"
    return [
        helper.make_node("Cast", [grey], ["real"], to=onnx.TensorProto.FLOAT),
        helper.make_node("Constant", [], ["axes"], value=tensor(np.array([1, 2, 3]))),
        helper.make_node("ReduceMean", ["real", "axes"], ["means"], keepdims=0),  # (T,)
        helper.make_node("Constant", [], ["shape"], value=tensor(np.array([1, 1, frames, 1]))),
        helper.make_node("Reshape", ["means", "shape"], ["values"]),
        helper.make_node("Constant", [], ["corner"], value=tensor(np.zeros((1, 1, frames, 2), np.float32))),
        helper.make_node("Constant", [], ["three"], value=tensor(np.float32(3))),
        helper.make_node("Div", ["values", "three"], ["thirds"]),
        helper.make_node("Concat", ["corner", "values", "thirds"], ["boxes"], axis=3),
        helper.make_node("Constant", [], ["scores"], value=tensor(np.array([[0.97]], np.float32))),
        helper.make_node("Constant", [], ["labels"], value=tensor(np.array([[0]]))),
    ]


def write(path: Path, clip: dict | str, *, frames: int = 3, metadata: dict[str, str] = METADATA) -> Path:
    """One of the files there can be, by the part it says it is."""
    helper, proto = onnx.helper, onnx.TensorProto
    part = clip["part"] if isinstance(clip, dict) else "whole"
    pixels = helper.make_tensor_value_info(
        "images", proto.UINT8, [1 if part == "frames" else frames, 3, "h", "w"]
    )
    features = helper.make_tensor_value_info("features", proto.FLOAT, ["frames", 3, "h", "w"])
    size = helper.make_tensor_value_info("size", proto.INT64, [2])
    found = [
        helper.make_tensor_value_info("boxes", proto.FLOAT, [1, 1, frames, 4]),
        helper.make_tensor_value_info("scores", proto.FLOAT, [1, 1]),
        helper.make_tensor_value_info("labels", proto.INT64, [1, 1]),
    ]
    body, inputs, outputs = nodes(of_features=part == "clips", frames=frames), [pixels], found
    if part == "frames":
        shape = helper.make_node("Shape", ["images"], ["size"], start=2)
        body, outputs = (
            [helper.make_node("Cast", ["images"], ["features"], to=proto.FLOAT), shape],
            [features, size],
        )
    elif part == "clips":
        inputs = [features, size]
    model = helper.make_model(
        helper.make_graph(body, "drawn", inputs, outputs),
        opset_imports=[helper.make_opsetid("", 18)],
        ir_version=9,
    )
    said = {name: metadata[name] for name in ("model", "input_spec")} if part == "frames" else metadata
    helper.set_model_props(model, said | {"clip": clip if isinstance(clip, str) else json.dumps(clip)})
    onnx.save(model, str(path))
    return path


def video(values: range | list[int], size: tuple[int, int] = (8, 16)) -> list[np.ndarray]:
    """Frames of one grey value each."""
    return [np.full((*size, 3), value, np.uint8) for value in values]


@pytest.fixture(params=["whole", "clips"])
def model(request, tmp_path: Path) -> ClipModel:
    if request.param == "whole":
        return pagoda_runtime.load(write(tmp_path / "walk.onnx", CLIP), threads=1)
    write(tmp_path / "walk.frames.onnx", FRAMES)
    return pagoda_runtime.load(write(tmp_path / "walk.clips.onnx", CLIPS), threads=1)


def test_each_frame_gets_the_objects_of_its_own_place_in_its_clip(model):
    found = list(model.track(video(range(11, 18))))
    assert [each.boxes[0, 2] for each in found] == [11, 12, 13, 14, 15, 16, 16]  # the picture ends there
    assert [each.picture[0, 0, 0] for each in found] == [11, 12, 13, 14, 15, 16, 17]
    assert [each.track_ids.tolist() for each in found[3:]] == [[1]] * 4
    assert (model.num_frames, model.frame_interval) == (3, 1) and isinstance(model, ClipModel)
    assert [len(list(model.track(video(range(count))))) for count in (0, 1, 2)] == [0, 1, 2]


def test_frames_are_asked_for_one_by_one_and_told_as_soon_as_their_clip_is_whole(model):
    seen = []

    def frames():
        for value in range(1, 6):
            seen.append(value)
            yield video([value])[0]

    through = model.track(frames())
    assert next(through).boxes[0, 2] == 1 and seen == [1, 2]
    assert next(through).boxes[0, 2] == 2 and seen == [1, 2, 3]


def test_nobody_is_followed_from_a_low_score_on_unless_a_linker_says_so(model, monkeypatch):
    monkeypatch.setattr(model, "starting_score", 0.96)
    assert [each.track_ids.tolist() for each in model.track(video([5] * 4))] == [[-1]] * 4
    own = pagoda_runtime.ByteTracker(min_score=0.5)
    assert next(model.track(video([5] * 4), tracker=own)).track_ids.tolist() == [1]


@pytest.mark.parametrize("length", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("interval", [1, 2, 3])
def test_clips_are_those_of_pagoda_at_the_ends_too(length, interval, tmp_path, monkeypatch):
    tubes = pytest.importorskip("pagoda.structures.tubes")
    form = CLIP | {"num_frames": length, "frame_interval": interval, "tube_frames": list(range(length))}
    model = pagoda_runtime.load(write(tmp_path / "walk.onnx", form, frames=length), threads=1)
    seen, run = [], model._opened.run

    def spy(images):
        seen.append(tuple(images[:, 0, 0, 0].tolist()))
        return run(images)

    object.__setattr__(model._opened, "run", spy)
    for count in (1, 2, 7):
        seen.clear()
        found = list(model.track(video(range(count))))
        expected = [
            tubes.clip_frames(key, count, clip_length=length, interval=interval) for key in range(count)
        ]
        assert seen == expected and [each.boxes[0, 2] for each in found] == list(range(count))


def test_a_frame_of_another_size_or_none_ends_the_video_after_all_before(model):
    frames = [*video([1, 2, 3]), *video([4], (9, 16)), *video([5])]
    found = []
    with pytest.raises(
        PictureError, match=r"frame 3 has \(height, width\) \(9, 16\), the ones before \(8, 16\)"
    ):
        for each in model.track(frames):
            found.append(each)
    assert [each.boxes[0, 2] for each in found] == [1, 2, 3]
    with pytest.raises(PictureError, match="there is no such file"):
        list(model.track([*video([1]), "nowhere.png"]))


def test_a_picture_is_no_clip(model, tmp_path, capsys):
    with pytest.raises(ValueError, match=r"looks at clips of 3 frames, not at a picture; .* track\(frames\)"):
        model.predict(video([1])[0])
    (path,) = {*tmp_path.glob("walk.onnx"), *tmp_path.glob("walk.clips.onnx")}
    assert main(["predict", str(path), str(path)]) == 2 and "track(frames)" in capsys.readouterr().err


def test_halves_that_do_not_belong_together_are_refused(tmp_path):
    clips, frames = tmp_path / "walk.clips.onnx", tmp_path / "walk.frames.onnx"
    write(clips, CLIPS)
    with pytest.raises(
        FileNotFoundError, match=r"walk\.frames\.onnx says of single frames, which is not beside it"
    ):
        pagoda_runtime.load(clips)
    write(frames, FRAMES)
    with pytest.raises(
        ModelFileError, match=r"half of a detector of clips that looks at single.*walk\.clips\.onnx"
    ):
        pagoda_runtime.load(frames)
    for other in (FRAMES | {"this": "c"}, FRAMES | {"other": "c"}, CLIPS, CLIP):
        write(frames, other)
        with pytest.raises(ModelFileError, match=r"are not of one export.*--sliding, which gives both"):
            pagoda_runtime.load(clips)
    renamed = clips.rename(tmp_path / "mine.onnx")
    with pytest.raises(ModelFileError, match=r"names end in \.frames\.onnx and \.clips\.onnx"):
        pagoda_runtime.load(renamed)


@pytest.mark.parametrize(
    ("clip", "said"),
    [
        (CLIP | {"part": "thirds"}, "knows nothing; install a newer one"),
        (CLIP | {"speed": 2}, "knows nothing; install a newer one"),
        ("[1]", "knows nothing; install a newer one"),
        ("{", "cannot use .*walk.onnx"),
        (CLIP | {"num_frames": 0}, "a clip has 1 … 1000 frames"),
        (CLIP | {"num_frames": 10**9}, "a clip has 1 … 1000 frames"),
        (CLIP | {"frame_interval": True}, "a clip has 1 … 1000 frames"),
        (CLIP | {"tube_frames": 3}, "cannot use .*walk.onnx"),
        (
            CLIP | {"num_frames": 5, "tube_frames": [0, 1, 2, 3, 4]},
            "takes 3 frames, and its metadata say clips of 5",
        ),
    ],
)
def test_clips_that_are_none_are_refused(tmp_path, clip, said):
    with pytest.raises(ModelFileError, match=said):
        pagoda_runtime.load(write(tmp_path / "walk.onnx", clip))


def test_a_file_without_classes_is_no_detector(tmp_path):
    bare = {name: METADATA[name] for name in ("model", "input_spec")}
    with pytest.raises(ModelFileError, match="says nothing of names"):
        pagoda_runtime.load(write(tmp_path / "walk.onnx", CLIP, metadata=bare))


# Beside PyTorch: what the runtime follows is what Pagoda follows.

ENGINES = [".onnx", pytest.param(".xml", marks=pytest.mark.slow)]


def need(ending: str) -> None:
    for name in ("torch", "pagoda", "onnxscript"):
        pytest.importorskip(name)
    if ending == ".xml" and find_spec("openvino") is None:
        pytest.skip("needs pip install 'pagoda-vision[openvino]'")


def walk(num_frames: int, size: tuple[int, int]) -> list[np.ndarray]:
    from pagoda.data.drawn.walking import WalkingFigures

    figures = WalkingFigures(num_videos=1, num_frames=num_frames, image_size=size, seed=3)
    return [figures.frame(0, number).permute(1, 2, 0).numpy() for number in range(num_frames)]


def assert_followed_alike(model, path: Path, frames: list[np.ndarray], linker: str) -> tuple[int, int]:
    """Boxes to a twentieth of a pixel, scores to 1e-4, keypoints to a tenth, the same ids.

    (objects, those that belong to tracks)
    """
    from pagoda.follow.clips import FOLLOWING_LIMITS, detect_frames, tracker_for

    tracker, objects, linked, places, apart = tracker_for(model, linker), 0, 0, 0, 0
    ours = pagoda_runtime.load(path, threads=1).track(frames, tracker=linker)
    for found, tubes in zip(ours, detect_frames(model, frames, limits=FOLLOWING_LIMITS), strict=True):
        expected = tracker.update(tubes)
        assert found.labels.tolist() == expected.labels.tolist() and found.image_size == expected.image_size
        assert found.track_ids.tolist() == expected.track_ids.tolist()
        np.testing.assert_allclose(found.boxes, expected.boxes.numpy(), rtol=0, atol=0.05)
        np.testing.assert_allclose(found.scores, expected.scores.numpy(), rtol=0, atol=1e-4)
        away = np.abs(found.keypoints - expected.keypoints.numpy()).max(-1)
        places, apart = places + away.size, apart + int((away > 0.1).sum())
        objects, linked = objects + len(found), linked + int((found.track_ids >= 0).sum())
    assert apart <= 1e-3 * places  # of two pixels of a map that are as high either may win
    return objects, linked


@pytest.mark.parametrize("sliding", [False, pytest.param(True, marks=pytest.mark.slow)])
@pytest.mark.parametrize("ending", ENGINES)
def test_a_short_video_is_followed_as_in_pytorch(ending, sliding, tmp_path):
    need(ending)
    sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tests" / "exporting"))
    from small import small_clips

    from pagoda.exporting.clips.export import export_clips
    from pagoda.preprocess import InputSpec

    model = small_clips(
        spec=InputSpec(fit="letterbox", canvas=(64, 96), border=(124, 116, 104)), frame_interval=2
    )
    export_clips(model, tmp_path / f"walk{ending}", sliding=sliding, size=(64, 96))
    path = tmp_path / f"walk{'.clips' if sliding else ''}{ending}"
    for linker in ("byte", "ocsort"):
        objects, linked = assert_followed_alike(model, path, walk(14, (72, 100)), linker)
        assert objects > 100 and linked > 10


@pytest.mark.parametrize(("neck", "linker"), [("c4_3d", "byte"), ("3d", "ocsort")])
@pytest.mark.parametrize("ending", [".onnx", ".xml"])
@pytest.mark.slow
def test_two_hundred_frames_are_followed_as_in_pytorch(neck, linker, ending, tmp_path):
    """ResNet-18, two files, of one size, which is quicker to trace."""
    need(ending)
    from dataclasses import replace

    import torch

    from pagoda.exporting.clips.export import export_clips
    from pagoda.models import create_model

    torch.manual_seed(0)
    size, frames = (48, 72), walk(200, (48, 72))
    small = {"short_side": 48, "long_side": 72, "num_keypoints": 17, "head_depth": 1, "width": 32}
    model = create_model(f"detect_and_track_resnet18_{neck}", num_classes=1, **small).eval()
    model.proposals = replace(model.proposals, inference=replace(model.proposals.inference, max_proposals=6))
    clip = torch.from_numpy(np.stack(frames[:3])).permute(0, 3, 1, 2)
    with torch.no_grad():  # what regions are worth, and scores, as far apart as after training
        model.rpn_head.objectness.weight.normal_(std=0.3)
        images, layer = model.input_spec.batch([clip]), model.box_head.head.classes
        layer.weight *= 3 / model(images).class_logits.std()
        layer.bias -= model(images).class_logits[0].mean(0) - torch.tensor([2.0, 0.0])
    export_clips(model, tmp_path / f"walk{ending}", sliding=True, size=size)
    objects, linked = assert_followed_alike(model, tmp_path / f"walk.clips{ending}", frames, linker)
    assert objects > 200 and linked > 100, (objects, linked)
