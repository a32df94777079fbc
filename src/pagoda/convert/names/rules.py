"""Names of another program's tensors to ours and back: tables of patterns, read in both directions.

In between stand *canonical* names: those of our modules, but with `quality.*` and `scales.N`, which we hold as
rows of other tensors (see `layout`).
"""

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import cached_property

from pagoda.plain import checked

PLACEHOLDER = re.compile(r"\\\{(\w+)\\\}")


@checked
@dataclass(frozen=True)
class Rule:
    """`{n}` (one small letter) stands for a number, `{rest}` (longer) for anything; both sides name the same.

    `ours` is None for what is known and not needed; `why` says so in the report.

    >>> Rule("tower.{n}.{rest}", "head.{n}.{rest}").to_ours("tower.2.conv.bias", ())
    'head.2.conv.bias'
    """

    source: str
    """pattern of the other program's names"""
    ours: str | None
    """pattern of canonical names; None: known and not needed"""
    why: str = ""
    """what the report says of a name that is not needed"""
    read_only: bool = False
    """an older name: files may have it, what we write has the newer one"""
    where_source_has: str = ""
    """read so only where the file has this name, too; a pattern with placeholders of `source`"""
    where_ours_has: str = ""
    """written so only where the model has this canonical tensor, too; with placeholders of `ours`"""
    where_ours_lacks: str = ""
    """… or only where it has not"""

    @cached_property
    def _forward(self) -> re.Pattern[str]:
        return _compile(self.source)

    @cached_property
    def _backward(self) -> re.Pattern[str]:
        return _compile(self.ours or "")

    def to_ours(self, name: str, names: Collection[str]) -> str | None:
        """The canonical name of one of a file's `names`; None where the rule does not speak of it."""
        found = self._forward.fullmatch(name) if self.ours is not None else None
        if found is None or not _has(self.where_source_has, found, names):
            return None
        return str(self.ours).format(**found.groupdict())

    def drops(self, name: str) -> bool:
        """Whether the rule says that `name` is not needed."""
        return self.ours is None and self._forward.fullmatch(name) is not None

    def to_source(self, name: str, names: Collection[str]) -> str | None:
        """The other program's name of one of a model's canonical `names`; None where there is none."""
        found = None if self.ours is None or self.read_only else self._backward.fullmatch(name)
        if found is None or not _has(self.where_ours_has, found, names):
            return None
        if self.where_ours_lacks and _has(self.where_ours_lacks, found, names):
            return None
        return self.source.format(**found.groupdict())


def _has(pattern: str, found: re.Match[str], names: Collection[str]) -> bool:
    """Whether `names` has what the pattern makes of the parts found; an empty pattern asks for nothing."""
    return not pattern or pattern.format(**found.groupdict()) in names


def _compile(pattern: str) -> re.Pattern[str]:
    """
    >>> _compile("a{n}.{rest}").fullmatch("a12.conv.weight").groupdict()
    {'n': '12', 'rest': 'conv.weight'}
    """

    def group(found: re.Match[str]) -> str:
        name = found.group(1)
        return rf"(?P<{name}>\d+)" if len(name) == 1 else rf"(?P<{name}>.+)"

    return re.compile(PLACEHOLDER.sub(group, re.escape(pattern)))


@dataclass(frozen=True)
class Renamed:
    """What a table makes of a file's names."""

    taken: dict[str, str]
    """{source name: canonical name}"""
    dropped: dict[str, str]
    """{source name: why}"""
    unknown: list[str]
    """source names that no rule speaks of"""


def rename(names: Collection[str], rules: Sequence[Rule]) -> Renamed:
    """Every name by the first rule that speaks of it.

    >>> rules = [Rule("a{n}.count", None, "a counter"), Rule("a{n}.{rest}", "b{n}.{rest}")]
    >>> rename(["a1.w", "a1.count", "x"], rules)
    Renamed(taken={'a1.w': 'b1.w'}, dropped={'a1.count': 'a counter'}, unknown=['x'])
    """
    names = dict.fromkeys(names)
    renamed = Renamed({}, {}, [])
    for name in names:
        for rule in rules:
            if rule.drops(name):
                renamed.dropped[name] = rule.why
                break
            canonical = rule.to_ours(name, names)
            if canonical is not None:
                renamed.taken[name] = canonical
                break
        else:
            renamed.unknown.append(name)
    return renamed


def restore(names: Collection[str], rules: Sequence[Rule]) -> dict[str, str]:
    """{canonical name: the other program's}. Raises ValueError for names it has no place for.

    >>> restore(["b1.w"], [Rule("a{n}.{rest}", "b{n}.{rest}")])
    {'b1.w': 'a1.w'}
    """
    names, restored = dict.fromkeys(names), {}
    for name in names:
        found = next((source for rule in rules if (source := rule.to_source(name, names)) is not None), None)
        if found is None:
            raise ValueError(f"the other program has no place for '{name}'")
        restored[name] = found
    return restored
