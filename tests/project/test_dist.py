"""Both distributions as people get them: built, installed into empty environments, and used from there."""

import json
import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

from pagoda.version import __version__

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.slow


def run(*words, folder, **variables):
    """Standard output of a command that knows nothing of this checkout."""
    kept = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")}
    done = subprocess.run(
        [str(word) for word in words],
        cwd=folder,
        env=kept | variables,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, f"{words}: {done.stdout[-2000:]}\n{done.stderr[-4000:]}"
    return done.stdout


@pytest.fixture(scope="module")
def dist(tmp_path_factory):
    """The folder that `make dist` fills, of a copy of what git would give."""
    pytest.importorskip("build")
    if not (ROOT / ".git").exists() or shutil.which("git") is None:
        pytest.skip("needs a checkout of git")
    copy, out = tmp_path_factory.mktemp("copy"), tmp_path_factory.mktemp("dist")
    files = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        check=True,
    )
    for name in filter(None, files.stdout.decode().split("\0")):
        if (ROOT / name).is_file():
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / name, copy / name)
    for project in (copy, copy / "runtime"):
        done = subprocess.run(
            [sys.executable, "-m", "build", "--outdir", out, project],
            capture_output=True,
            text=True,
            check=False,
        )
        if "No matching distribution" in done.stdout + done.stderr:
            pytest.skip("needs a package index, to build with")
        assert done.returncode == 0, done.stderr[-4000:]
    return out


def environment(folder, *packages):
    """The bin folder of a new environment with these packages."""
    subprocess.run([sys.executable, "-m", "venv", folder], check=True)
    bin_folder = folder / ("Scripts" if os.name == "nt" else "bin")
    run(bin_folder / "python", "-m", "pip", "install", "--quiet", *packages, folder=folder)
    return bin_folder


def test_each_is_a_wheel_and_a_source_archive_with_all_of_it(dist):
    names = {path.name for path in dist.iterdir()}
    assert names == {
        f"{name}-{__version__}{ending}"
        for name in ("pagoda_vision", "pagoda_runtime")
        for ending in ("-py3-none-any.whl", ".tar.gz")
    }
    for project, package in (
        ("pagoda_vision", "src/pagoda"),
        ("pagoda_runtime", "runtime/src/pagoda_runtime"),
    ):
        files = {
            path.relative_to(ROOT / package).as_posix()
            for path in (ROOT / package).rglob("*")
            if path.is_file() and "__pycache__" not in path.parts
        }
        with zipfile.ZipFile(dist / f"{project}-{__version__}-py3-none-any.whl") as wheel:
            inside = set(wheel.namelist())
        missing = files - {name.partition("/")[2] for name in inside}
        assert not missing, f"the wheel lacks {missing}"
        assert any(name.endswith("licenses/LICENSE") for name in inside)
        with tarfile.open(dist / f"{project}-{__version__}.tar.gz") as archive:
            assert any(name.endswith("pyproject.toml") for name in archive.getnames())


def test_an_empty_environment_trains_predicts_and_exports(dist, tmp_path):
    """And the runtime, in an environment without torch, finds in a picture what the model found."""
    wheel = dist / f"pagoda_vision-{__version__}-py3-none-any.whl"
    pagoda = environment(tmp_path / "whole", f"{wheel}[export]") / "pagoda"
    run(pagoda, "demo", "--epochs", 2, "--min-ap50", 0, folder=tmp_path, OMP_NUM_THREADS="1")
    (checkpoint,) = (tmp_path / "runs").glob("*/best.safetensors")
    picture = ROOT / "docs/images/demo.png"
    run(pagoda, "predict", checkpoint, picture, "--out", "found", "--min-score", 0.05, folder=tmp_path)
    run(pagoda, "export", checkpoint, "model.onnx", "--min-score", 0.05, folder=tmp_path)
    light = dist / f"pagoda_runtime-{__version__}-py3-none-any.whl"
    runtime = environment(tmp_path / "light", light)
    line = run(
        runtime / "pagoda-runtime", "predict", "model.onnx", picture, "--min-score", 0.05, folder=tmp_path
    )
    by_model = json.loads((tmp_path / "found/predictions.json").read_text())["predictions"][0]
    scores = [[each["score"] for each in row["objects"]] for row in (by_model, json.loads(line))]
    assert len(scores[0]) > 0 and scores[0] == pytest.approx(scores[1], abs=1e-4)
    for bin_folder, package in ((pagoda.parent, "pagoda"), (runtime, "pagoda_runtime")):
        where = run(
            bin_folder / "python", "-c", f"import {package}; print({package}.__file__)", folder=tmp_path
        )
        assert str(bin_folder.parent) in where
    absent = "import importlib.util as u; print([name for name in ('torch', 'scipy', 'pagoda') if u.find_spec(name)])"
    assert run(runtime / "python", "-c", absent, folder=tmp_path).strip() == "[]"
