"""Which anchors and regions take part in a training step: a random, balanced choice. B images, P candidates."""

import torch
from jaxtyping import Bool, Int
from torch import Tensor


def sample_rows(
    candidates: Bool[Tensor, "b p"],
    counts: Int[Tensor, " b"],
    *,
    most: int,
    generator: torch.Generator | None = None,
) -> Bool[Tensor, "b p"]:
    """A random `counts[i]` of each row's candidates, all of them where there are fewer; `most` bounds `counts`.

    Random numbers are drawn on the CPU, so a seed of `generator` gives the same choice on every device.

    >>> candidates = torch.tensor([[True, True, True, False], [True, False, False, False]])
    >>> sample_rows(candidates, torch.tensor([2, 2]), most=2).sum(1)
    tensor([2, 1])
    """
    keys = torch.rand(candidates.shape, generator=generator).to(candidates.device)
    keys = keys.masked_fill(~candidates, -1.0)
    best, rows = keys.topk(min(most, keys.shape[1]), dim=1)
    place = torch.arange(best.shape[1], device=keys.device)
    chosen = (best >= 0) & (place < counts[:, None])
    return torch.zeros_like(candidates).scatter(1, rows, chosen)


def sample_balanced(
    positive: Bool[Tensor, "b p"],
    negative: Bool[Tensor, "b p"],
    *,
    count: int | None,
    positive_share: float,
    generator: torch.Generator | None = None,
) -> Bool[Tensor, "b p"]:
    """`count` of each picture's positives and negatives, positives at most their share; None: all.

    Where positives are few, negatives fill up; where negatives are few, the sample stays smaller.

    >>> positive = torch.arange(100)[None] < 1
    >>> chosen = sample_balanced(positive, ~positive, count=10, positive_share=0.5)
    >>> (chosen & positive).sum(), (chosen & ~positive).sum()
    (tensor(1), tensor(9))
    """
    if count is None:
        return positive | negative
    limit = int(count * positive_share)
    num_positive = positive.sum(1).clamp(max=limit)
    return sample_rows(positive, num_positive, most=limit, generator=generator) | sample_rows(
        negative, count - num_positive, most=count, generator=generator
    )
