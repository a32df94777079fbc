"""The page of `pagoda why` without a browser: its numbers, its bounds, and data sets with nothing to show."""

import json
import re
from dataclasses import replace
from pathlib import Path
from runpy import run_path

import numpy as np
import pytest

from pagoda.data.drawn.synthetic import DrawnShapes
from pagoda.evaluation.errors.costs import KindCost
from pagoda.explain.why import page_data as page_data_module
from pagoda.explain.why.page import usual_remedies, write_page
from pagoda.explain.why.page_data import MAX_WEAK, page_data
from pagoda.explain.why.records import Why
from pagoda.pictures.errors import PictureError

IMAGINE = run_path(str(Path(__file__).parents[3] / "benchmarks" / "why_page.py"))["imagine"]


@pytest.fixture(scope="module")
def why():
    return IMAGINE(DrawnShapes(20, (96, 128), 1), seed=1)


def grey(image_id):
    return np.full((96, 128, 3), 90, np.uint8)


def data_of(page):
    return json.loads(re.search(r'id="data">(.*?)</script>', page.read_text(), flags=re.S).group(1))


def test_everything_is_in_the_page_once(why, tmp_path):
    data = data_of(write_page(tmp_path / "why.html", why, grey))
    said = [*why.misses, *why.wrong, *why.suspects]
    assert [entry["words"] for entry in data["entries"]] == [each.words for each in said]
    for entry, each in zip(data["entries"], said, strict=True):
        picture = next(one for one in why.pictures if one.image_id == each.image_id)
        shown = data["pictures"][entry["picture"]]
        assert shown["id"] == str(each.image_id) and shown["file"] == picture.file
        if entry["what"] == "miss":
            assert entry["box"] == pytest.approx(picture.object_boxes[each.object], abs=0.051)
        detections = {row: score for row, *_, score, _ in shown["found"]}
        if each.detection is not None:
            assert detections[each.detection] == pytest.approx(picture.scores[each.detection], abs=1e-4)
    counts = [
        sum(entry["picture"] == n and entry["what"] == "miss" for entry in data["entries"]) for n in range(20)
    ]
    assert counts == sorted(counts, reverse=True)  # what there is no room for are pictures with few misses


def test_bounds_are_kept_and_said(why, tmp_path, monkeypatch):
    monkeypatch.setattr(page_data_module, "MAX_ENTRIES", 7)
    data, _, told = page_data(why)
    kinds = [entry["what"] for entry in data["entries"]]
    assert kinds == ["miss"] * 7 + ["wrong"] * 7 + ["suspect"] * 7
    seen = {picture.image_id: picture for picture in why.pictures}
    scores = [seen[each.image_id].scores[each.detection] for each in why.wrong]
    best = sorted(scores, reverse=True)[:7]
    assert sorted((entry["score"] for entry in data["entries"][7:14]), reverse=True) == pytest.approx(
        best, abs=1e-4
    )
    assert f"Of {len(why.misses)} misses 7 can be looked at here, evenly chosen" in told[0]
    assert f"Of {len(why.wrong)} wrong detections 7" in told[1] and "suspects 7" in told[2]
    page = write_page(tmp_path / "why.html", why, grey).read_text()
    assert all(each in page for each in told)


def test_weak_detections_are_counted(why):
    picture = why.pictures[0]
    extra = 100 - len(picture.boxes)
    many = replace(
        picture,
        boxes=picture.boxes + [(0.0, 0.0, 9.0, 9.0)] * extra,
        scores=picture.scores + [0.001] * extra,
        labels=picture.labels + ["circle"] * extra,
    )
    miss = replace(next(each for each in why.misses if each.image_id == many.image_id), detection=99)
    data, _, told = page_data(replace(why, pictures=[many], misses=[miss], wrong=[], suspects=[]))
    assert [row for row, *_ in data["pictures"][0]["found"]] == [*range(MAX_WEAK), 99]
    assert told == [f"{99 - MAX_WEAK} weak detections of which nothing is said are not drawn."]


@pytest.mark.parametrize("max_bytes", [150_000, 400_000])
def test_the_page_is_no_larger_than_it_may_be(why, tmp_path, max_bytes):
    def noise(image_id):
        return np.random.default_rng(image_id).integers(0, 255, (960, 1280, 3), np.uint8)

    page = write_page(tmp_path / "why.html", why, noise, max_bytes=max_bytes)
    assert page.stat().st_size <= max_bytes
    assert "with sides of up to" in page.read_text() or "no room here" in page.read_text()
    with pytest.raises(ValueError, match="max_bytes must be at least 1"):
        write_page(tmp_path / "why.html", why, noise, max_bytes=0)


def test_the_first_sentence_and_the_costs(why, tmp_path):
    costs = [
        KindCost(kind="no prior", is_miss=True, count=12, ap=0.12, per_class={"circle": 0.2, "square": 0.0},
             per_size={"small": 0.3, "large": 0.0}),
        KindCost(kind="box accuracy", is_miss=False, count=70, ap=0.05, per_class={}, per_size={}),
    ]  # fmt: skip
    text = write_page(tmp_path / "why.html", replace(why, ap=0.69, costs=costs), grey).read_text()
    assert (
        "Of the 31.0 points of AP that are missing, 12.0 come back without the 12 misses of one kind, “no"
        in text
    )
    assert "What most of them name: --model.short-side 480 gives it a location of P3" in text
    assert 'data-choose="miss: no prior"' in text and '<td class="text">circle, small</td>' in text
    assert "found, but not exactly" in text and 'data-choose="wrong: box' not in text
    assert usual_remedies(why)["low score"][0] == "--min-score 0.2 would show it"


def test_a_picture_of_unknown_size_holds_its_boxes(why):
    unknown = [replace(picture, image_size=(0, 0)) for picture in why.pictures]
    data, _, _ = page_data(replace(why, pictures=unknown))
    for picture in data["pictures"]:
        height, width = picture["size"]
        assert (
            all(box[3] <= height and box[2] <= width for box in picture["objects"])
            and min(height, width) >= 100
        )


def nothing(**changes):
    empty = {
        "pictures": [],
        "misses": [],
        "wrong": [],
        "suspects": [],
        "costs": [],
        "limits": {},
        "left_out": [],
    }
    return Why(**{**empty, "ap": None, "num_objects": 0, **changes})


def test_nothing_to_show_is_said(why, tmp_path):
    def read(image_id):
        raise PictureError("no picture is asked for")

    page = write_page(tmp_path / "why.html", nothing(), read).read_text()
    assert "Nothing is annotated here" in page and 'id="gallery"' not in page and "start({" not in page
    perfect = nothing(ap=1.0, num_objects=3, left_out=["crowds: 4"])
    page = write_page(tmp_path / "why.html", perfect, read).read_text()
    assert "every object was found" in page and "crowds: 4" in page
    unreadable = replace(why, costs=[])
    page = write_page(tmp_path / "why.html", unreadable, read)
    assert {picture["words"] for picture in data_of(page)["pictures"]} == {"no picture is asked for"}
    assert "is not known of this data set" in page.read_text()
