from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from snellen.core.errors import InputError, ModelError
from snellen.models.weights.state_dict_file import load_strictly, read_state_dict


def test_weights_are_read_back(tmp_path: Path) -> None:
    save_file({"w": torch.arange(3.0)}, tmp_path / "w.safetensors")
    assert read_state_dict(tmp_path / "w.safetensors")["w"].tolist() == [0, 1, 2]


def test_files_that_cannot_be_used(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no weight file"):
        read_state_dict(tmp_path / "none.safetensors")
    (tmp_path / "w.pth").write_bytes(b"")
    with pytest.raises(InputError, match=r"safetensors files only.*save_file"):
        read_state_dict(tmp_path / "w.pth")
    (tmp_path / "w.safetensors").write_bytes(b"not safetensors")
    with pytest.raises(InputError, match="not a safetensors file"):
        read_state_dict(tmp_path / "w.safetensors")


def test_weights_that_are_not_finite_are_refused_by_name(tmp_path: Path) -> None:
    save_file({"good": torch.ones(2), "bad": torch.tensor([1.0, torch.nan])}, tmp_path / "w.safetensors")
    with pytest.raises(ModelError, match="'bad' holds NaN"):
        read_state_dict(tmp_path / "w.safetensors")


def test_strict_loading_copies_every_tensor() -> None:
    module = nn.Linear(2, 3)
    load_strictly(module, {"weight": torch.ones(3, 2).half(), "bias": torch.zeros(3)}, source="file")
    assert module.weight.dtype == torch.float32
    assert float(module.weight.detach().sum()) == 6


def test_missing_counters_of_batch_normalisation_do_not_matter() -> None:
    module = nn.BatchNorm2d(2)
    tensors = {name: torch.full((2,), 3.0) for name in ("weight", "bias", "running_mean", "running_var")}
    load_strictly(module, tensors, source="file")
    assert module.running_var is not None
    assert module.running_var.tolist() == [3, 3]


@pytest.mark.parametrize(
    ("tensors", "message"),
    [
        ({"weight": torch.ones(3, 2)}, r"1 missing \(bias\)"),
        ({"weight": torch.ones(3, 2), "bias": torch.ones(3), "x": torch.ones(1)}, r"1 unexpected \(x\)"),
        ({"weight": torch.ones(4, 2), "bias": torch.ones(3)}, r"weight \(4, 2\) instead of \(3, 2\).*num_classes"),
        (
            {"module.weight": torch.ones(3, 2), "module.bias": torch.ones(3)},
            r"begin with 'module': save the state dict",
        ),
        ({f"t{i}": torch.ones(1) for i in range(9)}, r"9 unexpected \(t0, t1, t2, t3, …\)"),
    ],
)
def test_tensors_that_do_not_fit(tensors: dict[str, torch.Tensor], message: str) -> None:
    module = nn.Linear(2, 3)
    before = module.weight.clone()
    with pytest.raises(InputError, match=message):
        load_strictly(module, tensors, source="file")
    assert torch.equal(module.weight, before)
