"""Noise and training targets as diffusers makes them, and times that are spread over a batch."""

from __future__ import annotations

import pytest
import torch

from snellen.core.errors import InputError
from snellen.models.diffusion.denoiser import add_noise, squared_errors, stratified_timesteps, training_target

diffusers = pytest.importorskip("diffusers")


@pytest.fixture(scope="module")
def drawn() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    clean, noise = torch.randn(2, 6, 3, 4, 4, generator=generator).unbind()
    return clean, noise, torch.tensor([0, 1, 250, 500, 998, 999])


@pytest.mark.parametrize("kind", ["epsilon", "v_prediction", "sample"])
def test_images_and_targets_are_those_of_diffusers(drawn, kind):
    clean, noise, timesteps = drawn
    scheduler = diffusers.DDPMScheduler(beta_schedule="squaredcos_cap_v2", prediction_type=kind)
    noisy = add_noise(clean, noise, scheduler.alphas_cumprod, timesteps)
    torch.testing.assert_close(noisy, scheduler.add_noise(clean, noise, timesteps))
    expected = {
        "epsilon": noise,
        "sample": clean,
        "v_prediction": scheduler.get_velocity(clean, noise, timesteps),
    }[kind]
    torch.testing.assert_close(training_target(kind, clean, noise, scheduler.alphas_cumprod, timesteps), expected)


def test_one_time_lies_in_each_part_of_all_times():
    for offset in (0.0, 0.37, 0.999):
        found = stratified_timesteps(10, 1000, torch.tensor(offset))
        assert sorted((found // 100).tolist()) == list(range(10))


def test_over_all_offsets_every_time_is_as_likely():
    counts = torch.zeros(8)
    for offset in torch.arange(0, 1, 1 / 64):
        counts += torch.bincount(stratified_timesteps(4, 8, offset), minlength=8)
    assert torch.equal(counts, torch.full((8,), 32.0))


def test_the_error_of_an_example_is_its_own():
    target = torch.zeros(2, 1, 2, 2)
    assert squared_errors(torch.stack([target[0], target[0] + 3]), target).tolist() == [0.0, 9.0]


def test_another_kind_of_prediction_is_refused(drawn):
    clean, noise, timesteps = drawn
    with pytest.raises(InputError, match="epsilon, v_prediction, sample"):
        training_target("flow", clean, noise, torch.ones(1000), timesteps)
