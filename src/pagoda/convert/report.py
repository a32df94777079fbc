"""What happened to every tensor of a foreign checkpoint, and what of it should be known: warned of, or collected."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field

from pagoda.messages import counted
from pagoda.plain import JsonObject
from pagoda.weights.file_types import WeightsNote


@dataclass
class ConversionReport:
    """Which program, which model, which tensors; `text()` for people, `to_dict()` for machines.

    >>> counts = {"parameters": 32_000_000, "taken": 298}
    >>> report = ConversionReport("a.pth", "", "mmdetection FCOS", "Apache-2.0", "fcos_resnet50", **counts)
    >>> print(report.text())
    source      mmdetection FCOS
    model       fcos_resnet50 (32,000,000 parameters)
    licence     Apache-2.0
    taken       298 tensors
    """

    file: str
    """its name, without folders"""
    sha256: str
    """of the file, 64 letters; empty where there is none"""
    source: str
    """the program that wrote it"""
    licence: str
    """of the program; its weights mostly share it"""
    model: str
    """as `create_model` takes it"""
    parameters: int
    """numbers that the model learns, filled or not"""
    taken: int
    """tensors of the file that found their place"""
    dropped: dict[str, str] = field(default_factory=dict)
    """{tensor: why it is not needed}"""
    unknown: list[str] = field(default_factory=list)
    """tensors that nothing is known of"""
    missing: list[str] = field(default_factory=list)
    """our tensors that the file does not fill; they keep their initial values"""
    notes: list[str] = field(default_factory=list)
    """what was concluded, and from what"""
    weights: str = ""
    """key of the weights in the file; empty where they lay open"""
    choice: str = ""
    """which of several weights in the file were taken, and how to take the others; empty where there are no others"""
    not_finite: str = ""
    """that some of the weights are NaN or infinite; empty where all are numbers"""
    differs: str = ""
    """what the network that was filled computes otherwise than the one that learnt the weights; empty: nothing"""
    left: list[str] = field(default_factory=list)
    """what else the file holds, a line each: optimizer states, objects of other programs"""

    def provenance(self) -> dict[str, str]:
        """file, sha256, source and licence: what every checkpoint made of this one keeps in its card."""
        kept = {"file": self.file, "sha256": self.sha256, "source": self.source, "licence": self.licence}
        return {**kept, "weights": self.weights} if self.choice else kept

    def to_dict(self) -> JsonObject:
        """All fields by name, ready for JSON."""
        return asdict(self)

    def text(self) -> str:
        """The report for people, one fact per line."""
        lines = [
            f"source      {self.source}",
            f"model       {self.model} ({self.parameters:,} parameters)",
            f"licence     {self.licence}",
            *([f"sha256      {self.sha256}"] if self.sha256 else []),
            f"taken       {counted(self.taken, 'tensor')}{f' under {self.weights!r}' if self.weights else ''}",
            *([f"weights     {self.choice}"] if self.choice else []),
        ]
        why: dict[str, list[str]] = {}
        for name, reason in self.dropped.items():
            why.setdefault(reason, []).append(name)
        lines += [f"dropped     {len(names)}: {reason} ({_some(names)})" for reason, names in why.items()]
        lines += [f"unknown     {len(self.unknown)}: {_some(self.unknown, 20)}"] if self.unknown else []
        lines += [f"missing     {len(self.missing)}: {_some(self.missing, 20)}"] if self.missing else []
        lines += [f"left        {_some(self.left)}"] if self.left else []
        lines += [f"broken      {self.not_finite}"] if self.not_finite else []
        lines += [f"differs     {self.differs}"] if self.differs else []
        lines += [f"note        {note}" for note in self.notes]
        return "\n".join(lines)


def _some(names: list[str], limit: int = 4) -> str:
    return ", ".join(names[:limit]) + (" …" if len(names) > limit else "")


def say_choice(report: ConversionReport, take: str | None) -> None:
    """Warns where a file holds other weights, too, and nobody said which; where some are no numbers; and where the
    network computes otherwise than the one they are from.

    >>> choice = "'model' was taken, not 'ema'"
    >>> report = ConversionReport("a.pth", "", "mmdet", "Apache-2.0", "", 0, 0, choice=choice)
    >>> with collected_notes() as lines:
    ...     say_choice(report, take=None)
    >>> lines
    ["a.pth: 'model' was taken, not 'ema'"]
    """
    if report.choice and take is None:
        warnings.warn(f"{report.file}: {report.choice}", WeightsNote, stacklevel=3)
    for said in (report.not_finite, report.differs):
        if said:
            warnings.warn(f"{report.file}: {said}", WeightsNote, stacklevel=3)


@contextmanager
def collected_notes() -> Iterator[list[str]]:
    """What `say_choice` warns of within, as lines, once the block has ended; other warnings stay warnings.

    >>> with collected_notes() as lines:
    ...     warnings.warn("'model' was taken, not 'ema'", WeightsNote)
    >>> lines
    ["'model' was taken, not 'ema'"]
    """
    lines: list[str] = []
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", WeightsNote)
        yield lines
    for each in caught:
        if issubclass(each.category, WeightsNote):
            lines.append(str(each.message))
        else:
            warnings.warn_explicit(each.message, each.category, each.filename, each.lineno)
