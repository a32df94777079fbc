"""Random, balanced samples: sizes, fairness, repeatability."""

import pytest
import torch

from pagoda.ops.assign import sample_balanced, sample_rows


@pytest.mark.parametrize(
    ("positives", "negatives", "count", "share", "expected"),
    [
        (50, 500, 64, 0.25, (16, 48)),  # enough of both
        (3, 500, 64, 0.25, (3, 61)),  # negatives fill up
        (50, 10, 64, 0.25, (16, 10)),  # positives never pass their share
        (0, 5, 64, 0.5, (0, 5)),
        (0, 0, 64, 0.5, (0, 0)),
        (5, 7, None, 0.1, (5, 7)),  # all
        (5, 7, 1, 0.5, (0, 1)),
    ],
)
def test_sizes(positives, negatives, count, share, expected) -> None:
    place = torch.arange(600)[None]
    positive = place < positives
    negative = (place >= 80) & (place < 80 + negatives)
    sampled = sample_balanced(positive, negative, count=count, positive_share=share)
    assert ((sampled & positive).sum(), (sampled & negative).sum()) == expected
    assert not (sampled & ~positive & ~negative).any()


def test_pictures_of_a_batch_are_sampled_apart() -> None:
    positive = torch.zeros(2, 100, dtype=torch.bool)
    positive[0, :40] = True
    sampled = sample_balanced(positive, ~positive, count=20, positive_share=0.5)
    assert sampled.sum(1).tolist() == [20, 20]
    assert (sampled & positive).sum(1).tolist() == [10, 0]


def test_every_candidate_is_as_likely() -> None:
    generator = torch.Generator().manual_seed(0)
    candidates = torch.ones(4000, 8, dtype=torch.bool)
    candidates[:, 3] = False
    often = sample_rows(candidates, torch.full((4000,), 2), most=4, generator=generator).float().mean(0)
    assert often[3] == 0
    expected = torch.full((7,), 2 / 7)
    torch.testing.assert_close(often[candidates[0]], expected, rtol=0, atol=0.03)


def test_a_seed_gives_the_same_sample() -> None:
    candidates = torch.rand(3, 200) < 0.5
    samples = [
        sample_rows(candidates, torch.tensor([7, 8, 9]), most=9, generator=torch.Generator().manual_seed(4))
        for _ in range(2)
    ]
    assert torch.equal(*samples)
    torch.manual_seed(4)
    assert torch.equal(sample_rows(candidates, torch.tensor([7, 8, 9]), most=9), samples[0])
