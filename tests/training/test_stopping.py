"""Runs that are asked to stop, states that are damaged, disks that are full: what is kept, and what is said."""

import os
import signal
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from pagoda.stopping import AGAIN_SECONDS, Stopped, stops_raise
from pagoda.training.failed_batch import NotFiniteError
from pagoda.training.last import load_last, save_last
from pagoda.training.run_log import RunLog, read_records
from pagoda.training.settings import OptimSettings
from pagoda.weights import files

sys.path.insert(0, str(Path(__file__).parent))
from drawn import small_trainer

pytestmark = [pytest.mark.usefixtures("hears_signals"), pytest.mark.medium]
HOUR = 3600.0


def ask(*signums):
    for signum in signums:
        os.kill(os.getpid(), signum)


def stopping_at(trainer, step, *signums):
    """The trainer, asked to stop while it learns the batch after `step`."""
    learn = trainer._learn

    def learn_and_ask(batch):
        if trainer.at.step == step:
            ask(*signums)
        learn(batch)

    trainer._learn = learn_and_ask
    return trainer


@pytest.mark.medium
@pytest.mark.parametrize(
    ("signum", "exit_code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)]
)
def test_the_first_request_saves_at_the_end_of_the_step(tmp_path, signum, exit_code):
    trainer = stopping_at(small_trainer(tmp_path, images=8, save_seconds=HOUR), 2, signum)
    trainer.go_on = "pagoda train --resume RUN"
    before = signal.getsignal(signum)
    with pytest.raises(Stopped) as stop:
        trainer.run()
    assert signal.getsignal(signum) is before
    assert stop.value.exit_code == exit_code
    assert "stopped at step 3 of 4; saved up to step 3; go on with: pagoda train --resume RUN" in str(
        stop.value
    )
    assert load_last(tmp_path)["at"]["step"] == 3
    small_trainer(tmp_path, images=8, resume=True).run()
    steps = [row["step"] for row in read_records(tmp_path / "metrics.jsonl") if row["kind"] == "step"]
    assert steps == [1, 2, 3, 4]


def test_a_second_ctrl_c_stops_at_once_and_what_was_saved_stays(tmp_path):
    trainer = stopping_at(
        small_trainer(tmp_path, images=8, save_seconds=HOUR), 0, signal.SIGINT, signal.SIGINT
    )
    with pytest.raises(Stopped, match="stopped at step 0 of 4; saved up to step 0"):
        trainer.run()
    assert load_last(tmp_path)["at"]["step"] == 0  # the state before the first step: --resume works


def test_ctrl_c_inside_torchs_writing_is_no_full_disk(tmp_path, monkeypatch):
    real = open

    class Asked:
        def __init__(self, *words):
            self.file = real(*words)

        def __getattr__(self, name):
            return getattr(self.file, name)

        def __enter__(self):
            return self

        def __exit__(self, *error):
            self.file.close()

        def write(self, content):
            raise Stopped(signal.SIGINT)

    monkeypatch.setattr(files, "open", Asked, raising=False)
    with pytest.raises(Stopped):
        files.save_torch(tmp_path / "a.pt", {"values": torch.rand(9)})


def test_schedulers_that_repeat_themselves_do_not_stop_the_saving(tmp_path):
    trainer = stopping_at(
        small_trainer(tmp_path, images=8, save_seconds=HOUR), 0, signal.SIGTERM, signal.SIGTERM
    )
    with pytest.raises(Stopped, match="saved up to step 1"):
        trainer.run()


def test_scoring_stops_where_it_is_for_its_epoch_is_saved(tmp_path):
    trainer = small_trainer(tmp_path, images=8, save_seconds=HOUR)
    done = []

    def validate(model, progress):
        ask(signal.SIGTERM)
        done.append("all pictures")

    trainer.validate = validate
    with pytest.raises(Stopped, match="saved up to step 2"):
        trainer.run()
    assert not done and load_last(tmp_path)["at"]["is_scored"] is False


def test_a_request_that_a_library_takes_for_an_error_is_still_one(tmp_path):
    trainer = small_trainer(tmp_path, images=8, save_seconds=HOUR)

    def validate(model, progress):
        try:
            ask(signal.SIGTERM)
        except KeyboardInterrupt:
            raise ValueError("could not determine the shape of object type") from None

    trainer.validate = validate
    with pytest.raises(Stopped, match="saved up to step 2"):
        trainer.run()
    with pytest.raises(Stopped), stops_raise():
        validate(None, None)
    with pytest.raises(ValueError, match="of another kind"), stops_raise():
        raise ValueError("of another kind")


def test_a_request_that_comes_while_something_is_destroyed_is_not_lost(capsys):
    class Destroyed:
        def __del__(self):
            ask(signal.SIGTERM)

    with pytest.raises(Stopped) as stop, stops_raise():
        Destroyed()  # Python can pass on nothing from here
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            time.sleep(0.01)
    assert stop.value.exit_code == 143 and "ignored" not in capsys.readouterr().err


def test_between_steps_of_the_optimiser_nothing_is_saved(tmp_path):
    optim = OptimSettings(accumulate=3, warmup_steps=1)
    trainer = small_trainer(tmp_path, images=16, save_seconds=HOUR, optim=optim)
    with pytest.raises(Stopped):
        stopping_at(trainer, 0, signal.SIGTERM).run()
    assert (load_last(tmp_path)["at"]["batch"], load_last(tmp_path)["at"]["step"]) == (3, 1)


def state(step):
    return {"at": {"step": step}, "values": torch.full((1000,), float(step))}


@pytest.mark.parametrize("damage", ["cut", "bit", "empty", "gone"])
def test_the_last_whole_state_is_found_and_that_is_said(tmp_path, damage):
    save_last(tmp_path, state(1))
    save_last(tmp_path, state(2))
    file, said = tmp_path / "last" / "state.pt", []
    content = file.read_bytes()
    middle = content.index(torch.full((8,), 2.0).numpy().tobytes())
    spoilt = {
        "cut": content[:-100],
        "bit": content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :],
        "empty": b"",
    }
    if damage == "gone":
        file.unlink()
    else:
        file.write_bytes(spoilt[damage])
    assert load_last(tmp_path, say=said.append)["at"]["step"] == 1
    assert damage == "gone" or f"{file} is damaged" in said[0]


