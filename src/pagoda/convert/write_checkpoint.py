"""A model of ours as a file that another program loads, and what that program will make of it."""

from dataclasses import asdict, dataclass
from pathlib import Path

from torch import Tensor

from pagoda.convert.to_program import differences, to_source
from pagoda.detectors.contract import Detector
from pagoda.files.atomic import write_atomically
from pagoda.messages import counted
from pagoda.plain import JsonObject
from pagoda.weights.files import save_torch
from pagoda.weights.shards import sha256_of


@dataclass(frozen=True)
class WayBackReport:
    """What was written; `text()` for people, `to_dict()` for machines.

    >>> print(WayBackReport("a.pth", "1f2e", "fcos", 298, left_out=[], differences=[], licence="MIT").text())
    program     fcos
    written     298 tensors
    differs     nothing: every convention is the program's own
    licence     MIT
    sha256      1f2e
    """

    file: str
    """its name, without folders"""
    sha256: str
    """of the file, 64 letters"""
    program: str
    """for which it was written"""
    tensors: int
    """how many were written"""
    left_out: list[str]
    """tensors of ours that the program does not keep in its files"""
    differences: list[str]
    """conventions in which the program will compute something else, one line each"""
    licence: str
    """of the weights this model was made from; empty where nothing is known"""

    def to_dict(self) -> JsonObject:
        """All fields by name, ready for JSON."""
        return asdict(self)

    def text(self) -> str:
        """The report for people, one fact per line."""
        lines = [f"program     {self.program}", f"written     {counted(self.tensors, 'tensor')}"]
        lines += [f"left out    {len(self.left_out)}: {', '.join(self.left_out)}"] if self.left_out else []
        lines += [f"differs     {line}" for line in self.differences]
        if not self.differences:
            lines.append("differs     nothing: every convention is the program's own")
        lines += [f"licence     {self.licence}"] if self.licence else []
        return "\n".join([*lines, f"sha256      {self.sha256}"])


def write_for(model: Detector, program: str, path: str | Path) -> WayBackReport:
    """Write a `.pth` in the form in which `program` saves its checkpoints.

    Raises ValueError for a program that is not known, or has no place for a tensor of the model.

    >>> from tempfile import TemporaryDirectory
    >>> from pagoda.models import create_model
    >>> small = {"levels": (2,), "num_stages": 1, "top_level": 3, "width": 32, "head_depth": 1}
    >>> model = create_model("fcos_resnet18_fpn.torchvision", num_classes=2, **small)
    >>> with TemporaryDirectory() as folder:
    ...     report = write_for(model, "torchvision", Path(folder, "fcos.pth"))
    >>> report.file, report.differences
    ('fcos.pth', [])
    """
    tensors = to_source(model, program)
    written = write_atomically(path, lambda temporary: save_torch(temporary, _content_for(program, tensors)))
    scales_written = any(name.endswith(".scale") for name in tensors)
    return WayBackReport(
        file=written.name,
        sha256=sha256_of(written),
        program=program,
        tensors=len(tensors),
        left_out=[
            name
            for name in model.state_dict()
            if name.endswith("running_count.mean") or (name == "scales" and not scales_written)
        ],
        differences=differences(model, program),
        licence=(model.origin or {}).get("provenance", {}).get("licence", ""),
    )


def _content_for(program: str, tensors: dict[str, Tensor]) -> JsonObject:
    """The state dict as the program wraps it; its optimiser and counters, which we have not, are left to it."""
    if program in ("fcos", "maskrcnn_benchmark"):
        return {"model": tensors}
    if program in ("detectron2", "adelaidet"):
        return {"model": tensors, "__author__": "Pagoda"}
    if program == "mmdet":
        return {"meta": {}, "state_dict": tensors}
    return tensors
