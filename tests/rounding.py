"""Other processors round otherwise: `pytest --jitter 1e-6` shows which tests compare where rounding decides.

What convolutions and linear layers return in single precision is shaken by so much of itself. A layer says the same
of the same input again; two models that ought to agree, or a picture alone and in a batch, are shaken apart.
"""

from collections.abc import Callable
from functools import wraps

import torch
import torch.nn.functional as F
from torch import Tensor

SHAKEN = ("conv1d", "conv2d", "conv3d", "conv_transpose2d", "linear")


def shaken(layer: Callable[..., Tensor], size: float) -> Callable[..., Tensor]:
    """`layer` of torch.nn.functional with outputs off by up to `size`, relatively."""
    generator = torch.Generator()

    @wraps(layer)
    def wrapper(inputs: Tensor, weight: Tensor, *arguments, **options) -> Tensor:
        outputs = layer(inputs, weight, *arguments, **options)
        if torch.compiler.is_compiling() or type(outputs) is not Tensor or outputs.dtype != torch.float32:
            return outputs
        if outputs.device.type != "cpu" or not outputs.numel():
            return outputs
        facts = (weight.data_ptr(), inputs.shape, inputs.stride(), float(outputs.detach().sum()))
        noise = torch.empty(outputs.shape).uniform_(
            1 - size, 1 + size, generator=generator.manual_seed(hash(facts))
        )
        return outputs * noise

    return wrapper


def shake(size: float) -> None:
    """From here on, in this process."""
    for name in SHAKEN:
        setattr(F, name, shaken(getattr(F, name), size))
