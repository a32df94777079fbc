"""Where a run tells how it goes: metrics.jsonl, TensorBoard, and a progress bar with the time left."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from pagoda.plain import checked


def read_records(path: Path) -> list[dict[str, Any]]:
    """The rows of a metrics.jsonl, without a last line that a kill cut short."""
    if not path.exists():
        return []
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    return [json.loads(line) for line in lines if line.endswith("\n")]


@checked
class RunLog:
    """Rows {"kind": "step" | "val" | "note", "step": …} to file and TensorBoard, a bar to the terminal.

    A resumed run first forgets the rows after `resume_step`, and unless it `is_scored` the validation there: they
    will be written again.
    """

    def __init__(
        self,
        run: Path,
        *,
        total_steps: int,
        resume_step: int = 0,
        is_scored: bool = True,
        quiet: bool = False,
    ) -> None:
        self.path = run / "metrics.jsonl"
        self.records = [
            row
            for row in read_records(self.path)
            if row["step"] < resume_step
            or (row["step"] == resume_step and (is_scored or row["kind"] != "val"))
        ]
        self.path.write_text("".join(json.dumps(row) + "\n" for row in self.records), encoding="utf-8")
        self.file = self.path.open("a", encoding="utf-8")
        self.console = Console(quiet=quiet, stderr=True)
        self.board = open_tensorboard(run / "tensorboard", resume_step, self.console)
        self.bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            TextColumn("{task.fields[note]}"),
            console=self.console,
        )
        self.task = self.bar.add_task("training", total=total_steps, completed=resume_step, note="")
        self.bar.start()

    def write(self, kind: str, step: int, **values: Any) -> None:
        row = {"kind": kind, "step": step, **values}
        self.records.append(row)
        self.file.write(json.dumps(row) + "\n")
        self.file.flush()
        if self.board is not None:
            prefix = "val" if kind == "val" else "train"
            for name, value in values.items():
                if isinstance(value, float | int):
                    self.board.add_scalar(f"{prefix}/{name}", value, step)

    def advance(self, step: int, note: str) -> None:
        self.bar.update(self.task, completed=step, note=note)

    def say(self, text: str) -> None:
        self.console.print(text, highlight=False)

    def progress(self, label: str, total: int) -> Callable[[int], None]:
        """A second bar for validation: call the result with the number done; it goes when all are done."""
        task = self.bar.add_task(label, total=total, note="")

        def update(done: int) -> None:
            self.bar.update(task, completed=done)
            if done >= total:
                self.bar.remove_task(task)

        return update

    def close(self) -> None:
        self.bar.stop()
        self.file.close()
        if self.board is not None:
            self.board.close()


def open_tensorboard(folder: Path, resume_step: int, console: Console) -> Any:
    """A SummaryWriter, or None with a word when the package is not installed."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        console.print("no TensorBoard (pip install 'pagoda-vision[tensorboard]'); metrics.jsonl has it all")
        return None
    return SummaryWriter(str(folder), purge_step=resume_step + 1 if resume_step else None)
