"""How far long work is, on standard error: a bar where there is a terminal, a line now and then where there is none."""

from collections.abc import Callable
from threading import Event, RLock, Thread
from time import monotonic
from typing import Self

from rich import progress
from rich.console import Console

from pagoda.messages import lasting
from pagoda.plain import checked

FIRST, EVERY = 5.0, 30.0
"""seconds until the first line, and from one to the next; work that is done before says nothing"""


@checked
class Task:
    """Some long work: call it with how much of it is done, and perhaps a few words.

    >>> task = Task("reading", 40, clock=iter([0.0, 10.0, 12.0]).__next__)
    >>> task(1), task(3, "slowly"), task.line()  # the first took longest, and tells nothing of what is left
    (None, None, 'reading: 3 of 40, slowly, 37 s left')
    """

    def __init__(
        self,
        label: str,
        total: int | None,
        *,
        done: int = 0,
        clock: Callable[[], float] = monotonic,
        show: Callable[["Task"], object] = lambda task: None,
    ) -> None:
        """
        Args:
            total: how much there is to do; None where nobody knows.
            done: how much was done before.
            clock: seconds, counted from any moment.
            show: called after every call.
        """
        self.label, self.total, self.done, self.note = label, total, done, ""
        self._clock, self._show = clock, show
        self._marks = [(clock(), done)]  # the beginning, the first call, the last one

    def __call__(self, done: int, note: str = "") -> None:
        self.done, self.note = done, note
        self._marks[2:] = [(self._clock(), done)]
        self._show(self)

    @property
    def is_done(self) -> bool:
        return self.total is not None and self.done >= self.total

    def seconds_left(self) -> float | None:
        """At the pace since the first call; None where that is not known yet."""
        (since, before), (now, done) = self._marks[:2][-1 if len(self._marks) > 2 else 0], self._marks[-1]
        if self.total is None or done <= before:
            return None
        return (now - since) / (done - before) * (self.total - done)

    def line(self) -> str:
        """All of it for people, where there is no bar."""
        left = self.seconds_left()
        if self.is_done:
            last = f"in {lasting(self._marks[-1][0] - self._marks[0][0])}"
        else:
            last = "" if left is None else f"{lasting(left)} left"
        parts = [f"{self.done}{'' if self.total is None else f' of {self.total}'}", self.note, last]
        return f"{self.label}: {', '.join(filter(None, parts))}"


@checked
class Progress:
    """Shows the tasks of a `with` block.

    Without a terminal the task at hand is told on a line after `FIRST` seconds, or at its first call with `at_once`,
    and then every `EVERY` seconds, even where a single step takes longer.

    >>> with Progress(quiet=True) as shown:
    ...     task = shown.task("reading", 2)
    ...     for number in (1, 2):
    ...         task(number)
    """

    def __init__(
        self,
        *,
        quiet: bool = False,
        keep: bool = False,
        at_once: bool = False,
        console: Console | None = None,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        """
        Args:
            quiet: show nothing.
            keep: leave the bars in the terminal when all is done.
            at_once: begin with a line as soon as something is done.
            console: where to; None: standard error.
            clock: seconds, counted from any moment.
        """
        self.console = console or Console(stderr=True, quiet=quiet)
        self._clock, self._at_once = clock, at_once
        self._is_drawn = self.console.is_terminal and not self.console.is_dumb_terminal
        self._bars = _bars(self.console, keep=keep, quiet=quiet or not self._is_drawn)
        self._open: list[Task] = []  # the one at hand last
        self._told: set[Task] = set()
        self._due = clock() + FIRST
        self._lock, self._ended = RLock(), Event()
        self._thread = Thread(target=self._beat, name="progress", daemon=True)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        """Begin to show."""
        if self._is_drawn:
            self._bars.start()
        elif not self.console.quiet:
            self._thread.start()

    def stop(self) -> None:
        """Take the bars away, unless they are kept."""
        self._bars.stop()
        self._ended.set()

    def task(self, label: str, total: int | None, *, done: int = 0) -> Task:
        """Something to be done: call the result with how much is. Its bar goes then, unless it is the only one."""
        number = self._bars.add_task(label, total=total, completed=done, note="")

        def show(task: Task) -> None:
            self._bars.update(number, completed=task.done, note=task.note)
            if task.is_done and len(self._bars.tasks) > 1:
                self._bars.remove_task(number)
            self._tell_of(task)

        task = Task(label, total, done=done, clock=self._clock, show=show)
        with self._lock:
            self._open.append(task)
        return task

    def tell(self) -> None:
        """A line on the task at hand, where one is due."""
        with self._lock:
            now = self._clock()
            if self._open and now >= self._due and not self._is_drawn:
                self._due = now + EVERY
                self._told.add(self._open[-1])
                self.say(self._open[-1].line())

    def say(self, text: str) -> None:
        """A line of its own, above the bars."""
        self.console.print(text, highlight=False, markup=False, soft_wrap=True)

    def _tell_of(self, task: Task) -> None:
        """What is to be told of a task that has just gone on."""
        if self._is_drawn:
            return
        with self._lock:
            self._open = [other for other in self._open if other is not task]
            if not task.is_done:
                self._open.append(task)
            elif task in self._told:
                self.say(task.line())
                self._due = self._clock() + EVERY
            if self._at_once:
                self._at_once, self._due = False, self._clock()
            self.tell()

    def _beat(self) -> None:
        """A single step may take longer than the time from line to line."""
        while not self._ended.wait(max(0.1, self._due - self._clock())):
            self.tell()


def _bars(console: Console, *, keep: bool, quiet: bool) -> progress.Progress:
    columns = (
        progress.TextColumn("{task.description}"),
        progress.BarColumn(),
        progress.MofNCompleteColumn(),
        progress.TimeElapsedColumn(),
        progress.TextColumn("left"),
        progress.TimeRemainingColumn(),
        progress.TextColumn("{task.fields[note]}"),
    )
    return progress.Progress(*columns, console=console, transient=not keep, disable=quiet)
