"""compare.html: what two models score beside one another, and the pictures in which they part; nothing called out."""

from collections.abc import Mapping
from html import escape
from pathlib import Path

from pagoda.evaluation.coco.comparison import Comparison
from pagoda.evaluation.coco.picture_pairs import FoundInPicture, PicturePair
from pagoda.explain.comparison.parts import headline, parts_table, points, signed
from pagoda.files.text import json_text
from pagoda.plain import JsonObject, check_counts, checked
from pagoda.visualization.page import notes, section, shipped, write_program_page
from pagoda.visualization.thumbnails import ReadById, Wanted, embed_pictures

MAX_BYTES = 25_000_000
"""of the page"""
HEADS = ("AP", "segm/AP", "keypoints/AP")
_OWN_BYTES = 100_000
"""what style, scripts and words take at most"""


@checked
def write_comparison(
    path: str | Path,
    comparison: Comparison,
    read_picture: ReadById,
    files: Mapping[int | str, tuple[str, tuple[int, int]]],
    *,
    names: tuple[str, str],
    max_bytes: int = MAX_BYTES,
) -> Path:
    """Write the page to `path`, whole or not at all, and return the path.

    Args:
        comparison: with `pairs`, the pictures that can be looked at.
        read_picture: from an image id to (H, W, 3) RGB uint8; where it raises PictureError the page shows its words.
        files: of each picture among the pairs its name and (height, width).
        names: what the two are called.
        max_bytes: of the page; so that it fits pictures are made smaller, then left out, and the page says so.
    """
    check_counts(max_bytes=max_bytes)
    data = _data(comparison, files)
    wanted = [Wanted(image_id=pair.image_id, image_size=files[pair.image_id][1]) for pair in comparison.pairs]
    room = max(1, max_bytes - _OWN_BYTES - len(json_text(data)))
    embedded = embed_pictures(wanted, read_picture, max_bytes=room)
    for picture, thumbnail in zip(data["pictures"], embedded.thumbnails, strict=True):
        picture |= {"small": thumbnail.number, "words": thumbnail.words}
    data["sides"] = list(names)
    first, second = map(escape, names)
    body = (
        f"<main>\n<h1>{second} beside {first}</h1>\n{_headline(comparison)}\n"
        f"{section('Every part', parts_table(comparison.parts, 'pictures'), name='parts')}\n"
        f"{shipped('explorer.html') if comparison.pairs else ''}\n"
        f"{section('How it was looked at', notes(_protocol(comparison, embedded.notes)), name='how')}\n</main>"
    )
    return write_program_page(
        path,
        title=f"{names[1]} beside {names[0]}",
        body=body,
        data=data,
        pictures=embedded.contents,
        script=shipped("page.js", "pagoda.explain.comparison") if comparison.pairs else "",
        style=shipped("page.css", "pagoda.explain.comparison"),
    )


def _data(comparison: Comparison, files: Mapping[int | str, tuple[str, tuple[int, int]]]) -> JsonObject:
    changes = {change.image_id: change for change in comparison.pictures}
    pictures, entries = [], []
    for number, pair in enumerate(comparison.pairs):
        file, size = files[pair.image_id]
        change = changes[pair.image_id]
        pictures.append({"id": str(pair.image_id), "file": file, "size": list(size)})
        entries.append(
            {
                "picture": number,
                "found": round(change.found, 2),
                "wrong": round(change.wrong, 2),
                "objects": [[*_rounded(box), label] for box, label in _objects(pair)],
                "sides": [_detections(pair.first), _detections(pair.second)],
            }
        )
    return {"pictures": pictures, "entries": entries}


def _objects(pair: PicturePair) -> list[tuple[tuple[float, ...], str]]:
    return list(zip(pair.object_boxes, pair.object_labels, strict=True))


def _detections(found: FoundInPicture) -> list[list[float | str]]:
    """[x1, y1, x2, y2, score, class, row of the object or -1]"""
    rows = zip(found.boxes, found.scores, found.labels, found.objects, strict=True)
    return [
        [*_rounded(box), round(score, 4), label, -1 if row is None else row]
        for box, score, label, row in rows
    ]


def _rounded(box: tuple[float, ...]) -> list[float]:
    return [round(value, 1) for value in box]


def _headline(comparison: Comparison) -> str:
    heads = [name for name in HEADS if name in comparison.parts]
    main = comparison.parts[heads[0]] if heads else None
    if main is None:
        return ""
    return headline(
        {
            "points of AP": signed(main.difference),
            "AP of the first": points(main.other_ap),
            "AP of the second": points(main.ap),
            f"of {comparison.num_images:,} pictures are otherwise": f"{len(comparison.pictures):,}",
        },
        {name: comparison.parts[name].verdict(comparison.num_images) for name in heads},
    )


def _protocol(comparison: Comparison, told: list[str]) -> list[str]:
    texts = [f"{comparison.protocol()}."]
    shown, every = len(comparison.pairs), len(comparison.pictures)
    if shown < every:
        texts.append(
            f"Of {every:,} pictures that are otherwise, {shown:,} can be looked at here: those that gained and"
            " lost most."
        )
    if shown:
        texts.append("What is drawn are boxes, each from the score of its class's best F1 on.")
        if comparison.num_runs != (1, 1):
            texts.append("Changes are means over the runs; drawn is the first run of each side.")
    return [*texts, *told]
