"""The training of a slider: whose prediction is the target, whose latents are denoised, and where gradients go."""

import re

import pytest
import torch

from snellen.core.errors import InputError, ModelError
from snellen.core.randomness import Randomness
from snellen.models.diffusion.adapters import Adapters
from snellen.models.diffusion.condition import Condition
from snellen.models.diffusion.low_rank import chosen_layers
from snellen.models.diffusion.sampler import Sampler, seeded
from snellen.models.diffusion.step_adapters import StepAdapters
from snellen.systems.continuous_nuisance import fitting
from snellen.systems.continuous_nuisance.fitting import (
    denoised,
    fit_slider,
    slider_loss,
    slider_target,
    training_timestep,
)
from snellen.systems.continuous_nuisance.slider import SliderFit, sliders_on


@pytest.fixture
def adapted(generator):
    """Adapters with a slider whose second factors are not zero."""
    adapters = Adapters(generator.denoiser.network)
    adapters.add("slider", SliderFit().low_rank(), rng=Randomness(0))
    with torch.no_grad():
        for number, parameter in enumerate(adapters.parameters("slider")):
            parameter.copy_(0.1 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(number)))
    yield adapters
    adapters.unload()


@pytest.fixture
def reported(generator):
    return [generator.encode_prompts([text] * 2) for text in ("a cat", "a cat, in snow")]


@pytest.mark.covers("2.3")
def test_the_target_is_of_the_frozen_network_and_the_latents_of_the_adapted_one(generator, sampler, adapted, reported):
    prompt, shifted = reported
    rng = seeded([1, 2])
    state = denoised(sampler, adapted, "slider", prompt, rng, until=2)
    by_hand = sampler.run(sampler.start(rng), prompt, context=StepAdapters(adapted, {"slider": 1.0}), until=2)
    frozen = sampler.run(sampler.start(rng), prompt, until=2)
    assert torch.equal(state.latents, by_hand.latents)
    assert not torch.allclose(state.latents, frozen.latents, atol=1e-3)
    latents, timestep = state.latents, 401.0
    times = torch.full((4,), timestep)
    # A slider that is on outside must not reach the target.
    with adapted.on({"slider": 1.0}):
        loss = slider_loss(generator.denoiser, adapted, "slider", latents, timestep, prompt, shifted, eta=4.0)
        ours = generator.denoiser(latents, times[:2], prompt)
    both = generator.denoiser(torch.cat([latents] * 2), times, Condition.concatenate([prompt, shifted]))
    neutral, beyond = both.chunk(2)
    assert torch.allclose(loss, (ours - (neutral + 4 * (beyond - neutral))).square().mean(), rtol=1e-4)
    assert not torch.allclose(ours, neutral, atol=1e-3)


@pytest.mark.covers("2.3")
def test_gradients_reach_the_slider_alone_and_only_through_the_last_call(generator, sampler, adapted, reported):
    prompt, shifted = reported
    with adapted.training("slider") as parameters:
        state = denoised(sampler, adapted, "slider", prompt, seeded([1, 2]), until=2)
        assert not state.latents.requires_grad
        loss = slider_loss(generator.denoiser, adapted, "slider", state.latents, 401.0, prompt, shifted, eta=4.0)
        loss.backward()
        own = {id(parameter) for parameter in parameters}
        others = [one for one in generator.denoiser.network.parameters() if id(one) not in own]
        assert all(parameter.grad is not None for parameter in parameters)
        still = {name for name, parameter in generator.denoiser.network.named_parameters() if id(parameter) in own}
        still = {name for name in still if not bool(generator.denoiser.network.get_parameter(name).grad.any())}
        # The middle block sees a single token. Attention to one token is 1 whatever its query and key are, so their
        # gradient is zero; some processors give a rounding error instead.
        assert all(re.search(r"mid_block\..*\.attn1\.to_[qk]\.", name) for name in still), still
        assert all(parameter.grad is None for parameter in others)


def test_the_target_goes_beyond_the_shifted_prediction():
    neutral, shifted = torch.tensor([1.0, -2.0]), torch.tensor([1.5, -2.0])
    assert slider_target(neutral, shifted, 4.0).tolist() == [3.0, -2.0]
    assert torch.equal(slider_target(neutral, shifted, 1.0), shifted)


@pytest.mark.covers("2.12")
def test_the_network_gets_the_timestep_of_its_latents_or_the_published_one(generator):
    solver = Sampler(generator, steps=50).new_solver()
    assert [training_timestep(solver, k, total=1000) for k in (1, 49)] == [solver.timestep(1), solver.timestep(49)]
    published = [training_timestep(solver, k, total=1000, parity=True) for k in range(50)]
    assert published == [999 - 20 * k for k in range(50)]
    # At most a step of the sampler noisier than the latents are.
    assert all(0 <= there - solver.timestep(k) < 20 for k, there in enumerate(published))
    thirty = Sampler(generator, steps=30).new_solver()
    assert training_timestep(thirty, 7, total=1000, parity=True) == 999 - int(7 * 1000 / 30)


