"""What the original programs computed: reading the records, writing checkpoints as those programs do, comparing."""

import importlib.util
import json
import math
import os
import pickle
import struct
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from vocabulary import FIXED, Given, check_keys, unexplained

from pagoda.convert.read import Conversion

SHARED = Path(__file__).resolve().parents[3] / "shared"
GIVEN = os.environ.get("PAGODA_GOLDENS", "")
ROOTS = [Path(root) for root in GIVEN.split(os.pathsep) if root] or [
    SHARED / "goldens",
    SHARED / "goldens_ssd_yolov1",
]
"""folders of records: PAGODA_GOLDENS may name several, as PATH does"""
ROOT = ROOTS[0]
NAMELESS = ("/darknet",)
"""repositories whose files hold numbers without names"""


@cache
def fill_module():
    """The records' own generator of weights and pictures."""
    spec = importlib.util.spec_from_file_location("golden_fill", ROOT / "fill.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.fill_tensor = once_where_shared(module.fill_tensor)
    return module


def once_where_shared(fill: Callable[..., np.ndarray]) -> Callable[..., np.ndarray]:
    """Tensors that several records have, bodies above all, are drawn once: half of them are others' again."""
    known: dict[tuple[str, tuple[int, ...]], np.ndarray] = {}
    counts = Counter(
        (name, tuple(shape))
        for folder in folders()
        for name, shape in Golden(folder).meta["weights"]["entries"].items()
    )

    def filled(name: str, shape: Sequence[int]) -> np.ndarray:
        key = (name, tuple(shape))
        if counts[key] < 2:
            return fill(name, shape)
        if key not in known:
            known[key] = fill(name, shape)
        return known[key]

    return filled


@contextmanager
def computed_once(*modules: nn.Module | None) -> Iterator[None]:
    """Each gives for the same object what it gave before: bodies of the published size take seconds a time."""
    built = [module for module in modules if module is not None]
    for module in built:
        module.forward = cache_by_identity(module.forward)
    yield
    for module in built:
        del module.forward


def cache_by_identity(function: Callable[[Any], Any]) -> Callable[[Any], Any]:
    known: dict[int, tuple[Any, Any]] = {}  # the argument too, so that its identity is not given to another

    def once(argument: Any) -> Any:
        if id(argument) not in known:
            known[id(argument)] = (argument, function(argument))
        return known[id(argument)][1]

    return once


def folders() -> list[Path]:
    found = [path.parent for root in ROOTS for path in root.glob("*/meta.json")]
    return sorted(found, key=lambda folder: folder.name)


@dataclass(frozen=True)
class Golden:
    folder: Path

    @cached_property
    def meta(self) -> dict[str, Any]:
        return json.loads((self.folder / "meta.json").read_text(encoding="utf-8"))

    @cached_property
    def arrays(self) -> dict[str, np.ndarray]:
        with np.load(self.folder / "outputs.npz") as file:
            return dict(file)

    @property
    def repository(self) -> str:
        return self.meta["source"]["repository"].removeprefix("https://github.com/")

    @property
    def has_names(self) -> bool:
        """Whether its tensors can be told by their names."""
        return not self.repository.endswith(NAMELESS)

    @cached_property
    def options(self) -> Given:
        """The original's options; "as in golden NAME" is looked up, and what was changed there is read here."""
        options = self.meta["source"].get("options", {})
        if isinstance(options, str):
            return Golden(self.folder.parent / options.rsplit(" ", 1)[1]).options
        return Given({key: value for key, value in options.items() if key != "changed_from_config"})

    def check_vocabulary(self) -> None:
        """Raises AssertionError for whatever meta.json says that the comparison did not use."""
        check_keys(self.meta)
        complaints = unexplained(self.options, FIXED)
        assert not complaints, f"meta.json says {'; '.join(complaints)}"

    @property
    def num_weights(self) -> int:
        return sum(math.prod(shape) for shape in self.meta["weights"]["entries"].values())

    def state(self) -> dict[str, np.ndarray]:
        weights = self.meta["weights"]
        return fill_module().fill_state_dict(weights["entries"], weights["overrides"])

    def pictures(self) -> list[Tensor]:
        """uint8 (3, H, W), RGB."""
        given = self.meta["input"]
        shapes = given["shapes"] if "shapes" in given else [given["shape"]]
        seeds = given["seeds"] if "seeds" in given else [given["seed"]]
        made = [fill_module().make_input(seed, shape) for seed, shape in zip(seeds, shapes, strict=True)]
        return [torch.from_numpy(picture.reshape(picture.shape[-3:]).astype(np.uint8)) for picture in made]

    def write_checkpoint(self, folder: Path) -> Path:
        """In the file form of the program it is from."""
        arrays = self.state()
        tensors = {name: torch.from_numpy(np.ascontiguousarray(array)) for name, array in arrays.items()}
        if self.repository.endswith("/detectron2"):
            path = folder / "model_final.pkl"
            content = {"model": arrays, "__author__": "somebody", "matching_heuristics": False}
            path.write_bytes(pickle.dumps(content, protocol=2))
            return path
        if self.repository.endswith("/darknet"):
            return write_darknet(self, arrays, folder)
        path = folder / "model.pth"
        if self.repository.endswith(("/FCOS", "/maskrcnn-benchmark")):
            torch.save({"model": tensors, "optimizer": {}, "scheduler": {}, "iteration": 90000}, path)
        elif self.repository.endswith("/mmdetection"):
            torch.save({"meta": {"epoch": 12, "iter": 7}, "state_dict": tensors}, path)
        else:
            torch.save(tensors, path)
        return path

    def check(self, key: str, mine: Tensor | np.ndarray) -> None:
        """Raises AssertionError unless this output agrees within the record's tolerance."""
        rule, kept = self.meta["outputs"][key], self.arrays[key]
        values = mine.detach().cpu().numpy() if isinstance(mine, Tensor) else np.asarray(mine)
        assert list(values.shape) == rule["shape"], f"{key}: shape {values.shape}, expected {rule['shape']}"
        if rule.get("compare") == "exact":
            np.testing.assert_array_equal(
                values.reshape(-1)[:: rule["stride"]].reshape(kept.shape), kept, key
            )
            return
        if rule["stride"] > 1:
            values, statistics = fill_module().summarize(values, rule["stride"])
            np.testing.assert_allclose(statistics, self.arrays[f"{key}.stats"], 1e-3, 1e-4, err_msg=key)
        tolerance = self.meta["tolerance"]
        is_loss = "loss" in key and kept.ndim == 0
        allowed = tolerance["losses_rtol"] if is_loss else tolerance.get("features_rtol_of_max", 1e-4)
        worst, largest = float(np.abs(values - kept).max()), float(np.abs(kept).max())
        assert worst <= allowed * largest, f"{key}: off by {worst:.3g} of {largest:.3g}, allowed {allowed}"

    def check_detections(self, prefix: str, boxes: Tensor, scores: Tensor, labels: Tensor) -> None:
        """As sets: exactly one of ours for every stored row."""
        kept = [self.arrays[f"{prefix}.{part}"] for part in ("boxes", "scores", "labels")]
        mine = [boxes.numpy(), scores.numpy(), labels.numpy()]
        assert len(mine[0]) == len(kept[0]), f"{prefix}: {len(mine[0])} detections, expected {len(kept[0])}"
        near_box = np.abs(mine[0][:, None] - kept[0]).max(-1) <= self.meta["tolerance"]["detections_abs_px"]
        near_score = np.abs(mine[1][:, None] - kept[1]) <= self.meta["tolerance"]["scores_abs"]
        same = near_box & near_score & (mine[2][:, None] == kept[2])
        if not len(kept[0]):
            return
        assert (same.sum(0) == 1).all(), f"{prefix}: rows {np.flatnonzero(same.sum(0) != 1)} have no twin"

    def check_gradients(self, gradients: dict[str, Tensor]) -> None:
        """By the original's names."""
        tolerance, names = self.meta["tolerance"], self.meta["gradients"]["parameters"]
        norms = np.array(
            [float(torch.linalg.vector_norm(gradients[name], dtype=torch.float64)) for name in names]
        )
        np.testing.assert_allclose(norms, self.arrays["grad.norms"], rtol=tolerance["gradient_norms_rtol"])
        for key in self.arrays:
            if key.startswith("grad:"):
                kept = self.arrays[key]
                mine = (
                    gradients[key.removeprefix("grad:")].reshape(-1)[: kept.size].numpy().reshape(kept.shape)
                )
                worst, largest = np.abs(mine - kept).max(), np.abs(kept).max()
                assert worst <= tolerance["gradient_values_rtol_of_max"] * largest, (
                    f"{key}: {worst} of {largest}"
                )

    def gradients(self, loss: Tensor, converted: Conversion) -> dict[str, Tensor]:
        """Those it keeps, by the original's names; others are not computed."""
        places = {name: converted.places[name] for name in self.meta["gradients"]["parameters"]}
        parameters = dict(converted.model.named_parameters())
        ours = list(dict.fromkeys(place.name for place in places.values()))
        found = dict(zip(ours, torch.autograd.grad(loss, [parameters[name] for name in ours]), strict=True))
        return {name: place.read(found[place.name]) for name, place in places.items()}

    def prefix(self, what: str, number: int) -> str:
        """Of the keys of one picture's detections or proposals; in a batch each has its number."""
        names = (what, f"{what}.{number}", f"{what}{number}")
        return next(name for name in names if f"{name}.boxes" in self.arrays)

    def targets(self) -> list[dict[str, Any]]:
        """One for each picture."""
        given = self.meta["targets"]
        return given if isinstance(given, list) else [given]

    def outputs(self) -> set[str]:
        """The keys to compare, gradients apart."""
        return {key for key in self.meta["outputs"] if not key.startswith("grad")}


def write_darknet(golden: Golden, arrays: dict[str, np.ndarray], folder: Path) -> Path:
    """Its tensors one after the other behind a header, and the `.cfg` where the record has its sections."""
    given = golden.meta["weights"].get("weights_file", {})
    header = given.get("header", {"major": 0, "minor": 2, "revision": 0, "seen": 0})
    major, minor = header["major"], header["minor"]
    is_long = major * 10 + minor >= 2 and max(major, minor) < 1000
    start = struct.pack("<iii", major, minor, header["revision"])
    start += struct.pack("<Q" if is_long else "<i", header["seen"])
    path = folder / "model.weights"
    path.write_bytes(start + b"".join(array.astype("<f4").tobytes() for array in arrays.values()))
    if given:
        assert path.stat().st_size == given["bytes"]
        assert f"{zlib.crc32(path.read_bytes()):08x}" == given["crc32"]
    sections = golden.options.get("sections", [])
    lines = [
        line
        for section in sections
        for line in (
            f"[{section['type']}]",
            *(f"{name}={value}" for name, value in section.items() if name != "type"),
            "",
        )
    ]
    if lines:
        (folder / "model.cfg").write_text("\n".join(lines), encoding="utf-8")
    return path
