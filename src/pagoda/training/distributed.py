"""How many processes train together: one, or what `accelerate launch` or `torchrun` started."""

import os

import torch
from accelerate import PartialState


def processes(device: str = "auto") -> PartialState:
    """The processes of this run (how many, which one this is), opened at the first call; by gloo without accelerator.

    The state is one per Python process and keeps what the first call said, so a single process never binds
    itself to a device here.

    >>> processes("cpu").is_main_process
    True
    """
    is_one_of_many = int(os.environ.get("WORLD_SIZE", "1")) > 1
    on_cpu = device == "cpu" or not torch.accelerator.is_available()
    return PartialState(cpu=is_one_of_many and on_cpu)
