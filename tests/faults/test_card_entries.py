"""A card with any entry changed ends in a sentence that names file and entry, or in a model that works: some changes of
each family; all of them in the slow test."""

import pytest
from card_entries import MODELS, run

QUICK = {name: 4 for name in MODELS if name != "detect_and_track_resnet18_3d"} | {"efficientdet_d0": 2}
"""how many of each; the one left out is large"""


@pytest.mark.medium
@pytest.mark.parametrize("name", QUICK)
def test_a_changed_entry_is_told_or_makes_a_model_that_works(name: str) -> None:
    results = list(run(name, range(QUICK[name])))
    assert [each for each in results if each.result not in ("read", "refused")] == []


@pytest.mark.slow
@pytest.mark.parametrize("name", MODELS)
def test_all_changes_of_all_entries(name: str) -> None:
    results = list(run(name, range(100_000)))
    assert [each for each in results if each.result not in ("read", "refused")] == []
    assert {each.result for each in results} == {"read", "refused"}
