"""Notes on how often processes have begun with a block, so that a picture that ends each of them is left out.

A note is a few lines: "begun", and, once two processes have ended before the block was done, the number of each picture
just before it is looked at, alone.
"""

from itertools import pairwise
from pathlib import Path

from pagoda.files.atomic import writing

FOLDER = "begun"
BEGUN = "begun"
QUIET = 2
"""processes may end before pictures are looked at one by one"""
MOST_IDLE = 5
"""may end one after another before any picture, until it is given up"""


class Attempts:
    """Those of one block.

    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     for _ in range(2):
    ...         Attempts(folder, 3).begin()
    ...     third = Attempts(folder, 3)
    ...     third.begin()
    ...     third.look_at(5)
    ...     fourth = Attempts(folder, 3)
    ...     fourth.begin()
    ...     is_careful, num_ended, on_five = fourth.is_careful, fourth.num_ended, fourth.num_ended_at(5)
    >>> is_careful, num_ended, on_five
    (True, 3, 1)
    """

    def __init__(self, out: str | Path, number: int) -> None:
        self._path = Path(out) / FOLDER / f"{number:06d}"
        self._lines: list[str] = []

    def begin(self) -> None:
        """Note that this process begins. Raises RuntimeError where too many ended before they came to a picture."""
        if self._path.exists():
            self._lines = self._path.read_text(encoding="utf-8").split()
        self._note(BEGUN)
        last = self._lines[-MOST_IDLE - 1 :]
        if len(last) > MOST_IDLE and set(last) == {BEGUN}:
            raise RuntimeError(
                f"{MOST_IDLE} processes ended one after another before they had looked at a picture; is memory short?"
            )

    @property
    def num_ended(self) -> int:
        """processes that began before this one"""
        return self._lines.count(BEGUN) - 1

    @property
    def is_careful(self) -> bool:
        """Whether pictures are to be looked at one by one."""
        return self.num_ended >= QUIET

    def num_ended_at(self, index: int) -> int:
        """Processes that ended while they looked at that picture."""
        return sum(pair == (str(index), BEGUN) for pair in pairwise(self._lines))

    def look_at(self, index: int) -> None:
        """Note it before it is looked at."""
        self._note(str(index))

    def done(self) -> None:
        """The block is done."""
        self._path.unlink(missing_ok=True)

    def _note(self, line: str) -> None:
        self._lines.append(line)
        with writing(self._path):
            self._path.parent.mkdir(exist_ok=True)
            with self._path.open("a", encoding="utf-8") as file:
                file.write(f"{line}\n")
