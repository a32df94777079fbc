"""How processes that `torchrun` has started find each other, and not those of a group before them.

Groups that torchrun starts again, after a failure or when machines come and go, share one store of addresses, in which
those of the ended group still stand: torch 2.14 takes them for the new ones, and waits for processes that are gone.
"""

import os
from collections.abc import Callable
from datetime import timedelta
from secrets import token_hex
from time import monotonic, sleep

from torch import distributed

PATIENCE_SECONDS = 600
"""for the others to come"""


def meeting_place() -> dict[str, object]:
    """What `torch.distributed.init_process_group` is told so that only processes of this group meet; nothing where
    their store is new. Raises TimeoutError where not all come.

    >>> meeting_place()
    {}
    """
    if os.environ.get("TORCHELASTIC_USE_AGENT_STORE") != "True" or distributed.is_initialized():
        return {}
    rank, world_size = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    if world_size == 1:
        return {}
    store = distributed.TCPStore(
        os.environ["MASTER_ADDR"],
        int(os.environ["MASTER_PORT"]),
        is_master=False,
        timeout=timedelta(seconds=PATIENCE_SECONDS),
    )
    name = agree(store, rank, world_size)
    return {"store": distributed.PrefixStore(name, store), "rank": rank, "world_size": world_size}


def agree(store: distributed.Store, rank: int, world_size: int, *, seconds: float = PATIENCE_SECONDS) -> str:
    """A name for the group that nobody had before, the same for all who ask now; what others left in the store does not
    matter. Raises TimeoutError where after so many seconds not all have asked.

    Each says a word of its own; the first one answers to every word it finds with the name, until each who asks has
    said that it heard. An answer to the word of somebody who is gone is heard by nobody.

    >>> agree(distributed.HashStore(), 0, 1) == agree(distributed.HashStore(), 0, 1)
    False
    """
    mine, until = token_hex(8), monotonic() + seconds
    if rank:
        store.set(f"pagoda/word/{rank}", mine)
        _wait(lambda: store.check([f"pagoda/answer/{mine}"]), until, "the first process")
        name = store.get(f"pagoda/answer/{mine}").decode()
        store.set(f"pagoda/heard/{name}/{rank}", "")
        return name
    for other in range(1, world_size):
        _wait(lambda other=other: _is_answered(store, mine, other), until, f"process {other}")  # type: ignore[misc]
    return mine


def _is_answered(store: distributed.Store, name: str, other: int) -> bool:
    """Answer to the word that stands there of another process; whether that has heard."""
    if store.check([f"pagoda/word/{other}"]):
        store.set(f"pagoda/answer/{store.get(f'pagoda/word/{other}').decode()}", name)
    return store.check([f"pagoda/heard/{name}/{other}"])


def _wait(is_done: Callable[[], bool], until: float, whom: str) -> None:
    while not is_done():
        if monotonic() > until:
            raise TimeoutError(
                f"{whom} of this run does not come: look for its message, and at the addresses and ports given to"
                " torchrun on each machine"
            )
        sleep(0.02)  # asleep in here signals are heard
