"""Text that grows on disk instead of in memory, until it is copied to where it belongs."""

import shutil
import tempfile
from typing import IO


class Spool:
    """A nameless temporary file, gone when closed.

    >>> from io import StringIO
    >>> spool, target = Spool(), StringIO()
    >>> spool.write("a")
    >>> spool.write("b")
    >>> spool.copy_to(target)
    >>> spool.close()
    >>> target.getvalue()
    'ab'
    """

    def __init__(self) -> None:
        self._file = tempfile.TemporaryFile("w+", encoding="utf-8")  # noqa: SIM115 (`close` closes it)

    def write(self, text: str) -> None:
        """Add to the end. Raises OSError where the disk for temporary files is full."""
        try:
            self._file.write(text)
        except OSError as error:
            where = tempfile.gettempdir()
            raise OSError(
                f"could not keep results in {where}: {error}; free some space there or set TMPDIR to another folder"
            ) from error

    def copy_to(self, target: IO[str]) -> None:
        """Add all that was written to `target`; may be done again."""
        self._file.seek(0)
        shutil.copyfileobj(self._file, target)

    def close(self) -> None:
        """Forget the text. Further calls do nothing."""
        self._file.close()
