"""predictions.json, which grows picture by picture and is there however the command ends."""

import json
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import IO

from pagoda.files.atomic import claim_file, write_free, writing
from pagoda.files.text import json_text
from pagoda.plain import JsonObject

FAILED = "failed"


class PredictionsFile:
    """One line of JSON per picture in predictions.jsonl, on disk when `add` or `fail` returns; leaving the `with` block
    makes predictions.json of them, after an error or Ctrl-C too, and memory does not grow.

    A process that was killed leaves predictions.jsonl. Nothing that exists is overwritten: names get a number.

    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     with PredictionsFile(Path(folder)) as results:
    ...         results.add({"file": "a.jpg", "objects": []})
    ...         results.fail("b.jpg is damaged")
    ...     print(json.loads(results.path.read_text()))
    {'predictions': [{'file': 'a.jpg', 'objects': []}], 'failed': ['b.jpg is damaged']}
    """

    def __init__(self, out: Path) -> None:
        self.num_pictures = self.num_objects = self.num_failed = 0
        self.path = out / "predictions.json"
        """where it is, once it is closed"""
        self._lines = claim_file(out / "predictions.jsonl")
        self._file: IO[str] = self._lines.open("w", encoding="utf-8")

    def __enter__(self) -> "PredictionsFile":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close(is_whole=error is None)

    def add(self, row: JsonObject) -> None:
        """What was found in the next picture, as `Detections.to_dict` says it."""
        self._write(row)
        self.num_pictures += 1
        self.num_objects += len(row["objects"])

    def fail(self, reason: str) -> None:
        """The next picture could not be read."""
        self._write({FAILED: reason})
        self.num_failed += 1

    def failures(self) -> Iterator[str]:
        """The reasons, while the file is open."""
        return (row[FAILED] for row in self._rows() if FAILED in row)

    def close(self, *, is_whole: bool = True) -> None:
        """Write predictions.json; where not all pictures have been looked at, it says "unfinished": true."""
        with suppress(OSError):  # a line that could not be written has been told
            self._file.close()
        try:
            self.path = write_free(self.path, lambda draft: self._assemble(draft, is_whole))
        except OSError as error:
            raise OSError(
                f"{error}; what was found so far is in {self._lines}, a line per picture"
            ) from error
        self._lines.unlink()

    def _write(self, row: JsonObject) -> None:
        with writing(self._lines):
            self._file.write(json_text(row) + "\n")
            self._file.flush()

    def _rows(self) -> Iterator[JsonObject]:
        """As far as their lines are whole."""
        with self._lines.open(encoding="utf-8") as lines:
            for line in lines:
                if line.endswith("\n"):
                    yield json.loads(line)

    def _assemble(self, draft: Path, is_whole: bool) -> None:
        found = (row for row in self._rows() if FAILED not in row)
        write_predictions(draft, found, self.failures(), is_whole=is_whole)


def write_predictions(
    path: Path, found: Iterator[JsonObject], failures: Iterator[str], *, is_whole: bool = True
) -> None:
    """predictions.json of what was found in each picture and of what is said of those that could not be read."""
    with path.open("w", encoding="utf-8") as file:
        _write_list(file, '{"predictions": [', map(json_text, found))
        _write_list(file, ',\n"failed": [', map(json_text, failures))
        file.write("}\n" if is_whole else ',\n"unfinished": true}\n')


def _write_list(file: IO[str], head: str, items: Iterator[str]) -> None:
    file.write(head)
    for number, item in enumerate(items):
        file.write(f"{',' if number else ''}\n{item}")
    file.write("\n]")
