"""pagoda why CKPT --data DIR"""

import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import tyro

from pagoda.batch_size import AnyBatchSize
from pagoda.cli.arguments.parsing import AnyPrecision, open_ready, parse
from pagoda.cli.arguments.tile_options import TileOptions
from pagoda.data.clips import ClipDataset
from pagoda.data.dataset import DetectionDataset
from pagoda.data.reading.splits import chosen_with
from pagoda.data.tiled_dataset import TiledDataset
from pagoda.explain.why.examine import why
from pagoda.explain.why.objects import chosen_pictures
from pagoda.explain.why.page import write_page
from pagoda.explain.why.records import MISS_WORDS, WRONG_WORDS, Why
from pagoda.explain.why.words import lead, words_of
from pagoda.files.atomic import make_folder, write_free
from pagoda.files.text import json_text
from pagoda.messages import counted
from pagoda.plain import check_counts, checked
from pagoda.progress import Progress
from pagoda.recipes.datasets import dataset_for, open_source, tiling_seen
from pagoda.recipes.remarks import data_remarks
from pagoda.tiling.tiles import Tiles

SHOWN = 20
"""misses that are told one by one, where pictures are named all of them"""
COSTS = 8
"""kinds of errors whose costs are told"""


@checked
@dataclass(frozen=True, kw_only=True)
class WhyCommand:
    """Say of every object that a model misses why: the first stage of the model that loses it.

    pagoda why runs/NAME-1/best.safetensors --data DIR
    pagoda why runs/NAME-1/best.safetensors --data DIR --picture street.jpg
    pagoda why runs/NAME-1/best.safetensors --data DIR --out why --min-score 0.5

    From the model's own intermediate results, by its own limits or those given here.
    """

    common = ("split", "picture", "tiles", "min_score", "out", "json")

    checkpoint: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="CHECKPOINT")]
    """a .safetensors file of a run, or another program's checkpoint"""
    data: str
    """dataset folder"""
    split: str = "val"
    """which part of it; join several with +"""
    picture: tuple[str, ...] = ()
    """only these pictures, named as the data set names them or by the end of that"""
    inside_only: bool = False
    """refuse pictures outside the data set's folder: named by `..`, by an absolute path or through a link"""
    model: str = ""
    """FILE.py:FUNCTION that composes the model, when it is not one of the zoo's"""
    take: str = ""
    """which weights of another program's file, where it holds several: their key, or ema for the averaged ones"""
    min_score: float | None = None
    """detections below are not reported; default: the model's own"""
    max_iou: float | None = None
    """of two detections of a class; default: the model's own"""
    max_detections: int | None = None
    """of a picture; default: the model's own"""
    device: str = "auto"
    """auto, cpu, cuda, cuda:1, mps; auto: the accelerator, where there is one"""
    precision: AnyPrecision = "fp32"
    """of the network, as in pagoda val"""
    batch_size: AnyBatchSize = "auto"
    """pictures that are looked at together; auto: 8, on an accelerator 16; fewer where memory ends"""
    tiles: int | Literal["auto"] | None = None
    """cut large pictures into tiles of so many pixels, or auto: as large as the model sees; each is then a picture of
    its own, with what is seen there of the objects"""
    overlap: float = Tiles.overlap
    """share of a tile's side that it has in common with the next"""
    out: str = ""
    """folder for why.html, a page to click through, and why.json"""
    json: bool = False
    """print everything as JSON"""


def main(arguments: Sequence[str]) -> int:
    command = parse(WhyCommand, "why", arguments)
    check_counts(max_detections=command.max_detections)
    cut = TileOptions(tiles=command.tiles, overlap=command.overlap).cut()
    if command.out:
        make_folder(command.out)
    model = open_ready(
        command.checkpoint, command.model, command.take, device=command.device, precision=command.precision
    )
    with chosen_with("--split"):
        source = open_source(model, command.data, command.split, inside_only=command.inside_only)
    dataset = dataset_for(model, source, tiling=tiling_seen(model, cut))
    indices = chosen_pictures(dataset, command.picture)
    for line in data_remarks(source, command.data):
        print(line, file=sys.stderr)
    if isinstance(dataset, TiledDataset):
        print(f"each tile is looked at as a picture: {dataset.tiles.words()}", file=sys.stderr)
    with Progress() as bar:
        told = why(
            model,
            dataset,
            indices=indices,
            limits={
                "min_score": command.min_score,
                "max_iou": command.max_iou,
                "max_detections": command.max_detections,
            },
            batch_size=command.batch_size,
            progress=bar.task("looking", len(indices)),
        )
    print(json_text(told.to_dict()) if command.json else _text(told, whole=bool(command.picture)))
    if command.out:
        for path in _write(told, dataset, command.out):
            print(path, file=sys.stderr)
    return 0


