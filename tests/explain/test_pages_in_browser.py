"""The pages of `pagoda why` and `pagoda compare` in a real browser, opened from the disk; one browser for all tests."""

import json
import shutil
from collections import Counter
from functools import partial
from pathlib import Path
from runpy import run_path

import numpy as np
import pytest

from pagoda.data.drawn.synthetic import DrawnShapes
from pagoda.evaluation.coco.comparison import Comparison, PictureChange
from pagoda.evaluation.coco.picture_pairs import FoundInPicture, PicturePair
from pagoda.evaluation.coco.result import ApDifference
from pagoda.evaluation.comparing_tracks import TrackComparison, VideoChange
from pagoda.explain.comparison.page import write_comparison
from pagoda.explain.comparison.tracks_page import write_track_comparison
from pagoda.explain.why.page import write_page
from pagoda.explain.why.records import MISS_WORDS, Miss, SeenPicture, Suspect, Why, Wrong
from pagoda.pictures.errors import PictureError

pytestmark = [pytest.mark.browser, pytest.mark.medium]

BENCHMARK = run_path(str(Path(__file__).parents[2] / "benchmarks" / "why_page.py"))
OF_THE_BROWSER = ("data:", "blob:", "about:", "chrome:")
"""what no server is asked for; the last are parts of the page that a new window begins with"""
HOSTILE = "</script><script>document.title='taken'</script><img src=x onerror=\"document.title='taken'\">"
HOSTILE_NAMES = (HOSTILE, "__proto__", "constructor", "a&at=3#b=c", "\ud800 '\"", "<!--", "人 &amp; 车", " ")


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    webdriver = pytest.importorskip("selenium.webdriver", reason="needs selenium: pip install selenium")
    chromium, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if not chromium or not driver:
        pytest.skip("needs Chromium and its driver: apt-get install chromium chromium-driver")
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for flag in (*BENCHMARK["CHROMIUM"], f"--user-data-dir={tmp_path_factory.mktemp('profile')}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    browser = webdriver.Chrome(options, webdriver.ChromeService(driver))
    yield browser
    browser.quit()


@pytest.fixture(scope="module")
def why():
    return BENCHMARK["imagine"](DrawnShapes(60, (96, 128), 1), seed=1)


@pytest.fixture(scope="module")
def page(why, tmp_path_factory):
    shapes = DrawnShapes(60, (96, 128), 1)
    path = tmp_path_factory.mktemp("why") / "why.html"
    return write_page(path, why, lambda image_id: shapes.picture(image_id - 1).permute(1, 2, 0).numpy())


@pytest.fixture
def visit(browser):
    """Opens a page anew, in a window of this size; afterwards nothing was asked of anybody and nothing complained."""
    opened = []

    def visit(page, choice="", width=1280, height=900, scheme="light"):
        opened.append(page.as_uri())
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 500}
        browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
        browser.get("about:blank")
        browser.get(page.as_uri() + choice)
        return partial(run, browser)

    browser.get_log("browser"), browser.get_log("performance")
    yield visit
    assert browser.get_log("browser") == []
    said = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    stopped = {each["params"]["requestId"] for each in said if each["params"].get("blockedReason") == "csp"}
    asked = {
        each["params"]["request"]["url"].split("#")[0]
        for each in said
        if each["method"] == "Network.requestWillBeSent" and each["params"]["requestId"] not in stopped
    }
    elsewhere = {url for url in asked if not url.startswith(OF_THE_BROWSER)}
    assert elsewhere == set(opened)


def run(browser, script, *arguments):
    """What the script returns, of an arrow function's body in the page."""
    return browser.execute_script(script, *arguments)


def wait(run, condition):
    """Until the page says so: history goes back in its own time."""
    for _ in range(200):
        if run(f"return Boolean({condition})"):
            return
        run("return new Promise((done) => setTimeout(done, 10))")
    raise AssertionError(f"never came true: {condition}")


def press(browser, *keys):
    from selenium.webdriver import ActionChains

    ActionChains(browser).send_keys(*keys).perform()


