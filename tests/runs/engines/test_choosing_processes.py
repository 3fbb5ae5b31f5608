"""How many processes do work for which nobody names an engine, and what of the machine they may use."""

from pathlib import Path

import pytest
import torch
from torch import nn

from snellen.core.classifier import Classifier
from snellen.core.preprocessing import Preprocessing
from snellen.runs.engines.choosing import Load, choose_processes
from snellen.runs.engines.local import Local
from snellen.runs.engines.machine import usable_cores, usable_memory, used_memory
from snellen.runs.engines.pass_cost import OPERATIONS_A_SECOND, PASS_SECONDS, PassCost, pass_cost

GIB = 2**30


@pytest.fixture
def machine(monkeypatch):
    """Sets cores, torch's threads and memory."""

    def has(cores=8, threads=8, memory=16 * GIB):
        monkeypatch.setattr("snellen.runs.engines.choosing._cores", lambda: cores)
        monkeypatch.setattr("snellen.runs.engines.choosing.usable_memory", lambda: memory)
        monkeypatch.setattr(torch, "get_num_threads", lambda: threads)

    return has


@pytest.mark.parametrize(
    ("given", "load", "processes", "threads"),
    [
        ({}, Load(1000, 100, GIB), 8, 1),
        ({"cores": 2, "threads": 2}, Load(1000, 100, GIB), 2, 1),
        ({"cores": 64, "threads": 32}, Load(1000, 100, GIB), 8, 4),
        ({"threads": 4}, Load(1000, 100, GIB), 4, 1),
        ({"cores": 4}, Load(1000, 100, GIB), 4, 2),
        ({}, Load(1000, 3, GIB), 3, 2),
        ({}, Load(1000, 100, 4 * GIB), 2, 1),
        ({"memory": None}, Load(1000, 100, 400 * GIB), 8, 1),
    ],
)
def test_processes_are_as_many_as_cores_pieces_and_memory_allow(machine, given, load, processes, threads):
    machine(**given)
    chosen = choose_processes(load)
    assert isinstance(chosen.engine, Local)
    assert (chosen.processes, chosen.threads) == (processes, threads)
    assert chosen.why == f"{processes} processes of this machine: they divide about 1000 s of one core"


@pytest.mark.parametrize(
    ("given", "load", "told"),
    [
        ({"threads": 1}, Load(1000, 100, GIB), "it may use 1 core, with 1 threads in each process"),
        ({"cores": 1, "threads": 1}, Load(1000, 100, GIB), "it may use 1 core"),
        ({}, Load(1000, 1, GIB), "the work is one piece"),
        ({}, Load(1000, 100, 6 * GIB), "a second one would need 6.0 GiB of memory as well"),
        ({}, Load(10, 100, GIB), "all of it is about 10 s of one core, and workers take 3 s to start"),
        ({"cores": 2, "threads": 2}, Load(29, 100, GIB), "about 29 s"),
    ],
)
def test_one_process_keeps_the_threads_of_torch_and_says_why(machine, given, load, told):
    machine(**given)
    chosen = choose_processes(load)
    assert (chosen.engine, chosen.processes, chosen.threads) == (None, 1, given.get("threads", 8))
    assert chosen.why.startswith(f"this process: {told}") or told in chosen.why


def test_threads_that_a_run_has_leave_fewer_processes(machine):
    machine()
    assert choose_processes(Load(1000, 100, GIB), threads=4).processes == 2
    assert choose_processes(Load(1000, 100, GIB), threads=8).engine is None
    assert choose_processes(Load(1000, 100, GIB), threads=8).threads == 8
    assert choose_processes(Load(1000, 100, GIB), obstacle="they cannot").why == "this process: they cannot"


def test_a_control_group_limits_cores_and_memory(tmp_path, monkeypatch):
    monkeypatch.setattr("os.sched_getaffinity", lambda _process: set(range(6)), raising=False)
    whole = usable_memory(tmp_path)
    assert usable_cores(tmp_path) == 6
    (tmp_path / "cpu.max").write_text("max 100000\n")
    (tmp_path / "memory.max").write_text("max\n")
    assert (usable_cores(tmp_path), usable_memory(tmp_path)) == (6, whole)
    (tmp_path / "cpu.max").write_text("250000 100000\n")
    (tmp_path / "memory.max").write_text("1000000\n")
    assert (usable_cores(tmp_path), usable_memory(tmp_path)) == (2, 1_000_000)
    (tmp_path / "cpu.max").write_text("50000 100000\n")
    assert usable_cores(tmp_path) == 1


def test_the_older_form_of_control_groups(tmp_path, monkeypatch):
    monkeypatch.setattr("os.sched_getaffinity", lambda _process: set(range(6)), raising=False)
    for name, content in {"cpu/cpu.cfs_quota_us": "300000", "cpu/cpu.cfs_period_us": "100000"}.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(content)
    assert usable_cores(tmp_path) == 3
    (tmp_path / "cpu/cpu.cfs_quota_us").write_text("-1")
    assert usable_cores(tmp_path) == 6


def test_memory_in_use_is_that_of_this_process():
    (shown,) = (line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmRSS:"))
    assert used_memory() == pytest.approx(1024 * int(shown.split()[1]), rel=0.1)


def test_operations_and_kept_bytes_of_a_pass():
    network = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 8 * 8, 2))
    classifier = Classifier(network, class_names=["a", "b"], preparation=Preprocessing(size=(8, 8)))
    cost = pass_cost(classifier)
    assert cost.operations == 2 * 4 * 8 * 8 * 3 * 3 * 3 + 2 * 4 * 8 * 8 * 2
    image, features = 3 * 8 * 8 * 4, 4 * 8 * 8 * 4
    assert image + features <= cost.kept <= image + 2 * features
    assert cost.seconds == PASS_SECONDS + cost.operations / OPERATIONS_A_SECOND
    assert classifier.spent.queries == 0


def test_attention_is_counted():
    class Network(nn.Module):
        def __init__(self):
            super().__init__()
            self.attention = nn.MultiheadAttention(8, 2, batch_first=True)

        def forward(self, images):
            tokens = images.flatten(2).transpose(1, 2).repeat(1, 1, 3)[:, :, :8]
            return self.attention(tokens, tokens, tokens)[0].mean(1)[:, :2]

    classifier = Classifier(Network(), class_names=["a", "b"], preparation=Preprocessing(size=(4, 4)))
    assert pass_cost(classifier).operations == 4 * (2 * 16 * 8 * 8) + 2 * (2 * 16 * 16 * 8)


def test_what_cannot_be_counted_counts_as_nothing():
    def refuses(images):
        raise RuntimeError("no black images")

    class Network(nn.Module):
        forward = staticmethod(refuses)

    arguments = {"class_names": ["a", "b"], "preparation": Preprocessing(size=(8, 8))}
    assert pass_cost(Classifier(Network(), **arguments)) == PassCost()
    assert pass_cost(Classifier(refuses, **arguments)) == PassCost()
    assert pass_cost(Classifier(nn.Flatten(), class_names=["a"])) == PassCost(), "an image of no known size"
