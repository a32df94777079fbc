"""Appearance and camera motion in `pagoda.track`: what they are for, end to end, and what is refused."""

from pathlib import Path

import numpy as np
import pytest
import torch
from standing_in import StandsIn

import pagoda
from pagoda.follow.appearance import FileAppearance, appearance_of
from pagoda.follow.clips import detect_frames
from pagoda.follow.follower import TrackOptions
from pagoda.structures.instances import Detections
from pagoda.structures.labels import LabelMap
from pagoda.video.frames import VideoWriter

pytestmark = pytest.mark.medium

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")
COLOURS = ((220, 30, 30), (30, 30, 220))
SIDES = (96, 160)


class SeesBlocks(StandsIn):
    """Stands in for a trained detector: what is red or blue is a block, all of one class."""

    label_map = LabelMap.from_names(["block"])

    def look(self, picture):
        boxes = []
        for channel in (0, 2):
            rows, columns = np.nonzero((picture[..., channel] > 150) & (picture[..., 1] < 100))
            if len(rows) > 20:
                boxes.append([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1])
        found = torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4)
        count = len(found)
        return Detections(
            found, torch.full((count,), 0.9), torch.zeros(count).long(), picture.shape[:2], self.label_map
        )


def write(path: Path, pictures) -> Path:
    with VideoWriter(path, frames_per_second=10, quality=5) as video:
        for number, picture in enumerate(pictures):
            video.add(picture, number / 10)
    return path


def blocks(places, shift=0, backdrop=None):
    picture = (
        np.full((*SIDES, 3), 120, np.uint8)
        if backdrop is None
        else backdrop[:, shift : shift + SIDES[1]].copy()
    )
    for x, colour in zip(places, COLOURS, strict=True):
        if x is not None:
            picture[20:80, x : x + 20] = colour
    return picture


@pytest.fixture(scope="module")
def colour_file(tmp_path_factory) -> Path:
    """A network whose vector is the mean colour of what it is shown."""
    return embedding(tmp_path_factory.mktemp("net") / "colours.onnx", [None, 3, 16, 8], "GlobalAveragePool")


def embedding(path: Path, shape, *kinds: str) -> Path:
    values = onnx.helper.make_tensor_value_info
    nodes = [onnx.helper.make_node(kind, ["x"], ["pooled"]) for kind in kinds]
    nodes.append(onnx.helper.make_node("Flatten", ["pooled" if kinds else "x"], ["y"], axis=1))
    inputs = [values("x", onnx.TensorProto.FLOAT, [side or "n" for side in shape])]
    graph = onnx.helper.make_graph(nodes, "g", inputs, [values("y", onnx.TensorProto.FLOAT, ["n", "d"])])
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, str(path))
    return path


def test_two_who_change_places_unseen_are_told_apart_by_their_looks(tmp_path, colour_file):
    """Red and blue stand, are hidden for four frames, and come out on the other's side."""
    stand, nobody, changed = (40, 80), (None, None), (110, 10)
    video = write(tmp_path / "swap.mp4", map(blocks, [stand] * 6 + [nobody] * 4 + [changed] * 6))
    first, last = {}, {}
    for appearance in ("none", str(colour_file)):
        tracks = pagoda.track(SeesBlocks(), video, appearance=appearance, quiet=True).tracks
        for said, frame in ((first, 0), (last, 15)):
            rows = tracks.at(frame)
            order = rows.boxes[:, 0].argsort()
            said[appearance] = rows.track_ids[order].tolist()
    assert first["none"] == last["none"] == [1, 2], "by places alone each is taken for who stood nearer"
    assert first[str(colour_file)] == [1, 2] and last[str(colour_file)] == [2, 1]


def test_a_camera_that_jumps_does_not_lose_who_stands(tmp_path):
    pytest.importorskip("cv2")
    rng = np.random.default_rng(0)
    backdrop = rng.integers(90, 130, (12, 60, 3), np.uint8).repeat(8, 0).repeat(8, 1)
    jumps = [0, 0, 0, 25, 25, 50, 50, 25, 0, 0]
    frames = [blocks((60 - jump, 110 - jump), shift=jump, backdrop=backdrop) for jump in jumps]
    video = write(tmp_path / "jumps.mp4", frames)
    ids = {}
    for camera in ("still", "moving"):
        tracks = pagoda.track(SeesBlocks(), video, camera=camera, quiet=True).tracks
        ids[camera] = set(tracks.track_ids.tolist())
        assert camera == "still" or len(tracks) == 20
    assert ids["moving"] == {1, 2} and len(ids["still"] - {1, 2}) > 0


