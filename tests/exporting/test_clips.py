"""Detectors of clips in exported files: tubes are the model's, and two files that belong together know each other."""

import sys
from copy import deepcopy
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

import pagoda
from pagoda.cli.main import main
from pagoda.data.clips import ClipDataset
from pagoda.data.drawn.walking import WalkingFigures
from pagoda.data.tracks.mot import read_mot
from pagoda.evaluation.runner import evaluate
from pagoda.exporting.clips.engines import clips_of, open_clips
from pagoda.exporting.clips.export import export_clips
from pagoda.exporting.clips.exported import ExportedClips, load_any
from pagoda.exporting.clips.form import ClipForm
from pagoda.exporting.clips.parity import ClipParityReport, verify_clips
from pagoda.exporting.engines import open_any_engine, open_engine
from pagoda.exporting.metadata import change_metadata
from pagoda.exporting.onnx import export_onnx
from pagoda.exporting.openvino import export_int8
from pagoda.exporting.parity import ParityError
from pagoda.follow.clips import detect_frames, tracker_for
from pagoda.models import create_model
from pagoda.ops.tubes import batch_tube_survivors
from pagoda.preprocess import InputSpec
from pagoda.structures.tubes import Tubes

sys.path.insert(0, str(Path(__file__).parent))
from small import small_clips

onnx = pytest.importorskip("onnx", reason="needs pip install 'pagoda-vision[export]'")
onnxruntime = pytest.importorskip("onnxruntime", reason="needs pip install 'pagoda-vision[export]'")
pytestmark = pytest.mark.medium

SIZE = (64, 96)
FIXED = InputSpec(fit="letterbox", canvas=SIZE, border=(124, 116, 104))
WITH_OPENVINO = pytest.param(
    ".xml",
    marks=(
        pytest.mark.slow,
        pytest.mark.skipif(
            find_spec("openvino") is None, reason="needs pip install 'pagoda-vision[openvino]'"
        ),
    ),
)
ENDINGS = [".onnx", WITH_OPENVINO]


def video(num_frames: int = 7, size: tuple[int, int] = (72, 100)) -> list[np.ndarray]:
    figures = WalkingFigures(num_videos=1, num_frames=num_frames, image_size=size, seed=3)
    return [figures.frame(0, number).permute(1, 2, 0).numpy() for number in range(num_frames)]


