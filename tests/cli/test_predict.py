"""`pagoda predict`: which pictures a source stands for, in which order, and what is said of the others."""

import json
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest
import torch
from limits import most_held
from PIL import Image

from pagoda.cli import predict
from pagoda.cli.main import main
from pagoda.files.atomic import make_folder
from pagoda.models import create_model
from pagoda.pictures.read import to_picture
from pagoda.predict import ResizedPicture
from pagoda.preprocess import InputSpec
from pagoda.structures.instances import Detections
from pagoda.structures.labels import LabelMap

NAMES = LabelMap.from_names(["ball"])


class SeesNothing:
    """Stands in for a trained detector."""

    input_spec = InputSpec()

    def parameters(self):
        return iter([torch.zeros(1)])

    def predict(self, sources, **limits):
        return [self.of_one(source) for source in sources]

    def of_one(self, source):
        none = torch.zeros(0)
        boxes, labels = torch.zeros(0, 4), torch.zeros(0, dtype=torch.long)
        if isinstance(source, ResizedPicture):
            return Detections(boxes, none, labels, source.size, NAMES, file=source.name)
        picture, name = to_picture(source)
        return Detections(boxes, none, labels, picture.shape[:2], NAMES, file=name, picture=picture)


@pytest.fixture
def run(monkeypatch, tmp_path, capsys):
    """Runs the command; gives (exit code, rows, what was said)."""
    monkeypatch.setattr(predict, "open_ready", lambda path, model, take, **where: SeesNothing())

    def call(*words):
        with pytest.raises(SystemExit) as exit_code:
            main(["predict", "m", *map(str, words), "--json", "--out", str(tmp_path / "out")])
        captured = capsys.readouterr()
        rows = [json.loads(line) for line in captured.out.splitlines()]
        return exit_code.value.code, rows, " ".join(captured.err.split())

    return call


def picture(value=0):
    return Image.fromarray(np.full((8, 12, 3), value, np.uint8))


def names(rows):
    return [row["file"].rpartition("/")[2] for row in rows]


def test_a_folder_and_a_glob_are_in_the_order_of_their_numbers(run, tmp_path):
    folder = tmp_path / "frames"
    (folder / "more").mkdir(parents=True)
    for number in range(1, 13):
        picture(number).save(folder / f"frame_{number}.png")
    for name in ("a.heic", "b.txt", "more/c.png"):
        (folder / name).touch()
    expected = [f"frame_{number}.png" for number in range(1, 13)]
    code, rows, said = run(folder)
    assert code == 0 and names(rows) == expected
    assert "2 files are no picture by the ending (1 .heic, 1 .txt); 1 folder is not looked into" in said
    code, rows, said = run(f"{folder}/frame_*.png")
    assert code == 0 and names(rows) == expected and "left out" not in said


def test_of_an_animated_picture_the_first_frame_is_used_and_that_is_said(run, tmp_path):
    for name in ("a.gif", "b.gif"):
        picture(9).save(tmp_path / name, save_all=True, append_images=[picture(90), picture(200)])
    code, rows, said = run(tmp_path / "a.gif", tmp_path / "b.gif")
    assert code == 0 and names(rows) == ["a.gif", "b.gif"]
    assert "a.gif holds 3 frames or pages, of which the first was looked at (and so 1 more)" in said
    with Image.open(tmp_path / "out" / "a.jpg") as drawn:
        assert drawn.getpixel((0, 0)) == (9, 9, 9)


def test_pictures_that_become_black_are_remarked(run, tmp_path):
    for number in range(2):
        Image.fromarray(np.full((8, 12), 4000 + number, np.uint16)).save(tmp_path / f"{number}.png")
    code, _, said = run(tmp_path / "*.png")
    assert code == 0 and "2 pictures of more than 8 bits reach only 4001 of 65535" in said
    assert "stretch_levels(" in said


def test_a_very_large_picture_is_drawn_smaller_and_that_is_said(run, tmp_path, monkeypatch):
    monkeypatch.setattr(predict, "MAX_DRAWN_PIXELS", 50)
    Image.new("RGB", (20, 10)).save(tmp_path / "a.png")
    code, rows, said = run(tmp_path / "a.png")
    assert code == 0 and rows[0]["image_size"] == [10, 20]
    assert "a.png has more than 50 pixels and was drawn smaller, by a whole factor" in said
    with Image.open(tmp_path / "out" / "a.jpg") as drawn:
        assert drawn.size == (10, 5)


