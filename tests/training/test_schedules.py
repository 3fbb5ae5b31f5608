from __future__ import annotations

import math

import pytest
import torch

from snellen.core.errors import InputError
from snellen.training.plan import learning_rate_factor


def course(schedule: str, total: int, warmup: int) -> list[float]:
    return [learning_rate_factor(schedule, step, total_steps=total, warmup_steps=warmup) for step in range(total)]


def torch_course(make: type, total: int, **options: object) -> list[float]:
    """What a scheduler of torch does to a learning rate of 1."""
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    scheduler = make(optimizer, **options)
    rates = []
    for _ in range(total):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step() if len(rates) < total else None
    return rates


def test_cosine_is_torch_cosine_annealing() -> None:
    expected = torch_course(torch.optim.lr_scheduler.CosineAnnealingLR, 17, T_max=17)
    assert course("cosine", 17, 0) == pytest.approx(expected, abs=1e-12)


def test_cosine_to_half_is_torch_cosine_annealing_with_a_lowest_rate() -> None:
    expected = torch_course(torch.optim.lr_scheduler.CosineAnnealingLR, 17, T_max=17, eta_min=0.5)
    assert course("cosine-to-half", 17, 0) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize(("total", "warmup"), [(20, 6), (101, 30), (8, 2)])
def test_one_cycle_is_torch_one_cycle(total: int, warmup: int) -> None:
    expected = torch_course(
        torch.optim.lr_scheduler.OneCycleLR,
        total,
        max_lr=1.0,
        total_steps=total,
        pct_start=warmup / total,
        cycle_momentum=False,
    )
    assert course("one-cycle", total, warmup) == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("schedule", ["constant", "cosine", "cosine-to-half"])
def test_warmup_is_linear_and_the_course_follows_it(schedule: str) -> None:
    warmed = course(schedule, 14, 4)
    assert warmed[:4] == pytest.approx([0.25, 0.5, 0.75, 1.0])
    assert warmed[4:] == pytest.approx(course(schedule, 10, 0))


def test_constant_stays() -> None:
    assert course("constant", 5, 0) == [1.0] * 5


@pytest.mark.parametrize("schedule", ["constant", "cosine", "one-cycle"])
@pytest.mark.parametrize("warmup", [0, 1, 5, 6])
def test_factors_are_positive_and_reach_the_peak(schedule: str, warmup: int) -> None:
    factors = course(schedule, 6, warmup)
    assert all(math.isfinite(factor) and 0 < factor <= 1 for factor in factors)
    assert max(factors) == pytest.approx(1.0)


def test_one_step_is_possible() -> None:
    assert course("one-cycle", 1, 0) == [1.0]
    assert course("cosine", 1, 1) == [1.0]


def test_warmup_longer_than_the_training_is_refused() -> None:
    with pytest.raises(InputError, match=r"warm-up of 7 steps .* 6 steps"):
        learning_rate_factor("cosine", 0, total_steps=6, warmup_steps=7)
