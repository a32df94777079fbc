"""why.html: a page on which every miss, wrong detection and suspect can be looked at; one file, nothing called out."""

from html import escape
from pathlib import Path

from pagoda.evaluation.errors.costs import KindCost
from pagoda.explain.why.page_data import page_data
from pagoda.explain.why.records import Why
from pagoda.explain.why.words import MEASURES, lead, usual_remedies, words_of
from pagoda.files.text import json_text
from pagoda.plain import check_counts, checked
from pagoda.visualization.page import notes, section, shipped, write_program_page
from pagoda.visualization.thumbnails import ReadById, Wanted, embed_pictures

MAX_BYTES = 25_000_000
"""of the page"""
DEAREST = 6
"""costs that are seen at once"""
_OWN_BYTES = 100_000
"""what style, scripts and words take at most"""
_BYTES_TO_COME = 60
"""of an object and of a picture: which thumbnail it has"""


@checked
def write_page(
    path: str | Path,
    why: Why,
    read_picture: ReadById,
    *,
    title: str = "Why objects were missed",
    max_bytes: int = MAX_BYTES,
) -> Path:
    """Write the page to `path`, whole or not at all, and return the path.

    Args:
        read_picture: from `SeenPicture.image_id` to (H, W, 3) RGB uint8; where it raises PictureError the page shows a
            grey frame with its words.
        max_bytes: of the page; so that it fits pictures are made smaller, then left out, and the page says so.

    >>> from tempfile import TemporaryDirectory
    >>> nothing = {"pictures": [], "misses": [], "wrong": [], "suspects": [], "costs": [], "limits": {}, "left_out": []}
    >>> with TemporaryDirectory() as folder:
    ...     page = write_page(f"{folder}/why.html", Why(**nothing, ap=1.0, num_objects=3), lambda image_id: None)
    ...     "every object was found" in page.read_text()
    True
    """
    check_counts(max_bytes=max_bytes)
    data, pictures, told = page_data(why)
    details: list[list[int]] = [[] for _ in pictures]
    for number, entry in enumerate(data["entries"]):
        details[entry["picture"]].append(number)
    wanted = [
        Wanted(
            image_id=picture.image_id,
            image_size=picture.image_size,
            objects=[tuple(data["entries"][number]["box"]) for number in numbers],
        )
        for picture, numbers in zip(pictures, details, strict=True)
    ]
    own_bytes = _OWN_BYTES + _BYTES_TO_COME * (len(data["entries"]) + len(pictures)) + len(json_text(data))
    room = max(1, max_bytes - own_bytes)
    embedded = embed_pictures(wanted, read_picture, max_bytes=room)
    for picture, numbers, thumbnail in zip(data["pictures"], details, embedded.thumbnails, strict=True):
        picture |= {"small": thumbnail.number, "words": thumbnail.words}
        for number, detail in zip(numbers, thumbnail.details, strict=True):
            if detail is not None:
                data["entries"][number]["detail"] = [detail[0], [round(value, 1) for value in detail[1]]]
    body = (
        f"<main>\n<h1>{escape(title)}</h1>\n{_headline(why)}\n"
        f"{section('What it costs', _costs(why), name='costs')}\n"
        f"{shipped('explorer.html') if data['entries'] else ''}\n"
        f"{section('How it was looked at', _protocol(why, [*told, *embedded.notes]), name='how')}\n</main>"
    )
    script = shipped("page.js", "pagoda.explain.why") if data["entries"] else ""
    return write_program_page(
        path, title=title, body=body, data=data, pictures=embedded.contents, script=script
    )


def _headline(why: Why) -> str:
    numbers = [
        ("–" if why.ap is None else f"{100 * why.ap:.1f}", "AP"),
        (f"{len(why.misses):,}", f"of {why.num_objects:,} objects not found"),
        (f"{len(why.wrong):,}", "wrong detections"),
        (f"{len(why.suspects):,}", "annotations to look at"),
    ]
    cells = "".join(
        f'<div><span class="number">{number}</span><span>{escape(words)}</span></div>'
        for number, words in numbers
    )
    return f'<div class="headline">{cells}</div>\n<p class="lead">{escape(lead(why))}</p>'


def _costs(why: Why) -> str:
    if not why.costs:
        return ""
    most = max(max(cost.ap for cost in why.costs), 1e-9)
    remedies = usual_remedies(why)
    rows = [_cost(cost, most, remedies.get(cost.kind) if cost.is_miss else None) for cost in why.costs]
    tables = _cost_table(rows[:DEAREST])
    if len(rows) > DEAREST:
        tables += (
            f"<details><summary>{len(rows) - DEAREST} more</summary>{_cost_table(rows[DEAREST:])}</details>"
        )
    told = (
        "Points of AP that come back when one kind alone is mended. Kinds overlap, and a miss that is mended helps more"
        " where others are mended, too: the rows do not sum up to what is missing."
    )
    return f"{tables}{notes([told])}"


def _cost_table(rows: list[str]) -> str:
    names = ("kind of error", "how many", "points of AP", "", "most of", "what mends it")
    head = "".join(f'<th scope="col">{name}</th>' for name in names)
    body = "\n".join(rows)
    table = f'<table class="costs"><thead><tr>{head}</tr></thead><tbody>\n{body}\n</tbody></table>'
    return f'<div class="scroll">{table}</div>'


def _cost(cost: KindCost, most: float, remedy: tuple[str, int] | None) -> str:
    words = escape(words_of(cost.kind, is_miss=cost.is_miss))
    what = "miss" if cost.is_miss else "wrong"
    if cost.kind not in MEASURES:
        choice = escape(f"{what}: {cost.kind}", quote=True)
        words = (
            f'<button type="button" class="plain" data-facet="reason" data-choose="{choice}">{words}</button>'
        )
    width = max(0.0, 100 * cost.ap / most)
    bar = (
        '<svg class="cost" viewBox="0 0 100 10" preserveAspectRatio="none" aria-hidden="true">'
        f'<rect width="{width:.1f}" height="10"/></svg>'
    )
    parts = [{name: ap for name, ap in part.items() if ap > 0} for part in (cost.per_class, cost.per_size)]
    dearest = ", ".join(max(part, key=lambda name: part[name]) for part in parts if part)
    mends = f"{escape(remedy[0])} <small>({remedy[1]:,} of {cost.count:,})</small>" if remedy else ""
    kind = "" if cost.kind in MEASURES else f" <small>{'missed' if cost.is_miss else 'wrong'}</small>"
    return (
        f'<tr><th scope="row">{words}{kind}</th><td>{cost.count:,}</td><td>{100 * cost.ap:.1f}</td><td>{bar}</td>'
        f'<td class="text">{escape(dearest)}</td><td class="text">{mends}</td></tr>'
    )


def _protocol(why: Why, told: list[str]) -> str:
    limits = ", ".join(
        f"{name} {'none' if value is None else f'{value:g}'}" for name, value in why.limits.items()
    )
    looked = [
        f"{len(why.pictures):,} pictures, {why.num_objects:,} objects that count; limits: {limits or 'none'}."
    ]
    return notes([*looked, *why.left_out, *told])
