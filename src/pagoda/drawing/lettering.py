"""Names as they are written onto pictures and curves: on one line, not too long, in a font that has most alphabets."""

from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path

from pagoda.files.text import one_line

FONT = Path("fonts", "ttf", "DejaVuSans.ttf")
MAX_LETTERS = 80
"""Of a name on a picture; more would fit nowhere"""


def font_file() -> Path:
    """The font of all names on pictures: DejaVu, which comes with matplotlib and writes most alphabets.

    matplotlib itself, which takes long to import, is asked only where its data lie elsewhere.
    """
    package = find_spec("matplotlib")
    beside = Path(package.origin).parent / "mpl-data" if package and package.origin else Path()
    if (beside / FONT).is_file():
        return beside / FONT
    import matplotlib

    return Path(matplotlib.get_data_path()) / FONT


def lettering(name: str, *, max_letters: int = MAX_LETTERS) -> str:
    """The name as it can be written, whatever it holds: one line of at most `max_letters` letters.

    >>> lettering("traffic\\nlight", max_letters=10)
    'traffic l…'
    """
    text = one_line(name)
    return text if len(text) <= max_letters else f"{text[: max_letters - 1]}…"


def missing_letters(name: str) -> str:
    """The letters of a name that the font lacks, each once: they are written as empty boxes.

    >>> missing_letters("cat"), missing_letters("猫 cat")
    ('', '猫')
    """
    text = one_line(name)
    if text.isascii():  # all are there
        return ""
    return "".join(dict.fromkeys(letter for letter in text if ord(letter) not in _known()))


@lru_cache(maxsize=1)
def _known() -> frozenset[int]:
    from matplotlib.ft2font import FT2Font

    return frozenset(FT2Font(str(font_file())).get_charmap())
