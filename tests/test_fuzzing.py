"""A short, seeded run of every fuzzing target: only documented errors come out of the loaders."""

from __future__ import annotations

import importlib
import itertools
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

from snellen.models.classifiers.references import load_classifier

ROOT = Path(__file__).parents[1]

#: How many mutations of each: a second or so.
TIMES = {
    "image": 600,
    "idx": 200,
    "dicom": 150,
    "nifti": 150,
    "csv": 200,
    "table": 60,
    "mask": 100,
    "job": 300,
    "requirements": 200,
    "ledger": 200,
    "weights": 200,
    "checkpoint": 100,
    "onnx": 100,
    "card": 150,
    "run": 60,
}


@pytest.fixture
def fuzzing(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], ModuleType]:
    monkeypatch.syspath_prepend(str(ROOT))
    return lambda name: importlib.import_module(f"fuzzing.{name}")


@pytest.mark.parametrize(
    "name",
    [
        "image",
        "npz",
        "idx",
        "csv",
        "table",
        "mask",
        "job",
        "requirements",
        "ledger",
        "parquet",
        "tar",
        "dicom",
        "nifti",
        "weights",
        "checkpoint",
        "onnx",
        "card",
        "run",
        "inputs",
    ],
)
def test_mutations_of_valid_files_raise_nothing_else(fuzzing: Callable[[str], ModuleType], name: str) -> None:
    target = fuzzing("targets").TARGETS[name]
    times = TIMES.get(name, 150)
    assert fuzzing("mutation").run_mutations(target, seed=7, times=times) == times


def test_every_target_is_run(fuzzing: Callable[[str], ModuleType]) -> None:
    names = {"image", "npz", "idx", "csv", "table", "mask", "job", "parquet", "tar", "weights", "checkpoint", "onnx"}
    names |= {"dicom", "nifti", "requirements", "ledger"}
    assert set(fuzzing("targets").TARGETS) == names | {"card", "run", "inputs"}


def test_seeds_are_valid_so_that_mutations_reach_deep(fuzzing: Callable[[str], ModuleType], tmp_path: Path) -> None:
    targets = fuzzing("targets")
    for number, content in enumerate(targets.tar_seeds()):
        (tmp_path / f"{number}.tar").write_bytes(content)
        images = targets.load_tar(tmp_path / f"{number}.tar")
        assert images.read(0).mode == "RGB"
        assert images.labels[0] == 1
    for content in targets.npz_seeds():
        (tmp_path / "x.npz").write_bytes(content)
        assert len(targets.load_npz(tmp_path / "x.npz")) == 2
    for content in targets.image_seeds()[:19]:
        assert targets.decode(content).mode == "RGB"
    for content in targets.checkpoint_seeds():
        (tmp_path / "x.pth").write_bytes(content)
        assert set(targets.read_checkpoint(tmp_path / "x.pth")[0]) == {"a.weight", "a.bias"}
    for content in targets.table_seeds():
        place = tmp_path / ("t.parquet" if content.startswith(b"PAR1") else "t.csv")
        place.write_bytes(content)
        assert targets.load_images(targets._beside(), table=place).column("unit_id") == ["1", "2"]
    for content in targets.mask_seeds():
        targets.mask(content)
    for content in targets.job_seeds():
        (tmp_path / "audit.toml").write_bytes(content)
        assert targets.read_job(tmp_path / "audit.toml").model
    for content in targets.onnx_seeds():
        (tmp_path / "x.onnx").write_bytes(content)
        assert load_classifier(tmp_path / "x.onnx", ["a", "b"]).differentiable
    report = targets.run_seeds()[0]
    targets.run(report)
    assert targets.RunRecord.read(targets._folder() / "r").report.metrics


def test_a_fault_is_let_out_with_its_input(fuzzing: Callable[[str], ModuleType]) -> None:
    def broken(content: bytes) -> None:
        if len(content) != 4:
            raise KeyError("fault")

    target = fuzzing("targets").Target(broken, lambda: [b"good"])
    with pytest.raises(KeyError) as caught:
        fuzzing("mutation").run_mutations(target, seed=0, times=1000)
    assert caught.value.__notes__[0].startswith("input ")


def test_a_seed_gives_the_same_inputs(fuzzing: Callable[[str], ModuleType]) -> None:
    first, again, other = (
        list(itertools.islice(fuzzing("mutation").mutations([b"0123456789" * 5], seed), 50)) for seed in (1, 1, 2)
    )
    assert first == again != other
    assert len(set(first)) > 40
