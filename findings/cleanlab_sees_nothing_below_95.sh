#!/usr/bin/env bash
# cleanlab's object detection module (ObjectLab) tells which annotated pictures lack boxes: it compares them with what a
# detector found. A detection of score 0.94 on an object that nobody annotated leaves the picture's label quality at 1.0
# exactly, no issue, and the box has no score at all (nan); at 0.95 the quality falls to 0.005. There is nothing between:
# the scores of detections are no grades of suspicion but pass a bar first. Detectors whose scores are products or roots
# of probabilities (FCOS: class times centerness) hardly ever reach it; over them, cleanlab finds annotations perfect.
#
# Output seen:  score 0.50: quality 1.000, issue False
#               score 0.90: quality 1.000, issue False
#               score 0.94: quality 1.000, issue False
#               score 0.95: quality 0.005, issue True
#               score 0.99: quality 0.005, issue True
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet cleanlab==2.9.0 numpy==2.4.6
cd "$folder"
venv/bin/python - <<'PYTHON'
import contextlib
import io

import numpy as np
from cleanlab.object_detection.filter import find_label_issues
from cleanlab.object_detection.rank import get_label_quality_scores

ANNOTATED = {"bboxes": np.array([[10.0, 10, 60, 60]]), "labels": np.array([0])}


def told(score: float) -> tuple[float, bool]:
    """(label quality, whether it is an issue) of a picture with one annotated object, which is found, and another."""
    found = np.empty(2, dtype=object)  # of two classes
    found[0] = np.array([[10.0, 10, 60, 60, 0.99], [100, 100, 160, 160, score]])
    found[1] = np.zeros((0, 5))
    with contextlib.redirect_stdout(io.StringIO()):
        labels, predictions = [ANNOTATED] * 3, [found] * 3
        return float(get_label_quality_scores(labels, predictions)[0]), bool(find_label_issues(labels, predictions)[0])


seen = {score: told(score) for score in (0.50, 0.90, 0.94, 0.95, 0.99)}
for score, (quality, is_issue) in seen.items():
    print(f"score {score:.2f}: quality {quality:.3f}, issue {is_issue}")
assert all(seen[score] == (1.0, False) for score in (0.50, 0.90, 0.94))
assert all(quality < 0.01 and is_issue for quality, is_issue in (seen[0.95], seen[0.99]))
PYTHON
