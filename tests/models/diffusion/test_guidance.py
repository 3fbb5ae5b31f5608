"""Guidance: the formula, which calls it costs, and gradients against their closed form."""

import contextlib
from dataclasses import dataclass, field, replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from snellen.core.errors import InputError, ModelError
from snellen.core.randomness import Randomness
from snellen.models.diffusion.condition import Condition
from snellen.models.diffusion.denoiser import Denoiser
from snellen.models.diffusion.guidance import (
    Choice,
    ChosenReferenceGuidance,
    GradientGuidance,
    ReferenceGuidance,
    autoguidance,
    classifier_free,
    guidance_direction,
)
from snellen.models.diffusion.loading import load_generator
from snellen.models.diffusion.sampler import Sampler, seeded
from snellen.models.diffusion.smoke import write_smoke_folder
from snellen.models.diffusion.step_view import NetworkCall

STEPS = 3


@pytest.fixture(scope="module")
def generator(smoke):
    return smoke("class-unet")


@pytest.fixture(scope="module")
def weak(tmp_path_factory) -> Denoiser:
    """Another network of the same family."""
    folder = write_smoke_folder("class-unet", tmp_path_factory.mktemp("weak") / "weak", seed=1)
    return load_generator(f"diffusers:{folder}").denoiser


@pytest.fixture
def sample(generator):
    def run(condition, terms, seeds=(1, 2, 3), **options):
        sampler = Sampler(generator, steps=STEPS)
        return sampler.run(sampler.start(seeded(seeds)), condition, guidance=terms, **options)

    return run


@pytest.fixture(scope="module")
def condition(generator):
    return generator.encode_classes([3, 1, 4])


@pytest.fixture(scope="module")
def null(generator):
    return generator.null(3)


@given(w=st.floats(-5, 20), seed=st.integers(0, 9))
def test_the_formula(w, seed):
    draws = Randomness(seed).bind(3)
    one, other = draws.normal("a", (2, 4, 4)).double(), draws.normal("b", (2, 4, 4)).double()
    torch.testing.assert_close(one + guidance_direction(one, other, w), other + w * (one - other))
    assert not guidance_direction(one, other, 1.0).any()
    scales = torch.tensor([w, 1.0, 2.0], dtype=torch.float64)
    found = guidance_direction(one, other, scales)
    torch.testing.assert_close(found[0], guidance_direction(one, other, w)[0])
    assert not found[1].any()
    torch.testing.assert_close(found[2], (one - other)[2])


def test_one_call_with_guidance_and_half_of_it_without(generator, sample, counted, condition, null):
    with counted(generator.denoiser.network) as counter:
        guided = sample(condition, [classifier_free(4.0, null)])
        assert counter.calls == [6] * STEPS
        counter.calls.clear()
        plain = sample(condition, [])
        for nothing in (
            [classifier_free(1.0, null)],
            [classifier_free([1.0] * 3, null)],
            [classifier_free(4.0, condition)],
        ):
            assert torch.equal(sample(condition, nothing).latents, plain.latents)
        assert counter.calls == [3] * STEPS * 4
    assert float((guided.latents - plain.latents).abs().max()) > 1e-3
    assert (guided.calls, guided.rows, plain.calls, plain.rows) == (STEPS, 6 * STEPS, STEPS, 3 * STEPS)


def test_only_the_guided_samples_cost_a_row(generator, sample, counted, condition, null):
    with counted(generator.denoiser.network) as counter:
        mixed = sample(condition, [classifier_free([1.0, 4.0, 1.0], null)])
    assert counter.calls == [4] * STEPS
    plain, guided = sample(condition, []), sample(condition, [classifier_free(4.0, null)])
    expected = torch.stack([plain.latents[0], guided.latents[1], plain.latents[2]])
    torch.testing.assert_close(mixed.latents, expected, atol=1e-4, rtol=0)


def test_terms_that_ask_for_the_same_share_it(generator, sample, counted, condition, null):
    whole = sample(condition, [classifier_free(4.0, null)])
    with counted(generator.denoiser.network) as counter:
        halves = sample(condition, [classifier_free(2.5, null), classifier_free(torch.tensor([2.5] * 3), null)])
        assert counter.calls == [6] * STEPS
        counter.calls.clear()
        rows = sample(condition, [classifier_free([4.0, 4.0, 1.0], null), classifier_free([1.0, 1.0, 4.0], null)])
        assert counter.calls == [6] * STEPS
    torch.testing.assert_close(halves.latents, whole.latents, atol=1e-4, rtol=0)
    torch.testing.assert_close(rows.latents, whole.latents, atol=1e-4, rtol=0)


