"""Prompts are erased by cross-attention alone, towards 'no prompt'; the search finds those that stay."""

import numpy as np
import pytest
import torch

from snellen.core.errors import InputError, ModelError
from snellen.core.progress import Silent
from snellen.core.randomness import Randomness
from snellen.methods.forgetting import prompt_erasing, prompt_search
from snellen.methods.forgetting.prompt_erasing import (
    CROSS_ATTENTION,
    Erasing,
    Probe,
    Prompted,
    PromptLosses,
    Redrawing,
    draw,
    erased,
    erasing_target,
    retrained,
)
from snellen.methods.forgetting.prompt_search import (
    PUBLISHED,
    PromptSearch,
    hardness,
    largest,
    nearest_weights,
    search_prompts,
    upper_step,
)
from snellen.models.diffusion.denoiser import to_epsilon
from snellen.models.diffusion.loading import load_generator
from snellen.models.diffusion.sampler import Sampler
from snellen.systems.worst_case_forget_set.search import project_onto_count

PROMPTS = ("a red star", "a blue ring", "a green heart", "a yellow square")
FAST = Erasing(steps=6, rate=1e-3, batch_size=4)


@pytest.fixture(scope="module")
def drawn():
    """The embedded generator, which is trained, with pictures to erase with and others to judge with."""
    generator = load_generator("bundled:scene-diffusion")
    prompted = Prompted.of(generator, PROMPTS)
    own, other = (draw(prompted, 2, Sampler(generator, steps=3), 3.0, Randomness(seed), Silent()) for seed in (0, 1))
    return prompted, own, Probe.of(prompted, other, 1.0, Randomness(2))


@pytest.fixture(scope="module")
def tiny(drawn):
    """Three prompts of it with noise for pictures, where their quality does not matter."""
    prompted = Prompted.of(drawn[0].generator, ["a red star", "a ring", "a heart"])
    return prompted, torch.randn((3, 2, *drawn[1].shape[2:]), generator=torch.Generator().manual_seed(0))


def test_an_erased_prompt_is_denoised_worse_and_is_nearer_to_no_prompt(drawn):
    prompted, own, probe = drawn
    network = prompted.generator.denoiser.network
    before = probe.losses(network)
    kept = {name: one.clone() for name, one in network.state_dict().items()}
    made = erased(prompted, own, np.array([1.0, 0, 0, 0]), FAST, Randomness(0))
    after = probe.losses(made)
    assert after.denoising[0] > 1.05 * before.denoising[0]
    assert after.erasing[0] < 0.75 * before.erasing[0]
    changed = {name for name, one in made.state_dict().items() if not torch.equal(one, kept[name])}
    assert changed
    assert all(CROSS_ATTENTION in name for name in changed)
    assert all(torch.equal(one, kept[name]) for name, one in network.state_dict().items()), "the given one stays"
    assert not any(one.requires_grad for one in network.parameters())


@pytest.mark.covers("24.1")
def test_the_worst_set_has_a_higher_loss_after_erasing_than_the_easiest(drawn):
    prompted, own, _ = drawn
    found = {}
    for reverse in (False, True):
        # One upper step: both searches then choose by the losses of one and the same erased generator.
        search = PromptSearch(upper_steps=1, reverse=reverse, lower=Erasing(steps=3, batch_size=4))
        found[reverse] = search_prompts(prompted, own, 1, search=search, rng=Randomness(0))
        assert found[reverse].weights.shape == (2, 4)
        assert found[reverse].weights[-1].sum() == len(found[reverse].chosen) == 1
        assert found[reverse].moved > prompt_search.MOVED
    assert found[False].losses[0] > 1.2 * found[True].losses[0]


def test_the_target_means_the_same_for_noise_and_for_velocities():
    draws = torch.Generator().manual_seed(0)
    prompted, unprompted, noisy = torch.randn((3, 5), generator=draws)
    velocity = erasing_target(prompted, unprompted, 1.5)
    noise = [to_epsilon(one, "v_prediction", noisy, 0.6, 0.8) for one in (prompted, unprompted, velocity)]
    torch.testing.assert_close(erasing_target(noise[0], noise[1], 1.5), noise[2])


@pytest.mark.covers("24.2")
def test_a_step_moves_each_weight_by_the_rate_and_the_sign_alone(tiny):
    prompted, own = tiny
    before = dict(prompted.generator.denoiser.network.named_parameters())
    one = Erasing(steps=1, rate=1e-3, batch_size=4)
    made = erased(prompted, own, np.array([1.0, 0, 0]), one, Randomness(0))
    moved = {name: (value - before[name]).abs() for name, value in made.named_parameters() if CROSS_ATTENTION in name}
    sizes = torch.cat([value.flatten() for value in moved.values()])
    assert bool(((sizes - 1e-3).abs() < 1e-6).logical_or(sizes == 0).all())
    half = erased(prompted, own, np.array([0.5, 0, 0]), one, Randomness(0))
    assert all(torch.equal(value, dict(half.named_parameters())[name]) for name, value in made.named_parameters())


