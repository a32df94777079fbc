"""What the page about live sources shows runs: the counting of lines and zones on JSON, and the lines of Python."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from streams import MULTIPART, Server, jpegs

from pagoda.models import create_model

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "live.md").read_text(encoding="utf-8")
COUNTING, FOLLOWING = re.findall(r"```python\n(.*?)```", PAGE, flags=re.S)


def counted(tmp_path, frames) -> list[dict]:
    """What the example says of frames as {track: (x, y) of its foot}, a second apart."""
    (tmp_path / "count.py").write_text(COUNTING, encoding="utf-8")
    rows = []
    for number, feet in enumerate(frames):
        objects = [
            {"name": "person", "box_xyxy": [x - 10, y - 40, x + 10, y], "track_id": track}
            for track, (x, y) in feet.items()
        ]
        rows.append(json.dumps({"seconds": float(number), "frame": number, "objects": objects}))
    words = [sys.executable, str(tmp_path / "count.py")]
    done = subprocess.run(
        words, input="\n".join(rows), capture_output=True, text=True, timeout=60, check=True
    )
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_who_crosses_the_line_is_counted_once_each_way(tmp_path):
    frames = [{1: (600, 300)}, {1: (630, 300)}, {1: (660, 300)}, {}, {1: (700, 300)}, {1: (500, 310)}]
    assert counted(tmp_path, frames) == [
        {"seconds": 2.0, "track": 1, "forth": 1, "back": 0},
        {"seconds": 5.0, "track": 1, "forth": 1, "back": 1},
    ]


def test_beside_the_end_of_the_line_nobody_crosses_it_and_strangers_do_not_either(tmp_path):
    below = [{1: (600, 800)}, {1: (700, 800)}]
    others = [{-1: (600, 300)}, {-1: (700, 300)}, {2: (600, 300)}, {3: (700, 300)}]
    gone = [{4: (600, 300)}, *[{}] * 12, {4: (700, 300)}]
    assert counted(tmp_path, [*below, *others, *gone]) == []


def test_who_comes_into_the_zone_is_told_when_he_comes(tmp_path):
    frames = [
        {1: (100, 300), 2: (200, 500)},
        {1: (100, 410), 2: (250, 600)},
        {1: (400, 500)},
        {1: (299, 401)},
    ]
    assert counted(tmp_path, frames) == [
        {"seconds": float(second), "track": track, "in_zone": True}
        for second, track in ((0, 2), (1, 1), (3, 1))
    ]


def test_the_example_of_a_line_has_the_keys_that_are_printed():
    (example,) = re.findall(r"```json\n(.*?)```", PAGE, flags=re.S)
    line = json.loads(example)
    assert set(line) == {
        "file", "image_id", "image_size", "seconds", "frame", "delay", "dropped", "objects",
    }  # fmt: skip
    assert set(line["objects"][0]) == {"name", "label", "score", "box_xyxy", "track_id"}


@pytest.mark.medium
def test_the_lines_of_python_run(capsys):
    sizes = {"width": 16, "head_depth": 1, "short_side": 48, "long_side": 64}
    model = create_model("fcos_resnet18_fpn", num_classes=1, **sizes).eval()
    torch.nn.init.constant_(model.class_head.predict.bias, 2.0)
    code = FOLLOWING.replace("max_delay=0.5", "max_delay=None, reconnect=0")
    with Server(lambda n, request: [MULTIPART, *jpegs(range(8))]) as server:
        exec(code.replace("127.0.0.1:8090", server.place), {"model": model})
    said = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in said[:8]] == [str(number) for number in range(8)]
