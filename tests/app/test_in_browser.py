"""The page in a real browser, by clicks: a quick way through it, and everything with models that have learnt."""

import json
import re
import shutil
import time
from contextlib import contextmanager
from pathlib import Path
from runpy import run_path

import numpy as np
import pytest
from PIL import Image

import pagoda
from pagoda.app.album import Album
from pagoda.app.clicking import object_at
from pagoda.app.events import Events
from pagoda.app.looking import Looker
from pagoda.app.reasons import annotated_boxes
from pagoda.app.serving import listen, served
from pagoda.app.session import Session
from pagoda.data.dataset import DetectionDataset
from pagoda.data.drawn.walking import WalkingFigures
from pagoda.data.formats.reader import open_annotations
from pagoda.explain.why.examine import why
from pagoda.structures.labels import LabelMap
from pagoda.video.frames import VideoWriter

pytestmark = pytest.mark.browser

CHROMIUM = run_path(str(Path(__file__).parents[2] / "benchmarks" / "why_page.py"))["CHROMIUM"]
OF_THE_BROWSER = ("data:", "blob:", "about:", "chrome:", "chrome-untrusted:")
OF_GRADIO = '"Method not implemented."'
"""what its script notes whenever an answer has come to its end"""
PATIENCE_SECONDS = 60
"""for a machine that others use, too; what comes, comes sooner"""


@pytest.fixture(scope="module")
def open_window(tmp_path_factory):
    """(address) to a browser of its own, which at the end has asked nobody but this address."""
    webdriver = pytest.importorskip("selenium.webdriver", reason="needs selenium: pip install selenium")
    pytest.importorskip("gradio", reason="needs gradio: pip install 'pagoda-vision[app]'")
    chromium, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if not chromium or not driver:
        pytest.skip("needs Chromium and its driver: apt-get install chromium chromium-driver")

    @contextmanager
    def open_window(address):
        options = webdriver.ChromeOptions()
        options.binary_location = chromium
        for flag in (*CHROMIUM, f"--user-data-dir={tmp_path_factory.mktemp('profile')}"):
            options.add_argument(flag)
        options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
        browser = webdriver.Chrome(options, webdriver.ChromeService(driver))
        try:
            browser.get("about:blank")
            browser.get_log("performance")
            browser.get(address)
            yield Window(browser)
            asked = requests(browser)
            said = [entry["message"] for entry in browser.get_log("browser")]
            assert [each for each in said if not each.endswith(OF_GRADIO)] == []
        finally:
            browser.quit()
        assert {url for url in asked if not url.startswith((address, *OF_THE_BROWSER))} == set()
        assert any(url.startswith(f"{address}assets/") for url in asked), "nothing was recorded"

    return open_window


def requests(browser):
    """Every address that was asked for, whether or not the page's policy let it through."""
    said = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    return {
        each["params"]["request"]["url"] for each in said if each["method"] == "Network.requestWillBeSent"
    } | {each["params"]["url"] for each in said if each["method"] == "Network.webSocketCreated"}


class Window:
    """One person at the page."""

    def __init__(self, browser):
        self.browser = browser

    def run(self, script, *arguments):
        return self.browser.execute_script(script, *arguments)

    def wait(self, script, *arguments):
        """What the script returns once that is true."""
        end = time.monotonic() + PATIENCE_SECONDS
        while not (value := self.run(script, *arguments)):
            assert time.monotonic() < end, f"never came true: {script} {arguments}; the page says {self.said}"
            time.sleep(0.05)
        return value

    @property
    def said(self):
        return self.run("return document.querySelector('#said textarea')?.value")

    @property
    def place(self):
        return self.run("return document.querySelector('#place textarea')?.value")

    def says(self, *parts):
        """Waits for words."""
        script = (
            "const said = document.querySelector('#said textarea')?.value ?? '';"
            " return arguments[0].every((part) => said.includes(part)) && said"
        )
        return self.wait(script, list(parts))

    def says_otherwise(self, before):
        """Waits for other words."""
        script = "const said = document.querySelector('#said textarea').value; return said !== arguments[0] && said"
        return self.wait(script, before)

    def pixels(self, place):
        """The address of a shown picture, which changes with its content; once it can be seen."""
        script = (
            "const image = document.querySelector(`#${arguments[0]} img`);"
            " return image && image.complete && image.naturalWidth > 0 && image.src"
        )
        return self.wait(script, place)

    def click_picture(self, place, x, y, size):
        """At pixels of a picture of (height, width) `size`, with the mouse."""
        from selenium.webdriver import ActionChains

        self.pixels(place)
        image = self.browser.find_element("css selector", f"#{place} img")
        self.run("arguments[0].scrollIntoView({block: 'center'})", image)
        wide, high = self.run(
            "const r = arguments[0].getBoundingClientRect(); return [r.width, r.height]", image
        )
        scale = min(wide / size[1], high / size[0])  # it is shown whole, in the middle
        at = (x - size[1] / 2) * scale, (y - size[0] / 2) * scale
        ActionChains(self.browser).move_to_element_with_offset(image, *at).click().perform()

    def press(self, place):
        self.browser.find_element("id", place).click()

    def type(self, selector, *keys):
        field = self.browser.find_element("css selector", selector)
        self.run("arguments[0].select()", field)
        field.send_keys(*keys)

    def set_score(self, score):
        from selenium.webdriver.common.keys import Keys

        self.type("#min-score input[type=number]", str(score), Keys.TAB)

    def drop(self, *paths):
        clear = self.browser.find_elements("css selector", "#files button[aria-label='Clear']")
        if clear:
            clear[0].click()
        self.wait("return document.querySelector('#files input[type=file]')")
        field = self.browser.find_element("css selector", "#files input[type=file]")
        field.send_keys("\n".join(map(str, paths)))


