"""What a model found, written frame by frame: the same bits come back, and a run may be cut off anywhere."""

import pytest
import torch

from pagoda.follow.frame_log import FoundWriter, read_about, read_found
from pagoda.structures.instances import Detections
from pagoda.structures.labels import LabelMap
from pagoda.structures.posetrack_skeletons import PERSON_17
from pagoda.structures.tubes import Tubes

NAMES = LabelMap.from_names(["cat", "dog"])
SIZE = (20, 30)


def detections(count: int) -> Detections:
    labels = torch.arange(count) % 2
    return Detections(
        torch.rand(count, 4), torch.rand(count), labels, SIZE, NAMES, masks=torch.rand(count, *SIZE) > 0.5
    )


def tubes(count: int) -> Tubes:
    return Tubes(
        torch.rand(count, 3, 4),
        torch.rand(count),
        torch.zeros(count, dtype=torch.long),
        (0, 0, 1),
        1,
        SIZE,
        PERSON_17,
        visible=torch.rand(count, 3) > 0.5,
        keypoints=torch.rand(count, 3, 17, 2),
        keypoint_scores=torch.rand(count, 3, 17),
    )


def assert_same(found, expected) -> None:
    assert type(found) is type(expected) and found.image_size == expected.image_size
    for name in (
        "boxes",
        "scores",
        "labels",
        "masks",
        "keypoints",
        "keypoint_scores",
        "visible",
        "frames",
        "key",
    ):
        one, other = getattr(found, name, None), getattr(expected, name, None)
        assert torch.equal(one, other) if isinstance(other, torch.Tensor) else one == other, name


@pytest.mark.parametrize(("make", "label_map"), [(detections, NAMES), (tubes, PERSON_17)])
def test_the_same_bits_come_back(tmp_path, make, label_map):
    frames = [make(count) for count in (3, 0, 1)]
    with FoundWriter(tmp_path / "found.jsonl", {"source": "walk.mp4"}) as writer:
        for frame in frames:
            writer.add(frame)
    assert read_about(tmp_path / "found.jsonl") == ({"source": "walk.mp4"}, 3)
    for found, expected in zip(
        read_found(tmp_path / "found.jsonl", label_map, num_frames=3), frames, strict=True
    ):
        assert_same(found, expected)


def test_a_line_cut_off_in_writing_is_as_if_it_had_not_begun(tmp_path):
    path, frames = tmp_path / "found.jsonl", [detections(count) for count in (2, 3, 1)]
    with FoundWriter(path, {}) as writer:
        writer.add(frames[0])
        writer.add(frames[1])
    path.write_bytes(path.read_bytes()[:-7])
    assert read_about(path)[1] == 1
    with FoundWriter(path, {}, keep_frames=1) as writer:
        writer.add(frames[2])
    kept = list(read_found(path, NAMES, num_frames=read_about(path)[1]))
    assert len(kept) == 2
    assert_same(kept[1], frames[2])


def test_no_file_and_no_line_are_told_apart(tmp_path):
    with pytest.raises(FileNotFoundError, match="has come to its end, or never began"):
        read_about(tmp_path / "found.jsonl")
    (tmp_path / "found.jsonl").write_text('{"sour')
    with pytest.raises(ValueError, match="never saw a frame, start it again"):
        read_about(tmp_path / "found.jsonl")
