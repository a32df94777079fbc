"""What Linux's files say of memory, drawn by hand: the machine's, that of control groups of both versions."""

import pytest

from pagoda import memory

GB = 2**30


@pytest.fixture
def told(tmp_path, monkeypatch):
    """Files to be written: (path below the folder, text)."""
    for name in ("PROCESS", "GROUPS"):
        monkeypatch.setattr(memory, name, tmp_path / name)
    monkeypatch.setattr(memory, "MACHINE", tmp_path / "meminfo")

    def write(name: str, text: str) -> None:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)

    return write


def test_the_machine_says_what_is_free(told):
    told("meminfo", "MemTotal:  8388608 kB\nMemFree:  1024 kB\nMemAvailable:  4194304 kB\n")
    assert memory.available_memory() == 4 * GB


def test_nobody_tells(told):
    assert memory.available_memory() is None and memory.held_memory() is None
    told("meminfo", "MemAvailable: lots\n")
    assert memory.available_memory() is None


@pytest.mark.parametrize("is_inner", [True, False])
def test_a_group_allows_less_than_the_machine_has(told, is_inner):
    told("meminfo", f"MemAvailable: {8 * GB // 1024} kB\n")
    told("PROCESS/cgroup", "0::/user/job\n")
    folder = "GROUPS/user/job" if is_inner else "GROUPS/user"
    told(f"{folder}/memory.max", f"{3 * GB}\n")
    told(f"{folder}/memory.current", f"{2 * GB}\n")
    told(f"{folder}/memory.stat", f"anon 5\ninactive_file {GB // 2}\n")
    assert memory.available_memory() == GB + GB // 2


def test_a_group_without_limit_allows_all(told):
    told("meminfo", f"MemAvailable: {8 * GB // 1024} kB\n")
    told("GROUPS/memory.max", "max\n")
    told("GROUPS/memory.current", "7\n")
    told("GROUPS/memory.stat", "inactive_file 0\n")
    assert memory.available_memory() == 8 * GB


def test_groups_of_the_first_version(told):
    told("meminfo", f"MemAvailable: {8 * GB // 1024} kB\n")
    told("PROCESS/cgroup", "5:cpu:/other\n4:memory:/docker/1\n")
    told("GROUPS/memory/docker/1/memory.limit_in_bytes", f"{2 * GB}")
    told("GROUPS/memory/docker/1/memory.usage_in_bytes", f"{3 * GB}")
    told("GROUPS/memory/docker/1/memory.stat", "total_inactive_file 0\n")
    assert memory.available_memory() == 0


def test_a_process_that_has_outgrown_nothing_knows_its_peak(told):
    told("PROCESS/status", "Name: python\nVmHWM:\t  2048 kB\nVmRSS:\t 1024 kB\n")
    assert (memory.peak_memory(), memory.held_memory()) == (2 * 2**20, 2**20)
    memory.forget_peak()
