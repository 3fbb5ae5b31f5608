from __future__ import annotations

import pytest
import torch
from torch import nn

from snellen.core.errors import InputError, MissingExtraError
from snellen.training import Batch, ImageStore, TrainingPlan, classify, train


def test_bf16_runs_the_forward_pass_in_half_and_keeps_single_weights(toy: ImageStore, linear: nn.Module) -> None:
    inside: set[torch.dtype] = set()
    outside: set[torch.dtype] = set()

    def objective(model: nn.Module, batch: Batch) -> torch.Tensor:
        handle = model[1].register_forward_hook(lambda _module, _inputs, output: inside.add(output.dtype))
        outside.add(model(batch.images).dtype)
        handle.remove()
        return classify(model, batch)

    half = train(linear, toy, plan=TrainingPlan(epochs=1, mixed_precision="bf16"), objective=objective)
    assert (inside, outside) == ({torch.bfloat16}, {torch.float32})
    assert half.weights["1.weight"].dtype == torch.float32
    # Another precision in the same process, and the given model is not left inside an autocast.
    inside.clear()
    train(linear, toy, plan=TrainingPlan(epochs=1), objective=objective)
    assert inside == {torch.float32}
    assert linear(torch.rand(1, 3, 8, 8)).dtype == torch.float32


@pytest.mark.skipif(torch.cuda.is_available(), reason="fp16 is possible here")
def test_fp16_without_a_gpu_is_refused(toy: ImageStore, linear: nn.Module) -> None:
    with pytest.raises(InputError, match="fp16' needs a GPU"):
        train(linear, toy, plan=TrainingPlan(mixed_precision="fp16"))


def test_a_missing_accelerate_names_the_extra(
    toy: ImageStore, linear: nn.Module, monkeypatch: pytest.MonkeyPatch
) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "accelerate", None)
    with pytest.raises(MissingExtraError, match=r"snellen\[train\]"):
        train(linear, toy, plan=TrainingPlan())


def test_an_accumulation_of_the_environment_is_not_applied(
    toy: ImageStore, linear: nn.Module, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = TrainingPlan(epochs=1, optimizer="sgd")
    expected = train(linear, toy, plan=plan)
    monkeypatch.setenv("ACCELERATE_GRADIENT_ACCUMULATION_STEPS", "4")
    assert torch.equal(train(linear, toy, plan=plan).weights["1.weight"], expected.weights["1.weight"])


def test_channels_last_is_the_same_training(toy: ImageStore, network: nn.Module) -> None:
    layouts: list[bool] = []

    def objective(model: nn.Module, batch: Batch) -> torch.Tensor:
        layouts.append(batch.images.is_contiguous(memory_format=torch.channels_last))
        return classify(model, batch)

    plan = TrainingPlan(epochs=1, batch_size=16, optimizer="sgd")
    plain = train(network, toy, plan=plan)
    packed = train(network, toy, plan=plan.model_copy(update={"channels_last": True}), objective=objective)
    assert all(layouts)
    for name, tensor in plain.weights.items():
        assert torch.allclose(tensor, packed.weights[name], atol=1e-4), name
