"""Processes that are started again find one another in a store where others have been before."""

from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from torch import distributed

from pagoda.training.distributed import processes, seed_batch
from pagoda.training.meeting import agree, meeting_place


def meet(store: distributed.Store, size: int) -> set[str]:
    """What a group of threads agrees on."""
    with ThreadPoolExecutor(size) as threads:
        return set(threads.map(lambda rank: agree(store, rank, size, seconds=60), range(size)))


def test_groups_of_any_size_agree_on_a_name_of_their_own() -> None:
    store = distributed.HashStore()
    groups = [meet(store, size) for size in (3, 3, 2, 4, 1)]
    assert [len(names) for names in groups] == [1] * 5
    assert len(set.union(*groups)) == 5


def test_who_was_here_before_does_not_count() -> None:
    store = distributed.HashStore()
    meet(store, 2)
    with pytest.raises(TimeoutError, match="process 1 of this run does not come"):
        agree(store, 0, 2, seconds=0.1)
    with pytest.raises(TimeoutError, match="the first process of this run does not come"):
        agree(store, 1, 2, seconds=0.1)


def test_a_new_store_needs_no_agreement(monkeypatch: pytest.MonkeyPatch) -> None:
    assert meeting_place() == {}
    monkeypatch.setenv("TORCHELASTIC_USE_AGENT_STORE", "True")
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("WORLD_SIZE", "1")
    assert meeting_place() == {}


@pytest.mark.parametrize(("word", "name"), [("FSDP", "FSDP"), ("DEEPSPEED", "DeepSpeed")])
def test_models_in_pieces_are_refused(monkeypatch: pytest.MonkeyPatch, word: str, name: str) -> None:
    monkeypatch.setenv(f"ACCELERATE_USE_{word}", "true")
    with pytest.raises(
        ValueError,
        match=f"told to use {name}, which would cut the model into pieces .* torchrun, and --shard",
    ):
        processes("cpu")


def test_what_a_model_draws_follows_from_batch_and_process() -> None:
    def drawn(*words: int) -> float:
        seed_batch(*words)
        return torch.rand(()).item()

    with torch.random.fork_rng(devices=[]):
        assert drawn(1, 2, 3) == drawn(1, 2, 3)
        assert len({drawn(*words) for words in ((1, 2, 3), (2, 2, 3), (1, 3, 3), (1, 2, 4))}) == 4
