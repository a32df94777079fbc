"""What a run is said to take, by a clock and a memory of the tests' own; and that trying leaves no trace."""

import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from pagoda.training import trial
from pagoda.training.last import Position, random_state
from pagoda.training.plan import ENOUGH_SECONDS, MOST_STEPS, OF_LEARNING, Pace, RunPlan
from pagoda.training.run_log import RunLog, read_records
from pagoda.training.settings import OptimSettings, TrainSettings
from pagoda.training.trial import Trial, plan_of

sys.path.insert(0, str(Path(__file__).parent))
from drawn import small_trainer

GB = 2**30


class Clock:
    """Every look takes as long as the next of `seconds`."""

    def __init__(self, *seconds: float) -> None:
        self.now, self.seconds = 50.0, iter(seconds)

    def __call__(self) -> float:
        self.now += next(self.seconds, 1.0)
        return self.now


@pytest.mark.parametrize(
    ("seconds", "measured"),
    [
        ([9.0, 12.0, 8.0], 2),  # two steps, of 20 seconds together
        ([9.0, *[0.5] * 8], 8),  # the most
        ([9.0, 30.0, 0.5], 2),  # never fewer than two
        ([9.0, 5.0, 6.0, 9.0], 3),
    ],
)
def test_the_first_step_does_not_count(seconds, measured):
    pace = Pace(Clock(*seconds))
    told = [pace() for _ in seconds]
    assert told == [False] * measured + [True]
    assert pace.step_seconds == pytest.approx(sum(seconds[1:]) / measured)
    assert not pace() and len(pace.times) == measured + 1  # told once
    assert measured <= MOST_STEPS and (measured == MOST_STEPS or sum(seconds[1:]) >= ENOUGH_SECONDS)


def test_a_pace_of_one_step_is_none():
    with pytest.raises(ValueError, match="two steps"):
        _ = Pace(Clock(), times=[1.0]).step_seconds


PLAN = RunPlan(
    epochs=2, steps=100, step_seconds=3.0, step_pictures=6, validated=90, memory=2.5 * GB, machine="2 threads"
)


def test_seconds_are_those_of_all_steps_and_validations():
    assert PLAN.seconds == pytest.approx(100 * 3.0 + 90 * OF_LEARNING * 3.0 / 6)
    assert replace(PLAN, validated=0).seconds == pytest.approx(300)


def test_the_line_names_a_quicker_size_where_there_is_one():
    assert PLAN.text() == "2 epochs, 100 steps: about 5 min and 2.5 GB on this machine (2 threads)"
    assert PLAN.text() in replace(PLAN, short_side=640).text()
    assert replace(PLAN, short_side=640).text().endswith("; at --model.short-side 320 about 1 min")
    assert replace(PLAN, short_side=384).text() == PLAN.text()  # little is gained
    assert "GB" not in replace(PLAN, memory=None).text()


def test_lines_where_there_is_no_terminal(tmp_path, capsys):
    """At the first step, and then every half a minute, in training as in validation."""
    log = RunLog(tmp_path, total_steps=4, clock=Clock(0, 0, 40, 3, 30, 0, 31, 0, 60, 0))
    capsys.readouterr()
    log.advance(1, "epoch 1 · loss 2.500")
    log.advance(2, "epoch 1 · loss 2.250")
    log.close()
    said = capsys.readouterr().err
    assert said.splitlines()[0] == "training: 1 of 4, epoch 1 · loss 2.500, 2 min left"
    assert said.splitlines()[1].startswith("training: 2 of 4, epoch 1 · loss 2.250, ")


@pytest.mark.medium
def test_a_plan_of_the_rest_counts_what_is_left(tmp_path):
    trainer = small_trainer(tmp_path)
    pace = Pace(times=[0.0, 2.0, 4.0])
    plan = plan_of(trainer, pace, num_scored=6)
    assert (plan.epochs, plan.steps, plan.validated, plan.step_pictures) == (2, 12, 12, 4)
    plan = plan_of(trainer, pace, num_scored=6, begun=Position(epoch=1, step=6))
    assert (plan.epochs, plan.steps, plan.validated) == (1, 6, 6)
    assert plan.seconds == pytest.approx(6 * 2 + 6 * OF_LEARNING * 2 / 4)
    assert plan.short_side == 64 and plan_of(trainer, pace, 6, is_open=False).short_side is None


def a_trial(tmp_path: Path, **changes) -> Trial:
    trainer = small_trainer(tmp_path, **changes)
    trainer.log.close()
    return Trial(trainer.model, trainer.view, trainer.settings, trainer.plan.images)


def same(a: dict, b: dict) -> bool:
    return a.keys() == b.keys() and all(
        torch.equal(a[name], b[name]) if isinstance(a[name], torch.Tensor) else a[name] == b[name]
        for name in a
    )


