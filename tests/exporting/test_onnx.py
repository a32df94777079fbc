"""The ONNX file on its own: any size, any batch, its metadata, and what stops it from being written."""

import json
import shutil
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from pagoda.exporting import onnx as onnx_export
from pagoda.exporting.onnx import export_onnx
from pagoda.exporting.parity import ParityError, verify
from pagoda.exporting.parity_pictures import drawn_batches
from pagoda.models import create_model
from pagoda.ops.nms import batch_survivors
from pagoda.preprocess import InputSpec
from pagoda.structures.labels import LabelMap

sys.path.insert(0, str(Path(__file__).parent))
from small import LABELS, one_level_fcos

onnx = pytest.importorskip("onnx", reason="needs pip install 'pagoda-vision[export]'")
onnxruntime = pytest.importorskip("onnxruntime", reason="needs pip install 'pagoda-vision[export]'")
pytestmark = pytest.mark.medium


@pytest.fixture
def exported(exported_fcos):
    """(model, path, report); made once, so tests must not change it."""
    return exported_fcos


@pytest.fixture
def run(exported):
    session = onnxruntime.InferenceSession(str(exported[1]), providers=["CPUExecutionProvider"])
    return lambda images: session.run(["boxes", "scores", "labels"], {"images": images.numpy()})


def test_report_counts_what_was_compared(exported):
    report = exported[2]
    assert report.pictures == 8 and len(report.batches) == 4 and max(report.batches)[0] == 3
    assert report.detections > 50 and report.unmatched == [] and report.passed
    assert report.max_box_difference < 0.01 and report.max_score_difference < 1e-5
    assert f"{report.detections} detections agree" in report.summary()
    assert json.loads(json.dumps(report.to_dict()))["min_score"] == 0.2


@pytest.mark.parametrize("size", [(1, 1), (1, 70), (64, 32), (97, 61), (200, 129)])
def test_any_size_is_what_detect_says(exported, run, size):
    model = exported[0].eval()
    images = torch.randint(0, 256, (2, 3, *size), dtype=torch.uint8)
    boxes, scores, labels = run(images)
    select = model.postprocess.with_limits(min_score=0.2, max_detections=30)
    with torch.no_grad():
        expected = model.detect(model.input_spec.batch(list(images)), postprocess=select)
    assert boxes.dtype == scores.dtype == np.float32 and labels.dtype == np.int64
    for index, found in enumerate(expected):
        count = len(found)
        np.testing.assert_allclose(scores[index][:count], found.scores, atol=1e-5)
        np.testing.assert_allclose(boxes[index][:count], found.boxes, atol=1e-2)
        assert labels[index][:count].tolist() == found.labels.tolist()
        assert (labels[index][count:] == -1).all() and (scores[index][count:] == 0).all()


def test_nothing_leaks_between_pictures_of_a_batch(run):
    (_, three, *_) = drawn_batches(120)
    together = run(torch.cat([three, three.flip(-1)]))
    for index, image in enumerate([*three, *three.flip(-1)]):
        for alone, among in zip(run(image[None]), together, strict=True):
            np.testing.assert_allclose(alone[0], among[index], atol=1e-3)


def test_metadata_says_all_a_runtime_needs(exported):
    file = onnx.load(str(exported[1]))
    onnx.checker.check_model(file)
    said = {entry.key: entry.value for entry in file.metadata_props}
    assert LabelMap.from_dict({key: json.loads(said[key]) for key in ("names", "category_ids")}) == LABELS
    assert InputSpec.from_dict(json.loads(said["input_spec"])) == exported[0].input_spec
    limits = json.loads(said["postprocess"])
    assert (limits["min_score"], limits["max_detections"]) == (0.2, 30)
    assert said["model"] == "FCOS" and "uint8" in said["usage"] and said["pagoda_version"]
    shapes = {
        value.name: [d.dim_param or d.dim_value for d in value.type.tensor_type.shape.dim]
        for value in (*file.graph.input, *file.graph.output)
    }
    assert shapes == {
        "images": ["batch", 3, "height", "width"],
        "boxes": ["batch", "detections", 4],
        "scores": ["batch", "detections"],
        "labels": ["batch", "detections"],
    }


def test_pictures_of_the_user_join_the_comparison(exported):
    model, path, _ = exported
    pictures = [np.random.default_rng(n).integers(0, 256, (60, 90, 3), dtype=np.uint8) for n in range(9)]
    report = verify(path, model, pictures)
    assert report.batches == [(4, 120, 180), (4, 120, 180), (1, 120, 180)]
    assert verify(path, model, pictures[:1]).pictures == 9  # too few, so drawn ones join


