"""Videos written and read again: pictures, times, odd sides; cut-off, empty and mixed ones say so."""

import gc
import shutil
import struct
from fractions import Fraction

import av
import numpy as np
import pytest
from PIL import Image, features

from pagoda.pictures.read import PictureError
from pagoda.video.frames import VideoSource, VideoWriter

pytestmark = pytest.mark.medium


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


def test_equal_frames_give_equal_bytes(tmp_path):
    """x264 with AVX-512 reads beyond its rows where 128 does not divide the width, unless it is told not to."""
    ground, memory, files = np.full((48, 96, 3), 60, np.uint8), [], set()
    for turn in range(30):
        memory.append(np.random.default_rng(turn).bytes(5000 * turn))  # the next file is made in other places
        with VideoWriter(tmp_path / f"{turn}.mp4", frames_per_second=25) as video:
            for number in range(12):
                shown = ground.copy()
                shown[26:46, 70 - 2 * number : 90 - 2 * number] = (20, 20, 220)
                shown[2:22, 2 * number : 2 * number + 20] = (220, 20, 20)
                video.add(shown, number / 25)
        files.add((tmp_path / f"{turn}.mp4").read_bytes())
    assert len(files) == 1


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
    globbed = VideoSource(tmp_path / "*.png", frames_per_second=10)
    for each in (source, globbed):  # the rate stays
        assert [frame.seconds for frame in each.starting_at(2)] == pytest.approx([0.2])


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


def encoded(
    path, codec="mpeg4", *, count=20, ticks=None, pixels="yuv420p", size=(48, 64), sound=0.0, **options
):
    """Frames of 10 per second, each of its own brightness, one grey level per tenth of a second."""
    with av.open(str(path), "w", options=options) as container:
        stream = container.add_stream(codec, rate=10)
        stream.height, stream.width, stream.pix_fmt = *size, pixels
        voice = container.add_stream("aac", rate=16000) if sound else None
        for number in range(count):
            grey = np.full((*size, 3), 40 + 4 * number, np.uint8)
            frame = av.VideoFrame.from_ndarray(grey, format="rgb24")
            frame.pts, frame.time_base = (ticks(number) if ticks else number), Fraction(1, 10)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
        for number in range(int(sound * 16000 / 1024)):
            silence = av.AudioFrame.from_ndarray(
                np.zeros((1, 1024), np.float32), format="fltp", layout="mono"
            )
            silence.sample_rate, silence.pts, silence.time_base = 16000, number * 1024, Fraction(1, 16000)
            container.mux(voice.encode(silence))
        if voice:
            container.mux(voice.encode(None))
    return path


def trimmed(source, path, seconds):
    """Cut without decoding, as phones do: the packets before the cut stay, and an edit list hides them."""
    with av.open(str(source)) as taken, av.open(str(path), "w", options={"use_editlist": "1"}) as written:
        stream = written.add_stream_from_template(taken.streams.video[0])
        shift = int(seconds / taken.streams.video[0].time_base)
        for packet in taken.demux(video=0):
            if packet.dts is not None:
                packet.pts, packet.dts, packet.stream = packet.pts - shift, packet.dts - shift, stream
                written.mux(packet)
    return path


def shown(path):
    """(seconds, grey level) of every frame."""
    return [(round(frame.seconds, 3), round(float(frame.picture.mean()))) for frame in VideoSource(path)]


def test_a_trimmed_video_is_whole(tmp_path):
    whole = encoded(tmp_path / "whole.mp4")
    found = shown(cut := trimmed(whole, tmp_path / "trimmed.mp4", 0.6))
    assert [seconds for seconds, _ in found] == pytest.approx([number / 10 for number in range(14)])
    assert [grey for _, grey in found] == pytest.approx([grey for _, grey in shown(whole)[6:]], abs=2)
    assert len(VideoSource(cut)) == 14
    assert [frame.name for frame in VideoSource(cut, first_frame=13)] == ["trimmed.mp4#13"]
    with pytest.raises(PictureError, match="ends before frame 16"):  # its header still counts 20
        list(VideoSource(cut, first_frame=16))


