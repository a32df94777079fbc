"""One worker, in this process: what it writes, what it refuses, and a picture that ends every process."""

from dataclasses import replace
from functools import partial

import pytest
import torch

from pagoda.cluster.attempts import MOST_IDLE, Attempts
from pagoda.cluster.job import SOURCES, Job, digest_of_weights, options_that_count
from pagoda.cluster.listing import write_listing
from pagoda.cluster.shards import read_shard, shard_path
from pagoda.cluster.sources import places_of
from pagoda.cluster.worker import Task, Worker
from pagoda.finding.look import Look
from pagoda.models import load
from pagoda.version import __version__

pytest.importorskip("pyarrow", reason="pip install 'pagoda-vision[scale]'")
LOOK = Look(min_score=0.5)


@pytest.fixture
def begun(tmp_path, draw, checkpoint, build):
    """(task, blocks) of a job over 70 pictures, of which one cannot be read."""
    folder = draw(tmp_path / "pictures", 70)
    (folder / "3.png").write_bytes(b"no picture")
    (tmp_path / "shards").mkdir()
    listing = write_listing(places_of([str(folder)], print), tmp_path / SOURCES)
    weights = digest_of_weights(str(checkpoint))
    counts = options_that_count(LOOK, precision="fp32", take="", model="")
    facts = {"num_pictures": 70, "sources": listing.sha256, "checkpoint": weights, "options": counts}
    Job(pagoda=__version__, id="7", **facts).write(tmp_path)
    opens = partial(load, checkpoint, build=build)
    facts = {"checkpoint": str(checkpoint), "weights": weights, "look": LOOK, "threads": 1}
    return Task(out=str(tmp_path), id="7", open_model=opens, **facts), listing.blocks


def test_the_results_of_a_block_are_written_once(begun, tmp_path):
    task, blocks = begun
    worker = Worker(task)
    told = [worker.do(block) for block in blocks]
    assert [(row["pictures"], row["failed"], row["error"]) for row in told] == [(64, 1, ""), (6, 0, "")]
    rows = [row for block in blocks for row in read_shard(shard_path(tmp_path, block.number))]
    assert [row.index for row in rows] == list(range(70))
    assert "3.png: empty, or no picture" in rows[3].error and rows[3].found is None
    assert sum(len(row.found["objects"]) for row in rows if row.found) > 70
    before = shard_path(tmp_path, 0).stat()
    never = Worker(replace(task, open_model=None))
    assert never.do(blocks[0]) == told[0]
    assert shard_path(tmp_path, 0).stat().st_mtime_ns == before.st_mtime_ns
    assert not list((tmp_path / "begun").iterdir())


def test_a_picture_that_ends_every_process_is_left_out(begun, tmp_path):
    """Two processes end somewhere, and two that looked at pictures one by one at the same."""
    task, blocks = begun
    for at in ((), (), (64, 65, 66), (64, 65, 66)):
        ended = Attempts(tmp_path, 1)
        ended.begin()
        for index in at:
            ended.look_at(index)
    told = Worker(task).do(blocks[1])
    assert (told["pictures"], told["failed"], told["ended"]) == (6, 1, 4)
    rows = list(read_shard(shard_path(tmp_path, 1)))
    assert "66.png: 2 processes ended while they looked at it" in rows[2].error
    assert [row.error is None for row in rows] == [True, True, False, True, True, True]
    assert not list((tmp_path / "begun").iterdir())


def test_pictures_one_by_one_have_the_same_objects(begun, tmp_path):
    task, blocks = begun
    Worker(task).do(blocks[1])
    together = list(read_shard(shard_path(tmp_path, 1)))
    shard_path(tmp_path, 1).unlink()
    for _ in range(2):
        Attempts(tmp_path, 1).begin()
    Worker(task).do(blocks[1])
    for one, other in zip(read_shard(shard_path(tmp_path, 1)), together, strict=True):
        boxes = [torch.tensor([each["box_xyxy"] for each in row.found["objects"]]) for row in (one, other)]
        torch.testing.assert_close(*boxes, rtol=0, atol=1e-3)


def test_a_model_that_ends_every_process_is_given_up(begun, tmp_path):
    task, blocks = begun
    for _ in range(MOST_IDLE):
        Attempts(tmp_path, 1).begin()
    told = Worker(task).do(blocks[1])
    assert "processes ended one after another before they had looked at a picture" in told["error"]


def test_what_goes_wrong_is_told_and_not_raised(begun, tmp_path):
    task, blocks = begun

    def told(**changes):
        return Worker(replace(task, **changes)).do(blocks[0])

    assert "must be a folder that all machines of the cluster share" in told(id="8")["error"]
    assert "must be a folder that all" in told(out=str(tmp_path / "elsewhere"))["error"]
    assert "is another file than here" in told(weights="0")["error"]
    assert (
        told(open_model=None)["error"].startswith("TypeError")
        and "open_model" in told(open_model=None)["trace"]
    )
    replace(Job.read(tmp_path), pagoda="0.0").write(tmp_path)
    assert "install one version on all machines" in told()["error"]
    assert not shard_path(tmp_path, 0).exists()
