"""The report: one well-formed page with the numbers in it, nothing fetched from outside."""

import base64
import io
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image

from pagoda.evaluation.coco.evaluator import DetectionEvaluator
from pagoda.structures.labels import LabelMap
from pagoda.structures.skeleton import Skeleton
from pagoda.visualization.report import machine_facts, write_report

pytestmark = pytest.mark.medium

VOID = {"meta", "img", "br", "link", "hr"}


class Page(HTMLParser):
    """Checks that tags close in order and collects text and links."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open, self.text, self.links, self.tags = [], [], [], []
        self.feed(page)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.links += [value for key, value in attrs if key in ("src", "href", "srcset", "action", "data")]
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data.strip())


@pytest.fixture
def result():
    labels = LabelMap.from_names(["<cat>", "dog"])
    box = {"image_id": 1, "category_id": 1, "bbox": [10, 10, 50, 50]}
    truth = {
        "images": [{"id": 1}, {"id": 2}],
        "annotations": [{**box, "id": 1}, {**box, "id": 2, "image_id": 2}],
        "categories": [{"id": 1, "name": "<cat>"}, {"id": 2, "name": "dog"}],
    }
    evaluator = DetectionEvaluator(truth, labels)
    evaluator.update_results([{**box, "score": 0.9}])
    return evaluator.result()


def written(path, **changes):
    everything = {
        "title": "run",
        "settings": {},
        "records": [],
        "before": None,
        "result": None,
        "pictures": [],
    }
    assert write_report(path, **{**everything, **changes}) == path
    return Page(path.read_text(encoding="utf-8"))


def test_a_whole_report(tmp_path, result):
    records = [
        {"kind": "step", "step": n, "epoch": 0, "lr": 0.1, "loss": 1.0, "loss_box": 0.5} for n in range(3)
    ]
    records.append({"kind": "val", "epoch": 1, "metrics": result.metrics})
    pictures = [
        ("left & right", np.zeros((20, 30, 3), np.uint8)),
        ("noise <b>", np.full((9, 9, 3), 200, np.uint8)),
    ]
    page = written(
        tmp_path / "new folder" / "report.html",
        title="shapes <script>",
        settings={"model": "fcos", "optim": {"lr": 0.01, "steps": [1, 2]}, "empty": {}},
        records=records,
        before={"AP": 0.125, "AP50": None},
        result=result,
        pictures=pictures,
    )
    text = page.text
    assert f"{result.metrics['AP']:.3f}" in text and "0.125" in text
    assert f"{result.metrics['AP'] - 0.125:+.3f}" in text
    assert result.protocol in text
    for expected in (
        "shapes <script>",
        "<cat>",
        "dog",
        "left & right",
        "noise <b>",
        "optim.lr",
        "[1, 2]",
        "torch",
    ):
        assert expected in text
    assert page.tags.count("img") == 4 and "script" not in page.tags
    assert all(link.startswith("data:image/") for link in page.links)
    assert "url(" not in (tmp_path / "new folder" / "report.html").read_text().split("</style>")[0]
    assert [file.name for file in (tmp_path / "new folder").iterdir()] == ["report.html"]


def test_every_task_has_its_table(tmp_path):
    skeleton = Skeleton(("nose", "tail"))
    pose = {"keypoints": [10.0, 10, 2, 50, 50, 2], "segmentation": [[10, 10, 60, 10, 60, 60, 10, 60]]}
    box = {"image_id": 1, "category_id": 1, "bbox": [10, 10, 50, 50], "area": 2500, **pose}
    truth = {
        "images": [{"id": 1, "height": 80, "width": 90}],
        "annotations": [{**box, "id": 1}],
        "categories": [{"id": 1, "name": "cat"}],
    }
    evaluator = DetectionEvaluator(truth, LabelMap(("cat",), (1,), skeleton))
    evaluator.update_results([{**box, "score": 0.9}])
    result = evaluator.result()
    page = written(tmp_path / "r.html", result=result, before={"AP": 0.25, "segm/AP": 0.125})
    for expected in ("Average precision of masks", "Average precision of keypoints", "AP of masks", "0.125"):
        assert expected in page.text
    assert result.others["keypoints"].protocol in page.text and "segm/AP" not in page.text
    assert page.tags.count("img") == 3  # a curve for each


def test_pictures_come_back_as_they_went_in(tmp_path):
    picture = np.zeros((20, 30, 3), np.uint8)
    picture[5:9, 3:20] = (255, 0, 10)
    (link,) = written(tmp_path / "report.html", pictures=[("", picture)]).links
    back = np.asarray(Image.open(io.BytesIO(base64.b64decode(link.split(",")[1]))).convert("RGB"))
    assert np.array_equal(back, picture)


def test_every_part_may_be_missing(tmp_path, result):
    assert "Versions and machine" in written(tmp_path / "a.html").text
    assert "Average precision" in written(tmp_path / "b.html", before={"AP": 0.5}).text
    assert (
        "Classes" in written(tmp_path / "c.html", result=result, records=[{"kind": "val", "epoch": 1}]).text
    )


def test_a_report_that_fails_leaves_the_old_one(tmp_path):
    path = tmp_path / "report.html"
    written(path, title="first")
    with pytest.raises(AttributeError):
        written(path, title="second", pictures=[("no picture", None)])
    assert "first" in path.read_text() and list(tmp_path.iterdir()) == [path]


def test_machine_facts_name_what_the_numbers_depend_on():
    facts = machine_facts()
    assert facts["torch"] and facts["hotcoco"] and "cores" in facts["system"]
