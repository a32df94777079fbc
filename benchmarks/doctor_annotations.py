"""The doctor on the annotations of many pictures: processor seconds and peak memory of one or more source trees.

python benchmarks/doctor_annotations.py --trees . ../other --pictures 100000

Draws a COCO data set of boxes, polygons and a few crowd regions, whose pictures are empty files that nobody opens,
and lets each tree examine it in a process of its own, in turns.
"""

import argparse
import json
import random
import subprocess
import sys
import tempfile
from pathlib import Path

MEASURE = """
import resource, sys, time
from pagoda.explain.doctor.examine import examine
from pagoda.data.formats.reader import open_annotations
since = time.process_time()
report = examine(sys.argv[1], max_pictures=0) if sys.argv[2] == "examine" else open_annotations(sys.argv[1])
print(time.process_time() - since, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
"""


def draw(folder: Path, num_pictures: int, seed: int = 0) -> None:
    """`num_pictures` in train and a tenth of them in val, seven objects each, two of five with a polygon."""
    (folder / "annotations").mkdir(parents=True)
    for split, count in (("train", num_pictures), ("val", num_pictures // 10)):
        rng = random.Random(f"{seed} {split}")
        (folder / "images" / split).mkdir(parents=True)
        images, annotations = [], []
        for number in range(1, count + 1):
            file = f"{number:012d}.jpg"
            (folder / "images" / split / file).touch()
            images.append({"id": number, "file_name": file, "height": 480, "width": 640})
            annotations += [an_object(rng, len(annotations) + k, number) for k in range(1, 8)]
        categories = [{"id": number, "name": f"class {number}"} for number in range(1, 81)]
        document = {"images": images, "annotations": annotations, "categories": categories}
        (folder / "annotations" / f"{split}.json").write_text(json.dumps(document))


def an_object(rng: random.Random, number: int, image_id: int) -> dict:
    x, y = round(rng.uniform(0, 500), 2), round(rng.uniform(0, 380), 2)
    width, height = round(rng.uniform(5, 130), 2), round(rng.uniform(5, 90), 2)
    entry = {
        "id": number,
        "image_id": image_id,
        "category_id": rng.randint(1, 80),
        "bbox": [x, y, width, height],
        "area": width * height,
        "iscrowd": int(rng.random() < 0.01),
    }
    if rng.random() < 0.4:
        corners = [
            (x, y),
            (x + width, y),
            (x + width, y + height),
            (x + width / 2, y + height),
            (x, y + height / 2),
        ]
        entry["segmentation"] = [[round(value, 2) for corner in corners for value in corner]]
    return entry


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--trees", nargs="+", default=["."], help="folders that hold src/pagoda")
    parser.add_argument("--pictures", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder) / "data"
        draw(data, options.pictures)
        for number in range(1, options.rounds + 1):
            for what in ("examine", "open_annotations"):
                for tree in options.trees:
                    command = [sys.executable, "-c", MEASURE, str(data), what]
                    source = str((Path(tree) / "src").resolve())
                    done = subprocess.run(
                        command,
                        env={"PYTHONPATH": source, "OMP_NUM_THREADS": "1"},
                        capture_output=True,
                        text=True,
                    )
                    if done.returncode:
                        sys.exit(done.stderr)
                    seconds, peak = map(float, done.stdout.split())
                    print(f"round {number}, {what}, {tree}: {seconds:.1f} s, peak {peak:.0f} MiB", flush=True)


if __name__ == "__main__":
    main()