@pytest.mark.parametrize(
    ("name", "last", "options"),
    [
        ("dropped.avi", 3.8, {"codec": "mjpeg", "pixels": "yuvj420p", "ticks": lambda number: 2 * number}),
        ("gap.avi", 9.0, {"codec": "mjpeg", "pixels": "yuvj420p", "ticks": lambda n: n if n < 19 else 90}),
        ("gap.mp4", 9.0, {"ticks": lambda number: number if number < 19 else 90}),
        ("gap.mkv", 9.0, {"ticks": lambda number: number if number < 19 else 90}),
        ("sound.mp4", 1.9, {"sound": 5.0}),  # longer than the pictures
        ("sound.mkv", 1.9, {"sound": 5.0}),
        ("pieces.mp4", 1.9, {"movflags": "frag_keyframe+empty_moov"}),
        ("first.mp4", 1.9, {"movflags": "faststart"}),
        ("late.ts", 1.9, {"codec": "mpeg2video"}),  # whose clock starts at 1.4 seconds
        ("ten.mkv", 1.9, {"codec": "ffv1", "pixels": "yuv420p10le"}),
        ("odd.mkv", 1.9, {"codec": "ffv1", "pixels": "yuv444p", "size": (47, 63)}),
        ("late.mkv", 1.9, {"ticks": lambda number: number + 10}),
    ],
)
def test_what_is_whole_is_read_to_its_end(tmp_path, name, last, options):
    found = shown(encoded(tmp_path / name, **options))
    assert len(found) == 20 and found[-1][0] == pytest.approx(last)
    assert found[0][0] == 0, "counted from the start of the file"


@pytest.mark.parametrize("share", [0.97, 0.6])
@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("first.mp4", {"movflags": "faststart"}),
        ("first.mov", {"movflags": "faststart", "codec": "mjpeg", "pixels": "yuvj420p"}),
        ("pieces.mp4", {"movflags": "frag_every_frame+empty_moov"}),
        ("cut.mkv", {}),
        ("cut.webm", {"codec": "libvpx"}),
        ("cut.avi", {"codec": "mjpeg", "pixels": "yuvj420p"}),
    ],
)
def test_what_is_cut_off_is_noticed(tmp_path, name, options, share):
    path = encoded(tmp_path / name, **options)
    content = path.read_bytes()
    index = {
        "avi": b"idx1",
        "mkv": b"\x1c\x53\xbb\x6b",
        "webm": b"\x1c\x53\xbb\x6b",
    }  # stands behind all frames
    # What is not found is -1, the last byte.
    end = content.rfind(index.get(path.suffix[1:], b"mfra")) % (len(content) + 1)
    path.write_bytes(content[: int(end * share)])
    seen = []
    with pytest.raises(PictureError, match=r"cut off|cannot be read"):
        seen.extend(VideoSource(path))
    assert len(seen) < 20


MATRICES = {
    "upright": ((1, 0, 0, 1), lambda picture: picture),
    "mirrored": ((-1, 0, 0, 1), lambda picture: picture[:, ::-1]),
    "turned by 180": ((-1, 0, 0, -1), lambda picture: picture[::-1, ::-1]),
    "upside down": ((1, 0, 0, -1), lambda picture: picture[::-1]),
    "transposed": ((0, 1, 1, 0), lambda picture: picture.transpose(1, 0, 2)),
    "clockwise": ((0, 1, -1, 0), lambda picture: np.rot90(picture, -1)),
    "anticlockwise": ((0, -1, 1, 0), lambda picture: np.rot90(picture)),
    "transverse": ((0, -1, -1, 0), lambda picture: np.rot90(picture, 2).transpose(1, 0, 2)),
}


@pytest.mark.parametrize("name", MATRICES)
def test_every_display_matrix_is_applied(tmp_path, name):
    path = tmp_path / "walk.mp4"
    upright = [frame.picture for frame in VideoSource(written(path, count=3))]
    (a, b, c, d), turn = MATRICES[name]
    content = bytearray(path.read_bytes())
    place = content.index(b"tkhd") + 4 + 40
    content[place : place + 36] = struct.pack(">9i", a << 16, b << 16, 0, c << 16, d << 16, 0, 0, 0, 1 << 30)
    path.write_bytes(content)
    for frame, before in zip(VideoSource(path), upright, strict=True):
        assert np.array_equal(frame.picture, turn(before))


