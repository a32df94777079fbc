"""One run, one writer; drafts of killed processes; the same bytes for the same content."""

import json
import os
import platform
import subprocess
import sys
from hashlib import sha256

import pytest
import torch

from pagoda.files import drafts, lock
from pagoda.files.atomic import numbered, write_atomically, write_free
from pagoda.files.drafts import draft_beside, settle, settle_free, sweep_drafts
from pagoda.files.lock import FolderInUseError, hold_folder, writer_of
from pagoda.follow.frame_log import FoundWriter
from pagoda.training.last import save_last
from pagoda.training.run_log import RunLog
from pagoda.weights.files import save_weights, state_hash

GONE = 2**22 + 1
"""a process id that no system gives"""


def test_a_second_writer_is_told_who_holds_the_folder(tmp_path):
    with hold_folder(tmp_path, "trains"):
        assert writer_of(tmp_path).pid == os.getpid()
        said = rf"process {os.getpid()} trains in this folder since \d\d:\d\d"
        with pytest.raises(FolderInUseError, match=said), hold_folder(tmp_path, "trains"):
            pass
        assert writer_of(tmp_path) is not None, "the one who came second takes nothing away"
    with hold_folder(tmp_path, "trains"):
        pass
    assert writer_of(tmp_path) is None


def test_what_a_killed_writer_says_of_itself_keeps_nobody_out(tmp_path):
    facts = {"pid": GONE, "host": platform.node(), "doing": "trains", "since": "2020-01-01T10:42:00"}
    (tmp_path / ".writer.json").write_text(json.dumps(facts))
    assert writer_of(tmp_path).is_gone
    with hold_folder(tmp_path, "trains"):
        assert writer_of(tmp_path).pid == os.getpid()


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"pid": 1}', "\0"])
def test_a_damaged_word_of_the_writer_is_no_word(tmp_path, content):
    (tmp_path / ".writer.json").write_text(content)
    assert writer_of(tmp_path) is None


def test_the_folder_of_a_process_that_was_killed_is_free(tmp_path):
    code = "import os, sys; from pagoda.files.lock import hold_folder as hold\nwith hold(sys.argv[1], ''): os._exit(9)"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    assert subprocess.run([sys.executable, "-c", code, str(tmp_path)], env=environment).returncode == 9
    assert writer_of(tmp_path) is not None
    with hold_folder(tmp_path, "trains"):
        pass


def test_a_disk_without_locks_is_used_with_a_warning(tmp_path, monkeypatch):
    def unknown(*_, **__):
        raise NotImplementedError

    monkeypatch.setattr(lock.FileLock, "acquire", unknown)
    with pytest.warns(UserWarning, match="knows no locks"), hold_folder(tmp_path, "trains"):
        assert writer_of(tmp_path) is not None


def named(pid, machine=None, run="0" * 8):
    return f".draft-{machine or drafts._machine()}-{pid}-{run}-abc"


def test_drafts_of_the_dead_are_swept_and_those_of_the_living_stay(tmp_path):
    mine = draft_beside(tmp_path / "a.png")
    dead = [tmp_path / named(GONE), tmp_path / named(os.getpid())]  # a former process with this one's number
    others = [
        tmp_path / named(os.getppid()),
        tmp_path / named(GONE, machine="f" * 8),
        tmp_path / ".draft-note",
    ]
    old = tmp_path / named(GONE, machine="e" * 8)
    for path in (*dead, *others, old):
        path.touch()
    os.utime(old, (0, 0))
    assert sorted(sweep_drafts(tmp_path)) == sorted([*dead, old])
    assert sorted(tmp_path.iterdir()) == sorted([mine, *others])
    assert sweep_drafts(tmp_path / "nowhere") == []


def test_what_stood_there_before_is_kept_under_its_other_name(tmp_path):
    for text in ("one", "two", "three"):
        draft = draft_beside(tmp_path / "a")
        draft.write_text(text)
        settle(draft, tmp_path / "a", keep_as=tmp_path / "b")
    assert ((tmp_path / "a").read_text(), (tmp_path / "b").read_text()) == ("three", "two")
    assert len(list(tmp_path.iterdir())) == 2


@pytest.mark.parametrize("has_links", [True, False])
def test_a_free_name_is_taken_when_the_file_is_whole(tmp_path, monkeypatch, has_links):
    if not has_links:
        monkeypatch.setattr(os, "link", lambda *_: (_ for _ in ()).throw(PermissionError("no links here")))
    (tmp_path / "a.txt").write_text("old")
    draft = draft_beside(tmp_path / "a.txt")
    draft.write_text("new")
    assert settle_free(draft, numbered(tmp_path / "a.txt")).name == "a-2.txt"
    assert (tmp_path / "a.txt").read_text() == "old" and (tmp_path / "a-2.txt").read_text() == "new"


@pytest.mark.parametrize("write", [write_atomically, write_free])
def test_a_failed_write_leaves_the_old_file_and_no_draft(tmp_path, write):
    (tmp_path / "a").write_text("old")

    def fails(draft):
        draft.write_text("ha")
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match=r"could not write .*a: .*No space left on device; free some space"):
        write(tmp_path / "a", fails)
    assert [path.name for path in tmp_path.iterdir()] == ["a"] and (tmp_path / "a").read_text() == "old"


def test_a_checkpoint_has_the_same_hash_for_the_same_content(tmp_path):
    tensors = {name: torch.arange(4.0) + number for number, name in enumerate("abc")}
    card = {"names": ["人", "car \n"], "metrics": {"AP": 0.5}}
    hashes = set()
    for number in range(8):  # the library shuffles what it writes, anew for each file
        path = save_weights(tmp_path / f"{number}.safetensors", tensors, card)
        hashes.add(sha256(path.read_bytes()).hexdigest())
    assert len(hashes) == 1


def test_the_hash_of_weights_tells_values_names_shapes_and_types(tmp_path):
    values = torch.arange(4.0)
    others = [
        {"a": values + 1},
        {"b": values},
        {"a": values.reshape(2, 2)},
        {"a": values.double()},
        {"a": values.bfloat16()},
        {},
        {"a": torch.tensor(0.0)},
    ]
    hashes = [state_hash(state) for state in ({"a": values}, *others)]
    assert len(set(hashes)) == len(hashes) and state_hash({"a": values.clone()}) == hashes[0]


@pytest.mark.parametrize("name", [".lock", "metrics.jsonl", "tensorboard", "found.jsonl", "last"])
def test_no_link_in_somebodys_run_folder_leads_to_another_file(tmp_path, name):
    """What a run appends to or cuts is its own: a link would have another file emptied."""
    (tmp_path / "run").mkdir()
    (tmp_path / "mine").write_text("mine")
    (tmp_path / "run" / name).symlink_to(tmp_path / "mine")
    told = r"is a link to .*mine, which would be written to"
    with pytest.raises(ValueError, match=told), hold_folder(tmp_path / "run", "trains"):
        save_last(tmp_path / "run", {"step": 1})
        FoundWriter(tmp_path / "run" / "found.jsonl", {}).close()
        RunLog(tmp_path / "run", total_steps=1, quiet=True).close()
    assert (tmp_path / "mine").read_text() == "mine"
