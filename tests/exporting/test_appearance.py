"""An exported file that says what objects look like: as the model's own features do, here and in the runtime."""

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import pagoda
from pagoda.cli.export import ExportCommand
from pagoda.exporting import parity
from pagoda.exporting.onnx import export_onnx
from pagoda.exporting.parity import ParityError
from pagoda.follow.appearance import ModelAppearance
from pagoda.follow.clips import detect_frames

sys.path.insert(0, str(Path(__file__).parent))
from small import one_level_fcos

pytest.importorskip("onnx", reason="needs pip install 'pagoda-vision[export]'")
pytest.importorskip("onnxruntime", reason="needs pip install 'pagoda-vision[export]'")
pytestmark = pytest.mark.medium

SIZE = (96, 128)


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """(model, path, report)"""
    model, path = one_level_fcos().eval(), tmp_path_factory.mktemp("looks") / "looks.onnx"
    model.input_spec = replace(model.input_spec, fit="stretch", canvas=SIZE)
    return model, path, export_onnx(model, path, size=SIZE, min_score=0.05, appearance=True)


def test_the_file_says_what_the_models_features_say(exported):
    model, path, report = exported
    assert report.passed and 0 <= report.max_appearance_difference < 1e-4
    file = pagoda.load(path)
    assert file.tells_appearance and not model.exports_appearance
    picture = np.random.default_rng(0).integers(0, 256, (*SIZE, 3), np.uint8)
    limits = {"min_score": 0.05}
    (theirs,) = detect_frames(model, [picture], limits=limits, appearance=ModelAppearance(model))
    (ours,) = detect_frames(file, [picture], limits=limits, appearance=ModelAppearance(file))
    assert len(ours) == min(len(theirs), len(ours)) > 0
    near = torch.cdist(ours.boxes, theirs.boxes, p=float("inf")).argmin(1)
    cosines = (ours.appearance * theirs.appearance[near]).sum(1)
    assert (cosines > 0.999).float().mean() > 0.95


def test_the_runtime_gets_it_too(exported):
    runtime = pytest.importorskip("pagoda_runtime")
    picture = np.random.default_rng(0).integers(0, 256, (*SIZE, 3), np.uint8)
    found = runtime.load(exported[1]).predict(picture)
    expected = pagoda.load(exported[1]).predict(picture)
    np.testing.assert_allclose(found.appearance, expected.appearance.numpy(), atol=1e-5)


@pytest.mark.slow
def test_a_file_that_says_other_looks_is_not_kept(tmp_path, monkeypatch):
    model = one_level_fcos().eval()
    right = parity._with_looks

    def wrong(found, watch):
        return [replace(each, appearance=each.appearance.flip(1)) for each in right(found, watch)]

    monkeypatch.setattr(parity, "_with_looks", wrong)
    with pytest.raises(ParityError, match=r"appearance of .* differs: 1 - cosine is"):
        export_onnx(model, tmp_path / "wrong.onnx", size=SIZE, min_score=0.05, appearance=True)
    assert not (tmp_path / "wrong.onnx").exists()


def test_what_cannot_say_it_is_refused():
    with pytest.raises(ValueError, match="raw heads find no objects"):
        ExportCommand(checkpoint="a", output="b.onnx", raw_heads=True, appearance=True)