@pytest.mark.parametrize("interval", [(400.0, 300.0), (float("nan"), 300.0)])
def test_an_interval_without_a_timestep_is_refused_when_the_term_is_made(null, interval):
    for make in (
        lambda: classifier_free(2.0, null, interval),
        lambda: ChosenReferenceGuidance(lambda view: None, interval),
        lambda: GradientGuidance(lambda latents, view: latents.flatten(1).sum(1), 2.0, interval),
    ):
        with pytest.raises(InputError, match="from a lower to a higher timestep"):
            make()


def test_outside_its_interval_a_term_costs_nothing(generator, sample, counted, condition, null):
    with counted(generator.denoiser.network) as counter:
        sample(condition, [classifier_free(4.0, null, interval=(300, 400))])
    assert counter.calls == [3, 6, 3]  # timesteps 666, 333, 0


def test_autoguidance_refers_to_the_weak_denoiser(generator, sample, counted, condition, weak):
    with counted(generator.denoiser.network) as strong, counted(weak.network) as counter:
        state = sample(condition, [autoguidance(3.0, weak)])
        assert (strong.calls, counter.calls) == ([3] * STEPS, [3] * STEPS)
        counter.calls.clear()
        sample(condition, [autoguidance(1.0, weak)])
        assert counter.calls == []
    # By hand, with the library's own scheduler.
    solver = Sampler(generator, steps=STEPS).new_solver()
    latents = seeded((1, 2, 3)).normal("noise", (3, 32, 32))
    with torch.no_grad():
        for index, moment in enumerate(solver._scheduler.timesteps):
            good = generator.denoiser.network(latents, moment, class_labels=condition.classes).sample
            bad = weak.network(latents, moment, class_labels=condition.classes).sample
            latents = solver._scheduler.step(bad + 3 * (good - bad), moment, latents).prev_sample
            assert index < STEPS
    torch.testing.assert_close(state.latents, latents, atol=1e-5, rtol=1e-5)