def test_a_run_that_goes_on_knows_how_things_looked(tmp_path, colour_file):
    stand, nobody, changed = (40, 80), (None, None), (110, 10)
    video = write(tmp_path / "swap.mp4", map(blocks, [stand] * 6 + [nobody] * 4 + [changed] * 6))
    looks = {"appearance": str(colour_file), "quiet": True, "write_video": False}
    whole = pagoda.track(SeesBlocks(), video, out=tmp_path / "whole", **looks)
    pagoda.track(SeesBlocks(), video, out=tmp_path / "part", max_frames=8, **looks)
    with pytest.raises(ValueError, match="was made with appearance"):
        pagoda.track(SeesBlocks(), video, out=tmp_path / "part", resume=True, quiet=True)
    on = pagoda.track(SeesBlocks(), video, out=tmp_path / "part", resume=True, **looks)
    assert on.tracks.track_ids.tolist() == whole.tracks.track_ids.tolist()


def test_the_models_own_features_come_with_what_it_finds():
    small = {"base_channels": 8, "width": 16, "norm_groups": 4}
    model = pagoda.create_model("fcos_resnet18_fpn", num_classes=1, **small).eval()
    pictures = [np.random.default_rng(n).integers(0, 256, (64, 96, 3), np.uint8) for n in range(3)]
    look = appearance_of("model", model)
    found = list(detect_frames(model, pictures, limits={"min_score": 0.0}, appearance=look))
    plain = list(detect_frames(model, pictures, limits={"min_score": 0.0}))
    for with_looks, without in zip(found, plain, strict=True):
        assert torch.equal(with_looks.boxes, without.boxes) and without.appearance is None
        assert with_looks.appearance.shape == (len(without), 16 * 8)
        np.testing.assert_allclose(with_looks.appearance.norm(dim=1), 1, atol=1e-4)
    assert not model.neck._forward_hooks


def test_crops_are_batched_as_the_file_wants(tmp_path):
    fixed = embedding(tmp_path / "two.onnx", [2, 3, 16, 8], "GlobalAveragePool")
    free = embedding(tmp_path / "free.onnx", [None, 3, 16, 8], "GlobalAveragePool")
    picture = np.random.default_rng(0).integers(0, 256, (50, 60, 3), np.uint8)
    boxes = torch.tensor([[0.0, 0, 9, 30], [40, 10, 80, 90], [-20, -20, -5, -5]])  # the last one lies outside
    a, b = (FileAppearance(path).of(picture, boxes) for path in (fixed, free))
    assert a.shape == (3, 3) and torch.allclose(a, b)
    assert FileAppearance(free).of(picture, boxes[:0]).shape == (0, 0)


@pytest.mark.parametrize(
    ("shape", "kinds", "said"),
    [
        ([None, 1, 16, 8], ("GlobalAveragePool",), r"should take pictures \(n, 3, height, width\)"),
        ([None, 3, None, 8], ("GlobalAveragePool",), "of a fixed height and width"),
        ([None, 3], (), r"it says x \('n', 3\)"),
    ],
)
def test_another_kind_of_network_is_refused(tmp_path, shape, kinds, said):
    with pytest.raises(ValueError, match=said):
        FileAppearance(embedding(tmp_path / "other.onnx", shape, *kinds))


def test_mistakes_are_told_before_a_frame_is_read(tmp_path):
    (tmp_path / "no.onnx").write_text("words")
    for appearance, error, said in (
        ("modle", ValueError, "none, model or the path"),
        (str(tmp_path / "gone.onnx"), FileNotFoundError, "there is no"),
        (str(tmp_path / "no.onnx"), ValueError, "cannot be opened as an ONNX file"),
        ("model", ValueError, "does not say what objects look like"),
    ):
        with pytest.raises(error, match=said):
            appearance_of(appearance, SeesBlocks())
    for option in ({"appearance": "model"}, {"camera": "moving"}):
        with pytest.raises(ValueError, match="helps the linkers byte and ocsort, not reference"):
            TrackOptions(linker="reference", **option)
