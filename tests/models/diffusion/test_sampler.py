"""The loop: batches, forks, hooks, starts from images, and what is refused."""

from dataclasses import replace

import pytest
import torch

from snellen.core.errors import InputError, ModelError, UnknownNameError
from snellen.core.randomness import Randomness
from snellen.models.diffusion.condition import Condition
from snellen.models.diffusion.denoiser import to_x0
from snellen.models.diffusion.guidance import classifier_free
from snellen.models.diffusion.sampler import LatentHook, Sampler, initial_noise, seeded
from snellen.models.diffusion.smoke import SMOKE_FOLDERS

SOLVERS = [
    ("ddim", 0.0),
    ("ddim", 0.7),
    ("ddpm", 0.0),
    ("euler", 0.0),
    ("euler-ancestral", 0.0),
    ("dpm-solver++", 0.0),
    ("sde-dpm-solver++", 0.0),
]
every_solver = pytest.mark.parametrize(("solver", "eta"), SOLVERS)


def conditions(generator, count):
    if generator.takes == "prompts":
        prompts = ["a red star", "a dog on grass", "a blue ring", "fog"][:count]
        return generator.encode_prompts(prompts), generator.null(count)
    if generator.takes == "classes":
        return generator.encode_classes([3, 1, 4, 1][:count]), generator.null(count)
    return Condition(count=count), None


def sample(generator, seeds, condition, negative=None, **options):
    sampler = Sampler(generator, steps=5, **options)
    terms = [] if negative is None else [classifier_free(4.0, negative)]
    return sampler.run(sampler.start(seeded(seeds)), condition, guidance=terms)


@every_solver
def test_a_batch_gives_what_its_samples_give_alone(smoke, solver, eta):
    generator = smoke("stable-diffusion-2.1")
    condition, null = conditions(generator, 3)
    whole = generator.decode(sample(generator, [4, 5, 6], condition, null, solver=solver, eta=eta).latents)
    for row in (2, 0):
        alone = sample(generator, [4 + row], condition.select([row]), null.select([row]), solver=solver, eta=eta)
        torch.testing.assert_close(generator.decode(alone.latents)[0], whole[row], atol=1e-5, rtol=0)
    assert float((whole[0] - whole[1]).abs().max()) > 0.1


@pytest.mark.parametrize("name", SMOKE_FOLDERS)
def test_one_script_samples_from_every_family(smoke, name):
    generator = smoke(name)
    condition, null = conditions(generator, 2)
    state = sample(generator, [1, 2], condition, null)
    images = generator.decode(state.latents)
    assert images.shape == (2, 3, *generator.image_size)
    assert state.finished
    assert 0 <= float(images.min()) < float(images.max()) <= 1
    assert (state.calls, state.rows) == (5, 10 if null is None else 20)


@every_solver
def test_no_global_randomness_is_used(smoke, solver, eta):
    generator = smoke("class-unet")
    condition, null = conditions(generator, 2)
    before = torch.get_rng_state()
    first = sample(generator, [1, 2], condition, null, solver=solver, eta=eta).latents
    assert torch.equal(before, torch.get_rng_state())
    torch.manual_seed(before[0].item() + 17)
    again = sample(generator, [1, 2], condition, null, solver=solver, eta=eta).latents
    torch.set_rng_state(before)
    torch.testing.assert_close(first, again, atol=1e-5, rtol=0)
    other = sample(generator, [1, 3], condition, null, solver=solver, eta=eta).latents
    assert float((first[1] - other[1]).abs().max()) > 0.1


def test_noise_of_the_steps_belongs_to_the_seed_and_the_step(smoke):
    """With the same initial noise, only steps that add noise tell two seeds apart."""
    generator = smoke("unconditional-unet")
    noise = seeded([0, 0]).normal("noise", generator.latent_shape())
    for solver, eta in SOLVERS:
        sampler = Sampler(generator, steps=3, solver=solver, eta=eta)
        last = sampler.run(sampler.start(seeded([1, 2]), noise=noise)).latents
        assert sampler.new_solver().random == (float((last[0] - last[1]).abs().max()) > 1e-3)


