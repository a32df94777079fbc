"""The page of `pagoda why` with many objects: bytes, seconds to write it, and until Chromium shows the gallery.

python benchmarks/why_page.py --objects 5000 --image-size 480 640

A hundred pictures are drawn and stand there under many names; the model is imagined: it misses, shifts, misnames and
invents objects by chance. Needs Chromium and its driver (Debian's packages chromium and
chromium-driver) and selenium.
"""

import argparse
import random
import shutil
import statistics
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import get_args

from pagoda.data.drawn.synthetic import DrawnShapes
from pagoda.evaluation.errors.costs import KindCost
from pagoda.explain.why.page import write_page
from pagoda.explain.why.records import (
    MISS_WORDS,
    WRONG_WORDS,
    Evidence,
    Miss,
    MissReason,
    SeenPicture,
    Suspect,
    Why,
    Wrong,
    WrongKind,
)

REMEDIES = {
    "no prior": "--model.short-side 480 gives it a location of P3",
    "low score": "--min-score 0.2 would show it",
    "max_detections": "--max-detections 300 keeps it",
}
CHROMIUM = (
    "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync", "--window-size=1280,900",
)  # fmt: skip


class Repeated:
    """Drawn shapes as often as wanted: picture i is that of i modulo `distinct`, under a name of its own."""

    def __init__(self, num_images: int, image_size: tuple[int, int], distinct: int = 100) -> None:
        shapes = DrawnShapes(distinct, image_size, seed=1)
        self.num_images, self.label_map = num_images, shapes.label_map
        self.drawn = [
            (shapes.picture(i).permute(1, 2, 0).numpy(), shapes.targets(i)) for i in range(distinct)
        ]

    def __len__(self) -> int:
        return self.num_images

    def targets(self, index: int):
        return replace(
            self.drawn[index % len(self.drawn)][1], image_id=index + 1, file=f"{index + 1:06d}.png"
        )

    def read(self, image_id: int):
        """(H, W, 3) uint8"""
        return self.drawn[(image_id - 1) % len(self.drawn)][0]


