"""Every operator gives on a GPU what it gives on the CPU: draws are made on the CPU, and only arithmetic differs."""

from __future__ import annotations

import pytest
import torch

from snellen.core.randomness import Randomness
from snellen.methods.corruptions.apply import corrupt, corrupt_at_random
from snellen.methods.corruptions.benchmarks import BENCHMARKS, benchmark

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")

#: Kinds that cut or compare values on their way: a rounding in the last bit moves a pixel by a whole step.
STEPS = {"jpeg_compression", "snow", "spatter", "shot_noise"}


def one_of_each_operator() -> list[tuple[str, str]]:
    seen: dict[str, tuple[str, str]] = {}
    for name in BENCHMARKS:
        for kind, operator in benchmark(name).operators.items():
            seen.setdefault(operator.function.__name__, (name, kind))
    return list(seen.values())


@pytest.fixture(scope="module")
def images() -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    smooth = torch.nn.functional.interpolate(torch.rand(3, 3, 9, 9, generator=generator), (224, 224), mode="bilinear")
    return (smooth * 255).round() / 255


@pytest.mark.parametrize("severity", [0.6, 3.0, 5.0])
@pytest.mark.parametrize(("name", "kind"), one_of_each_operator())
def test_operators_equal_the_cpu(images: torch.Tensor, name: str, kind: str, severity: float) -> None:
    rng = Randomness(0).for_examples(["a", "b", "c"])
    expected = corrupt(images, benchmark(name), kind, severity, rng)
    changed = corrupt(images.cuda(), benchmark(name), kind, severity, rng)
    assert changed.device.type == "cuda"
    difference = (changed.cpu() - expected).abs()
    assert (difference > 2e-5).double().mean() <= (1e-4 if kind in STEPS else 0)


@pytest.mark.parametrize(("name", "kind"), one_of_each_operator())
def test_augmentation_equals_the_cpu(images: torch.Tensor, name: str, kind: str) -> None:
    rng = Randomness(0).for_examples(["a", "b", "c"])
    expected = corrupt_at_random(images, benchmark(name), kind, rng)
    changed = corrupt_at_random(images.cuda(), benchmark(name), kind, rng).cpu()
    assert ((changed - expected).abs() > 2e-5).double().mean() <= (1e-4 if kind in STEPS else 0)