@every_solver
def test_a_fork_is_the_unforked_run_to_the_bit(smoke, solver, eta):
    generator = smoke("class-unet")
    condition, null = conditions(generator, 2)
    sampler = Sampler(generator, steps=6, solver=solver, eta=eta)
    terms = [classifier_free(3.0, null)]
    start = sampler.start(seeded([1, 2]))
    unforked = sampler.run(start, condition, guidance=terms)
    prefix = sampler.run(start, condition, guidance=terms, until=3)
    kept = prefix.stored.clone()
    other = sampler.run(prefix, null, guidance=[])
    forked = sampler.run(prefix, condition, guidance=terms)
    stepwise = prefix
    for until in (4, 5, 6):
        stepwise = sampler.run(stepwise, condition, guidance=terms, until=until)
    assert torch.equal(forked.latents, unforked.latents)
    assert torch.equal(stepwise.latents, unforked.latents)
    assert torch.equal(prefix.stored, kept)
    assert prefix.index == 3
    assert not prefix.finished
    assert float((other.latents - unforked.latents).abs().max()) > 1e-3
    assert forked.calls == unforked.calls == 6


@every_solver
def test_repeated_rows_continue_as_the_originals_would(smoke, solver, eta):
    generator = smoke("class-unet")
    condition, null = conditions(generator, 2)
    sampler = Sampler(generator, steps=6, solver=solver, eta=eta)
    prefix = sampler.run(sampler.start(seeded([1, 2])), condition, until=3)
    last = sampler.run(prefix, condition).latents
    away = sampler.run(prefix, null).latents
    rows = [1, 0, 1]
    mixed = Condition.concatenate([condition.select([1, 0]), null.select([1])])
    found = sampler.run(prefix.select(rows), mixed).latents
    expected = torch.stack([last[1], last[0], away[1]])
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