def bars(run, title):
    """{name: count} of the bars under a title."""
    return dict(
        run(
            "const text = (bar, part) => bar.querySelector(part).textContent;"
            " return [...document.querySelectorAll(`section[aria-label='${arguments[0]}'] .bar`)].map((bar) =>"
            " [text(bar, '.name'), Number(text(bar, '.count').replace(',', ''))])",
            title,
        )
    )


def click_bar(run, title, name):
    run(
        "[...document.querySelectorAll(`section[aria-label='${arguments[0]}'] .bar`)].find((bar) =>"
        " bar.querySelector('.name').textContent === arguments[1]).click()",
        title,
        name,
    )


FOUND = "return document.getElementById('found').textContent"
OPEN = "document.getElementById('viewer').open"


def test_it_opens_with_all_that_is_to_be_seen(visit, page, why):
    run = visit(page)
    entries = len(why.misses) + len(why.wrong) + len(why.suspects)
    assert run(FOUND) == f"all {entries}"
    assert run("return document.querySelector('.headline').innerText").startswith("46.6")
    classes = Counter(each.label for each in (*why.misses, *why.wrong, *why.suspects))
    assert bars(run, "class") == classes
    assert bars(run, "what") == {
        "missed objects": len(why.misses),
        "wrong detections": len(why.wrong),
        "suspect annotations": len(why.suspects),
    }
    wait(run, "document.querySelector('.card image')")
    source = "document.querySelector('.card image').href.baseVal"
    load = f"const i = new Image(); i.src = {source}; await i.decode(); return i.naturalWidth"
    assert run(f"return (async () => {{ {load} }})()") == 128
    assert (
        run(
            "return document.querySelectorAll('.card svg:not([role=img]), .card svg:not([aria-label])').length"
        )
        == 0
    )


def test_bars_filter_together_and_go_back(visit, browser, page, why):
    run = visit(page)
    click_bar(run, "class", "circle")
    click_bar(run, "what", "missed objects")
    both = [miss for miss in why.misses if miss.label == "circle"]
    assert run(FOUND).startswith(f"{len(both)} of ")
    reasons = Counter(MISS_WORDS[miss.reason] for miss in both)
    shown = run(
        "return [...document.querySelectorAll('section[aria-label=reason] .bar:not(.none) .name')]"
        ".map((name) => name.textContent)"
    )
    assert sorted(shown) == sorted(reasons)
    click_bar(run, "class", "square")  # one or the other
    assert run(FOUND).startswith(f"{sum(miss.label != 'triangle' for miss in why.misses)} of ")
    address = browser.current_url
    assert "class=circle&class=square" in address and "what=miss" in address
    browser.back()
    wait(run, f"document.getElementById('found').textContent.startsWith('{len(both)} of')")
    assert run("return document.querySelectorAll('.bar[aria-pressed=true]').length") == 2
    run("document.querySelector('#chips .plain').click()")
    assert run(FOUND).startswith("all ")
    run = visit(page, "#" + address.split("#")[1])
    assert run(FOUND).startswith(f"{sum(miss.label != 'triangle' for miss in why.misses)} of ")


def test_one_object_by_keyboard(visit, browser, page, why):
    from selenium.webdriver.common.keys import Keys

    run = visit(page, "#what=miss")
    press(browser, "j", Keys.ARROW_RIGHT, Keys.ENTER)
    wait(run, OPEN)
    assert run("return document.getElementById('place').textContent") == f"2 of {len(why.misses)}"
    press(browser, Keys.ARROW_RIGHT, Keys.ARROW_RIGHT, Keys.ARROW_LEFT)
    number = run("return new URLSearchParams(location.hash.slice(1)).get('at')")
    assert run("return document.getElementById('place').textContent") == f"3 of {len(why.misses)}"
    words = run("return document.querySelector('#view .words').textContent")
    assert words in {miss.words for miss in why.misses}
    assert run("return document.querySelectorAll('#view .concerned').length") >= 2
    press(browser, Keys.ESCAPE)
    wait(run, f"!{OPEN}")
    wait(run, "document.activeElement.dataset.number")
    assert run("return document.activeElement.dataset.number") == number
    assert browser.current_url.endswith("#what=miss")
    press(browser, "?")
    assert run("return document.getElementById('keys').open")
    press(browser, Keys.ESCAPE)
    assert not run("return document.getElementById('keys').open")


