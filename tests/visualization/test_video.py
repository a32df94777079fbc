"""Videos written and read again: pictures, times, odd sides; cut-off, empty and mixed ones say so."""

import numpy as np
import pytest
from PIL import Image

from pagoda.pictures import PictureError
from pagoda.visualization.video import VideoSource, VideoWriter


def picture(number, size=(48, 64)):
    """A grey ground with a white square that moves to the right."""
    ground = np.full((*size, 3), 60, np.uint8)
    ground[10:30, number % 40 : number % 40 + 20] = 255
    return ground


def written(path, count=30, size=(48, 64), seconds=None):
    with VideoWriter(path, frames_per_second=25) as video:
        for number in range(count):
            video.add(picture(number, size), number / 25 if seconds is None else seconds[number])
    return path


def noise(path, count=40):
    rng = np.random.default_rng(0)
    with VideoWriter(path, frames_per_second=25) as video:
        for number in range(count):
            video.add(rng.integers(0, 255, (48, 64, 3)).astype(np.uint8), number / 25)
    return path


def test_there_and_back(tmp_path):
    source = VideoSource(written(tmp_path / "walk.mp4"))
    frames = list(source)
    assert len(source) == len(frames) == 30 and source.frames_per_second == pytest.approx(25)
    assert (
        source.name == "walk" and frames[7].name == "walk.mp4#7" and frames[10].seconds == pytest.approx(0.4)
    )
    for number, frame in enumerate(frames):
        assert np.abs(frame.picture.astype(int) - picture(number)).mean() < 6
    assert [file.name for file in tmp_path.iterdir()] == ["walk.mp4"]


def test_uneven_times_are_kept(tmp_path):
    seconds = np.cumsum([0, *[0.04] * 14, *[0.2] * 15]).tolist()
    frames = list(VideoSource(written(tmp_path / "walk.mp4", seconds=seconds)))
    assert [frame.seconds for frame in frames] == pytest.approx(seconds, abs=1e-3)


def test_odd_sides_are_made_even_and_times_rise(tmp_path):
    frames = list(
        VideoSource(written(tmp_path / "walk.mp4", count=5, size=(47, 63), seconds=[0.0, 0, 0, 1, 0.5]))
    )
    assert len(frames) == 5 and frames[0].picture.shape == (48, 64, 3)


def test_starting_later(tmp_path):
    source = VideoSource(written(tmp_path / "walk.mp4"), first_frame=20)
    frames = list(source)
    assert len(source) == len(frames) == 10 and frames[0].name == "walk.mp4#20"
    assert np.abs(frames[0].picture.astype(int) - picture(20)).mean() < 6
    with pytest.raises(ValueError, match="has 30 frames; it cannot start at frame 30"):
        VideoSource(tmp_path / "walk.mp4", first_frame=30)


def test_a_folder_of_pictures(tmp_path):
    for number in range(3):
        Image.fromarray(picture(number)).save(tmp_path / f"{number}.png")
    source = VideoSource(tmp_path, frames_per_second=10, first_frame=1)
    frames = list(source)
    assert len(source) == 2 and [frame.seconds for frame in frames] == pytest.approx([0.1, 0.2])
    assert np.array_equal(frames[0].picture, picture(1)) and source.name == tmp_path.name


def test_a_frame_of_another_size_is_named_after_those_before_it(tmp_path):
    for number, size in enumerate([(48, 64), (48, 64), (50, 64)]):
        Image.fromarray(picture(number, size)).save(tmp_path / f"{number}.png")
    frames = iter(VideoSource(tmp_path))
    next(frames), next(frames)
    with pytest.raises(
        PictureError, match=r"frame 2 of .* has \(height, width\) \(50, 64\), the first one \(48, 64\)"
    ):
        next(frames)


def test_a_cut_off_video_gives_what_it_has_and_then_says_so(tmp_path):
    whole = noise(tmp_path / "whole.mkv").read_bytes()
    (tmp_path / "cut.mkv").write_bytes(whole[: len(whole) // 2])
    seen = []
    with pytest.raises(PictureError, match=r"cut\.mkv should last 1\.6 seconds but ends after \d+ frames"):
        seen.extend(VideoSource(tmp_path / "cut.mkv"))
    (tmp_path / "cut.mp4").write_bytes(noise(tmp_path / "whole.mp4").read_bytes()[:-3000])
    with pytest.raises(PictureError, match="cut"):
        list(VideoSource(tmp_path / "cut.mp4"))


def test_what_is_no_video_is_said(tmp_path):
    (tmp_path / "no.mp4").write_bytes(b"this is no video")
    with pytest.raises(PictureError, match=r"no\.mp4 cannot be read as a video"):
        VideoSource(tmp_path / "no.mp4")
    with pytest.raises(FileNotFoundError, match="expected a video, a folder of pictures or a glob pattern"):
        VideoSource(tmp_path / "nowhere.mp4")


def test_frames_written_before_an_error_are_there(tmp_path):
    with pytest.raises(RuntimeError), VideoWriter(tmp_path / "walk.mp4", frames_per_second=25) as video:
        for number in range(6):
            video.add(picture(number), number / 25)
        raise RuntimeError
    assert len(list(VideoSource(tmp_path / "walk.mp4"))) == 6


def test_a_picture_of_another_size_cannot_be_added(tmp_path):
    with VideoWriter(tmp_path / "walk.mp4", frames_per_second=25) as video:
        video.add(picture(0), 0.0)
        with pytest.raises(
            ValueError, match=r"must be \(height, width\) \(48, 64\) like the first, got \(60, 64\)"
        ):
            video.add(picture(0, (60, 64)), 0.04)