@pytest.mark.medium
def test_trying_leaves_no_trace(tmp_path):
    tried = a_trial(tmp_path)
    weights = {name: value.clone() for name, value in tried.model.state_dict().items()}
    state = random_state()
    plan = tried.plan(6, clock=Clock(0, 7.0, *[2.0] * 20))
    assert plan.step_seconds == pytest.approx(2.0) and plan.steps == 12 and plan.validated == 12
    assert same(tried.model.state_dict(), weights)
    after = random_state()
    assert torch.equal(state["torch"], after["torch"]) and state["python"] == after["python"]
    assert torch.equal(state["numpy"][1], after["numpy"][1]) and state["numpy"][2] == after["numpy"][2]
    assert all(parameter.grad is None for parameter in tried.model.parameters())
    assert read_records(tmp_path / "metrics.jsonl") == []


@pytest.mark.medium
def test_a_run_of_one_step_has_a_plan_too(tmp_path):
    tried = a_trial(tmp_path, images=4)
    tried = replace(tried, settings=replace(tried.settings, epochs=1))
    assert tried.plan(0, clock=Clock(0, 5.0)).seconds == pytest.approx(5.0)


def pretend(monkeypatch, *, free: float | None, base: float, each: float) -> list[int]:
    """Steps of n pictures take base + n · each GB, of which 1 GB is held now. Returns what is tried."""
    tried: list[int] = []

    def takes(self: Trial, size: int) -> int:
        tried.append(size)
        return int((base + size * each) * GB)

    monkeypatch.setattr(Trial, "_takes", takes)
    monkeypatch.setattr(trial, "available_memory", lambda: None if free is None else int(free * GB))
    monkeypatch.setattr(trial, "held_memory", lambda: GB)
    return tried


@pytest.mark.medium
@pytest.mark.parametrize(
    ("free", "size"),
    [(100, 8), (10.1, 8), (9.9, 4), (5.1, 4), (4.9, 2), (2.6, 2), (2.4, 1), (0.1, 1), (None, 8)],
)
def test_as_many_as_fit_into_four_fifths_of_what_is_free(tmp_path, monkeypatch, free, size):
    tried = pretend(monkeypatch, free=free, base=1.0, each=1.0)
    found, why = a_trial(tmp_path).fitting(8)
    assert found == size and why
    assert max(tried, default=0) <= 2  # a system ends a process that takes too much: no large batch is tried


@pytest.mark.medium
def test_a_model_that_needs_two_pictures_gets_two(tmp_path, monkeypatch):
    pretend(monkeypatch, free=1.0, base=1.0, each=1.0)
    takes = Trial._takes

    def refuse_one(self: Trial, size: int) -> int | None:
        if size == 1:
            raise ValueError("a batch norm would see a single value")
        return takes(self, size)

    monkeypatch.setattr(Trial, "_takes", refuse_one)
    assert a_trial(tmp_path).fitting(8)[0] == 2


@pytest.mark.medium
def test_an_accelerator_is_tried_until_it_fits(tmp_path, monkeypatch):
    monkeypatch.setattr(trial, "find_device", lambda wanted: torch.device("meta"))
    monkeypatch.setattr(Trial, "_takes", lambda self, size: None if size > 2 else size)
    assert a_trial(tmp_path).fitting(8)[0] == 2
    monkeypatch.setattr(Trial, "_takes", lambda self, size: None)
    assert a_trial(tmp_path).fitting(8)[0] == 1


@pytest.mark.medium
@pytest.mark.slow
def test_what_does_not_fit_is_told_apart_from_what_is_wrong(tmp_path, monkeypatch):
    tried = a_trial(tmp_path)

    def fail(message: str) -> None:
        def learn(self, batch):
            raise RuntimeError(message)

        monkeypatch.setattr(trial.Trainer, "_learn", learn)

    fail("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes")
    assert tried._takes(2) is None
    fail("shapes do not fit")
    with pytest.raises(RuntimeError, match="shapes"):
        tried._takes(2)


def test_auto_is_a_setting_and_other_words_are_none():
    assert TrainSettings(data="", batch_size="auto").batch_size == "auto"
    with pytest.raises(ValueError, match="batch_size must be"):
        TrainSettings(data="", batch_size="many")
    with pytest.raises(ValueError, match="batch_size must be at least 1, got 0"):
        TrainSettings(data="", batch_size=0)


@pytest.mark.medium
def test_a_trainer_wants_a_number(tmp_path):
    tried = a_trial(tmp_path)
    with pytest.raises(ValueError, match="found out before a run"):
        replace(tried, settings=replace(tried.settings, batch_size="auto")).plan(0)


@pytest.mark.medium
def test_accumulated_steps_are_planned_as_steps(tmp_path):
    tried = a_trial(tmp_path, optim=OptimSettings(warmup_steps=2, accumulate=3))
    plan = tried.plan(0, clock=Clock(0, 1, 6.0, 6.0))
    assert (plan.steps, plan.step_pictures) == (4, 12)
    assert plan.step_seconds == pytest.approx(6.0)
