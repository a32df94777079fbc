"""Pictures that lie outside the folder of their data set: names that climb out with `..`, absolute ones, and links.

They are read and told, or with `inside_only` refused before anything of them is opened.
"""

import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from pagoda.data.reading.complaints import Complaints
from pagoda.messages import counted


def outside(paths: Iterable[str | Path], folder: str | Path, *, follow_links: bool = True) -> list[str]:
    """Those of `paths` that do not lie in `folder`, wherever links on the way lead.

    `follow_links`: look also whether the files themselves are links, which asks the disk for each.

    >>> outside(["set/a.png", "set/../b.png"], "set")
    ['set/../b.png']
    """
    home = os.path.join(os.path.realpath(folder), "")
    is_inside: dict[str, bool] = {}
    found = []
    for path in map(os.fspath, paths):
        parent = os.path.dirname(path)
        if parent not in is_inside:
            is_inside[parent] = os.path.join(os.path.realpath(parent), "").startswith(home)
        is_away = follow_links and os.path.islink(path) and not os.path.realpath(path).startswith(home)
        if not is_inside[parent] or is_away:
            found.append(path)
    return found


def is_refused(path: str | Path, within: Path | None) -> bool:
    """Whether a picture may not be opened, as pictures must lie `within` a folder; None: wherever they like.

    >>> is_refused("set/../b.png", Path("set")), is_refused("set/../b.png", None)
    (True, False)
    """
    return within is not None and bool(outside([path], within))


def complain_of_outside(
    paths: Sequence[str | Path], folder: Path, source: str, complaints: Complaints, *, refuse: bool
) -> None:
    """Adds one place for all of `paths` outside `folder`: a count and the first; with `refuse` it stops the reading."""
    found = outside(paths, folder, follow_links=refuse)
    if found:
        kind = "pictures_refused" if refuse else "pictures_outside"
        lie = f"{len(found)} of {counted(len(paths), 'file lies', 'files lie')}"
        place = f"{source}: {lie} outside {folder}, the first is {found[0]}"
        complaints.add(kind, place, len(found))