def test_weights_of_several_prompts_decide_and_those_of_weight_0_are_in_no_batch(tiny, monkeypatch):
    prompted, own = tiny
    one, seen = Erasing(steps=1, rate=1e-3, batch_size=4), []
    original = Prompted.targets

    def targets(self, noisy, timesteps, rows, guidance):
        seen.append(set(rows))
        return original(self, noisy, timesteps, rows, guidance)

    monkeypatch.setattr(Prompted, "targets", targets)
    made = [erased(prompted, own, np.array(w), one, Randomness(0)) for w in ([1.0, 0.1, 0], [0.1, 1.0, 0])]
    first, second = (dict(network.named_parameters()) for network in made)
    assert any(not torch.equal(value, second[name]) for name, value in first.items())
    assert seen == [{0, 1}, {0, 1}]
    with pytest.raises(InputError, match="nothing to erase"):
        erased(prompted, own, np.zeros(3), one, Randomness(0))


@pytest.mark.covers("24.4")
def test_every_upper_step_begins_with_the_generator_as_it_was(tiny, monkeypatch):
    prompted, own = tiny
    kept = {name: one.clone() for name, one in prompted.generator.denoiser.network.state_dict().items()}
    begun, original = [], prompt_search.erased

    def watched(given, *rest):
        weights = given.generator.denoiser.network.state_dict()
        begun.append(all(torch.equal(one, kept[name]) for name, one in weights.items()))
        return original(given, *rest)

    monkeypatch.setattr(prompt_search, "erased", watched)
    lower = Erasing(steps=1, batch_size=2)
    search_prompts(prompted, own, 1, search=PromptSearch(upper_steps=3, lower=lower), rng=Randomness(0))
    assert begun == [True] * 3


@pytest.mark.covers("24.3")
def test_weights_are_projected_as_those_of_images_are():
    draws = np.random.default_rng(0)
    for number in (1, 3, 7):
        for scale in (0.1, 1.0, 1e5):
            values = scale * draws.normal(size=8)
            found = nearest_weights(values, number)
            np.testing.assert_allclose(found, project_onto_count(values, number), atol=1e-9)
            assert abs(found.sum() - number) < 1e-9
            np.testing.assert_allclose(nearest_weights(found, number), found, atol=1e-12)
    for wrong in (0, 8, 9):
        with pytest.raises(InputError, match="at least 1 and at most 7 of 8"):
            nearest_weights(np.zeros(8), wrong)
    with pytest.raises(InputError, match="finite"):
        nearest_weights(np.array([1.0, np.nan]), 1)


def test_the_selection_climbs_what_is_still_drawn():
    losses = PromptLosses(np.array([0.1, 0.2, 0.4]), np.array([0.9, 0.5, 0.1]))
    start = np.full(3, 1 / 3)
    for changes, first in (({}, 2), ({"reverse": True}, 0), ({"loss": "denoising"}, 2)):
        search = PromptSearch(**changes)
        assert upper_step(start, hardness(losses, search), 1, search).argmax() == first
    moved = upper_step(start, hardness(losses, PUBLISHED), 1, PUBLISHED)
    assert moved.tolist() == [0, 0, 1], "the published step of 100 moves where losses differ by hundredths"
    small = PUBLISHED.model_copy(update={"step": 1e-3})
    assert np.abs(upper_step(start, hardness(losses, small), 1, small) - start).max() < 1e-3, "its default does not"
    assert largest(np.array([0.5, 0.9, 0.5, 0.5]), 2).tolist() == [0, 1]


@pytest.mark.covers("24.8")
def test_retraining_begins_anew_and_never_sees_the_prompts(tiny, monkeypatch):
    prompted, own = tiny
    seen, original = set(), prompt_erasing._batches

    def batches(*given):
        for batch in original(*given):
            seen.update(batch.rows)
            yield batch

    monkeypatch.setattr(prompt_erasing, "_batches", batches)
    numbers = Redrawing(steps=2, batch_size=10)
    made = retrained(prompted, own, [1], numbers, Randomness(0))
    again = retrained(prompted, own, [1], numbers, Randomness(0))
    assert seen == {0, 2}
    old = prompted.generator.denoiser.network.state_dict()
    assert not any(torch.equal(one, old[name]) for name, one in made.state_dict().items() if one.ndim > 1)
    assert all(torch.equal(one, again.state_dict()[name]) for name, one in made.state_dict().items())


def test_what_cannot_be_erased_is_refused(tiny):
    prompted, own = tiny
    other = load_generator("bundled:fashion-diffusion")
    with pytest.raises(InputError, match=r"erased from a text-to-image model, and .* takes classes"):
        Prompted.of(other, ["a star"])
    with pytest.raises(ModelError, match="not finite"):
        erased(prompted, own * float("nan"), np.ones(3), Erasing(steps=1, batch_size=2), Randomness(0))
    with pytest.raises(InputError, match="at most 2 of 3 prompts"):
        search_prompts(prompted, own, 3, search=PromptSearch(), rng=Randomness(0))
