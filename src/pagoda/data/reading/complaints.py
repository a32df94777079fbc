"""What is wrong with the files of a data set, collected while reading goes on.

Readers add places under a kind of `complaint_kinds.READING`; the doctor has kinds of its own besides. A kind whose
effect is "stops" makes a reader raise once it has seen everything; all others become the notes of what was read.
"""

from collections.abc import Mapping

from pagoda.data.reading.complaint_kinds import MISSING_FILES, READING, Kind

MAX_PLACES = 10
"""Kept per kind; all are counted."""
SHOWN_IN_ERRORS = 3


class Complaints:
    """Places by kind of complaint, in the order they came.

    >>> complaints = Complaints("a.json")
    >>> complaints.add("missing_labels", "b.xml is not there", count=2)
    >>> complaints.stopping, complaints.count("missing_labels"), complaints.notes()
    (('missing_labels',), 2, ())
    """

    def __init__(self, source: str = "", kinds: Mapping[str, Kind] = READING) -> None:
        self.source = source
        self._kinds = kinds
        self._counts: dict[str, int] = {}
        self._places: dict[str, list[str]] = {}

    def add(self, kind: str, place: str, count: int = 1) -> None:
        """`count` defects of a known kind, of which `place` names the first: file, entry, what stands there."""
        assert kind in self._kinds, f"no kind of complaint is called '{kind}'"
        self._counts[kind] = self._counts.get(kind, 0) + count
        places = self._places.setdefault(kind, [])
        if len(places) < MAX_PLACES:
            places.append(place)

    def extend(self, other: "Complaints") -> None:
        """Add all complaints of another reading."""
        for kind, count in other._counts.items():
            first, *rest = other._places[kind]
            self.add(kind, first, count - len(rest))
            for place in rest:
                self.add(kind, place)

    def __contains__(self, kind: str) -> bool:
        return kind in self._counts

    def count(self, kind: str) -> int:
        return self._counts.get(kind, 0)

    def places(self, kind: str) -> tuple[str, ...]:
        """The first places of a kind, at most `MAX_PLACES`."""
        return tuple(self._places.get(kind, ()))

    @property
    def stopping(self) -> tuple[str, ...]:
        """The kinds met that make reading impossible."""
        return tuple(kind for kind in self._counts if self._kinds[kind].effect == "stops")

    def notes(self) -> tuple[str, ...]:
        """A line for each place of the kinds that do not stop, and how many more there are."""
        lines = []
        for kind, count in self._counts.items():
            if kind in self.stopping:
                continue
            lines += self._places[kind]
            if len(self._places[kind]) == MAX_PLACES < count:
                lines.append(f"{self.source}: {count} in all: {self._kinds[kind].meaning}")
        return tuple(lines)

    def check(self) -> None:
        """Raises ValueError with every kind that stops reading: meaning, count, the first places, remedy.

        FileNotFoundError where all of it is that files are missing.
        """
        stopping = self.stopping
        if not stopping:
            return
        lines = []
        for kind in stopping:
            shown = self._places[kind][:SHOWN_IN_ERRORS]
            more = "; …" if self._counts[kind] > len(shown) else ""
            meaning, remedy = self._kinds[kind].meaning, self._kinds[kind].remedy
            lines.append(f"{meaning} ({self._counts[kind]}): {'; '.join(shown)}{more}. {remedy}")
        kind_of_error = FileNotFoundError if MISSING_FILES.issuperset(stopping) else ValueError
        raise kind_of_error(f"{self.source} cannot be read: " + "\n".join(lines))
