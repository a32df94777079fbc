"""Damaged weights, cards, capsules, states and settings end in a sentence: some of each; 3,000 in the slow test."""

import re
from collections import Counter
from pathlib import Path

import pytest
from weights_and_cards import KINDS, run

QUICK = {"capsule": 8, "config.yaml": 5}
"""which take longest; of the others fifteen"""


@pytest.mark.parametrize("name", KINDS)
def test_damaged_files_are_refused_by_name_or_read(name: str) -> None:
    results = list(run(name, range(QUICK.get(name, 15))))
    assert [each for each in results if each.result not in ("read", "refused")] == []


@pytest.mark.slow
@pytest.mark.parametrize("name", KINDS)
def test_two_hundred_and_fifty_of_each(name: str) -> None:
    results = list(run(name, range(250)))
    assert [each for each in results if each.result not in ("read", "refused")] == []
    assert Counter(each.result for each in results)["refused"] > 0


@pytest.mark.parametrize("cut", [slice(0, 100), slice(100, 400)])
def test_a_state_with_a_part_cut_out_is_said_to_be_damaged(cut: slice, tmp_path: Path) -> None:
    path = KINDS["state"].make(tmp_path)
    whole = path.read_bytes()
    path.write_bytes(whole[: cut.start] + whole[cut.stop :])
    with pytest.raises(ValueError, match=rf"cannot go on: {re.escape(str(path))} is damaged"):
        KINDS["state"].read(path)
