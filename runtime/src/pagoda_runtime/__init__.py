"""Detectors that Pagoda exported, without PyTorch.

>>> import pagoda_runtime
>>> model = pagoda_runtime.load("model.onnx")  # doctest: +SKIP
>>> model.predict("photo.jpg").names  # doctest: +SKIP
['dog', 'dog']
"""

from pagoda_runtime.clips import ClipModel
from pagoda_runtime.detections import Detections, LabelMap, Skeleton
from pagoda_runtime.errors import ModelFileError, PictureError
from pagoda_runtime.input_spec import InputSpec
from pagoda_runtime.loading import load
from pagoda_runtime.model import Model
from pagoda_runtime.thresholds import ScoreThresholds
from pagoda_runtime.tracking.byte import ByteTracker
from pagoda_runtime.tracking.ocsort import OCSortTracker
from pagoda_runtime.version import __version__

__all__ = [
    "ByteTracker",
    "ClipModel",
    "Detections",
    "InputSpec",
    "LabelMap",
    "Model",
    "ModelFileError",
    "OCSortTracker",
    "PictureError",
    "ScoreThresholds",
    "Skeleton",
    "__version__",
    "load",
]
