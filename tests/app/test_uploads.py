"""What somebody hands over: pictures, videos, and all that is neither."""

from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pagoda.app import uploads
from pagoda.app.uploads import is_film, read_upload
from pagoda.pictures.read import PictureError
from pagoda.video.frames import VideoWriter


def white_png(side):
    """A few kilobytes of PNG that hold side × side pixels."""
    content = BytesIO()
    Image.new("1", (side, side), 1).save(content, "PNG")
    return content.getvalue()


@pytest.fixture
def video(tmp_path):
    path = tmp_path / "walk.mp4"
    with VideoWriter(path, frames_per_second=5) as writer:
        for number in range(4):
            writer.add(np.full((48, 64, 3), 40 * number, np.uint8), number / 5)
    return path


def test_pictures_and_first_frames(tmp_path, video):
    Image.new("L", (5, 4), 9).save(tmp_path / "a.png")
    assert read_upload(tmp_path / "a.png").tolist() == np.full((4, 5, 3), 9).tolist()
    assert read_upload(tmp_path / "a.png", channels=4).shape == (4, 5, 4)
    frames = [Image.new("RGB", (6, 4), colour) for colour in ("red", "blue")]
    frames[0].save(tmp_path / "b.gif", save_all=True, append_images=frames[1:])
    assert is_film(tmp_path / "b.gif") and is_film(video) and not is_film(tmp_path / "a.png")
    assert read_upload(tmp_path / "b.gif")[0, 0].tolist() == [255, 0, 0]
    assert read_upload(video).shape == (48, 64, 3)


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.png", b"", "cannot read a.png: empty, or no picture in a known format"),
        ("a.jpg", b"\xff\xd8\xff\xe0" + b"\0" * 50, "cannot read a.jpg: "),
        ("a.png", b"<html>not found</html>", "a web page"),
        ("a.mp4", b"", "a.mp4"),
        ("a.mp4", b"\0\0\0\x18ftypisom" + b"\0" * 99, "a.mp4 cannot be read as a video"),
        ("notes.txt", b"hello", "notes.txt"),
        ("large.png", white_png(8200), "large.png has 8200×8200 pixels, and a page shows at most 67108864"),
    ],
)  # fmt: skip
def test_what_cannot_be_shown_is_a_sentence_without_its_folder(tmp_path, name, content, said):
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(PictureError) as caught:
        read_upload(path)
    assert said in str(caught.value) and str(tmp_path) not in str(caught.value)


def test_large_frames_are_refused(video, monkeypatch):
    monkeypatch.setattr(uploads, "MAX_FRAME_PIXELS", 48 * 64 - 1)
    with pytest.raises(
        PictureError, match=r"^walk.mp4 has 48×64 pixels, .* pagoda track follows larger ones"
    ):
        read_upload(video)


def test_what_is_gone_is_said(tmp_path):
    with pytest.raises(PictureError, match="there is no such file"):
        read_upload(Path(tmp_path, "gone.png"))
