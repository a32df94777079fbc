"""Two detectors and the files they were exported to, made once for all tests of a process, which leave them alone."""

import sys
from pathlib import Path

import pytest

from pagoda.exporting.onnx import export_onnx

sys.path.insert(0, str(Path(__file__).parent))
from small import one_level_fcos, two_levels_and_all_heads


@pytest.fixture(scope="session")
def exported_fcos(tmp_path_factory):
    """(model, path, report) of an FCOS of one level."""
    model, path = one_level_fcos(), tmp_path_factory.mktemp("fcos") / "model.onnx"
    return model, path, export_onnx(model, path, min_score=0.2, max_detections=30)


@pytest.fixture(scope="session")
def exported_regions(tmp_path_factory):
    """(model, path, report) of an R-CNN with masks and keypoints."""
    model, path = two_levels_and_all_heads(), tmp_path_factory.mktemp("regions") / "model.onnx"
    return model, path, export_onnx(model, path, max_detections=25)