def imagine(shapes: DrawnShapes | Repeated, *, seed: int = 0, missed: float = 0.5, wrong: float = 0.4) -> Why:
    """What an imagined model makes of drawn shapes: shares of the objects that it misses, and of what it invents."""
    chance = random.Random(seed)
    pictures, misses, wrongs, suspects = [], [], [], []
    for index in range(len(shapes)):
        picture = _picture(shapes, index, chance, missed, wrong)
        pictures.append(picture)
        found = set(picture.found_by)
        misses += [_miss(picture, row, chance) for row, by in enumerate(picture.found_by) if by is None]
        wrongs += [_wrong(picture, row, chance) for row in range(len(picture.boxes)) if row not in found]
    for miss in misses[:: max(1, len(misses) // 40)]:
        picture = next(each for each in pictures if each.image_id == miss.image_id)
        suspects.append(_suspect(picture, miss, chance))
    return Why(
        pictures=pictures,
        misses=misses,
        wrong=wrongs,
        suspects=sorted(suspects, key=lambda each: -each.suspicion),
        costs=_costs(misses, wrongs, chance),
        ap=0.4658,
        num_objects=sum(len(picture.object_boxes) for picture in pictures),
        limits={"min_score": 0.05, "max_iou": 0.6, "max_detections": 100, "found from IoU": 0.5},
        left_out=[],
    )


def _picture(shapes, index, chance, missed, wrong):
    targets = shapes.targets(index)
    height, width = targets.image_size
    names = shapes.label_map.names
    boxes = [tuple(map(float, box)) for box in targets.boxes.tolist()]
    labels = [names[label] for label in targets.labels.tolist()]
    rows = []
    for row, box in enumerate(boxes):
        if chance.random() >= missed:
            rows.append((chance.uniform(0.3, 0.99), _shaken(box, chance, 0.06), labels[row], row))
        if chance.random() < wrong:
            rows.append((chance.uniform(0.05, 0.9), _shaken(box, chance, 0.5), chance.choice(names), None))
    rows.sort(key=lambda each: -each[0])
    found_by: list[int | None] = [None] * len(boxes)
    for place, (_, _, _, row) in enumerate(rows):
        if row is not None:
            found_by[row] = place
    return SeenPicture(
        image_id=targets.image_id,
        file=targets.file,
        image_size=(height, width),
        object_boxes=boxes,
        object_labels=labels,
        found_by=found_by,
        ignored=[False] * len(boxes),
        boxes=[box for _, box, _, _ in rows],
        scores=[score for score, _, _, _ in rows],
        labels=[label for _, _, label, _ in rows],
    )


def _shaken(box, chance, share):
    width, height = box[2] - box[0], box[3] - box[1]
    x, y = chance.uniform(-share, share) * width, chance.uniform(-share, share) * height
    return box[0] + x, box[1] + y, box[2] + x, box[3] + y


def _size(box):
    area = (box[2] - box[0]) * (box[3] - box[1])
    return "small" if area < 32**2 else "medium" if area < 96**2 else "large"


def _miss(picture, row, chance):
    reason = chance.choice(get_args(MissReason)[1:10])
    box, label, score = picture.object_boxes[row], picture.object_labels[row], chance.uniform(0.001, 0.05)
    iou, level = chance.uniform(0.3, 0.9), chance.choice((3, 4, 5))
    center = (round((box[0] + box[2]) / 2), round((box[1] + box[3]) / 2))
    evidence = Evidence(
        box=_shaken(box, chance, 0.25), iou=iou, score=score, best_label=label, best_score=score, level=level,
        prior=(*center, *center),
    )  # fmt: skip
    words = f"{MISS_WORDS[reason]}: at its best location, of level P{level}, {score:.3f} with a box of IoU {iou:.2f}."
    return Miss(
        image_id=picture.image_id, object=row, label=label, size=_size(box), reason=reason, words=words,
        remedy=REMEDIES.get(reason, ""), evidence=None if reason == "no prior" else evidence,
        detection=0 if reason == "suppressed" and picture.boxes else None,
    )  # fmt: skip


def _wrong(picture, row, chance):
    kind = chance.choice(get_args(WrongKind))
    box, has_object = picture.boxes[row], kind not in ("background", "not annotated")
    words = f"{WRONG_WORDS[kind]}, with a score of {picture.scores[row]:.2f}."
    return Wrong(
        image_id=picture.image_id, detection=row, label=picture.labels[row], size=_size(box), kind=kind, words=words,
        object=0 if has_object and picture.object_boxes else None, iou=chance.uniform(0.1, 0.5) if has_object else 0.0,
    )  # fmt: skip


def _suspect(picture, miss, chance):
    box = picture.object_boxes[miss.object]
    return Suspect(
        image_id=picture.image_id, kind=chance.choice(("class", "box")), box=box, label=miss.label, suggested="circle",
        suspicion=chance.uniform(0.5, 1), words="The model is sure of another class there.", object=miss.object,
    )  # fmt: skip


def _costs(misses, wrongs, chance):
    counts = {(miss.reason, True): 0 for miss in misses} | {(each.kind, False): 0 for each in wrongs}
    for kind in [(miss.reason, True) for miss in misses] + [(each.kind, False) for each in wrongs]:
        counts[kind] += 1
    costs = [
        KindCost(
            kind=kind, is_miss=is_miss, count=count, ap=count / 60 / max(1, len(misses) + len(wrongs)) * 9,
            per_class={name: chance.uniform(0, 0.1) for name in ("circle", "square", "triangle")},
            per_size={name: chance.uniform(0, 0.1) for name in ("small", "medium", "large")},
        )
        for (kind, is_miss), count in counts.items()
    ]  # fmt: skip
    return sorted(costs, key=lambda cost: -cost.ap)


def seconds_to_show(page: Path, rounds: int) -> list[float]:
    """From the start of navigation until the frame with the first gallery has been drawn."""
    from selenium import webdriver  # the page is measured without it, too

    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium") or "chromium"
    times = []
    with tempfile.TemporaryDirectory() as profile:
        for flag in (*CHROMIUM, f"--user-data-dir={profile}"):
            options.add_argument(flag)
        driver = webdriver.Chrome(options, webdriver.ChromeService(shutil.which("chromedriver")))
        try:
            for _ in range(rounds):
                driver.get("about:blank")
                driver.get(page.as_uri())
                shown = "return performance.getEntriesByName('shown')[0]?.startTime"
                while (at := driver.execute_script(shown)) is None:
                    time.sleep(0.05)
                times.append(at / 1000)
        finally:
            driver.quit()
    return times


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--objects", type=int, default=5000, help="that are missed, or found wrongly")
    parser.add_argument("--image-size", type=int, nargs=2, default=(480, 640), metavar=("HEIGHT", "WIDTH"))
    parser.add_argument("--rounds", type=int, default=5, help="times that the page is opened")
    parser.add_argument("--keep", help="write the page here, and leave it")
    arguments = parser.parse_args()
    shapes = Repeated(max(1, round(arguments.objects / 3)), tuple(arguments.image_size))
    why = imagine(shapes)
    with tempfile.TemporaryDirectory() as folder:
        page = Path(arguments.keep or f"{folder}/why.html").resolve()
        since = time.perf_counter()
        write_page(page, why, shapes.read)
        written = time.perf_counter() - since
        times = seconds_to_show(page, arguments.rounds)
        entries = len(why.misses) + len(why.wrong) + len(why.suspects)
        print(
            f"{entries} objects in {len(shapes)} pictures: {page.stat().st_size / 1e6:.1f} MB, written in"
            f" {written:.1f} s, shown after {statistics.median(times):.2f} s"
            f" ({min(times):.2f} … {max(times):.2f}, {len(times)} times)"
        )


if __name__ == "__main__":
    main()
