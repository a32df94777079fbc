"""What was found in the pictures of a block, as a Parquet file: written whole, read back as predictions.json has it."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from pagoda.files.atomic import write_atomically
from pagoda.files.text import json_text, parse_json
from pagoda.plain import JsonObject

FOLDER = "shards"
SKELETON = b"pagoda.skeleton"


class FoundRow(NamedTuple):
    """One picture."""

    index: int
    """its place among all pictures, from 0"""
    found: JsonObject | None
    """as `Detections.to_dict` says it; None where it could not be read"""
    error: str | None
    """why not"""
    at: str = ""
    """its path or address"""
    num_frames: int = 1
    """of the file, of which the first was looked at"""
    peak: float | None = None
    """the largest value of a picture of more than eight bits"""


def shard_path(out: str | Path, number: int) -> Path:
    """Where the results of a block are.

    >>> shard_path("out", 7).as_posix()
    'out/shards/part-000007.parquet'
    """
    return Path(out) / FOLDER / f"part-{number:06d}.parquet"


def write_shard(path: Path, rows: list[FoundRow]) -> None:
    """All rows of a block, in order. Raises OSError with the path where they cannot be written."""
    import pyarrow
    from pyarrow.parquet import write_table

    skeleton = next((row.found["skeleton"] for row in rows if row.found and "skeleton" in row.found), None)
    schema = _schema().with_metadata({} if skeleton is None else {SKELETON: json_text(skeleton).encode()})
    table = pyarrow.Table.from_pylist([_columns(row) for row in rows], schema=schema)
    write_atomically(path, lambda draft: write_table(table, draft))


def read_shard(path: Path) -> Iterator[FoundRow]:
    """What `write_shard` was given."""
    from pyarrow.parquet import read_table

    table = read_table(path, partitioning=None)
    kept = (table.schema.metadata or {}).get(SKELETON)
    skeleton = None if kept is None else parse_json(kept)
    for row in table.to_pylist():
        yield _row(row, skeleton)


def count_shard(path: Path) -> tuple[int, int]:
    """(pictures, those that could not be read) of a block, by its header."""
    from pyarrow.parquet import read_table

    errors = read_table(path, columns=["error"], partitioning=None)["error"]
    return len(errors), len(errors) - errors.null_count


def _schema() -> Any:
    import pyarrow as pa

    numbers = pa.list_(pa.float32())
    return pa.schema(
        [
            ("index", pa.int64()),
            ("picture", pa.string()),
            ("at", pa.string()),
            ("width", pa.int32()),
            ("height", pa.int32()),
            ("boxes", pa.list_(numbers)),
            ("scores", numbers),
            ("labels", pa.list_(pa.int32())),
            ("names", pa.list_(pa.string())),
            ("masks", pa.list_(pa.string())),
            ("keypoints", pa.list_(numbers)),
            ("num_frames", pa.int32()),
            ("peak", pa.float64()),
            ("error", pa.string()),
        ]
    )


def _columns(row: FoundRow) -> JsonObject:
    told = {
        "index": row.index,
        "at": row.at,
        "error": row.error,
        "num_frames": row.num_frames,
        "peak": row.peak,
    }
    if row.found is None:
        return {**told, "picture": row.at}
    objects = row.found["objects"]
    height, width = row.found["image_size"]
    columns = {
        "boxes": [each["box_xyxy"] for each in objects],
        "scores": [each["score"] for each in objects],
        "labels": [each["label"] for each in objects],
        "names": [each["name"] for each in objects],
    }
    if any("segmentation" in each for each in objects):
        columns["masks"] = [each["segmentation"]["counts"] for each in objects]
    if any("keypoints" in each for each in objects):
        columns["keypoints"] = [each["keypoints"] for each in objects]
    return {**told, "picture": row.found["file"], "width": width, "height": height, **columns}


def _row(row: JsonObject, skeleton: JsonObject | None) -> FoundRow:
    place = {name: row[name] for name in ("index", "error", "at", "num_frames", "peak")}
    if row["error"] is not None:
        return FoundRow(found=None, **place)
    size = [row["height"], row["width"]]
    objects = [
        {"name": name, "label": label, "score": score, "box_xyxy": box}
        for name, label, score, box in zip(
            row["names"], row["labels"], row["scores"], row["boxes"], strict=True
        )
    ]
    for each, counts in zip(objects, row["masks"] or [], strict=False):
        each["segmentation"] = {"size": size, "counts": counts}
    for each, keypoints in zip(objects, row["keypoints"] or [], strict=False):
        each["keypoints"] = keypoints
    found = {"file": row["picture"], "image_id": None, "image_size": size, "objects": objects}
    if row["keypoints"] and skeleton is not None:
        found["skeleton"] = skeleton
    return FoundRow(found=found, **place)
