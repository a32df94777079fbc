"""Damaged annotations end in a sentence that names the file: some of each format; 3,000 in the slow test."""

import pytest
from annotations import KINDS, run

pytestmark = pytest.mark.medium


@pytest.mark.parametrize("name", KINDS)
def test_damaged_annotations_are_refused_by_name_or_read(name: str) -> None:
    results = list(run(name, range(5)))
    assert [each for each in results if each.result not in ("read", "refused")] == []


@pytest.mark.slow
@pytest.mark.parametrize("name", KINDS)
def test_three_thousand_of_all(name: str) -> None:
    results = list(run(name, range(5, 5 + -(-3000 // len(KINDS)))))
    assert [each for each in results if each.result not in ("read", "refused")] == []
    assert {each.result for each in results} == {"read", "refused"}