@pytest.mark.covers("2.12")
def test_a_training_tells_latents_and_timestep_of_one_step(generator, tmp_path, monkeypatch):
    seen = []

    def noted(denoiser, adapters, name, latents, timestep, prompt, shifted, eta):
        seen.append((float(latents.std()), timestep, eta))
        return slider_loss(denoiser, adapters, name, latents, timestep, prompt, shifted, eta)

    monkeypatch.setattr(fitting, "slider_loss", noted)
    numbers = SliderFit(iterations=8, batch_size=1, steps=4, eta=3.0)
    fit_slider(generator, tmp_path / "a", "in snow", ["a cat"], fit=numbers, rng=Randomness(1))
    solver = Sampler(generator, steps=4).new_solver()
    # k is 1 to steps − 1: neither pure noise nor the finished image.
    assert {timestep for _, timestep, _ in seen} == {solver.timestep(k) for k in (1, 2, 3)}
    assert {eta for *_, eta in seen} == {3.0}
    seen.clear()
    parity = numbers.model_copy(update={"parity": True})
    fit_slider(generator, tmp_path / "b", "in snow", ["a cat"], fit=parity, rng=Randomness(1))
    assert {timestep for _, timestep, _ in seen} == {749.0, 499.0, 249.0}


@pytest.mark.covers("2.5")
def test_layers_of_a_slider(generator):
    network = generator.denoiser.network
    names = list(chosen_layers(network, SliderFit().low_rank()))
    assert not [name for name in names if "attn2" in name or "time_emb" in name]
    for part in ("attn1.to_q", "attn1.to_out.0", "conv1", "conv_shortcut", "downsamplers", "upsamplers"):
        assert any(part in name for name in names), part


@pytest.mark.covers("2.5")
def test_a_generator_without_such_layers_or_prompts_is_refused(generator, tmp_path):
    bare = torch.nn.Sequential(torch.nn.Linear(2, 2))
    with pytest.raises(InputError, match=r"has no layers for a slider: .*no layer"):
        fit_slider(generator.with_denoiser(bare), tmp_path / "a", "in snow", ["a cat"], rng=Randomness(0))
    assert not (tmp_path / "a").exists()
    with pytest.raises(InputError, match="at least; got none"):
        fit_slider(generator, tmp_path / "a", "in snow", [], rng=Randomness(0))


def test_a_training_comes_nearer_its_target_leaves_the_generator_alone_and_is_recorded(generator, tmp_path):
    before = {name: tensor.clone() for name, tensor in generator.denoiser.network.state_dict().items()}
    numbers = SliderFit(iterations=10, batch_size=1, steps=2, learning_rate=5e-3)
    slider = fit_slider(generator, tmp_path / "a", "in snow", ["a cat", "a dog"], fit=numbers, rng=Randomness(0))
    after = generator.denoiser.network.state_dict()
    assert list(after) == list(before)
    assert all(torch.equal(after[name], tensor) for name, tensor in before.items())
    # The losses of steps are of other latents each: of the same ones, a fresh slider's is that of no slider.
    prompt, shifted = (generator.encode_prompts([text] * 4) for text in ("a cat", "a cat, in snow"))
    sampler = Sampler(generator, steps=2)
    latents = sampler.run(sampler.start(seeded([1, 2, 3, 4])), prompt, until=1).latents
    with sliders_on(generator, {"snow": slider}) as (adapters, names), torch.no_grad():
        given = (generator.denoiser, adapters, names["snow"], latents, 500.0, prompt, shifted, 4.0)
        trained = float(slider_loss(*given))
        for parameter in adapters.parameters(names["snow"]):
            parameter.zero_()
        assert trained < 0.9 * float(slider_loss(*given))
    assert len(slider.card.losses) == 10
    assert slider.card.shifted == ("a cat, in snow", "a dog, in snow")
    assert (slider.card.fit, slider.card.words) == (numbers, "in snow")
    again = fit_slider(generator, tmp_path / "b", "in snow", ["a cat", "a dog"], fit=numbers, rng=Randomness(0))
    assert again.card.sha256 == slider.card.sha256


def test_a_loss_that_is_no_number_ends_the_training(generator, tmp_path, monkeypatch):
    monkeypatch.setattr(fitting, "slider_loss", lambda *_: torch.tensor(float("nan"), requires_grad=True))
    numbers = SliderFit(iterations=2, batch_size=1, steps=2)
    with pytest.raises(ModelError, match=r"at step 1; a smaller learning rate than 0\.0002"):
        fit_slider(generator, tmp_path / "a", "in snow", ["a cat"], fit=numbers, rng=Randomness(0))
    assert not getattr(generator.denoiser.network, "peft_config", {})


def test_latents_are_trained_on_at_the_size_that_is_requested(generator, tmp_path, monkeypatch):
    sizes = []

    def loss(denoiser, adapters, name, latents, *_):
        sizes.append(tuple(latents.shape[2:]))
        return sum(parameter.sum() for parameter in adapters.parameters(name))

    monkeypatch.setattr(fitting, "slider_loss", loss)
    height, width = generator.image_size
    for side in (None, 2 * height):
        numbers = SliderFit(iterations=1, batch_size=1, steps=2, size=side)
        fit_slider(generator, tmp_path / str(side), "in snow", ["a cat"], fit=numbers, rng=Randomness(0))
    assert height == width
    assert sizes[1] == (2 * sizes[0][0], 2 * sizes[0][1])
