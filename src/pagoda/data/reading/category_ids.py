"""Categories of files and the ids that objects name them by: which meet, which are strange or shifted by one."""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence

from pagoda.data.reading.complaints import Complaints
from pagoda.data.table.assembly import NO_LABEL
from pagoda.files.text import as_name, as_whole
from pagoda.messages import counted, short_list
from pagoda.structures.labels import LabelMap


def read_categories(entries: object, source: str, complaints: Complaints) -> LabelMap:
    """The categories of a COCO document in the order of their ids; without the bad ones.

    A name is any text or number, without surrounding spaces; a category without one is called by its id.

    >>> read_categories([{"id": 18, "name": "dog"}, {"id": 17, "name": " cat"}], "here", Complaints())
    LabelMap(names=('cat', 'dog'), category_ids=(17, 18), skeleton=None)
    """
    names: dict[int, str] = {}
    for entry in entries if isinstance(entries, list) else ():
        number = as_whole(entry.get("id")) if isinstance(entry, dict) else None
        name = None if number is None else plain_name(entry.get("name"), str(number), source, complaints)
        if number is None or name is None or not -(2**63) <= number < 2**63:
            complaints.add("bad_categories", f"{source}: category {str(entry)[:100]}")
        elif number in names or name in names.values():
            complaints.add("bad_categories", f"{source}: id {number} or name '{name}' is given twice")
        else:
            names[number] = name
    if not names and "bad_categories" not in complaints:
        complaints.add("bad_categories", f"{source}: there are no categories")
    ordered = sorted(names)
    return LabelMap(tuple(names[number] for number in ordered), tuple(ordered))


def plain_name(value: object, number: str, source: str, complaints: Complaints) -> str | None:
    """A class name as text; None where it is a list or the like.

    >>> plain_name(" cat", "1", "here", Complaints()), plain_name(None, "7", "here", Complaints())
    ('cat', '7')
    """
    name = as_name(value)
    if name == "":
        complaints.add(
            "unnamed_categories", f"{source}: category {number} has no name; it is called '{number}'"
        )
        return number
    complain_of_trimming(value, name, source, complaints)
    return name


def spellings(labels: Iterable[str]) -> dict[str, str]:
    """Class name, sorted → the first text that stands for it, for `read_categories` to say what was cut off."""
    first: dict[str, str] = {}
    for label in labels:
        first.setdefault(as_name(label) or label, label)
    return dict(sorted(first.items()))


def complain_of_trimming(value: object, name: str | None, source: str, complaints: Complaints) -> None:
    """Adds one place where `name`, of a class or a keypoint, is not what is written."""
    if isinstance(value, str) and name != value:
        complaints.add("trimmed_names", f"{source}: {value!r} becomes '{name}'")


def find_labels(
    used: Sequence[object],
    label_map: LabelMap,
    source: str,
    complaints: Complaints,
    place_of: Callable[[int], str],
) -> list[int]:
    """The label of each category id, `NO_LABEL` where it meets none; `place_of` names the object of a row.

    >>> labels = LabelMap(("cat", "dog"), (17, 18))
    >>> find_labels([18, "17", 18.0], labels, "here", Complaints(), str)
    [1, 0, 1]
    """
    label_of = {number: label for label, number in enumerate(label_map.category_ids)}
    labels = [label_of.get(value, NO_LABEL) if type(value) is int else NO_LABEL for value in used]
    rows = [row for row, label in enumerate(labels) if label == NO_LABEL]
    if not rows:
        return labels
    whole = {row: as_whole(used[row]) for row in rows}
    for row, value in whole.items():
        labels[row] = NO_LABEL if value is None else label_of.get(value, NO_LABEL)
    strange = [row for row in rows if labels[row] == NO_LABEL]
    numbers = {value for value in whole.values() if value is not None}
    numbers |= {value for value in used if type(value) is int}
    shift = find_category_shift(numbers, set(label_of)) if strange else 0
    if shift:
        complaints.add(
            "shifted_categories",
            f"{source}: category ids {min(numbers)} … {max(numbers)} are used where {min(label_of)} …"
            f" {max(label_of)} are listed: shifted by one, {'too low' if shift > 0 else 'too high'}",
            len(used),
        )
        values = [as_whole(value) for value in used]
        return [NO_LABEL if value is None else label_of.get(value + shift, NO_LABEL) for value in values]
    if not len(label_map):
        return labels  # why there are none is complained of where they are read
    counts = Counter(repr(used[row])[:60] for row in strange)
    first = {repr(used[row])[:60]: row for row in reversed(strange)}
    listed = short_list(label_map.category_ids)
    for value, count in counts.items():
        place = f"category {value} of {counted(count, 'annotation')}, first {place_of(first[value])}; listed: {listed}"
        complaints.add("unknown_categories", f"{source}: {place}", count)
    return labels


def find_category_shift(used: set[int], known: set[int]) -> int:
    """What to add to the used ids so that all are known: 1, -1, or 0 where no such shift explains them.

    >>> find_category_shift({0, 1, 2}, {1, 2, 3}), find_category_shift({1, 7}, {1, 2})
    (1, 0)
    """
    # A single strange id is a slip, not a habit, unless there is only one category to name.
    if used <= known or (len(used) == 1 and len(known) > 1):
        return 0
    return next((shift for shift in (1, -1) if {value + shift for value in used} <= known), 0)
