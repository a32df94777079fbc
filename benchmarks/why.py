"""What `pagoda why` takes beside `pagoda val`: both by turns on the same data, in one process, without the start.

python benchmarks/why.py --checkpoint CKPT --data DIR/bccd --rounds 5
"""

import argparse
import statistics
import time
from collections.abc import Callable

import pagoda
from pagoda.data.dataset import DetectionDataset
from pagoda.data.formats.reader import open_annotations
from pagoda.evaluation.runner import evaluate
from pagoda.explain.why.examine import why


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--checkpoint", required=True)
    parser.add_argument("--data", required=True)
    parser.add_argument("--split", default="val")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    model = pagoda.optimize(pagoda.load(options.checkpoint).eval())
    data = DetectionDataset(open_annotations(options.data, options.split))
    evaluate(model, data)  # warm
    pairs = [
        (seconds(lambda: evaluate(model, data)), seconds(lambda: why(model, data)))
        for _ in range(options.rounds)
    ]
    scoring, reasons = (statistics.median(side) for side in zip(*pairs, strict=True))
    ratio = statistics.median(other / one for one, other in pairs)
    print(f"evaluate {scoring:.2f} s, why {reasons:.2f} s; median of the ratios {ratio:.2f}")


def seconds(work: Callable[[], object]) -> float:
    since = time.perf_counter()
    work()
    return time.perf_counter() - since


if __name__ == "__main__":
    main()
