"""Tables of names: read in both directions, first rule wins, conditions look at the other names."""

import re

import pytest

from pagoda.convert.names.rules import Rule, rename, restore
from pagoda.convert.programs import SOURCES
from pagoda.convert.source import Source

RULES = (
    Rule("block.{i}.gn.{rest}", "ours.{i}.norm.{rest}", where_ours_lacks="ours.{i}.norm.mean"),
    Rule("block.{i}.bn.{rest}", "ours.{i}.norm.{rest}"),
    Rule("block.{i}.deep.{rest}", "ours.{i}.conv.{rest}", where_ours_has="ours.{i}.conv.offset"),
    Rule("block.{i}.{rest}", "ours.{i}.first.{rest}", where_source_has="block.{i}.second"),
    Rule("old.{i}.conv.{rest}", "ours.{i}.conv.{rest}", read_only=True),
    Rule("block.{i}.{rest}", "ours.{i}.{rest}"),
    Rule("clock", None, "not needed"),
)


def test_first_rule_wins_and_everything_is_accounted_for() -> None:
    names = [
        "block.0.bn.weight",
        "block.12.gn.bias",
        "block.0.conv.weight",
        "old.3.conv.weight",
        "clock",
        "odd",
    ]
    found = rename(names, RULES)
    assert found.taken == {
        "block.0.bn.weight": "ours.0.norm.weight",
        "block.12.gn.bias": "ours.12.norm.bias",
        "block.0.conv.weight": "ours.0.conv.weight",
        "old.3.conv.weight": "ours.3.conv.weight",
    }
    assert found.dropped == {"clock": "not needed"} and found.unknown == ["odd"]


def test_small_letters_stand_for_numbers_alone() -> None:
    assert rename(["block.x.conv.weight", "block.1"], RULES).unknown == ["block.x.conv.weight", "block.1"]


def test_conditions_look_at_the_other_names() -> None:
    assert rename(["block.1.conv"], RULES).taken == {"block.1.conv": "ours.1.conv"}
    beside = rename(["block.1.conv", "block.1.second", "block.2.conv"], RULES).taken
    assert beside["block.1.conv"] == "ours.1.first.conv" and beside["block.2.conv"] == "ours.2.conv"
    assert restore(["ours.0.norm.weight"], RULES) == {"ours.0.norm.weight": "block.0.gn.weight"}
    live = restore(["ours.0.norm.weight", "ours.0.norm.mean"], RULES)
    assert live["ours.0.norm.weight"] == "block.0.bn.weight"
    deep = restore(["ours.0.conv.weight", "ours.0.conv.offset", "ours.1.conv.weight"], RULES)
    assert deep["ours.0.conv.weight"] == "block.0.deep.weight"
    assert deep["ours.1.conv.weight"] == "block.1.conv.weight"  # not the older name


def test_a_name_without_a_place_is_told() -> None:
    with pytest.raises(ValueError, match=r"the other program has no place for 'theirs\.0'"):
        restore(["theirs.0"], RULES)


@pytest.mark.parametrize(
    "source", [source for source in SOURCES if source.rules], ids=lambda source: source.title
)
def test_both_sides_of_every_rule_have_the_same_placeholders(source: Source) -> None:
    for rule in source.rules:
        if rule.ours is None:
            assert rule.why, f"{rule.source} is dropped without a reason"
        else:
            theirs, ours = (re.findall(r"\{(\w+)\}", side) for side in (rule.source, rule.ours))
            assert sorted(theirs) == sorted(ours) and len(set(ours)) == len(ours), rule