class Files(dict):
    """By (ending, sliding), exported when they are first asked for; of one size, which is quicker to trace."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.reports = folder, {}
        self.model = small_clips(spec=FIXED)

    def __missing__(self, key: tuple[str, bool]) -> Path:
        ending, sliding = key
        path = self.folder / f"{'two' if sliding else 'one'}{ending}"
        self.reports[key] = export_clips(self.model, path, sliding=sliding, size=SIZE)
        self[key] = path.with_suffix(f".clips{ending}") if sliding else path
        return self[key]


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> Files:
    """Made once, so tests must leave them as they are."""
    return Files(tmp_path_factory.mktemp("clips"))


def assert_same_tubes(ours: Tubes, theirs: Tubes) -> None:
    assert (ours.frames, ours.key, ours.image_size) == (theirs.frames, theirs.key, theirs.image_size)
    assert ours.labels.tolist() == theirs.labels.tolist() and len(ours) > 5
    torch.testing.assert_close(ours.boxes, theirs.boxes, rtol=0, atol=0.05)
    torch.testing.assert_close(ours.scores, theirs.scores, rtol=0, atol=1e-4)
    if theirs.keypoints is not None:
        near = (ours.keypoints - theirs.keypoints).abs().amax(-1) <= 0.1
        assert near.float().mean() > 0.99  # of two places as high either may win


class Survivors(torch.nn.Module):
    def __init__(self, max_iou: float, inclusive: bool) -> None:
        super().__init__()
        self.max_iou, self.inclusive = max_iou, inclusive

    def forward(self, tubes: Tensor, scores: Tensor, labels: Tensor) -> Tensor:
        return batch_tube_survivors(tubes, scores, labels, 4, self.max_iou, self.inclusive)


def some_tubes(batch: int, count: int, frames: int) -> tuple[Tensor, Tensor, Tensor]:
    """Crowded, some with equal scores, some with none; whole pixels, so that overlaps are met exactly, too."""
    corner = torch.randint(0, 50, (batch, count, 1, 2)) + torch.randint(0, 6, (batch, count, frames, 2))
    tubes = torch.cat([corner, corner + torch.randint(8, 30, (batch, count, frames, 2))], -1).float()
    scores = torch.randint(-3, 30, (batch, count)) / 30
    return tubes, scores, torch.randint(0, 4, (batch, count))


@pytest.mark.parametrize(
    ("frames", "inclusive", "max_iou"), [(3, False, 0.5), (2, True, 0.3), (1, False, 0.5)]
)
def test_tubes_suppress_each_other_as_in_torch(
    frames: int, inclusive: bool, max_iou: float, tmp_path: Path
) -> None:
    from pagoda.exporting.clips.onnx_tubes import suppress_tubes

    torch.manual_seed(frames)
    module, anything = Survivors(max_iou, inclusive).eval(), torch.export.Dim.DYNAMIC
    program = torch.onnx.export(
        module,
        some_tubes(2, 30, frames),
        dynamo=True,
        opset_version=18,
        input_names=["tubes", "scores", "labels"],
        dynamic_shapes=({0: anything, 1: anything},) * 3,
        custom_translation_table={torch.ops.pagoda.batch_tube_survivors.default: suppress_tubes},
        verbose=False,
    )
    program.save(tmp_path / "op.onnx")
    session = onnxruntime.InferenceSession(str(tmp_path / "op.onnx"))
    for batch, count in ((1, 1), (1, 9), (3, 200), (1, 600)):
        given = some_tubes(batch, count, frames)
        (found,) = session.run(
            None, dict(zip(("tubes", "scores", "labels"), (x.numpy() for x in given), strict=True))
        )
        assert np.array_equal(found, module(*given).numpy()), (batch, count)


@pytest.mark.parametrize("sliding", [pytest.param(False, marks=pytest.mark.slow), True])
@pytest.mark.parametrize("ending", ENDINGS)
def test_what_is_found_in_a_video_is_what_the_model_finds(files: Files, ending: str, sliding: bool) -> None:
    exported = pagoda.load(files[ending, sliding])
    report = files.reports[ending, sliding]
    assert report.passed and report.clips >= 8 and report.detections > 80 and report.close_calls == 0
    assert report.keypoints + report.keypoint_close_calls == 51 * report.detections
    assert (
        "8 clips of 3 frames (64×96)" in report.summary()
        and f"{report.detections} detections agree" in report.summary()
    )
    assert (
        isinstance(exported, ExportedClips) and exported.sees_clips and exported.frames_around == (-1, 0, 1)
    )
    limits = {"min_score": 0.1}
    found, expected = (list(detect_frames(each, video(), limits=limits)) for each in (exported, files.model))
    assert len(found) == len(expected) == 7 and found[0].frames == (0, 0, 1)
    for ours, theirs in zip(found, expected, strict=True):
        assert_same_tubes(ours, theirs)
    linked = [
        [tracker_for(each, "byte").update(tubes).track_ids.tolist() for tubes in found]
        for each in (exported, files.model)
    ]
    assert linked[0] == linked[1]


def test_the_command_follows_with_a_file_as_with_its_model(files: Files, tmp_path: Path) -> None:
    (tmp_path / "walk").mkdir()
    for number, picture in enumerate(video()):
        Image.fromarray(picture).save(tmp_path / "walk" / f"{number}.png")
    words = [
        str(files[".onnx", True]),
        str(tmp_path / "walk"),
        "--min-score",
        "0.5",
        "--out",
        str(tmp_path / "out"),
    ]
    with pytest.raises(SystemExit) as end:
        main(["track", *words, "--no-video", "--linker", "tubes"])
    assert end.value.code == 0
    tracker = tracker_for(files.model, "tubes", min_score=0.5)
    linked = [
        tracker.update(tubes) for tubes in detect_frames(files.model, video(), limits={"min_score": 0.1})
    ]
    expected = [int((each.track_ids >= 0).sum()) for each in linked]
    found = read_mot(next((tmp_path / "out").glob("tracks*.txt")))
    assert sum(expected) > 20
    people = [int(((each.track_ids >= 0) & (each.labels == 0)).sum()) for each in linked]
    assert np.bincount(found.frames, minlength=7).tolist() in (expected, people)


def test_a_file_is_scored_and_looks_at_pictures_like_its_model(files: Files) -> None:
    exported = load_any(files[".onnx", True])
    clips = ClipDataset(WalkingFigures(num_videos=1, num_frames=4, image_size=(64, 96), seed=1))
    results = [
        evaluate(each, clips, batch_size=3, limits={"min_score": 0.001, "max_detections": 25})
        for each in (exported, files.model)
    ]
    assert results[0].metrics == pytest.approx(results[1].metrics, nan_ok=True)
    picture = video(1)[0]
    ours, theirs = (each.predict(picture, min_score=0.2) for each in (exported, files.model))
    torch.testing.assert_close(ours.boxes, theirs.boxes, rtol=0, atol=0.05)
    assert ours.label_map == theirs.label_map and ours.keypoints.shape == theirs.keypoints.shape


def test_limits_and_clips_that_a_file_cannot_take_are_refused(files: Files) -> None:
    exported = load_any(files[".onnx", False])
    with pytest.raises(
        ValueError, match=r"suppress_equal is False in .*one\.onnx and cannot be changed there"
    ):
        exported._engine_for(replace(exported.postprocess, suppress_equal=True))
    with pytest.raises(ValueError, match="at most 25 detections"):
        exported.predict(video(1)[0], max_detections=40)
    images = exported.input_spec.prepare([torch.zeros(5, 3, 40, 60, dtype=torch.uint8)])
    with pytest.raises(ValueError, match="takes clips of 3 frames, got 5"):
        exported.detect_tubes(images)


def test_two_files_name_each_other_and_are_useless_alone(files: Files, tmp_path: Path) -> None:
    clips = files[".onnx", True]
    frames = clips.with_name("two.frames.onnx")
    said = {path: ClipForm.from_text(open_any_engine(path).metadata["clip"]) for path in (frames, clips)}
    assert (
        said[frames].part == "frames" and said[clips].part == "clips" and said[clips].tube_frames == (0, 1, 2)
    )
    assert (said[frames].this, said[frames].other) == (said[clips].other, said[clips].this) and said[
        frames
    ].this
    for path in (frames, clips):
        assert "lone" in open_any_engine(path).metadata["usage"]
        assert len(onnx.load(str(path), load_external_data=False).graph.node) > 3
    with pytest.raises(
        ValueError, match=r"half of a detector of clips that looks at single frames; open .*two\.clips"
    ):
        pagoda.load(frames)
    lone = tmp_path / "two.clips.onnx"
    lone.write_bytes(clips.read_bytes())
    with pytest.raises(
        FileNotFoundError, match=r"two\.frames\.onnx says of single frames, which is not beside it"
    ):
        pagoda.load(lone)
    (tmp_path / "two.frames.onnx").write_bytes(frames.read_bytes())
    other = replace(said[frames], this="of another export")
    change_metadata(tmp_path / "two.frames.onnx", "clip", other.text())
    with pytest.raises(ValueError, match=r"are not of one export.*anew with --sliding"):
        pagoda.load(lone)
    renamed = tmp_path / "mine.onnx"
    renamed.write_bytes(clips.read_bytes())
    with pytest.raises(ValueError, match=r"whose names end in \.frames\.onnx and \.clips\.onnx"):
        pagoda.load(renamed)
    change_metadata(renamed, "clip", '{"part": "thirds"}')
    with pytest.raises(ValueError, match=r"mine\.onnx: .*export the checkpoint anew"):
        pagoda.load(renamed)
    with pytest.raises(ValueError, match="lack names"):
        open_engine(frames)


@pytest.mark.slow
def test_another_model_is_not_taken_for_this(files: Files) -> None:
    """Its boxes, or its keypoints, lie elsewhere; and a file that finds nothing proves nothing."""
    path = files[".onnx", False]
    other = deepcopy(files.model)
    with torch.no_grad():
        other.box_head.head.deltas.weight.mul_(1.5)
    report = verify_clips(lambda score: open_clips(path, min_score=score), other, size=SIZE)
    assert len(report.unmatched) > 50 and "the model considered no such box" in "".join(report.unmatched)
    other = deepcopy(files.model)
    with torch.no_grad():
        other.keypoint_head.predict.weight.copy_(files.model.keypoint_head.predict.weight.roll(1, 1))
    report = verify_clips(lambda score: open_clips(path, min_score=score), other, size=SIZE)
    assert report.detections > 50 and len(report.unmatched) > 50 and "px away" in report.unmatched[0]
    assert not ClipParityReport(min_score=0.1).passed


@pytest.mark.slow
def test_a_file_that_differs_is_not_written(files: Files, tmp_path: Path, monkeypatch) -> None:
    from pagoda.exporting.clips import export

    monkeypatch.setattr(
        export, "verify_clips", lambda *_, **__: ClipParityReport(min_score=0.1, unmatched=["a tube"])
    )
    with pytest.raises(ParityError, match="disagrees with the model"):
        export_clips(files.model, tmp_path / "new.onnx", sliding=True, size=SIZE)
    assert not list(tmp_path.iterdir())


def test_what_cannot_be_exported_is_refused_at_once(files: Files, tmp_path: Path) -> None:
    (tmp_path / "there.clips.onnx").write_bytes(b"")
    with pytest.raises(FileExistsError, match=r"there\.clips\.onnx exists"):
        export_clips(files.model, tmp_path / "there.onnx", sliding=True)
    with pytest.raises(ValueError, match=r"ends in \.onnx or \.xml"):
        export_clips(files.model, tmp_path / "model.pt")
    with pytest.raises(ValueError, match=r"opset must be 18 … 23"):
        export_clips(files.model, tmp_path / "new.onnx", opset=9)
    with pytest.raises(ValueError, match="export the float32 model"):
        export_clips(deepcopy(files.model).half(), tmp_path / "new.onnx")
    with pytest.raises(ValueError, match=r"exporting\.clips\.export\.export_clips writes them"):
        export_onnx(files.model, tmp_path / "new.onnx")
    with pytest.raises(ValueError, match="holds a detector of single pictures"):
        clips_of("a.onnx", type("Engine", (), {"metadata": {}})())
    if find_spec("openvino") and find_spec("nncf"):
        with pytest.raises(ValueError, match="no int8"):
            export_int8(files.model, tmp_path / "new.xml", calibration=video(1), compare=lambda *_: {})
    assert [path.name for path in tmp_path.iterdir()] == ["there.clips.onnx"]


@pytest.mark.parametrize(
    "options", [{"num_frames": 1, "suppress_equal": True}, {"num_frames": 4, "poses": False}]
)
@pytest.mark.slow
def test_clips_of_other_lengths(options: dict, tmp_path: Path) -> None:
    """Of any size; one frame is suppressed as a picture is, four have their key frame behind the middle."""
    model = small_clips(frame_interval=2, **options)
    for sliding in (False, True):
        path = tmp_path / "model.onnx"
        report = export_clips(model, path, sliding=sliding)
        assert report.passed and report.detections > 20 and len(set(report.batches)) == 4
        exported = load_any(path.with_suffix(".clips.onnx") if sliding else path)
        assert exported.frames_around == model.frames_around
        for ours, theirs in zip(detect_frames(exported, video()), detect_frames(model, video()), strict=True):
            assert_same_tubes(ours, theirs)


@pytest.mark.parametrize(
    ("options", "told"),
    [({"time_stride": True, "num_frames": 9}, (3, 4, 5)), ({"link": "center"}, (1,))],
    ids=["time_stride", "link"],
)
@pytest.mark.slow
def test_tubes_of_fewer_frames_than_their_clip(options: dict, told: tuple[int, ...], tmp_path: Path) -> None:
    torch.manual_seed(0)
    small = {"short_side": 64, "long_side": 96, "num_keypoints": 3, "head_depth": 1, "width": 16}
    model = create_model("detect_and_track_resnet18_c4_3d", num_classes=1, **small, **options).eval()
    few = replace(model.proposals.inference, max_proposals=20)
    model.proposals = replace(model.proposals, inference=few)
    path = tmp_path / "model.onnx"
    export_clips(model, path, size=SIZE)
    assert ClipForm.from_text(open_any_engine(path).metadata["clip"]).tube_frames == told
    frames = torch.from_numpy(np.stack(video(model.num_frames, SIZE))).permute(0, 3, 1, 2)
    ours, theirs = (
        each.detect_tubes(each.input_spec.prepare([frames]))[0] for each in (load_any(path), model)
    )
    assert ours.frames == told
    assert_same_tubes(ours, theirs)


@pytest.mark.parametrize("neck", ["c4_3d", "3d"])
@pytest.mark.parametrize("sliding", [False, True])
@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.slow
def test_resnet18_over_clips_of_three(neck: str, sliding: bool, ending: str, tmp_path: Path) -> None:
    """Boxes within a twentieth of a pixel, keypoints within a tenth, at every size."""
    torch.manual_seed(0)
    small = {"short_side": 96, "long_side": 160, "num_keypoints": 17, "head_depth": 1, "width": 32}
    model = create_model(f"detect_and_track_resnet18_{neck}", num_classes=1, **small).eval()
    few = replace(model.proposals.inference, max_proposals=60)
    model.proposals = replace(model.proposals, inference=few)
    report = export_clips(model, tmp_path / f"model{ending}", sliding=sliding)
    assert report.passed and report.detections > 100 and report.max_box_difference < 0.05, report.summary()
    assert report.max_keypoint_difference < 0.1 and report.keypoint_close_calls < 0.01 * report.keypoints
