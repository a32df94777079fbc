"""What the page of `pagoda why` shows, as plain values that its script reads: no more than can be looked at."""

from collections import defaultdict
from collections.abc import Sequence
from typing import TypeVar

from pagoda.evaluation.coco.scoring import size_name
from pagoda.explain.why.records import (
    MISS_WORDS,
    WRONG_WORDS,
    Box,
    Evidence,
    Miss,
    SeenPicture,
    Suspect,
    Why,
    Wrong,
)
from pagoda.plain import JsonObject

MAX_ENTRIES = 10_000
"""misses, and as many wrong detections, and as many suspects"""
MAX_WEAK = 20
"""detections of a picture that are drawn though nothing is said of them, the best first"""
SUSPECT_WORDS = {
    "class": "probably of another class",
    "box": "probably another box",
    "missing": "probably missing",
}
Said = TypeVar("Said", Miss, Wrong, Suspect)


def page_data(why: Why) -> tuple[JsonObject, list[SeenPicture], list[str]]:
    """(what the script reads, the pictures it numbers: those of most misses first, what was left out)."""
    seen = {picture.image_id: picture for picture in why.pictures}
    misses = _evenly(why.misses, MAX_ENTRIES)
    best = sorted(why.wrong, key=lambda each: -seen[each.image_id].scores[each.detection])[:MAX_ENTRIES]
    chosen = set(map(id, best))
    wrong = [each for each in why.wrong if id(each) in chosen]
    suspects = why.suspects[:MAX_ENTRIES]
    order = _pictures_of(seen, misses, [*wrong, *suspects])
    number = {picture.image_id: place for place, picture in enumerate(order)}
    named = _Names()
    entries = [
        *(_miss(each, seen[each.image_id], number, named) for each in misses),
        *(_wrong(each, seen[each.image_id], number, named) for each in wrong),
        *(_suspect(each, number, named) for each in suspects),
    ]
    shown = defaultdict(set)
    for entry in entries:
        shown[entry["picture"]].add(entry.get("detection"))
    pictures = [_picture(each, shown[place], named) for place, each in enumerate(order)]
    told = [
        _cut("misses", why.misses, misses, "evenly chosen"),
        _cut("wrong detections", why.wrong, wrong, "those with the highest scores"),
        _cut("suspects", why.suspects, suspects, "the most suspicious"),
    ]
    weak = sum(len(each.boxes) - len(picture["found"]) for each, picture in zip(order, pictures, strict=True))
    if weak:
        told.append(f"{weak:,} weak detections of which nothing is said are not drawn.")
    reasons = {
        **{f"miss: {key}": words for key, words in MISS_WORDS.items()},
        **{f"wrong: {key}": words for key, words in WRONG_WORDS.items()},
        **{f"suspect: {key}": words for key, words in SUSPECT_WORDS.items()},
    }
    data = {
        "reasons": reasons,
        "names": named.names,
        "remedies": named.remedies,
        "pictures": pictures,
        "entries": entries,
    }
    return data, order, [each for each in told if each]


class _Names:
    """Classes and remedies by number, so that each stands in the page once."""

    def __init__(self) -> None:
        self._numbers: dict[str, int] = {}
        self._remedies: dict[str, int] = {}

    def of(self, label: str) -> int:
        return self._numbers.setdefault(_text(label), len(self._numbers))

    def remedy(self, words: str) -> int | None:
        return self._remedies.setdefault(words, len(self._remedies)) if words else None

    @property
    def names(self) -> list[str]:
        return list(self._numbers)

    @property
    def remedies(self) -> list[str]:
        return list(self._remedies)


