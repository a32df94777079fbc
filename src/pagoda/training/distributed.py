"""The processes that train together: how many there are, and what they tell each other in every step.

One process, or what `torchrun` or `accelerate launch` started, perhaps on several machines.
"""

import math
import os
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch
from accelerate import PartialState
from torch import Tensor, distributed, nn
from torch.nn.parallel import DistributedDataParallel

from pagoda.data.loading import Skipped
from pagoda.training.meeting import meeting_place

SHARDING = {
    "ACCELERATE_USE_FSDP": "FSDP",
    "ACCELERATE_USE_DEEPSPEED": "DeepSpeed",
    "ACCELERATE_USE_MEGATRON_LM": "Megatron-LM",
    "ACCELERATE_USE_PARALLELISM_CONFIG": "a parallelism_config",
}
"""by the words with which `accelerate launch` asks for it: models cut into pieces in a way that is not ours"""


class LostProcessError(ConnectionError):
    """Another process of the run has ended, so that this one cannot go on.

    >>> error = RuntimeError("[…/pair.cc:547] Connection closed by peer. This is …")
    >>> print(LostProcessError(error, "stopped at step 7 of 9"))
    another process of this run has gone, and says or said why (Connection closed by peer); stopped at step 7 of 9
    """

    def __init__(self, error: RuntimeError, said: str = "") -> None:
        """`said`: what is kept, and how to go on."""
        text = str(error).partition("\n")[0].partition(". ")[0].rpartition("cc:")[2].partition("] ")[2]
        super().__init__(
            f"another process of this run has gone, and says or said why ({text}){'; ' * bool(said)}{said}"
        )


def processes(device: str = "auto") -> PartialState:
    """The processes of this run (how many, which one this is), opened at the first call; by gloo without accelerator.

    The state is one per Python process and keeps what the first call said, so a single process never binds
    itself to a device here. Raises ValueError where the launcher asks for a model cut into pieces.

    >>> processes("cpu").is_main_process
    True
    """
    asked = [name for word, name in SHARDING.items() if os.environ.get(word, "").lower() in ("true", "1")]
    if asked:
        raise ValueError(
            f"accelerate was told to use {asked[0]}, which would cut the model into pieces not looked after here: start"
            " it with torchrun, and --shard to have it cut, or answer 'no' to that in `accelerate config`"
        )
    on_cpu = device == "cpu" or not torch.accelerator.is_available()
    return PartialState(cpu=num_started() > 1 and on_cpu, **meeting_place())


def num_started() -> int:
    """How many processes the launcher has started, told without opening their group.

    >>> num_started()
    1
    """
    return int(os.environ.get("WORLD_SIZE", "1"))


def num_restarts() -> int:
    """How often torchrun has started these processes again, after one of them failed.

    >>> num_restarts()
    0
    """
    return int(os.environ.get("TORCHELASTIC_RESTART_COUNT", "0"))


def seed_batch(seed: int, batch: int, process: int) -> None:
    """Begin torch's random numbers, on every device, anew for the batch of that number over the run.

    Where several processes learn, one file cannot hold the state of each: what a model draws, the regions of an R-CNN
    or its dropout, follows from the batch and the process instead.
    """
    torch.manual_seed(int(np.random.SeedSequence((seed, batch, process)).generate_state(1)[0]))


def sum_exactly(model: nn.Module) -> nn.Module:
    """What accelerate has made of a model, with the gradients of processes on CPUs summed tensor by tensor.

    torch sums them in buckets, in an order that depends on where in its bucket a number stands, and fills the buckets
    anew after the first step: three processes or more would not go on to the same bits.
    """
    if isinstance(model, DistributedDataParallel) and model.device_type == "cpu":
        model.register_comm_hook(None, _mean_each)
    return model


def _mean_each(_: object, bucket: distributed.GradBucket) -> torch.futures.Future[Tensor]:
    for gradient in bucket.gradients():
        distributed.all_reduce(gradient.div_(distributed.get_world_size()))
    done: torch.futures.Future[Tensor] = torch.futures.Future()
    done.set_result(bucket.buffer())
    return done


