"""What of ground truth does not count, in words."""

from collections.abc import Iterable

from pagoda.structures.tracks import Tracks

REMEDY = (
    "where the classes are the file's own, write their names into a file labels.txt beside it, one per line in the"
    " order of their numbers"
)


def check_something_counts(videos: Iterable[Tracks], *, remedy: str = REMEDY) -> None:
    """Raises ValueError, saying why and the remedy, where no row of any video is an object to be found."""
    videos = list(videos)
    if any(len(each) and (each.ignored is None or not each.ignored.all()) for each in videos):
        return
    names = ", ".join(dict.fromkeys(name for each in videos for name in each.label_map.names))
    why = describe_left_out(videos) or "it has no rows"
    raise ValueError(f"nothing in the ground truth counts as {names}: {why}; {remedy}")


def describe_left_out(videos: Iterable[Tracks]) -> str:
    """Of all videos together, as "3 rows with flag 0, 2 of class car"; "" where nothing was left out."""
    total: dict[str, int] = {}
    for each in videos:
        for why, count in each.left_out.items():
            total[why] = total.get(why, 0) + count
    return ", ".join(f"{count} row{'s' * (count > 1)} {why}" for why, count in total.items())
