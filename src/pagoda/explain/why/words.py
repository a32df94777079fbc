"""What `pagoda why` says of many misses at once, on its page and in a terminal."""

from collections import Counter

from pagoda.explain.why.records import MISS_WORDS, WRONG_WORDS, Why

MEASURES: dict[str, str] = {"box accuracy": "found, but not exactly"}
"""what is neither missed nor wrong"""


def words_of(kind: str, *, is_miss: bool) -> str:
    """A reason or kind as people read it.

    >>> words_of("wrong class", is_miss=True), words_of("box accuracy", is_miss=False)
    ('right box, wrong class', 'found, but not exactly')
    """
    words: dict[str, str] = dict(MISS_WORDS) if is_miss else {**WRONG_WORDS, **MEASURES}
    return words.get(kind, kind)


def usual_remedies(why: Why) -> dict[str, tuple[str, int]]:
    """Of each miss's reason (the remedy that most of its misses name, how many do)."""
    counts: dict[str, Counter[str]] = {}
    for miss in why.misses:
        if miss.remedy:
            counts.setdefault(miss.reason, Counter())[miss.remedy] += 1
    return {reason: each.most_common(1)[0] for reason, each in counts.items()}


def lead(why: Why) -> str:
    """What is missing, and what of it is the dearest: a sentence or two.

    >>> nothing = {"pictures": [], "misses": [], "wrong": [], "suspects": [], "costs": [], "limits": {}, "left_out": []}
    >>> lead(Why(**nothing, ap=1.0, num_objects=3))
    'Nothing to explain: every object was found, and nothing else.'
    """
    if not why.num_objects:
        return "Nothing is annotated here that could be found or missed, so there is no AP."
    if not why.misses and not why.wrong:
        return "Nothing to explain: every object was found, and nothing else."
    dearest = next((cost for cost in why.costs if cost.ap > 0), None)
    if why.ap is None or dearest is None:
        return "What mending each kind of error would give is not known of this data set."
    missing = (
        f"Of the {100 * (1 - why.ap):.1f} points of AP that are missing, {100 * dearest.ap:.1f} come back"
    )
    kind = words_of(dearest.kind, is_miss=dearest.is_miss)
    if dearest.kind in MEASURES:
        return f"{missing} where every box that is found fits exactly."
    what = "misses" if dearest.is_miss else "wrong detections"
    remedy = usual_remedies(why).get(dearest.kind) if dearest.is_miss else None
    told = f"{missing} without the {dearest.count:,} {what} of one kind, “{kind}”."
    return f"{told} What most of them name: {remedy[0]}" if remedy else told
