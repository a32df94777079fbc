"""Pages with a program in them: what is inside stays inside, and pictures fit into the room they are given."""

import base64
import hashlib
import io
import json
import re

import numpy as np
import pytest
from PIL import Image

from pagoda.pictures.errors import PictureError
from pagoda.visualization.page import shipped, write_program_page
from pagoda.visualization.thumbnails import CLEAR, DETAIL_SIDE, SIDES, Wanted, embed_pictures

SCRIPTS = [shipped("page.js")] + [
    shipped("page.js", f"pagoda.explain.{room}") for room in ("why", "comparison")
]


def photo(image_id, size=(600, 800)):
    """Noise, which hardly gets smaller as a JPEG file."""
    return np.random.default_rng(image_id).integers(0, 255, (*size, 3), np.uint8)


def opened(content):
    return Image.open(io.BytesIO(content))


def test_the_policy_names_what_is_in_the_page(tmp_path):
    data = {"name": "</script><script>x()</script>", "number": float("nan")}
    page = write_program_page(
        tmp_path / "a.html",
        title="</title>",
        body="<p>ä</p>",
        data=data,
        pictures=[b"\xff\x00"],
        script="ü();",
    )
    text = page.read_text(encoding="utf-8")
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', text).group(1)
    for kind, content in re.findall(r"<(script|style)>(.*?)</\1>", text, flags=re.S):
        digest = base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
        assert f"{kind}-src 'sha256-{digest}'" in policy
    assert policy.startswith("default-src 'none';") and "unsafe" not in policy
    assert text.count("<script") == 3 and text.count("<title>") == 1
    inside = re.search(r'id="data">(.*?)</script>', text, flags=re.S).group(1)
    assert json.loads(inside) == {**data, "number": None}
    pictures = json.loads(re.search(r'id="pictures">(.*?)</script>', text, flags=re.S).group(1))
    assert base64.b64decode(pictures[0]) == b"\xff\x00"


@pytest.mark.parametrize("script", SCRIPTS)
def test_scripts_make_no_html_of_text_and_ask_nobody(script):
    for way in ("innerHTML", "outerHTML", "insertAdjacent", "document.write", "eval(", "Function(", "fetch(",
                "XMLHttp", "import(", "WebSocket", "localStorage", "</script", "setAttribute(\"style"):  # fmt: skip
        assert way not in script
    for address in re.findall(r"https?://[^\"'`\s]+", script):
        assert address == "http://www.w3.org/2000/svg"  # the name of a language, which is not asked for


@pytest.mark.parametrize("max_bytes", [20_000, 40_000, 200_000, 4_000_000])
def test_pictures_fit_and_what_does_not_is_said(max_bytes):
    wanted = [Wanted(image_id=n, image_size=(600, 800), objects=[(10, 10, 40, 30)]) for n in range(8)]
    seen = embed_pictures(wanted, photo, max_bytes=max_bytes)
    assert sum(len(base64.b64encode(each)) for each in seen.contents) <= max_bytes
    shown = [each for each in seen.thumbnails if each.number is not None]
    sides = {max(opened(seen.contents[each.number]).size) for each in shown}
    assert len(sides) == 1 and sides < set(SIDES)
    assert f"up to {sides.pop()} pixels" in seen.notes[0]
    assert [each.number is None for each in seen.thumbnails] == sorted(
        each.number is None for each in seen.thumbnails
    )
    without = len(seen.thumbnails) - len(shown)
    assert any(f"{without} picture" in each for each in seen.notes) == bool(without)
    assert all("too large" in each.words for each in seen.thumbnails if each.number is None)
    coarse = sum(detail is None for each in shown for detail in each.details)
    assert any(f"{coarse} small object" in each for each in seen.notes) == bool(coarse)
    assert (max_bytes < 50_000) == bool(without or coarse)


def test_small_objects_of_large_pictures_get_their_own():
    picture = np.zeros((1500, 2000, 3), np.uint8)
    picture[300:340, 400:460] = 255
    objects = [(400.0, 300.0, 460.0, 340.0), (0.0, 0.0, 1990.0, 1400.0), (1990.0, 1490.0, 2000.0, 1500.0)]
    one = Wanted(image_id=1, image_size=(1500, 2000), objects=objects)
    seen = embed_pictures([one], lambda image_id: picture, max_bytes=1_000_000)
    small, large, corner = seen.thumbnails[0].details
    assert large is None and CLEAR > 60 * 640 / 2000
    number, (x1, y1, x2, y2) = small
    detail = np.asarray(opened(seen.contents[number]))
    assert max(detail.shape) == DETAIL_SIDE and x1 < 400 and y1 < 300 and x2 > 460 and y2 > 340
    scale = detail.shape[1] / (x2 - x1)
    rows, columns = (
        slice(round((low - start) * scale), round((high - start) * scale))
        for low, high, start in ((305, 335, y1), (405, 455, x1))
    )
    inside = detail[rows, columns]
    assert inside.mean() > 240 and detail.mean() < 100
    assert corner[1][2:] == (2000, 1500) and corner[1][0] < 1990


def test_boxes_may_be_of_another_size_than_the_picture():
    """As where a file was rotated or scaled after it was annotated: regions stay those of the boxes."""
    one = Wanted(image_id=1, image_size=(2000, 3000), objects=[(1500.0, 1000.0, 1530.0, 1030.0)])
    seen = embed_pictures([one], lambda image_id: photo(1, (1000, 1500)), max_bytes=1_000_000)
    number, (x1, y1, x2, y2) = seen.thumbnails[0].details[0]
    assert x1 < 1500 < 1530 < x2 and y1 < 1000 < 1030 < y2
    width, height = opened(seen.contents[number]).size
    assert width == pytest.approx((x2 - x1) / 2, abs=1) and height == pytest.approx((y2 - y1) / 2, abs=1)


def test_what_cannot_be_read_has_its_words():
    def read(image_id):
        if image_id % 2:
            raise PictureError(f"{image_id}.png: truncated file")
        return photo(image_id, (60, 80))

    wanted = [Wanted(image_id=n, image_size=(60, 80), objects=[(1, 1, 5, 5)]) for n in range(4)]
    seen = embed_pictures(wanted, read, max_bytes=10**6)
    assert [each.words for each in seen.thumbnails] == [
        "",
        "1.png: truncated file",
        "",
        "3.png: truncated file",
    ]
    assert seen.notes == ["2 pictures could not be read."] and len(seen.contents) == 2
    none = embed_pictures(wanted[1::2], read, max_bytes=10**6)
    assert none.contents == [] and none.notes == ["2 pictures could not be read."]
    assert embed_pictures([], read, max_bytes=1).thumbnails == []
