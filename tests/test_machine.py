"""Which device and precision are taken: mocked machines of both kinds, the file that keeps what was measured."""

import json

import pytest
import torch

from pagoda import machine
from pagoda.machine import Machine, choose_precision, find_device, measure, this_machine

CPU = torch.device("cpu")
KIND = {"processor": "some", "device": "cpu", "threads": 2, "torch": "2.14.1"}
WITHOUT_AMX = Machine(**KIND, inference={"fp32": 163, "bf16": 89}, training={"fp32": 176, "bf16": 94})
WITH_BF16 = Machine(
    **KIND, inference={"fp32": 521, "bf16": 1038, "fp16": 30}, training={"fp32": 500, "bf16": 590}
)


@pytest.fixture
def measures(tmp_path, monkeypatch):
    """Nothing preset, nothing kept; the list of measurements made from now on."""
    monkeypatch.delenv("PAGODA_PRECISION", raising=False)
    monkeypatch.setattr(machine, "user_cache_path", lambda name: tmp_path / name)
    made = []

    def measured(device):
        made.append(device)
        return Machine(
            processor=machine.processor_name(device),
            device=device.type,
            threads=torch.get_num_threads(),
            torch=torch.__version__,
            inference={"fp32": 100.0, "bf16": 200.0},
            training={"fp32": 100.0, "bf16": 50.0},
        )

    monkeypatch.setattr(machine, "measure", measured)
    return made


@pytest.mark.parametrize(
    ("there", "work", "taken"),
    [
        (WITHOUT_AMX, "inference", "fp32"),
        (WITHOUT_AMX, "training", "fp32"),
        (WITH_BF16, "inference", "bf16"),
        (WITH_BF16, "training", "fp32"),  # 1.18 times is not worth it
        (Machine(**KIND, inference={"fp32": 100, "bf16": 119.9}), "inference", "fp32"),
        (Machine(**KIND, inference={"fp32": 100, "bf16": 121}), "inference", "bf16"),
        (Machine(**KIND, inference={"fp32": 100, "fp16": 300, "bf16": 200}), "inference", "fp16"),
        (Machine(**KIND, inference={"fp32": 100}), "inference", "fp32"),
    ],
)
def test_half_precision_is_taken_where_it_pays(there, work, taken):
    assert there.quickest(work) == taken
    assert there.told(work).startswith(taken) and "GFLOP/s" in there.told(work)


def test_what_was_measured_is_kept(measures, tmp_path):
    first = choose_precision("auto", CPU)
    assert first[0] == "bf16" and first[1].startswith("precision bf16 (inference on ")
    assert choose_precision("auto", CPU, "training")[0] == "fp32"
    assert len(measures) == 1
    (key,) = json.loads((tmp_path / "pagoda" / "machines.json").read_text())
    assert torch.__version__ in key


@pytest.mark.parametrize("content", ["", "[]", "{", '{"x": 1}', '{"x": {"processor": 3}}'])
def test_a_damaged_file_is_measured_anew(measures, tmp_path, content):
    file = tmp_path / "pagoda" / "machines.json"
    file.parent.mkdir()
    file.write_text(content)
    assert this_machine(CPU).quickest("inference") == "bf16" and len(measures) == 1
    assert this_machine(CPU) and len(measures) == 1


def test_a_folder_that_cannot_be_written_costs_a_measurement_only(measures, tmp_path):
    (tmp_path / "pagoda").write_text("a file")
    assert this_machine(CPU).quickest("inference") == "bf16"


def test_another_number_of_threads_is_another_machine(measures, monkeypatch):
    this_machine(CPU)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 77)
    assert this_machine(CPU).threads == 77 and len(measures) == 2


def test_a_preset_is_taken_without_measuring(measures, monkeypatch):
    monkeypatch.setenv("PAGODA_PRECISION", "bf16")
    taken, why = choose_precision("auto", CPU)
    assert taken == "bf16" and "PAGODA_PRECISION" in why and not measures
    assert choose_precision("fp32", CPU) == ("fp32", "")
    monkeypatch.setenv("PAGODA_PRECISION", "half")
    with pytest.raises(
        ValueError, match="PAGODA_PRECISION must be fp32 or bf16 or fp16 for inference, got 'half'"
    ):
        choose_precision("auto", CPU)


@pytest.mark.medium
def test_every_precision_is_measured():
    found = measure(CPU, seconds=0.01)
    assert found.inference["fp32"] > 0 and found.training["fp32"] > 0
    assert set(found.training) <= {"fp32", "bf16"} and set(found.inference) <= {"fp32", "bf16", "fp16"}


def test_devices_that_are_not_there_are_refused():
    with pytest.raises(ValueError, match=r"device must be auto or one of .*cpu on this machine, got 'xla:7'"):
        find_device("xla:7")
    assert find_device("auto").type in {"cpu", "cuda", "mps", "xpu"}
