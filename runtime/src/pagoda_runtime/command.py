"""pagoda-runtime predict MODEL PICTURE…"""

import argparse
import json
import os
import sys
import warnings
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from pagoda_runtime.errors import PictureError
from pagoda_runtime.loading import load


def main(arguments: Sequence[str] | None = None) -> int:
    """0; 1 where a picture could not be read, 2 where nothing could be done, 141 where nobody reads what is printed."""
    options = _parser().parse_args(arguments)
    try:
        return _predict(options)
    except BrokenPipeError:  # `pagoda-runtime … | head` has read enough
        # Python flushes standard output once more at the end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except (OSError, ValueError, ImportError) as error:
        print(f"pagoda-runtime: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="pagoda-runtime", description="Detectors that Pagoda exported.")
    commands = parser.add_subparsers(required=True, metavar="predict")
    predict = commands.add_parser(
        "predict", help="find objects in pictures", description="One line of JSON for each picture."
    )
    predict.add_argument("model", metavar="MODEL", help="model.onnx, or model.xml of OpenVINO")
    predict.add_argument("pictures", metavar="PICTURE", nargs="+")
    predict.add_argument(
        "--min-score",
        type=_score,
        default=None,
        help="leave weaker objects out (default: 0.3); card: those below the score of their class in the file",
    )
    predict.add_argument("--out", metavar="FILE.json", help="write there instead of to standard output")
    predict.add_argument("--threads", type=int, default=None, help="default: all cores")
    return parser


def _score(word: str) -> float | str:
    return word if word == "card" else float(word)


def _predict(options: argparse.Namespace) -> int:
    model = load(options.model, threads=options.threads)
    min_score = max(0.3, model.min_score) if options.min_score is None else options.min_score
    failed = 0
    if min_score == "card" and model.thresholds is not None:
        scores = model.thresholds.of_labels(model.label_map.names)
        told = ", ".join(f"{n} {s:.3f}" for n, s in zip(model.label_map.names, scores, strict=True))
        print(f"thresholds of the file: {told}", file=sys.stderr)
    with ExitStack() as stack:
        stack.enter_context(warnings.catch_warnings())
        warnings.showwarning = lambda message, *_: print(f"note: {message}", file=sys.stderr)
        out = sys.stdout
        if options.out is not None:
            if Path(options.out).exists():
                raise FileExistsError(f"{options.out} exists; choose another name")
            out = stack.enter_context(Path(options.out).open("x", encoding="utf-8"))
        for found in model.predict_each(options.pictures, min_score=min_score):
            if isinstance(found, PictureError):
                failed += 1
                print(f"skipped: {found}", file=sys.stderr)
            else:
                print(json.dumps(found.to_dict(), allow_nan=False), file=out, flush=True)
    return 1 if failed else 0