def test_a_model_that_finds_nothing_is_compared_at_a_lower_threshold(exported):
    model, path, _ = exported
    file = onnx.load(str(path))
    (limits,) = [entry for entry in file.metadata_props if entry.key == "postprocess"]
    limits.value = json.dumps(json.loads(limits.value) | {"min_score": 1.0})  # nothing is surer
    shy = path.with_name("shy.onnx")
    onnx.save(file, str(shy))
    report = verify(shy, model)
    assert report.min_score == 0 and report.detections == 8 * 30 and report.passed


class FileOf:
    """Stands for an exported program: the file another model made."""

    def __init__(self, path):
        self.path = path

    def save(self, path):
        shutil.copy(self.path, path)


def test_a_file_that_differs_is_not_written(exported, tmp_path, monkeypatch):
    other = one_level_fcos()
    with torch.no_grad():
        other.box_head.predict.bias[:4] += 0.02  # boxes 2 % larger
    monkeypatch.setattr(onnx_export, "to_onnx", lambda *_, **__: FileOf(exported[1]))
    with pytest.raises(ParityError, match=r"disagrees(?s:.)*only the file found (cat|dog|größer)") as caught:
        export_onnx(other, tmp_path / "model.onnx")
    assert len(caught.value.report.unmatched) > 5
    assert list(tmp_path.iterdir()) == []


def test_comparing_nothing_proves_nothing(exported, tmp_path, monkeypatch):
    empty = SimpleNamespace(passed=False, unmatched=[], summary=lambda: "0 detections")
    monkeypatch.setattr(onnx_export, "to_onnx", lambda *_, **__: FileOf(exported[1]))
    monkeypatch.setattr(onnx_export, "verify", lambda *_, **__: empty)
    with pytest.raises(ParityError, match="nothing was compared"):
        export_onnx(exported[0], tmp_path / "model.onnx")
    assert list(tmp_path.iterdir()) == []


def test_an_existing_file_stays(exported, tmp_path, monkeypatch):
    path = tmp_path / "model.onnx"
    path.write_bytes(b"precious")
    with pytest.raises(FileExistsError, match="overwrite=True"):
        export_onnx(exported[0], path)
    assert path.read_bytes() == b"precious"
    monkeypatch.setattr(onnx_export, "to_onnx", lambda *_, **__: FileOf(exported[1]))
    assert export_onnx(exported[0], path, overwrite=True).passed
    assert path.read_bytes() == exported[1].read_bytes()


def test_a_missing_package_is_named_with_its_extra(exported, tmp_path, monkeypatch):
    monkeypatch.setattr(onnx_export, "find_spec", lambda name: None if name == "onnxruntime" else True)
    with pytest.raises(ImportError, match=r"needs onnxruntime;.*pagoda-vision\[export\]"):
        export_onnx(exported[0], tmp_path / "model.onnx")


def test_half_precision_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"export the float32 model, not its torch\.bfloat16 copy"):
        export_onnx(one_level_fcos().bfloat16(), tmp_path / "model.onnx")


def test_clips_are_refused_with_what_can_be_had(tmp_path):
    with pytest.raises(ValueError, match=r"take clips where others take pictures: pagoda.*export_clips"):
        export_onnx(
            create_model("detect_and_track_resnet18_3d", num_classes=1, width=16), tmp_path / "x.onnx"
        )


class Survivors(torch.nn.Module):
    def forward(self, boxes, scores, labels):
        return batch_survivors(boxes, scores, labels, 3, 0.5, True)


def test_onnx_suppression_is_ours(tmp_path):
    """Crowded boxes, three classes, two pictures, legacy ends; rows without a score never survive."""
    corner = torch.rand(2, 40, 2) * 30
    boxes = torch.cat([corner, corner + 10 + torch.rand(2, 40, 2) * 20], -1)
    scores, labels = torch.rand(2, 40), torch.randint(0, 3, (2, 40))
    scores[:, ::5] = -1
    program = torch.onnx.export(
        Survivors().eval(),
        (boxes, scores, labels),
        dynamo=True,
        opset_version=18,
        input_names=["boxes", "scores", "labels"],
        custom_translation_table={torch.ops.pagoda.batch_survivors.default: onnx_export.suppress},
        verbose=False,
    )
    program.save(tmp_path / "nms.onnx")
    session = onnxruntime.InferenceSession(str(tmp_path / "nms.onnx"))
    for given in (scores, torch.full_like(scores, -1)):
        feed = {"boxes": boxes.numpy(), "scores": given.numpy(), "labels": labels.numpy()}
        (found,) = session.run(None, feed)
        expected = Survivors()(boxes, given, labels)
        assert torch.equal(torch.from_numpy(found), expected)
    assert 0 < Survivors()(boxes, scores, labels).sum() < 60
