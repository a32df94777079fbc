"""Category ids that are off by one are told from slips."""

import pytest

from pagoda.data.reading.category_ids import find_category_shift


@pytest.mark.parametrize(
    ("used", "known", "shift"),
    [
        ({0, 1, 2}, {1, 2, 3}, 1),
        ({1, 2, 3}, {0, 1, 2}, -1),
        ({1, 2}, {1, 2, 3}, 0),  # nothing unknown
        ({0}, {1}, 1),
        ({4}, {1, 2, 3}, 0),  # a slip
        ({0, 1, 3}, {1, 2, 3}, 0),  # 3 would become 4
        (set(), {1}, 0),
    ],
)
def test_category_shift(used, known, shift):
    assert find_category_shift(used, known) == shift