def test_a_link_to_one_object_and_layers(visit, browser, page, why):
    number = next(place for place, miss in enumerate(why.misses) if miss.evidence is not None)
    run = visit(page, f"#at={number}")
    assert run(f"return {OPEN}")
    assert run("return document.querySelector('#view .words').textContent") == why.misses[number].words
    assert run("return getComputedStyle(document.querySelector('#view .near')).display") != "none"
    run("document.querySelector('.layers label:nth-child(3) input').click()")
    assert run("return getComputedStyle(document.querySelector('#view .near')).display") == "none"
    elsewhere = "getComputedStyle(document.querySelector('.layers .elsewhere')).display"
    boxes = "[...document.querySelectorAll('#view .sides .elsewhere')]"
    other = f"{boxes}.some((box) => getComputedStyle(box).display !== 'none')"
    assert not run(f"return {other}") and run(f"return {elsewhere}") != "none"
    run("document.querySelector('.layers label:nth-child(4) input').click()")
    assert run(f"return {other}")
    run("[...document.querySelectorAll('#view button')].at(-1).click()")
    picture = why.misses[number].image_id
    same = [each for each in (*why.misses, *why.wrong, *why.suspects) if each.image_id == picture]
    assert run(FOUND).startswith(f"{len(same)} of ") and not run(f"return {OPEN}")


@pytest.mark.parametrize(
    "choice", ["#at=999999", "#at=-1", "#at=x", "#class=none&order=none&nothing=1", "#%E0%A4%A"]
)
def test_stale_links_do_no_harm(visit, page, choice):
    run = visit(page, choice)
    assert not run(f"return {OPEN}")
    assert run(FOUND).startswith("0 of " if "class" in choice else "all ")
    assert run("return document.getElementById('nothing').hidden") == ("class" not in choice)


@pytest.mark.parametrize(("width", "scheme"), [(360, "light"), (360, "dark"), (1280, "dark")])
def test_narrow_and_dark(visit, page, width, scheme):
    run = visit(page, "#at=0", width=width, scheme=scheme)
    assert run("return document.documentElement.scrollWidth <= innerWidth")
    assert run("const v = document.getElementById('viewer'); return v.scrollWidth <= v.clientWidth")
    red = run("return getComputedStyle(document.body).backgroundColor.match(/\\d+/)[0]")
    assert (int(red) < 60) == (scheme == "dark")
    assert run("return document.getElementById('chooser').open") == (width > 900)
    ink = run("return getComputedStyle(document.querySelector('#view .words')).color.match(/\\d+/)[0]")
    assert abs(int(ink) - int(red)) > 150


def test_it_can_be_printed(visit, browser, page):
    run = visit(page)
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
    hidden = "return getComputedStyle(document.querySelector(arguments[0])).display === 'none'"
    shown = {
        part: not run(hidden, part) for part in ("#chooser", "#show-keys", "#gallery .card", ".headline")
    }
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": ""})
    assert shown == {"#chooser": False, "#show-keys": False, "#gallery .card": True, ".headline": True}


def test_the_gallery_fills_as_one_scrolls(visit, page, why):
    run = visit(page)
    count = "document.querySelectorAll('.card').length"
    first = run(f"return {count}")
    assert first < len(why.misses)
    run("document.getElementById('more').scrollIntoView()")
    wait(run, f"{count} > {first}")


def seen_picture(image_id, names, file):
    boxes = [(10.0 * n, 5.0, 10.0 * n + 8, 20.0) for n in range(len(names))]
    return SeenPicture(
        image_id=image_id, file=file, image_size=(64, 96), object_boxes=boxes, object_labels=list(names),
        found_by=[None] * len(names), ignored=[False] * len(names), boxes=boxes[:1], scores=[0.5], labels=[names[0]],
    )  # fmt: skip


