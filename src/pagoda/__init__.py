"""Pagoda: build, train, evaluate, explain and ship the convolutional detectors that made the field."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pagoda.api import create_model, evaluate, export, list_models, load, load_backbone, train
    from pagoda.structures.instances import Detections, Targets
    from pagoda.structures.labels import LabelMap

__version__ = "0.1.0"

# Loaded when first asked for, so that `import pagoda` and `pagoda --help` answer at once.
_HOMES = {
    "create_model": "pagoda.api",
    "evaluate": "pagoda.api",
    "export": "pagoda.api",
    "list_models": "pagoda.api",
    "load": "pagoda.api",
    "load_backbone": "pagoda.api",
    "train": "pagoda.api",
    "optimize": "pagoda.api",
    "Detections": "pagoda.structures.instances",
    "LabelMap": "pagoda.structures.labels",
    "Targets": "pagoda.structures.instances",
}
__all__ = [*_HOMES, "__version__"]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'pagoda' has no attribute '{name}'; it has {', '.join(__all__)}")
    return getattr(import_module(_HOMES[name]), name)
