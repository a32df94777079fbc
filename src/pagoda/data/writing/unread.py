"""What no reader takes up, as lines of the report: for no format can get it."""

from collections import Counter

from pagoda.data.unread.fields import Lost
from pagoda.data.writing.holding import Loss


def unread_losses(found: Counter[Lost]) -> tuple[Loss, ...]:
    """A line for each thing that entries have and that is not read, in the order of the alphabet.

    >>> [loss.text for loss in unread_losses(Counter({Lost("shape", "score"): 2}))]
    ['2 shapes with score: lost, for it is not read']
    """
    each = sorted(found.items(), key=lambda pair: (pair[0].noun, pair[0].key))
    return tuple(Loss(f"unread {what.key}", count, what.text(count)) for what, count in each if count)
