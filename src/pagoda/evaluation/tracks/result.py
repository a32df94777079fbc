"""What an evaluation of tracks says: numbers over all videos, per video and per class, and how they were got."""

import math
from dataclasses import dataclass

from pagoda.plain import JsonObject

SHOWN = ("HOTA", "DetA", "AssA", "MOTA", "MOTP", "IDF1", "IDSW", "Frag", "MT", "ML", "FP", "FN")
COUNTS = {"IDSW", "Frag", "MT", "PT", "ML", "FP", "FN", "objects"}


@dataclass(frozen=True)
class TrackingResult:
    """HOTA, CLEAR and identity scores: fractions 0 … 1 (MOTA may be negative) and counts; nan without an object.

    >>> TrackingResult({"MOTA": float("nan"), "FP": 2.0}, {}, {}, "found from IoU 0.5").to_dict()["metrics"]
    {'MOTA': None, 'FP': 2.0}
    """

    metrics: dict[str, float]
    """HOTA, DetA, AssA, LocA, MOTA, MOTP, IDSW, Frag, MT, PT, ML, Rcll, Prcn, FP, FN, objects, IDF1, IDP, IDR"""
    per_video: dict[str, dict[str, float]]
    """name of the video → the same numbers of it alone"""
    per_class: dict[str, dict[str, float]]
    """class of the ground truth → the same numbers of it alone, over all videos"""
    protocol: str
    """how was counted; belongs next to the numbers wherever they are printed"""
    notes: tuple[str, ...] = ()
    """what was left out of ground truth and predictions, how many and why"""

    def table(self) -> str:
        """Plain text: one row per video, per class where there are several, and for all; then the protocol.

        Classes of which there is nothing on either side have no row.
        """
        seen = {name: row for name, row in self.per_class.items() if row["objects"] or row["FP"]}
        classes = seen if len(self.per_class) > 1 else {}
        rows = {**self.per_video, **classes, "all": self.metrics}
        lines = [["", *SHOWN]] + [
            [name, *(_cell(key, row[key]) for key in SHOWN)] for name, row in rows.items()
        ]
        return "\n".join([text_columns(lines), "", self.protocol, *self.notes])

    def to_dict(self) -> JsonObject:
        """Plain numbers, ready for JSON; None where a value is undefined."""
        return {
            "metrics": finite_or_none(self.metrics),
            "per_video": {name: finite_or_none(row) for name, row in self.per_video.items()},
            "per_class": {name: finite_or_none(row) for name, row in self.per_class.items()},
            "protocol": self.protocol,
            "notes": list(self.notes),
        }


def finite_or_none(row: dict[str, float]) -> dict[str, float | None]:
    """The row with None in place of nan, which JSON has not.

    >>> finite_or_none({"MOTA": 0.5, "MOTP": float("nan")})
    {'MOTA': 0.5, 'MOTP': None}
    """
    return {name: None if math.isnan(value) else value for name, value in row.items()}


def text_columns(rows: list[list[str]]) -> str:
    """Lines with aligned columns, the first to the left and the others to the right.

    >>> print(text_columns([["", "MOTA"], ["street", "0.5"]]))
            MOTA
    street   0.5
    """
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return "\n".join(
        "  ".join(
            [row[0].ljust(widths[0]), *(c.rjust(w) for c, w in zip(row[1:], widths[1:], strict=True))]
        ).rstrip()
        for row in rows
    )


def _cell(name: str, value: float) -> str:
    if math.isnan(value):
        return "–"
    return f"{value:.0f}" if name in COUNTS else f"{value:.3f}"
