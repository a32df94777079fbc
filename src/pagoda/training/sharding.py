"""Where a run's weights are: whole in every process, or cut into pieces, one for each, as are their gradients, the
optimiser's means and the average.

torch's FSDP puts the weights of a part together when the part is used, and the pieces of its gradients where they
belong. What is written is whole, so that any number of processes, cut or not, goes on with it.
"""

import copy
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn, optim

from pagoda.layers.memory_format import order_weights
from pagoda.structures.images import ImageBatch
from pagoda.structures.tubes import AnyTargets
from pagoda.training.ema import ModelAverage


class Losses(nn.Module):
    """`model.losses` as a `forward`, which is what wrappers that share a model among processes look after.

    >>> sum(parameter.numel() for parameter in Losses(nn.Linear(2, 2)).parameters())
    6
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: ImageBatch, targets: Sequence[AnyTargets]) -> dict[str, Tensor]:
        return self.model.losses(images, targets)


def cut_up(
    model: nn.Module, optimizer: optim.Optimizer, average: ModelAverage, device: torch.device
) -> Losses:
    """Cut all that is whole in every process of the group, and keep this process's pieces; returns the model's losses,
    which put the weights together while they are computed.

    Args:
        model: each stage of its backbone is put together for itself, the rest of it at once.
        optimizer: of the model; it then changes pieces.
        average: of the model.
        device: of the process.

    Raises ValueError for what torch cannot cut: weights that are single numbers.
    """
    # Brings the compiler along, which nobody else needs.
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    scalars = [name for name, parameter in model.named_parameters() if parameter.ndim == 0]
    if scalars:
        raise ValueError(
            f"torch cuts no single numbers, which this model learns ({scalars[0]}): leave --shard out"
        )
    losses = Losses(model)
    order_weights(model, channels_last=False)  # torch cuts no others
    mesh = init_device_mesh(device.type, (torch.distributed.get_world_size(),))
    before = list(model.parameters())
    for stage in model.get_submodule("backbone").children():
        if any(True for _ in stage.parameters()):
            fully_shard(stage, mesh=mesh)
    fully_shard(losses, mesh=mesh)
    pieces = dict(zip(before, model.parameters(), strict=True))
    for group in optimizer.param_groups:
        group["params"] = [pieces[parameter] for parameter in group["params"]]
    for parameter, means in list(optimizer.state.items()):
        piece = pieces[parameter]
        del optimizer.state[parameter]
        optimizer.state[piece] = {name: cut_like(value, piece) for name, value in means.items()}
    learnt = dict(model.named_parameters(remove_duplicate=False))
    averaged = average.model.named_parameters(remove_duplicate=False)
    average.cut({name: cut_like(value, learnt[name]) for name, value in averaged})
    return losses


def cut_like(value: Any, piece: Any) -> Any:
    """This process's piece of a whole tensor of the same shape as the one that `piece` is of; others are left."""
    from torch.distributed.tensor import distribute_tensor

    if not isinstance(value, Tensor) or value.shape != piece.shape:
        return value
    whole = value.detach().contiguous()
    return distribute_tensor(whole, piece.device_mesh, piece.placements, src_data_rank=None)


def whole(value: Any, *, is_kept: bool = True) -> Any:
    """Tensors put together, in dicts and lists, too, one after another on the CPU; all processes must ask.

    >>> whole({"weight": torch.ones(1), "steps": [3]})
    {'weight': tensor([1.]), 'steps': [3]}

    Args:
        is_kept: False: this process only helps the others, and gets nothing for a tensor that was cut.
    """
    if isinstance(value, Mapping):
        return {name: whole(each, is_kept=is_kept) for name, each in value.items()}
    if isinstance(value, list):
        return [whole(each, is_kept=is_kept) for each in value]
    if not hasattr(value, "full_tensor"):
        return value
    together = value.full_tensor()
    return together.cpu() if is_kept else None


def learnt_state(
    model: nn.Module,
    optimizer: optim.Optimizer,
    average: ModelAverage | None,
    *,
    is_cut: bool = False,
    is_kept: bool = True,
) -> dict[str, Any]:
    """What a run has learnt, whole: "model", "average" (nothing without one) and "optimizer".

    Where the model is cut all processes must ask, also those that do not keep it.

    >>> layer = nn.Linear(1, 1)
    >>> {name: len(part) for name, part in learnt_state(layer, optim.SGD(layer.parameters()), None).items()}
    {'model': 2, 'average': 0, 'optimizer': 2}
    """
    parts = {
        "model": model.state_dict(),
        "average": {} if average is None or not average.decay else average.model.state_dict(),
        "optimizer": optimizer.state_dict(),
    }
    if average is not None and parts["average"]:
        parts["average"].update(average.pieces)
    return whole(parts, is_kept=is_kept) if is_cut else parts


def restore_learnt(
    state: Mapping[str, Any], model: nn.Module, optimizer: optim.Optimizer, average: ModelAverage | None
) -> None:
    """Undo what was learnt since `learnt_state`; of a model that is not cut yet.

    >>> layer = nn.Linear(1, 1)
    >>> optimizer = optim.SGD(layer.parameters())
    >>> before = copy.deepcopy(learnt_state(layer, optimizer, None))
    >>> _ = nn.init.constant_(layer.weight, 9.0)
    >>> restore_learnt(before, layer, optimizer, None)
    >>> layer.weight.item() == before["model"]["weight"].item()
    True
    """
    model.load_state_dict(state["model"])
    if average is not None:
        average.model.load_state_dict(state["average"] or state["model"])
    optimizer.load_state_dict(state["optimizer"])


def whole_model(model: nn.Module, average: ModelAverage) -> nn.Module:
    """A copy of a model that is cut, in one piece; all processes must ask."""
    together = copy.deepcopy(average.whole()).train()
    together.load_state_dict(whole(model.state_dict()))
    return together
