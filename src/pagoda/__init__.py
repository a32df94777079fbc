"""Pagoda: build, train, evaluate, explain and ship the convolutional detectors that made the field."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from pagoda.version import __version__

if TYPE_CHECKING:
    from pagoda.api import evaluate, export, track, train, why
    from pagoda.convert.read_backbone import load_backbone
    from pagoda.exporting.optimize import optimize
    from pagoda.hub.pretrained import from_pretrained, push_to_hub, save_pretrained
    from pagoda.models import create_model, list_models, load
    from pagoda.structures.instances import Detections, Targets
    from pagoda.structures.labels import LabelMap

# Loaded when first asked for, so that `import pagoda` and `pagoda --help` answer at once.
_HOMES = {
    "create_model": "pagoda.models",
    "evaluate": "pagoda.api",
    "export": "pagoda.api",
    "from_pretrained": "pagoda.hub.pretrained",
    "list_models": "pagoda.models",
    "load": "pagoda.models",
    "load_backbone": "pagoda.convert.read_backbone",
    "push_to_hub": "pagoda.hub.pretrained",
    "save_pretrained": "pagoda.hub.pretrained",
    "track": "pagoda.api",
    "train": "pagoda.api",
    "why": "pagoda.api",
    "optimize": "pagoda.exporting.optimize",
    "Detections": "pagoda.structures.instances",
    "LabelMap": "pagoda.structures.labels",
    "Targets": "pagoda.structures.instances",
}
__all__ = [*_HOMES, "__version__"]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'pagoda' has no attribute '{name}'; it has {', '.join(__all__)}")
    return getattr(import_module(_HOMES[name]), name)
