"""A model in evaluation mode, without a change to one that others may train at the same time."""

import copy
from typing import TypeVar

from torch import nn

Model = TypeVar("Model", bound=nn.Module)


def evaluating(model: Model) -> Model:
    """The model itself where all of it is in evaluation mode, else a twin that is, and has the same weights.

    Weights and statistics are shared, not copied, and the model's own mode is never touched: another thread may train
    it meanwhile, and what is seen then are the weights of that moment. Many threads may use one model so.
    Raises ValueError where the weights have another precision than the model computes in.

    >>> model = nn.Sequential(nn.Linear(2, 2), nn.Dropout())
    >>> twin = evaluating(model)
    >>> twin.training, model.training, twin[0].weight is model[0].weight, evaluating(twin) is twin
    (False, True, True, True)
    """
    check_precision(model)
    if not any(module.training for module in model.modules()):
        return model
    shared = (*model.parameters(), *model.buffers())
    try:
        return copy.deepcopy(model, {id(tensor): tensor for tensor in shared}).eval()
    except (TypeError, RuntimeError):  # a lock, a generator, a tensor of a graph among its attributes
        return _twin(model, {}).eval()


def check_precision(model: nn.Module) -> None:
    """Raises ValueError where a part's weights are not of the type `model.computes_in`, after `model.half()` say."""
    expected = getattr(model, "computes_in", None)
    for name, part in model.named_children() if expected is not None else ():
        weight = next((weight for weight in part.parameters() if weight.is_floating_point()), None)
        if weight is not None and weight.dtype != expected:
            raise ValueError(
                f"the model's {name} must have weights of {expected}, got {weight.dtype}: undo it by"
                f" model.to({expected}); for fewer bits take pagoda.optimize(model, dtype=torch.bfloat16) or"
                " torch.float16, which leaves boxes and scores in float32"
            )


def _twin(module: Model, known: dict[int, nn.Module]) -> Model:
    """Another module of the same parts, down to the smallest, that shares every attribute which is no module."""
    if id(module) not in known:
        twin = known[id(module)] = object.__new__(type(module))
        twin.__dict__.update(module.__dict__)
        twin.__dict__["_modules"] = {
            name: None if part is None else _twin(part, known) for name, part in module._modules.items()
        }
    return known[id(module)]  # type: ignore[return-value]