def count(said, name):
    """How many objects a model shows."""
    return int(re.search(rf"{name}: (\d+) object", said)[1])


def pictured(path, seed):
    """A picture of noise, of its own size."""
    noise = np.random.default_rng(seed).integers(0, 255, (96, 128, 3), np.uint8)
    Image.fromarray(noise).resize((256, 192)).save(path)
    return path


def walking(path, num_frames):
    """A video of walking figures, the same dozen frames again and again."""
    walk = WalkingFigures(num_videos=1, num_frames=12, image_size=(96, 128))
    frames = [walk.frame(0, number).permute(1, 2, 0).numpy() for number in range(12)]
    with VideoWriter(path, frames_per_second=5) as writer:
        for number in range(num_frames):
            writer.add(frames[number % 12], number / 5)
    return path


@pytest.mark.medium
def test_a_quick_way_through(open_window, sure_model, tmp_path):
    with (
        served(Events((Looker(sure_model(), "a"),)), listen(0)) as (address, _),
        open_window(address) as window,
    ):
        window.says("Drop a picture or a short video")
        window.drop(pictured(tmp_path / "mine.png", 0))
        said = window.says("a: ")
        many = count(said, "a")
        before = window.pixels("found-0")
        window.set_score(0.95)
        few = count(window.says_otherwise(said), "a")
        assert few < many and window.place == "mine.png (1 of 1)"
        window.wait("return document.querySelector('#found-0 img').src !== arguments[0]", before)
        (tmp_path / "broken.jpg").write_bytes(b"no picture")
        window.drop(tmp_path / "broken.jpg")
        window.says("cannot read broken.jpg: empty, or no picture in a known format")
        assert (
            window.run("return document.querySelector('#found-0 img')?.checkVisibility() ?? false") is False
        )
        assert "Traceback" not in window.run("return document.body.innerText")


@pytest.fixture(scope="module")
def learnt(data_folder, tmp_path_factory):
    """Two models of the drawn data, of which one has learnt for longer."""
    out = tmp_path_factory.mktemp("runs")
    small = {"base_channels": 16, "width": 16, "norm_groups": 4, "short_side": 96, "long_side": 128}
    return [
        pagoda.train(
            "fcos_resnet18_fpn", data_folder, epochs=epochs, batch_size=2, options=small, seed=seed, out=str(out),
            optim={"learning_rate": 3e-3, "ema_decay": 0.0}, val_every=epochs, quiet=True,
            augment={"horizontal_flip": 0.0, "scale_range": (1.0, 1.0)},
        ).folder / "best.safetensors"
        for seed, epochs in ((0, 40), (1, 15))
    ]  # fmt: skip


@pytest.fixture(scope="module")
def whole(learnt, data_folder):
    """(address, events) of the page with a data set and two models."""
    album = Album(DetectionDataset(open_annotations(data_folder, "val")))
    events = Events(
        tuple(Looker(pagoda.load(path), name) for path, name in zip(learnt, ("long", "short"), strict=True)),
        album,
    )
    with served(events, listen(0)) as (address, _):
        yield address, events


@pytest.mark.slow
def test_a_data_set_is_explained_and_models_compared(open_window, whole):
    address, events = whole
    with open_window(address) as window:
        said = window.says("long: ", "short: ")
        assert window.place == "000001.png (1 of 6)"
        assert len({window.pixels(place) for place in ("annotated", "found-0", "found-1")}) == 3, (
            "all look the same"
        )
        both = count(said, "long"), count(said, "short")
        window.set_score(0.05)
        said = window.says_otherwise(said)
        assert count(said, "long") > both[0] and count(said, "short") > both[1]
        window.set_score(0.3)
        window.says(f"long: {both[0]} object")
        session, _ = events.start(Session())
        found = events.lookers[0].found(session.shown.looks[0], session.limits)
        x1, y1, x2, y2 = found.boxes[0].tolist()
        window.click_picture("found-0", (x1 + x2) / 2, (y1 + y2) / 2, (96, 128))
        said = window.says("long: ", "score 0.", "box ")
        assert "finds " in said or "wrong – " in said
        at, row = _missed(events)
        window.type("#name textarea, #name input", events.album.name(at), "\ue007")
        window.wait(
            "return document.querySelector('#place textarea').value.startsWith(arguments[0])",
            events.album.name(at),
        )
        x1, y1, x2, y2 = annotated_boxes(events.album.annotations(at))[row].tolist()
        plain = window.pixels("annotated")
        window.click_picture("annotated", (x1 + x2) / 2, (y1 + y2) / 2, (96, 128))
        said = window.says("annotated: ", "long: missed – ", "short: ")
        assert window.wait(
            "const i = document.querySelector('#annotated img'); return i.src !== arguments[0]", plain
        )
        window.press("next")
        window.wait(
            "return document.querySelector('#place textarea').value.includes(arguments[0])",
            f"({(at + 1) % 6 + 1} of 6)",
        )
        window.press("previous")
        window.wait(
            "return document.querySelector('#place textarea').value.includes(arguments[0])",
            f"({at + 1} of 6)",
        )
        window.type("#name textarea, #name input", "none.png", "\ue007")
        window.says("'none.png' must name one picture")


