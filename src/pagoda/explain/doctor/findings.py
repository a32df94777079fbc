"""The findings of the dataset doctor: collected in a notebook, told in a report."""

from collections import Counter
from dataclasses import asdict, dataclass, field

from pagoda.data.reading.complaints import MAX_PLACES, Complaints
from pagoda.explain.doctor.kinds import KINDS, SEVERITIES, Severity
from pagoda.messages import counted
from pagoda.plain import JsonObject, checked


@checked
@dataclass(frozen=True)
class Finding:
    """One kind of defect with how often it was met and where.

    >>> finding = Finding("tiny_boxes", "warning", "a box is …", count=12, examples=("train: a.jpg, box 3",))
    >>> DoctorReport("a data set", (finding,)).verdict()
    'Usable, but look at the warnings: 1 kind of warning, 0 kinds of note.'
    """

    kind: str
    """its name in `KINDS`"""
    severity: Severity
    """error: mend it before training; warning: look at it; note: know of it"""
    message: str
    """what it means and what to do"""
    count: int
    """how often it was met; also what `examples` leaves out"""
    examples: tuple[str, ...]
    """the first few, each naming file, picture and box as far as they apply"""
    stops: bool = False
    """True where data with it cannot be read at all, for training or scoring"""


def findings_of(notes: Complaints) -> tuple[Finding, ...]:
    """What was noted as findings: errors first, then warnings and notes, each in the order of `KINDS`.

    >>> notes = Complaints("a data set", KINDS)
    >>> notes.add("tiny_boxes", "train: a.jpg, box 3")
    >>> notes.add("broken_pictures", "train: b.jpg")
    >>> [(finding.severity, finding.kind) for finding in findings_of(notes)]
    [('error', 'broken_pictures'), ('warning', 'tiny_boxes')]
    """
    found = [kind for kind in KINDS if kind in notes]
    ordered = sorted(found, key=lambda kind: SEVERITIES.index(KINDS[kind].severity))
    return tuple(
        Finding(
            kind,
            KINDS[kind].severity,
            f"{KINDS[kind].meaning}. {KINDS[kind].remedy}",
            notes.count(kind),
            notes.places(kind),
            KINDS[kind].effect == "stops",
        )
        for kind in ordered
    )


@dataclass(frozen=True)
class DoctorReport:
    """What is wrong with a data set, and its statistics.

    >>> report = DoctorReport("a data set", findings=())
    >>> report.verdict(), report.is_readable
    ('Healthy: no errors, no warnings, 0 kinds of note.', True)
    """

    source: str
    """one line or more: which data set was read"""
    findings: tuple[Finding, ...]
    """errors first, () for a healthy data set"""
    statistics: JsonObject = field(default_factory=dict)
    """"splits" → name → pictures, objects …; "box_sides", "picture_sizes": quantiles in pixels"""

    @property
    def problems(self) -> tuple[Finding, ...]:
        """The errors and warnings among the findings, without the notes."""
        return tuple(finding for finding in self.findings if finding.severity != "note")

    @property
    def is_readable(self) -> bool:
        """Whether every split can be read, for training or scoring."""
        return not any(finding.stops for finding in self.findings)

    def to_dict(self) -> JsonObject:
        """Plain lists, numbers and words, ready for JSON."""
        return {
            "source": self.source,
            "verdict": self.verdict(),
            "readable": self.is_readable,
            "findings": [
                {**asdict(finding), "examples": list(finding.examples)} for finding in self.findings
            ],
            "statistics": self.statistics,
        }

    def verdict(self) -> str:
        """One line: how many kinds of errors, warnings and notes there are, and what that means for training."""
        kinds = Counter(finding.severity for finding in self.findings)
        words = [
            counted(kinds[severity], f"kind of {severity}", f"kinds of {severity}") for severity in SEVERITIES
        ]
        if not self.is_readable:
            stopping = [finding.kind.replace("_", " ") for finding in self.findings if finding.stops]
            return f"Errors: {', '.join(words)}. These stop reading: {', '.join(stopping)}."
        if kinds["error"]:
            return f"Errors: {', '.join(words)}. Mend the errors before training."
        if kinds["warning"]:
            return f"Usable, but look at the warnings: {', '.join(words[1:])}."
        return f"Healthy: no errors, no warnings, {words[2]}."

    def text(self) -> str:
        """Plain text for a terminal: statistics, findings by severity, the verdict as the last line."""
        lines = [self.source, "", *_statistics_lines(self.statistics)]
        for severity in SEVERITIES:
            chosen = [finding for finding in self.findings if finding.severity == severity]
            if chosen:
                lines += ["", f"{severity.capitalize()}s"]
            for finding in chosen:
                count = f"{finding.count}, stops reading" if finding.stops else str(finding.count)
                lines += [f"  {finding.kind.replace('_', ' ')} ({count}): {finding.message}"]
                lines += [f"    - {example}" for example in finding.examples]
                if len(finding.examples) == MAX_PLACES < finding.count:
                    lines.append(f"    … {finding.count} in all")
        return "\n".join([*lines, "", self.verdict()])


def _statistics_lines(statistics: JsonObject) -> list[str]:
    splits = statistics.get("splits", {})
    if not splits:
        return ["no split could be read"]
    width = max(map(len, (*splits, "split")))
    columns = ("pictures", "without_objects", "objects", "ignored")
    lines = [f"{'split':<{width}}  {'pictures':>8}  {'of them empty':>13}  {'objects':>8}  {'ignored':>8}"]
    for name, split in splits.items():
        numbers = (f"{split[column]:>{room}}" for column, room in zip(columns, (8, 13, 8, 8), strict=True))
        lines.append(f"{name:<{width}}  {'  '.join(numbers)}")
    for what in ("box_sides", "picture_sizes"):
        if statistics.get(what):
            values = ", ".join(f"{name} {value:g}" for name, value in statistics[what].items())
            lines.append(f"{what.replace('_', ' ')} (square root of area, pixels): {values}")
    lines.append("objects per class: " + _class_words(splits))
    return lines


def _class_words(splits: JsonObject, limit: int = 20) -> str:
    names = list(dict.fromkeys(name for split in splits.values() for name in split["classes"]))
    rows = {name: [split["classes"].get(name, 0) for split in splits.values()] for name in names}
    shown = sorted(names, key=lambda name: -sum(rows[name]))
    words = ", ".join(f"{name} {'/'.join(map(str, rows[name]))}" for name in shown[:limit])
    return words + (f", … ({len(names)} classes in all)" if len(names) > limit else "")