def _evenly(rows: Sequence[Said], limit: int) -> list[Said]:
    """`limit` of them, from the first to the last."""
    if len(rows) <= limit:
        return list(rows)
    return [rows[place * len(rows) // limit] for place in range(limit)]


def _cut(what: str, every: Sequence[object], shown: Sequence[object], which: str) -> str:
    if len(shown) == len(every):
        return ""
    return f"Of {len(every):,} {what} {len(shown):,} can be looked at here, {which}; the bars count these."


def _pictures_of(
    seen: dict[int | str, SeenPicture], misses: Sequence[Miss], others: Sequence[Wrong | Suspect]
) -> list[SeenPicture]:
    weights: dict[int | str, int] = {}
    for each in misses:
        weights[each.image_id] = weights.get(each.image_id, 0) + len(others) + 1
    for other in others:
        weights[other.image_id] = weights.get(other.image_id, 0) + 1
    return sorted((seen[image_id] for image_id in weights), key=lambda each: -weights[each.image_id])


def _miss(each: Miss, picture: SeenPicture, number: dict[int | str, int], named: _Names) -> JsonObject:
    return _compact(
        what="miss",
        reason=f"miss: {each.reason}",
        picture=number[each.image_id],
        box=_rounded(picture.object_boxes[each.object]),
        label=named.of(each.label),
        size=each.size,
        words=each.words,
        remedy=named.remedy(each.remedy),
        object=each.object,
        detection=each.detection,
        evidence=_evidence(each.evidence),
    )


def _wrong(each: Wrong, picture: SeenPicture, number: dict[int | str, int], named: _Names) -> JsonObject:
    return _compact(
        what="wrong",
        reason=f"wrong: {each.kind}",
        picture=number[each.image_id],
        box=_rounded(picture.boxes[each.detection]),
        label=named.of(each.label),
        size=each.size,
        words=each.words,
        object=each.object,
        detection=each.detection,
        score=round(picture.scores[each.detection], 4),
        iou=round(each.iou, 3) if each.object is not None else None,
    )


def _suspect(each: Suspect, number: dict[int | str, int], named: _Names) -> JsonObject:
    return _compact(
        what="suspect",
        reason=f"suspect: {each.kind}",
        picture=number[each.image_id],
        box=_rounded(each.box),
        label=named.of(each.label or each.suggested),
        suggested=each.suggested,
        size=size_name((each.box[2] - each.box[0]) * (each.box[3] - each.box[1])),
        words=each.words,
        object=each.object,
        detection=each.detection,
        suspicion=round(each.suspicion, 3),
    )


def _picture(each: SeenPicture, spoken_of: set[int | None], named: _Names) -> JsonObject:
    """Detections as [row, x1, y1, x2, y2, score, class], objects as [x1, y1, x2, y2, class, found by, ignored]."""
    needed = spoken_of | set(each.found_by)
    rows = [row for row in range(len(each.boxes)) if row < MAX_WEAK or row in needed]
    return {
        "id": _text(str(each.image_id)),
        "file": each.file,
        "size": _shown_size(each),
        "objects": [
            [*_rounded(box), named.of(label), -1 if found is None else found, int(ignored)]
            for box, label, found, ignored in zip(
                each.object_boxes, each.object_labels, each.found_by, each.ignored, strict=True
            )
        ],
        "found": [
            [row, *_rounded(each.boxes[row]), round(each.scores[row], 4), named.of(each.labels[row])]
            for row in rows
        ],
    }


def _shown_size(each: SeenPicture) -> list[float]:
    """(height, width); of a picture whose size nobody knows what its boxes need."""
    if all(each.image_size):
        return list(each.image_size)
    boxes = [*each.object_boxes, *each.boxes, (0.0, 0.0, 100.0, 100.0)]
    return [max(box[3] for box in boxes), max(box[2] for box in boxes)]


def _evidence(evidence: Evidence | None) -> JsonObject | None:
    if evidence is None:
        return None
    return _compact(
        box=_rounded(evidence.box),
        iou=round(evidence.iou, 3),
        score=round(evidence.score, 4),
        best_label=evidence.best_label,
        best_score=round(evidence.best_score, 4),
        level=evidence.level,
        prior=None if evidence.prior is None else _rounded(evidence.prior),
    )


def _compact(**values: object) -> JsonObject:
    return {name: value for name, value in values.items() if value is not None}


def _text(name: str) -> str:
    """Without halves of letters, which an address cannot hold."""
    return name.encode(errors="replace").decode()


def _rounded(box: Box) -> list[float]:
    return [round(value, 1) for value in box]
