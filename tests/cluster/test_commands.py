"""`pagoda predict … --engine ray`: as one process finds it, and what is refused before anything is looked at."""

import json
import shutil
from importlib.util import find_spec
from pathlib import Path

import pytest

from pagoda.cli.main import main

NEEDS_RAY = pytest.mark.skipif(find_spec("ray") is None, reason="pip install 'pagoda-vision[scale]'")
KILLER = '''
import os
import torch
from tiny import Strided, tiny

class Falls(Strided):
    """Ends the process at a picture of one grey."""
    def forward(self, images):
        if ((images.flatten(2).std(2) == 0).all(1) & (images.flatten(1).abs().max(1)[0] > 0)).any():
            os._exit(1)
        return super().forward(images)

def build(num_classes):
    model = tiny(num_classes)
    model.backbone = Falls()
    return model
'''


@pytest.fixture
def say(words, capsys):
    """Runs the command in this process, which ends before Ray is asked; (exit code, what was told)."""

    def call(*more):
        with pytest.raises(SystemExit) as end:
            main([*words, *map(str, more)])
        return end.value.code, " ".join(capsys.readouterr().err.split())

    return call


def test_flags_of_workers_need_the_engine(say, tmp_path):
    code, told = say(tmp_path, "--workers", "2", "--cluster", "auto")
    assert code == 1 and "--workers, --cluster are for --engine ray; say that too" in told


def test_without_ray_the_extra_is_named(say, tmp_path, monkeypatch):
    monkeypatch.setattr("pagoda.cluster.session.find_spec", lambda name: None)
    code, told = say(tmp_path, "--engine", "ray")
    assert (
        code == 1 and "needs ray, pyarrow, fsspec; install with: pip install 'pagoda-vision[scale]'" in told
    )


@NEEDS_RAY
@pytest.mark.parametrize(
    ("more", "expected"),
    [
        (["--precision", "auto"], "say fp32, bf16 or fp16 with --engine ray"),
        (["--picture-format", "png"], "draws no pictures; leave --picture-format out"),
        (["--device", "cuda:1"], "--device must be one of auto, cpu, cuda, mps with --engine ray"),
        (["--workers", "0"], "workers must be at least 1"),
        (["--views", "flip", "--tiles", "64"], "leave one of the two out"),
        (["--min-score", "card"], "holds no thresholds"),
    ],
)
def test_what_workers_cannot_do_is_refused_before(say, draw, tmp_path, more, expected):
    folder = draw(tmp_path / "pictures", 1)
    code, told = say(folder, "--engine", "ray", "--out", tmp_path / "out", *more)
    assert code == 1 and expected in told
    assert not (tmp_path / "out" / "run.json").exists()


@NEEDS_RAY
@pytest.mark.medium
def test_two_workers_find_what_one_process_finds(run, say, words, draw, tmp_path, check_equal):
    """From a folder, a list and a Parquet file, one picture of which cannot be read; once more; and another run."""
    import pyarrow
    from pyarrow.parquet import write_table

    folder, out = draw(tmp_path / "pictures", 100), tmp_path / "out"
    (folder / "7.png").write_bytes(b"no picture")
    more = [folder / "1.png", folder / "99.png", folder / "4.png"]
    (tmp_path / "list.txt").write_text("".join(f"{path}\n" for path in more))
    content = [(folder / f"{number}.png").read_bytes() for number in range(20, 30)]
    names = [str(folder / f"{number}.png") for number in range(20, 30)]
    write_table(pyarrow.table({"image": content, "file_name": names}), tmp_path / "rows.parquet")
    code, _, told = run(*words, folder, *more, *names, "--out", tmp_path / "one")
    assert code == 1, told
    command = [*words, folder, tmp_path / "list.txt", tmp_path / "rows.parquet", "--engine", "ray"]
    command += ["--workers", "2", "--out", out]
    code, printed, told = run(*command, "--json")
    assert code == 1 and "1 of 113 pictures could not be read" in told, told
    check_equal(out / "predictions.json", tmp_path / "one" / "predictions.json")
    rows = json.loads((out / "predictions.json").read_text())["predictions"]
    assert [json.loads(line) for line in printed.splitlines()] == rows
    assert {path.name for path in out.iterdir()} >= {"run.json", "sources.jsonl", "shards", "ray.log"}

    code, told = say(*command[len(words) :])
    assert code == 1 and "2 of 2 blocks are done" in told and "1 of 113 pictures could not be read" in told
    assert not (out / "predictions-2.json").exists()
    code, told = say(*command[len(words) :], "--min-score", "0.6")
    assert code == 1 and "over 113 pictures: --min-score was 0.5; give the same again to go on" in told
    code, told = say(more[0], *command[len(words) :])
    assert code == 1 and "over 113 pictures: the list of pictures was another; give" in told
    (out / "run.json").unlink()
    code, told = say(*command[len(words) :])
    assert code == 1 and "holds Parquet files, but" in told and "choose another --out" in told


@NEEDS_RAY
@pytest.mark.slow
def test_a_picture_that_ends_its_process_is_named_and_others_are_found(run, words, draw, tmp_path):
    from PIL import Image

    folder = draw(tmp_path / "pictures", 70)
    Image.new("RGB", (64, 64), (90, 90, 90)).save(folder / "66.png")
    shutil.copy(Path(__file__).parents[1] / "faults" / "tiny.py", tmp_path)
    (tmp_path / "killer.py").write_text(f"import sys\nsys.path.insert(0, {str(tmp_path)!r})\n{KILLER}")
    killer = ["--model", f"{tmp_path / 'killer.py'}:build", "--device", "cpu"]
    workers = ["--engine", "ray", "--workers", "2", "--out", tmp_path / "out"]
    code, _, told = run(*words[:2], folder, *killer, *workers)
    assert code == 1, told
    assert "66.png: 2 processes ended while they looked at it" in told and "1 of 70 pictures" in told
    assert "4 processes of workers ended before the work was done" in told
