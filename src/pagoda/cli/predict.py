"""pagoda predict CKPT SOURCE…"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro
from PIL import Image
from rich.console import Console
from rich.progress import Progress

from pagoda.atomic import write_atomically
from pagoda.cli.parsing import open_checkpoint, parse
from pagoda.pictures import PictureError, list_pictures
from pagoda.plain import checked
from pagoda.postprocess.views import TestViews
from pagoda.structures.instances import Detections
from pagoda.training.settings import new_run_folder

VIEWS = {"none": None, "flip": TestViews(), "published": TestViews.published()}


@checked
@dataclass(frozen=True, kw_only=True)
class PredictCommand:
    """Find objects in pictures and write annotated copies and predictions.json.

    pagoda predict runs/NAME-1/best.safetensors photo.jpg holiday/ "scans/*.png" --min-score 0.5
    """

    checkpoint: Annotated[str, tyro.conf.Positional]
    sources: Annotated[tuple[str, ...], tyro.conf.Positional]
    """pictures, folders, globs or URLs"""
    out: str = ""
    """folder for the results; default: a new runs/predict-<n>"""
    min_score: float = 0.3
    """objects below this score are left out"""
    max_iou: float | None = None
    """overlap above which the weaker of two boxes of a class goes; default: the model's own"""
    views: Literal["none", "flip", "published"] = "none"
    """look at each picture mirrored too, or in the 18 views of FCOS's published result: slower, finds more"""
    json: bool = False
    """print the detections as JSON lines on standard output"""
    model: str = ""
    """FILE.py:FUNCTION that composes the model, when it is not one of the zoo's"""
    no_pictures: bool = False
    """write only predictions.json"""


def main(arguments: Sequence[str]) -> int:
    command = parse(PredictCommand, "predict", arguments)
    errors = Console(stderr=True)
    sources = [item for source in command.sources for item in list_pictures(source)]
    if not sources:
        raise ValueError("pagoda predict needs at least one picture, folder, glob or URL")
    model = open_checkpoint(command.checkpoint, command.model)
    out = Path(command.out) if command.out else new_run_folder("runs", "predict")
    out.mkdir(parents=True, exist_ok=True)
    rows, failed = [], []
    with Progress(disable=command.json, transient=True, console=errors) as bar:
        for source in bar.track(sources, description="predicting"):
            try:
                found = model.predict(
                    source,
                    min_score=command.min_score,
                    max_iou=command.max_iou,
                    views=VIEWS[command.views],
                )
            except PictureError as error:
                failed.append(str(error))
                continue
            rows.append(found.to_dict())
            if command.json:
                print(json.dumps(rows[-1]))
            if not command.no_pictures:
                save_picture(out, found)
    text = json.dumps({"predictions": rows, "failed": failed}, indent=1)
    written = free_name(out / "predictions.json")
    write_atomically(written, lambda path: path.write_text(text, encoding="utf-8"))
    count = sum(len(row["objects"]) for row in rows)
    errors.print(f"{count} objects in {len(rows)} pictures; see {written.parent}", highlight=False)
    for reason in failed:
        errors.print(f"skipped: {reason}", highlight=False, markup=False)
    if failed:
        errors.print(f"{len(failed)} of {len(sources)} pictures could not be read")
    return 1 if failed else 0


def save_picture(out: Path, found: Detections) -> None:
    """The annotated picture under its own name; nothing that exists is overwritten."""
    path = free_name(out / f"{Path(found.file or 'picture').stem}.png")
    write_atomically(path, lambda temporary: Image.fromarray(found.plot()).save(temporary, format="PNG"))


def free_name(path: Path) -> Path:
    number, free = 1, path
    while free.exists():
        number += 1
        free = path.with_stem(f"{path.stem}-{number}")
    return free