class StepLosses(NamedTuple):
    """The losses of a batch over all processes."""

    mine: dict[str, Tensor]
    """each loss of this process's share"""
    total: Tensor
    """their sum, from which gradients follow"""
    values: dict[str, float]
    """each loss of the whole batch: the mean over processes"""
    is_mine_finite: bool
    """whether `total` is a number"""
    is_finite: bool
    """whether it is one in every process"""
    num_skipped: int
    """pictures that could not be read, in all processes"""

    @property
    def is_suspect(self) -> bool:
        """Whether what is wrong with this batch may come from this process's share: not where only others' is odd."""
        return self.is_finite or not self.is_mine_finite


def sum_losses(losses: dict[str, Tensor], num_skipped: int, num_processes: int) -> StepLosses:
    """Add up a batch's losses and tell all processes what they are; the device is waited for once.

    >>> sum_losses({"boxes": torch.tensor(0.5), "classes": torch.tensor(1.5)}, 0, 1).values
    {'boxes': 0.5, 'classes': 1.5}
    """
    parts = torch.stack(list(losses.values()))
    total = parts.sum()
    told = torch.cat([parts.detach(), total.detach()[None]]).float()
    if num_processes == 1:
        *values, whole = told.tolist()
        is_finite = math.isfinite(whole)
        return StepLosses(
            losses, total, dict(zip(losses, values, strict=True)), is_finite, is_finite, num_skipped
        )
    is_odd = ~torch.isfinite(told[-1:])
    skipped = told.new_tensor([num_skipped])
    shared = torch.cat([told[:-1] / num_processes, is_odd.float(), skipped])
    distributed.all_reduce(shared)
    *values, num_odd, skipped_by_all = shared.tolist()
    mine = not is_odd.item()
    return StepLosses(
        losses, total, dict(zip(losses, values, strict=True)), mine, num_odd == 0, round(skipped_by_all)
    )


def all_skipped(mine: Sequence[Skipped], num_processes: int) -> list[Skipped]:
    """What all processes have skipped in this batch, in the order of the processes, which all must ask."""
    if num_processes == 1:
        return list(mine)
    shares: list[Sequence[Skipped]] = [mine] * num_processes
    distributed.all_gather_object(shares, list(mine))
    return [each for share in shares for each in share]


def check_same_data(mine: Mapping[str, str], num_processes: int) -> None:
    """Raises ValueError in every process where not all see the same data; `mine` are fingerprints by split.

    All must ask.

    >>> check_same_data({"train": "12ab", "val": "34cd"}, 1)
    """
    if num_processes == 1:
        return
    told = [dict(mine)] * num_processes
    distributed.all_gather_object(told, dict(mine))
    others = [index for index, each in enumerate(told) if each != told[0]]
    if others:
        splits = [split for split in told[0] if any(each.get(split) != told[0][split] for each in told)]
        raise ValueError(
            f"the data are not the same on all machines: {' and '.join(splits)} of process"
            f" {', '.join(map(str, others))} are not those of process 0 (names or sizes of pictures, objects or"
            " classes); give all of them the same copy"
        )


def highest(number: int, device: torch.device, num_processes: int) -> int:
    """The highest that any process says; all must ask."""
    if num_processes == 1:
        return number
    told = torch.tensor([number], device=device)
    distributed.all_reduce(told, distributed.ReduceOp.MAX)
    return int(told.item())


def share_buffers(model: nn.Module, num_processes: int) -> None:
    """Give every process the main one's buffers, statistics of batch norms: what is saved is what is scored then."""
    if num_processes > 1:
        for buffer in model.buffers():
            distributed.broadcast(buffer, 0)


def is_of_lost_process(error: RuntimeError) -> bool:
    """Whether torch says by this error that another process has gone.

    >>> is_of_lost_process(RuntimeError("[…/gloo/transport/tcp/pair.cc:547] Connection closed by peer [127.0.0.1]:47"))
    True
    """
    return isinstance(error, distributed.DistError) or "gloo" in str(error).partition("\n")[0]