def _write(told: Why, dataset: DetectionDataset | ClipDataset, out: str) -> list[Path]:
    """The page and all that it says, under names that are free."""
    index = {dataset.annotations.image_id(number): number for number in range(len(dataset))}
    numbers, folder = json_text(told.to_dict(), indent=1), make_folder(out)

    def read_picture(image_id: int | str) -> np.ndarray:
        pixels = dataset[index[image_id]][0]
        shown = pixels if pixels.ndim == 3 else pixels[len(pixels) // 2]  # of a clip its key frame
        return shown[:3].permute(1, 2, 0).numpy()

    return [
        write_free(folder / "why.html", lambda draft: write_page(draft, told, read_picture)),
        write_free(folder / "why.json", lambda draft: draft.write_text(numbers, encoding="utf-8")),
    ]


def _text(told: Why, *, whole: bool) -> str:
    """What a terminal shows: how much is missed, by reason and class, and the first misses one by one."""
    missed = len({(miss.image_id, miss.object) for miss in told.misses})
    lines = [
        lead(told),
        f"{missed} of {counted(told.num_objects, 'object')} in {counted(len(told.pictures), 'picture')} are missed"
        f" (IoU {told.limits['iou']:g}, min_score {told.limits['min_score']:g}).",
        "",
        *_costs(told),
        *_table("missed", [(miss.reason, miss.label) for miss in told.misses], MISS_WORDS),
        *_table("wrong", [(each.kind, each.label) for each in told.wrong], WRONG_WORDS),
    ]
    files = {picture.image_id: picture.file for picture in told.pictures}
    shown = told.misses if whole else told.misses[:SHOWN]
    lines += [
        f"{files[miss.image_id]}: {miss.label} {miss.object} ({miss.size}): {miss.words}"
        + (f"\n    → {miss.remedy}" if miss.remedy and whole else "")
        for miss in shown
    ]
    if len(shown) < len(told.misses):
        lines.append(
            f"… and {len(told.misses) - len(shown)} more: --picture NAME, --json or --out DIR tell all"
        )
    return "\n".join([*lines, *told.left_out])


def _costs(told: Why) -> list[str]:
    """Points of AP that each kind costs, the dearest first."""
    dear = [cost for cost in told.costs if abs(cost.ap) >= 0.0005][:COSTS]
    if not dear:
        return []
    lines = [f"{'points of AP regained where mended':40}  points  how many  most of"]
    for cost in dear:
        parts = [
            {name: ap for name, ap in part.items() if ap > 0} for part in (cost.per_class, cost.per_size)
        ]
        most = ", ".join(max(part, key=lambda name: part[name]) for part in parts if part)
        kind = words_of(cost.kind, is_miss=cost.is_miss)
        lines.append(f"{kind:40}  {100 * cost.ap:>6.1f}  {cost.count:>8}  {most}")
    return [*lines, ""]


def _table(title: str, pairs: list[tuple[str, str]], words: dict[str, str]) -> list[str]:  # type: ignore[type-arg]
    """Counts by reason, a column for each class."""
    if not pairs:
        return []
    classes = [name for name, _ in Counter(label for _, label in pairs).most_common(6)]
    width = max(len(words[kind]) for kind, _ in pairs)
    lines = [f"{title:{width}}  {'all':>6}" + "".join(f"  {name[:12]:>12}" for name in classes)]
    counts = Counter(pairs)
    for kind, total in Counter(kind for kind, _ in pairs).most_common():
        cells = "".join(f"  {counts[kind, name]:>12}" for name in classes)
        lines.append(f"{words[kind]:{width}}  {total:>6}{cells}")
    return [*lines, ""]