@pytest.fixture(scope="module")
def hostile_page(tmp_path_factory):
    pictures = [seen_picture(1, HOSTILE_NAMES, HOSTILE), seen_picture("</script>", ("cat",), "b.png")]
    misses = [
        Miss(
            image_id=picture.image_id, object=row, label=label, size="small", reason="low score",
            words=f"{label} {HOSTILE}", remedy=HOSTILE,
        )
        for picture in pictures
        for row, label in enumerate(picture.object_labels)
    ]  # fmt: skip
    wrong = [Wrong(image_id=1, detection=0, label=HOSTILE, size="small", kind="background", words=HOSTILE)]
    suspects = [
        Suspect(
            image_id=1,
            kind="missing",
            box=(1.0, 1, 9, 9),
            label="",
            suggested=HOSTILE,
            suspicion=0.9,
            words=HOSTILE,
        )
    ]
    why = Why(
        pictures=pictures, misses=misses, wrong=wrong, suspects=suspects, costs=[], ap=0.0, num_objects=9,
        limits={HOSTILE: None}, left_out=[HOSTILE],
    )  # fmt: skip

    def read(image_id):
        if image_id != 1:
            raise PictureError(f"{HOSTILE}: truncated file")
        return np.zeros((64, 96, 3), np.uint8)

    return write_page(tmp_path_factory.mktemp("hostile") / "why.html", why, read, title=HOSTILE)


def test_hostile_names_are_text(visit, browser, hostile_page):
    run = visit(hostile_page)
    assert run(FOUND) == "all 11" and browser.title == HOSTILE
    assert run("return document.querySelectorAll('img, script:not([type])').length") == 1
    classes = bars(run, "class")
    assert classes[HOSTILE] == 3 and classes["__proto__"] == classes["constructor"] == classes["cat"] == 1
    for name in ("__proto__", "constructor", "a&at=3#b=c", HOSTILE):
        click_bar(run, "class", name)
        assert run(FOUND).startswith(f"{classes[name]} of ")
        assert run("return readState().facets.get('class').has(arguments[0])", name)
        click_bar(run, "class", name)
    for number in range(11):
        run = visit(hostile_page, f"#at={number}")
        assert run(f"return {OPEN} && document.querySelectorAll('img').length === 0")
    assert browser.title == HOSTILE
    assert "truncated file" in run("return document.querySelectorAll('.without')[0].textContent")


def test_an_unreadable_picture_is_a_frame_with_its_words(visit, hostile_page):
    run = visit(hostile_page, "#class=cat")
    assert run("return document.querySelectorAll('.card image').length") == 0
    assert run("return document.querySelectorAll('.card .box').length") == 1
    assert run("return document.querySelector('.card .without').textContent") == f"{HOSTILE}: truncated file"


def test_what_is_planted_in_the_page_does_not_run(visit, browser, tmp_path, hostile_page):
    """Were a name ever written as it is, the page's own policy would stop it."""
    text = hostile_page.read_text(encoding="utf-8")
    planted = tmp_path / "planted.html"
    planted.write_text(
        text.replace("</main>", f"<p onclick=\"document.title='taken'\" id=trap>x</p>{HOSTILE}</main>")
    )
    run = visit(planted)
    run("document.getElementById('trap').click()")
    assert run(FOUND) == "all 11" and browser.title == HOSTILE
    stopped = [entry["message"] for entry in browser.get_log("browser")]
    assert stopped and all("Content Security Policy" in each for each in stopped)