def test_latents_of_a_state_are_alpha_x0_plus_sigma_eps(smoke):
    """Whatever the scale of the solver: one whose estimates are exact leaves exactly that."""
    generator = smoke("unconditional-unet")
    x0 = seeded([1]).uniform("x0", (3, 32, 32), -0.9, 0.9)
    eps = initial_noise(seeded([1]), (3, 32, 32), generator)
    for solver in ("ddim", "euler", "dpm-solver++"):
        sampler = Sampler(generator, steps=4, solver=solver)
        state = sampler.start_from(x0, seeded([1]), strength=0.5)
        alpha, sigma = state.solver.level(2)
        assert state.index == 2
        torch.testing.assert_close(state.latents, alpha * x0 + sigma * eps, atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(state.with_latents(state.latents).stored, state.stored, atol=1e-4, rtol=1e-5)
        assert alpha**2 + sigma**2 == pytest.approx(1)


@pytest.mark.usefixtures("quietly")
@pytest.mark.parametrize(("solver", "kind"), [("ddim", "DDIMScheduler"), ("euler", "EulerDiscreteScheduler")])
@pytest.mark.parametrize("strength", [0.5, 1.0])
def test_image_to_image_is_that_of_the_schedulers(smoke, pipeline, solver, kind, strength):
    generator = smoke("class-unet")
    condition = generator.encode_classes([3, 1])
    x0 = seeded([1, 2]).uniform("x0", (3, 32, 32), -0.9, 0.9)
    sampler = Sampler(generator, steps=6, solver=solver)
    mine = sampler.run(sampler.start_from(x0, seeded([1, 2]), strength=strength), condition).latents
    scheduler = pipeline("class-unet", kind).scheduler
    scheduler.set_timesteps(6)
    first = 6 - int(6 * strength)
    if hasattr(scheduler, "set_begin_index"):
        scheduler.set_begin_index(first)
    noise = initial_noise(seeded([1, 2]), (3, 32, 32), generator)
    latents = scheduler.add_noise(x0, noise, scheduler.timesteps[first : first + 1])
    with torch.no_grad():
        for moment in scheduler.timesteps[first:]:
            scaled = scheduler.scale_model_input(latents, moment)
            predicted = generator.denoiser.network(scaled, moment, class_labels=condition.classes).sample
            latents = scheduler.step(predicted, moment, latents).prev_sample
    # Euler starts at more than a hundred times the final scale, so single precision has less to give.
    torch.testing.assert_close(mine, latents, atol=1e-4 if solver == "euler" else 1e-5, rtol=0)


def test_a_prediction_of_the_image_works_with_every_solver(smoke, smoke_folder, tmp_path):
    """A denoiser that names the image itself ends at that image, whichever way its steps are made."""
    generator = smoke("unconditional-unet")
    naming = replace(
        generator,
        denoiser=replace(generator.denoiser, prediction="sample"),
        schedule={**generator.schedule, "prediction_type": "sample"},
    )
    for solver, eta in SOLVERS:
        sampler = Sampler(
            naming,
            steps=3,
            solver=solver,
            eta=eta,
            settings={"clip_sample": False} if solver in ("ddim", "ddpm") else {},
        )
        estimates = Estimates()
        state = sampler.run(sampler.start(seeded([1])), hooks=[estimates])
        torch.testing.assert_close(state.latents, estimates.x0[-1], atol=2e-3, rtol=1e-3)


class Estimates(LatentHook):
    def __init__(self):
        self.x0, self.moments = [], []

    def before(self, moment):
        assert moment.x0 is None
        self.moments.append(("before", moment.index, moment.timestep, moment.first))

    def after(self, moment):
        self.x0.append(moment.x0)
        self.moments.append(("after", moment.index, moment.timestep, moment.first))


def test_hooks_see_every_step_and_change_nothing_by_looking(smoke):
    generator = smoke("class-unet")
    condition, _ = conditions(generator, 2)
    for solver in ("ddim", "euler", "dpm-solver++"):
        sampler = Sampler(generator, steps=3, solver=solver)
        start = sampler.start(seeded([1, 2]))
        looking = Estimates()
        seen = sampler.run(start, condition, hooks=[looking])
        assert torch.equal(seen.stored, sampler.run(start, condition).stored)
        times = [state_time for _, _, state_time, _ in looking.moments]
        assert [moment[:2] for moment in looking.moments] == [
            (when, index) for index in range(3) for when in ("before", "after")
        ]
        assert times[1] == times[2]
        assert times[-1] == -1
        assert times[0] > times[2] > times[4]
        assert [first for *_, first in looking.moments] == [True, True, False, False, False, False]
        if solver != "dpm-solver++":
            continue
        # The last step of this solver is of first order: it ends at its estimate.
        torch.testing.assert_close(seen.latents, looking.x0[-1], atol=1e-5, rtol=1e-5)


class Replace(LatentHook):
    def __init__(self, when, index, latents):
        self.when, self.index, self.latents = when, index, latents

    def before(self, moment):
        return self.latents if (self.when, self.index) == ("before", moment.index) else None

    def after(self, moment):
        return self.latents if (self.when, self.index) == ("after", moment.index) else None


@pytest.mark.parametrize("solver", ["ddim", "euler", "dpm-solver++"])
def test_hooks_replace_latents_of_the_networks_scale(smoke, solver):
    generator = smoke("class-unet")
    condition, _ = conditions(generator, 2)
    sampler = Sampler(generator, steps=4, solver=solver)
    given = seeded([8, 9]).normal("given", (3, 32, 32))
    start = sampler.start(seeded([1, 2]))
    before = sampler.run(start, condition, hooks=[Replace("before", 2, given)])
    after = sampler.run(start, condition, hooks=[Replace("after", 1, given)])
    by_hand = sampler.run(sampler.run(start, condition, until=2).with_latents(given), condition)
    torch.testing.assert_close(before.latents, by_hand.latents, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(after.latents, by_hand.latents, atol=1e-5, rtol=1e-5)
    last = sampler.run(start, condition, hooks=[Replace("after", 3, given)])
    torch.testing.assert_close(last.latents, given, atol=1e-6, rtol=1e-6)
    with pytest.raises(InputError, match=r"a hook replaced latents \(2, 3, 32, 32\) by \(2, 3, 16, 16\)"):
        sampler.run(start, condition, hooks=[Replace("before", 0, given[:, :, :16, :16])])


def test_given_latents_at_a_step(smoke):
    generator = smoke("class-unet")
    condition, _ = conditions(generator, 2)
    for solver in ("ddim", "euler"):
        sampler = Sampler(generator, steps=4, solver=solver)
        prefix = sampler.run(sampler.start(seeded([1, 2])), condition, until=2)
        resumed = sampler.resume(prefix.latents, seeded([1, 2]), index=2)
        expected = sampler.run(prefix, condition).latents
        torch.testing.assert_close(sampler.run(resumed, condition).latents, expected, atol=1e-4, rtol=1e-4)


def test_other_sizes_than_the_generators_own(smoke):
    generator = smoke("stable-diffusion-1.5")
    sampler = Sampler(generator, steps=2)
    state = sampler.run(sampler.start(seeded([1]), size=(64, 96)), generator.encode_prompts(["a"], size=(64, 96)))
    assert generator.decode(state.latents).shape == (1, 3, 64, 96)


class Poison(LatentHook):
    def before(self, moment):
        latents = moment.latents.clone()
        if moment.index == 1:
            latents[1, 0, 0, 0] = float("nan")
        return latents


def test_latents_that_are_not_finite_are_named(smoke):
    generator = smoke("class-unet")
    condition, _ = conditions(generator, 3)
    sampler = Sampler(generator, steps=4)
    with pytest.raises(ModelError, match=r"not finite after step 1 \(timestep 500\) of 1 of 3 samples: 22;"):
        sampler.run(sampler.start(seeded([11, 22, 33])), condition, hooks=[Poison()])


def test_what_does_not_fit_is_refused(smoke):
    generator = smoke("class-unet")
    condition, _ = conditions(generator, 2)
    sampler = Sampler(generator, steps=4)
    start = sampler.start(seeded([1, 2]))
    cases = [
        (lambda: sampler.run(start, condition.select([0])), "2 seeds came with a condition of 1 rows"),
        (lambda: sampler.run(start, condition, until=5), "at step 0 of 4 cannot go on until step 5"),
        (lambda: sampler.run(sampler.run(start, condition, until=2), condition, until=1), "at step 2 of 4 cannot"),
        (lambda: sampler.start(seeded([1]), noise=torch.zeros(2, 3, 32, 32)), r"got \(2, 3, 32, 32\)"),
        (lambda: sampler.start(seeded([1]), size=(64, 64), noise=torch.zeros(1, 3, 32, 32)), r"at \(64, 64\); got"),
        (lambda: sampler.start(seeded([1]), size=(30, 32)), "multiples of 8"),
        (lambda: sampler.resume(torch.zeros(1, 4, 32, 32), seeded([1])), r"\(1, 3, 32, 32\) .* got \(1, 4, 32, 32\)"),
        (lambda: sampler.resume(torch.zeros(1, 3, 32, 32), seeded([1]), index=4), "numbered 0 to 3; got 4"),
        (
            lambda: sampler.start_from(torch.zeros(1, 3, 32, 32), seeded([1]), strength=0.2),
            "at least one step; got 0.2",
        ),
        (lambda: sampler.start_from(torch.zeros(1, 3, 32, 32), seeded([1]), strength=1.5), "got 1.5"),
        (lambda: start.with_latents(torch.zeros(1)), "cannot replace"),
        (lambda: Sampler(generator, steps=0), "steps are 1 to 1000, .* got 0"),
        (lambda: Sampler(generator, eta=2), "eta is 0 .* got 2"),
        (lambda: Sampler(generator, solver="euler", eta=0.5), "eta belongs to the solver ddim; euler has none"),
        (lambda: Sampler(generator, solver="euler", settings={"beta_schedule": "square"}), "cannot be built"),
    ]
    for call, message in cases:
        with pytest.raises(InputError, match=message):
            call()
    with pytest.raises(InputError, match="bound to samples: seeded"):
        sampler.start(Randomness(0))
    with pytest.raises(UnknownNameError, match="unknown solver 'dpm'; did you mean"):
        Sampler(generator, solver="dpm")
    with pytest.raises(UnknownNameError, match="unknown setting of DDIMScheduler 'karras'"):
        Sampler(generator, settings={"karras": True})


def test_latents_of_a_decoder_are_not_clipped_unless_the_folder_says_so(smoke):
    """The scheduler of this folder knows no clipping, the solver's class would clip by default."""
    assert "clip_sample" not in smoke("pixart").schedule
    for name, clipped in (("pixart", False), ("class-unet", True)):
        solver = Sampler(smoke(name), steps=2).new_solver()
        assert solver._scheduler.config.clip_sample is clipped


def test_estimates_of_the_image_follow_from_predictions(smoke):
    x = torch.tensor([1.0])
    assert float(to_x0(torch.tensor([0.5]), "epsilon", x, 0.8, 0.6)) == pytest.approx(0.875)