@pytest.mark.medium
@pytest.mark.parametrize("fit", [{}, {"fit": "letterbox", "canvas": (48, 80)}, {"resample": "bicubic"}])
def test_a_very_large_picture_has_the_same_objects_and_drawing_however_it_is_read(
    run, tmp_path, monkeypatch, fit
):
    torch.manual_seed(0)
    model = create_model("fcos_resnet18_fpn", num_classes=2, width=16, base_channels=16, short_side=48).eval()
    model.input_spec = InputSpec(**{"short_side": 48, "long_side": 80, **fit})
    monkeypatch.setattr(predict, "open_ready", lambda path, model_, take, **where: model)
    monkeypatch.setattr(predict, "MAX_DRAWN_PIXELS", 5000)
    noise = np.random.default_rng(0).integers(0, 256, (21, 30, 3), dtype=np.uint8)
    Image.fromarray(noise.repeat(7, 0).repeat(9, 1)).save(tmp_path / "a.png")
    looked_at = []
    monkeypatch.setattr(
        model, "predict", lambda pictures, **how: looked_at.extend(pictures) or find(pictures, **how)
    )
    find = type(model).predict.__get__(model)
    found = []
    for takes_strips in (InputSpec(**fit).takes_strips, False):
        monkeypatch.setattr(InputSpec, "takes_strips", takes_strips)
        monkeypatch.setattr(predict, "make_folder", lambda out, to=takes_strips: make_folder(f"{out}-{to}"))
        code, rows, _ = run(tmp_path / "a.png", "--min-score", "0")
        assert code == 0 and isinstance(looked_at[-1], ResizedPicture) == takes_strips
        found.append((rows, (tmp_path / f"out-{takes_strips}" / "a.jpg").read_bytes()))
    assert found[0][0][0]["objects"] and found[0] == found[1]


@pytest.mark.medium
@pytest.mark.skipif(not InputSpec().takes_strips, reason="large pictures are read whole on this processor")
def test_of_a_very_large_picture_no_array_of_all_pixels_is_held(tmp_path, monkeypatch):
    """Pillow has four bytes of each pixel, an array would have three more."""
    monkeypatch.setattr(predict, "MAX_DRAWN_PIXELS", 2**20)
    read = partial(predict._read, spec=InputSpec(), is_whole=False)
    for name, size in (("small", (1500, 1000)), ("large", (10_000, 8000))):
        Image.new("RGB", size).save(tmp_path / f"{name}.png", compress_level=1)
    read(tmp_path / "small.png")
    picture, held = most_held(partial(read, tmp_path / "large.png"))
    assert picture.size == (8000, 10_000) and held < 5 * 8000 * 10_000


def test_a_video_is_sent_to_track(run, tmp_path):
    (tmp_path / "walk.mp4").write_bytes(b"\0\0\0\x18ftypisom")
    code, rows, said = run(tmp_path / "walk.mp4")
    assert code == 1 and rows == [] and "no picture in a known format; a video is for pagoda track" in said


def test_an_address_is_fetched(run, tmp_path):
    folder = tmp_path / "served"
    folder.mkdir()
    picture(7).save(folder / "dog.png")

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *arguments):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder))) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_port}"
        code, rows, said = run(f"{address}/dog.png?size=1", f"{address}/cat.png")
        server.shutdown()
    assert code == 1 and names(rows) == ["dog.png"] and rows[0]["image_size"] == [8, 12]
    assert "cat.png: HTTP Error 404" in said and "1 of 2 pictures could not be read" in said
    assert (tmp_path / "out" / "dog.jpg").is_file()


def test_pngs_keep_every_pixel(run, tmp_path):
    noise = np.random.default_rng(0).integers(0, 256, (8, 12, 3), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / "a.png")
    run(tmp_path / "a.png", "--min-score", "1", "--picture-format", "png")
    with Image.open(tmp_path / "out" / "a.png") as drawn:
        assert np.array_equal(np.asarray(drawn), noise)
