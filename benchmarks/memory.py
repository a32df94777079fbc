"""What a million annotated boxes cost in memory, in the parent and in each worker process.

    python benchmarks/memory.py                 # flat arrays, 0 and 4 workers
    python benchmarks/memory.py --as-lists      # the same as a list of dicts, for comparison

Prints what the processes hold after two epochs of reading all targets, in MB. RSS counts a shared page in
every process that has it, USS only what a process has for itself (this grows when workers copy what they
read), PSS divides shared pages among their users: its sum is the memory really taken. Linux only.
"""

import os
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import psutil
import torch
import tyro
from torch.utils.data import DataLoader, Dataset

from pagoda.data.table.annotations import Annotations
from pagoda.data.table.assembly import ImageColumns, ObjectColumns, assemble
from pagoda.structures.labels import LabelMap

MEGABYTE = 2**20


@dataclass(frozen=True, kw_only=True)
class Settings:
    boxes: int = 1_000_000
    images: int = 100_000
    workers: tuple[int, ...] = (0, 4)
    start: Literal["fork", "spawn", "forkserver"] = "fork"
    """How worker processes begin: only forked ones share the arrays, the others receive a copy."""
    as_lists: bool = False


class OnlyTargets(Dataset):
    """The targets without pictures, so that nothing else takes memory."""

    def __init__(self, annotations: Annotations) -> None:
        self.annotations = annotations

    def __len__(self) -> int:
        return len(self.annotations)

    def __getitem__(self, index: int) -> tuple[int, int]:
        """(number of boxes, the process that read them)"""
        return len(self.annotations.targets(index)), os.getpid()


class ListsOfDicts(Dataset):
    """The usual way: a dict per image, a dict per box."""

    def __init__(self, annotations: Annotations) -> None:
        document = annotations.to_coco()
        by_image: dict[int, list[dict]] = {image["id"]: [] for image in document["images"]}
        for entry in document["annotations"]:
            by_image[entry["image_id"]].append(entry)
        self.entries = list(by_image.values())

    def __len__(self) -> int:
        return len(self.entries)

    def __getitem__(self, index: int) -> tuple[int, int]:
        return len(torch.tensor([entry["bbox"] for entry in self.entries[index]])), os.getpid()


def draw_annotations(settings: Settings) -> Annotations:
    rng = np.random.default_rng(0)
    files = [f"{index:012d}.jpg" for index in range(settings.images)]
    images = ImageColumns(files, range(settings.images), [(480, 640)] * settings.images)
    objects = ObjectColumns(
        owners=rng.integers(0, settings.images, settings.boxes),
        boxes_xywh=rng.uniform(1, 300, (settings.boxes, 4)),
        labels=rng.integers(0, 80, settings.boxes),
        ignored=np.zeros(settings.boxes, bool),
    )
    return assemble(images, objects, label_map=LabelMap.numbered(80), root=Path(), source="random numbers")


def measure(dataset: Dataset, settings: Settings, num_workers: int) -> dict[str, Any]:
    """Memory after two epochs in random order, in MB."""
    parent = psutil.Process()
    before = parent.memory_full_info()
    loader = DataLoader(
        dataset,
        batch_size=256,
        shuffle=True,
        num_workers=num_workers,
        persistent_workers=num_workers > 0,
        multiprocessing_context=settings.start if num_workers else None,
    )
    num_boxes, readers = 0, set()
    for _ in range(2):
        for lengths, processes in loader:
            num_boxes += int(lengths.sum())
            readers.update(processes.tolist())
    after = parent.memory_full_info()
    workers = [psutil.Process(reader).memory_full_info() for reader in readers - {parent.pid}]
    return {
        "workers": len(workers),
        "boxes read": num_boxes,
        "parent RSS grew by": (after.rss - before.rss) / MEGABYTE,
        "a worker's RSS": max((worker.rss for worker in workers), default=0) / MEGABYTE,
        "a worker's USS": max((worker.uss for worker in workers), default=0) / MEGABYTE,
        "PSS of all": sum(process.pss for process in (after, *workers)) / MEGABYTE,
    }


def main(settings: Settings) -> None:
    torch.set_num_threads(1)
    warnings.filterwarnings(
        "ignore", message="This DataLoader will create"
    )  # more workers than cores: on purpose
    start = psutil.Process().memory_full_info().uss
    annotations = draw_annotations(settings)
    dataset = ListsOfDicts(annotations) if settings.as_lists else OnlyTargets(annotations)
    what = "list of dicts" if settings.as_lists else f"flat arrays of {annotations.nbytes / MEGABYTE:.1f} MB"
    held = (psutil.Process().memory_full_info().uss - start) / MEGABYTE
    print(f"{settings.boxes} boxes in {settings.images} images as {what}; the process grew by {held:.1f} MB")
    for num_workers in settings.workers:
        result = measure(dataset, settings, num_workers)
        print("  " + ", ".join(f"{name} {value:.0f}" for name, value in result.items()))


if __name__ == "__main__":
    main(tyro.cli(Settings))
