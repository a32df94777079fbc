"""What random changes draw, all of it from torch's CPU generator: events, numbers, whole numbers."""

import torch


def probability(p: float) -> float:
    """`p` itself. Raises ValueError unless it is 0 … 1.

    >>> probability(0.5)
    0.5
    """
    if not 0 <= p <= 1:
        raise ValueError(f"p is a probability, 0 … 1, got {p}")
    return p


def happens(p: float) -> bool:
    """True with probability `p`; one number is drawn whatever it is.

    >>> happens(0.0), happens(1.0)
    (False, True)
    """
    return torch.rand(()).item() < probability(p)


def between(low: float, high: float) -> float:
    """A number from `low` up to, not including, `high`.

    >>> between(2.0, 2.0)
    2.0
    """
    return low + (high - low) * torch.rand(()).item()


def below(count: int) -> int:
    """One of 0 … count - 1, each as likely as the others.

    >>> below(1)
    0
    """
    return int(torch.randint(count, ()))


def scaled(side: int, scale: float) -> int:
    """A side of whole pixels times `scale`, rounded, at least 1.

    >>> scaled(3, 0.5), scaled(3, 0.1)
    (2, 1)
    """
    return max(int(side * scale + 0.5), 1)
