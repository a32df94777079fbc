"""Where a run tells how it goes: metrics.jsonl, TensorBoard, other trackers, and the terminal, with the time left."""

import json
import os
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING

from pagoda.files.atomic import no_way_out, writing
from pagoda.files.text import json_text
from pagoda.plain import JsonObject, checked
from pagoda.progress import Progress, Task
from pagoda.training.trackers import Trackers

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter


def read_records(path: Path) -> list[JsonObject]:
    """The rows of a metrics.jsonl in their order, [] without a file; a last line that a kill cut short is left out.

    Raises ValueError with the number of the line for what is no row.

    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     file = Path(folder, "metrics.jsonl")
    ...     _ = file.write_text('{"kind": "step", "step": 1, "loss": 2.5}\\n{"kind": "st')
    ...     read_records(file)
    [{'kind': 'step', 'step': 1, 'loss': 2.5}]
    """
    if not path.exists():
        return []
    return [row for row, _ in _rows(path)]


def _rows(path: Path) -> Iterator[tuple[JsonObject, int]]:
    """(row, the byte at which its line ends) for every whole line. Raises ValueError for what is no row."""
    end = 0
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            if not line.endswith(b"\n"):
                return
            try:
                row = json.loads(line)
                _ = row["kind"], row["step"] + 0
            except (ValueError, TypeError, KeyError) as error:
                raise ValueError(
                    f"line {number} of {path} is no row of a run ({error!r}); mend or remove that line"
                ) from error
            end += len(line)
            yield row, end


@checked
class RunLog:
    """Rows {"kind": "step" | "val" | "note", "step": …} to file, TensorBoard and other trackers, a bar to the terminal,
    or lines where there is none: at the first step, and then every half a minute.

    A resumed run first cuts off the rows after `resume_step`, and unless it `is_scored` the validation there: they
    will be written again. Rows before stay untouched.

    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as run:
    ...     log = RunLog(Path(run), total_steps=10, quiet=True)
    ...     log.write("step", 1, loss=2.5)
    ...     log.close()
    ...     read_records(log.path)
    [{'kind': 'step', 'step': 1, 'loss': 2.5}]
    """

    def __init__(
        self,
        run: Path,
        *,
        total_steps: int,
        resume_step: int = 0,
        is_scored: bool = True,
        quiet: bool = False,
        clock: Callable[[], float] = monotonic,
        open_trackers: Callable[[Callable[[str], object]], Trackers] | None = None,
    ) -> None:
        self.path, board = no_way_out(run / "metrics.jsonl"), no_way_out(run / "tensorboard")
        self.file = self.path.open("a", encoding="utf-8")
        os.truncate(self.path, _end_of_done(self.path, resume_step, is_scored=is_scored))
        self.shown = Progress(quiet=quiet, keep=True, at_once=True, clock=clock)
        self.board = _open_tensorboard(board, resume_step, self.say)
        self.trackers = None if open_trackers is None else open_trackers(self.say)
        self.task = self.shown.task("training", total_steps, done=resume_step)
        self.shown.start()

    def write(self, kind: str, step: int, **values: float | str) -> None:
        """One row, on disk before this returns; numbers go to trackers under train/ or, of a "val" row, val/."""
        row = {"kind": kind, "step": step, **values}
        with writing(self.path):
            self.file.write(json_text(row) + "\n")
            self.file.flush()
        self._draw("val" if kind == "val" else "train", step, values)

    def to_disk(self) -> None:
        """Have the machine write all rows to its disk, so that they outlast a loss of power."""
        os.fsync(self.file.fileno())

    def advance(self, step: int, note: str) -> None:
        """Tell that `step` of the run is done, with a few words behind it."""
        self.task(step, note)

    def say(self, text: str) -> None:
        """A line above the bar, on standard error."""
        self.shown.say(text)

    def progress(self, label: str, total: int) -> Task:
        """Another task, validation say: call the result with the number done."""
        return self.shown.task(label, total)

    def close(self) -> None:
        """Take the bar away and close the files."""
        self.shown.stop()
        with suppress(OSError):  # what could not be written has been told
            self.file.close()
        if self.trackers is not None:
            self.trackers.close()
        if self.board is not None:
            with suppress(Exception):
                self.board.close()

    def _draw(self, prefix: str, step: int, values: dict[str, float | str]) -> None:
        """Into TensorBoard and others; they may break, for everything stands in metrics.jsonl."""
        numbers = {
            f"{prefix}/{name}": value for name, value in values.items() if isinstance(value, float | int)
        }
        if self.trackers is not None:
            self.trackers.log(numbers, step)
        if self.board is None:
            return
        try:
            for name, value in numbers.items():
                self.board.add_scalar(name, value, step)
        except Exception as error:
            self.board = None
            self.say(f"warning: nothing goes to TensorBoard any more ({error!r}); metrics.jsonl has it all")


def _end_of_done(path: Path, step: int, *, is_scored: bool) -> int:
    """The byte up to which rows stand that a run resumed at `step` will not write again."""
    done = 0
    for row, end in _rows(path):
        is_again = row["kind"] == "val" and row["step"] == step and not is_scored
        if row["step"] > step or is_again:
            break
        if row["kind"] != "note":  # notes behind the step are of batches that come again
            done = end
    return done


def _open_tensorboard(folder: Path, resume_step: int, say: Callable[[str], object]) -> "SummaryWriter | None":
    """A SummaryWriter, or None with a word when the package is not installed."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        say("no TensorBoard (pip install 'pagoda-vision[tensorboard]'); metrics.jsonl has it all")
        return None
    return SummaryWriter(str(folder), purge_step=resume_step + 1 if resume_step else None)
