"""Trajectories: strength 0 is the plain sampler, the gate holds, sharing changes nothing, and what is refused."""

import pytest
import torch

from snellen.core.errors import InputError
from snellen.core.randomness import Randomness
from snellen.models.diffusion.adapters import Adapters
from snellen.models.diffusion.generate import generate
from snellen.models.diffusion.sampler import LatentHook, Sampler
from snellen.systems.continuous_nuisance.slider import SliderCard, SliderFit, generator_identity, save_slider
from snellen.systems.continuous_nuisance.strengths import PUBLISHED, checked_strengths
from snellen.systems.continuous_nuisance.trajectories import sample_trajectories, sampled_alone, shared_steps

PROMPTS, SEEDS = ["a cat", "a dog", "a red car"], [1, 2, 3]
GRID = (0.0, 1.0, 2.5)


@pytest.fixture(scope="module")
def made(sampler, sliders):
    return sample_trajectories(
        sampler, sliders, PROMPTS, SEEDS, GRID, negative="blurry", guidance_scale=3.0, batch_size=2
    )


@pytest.mark.covers("2.1")
def test_strength_0_is_the_sampler_without_sliders_bit_for_bit(sampler, made):
    plain = generate(sampler, SEEDS, prompts=PROMPTS, negative="blurry", guidance_scale=3.0, batch_size=2)
    assert made.images.shape == (2, 3, 3, *plain.images.shape[1:])
    for shift in range(2):
        assert torch.equal(made.images[shift, :, 0], plain.images)
        for strength in (1, 2):
            assert not torch.allclose(made.images[shift, :, strength], plain.images, atol=1e-2)
    assert not torch.allclose(made.images[0, :, 1:], made.images[1, :, 1:], atol=1e-2)


@pytest.mark.covers("2.1", "2.17")
def test_each_image_is_what_it_is_alone_in_fewer_rows_and_calls(sampler, sliders, made):
    alone = sampled_alone(sampler, sliders, PROMPTS, SEEDS, GRID, negative="blurry", guidance_scale=3.0)
    assert torch.allclose(alone.images, made.images, atol=2e-3)
    assert (alone.concepts, alone.strengths) == (made.concepts, made.strengths)
    shared = shared_steps(sampler, 750)
    images, own, steps = 2 * 3 * 3, 4 - shared, 4
    assert (shared, alone.rows, alone.calls) == (1, 2 * images * steps, images * steps)
    # The shared steps once for each thing, strength 0 once for all shifts; prompt and negative prompt are two rows.
    assert made.rows == 2 * (3 * shared + 3 * own + 2 * 3 * 2 * own)
    assert made.calls < alone.calls / 2


@pytest.mark.covers("2.2")
def test_no_strength_moves_latents_above_the_gate_and_each_does_below(sampler, sliders):
    class Watch(LatentHook):
        runs = []

        def before(self, moment):
            if moment.first:
                self.runs.append({})
            self.runs[-1][moment.timestep] = moment.latents

    watch = Watch()
    sampled_alone(sampler, {"snow": sliders["snow"]}, ["a cat"], [5], GRID, guidance_scale=1.0, hooks=[watch])
    solver = sampler.new_solver()
    times = [solver.timestep(step) for step in range(4)]
    first_open = next(time for time in times if time <= 750)
    for run in watch.runs[1:]:
        for time in times:
            # Before the first step with an open gate latents are those that closed ones made.
            assert torch.equal(run[time], watch.runs[0][time]) == (time >= first_open)
    assert not torch.equal(watch.runs[1][times[-1]], watch.runs[2][times[-1]])


@pytest.mark.covers("2.4")
def test_a_fresh_slider_changes_nothing_at_any_strength(sampler, generator, tmp_path):
    identity, adapters = generator_identity(generator), Adapters(generator.denoiser.network)
    adapters.add("fresh", SliderFit().low_rank(), rng=Randomness(0))
    card = SliderCard(
        words="in snow", prompts=(), shifted=(), fit=SliderFit(), generator="-", generator_identity=identity
    )
    slider = save_slider(adapters, "fresh", tmp_path, card)
    adapters.unload()
    found = sample_trajectories(sampler, {"snow": slider}, ["a cat"], [1], GRID, guidance_scale=1.0, batch_size=2)
    # In a batch of two instead of one sums are taken in another order.
    assert torch.allclose(found.images[:, :, 1:], found.images[:, :, :1].expand(-1, -1, 2, -1, -1, -1), atol=1e-5)


def test_the_generator_is_left_without_sliders_also_after_an_error(sampler, generator, sliders):
    class Broken(LatentHook):
        def before(self, moment):
            raise RuntimeError("stopped")

    with pytest.raises(RuntimeError, match="stopped"):
        sample_trajectories(sampler, sliders, ["a cat"], [1], GRID, hooks=[Broken()])
    assert not hasattr(generator.denoiser.network, "peft_config")


@pytest.mark.covers("2.14")
@pytest.mark.parametrize(
    ("grid", "said"),
    [
        ([0.5, 1], "start at 0"),
        ([0], "two at least"),
        ([], "got none"),
        ([0, 1, 1], "1 comes after 1"),
        ([0, 2, 1], "1 comes after 2"),
        ([0, float("nan")], "finite numbers; got nan"),
        ([0, float("inf")], "finite numbers; got inf"),
    ],
)
def test_strengths_that_are_no_grid(sampler, sliders, grid, said):
    with pytest.raises(InputError, match=said):
        sample_trajectories(sampler, sliders, ["a cat"], [1], grid)


def test_what_does_not_go_together(sampler, sliders):
    assert checked_strengths(PUBLISHED) == PUBLISHED
    with pytest.raises(InputError, match="got 2 and 1"):
        sample_trajectories(sampler, sliders, ["a cat", "a dog"], [1], GRID)
    with pytest.raises(InputError, match="no slider"):
        sample_trajectories(sampler, {}, ["a cat"], [1], GRID)
    with pytest.raises(InputError, match="are all above it; its last is at"):
        shared_steps(Sampler(sampler.generator, steps=4), -5)
