"""What a head that all levels share asks of its pyramid."""

from collections.abc import Mapping


def shared_width(channels: Mapping[int, int]) -> int:
    """The channels that every level of {level: C} has. Raises ValueError where they differ.

    >>> shared_width({3: 64, 4: 64})
    64
    """
    if len(set(channels.values())) != 1:
        raise ValueError(f"a shared head needs the same channels on every level, got {channels}")
    return next(iter(channels.values()))