def test_a_run_without_a_whole_state_says_what_to_do(tmp_path):
    save_last(tmp_path, state(1))
    (tmp_path / "last" / "state.pt").write_bytes(b"PK nonsense")
    with pytest.raises(ValueError, match=r"state.pt is damaged .* start it again without --resume"):
        load_last(tmp_path)
    (tmp_path / "best.safetensors").touch()
    with pytest.raises(ValueError, match="a new run can start from its weights: pagoda train"):
        load_last(tmp_path)


def test_a_resumed_log_keeps_the_rows_before_to_the_byte(tmp_path):
    file = tmp_path / "metrics.jsonl"
    kept = '{"kind": "note", "step": 0}\n{"kind": "step",  "step": 1}\n'
    file.write_text(kept + '{"kind": "note", "step": 1}\n{"kind": "step", "step": 2}\n{"kind": "st')
    log = RunLog(tmp_path, total_steps=4, resume_step=1, quiet=True)
    log.write("step", 2)
    log.close()
    assert file.read_text() == kept + '{"kind": "step", "step": 2}\n'


@pytest.mark.parametrize(
    "line", ["[]\n", "nonsense\n", '{"kind": "step"}\n', '{"kind": "step", "step": "a"}\n']
)
def test_a_damaged_row_is_named(tmp_path, line):
    (tmp_path / "metrics.jsonl").write_text('{"kind": "step", "step": 1}\n' + line)
    with pytest.raises(ValueError, match=r"line 2 of .*metrics.jsonl is no row of a run"):
        read_records(tmp_path / "metrics.jsonl")


def test_the_diagnosis_is_told_even_where_no_capsule_can_be_kept(tmp_path, monkeypatch):
    def full(*_, **__):
        raise OSError("could not write capsule.pt: no space left")

    monkeypatch.setattr("pagoda.training.failed_batch.save_capsule", full)
    trainer = small_trainer(tmp_path, images=8)
    with torch.no_grad():
        trainer.model.neck.output["4"].weight[0, 0, 0, 0] = torch.nan
    with pytest.raises(NotFiniteError) as error:
        trainer.run()
    assert "neck.output.4" in str(error.value) and "the batch is not kept: could not write" in str(
        error.value
    )


@pytest.mark.parametrize(("split", "goes_on"), [("train", False), ("val", True)])
def test_changed_data_are_noticed(tmp_path, capsys, split, goes_on):
    data = {"train": "a", "val": "b"}
    small_trainer(tmp_path, images=8, data=data)._save()
    changed = {**data, split: "other"}
    if goes_on:
        assert "do not compare" in small_trainer(tmp_path, images=8, data=changed, resume=True).notes[0]
    else:
        with pytest.raises(ValueError, match="the data it learns from are not those it began with"):
            small_trainer(tmp_path, images=8, data=changed, resume=True)


def test_a_request_that_comes_again_too_late_ends_nothing():
    with stops_raise():
        sys.unraisablehook(SimpleNamespace(exc_value=Stopped(signal.SIGTERM)))
    time.sleep(4 * AGAIN_SECONDS)  # by then nobody handles SIGTERM, and it would end this process
