"""Long work without a terminal: which lines come, and when. The clock is the test's own."""

import io
from threading import Event

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from rich.console import Console

from pagoda import progress
from pagoda.messages import lasting
from pagoda.progress import EVERY, FIRST, Progress, Task


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def shown(*, at_once: bool = False, terminal: bool = False) -> tuple[Progress, Clock, io.StringIO]:
    clock, out = Clock(), io.StringIO()
    console = Console(file=out, force_terminal=terminal, width=200)
    return Progress(at_once=at_once, console=console, clock=clock), clock, out


def test_short_work_says_nothing():
    bar, clock, out = shown()
    task = bar.task("reading", 3)
    for number in (1, 2, 3):
        clock.now += FIRST / 4
        task(number)
    assert out.getvalue() == ""


def test_lines_come_first_after_a_while_and_then_every_half_minute():
    bar, clock, out = shown()
    task = bar.task("reading", 100)
    for number in range(1, 101):
        clock.now += 1
        task(number, "well")
    assert out.getvalue().splitlines() == [
        "reading: 5 of 100, well, 2 min left",
        "reading: 35 of 100, well, 1 min left",
        "reading: 65 of 100, well, 35 s left",
        "reading: 95 of 100, well, 5 s left",
        "reading: 100 of 100, well, in 2 min",
    ]


def test_training_begins_with_its_first_step():
    bar, clock, out = shown(at_once=True)
    task = bar.task("training", 10)
    clock.now += 1
    task(1, "loss 2.5")
    clock.now += 1
    task(2, "loss 2.4")
    assert out.getvalue() == "training: 1 of 10, loss 2.5, 9 s left\n"


def test_a_step_that_takes_long_is_told_of_meanwhile():
    bar, clock, out = shown()
    bar.task("training", 10)
    for _ in range(2):
        clock.now += EVERY
        bar.tell()
        bar.tell()  # only where one is due
    assert out.getvalue() == "training: 0 of 10\n" * 2


def test_the_task_at_hand_is_told_of_and_then_the_one_around_it():
    bar, clock, out = shown()
    training = bar.task("training", 4)
    training(1)
    validating = bar.task("validating", 8)
    for number in (4, 8):
        clock.now += EVERY
        validating(number)
    clock.now += EVERY
    bar.tell()
    assert out.getvalue().splitlines() == [
        "validating: 4 of 8, 30 s left",
        "validating: 8 of 8, in 1 min",
        "training: 1 of 4, 0 s left",
    ]


def test_work_of_unknown_length_says_how_far_it_is():
    bar, clock, out = shown()
    task = bar.task("following", None)
    clock.now += FIRST
    task(7, "1.4 frames/s")
    assert out.getvalue() == "following: 7, 1.4 frames/s\n"


def test_a_thread_tells_while_nobody_calls(monkeypatch):
    """It waits until a line is due, by the same clock, and ends with the work."""
    bar, clock, out = shown()
    bar.task("training", 10)
    waits, is_told = [], Event()

    def wait(seconds: float) -> bool:
        waits.append(seconds)
        clock.now += seconds
        if len(waits) == 3:
            is_told.set()
        return len(waits) == 3

    monkeypatch.setattr(bar._ended, "wait", wait)
    with bar:
        assert is_told.wait(60)
        bar._thread.join(60)
    assert waits == [FIRST, EVERY, EVERY]
    assert out.getvalue() == "training: 0 of 10\n" * 2


@pytest.mark.parametrize("is_quiet", [True, False])
def test_a_terminal_gets_bars_and_who_wants_silence_gets_it(is_quiet, capsys):
    if is_quiet:
        clock = Clock()
        bar = Progress(quiet=True, at_once=True, clock=clock)
    else:
        bar, clock, out = shown(at_once=True, terminal=True)
    with bar:
        task = bar.task("training", 3)
        for number in (1, 2, 3):
            clock.now += EVERY
            task(number)
    assert capsys.readouterr().err == ""
    assert is_quiet or ("training" in out.getvalue() and "training: " not in out.getvalue())


def test_time_left_follows_the_pace_after_the_first_call():
    clock = Clock()
    task = Task("training", 100, done=40, clock=clock)
    assert task.seconds_left() is None
    clock.now += 60
    task(41)
    assert task.seconds_left() == pytest.approx(60 * 59)
    for number in range(42, 61):
        clock.now += 2
        task(number)
        assert task.seconds_left() == pytest.approx(2 * (100 - number))


@given(st.floats(0, 1e8))
@example(127.0)
@example(149.0)
@example(89.0)
def test_times_are_told_within_half_a_minute_or_a_twentieth(seconds):
    units = {"s": 1, "min": 60, "h": 3600, "d": 86400}
    words = lasting(seconds).split()
    told = sum(int(n) * units[unit] for n, unit in zip(words[::2], words[1::2], strict=True))
    assert abs(told - seconds) <= max(0.5 if seconds < 59 else 30, seconds / 20)


def test_all_long_work_shares_these_bars():
    """Nobody builds rich's bars beside them, but for downloads, which count bytes."""
    from pathlib import Path

    package = Path(progress.__file__).parent
    users = [
        file.relative_to(package).as_posix()
        for file in package.rglob("*.py")
        if "rich.progress" in file.read_text()
    ]
    assert users == ["weights/remote.py"]