def test_a_frame_is_freed_when_it_has_been_handed_out(tmp_path):
    """Not when Python next collects garbage: looking at a frame's side data ties it to itself."""
    path = encoded(tmp_path / "walk.mp4", count=40)
    gc.collect()
    gc.disable()
    try:
        frames = [frame.seconds for frame in VideoSource(path)]
        alive = sum(type(each) is av.VideoFrame for each in gc.get_objects())
    finally:
        gc.enable()
    assert len(frames) == 40 and alive < 10


@pytest.mark.parametrize("name", ["phone.3gp", "cam.mts", "noending", "film.jpg", "film.MP4"])
def test_a_video_is_what_opens_as_one_whatever_its_ending(tmp_path, name):
    shutil.copy(written(tmp_path / "walk.mp4", count=5), tmp_path / name)
    source = VideoSource(tmp_path / name)
    assert len(source) == len(list(source)) == 5 and source.name == name.partition(".")[0]


@pytest.mark.parametrize(
    ("kind", "options"),
    [("gif", {}), ("webp", {"lossless": True}), ("png", {}), ("avif", {}), ("tif", {})],
)
def test_an_animated_picture_is_a_video(tmp_path, kind, options):
    if kind in ("webp", "avif") and not features.check(kind):
        pytest.skip(f"this Pillow has no {kind}")
    first, *more = [Image.fromarray(picture(number)) for number in range(8)]
    durations = {} if kind == "tif" else {"duration": [100, 100, 300, *[100] * 5]}
    first.save(tmp_path / f"a.{kind}", save_all=True, append_images=more, **durations, **options)
    source = VideoSource(tmp_path / f"a.{kind}", frames_per_second=10)
    frames = list(source)
    assert len(source) == len(frames) == 8 and source.frames_per_second == pytest.approx(10)
    late = 0 if kind == "tif" else 0.2
    expected = [0, 0.1, 0.2, *(number / 10 + late for number in range(3, 8))]
    assert [frame.seconds for frame in frames] == pytest.approx(expected)
    assert frames[7].name == f"a.{kind}#7"
    assert np.abs(frames[7].picture.astype(int) - picture(7)).mean() < 6
    later = list(VideoSource(tmp_path / f"a.{kind}", frames_per_second=10, first_frame=6))
    assert [frame.seconds for frame in later] == pytest.approx(expected[6:])


def test_the_cover_of_a_song_is_no_video(tmp_path):
    song = encoded(tmp_path / "song.mkv", "mjpeg", count=1, pixels="yuvj420p", sound=1.0)
    with av.open(str(song)) as taken, av.open(str(tmp_path / "song.mp4"), "w") as made:
        cover, voice = (made.add_stream_from_template(each) for each in taken.streams)
        cover.disposition = av.stream.Disposition.attached_pic
        for packet in taken.demux():
            if packet.dts is not None:
                packet.stream = cover if packet.stream.type == "video" else voice
                made.mux(packet)
    with pytest.raises(PictureError, match="holds sound only"):
        VideoSource(tmp_path / "song.mp4")


@pytest.mark.parametrize("name", ["notes.txt", "notes.png", "notes"])
def test_what_is_neither_video_nor_picture_says_both(tmp_path, name):
    (tmp_path / name).write_text("this is no video\n" * 20)
    with pytest.raises(PictureError, match="cannot be read as a video") as caught:
        VideoSource(tmp_path / name)
    assert "no picture in a known format" in str(caught.value)


def test_frames_of_a_folder_are_in_the_order_of_their_numbers(tmp_path):
    for number in range(12):
        Image.fromarray(picture(number)).save(tmp_path / f"frame_{number + 1}.png")
    (tmp_path / "frame_13.heic").touch()
    for source in (VideoSource(tmp_path), VideoSource(f"{tmp_path}/frame_*.*")):
        for number, frame in enumerate(source):
            assert np.array_equal(frame.picture, picture(number))
        assert "1 .heic" in source.left_out and source.name == tmp_path.name
