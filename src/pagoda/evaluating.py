"""A model in evaluation mode, without a change to one that others may train at the same time."""

import copy
from typing import TypeVar

from torch import nn

Model = TypeVar("Model", bound=nn.Module)


def evaluating(model: Model) -> Model:
    """The model itself where all of it is in evaluation mode, else a twin that is, and has the same weights.

    Weights and statistics are shared, not copied, and the model's own mode is never touched: another thread may train
    it meanwhile, and what is seen then are the weights of that moment. Many threads may use one model so.
    """
    if not any(module.training for module in model.modules()):
        return model
    shared = (*model.parameters(), *model.buffers())
    return copy.deepcopy(model, {id(tensor): tensor for tensor in shared}).eval()
