"""COCO written: annotations/instances_<split>.json, and the pictures in images/<split>/."""

from pathlib import Path

from pagoda.data.writing.contents import Contents
from pagoda.files.text import json_text


def write_coco_files(contents: Contents, folder: Path) -> None:
    """The annotation file of each split; objects of videos keep their tracks in an extra key, track_id."""
    (folder / "annotations").mkdir()
    for split, table in contents.splits.items():
        document = {**table.to_coco(), "info": {}}
        tracks = [] if contents.track_ids is None else contents.track_ids[split].tolist()
        for entry, track in zip(document["annotations"], tracks, strict=bool(tracks)):
            entry |= {"track_id": track} if track >= 0 else {}
        text = json_text(document)
        (folder / "annotations" / f"instances_{split}.json").write_text(text, encoding="utf-8")