def _missed(events):
    """(picture, row) of an object that the first model misses, whose middle is in no other object's box."""
    told = why(events.lookers[0].model, events.album.dataset, limits={"min_score": 0.3})
    index = {picture.image_id: number for number, picture in enumerate(told.pictures)}
    for miss in told.misses:
        boxes = annotated_boxes(events.album.annotations(index[miss.image_id]))
        x1, y1, x2, y2 = boxes[miss.object].tolist()
        if object_at(boxes, (x1 + x2) / 2, (y1 + y2) / 2) == miss.object:
            return index[miss.image_id], miss.object
    raise AssertionError("the model misses nothing; let it learn less")


@pytest.mark.slow
def test_two_people_do_not_see_each_other(open_window, whole, tmp_path):
    address, _ = whole
    with open_window(address) as one, open_window(address) as two:
        for window, seed, name in ((one, 1, "one.png"), (two, 2, "two.png")):
            window.says("long: ")
            window.drop(pictured(tmp_path / name, seed))
        for window, name in ((one, "one.png"), (two, "two.png")):
            window.wait(
                "return document.querySelector('#place textarea').value === arguments[0]", f"{name} (1 of 1)"
            )
        assert one.pixels("found-0") != two.pixels("found-0")
        own = two.pixels("found-0"), two.said
        one.set_score(0.02)
        one.says("100 objects")
        one.press("next")
        assert (two.pixels("found-0"), two.said) == own and two.place == "two.png (1 of 1)"
        two.set_score(0.04)
        two.wait("return document.querySelector('#said textarea').value !== arguments[0]", own[1])
        assert one.place == "one.png (1 of 1)"


@pytest.mark.slow
def test_a_video_is_followed_and_shown(open_window, whole, tmp_path):
    address, _ = whole
    walking(tmp_path / "walk.mp4", 12)
    (tmp_path / "empty.mp4").write_bytes(b"")
    with open_window(address) as window:
        window.says("long: ")
        window.drop(tmp_path / "empty.mp4")
        window.says("empty.mp4")
        window.drop(tmp_path / "walk.mp4")
        window.wait("return document.querySelector('#follow')?.checkVisibility()")
        window.press("follow")
        window.says("walk.mp4: 12 frames followed")
        film = "const film = document.querySelector('#video video'); return film && film.readyState > 0"
        size = f"{film} && [film.videoWidth, film.videoHeight]"
        assert window.wait(size) == [128, 96]
        window.drop(walking(tmp_path / "long.mp4", 400))
        window.wait("return document.querySelector('#place textarea').value.startsWith('long.mp4')")
        window.press("follow")
        window.wait("return document.querySelector('#stop')?.checkVisibility()")
        window.says("long.mp4: frame ")
        window.press("stop")
        window.says("Stopped.")
        window.press("follow")  # the place for one video is free again
        window.says("long.mp4: frame ")
        window.press("next")
        window.says("long: ")
        window.wait("return !document.querySelector('#stop')?.checkVisibility()")


@pytest.mark.slow
def test_hostile_names_are_text(open_window, sure_model, tmp_path):
    """Of classes and of files: nothing of them is run or fetched, which the window's end looks at, too."""
    hostile = (
        "<img src=x onerror=document.title='taken'>",
        "![x](http://evil.example/x.png)",
        "${alert(1)}</textarea>",
    )
    model = sure_model()
    model.label_map = LabelMap.from_names(list(hostile))
    looker = Looker(model, "<b>${1+1}</b>")
    with served(Events((looker,)), listen(0)) as (address, _), open_window(address) as window:
        window.drop(pictured(tmp_path / "<img src=x onerror=document.title='taken'>.png", 0))
        said = window.says("<b>${1+1}</b>: ")
        assert any(name in said for name in hostile)
        assert window.run("return document.title") == "Pagoda"
        names = window.run(
            "return [...document.querySelectorAll('textarea, input')].map((field) => field.value)"
        )
        assert "<b>${1+1}</b>" in names
