"""Limits move without the network: what is shown is what `predict` would find anew, box for box."""

import threading

import numpy as np
import pytest
import torch

import pagoda
from pagoda.app.looking import Looker, ShownLimits

SLOW = pytest.mark.slow
DENSE = (
    "fcos_resnet18_fpn",
    "fcos_resnet18_fpn.original",
    "retinanet_resnet18_fpn",
    pytest.param("efficientdet_resnet18_bifpn", marks=SLOW),
)
LIMITS = [ShownLimits(min_score=score, max_iou=iou) for score in (0.02, 0.3, 0.6) for iou in (None, 0.2, 0.9)]


@pytest.fixture(scope="module")
def picture(shapes):
    return shapes.picture(0).permute(1, 2, 0).numpy()


def check_same(shown, found):
    assert torch.equal(shown.boxes, found.boxes) and torch.equal(shown.scores, found.scores)
    assert torch.equal(shown.labels, found.labels)


@pytest.mark.parametrize("name", DENSE)
def test_one_run_of_a_dense_network_tells_all_limits(name, sure_model, picture):
    looker = Looker(sure_model(name), "a")
    look = looker.look(picture)
    counts = []
    for limits in LIMITS:
        shown = looker.found(look, limits)
        check_same(shown, looker.model.predict(picture, min_score=limits.min_score, max_iou=limits.max_iou))
        counts.append(len(shown))
    assert looker.num_looks == 1
    assert len(set(counts)) > 1, "the limits did nothing"


@pytest.mark.slow
@pytest.mark.parametrize("name", ["faster_rcnn_resnet18_fpn", "mask_rcnn_resnet18_fpn"])
def test_an_rcnn_runs_again_for_its_suppression_alone(name, sure_model, picture):
    looker = Looker(sure_model(name), "a")
    look = looker.look(picture)
    for score in (0.3, 0.5, 0.1):
        shown = looker.found(look, ShownLimits(min_score=score))
        check_same(shown, looker.model.predict(picture, min_score=score))
        assert (shown.masks is not None) == name.startswith("mask")
    assert looker.num_looks == 1
    check_same(
        looker.found(look, ShownLimits(min_score=0.2, max_iou=0.9)),
        looker.model.predict(picture, min_score=0.2, max_iou=0.9),
    )
    assert looker.num_looks == 2


@pytest.mark.slow
def test_an_exported_file_finds_what_it_finds(sure_model, picture, tmp_path):
    pytest.importorskip("onnx", reason="needs onnx: pip install 'pagoda-vision[export]'")
    pytest.importorskip("onnxscript", reason="needs onnxscript: pip install 'pagoda-vision[export]'")
    pagoda.export(sure_model(), tmp_path / "a.onnx")
    looker = Looker(pagoda.load(tmp_path / "a.onnx"), "a.onnx")
    look = looker.look(picture)
    for score in (0.3, 0.6, 0.1):
        shown = looker.found(look, ShownLimits(min_score=score, max_iou=0.9))
        check_same(shown, looker.model.predict(picture, min_score=score))
    assert looker.is_file


def test_a_model_of_clips_says_what_it_needs():
    model = pagoda.create_model("detect_and_track_resnet18_3d", num_classes=1, width=16, head_depth=1)
    with pytest.raises(
        ValueError, match=r"clips looks at clips of \d frames, not at single pictures; drop a video"
    ):
        Looker(model, "clips").look(np.zeros((64, 64, 3), np.uint8))


def test_one_person_at_a_time(sure_model, picture, monkeypatch):
    looker, inside, most = Looker(sure_model(), "a"), [0], [0]
    forward = type(looker.model).forward

    def counted(self, images):
        inside[0] += 1
        most[0] = max(most[0], inside[0])
        outputs = forward(self, images)
        inside[0] -= 1
        return outputs

    monkeypatch.setattr(type(looker.model), "forward", counted)
    threads = [threading.Thread(target=looker.look, args=(picture,)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert looker.num_looks == 4 and most == [1]
