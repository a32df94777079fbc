"""Activation checkpointing (Chen 2016): forget what lies inside a block, compute it again for the gradients."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext

from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from pagoda.layers.norm import BATCH_NORMS


def recomputed(block: nn.Module, function: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """`function(x)`, a part of `block`, holding only `x`; batch norms count the step once."""
    return checkpoint(
        function, x, use_reentrant=False, context_fn=lambda: (nullcontext(), _statistics_kept(block))
    )


@contextmanager
def _statistics_kept(block: nn.Module) -> Iterator[None]:
    """Updates of running statistics go to copies, which are thrown away."""
    norms = [module for module in block.modules() if isinstance(module, BATCH_NORMS) and module.training]
    kept = [(norm, name, buffer) for norm in norms for name, buffer in norm.named_buffers(recurse=False)]
    for norm, name, buffer in kept:
        setattr(norm, name, buffer.clone())
    try:
        yield
    finally:
        for norm, name, buffer in kept:
            setattr(norm, name, buffer)