@pytest.fixture(scope="module")
def compared(tmp_path_factory):
    def found(rows):
        box = (2.0, 2.0, 22.0, 22.0)
        return FoundInPicture(
            boxes=[box] * len(rows), scores=[0.5] * len(rows), labels=[HOSTILE] * len(rows), objects=rows
        )

    pairs = [
        PicturePair(
            image_id=n, object_boxes=[(2.0, 2, 22, 22)], object_labels=["cat"],
            first=found([0] if n % 2 else [None]), second=found([None] if n % 2 else [0]),
        )
        for n in range(6)
    ]  # fmt: skip
    changes = [
        PictureChange(image_id=n, found=-1 if n % 2 else 1, wrong=1 if n % 2 else -1) for n in range(6)
    ]
    parts = {
        "AP": ApDifference(ap=0.5, other_ap=0.4, low=0.02, high=0.18),
        f"AP of {HOSTILE}": ApDifference(ap=0.3, other_ap=0.4, low=-0.3, high=0.1),
        "APl": ApDifference(ap=np.nan, other_ap=np.nan, low=np.nan, high=np.nan),
    }
    comparison = Comparison(
        parts=parts, pictures=changes, num_images=10, num_runs=(2, 1), rounds=20, pairs=pairs
    )
    path = tmp_path_factory.mktemp("compared") / "compare.html"
    files = {n: (f"{n}.png", (48, 64)) for n in range(6)}
    return write_comparison(
        path,
        comparison,
        lambda image_id: np.full((48, 64, 3), 90, np.uint8),
        files,
        names=("a.onnx", HOSTILE),
    )


def test_two_models_side_by_side(visit, browser, compared):
    run = visit(compared)
    assert run(FOUND) == "all 6" and browser.title == f"{HOSTILE} beside a.onnx"
    assert bars(run, "the second is") == {"better": 3, "worse": 3}
    click_bar(run, "the second is", "worse")
    assert run("return document.querySelectorAll('.card').length") == 3
    run("document.querySelector('.card').click()")
    captions = run(
        "return [...document.querySelectorAll('#view figcaption')].map((each) => each.textContent)"
    )
    assert captions == ["a.onnx: 1 of 1 found, 0 wrong", f"{HOSTILE}: 0 of 1 found, 1 wrong"]
    text = run("return document.querySelector('.parts').innerText")
    assert "the second is better" in text and "cannot be told" in text and "no objects" in text
    rows = run("return [...document.querySelectorAll('.parts tbody tr')].map((row) => row.className)")
    assert rows == ["better", "open", "open"]
    assert "the first run of each side" in run("return document.body.textContent")


def test_two_sets_of_tracks(visit, browser, tmp_path):
    """Too few videos for intervals; the names of videos are shown as they are, those beyond sixteen on a click."""
    nothing = ApDifference(ap=0.5, other_ap=0.4, low=np.nan, high=np.nan)
    gains = [0.1 - 0.01 * number for number in range(20)]
    names = [HOSTILE, *(f"street {number}" for number in range(1, 20))]
    videos = [
        VideoChange(video=name, hota=gain, mota=np.nan, idf1=-gain)
        for name, gain in zip(names, gains, strict=True)
    ]
    comparison = TrackComparison(
        parts={"HOTA": nothing, "IDF1": nothing, "MOTA": nothing}, videos=videos, num_videos=4, rounds=20,
        protocol_of_scores="boxes",
    )  # fmt: skip
    page = write_track_comparison(tmp_path / "compare.html", comparison, names=("first/", HOSTILE))
    run = visit(page)
    assert browser.title == f"{HOSTILE} beside first/"
    tables = run(
        "return [...document.querySelectorAll('table')].map((table) => [...table.tBodies[0].rows].map((row) =>"
        " [row.className, ...[...row.cells].map((cell) => cell.innerText)]))"
    )
    scores, first, more = tables
    assert [row[:5] for row in scores] == [
        ["open", name, "40.0", "50.0", "+10.0"] for name in ("HOTA", "IDF1", "MOTA")
    ]
    assert [row[6:] for row in scores] == [["–", "cannot be told"]] * 3
    assert first[0] == ["better", HOSTILE, "+10.0", "", "–", "-10.0"] and len(first) == 16
    assert [row[0] for row in first + more] == ["better"] * 10 + ["open"] + ["worse"] * 9
    assert not run("return document.querySelector('details').open")
    widths = run("return [...document.querySelectorAll('table')][1].querySelectorAll('rect').length")
    assert widths == 16
    assert "an interval takes" in run("return document.querySelector('.lead').textContent")
