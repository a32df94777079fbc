"""What many messages have in common: counted nouns, lists that stay short, the known word that was probably meant."""

from collections.abc import Collection, Sequence
from difflib import get_close_matches


def counted(count: int, one: str, many: str = "") -> str:
    """A number with its noun, in the plural unless it is 1; `many` where that is not `one` with an s.

    >>> counted(1, "picture"), counted(0, "picture"), counted(2, "category", "categories")
    ('1 picture', '0 pictures', '2 categories')
    """
    return f"{count} {one if count == 1 else many or f'{one}s'}"


def lasting(seconds: float) -> str:
    """A time as people say it: the largest unit that it fills, of hours and days the next smaller one too.

    >>> lasting(0.2), lasting(59.7), lasting(119), lasting(5400), lasting(7199), lasting(200_000)
    ('0 s', '1 min', '2 min', '1 h 30 min', '2 h', '2 d 8 h')
    """
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if seconds < 3570:
        return f"{round(seconds / 60)} min"
    if seconds < 86_400 - 30:
        hours, minutes = divmod(round(seconds / 60), 60)
        return f"{hours} h {minutes} min" if minutes else f"{hours} h"
    days, hours = divmod(round(seconds / 3600), 24)
    return f"{days} d {hours} h" if hours else f"{days} d"


def in_bytes(count: float) -> str:
    """A size as people say it, in powers of 1024.

    >>> in_bytes(700 * 2**20), in_bytes(3.12 * 2**30), in_bytes(21.4 * 2**30)
    ('700 MB', '3.1 GB', '21 GB')
    """
    if count < 2**30:
        return f"{count / 2**20:.0f} MB"
    return f"{count / 2**30:.1f} GB" if count < 10 * 2**30 else f"{count / 2**30:.0f} GB"


def nearest(word: str, known: Collection[str], *, cutoff: float = 0.5) -> str | None:
    """The known word that is written most alike, in any case of letters; None where none is near.

    >>> nearest("SGD", ["adamw", "sgd"]), nearest("step", ["cosine", "multistep"]), nearest("x", ["cosine"])
    ('sgd', 'multistep', None)
    """
    by_letters = {each.casefold(): each for each in known if isinstance(each, str)}
    near = get_close_matches(word.casefold(), by_letters, 1, cutoff)
    return by_letters[near[0]] if near else None


def did_you_mean(word: str, known: Collection[str], *, cutoff: float = 0.6) -> str:
    """The nearest word as a question, or where none is near all that are known.

    >>> did_you_mean("bite", ["byte", "ocsort"]), did_you_mean("x", ["byte", "ocsort"])
    ("did you mean 'byte'?", 'known: byte, ocsort')
    """
    near = nearest(word, known, cutoff=cutoff)
    return f"did you mean '{near}'?" if near else f"known: {short_list(known, 20)}"


def short_list(things: Collection[object], limit: int = 10) -> str:
    """The first things of a list as text, and how many there are where that is not all.

    >>> short_list(["a", "b", "c"], 2), short_list([7, 8]), short_list([])
    ('a, b, … (3 in all)', '7, 8', 'none')
    """
    shown = ", ".join(str(each) for each, _ in zip(things, range(limit), strict=False)) or "none"
    return shown if len(things) <= limit else f"{shown}, … ({len(things)} in all)"


def aligned(rows: Sequence[Sequence[str]], *, first_left: bool = True) -> str:
    """Lines whose cells stand below each other, two spaces apart: the first to the left, unless it is a number too, the
    others to the right.

    >>> print(aligned([["class", "AP"], ["cat", "0.5"]]))
    class   AP
    cat    0.5
    """
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = []
    for row in rows:
        cells = [cell.rjust(width) for cell, width in zip(row, widths, strict=True)]
        if first_left:
            cells[0] = row[0].ljust(widths[0])
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)
