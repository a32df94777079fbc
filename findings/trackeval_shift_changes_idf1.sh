#!/usr/bin/env bash
# TrackEval 1.3.0: moving all boxes of ground truth and predictions by -1 pixel, as readers do that count pixels from 0,
# changes IDF1 from 0 to 1 while MOTA and HOTA stay as they are. At an overlap of one half the last digit decides:
# CLEAR and HOTA allow one eps below the threshold, Identity does not.
#
# Output seen:  as in the file: IoU, MOTA, IDF1 (0.4999999999999999, 1.0, 0.0);  moved by -1: (0.5, 1.0, 1.0)
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet trackeval==1.3.0
cd "$folder"
venv/bin/python - <<'PYTHON'
import contextlib
import io

import numpy as np
from trackeval.datasets._base_dataset import _BaseDataset
from trackeval.metrics import CLEAR, Identity


def scores(truth, found):
    """(IoU, MOTA, IDF1) of one object in one frame; boxes are x, y, width, height."""
    with contextlib.redirect_stdout(io.StringIO()):
        iou = _BaseDataset._calculate_box_ious(np.array([truth]), np.array([found]), box_format="xywh")
        data = {
            "num_timesteps": 1, "num_gt_dets": 1, "num_tracker_dets": 1, "num_gt_ids": 1, "num_tracker_ids": 1,
            "gt_ids": [np.array([0])], "tracker_ids": [np.array([0])], "similarity_scores": [iou],
        }
        mota, idf1 = CLEAR().eval_sequence(data)["MOTA"], Identity().eval_sequence(data)["IDF1"]
    return float(iou[0, 0]), float(mota), float(idf1)


whole, half = [1.2, 10.0, 14.0, 40.0], [1.2, 10.0, 7.0, 40.0]
as_written = scores(whole, half)
moved = scores([whole[0] - 1, *whole[1:]], [half[0] - 1, *half[1:]])
print(f"as in the file: IoU, MOTA, IDF1 {as_written};  moved by -1: {moved}")
assert as_written[0] < 0.5 <= moved[0]
assert (as_written[1], moved[1]) == (1.0, 1.0) and (as_written[2], moved[2]) == (0.0, 1.0)
PYTHON
