"""Noise, image and velocity: one from the other, against the definition and against the schedulers of diffusers."""

import itertools

import diffusers
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from snellen.core.errors import InputError
from snellen.core.randomness import Randomness
from snellen.models.diffusion.denoiser import (
    check_prediction,
    convert,
    convert_difference,
    to_epsilon,
    to_velocity,
    to_x0,
)

KINDS = ("epsilon", "v_prediction", "sample")
PAIRS = list(itertools.product(KINDS, KINDS))
angles = st.floats(0.05, 1.5)


def drawn(seed):
    rng = Randomness(seed).bind(2)
    return rng.normal("x0", (3, 4, 4)).double(), rng.normal("eps", (3, 4, 4)).double()


def predictions(x0, eps, alpha, sigma):
    return {"epsilon": eps, "sample": x0, "v_prediction": alpha * eps - sigma * x0}


def level(angle):
    angle = torch.tensor(angle, dtype=torch.float64)
    return float(torch.cos(angle)), float(torch.sin(angle))


@given(angle=angles, seed=st.integers(0, 5))
@pytest.mark.parametrize(("kind", "wanted"), PAIRS)
def test_every_kind_gives_every_other(kind, wanted, angle, seed):
    x0, eps = drawn(seed)
    alpha, sigma = level(angle)
    every = predictions(x0, eps, alpha, sigma)
    found = convert(every[kind], kind, wanted, alpha * x0 + sigma * eps, alpha, sigma)
    torch.testing.assert_close(found, every[wanted], atol=1e-10, rtol=1e-10)


@given(angle=angles)
@pytest.mark.parametrize(("kind", "wanted"), PAIRS)
def test_a_difference_turns_by_the_factor_that_the_predictions_imply(kind, wanted, angle):
    alpha, sigma = level(angle)
    x = drawn(0)[0]
    first, second = drawn(1)
    expected = convert(first, kind, wanted, x, alpha, sigma) - convert(second, kind, wanted, x, alpha, sigma)
    found = convert_difference(first - second, kind, wanted, alpha, sigma)
    torch.testing.assert_close(found, expected, atol=1e-8, rtol=1e-8)


def test_velocity_is_that_of_the_schedulers():
    scheduler = diffusers.DDPMScheduler()
    x0, eps = (part.float() for part in drawn(3))
    times = torch.tensor([10, 700])
    for row, time in enumerate(times.tolist()):
        kept = float(scheduler.alphas_cumprod[time])
        alpha, sigma = kept**0.5, (1 - kept) ** 0.5
        x = scheduler.add_noise(x0, eps, times)[row]
        velocity = scheduler.get_velocity(x0, eps, times)[row]
        torch.testing.assert_close(to_velocity(eps[row], "epsilon", x, alpha, sigma), velocity, atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(to_x0(velocity, "v_prediction", x, alpha, sigma), x0[row], atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(
            to_epsilon(velocity, "v_prediction", x, alpha, sigma), eps[row], atol=1e-5, rtol=1e-5
        )


def test_the_same_kind_is_the_same_tensor():
    x0, eps = drawn(0)
    assert convert(eps, "epsilon", "epsilon", x0, 0.6, 0.8) is eps
    assert convert_difference(eps, "sample", "sample", 0.6, 0.8) is eps


def test_pure_noise_is_no_difficulty_for_velocities():
    x0, eps = drawn(0)
    assert torch.equal(to_x0(-x0, "v_prediction", eps, 0.0, 1.0), x0)


def test_an_unknown_kind_is_refused():
    assert check_prediction("sample") == "sample"
    with pytest.raises(InputError, match="prediction type 'flow_prediction' is not one of epsilon, v_prediction"):
        check_prediction("flow_prediction")
