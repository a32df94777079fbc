"""What of ground truth does not count, in words."""

from collections.abc import Iterable

from pagoda.structures.tracks import Tracks

REMEDY = (
    "where the classes are the file's own, write their names into a file labels.txt beside it, one per line in the"
    " order of their numbers"
)


def check_something_counts(videos: Iterable[Tracks], *, remedy: str = REMEDY) -> None:
    """Raises ValueError, saying why and the remedy, where no row of any video is an object to be found.

    >>> import numpy as np
    >>> from pagoda.structures.labels import LabelMap
    >>> nothing, cars = np.zeros(0, int), {"of class car": 2}
    >>> video = Tracks(
    ...     nothing, nothing, np.zeros((0, 4)), np.zeros(0), nothing, LabelMap.from_names(["person"]), 9, left_out=cars
    ... )
    >>> check_something_counts([video], remedy="name the class car")
    Traceback (most recent call last):
    ValueError: nothing in the ground truth counts as person: 2 rows of class car; name the class car
    """
    videos = list(videos)
    if any(len(each) and (each.ignored is None or not each.ignored.all()) for each in videos):
        return
    names = ", ".join(dict.fromkeys(name for each in videos for name in each.label_map.names))
    why = describe_left_out(videos) or "it has no rows"
    raise ValueError(f"nothing in the ground truth counts as {names}: {why}; {remedy}")


def describe_left_out(videos: Iterable[Tracks]) -> str:
    """What all videos together leave out, as "3 rows with flag 0, 1 row of class car"; "" for nothing.

    >>> describe_left_out([])
    ''
    """
    total: dict[str, int] = {}
    for each in videos:
        for why, count in each.left_out.items():
            total[why] = total.get(why, 0) + count
    return ", ".join(f"{count} row{'s' * (count > 1)} {why}" for why, count in total.items())
