"""Processes are killed while 5,000 pictures are looked at: each of them is looked at, and counts once."""

import os
import signal
import time
from importlib.util import find_spec
from pathlib import Path

import pytest

from pagoda.cluster.shards import read_shard

psutil = pytest.importorskip("psutil")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(find_spec("ray") is None, reason="pip install 'pagoda-vision[scale]'"),
]
NUM_PICTURES, NUM_BLOCKS = 5000, 79
SECONDS = 1800
LOOPBACK = {"127.0.0.1", "::1", "::ffff:127.0.0.1"}


@pytest.fixture(scope="module")
def pictures(draw, tmp_path_factory):
    folder = draw(tmp_path_factory.mktemp("many") / "pictures", NUM_PICTURES)
    (folder / "77.png").write_bytes(b"no picture")
    return folder


@pytest.fixture(scope="module")
def expected(pictures, words, run, tmp_path_factory):
    """What one process finds."""
    out = tmp_path_factory.mktemp("one")
    code, _, told = run(*words, pictures, "--out", out)
    assert code == 1 and "1 of 5000 pictures could not be read" in told
    return out / "predictions.json"


@pytest.fixture
def command(words, pictures, tmp_path):
    return [*words, pictures, "--engine", "ray", "--workers", "2", "--out", tmp_path / "out"]


def shards(out: Path) -> list[Path]:
    return sorted((out / "shards").glob("part-*.parquet"))


def until(condition, process):
    """Wait for it while the command runs."""
    end = time.monotonic() + SECONDS
    while not condition():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < end
        time.sleep(0.02)


def family(process):
    return [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]


def workers(process):
    """Those that look at pictures, as Ray calls them."""
    names = {}
    for each in family(process):
        try:
            names[each.pid] = " ".join(each.cmdline())
        except psutil.Error:  # gone meanwhile
            continue
    return sorted(pid for pid, name in names.items() if "MapWorker" in name)


def check_each_once(out, expected, check_equal):
    indices = [row.index for path in shards(out) for row in read_shard(path)]
    assert indices == list(range(NUM_PICTURES))
    check_equal(out / "predictions.json", expected)
    assert not list((out / "begun").glob("*")) and not list((out / "shards").glob(".draft*"))


def test_two_workers_that_are_killed(begin, command, expected, tmp_path, check_equal):
    out = tmp_path / "out"
    process = begin(*command)
    killed, ports = [], set()
    for enough in (4, 20):
        until(lambda least=enough: len(shards(out)) >= least and workers(process), process)
        pids = {each.pid for each in family(process)}
        ports |= {
            at.laddr.ip
            for at in psutil.net_connections("inet")
            if at.pid in pids and at.status == psutil.CONN_LISTEN
        }
        killed.append(workers(process)[-1])
        os.kill(killed[-1], signal.SIGKILL)
    assert len(shards(out)) < NUM_BLOCKS
    _, told = process.communicate(timeout=SECONDS)
    assert process.returncode == 1, told
    assert "1 of 5000 pictures could not be read" in told and "ended before the work was done" in told
    assert len(set(killed)) == 2
    assert ports and ports <= LOOPBACK, "nobody outside this machine can reach its processes"
    check_each_once(out, expected, check_equal)


def test_the_command_is_killed_and_given_again(begin, run, command, expected, tmp_path, check_equal):
    out = tmp_path / "out"
    process = begin(*command)
    until(lambda: len(shards(out)) >= 10, process)
    others = [psutil.Process(pid) for pid in workers(process)]
    process.kill()
    process.communicate()
    _, alive = psutil.wait_procs(others, timeout=SECONDS)
    assert others and not alive, "its workers end with it"
    done = {path: (path.stat().st_ino, path.stat().st_mtime_ns) for path in shards(out)}
    assert 10 <= len(done) < NUM_BLOCKS and not (out / "predictions.json").exists()
    code, _, told = run(*command)
    assert code == 1 and f"{len(done)} of 79 blocks are done" in told
    assert {path: (path.stat().st_ino, path.stat().st_mtime_ns) for path in done} == done
    check_each_once(out, expected, check_equal)


@pytest.mark.parametrize(("signum", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_the_command_is_asked_to_stop(begin, command, tmp_path, signum, code):
    process = begin(*command)
    until(lambda: len(shards(tmp_path / "out")) >= 3, process)
    others = [psutil.Process(pid) for pid in workers(process)]
    process.send_signal(signum)
    _, told = process.communicate(timeout=SECONDS)
    assert process.returncode == code, told
    assert "of 5000 pictures; the same command with --out" in told and "Traceback" not in told
    _, alive = psutil.wait_procs(others, timeout=SECONDS)
    assert not alive and not (tmp_path / "out" / "predictions.json").exists()
    assert shards(tmp_path / "out")