def test_a_weak_denoiser_may_predict_something_else(generator, sample, condition, weak):
    """The same function as a velocity: what it says of the image is what counts."""
    truth = sample(condition, [autoguidance(3.0, weak)])

    class AsVelocity(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = weak.network

    def velocity(latents, timesteps, given):
        kept = weak.alphas_cumprod[int(timesteps[0])]
        alpha, sigma = kept**0.5, (1 - kept) ** 0.5
        return (weak(latents, timesteps, given) - sigma * latents) / alpha

    @dataclass(frozen=True, eq=False)
    class Velocity(Denoiser):
        def __call__(self, latents, timesteps, given):
            return velocity(latents, timesteps, given)

    values = {name: getattr(weak, name) for name in ("alphas_cumprod", "channels", "size", "size_multiple")}
    other = Velocity(network=AsVelocity(), prediction="v_prediction", **values)
    torch.testing.assert_close(sample(condition, [autoguidance(3.0, other)]).latents, truth.latents, atol=1e-4, rtol=0)


def test_a_denoiser_that_does_not_fit_is_refused(generator, sample, condition, weak):
    with pytest.raises(InputError, match="trained with the same noise schedule"):
        sample(condition, [autoguidance(3.0, replace(weak, alphas_cumprod=weak.alphas_cumprod * 0.9))])
    with pytest.raises(InputError, match="of 4 channels cannot guide one of 3"):
        sample(condition, [autoguidance(3.0, replace(weak, channels=4))])


def test_a_chosen_reference_equals_the_fixed_one_and_skips_rows(generator, sample, counted, condition, null):
    seen = []

    def choose(view):
        seen.append((view.index, view.timestep, tuple(view.decoded.shape), len(view)))
        return Choice([1.0, 4.0, 4.0], null)

    with counted(generator.denoiser.network) as counter:
        chosen = sample(condition, [ChosenReferenceGuidance(choose)])
    assert counter.calls == [3, 2] * STEPS
    assert [entry[0] for entry in seen] == [0, 1, 2]
    assert seen[0][2:] == ((3, 3, 32, 32), 3)
    fixed = sample(condition, [classifier_free([1.0, 4.0, 4.0], null)])
    torch.testing.assert_close(chosen.latents, fixed.latents, atol=2e-4, rtol=0)  # other batches, three guided steps
    nothing = sample(condition, [ChosenReferenceGuidance(lambda view: None)])
    certain = sample(condition, [ChosenReferenceGuidance(lambda view: Choice(1.0, null))])
    late = sample(condition, [ChosenReferenceGuidance(choose, interval=(-1, -1))])
    for state in (nothing, certain, late):
        assert torch.equal(state.latents, sample(condition, []).latents)
        assert state.rows == 3 * STEPS


def test_rows_that_are_known_are_not_predicted_again(generator, sample, counted, condition, null):
    known = classifier_free([1.0, 4.0, 1.0], null)
    with counted(generator.denoiser.network) as counter:
        chosen = sample(condition, [known, ChosenReferenceGuidance(lambda view: Choice([1.0, 3.0, 3.0], null))])
    assert counter.calls == [4, 1] * STEPS
    fixed = sample(condition, [known, classifier_free([1.0, 3.0, 3.0], null)])
    torch.testing.assert_close(chosen.latents, fixed.latents, atol=2e-4, rtol=0)


def test_references_that_differ_by_step_are_predicted_anew(generator, sample, counted, condition):
    def choose(view):
        ids = torch.as_tensor([view.index, 9, 9])
        return Choice(2.0, Condition(count=3, classes=ids))

    with counted(generator.denoiser.network) as counter:
        sample(condition, [ChosenReferenceGuidance(choose)])
    assert counter.calls == [3, 3] * STEPS


def test_gradients_follow_their_closed_form(generator, sample, condition):
    """Of −½|x − m|² the gradient is m − x: the noise grows by sqrt(1 − abar) (w − 1) (x − m)."""
    target, strength = 0.3, 2.0
    term = GradientGuidance(lambda latents, view: -0.5 * ((latents - target) ** 2).flatten(1).sum(1), 1 + strength)
    found = sample(condition, [term]).latents
    solver = Sampler(generator, steps=STEPS).new_solver()
    latents = seeded((1, 2, 3)).normal("noise", (3, 32, 32))
    with torch.no_grad():
        for moment in solver._scheduler.timesteps:
            kept = generator.denoiser.alphas_cumprod[moment]
            noise = generator.denoiser.network(latents, moment, class_labels=condition.classes).sample
            noise = noise - (1 - kept) ** 0.5 * strength * (target - latents)
            latents = solver._scheduler.step(noise, moment, latents).prev_sample
    torch.testing.assert_close(found, latents, atol=1e-5, rtol=1e-5)
    assert not found.requires_grad


def test_a_gradient_goes_through_the_denoiser_or_stops_there(generator, sample, condition):
    gradients = {}

    def through(latents, view):
        return view.x0(view.evaluate(latents), latents).flatten(1).sum(1)

    def stopped(latents, view):
        return view.x0(view.prediction, latents).flatten(1).sum(1)

    def watched(name, score):
        def scored(latents, view):
            scores = score(latents, view)
            if name not in gradients:
                (gradients[name],) = torch.autograd.grad(scores.sum(), latents, retain_graph=True)
            return scores

        return GradientGuidance(scored, 1.01)

    for name, score in (("through", through), ("stopped", stopped)):
        sample(condition, [watched(name, score)])
    kept = float(generator.denoiser.alphas_cumprod[666])
    torch.testing.assert_close(gradients["stopped"], torch.full((3, 3, 32, 32), kept**-0.5))
    assert float(gradients["through"].std()) > 1e-3
    assert all(parameter.grad is None for parameter in generator.denoiser.network.parameters())


def test_nobody_else_pays_for_gradients(generator, sample, condition, null):
    enabled = []
    handle = generator.denoiser.network.register_forward_hook(lambda *_: enabled.append(torch.is_grad_enabled()))
    term = GradientGuidance(lambda latents, view: latents.flatten(1).sum(1), scale=[1.0, 2.0, 3.0])
    try:
        sample(condition, [classifier_free(3.0, null), term])
    finally:
        handle.remove()
    assert enabled == [False] * STEPS
    never = GradientGuidance(lambda latents, view: pytest.fail("asked for nothing"), 1.0)
    assert torch.equal(sample(condition, [never]).latents, sample(condition, []).latents)


def test_directions_are_turned_into_the_kind_of_the_generator(smoke):
    """The same push on the noise moves a velocity by alpha times as much."""
    generator = smoke("stable-diffusion-2.1")
    condition = generator.encode_prompts(["a"])
    sampler = Sampler(generator, steps=2)
    start = sampler.start(seeded([1]))
    term = GradientGuidance(lambda latents, view: latents.flatten(1).sum(1), 2.0, interval=(400, 1000))
    seen = []

    def keep(view):
        seen.append((view.alpha, view.sigma, term.direction(view)))

    sampler.run(start, condition, guidance=[ChosenReferenceGuidance(keep)], until=1)
    alpha, sigma, direction = seen[0]
    torch.testing.assert_close(direction, torch.full((1, 4, 8, 8), -sigma / alpha))


def test_pure_noise_says_nothing_that_could_be_followed(smoke):
    """A schedule of zero terminal signal, whose velocity is not a multiple of the noise there."""
    generator = smoke("stable-diffusion-2.1")
    settings = {"rescale_betas_zero_snr": True, "timestep_spacing": "trailing"}
    sampler = Sampler(generator, steps=2, settings=settings)
    condition, start = generator.encode_prompts(["a"]), sampler.start(seeded([1]))
    assert sampler.new_solver().level(0)[0] == 0
    seen = []
    term = GradientGuidance(lambda latents, view: seen.append(view.index) or latents.flatten(1).sum(1), 2.0)
    assert torch.isfinite(sampler.run(start, condition, guidance=[term]).latents).all()
    assert seen == [1]


@pytest.mark.parametrize("broken", [float("nan"), float("inf")])
def test_a_gradient_that_is_not_finite_is_dropped_for_its_sample_alone_and_counted(sample, condition, broken):
    factor = torch.tensor([1.0, broken, 1.0])
    spoilt = GradientGuidance(lambda latents, view: latents.flatten(1).sum(1) * factor, 2.0)
    found = sample(condition, [spoilt]).latents
    sound = GradientGuidance(lambda latents, view: latents.flatten(1).sum(1), [2.0, 1.0, 2.0])
    assert torch.equal(found, sample(condition, [sound]).latents)
    assert (dict(spoilt.dropped.steps), spoilt.dropped.total) == ({"2": STEPS}, STEPS)
    unguided = GradientGuidance(lambda latents, view: latents.flatten(1).sum(1) * factor, [2.0, 1.0, 2.0])
    sample(condition, [unguided])
    assert (sound.dropped.total, unguided.dropped.total) == (0, 0)


@dataclass
class Recording:
    """A context that notes the calls that it is in force for."""

    calls: list[NetworkCall] = field(default_factory=list)
    inside: int = 0

    @contextlib.contextmanager
    def active(self, call):
        self.calls.append(call)
        self.inside += 1
        try:
            yield
        finally:
            self.inside -= 1


def test_a_context_is_reported_whose_each_row_is(generator, sample, condition, null, weak):
    recording = Recording()
    terms = [classifier_free([1.0, 4.0, 4.0], null), autoguidance([2.0, 1.0, 1.0], weak)]
    sample(condition, terms, context=recording)
    assert [call.timestep for call in recording.calls] == [666, 666, 333, 333, 0, 0]
    own, other = recording.calls[:2]
    assert own.denoiser is generator.denoiser
    assert own.samples.tolist() == [0, 1, 2, 1, 2]
    assert other.denoiser is weak
    assert other.samples.tolist() == [0]
    assert {call.count for call in recording.calls} == {3}
    with pytest.raises(ZeroDivisionError):
        sample(
            condition,
            [GradientGuidance(lambda latents, view: view.evaluate(latents) / (1 // 0), 2.0)],
            context=recording,
        )
    assert recording.inside == 0


def test_what_does_not_fit_is_refused(sample, condition, null):
    cases = [
        ([classifier_free([1.0, 2.0], null)], "2 guidance scales came for 3 samples"),
        ([classifier_free(float("nan"), null)], "finite numbers; got"),
        ([ReferenceGuidance(2.0, null.select([0]))], "a condition of 1 rows came for 3 samples"),
    ]
    for terms, message in cases:
        with pytest.raises(InputError, match=message):
            sample(condition, terms)
    with pytest.raises(ModelError, match=r"one number for each sample, \(3,\); got \(\)"):
        sample(condition, [GradientGuidance(lambda latents, view: latents.sum(), 2.0)])
    with pytest.raises(ModelError, match="does not depend on the latents"):
        sample(condition, [GradientGuidance(lambda latents, view: torch.zeros(3), 2.0)])
