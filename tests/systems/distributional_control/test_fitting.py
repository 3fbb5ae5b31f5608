"""The training of f: known densities, frozen models, weights that add up, collapse, composition, sampling alone."""

import gc
import weakref
from itertools import pairwise

import pytest
import torch
from torch import nn

from snellen.core.classifier import Classifier
from snellen.core.errors import InputError, ModelError, UnsupportedError
from snellen.core.preprocessing import Preprocessing
from snellen.core.randomness import Randomness
from snellen.models.latent_generators.latent_generator import LatentGenerator
from snellen.systems.distributional_control.control import Control, load_control, open_generator
from snellen.systems.distributional_control.controlling import control, moments_of
from snellen.systems.distributional_control.energies import (
    ClassEnergy,
    ConditionEnergy,
    IdentityEnergy,
    MomentEnergy,
    Pairing,
    TextEnergy,
    Weighted,
    changed_views,
    total_energy,
)
from snellen.systems.distributional_control.fitting import PRESETS, ControlFit, fit_control, reverse_kl
from snellen.systems.distributional_control.invertible_network import InvertibleNetwork, standard_normal
from snellen.systems.distributional_control.moment_constraint import fit_moments
from snellen.systems.distributional_control.rivals import by_descent, by_langevin, by_rejection
from tests.systems.distributional_control.analytic import (
    SIDE,
    MixtureEnergy,
    Painted,
    latents_in,
    painted,
    threshold,
)

QUICK = ControlFit(
    steps=300, batch_size=128, blocks=4, hidden=32, learning_rate=5e-3, check_every=50, checked=512, warm_up=0.2
)


class Constant:
    name, needs_neutral = "constant", False

    def __init__(self, value):
        self.value = value

    def __call__(self, images, pairing, draws):
        return torch.full((len(images),), self.value) + 0 * images.sum((1, 2, 3))


@pytest.fixture(scope="module")
def mixture():
    energy = MixtureEnergy()
    fitted = fit_control(painted(), [Weighted(energy)], fit=QUICK.model_copy(update={"steps": 600}), rng=Randomness(0))
    return fitted, energy


@pytest.mark.covers("28.2")
def test_a_control_reaches_a_known_mixture(mixture):
    fitted, energy = mixture
    noise = torch.randn(4000, 2, generator=torch.Generator().manual_seed(5))
    with torch.no_grad():
        latents, log_determinant = fitted.network(noise)
        own = standard_normal(noise) - log_determinant
    gap = (own - energy.log_density(latents)).double()
    assert float(gap.mean()) < 0.08, "KL(p_θ ‖ mixture), nats"
    assert float(gap.mean()) > -0.02
    left = float((latents[:, 0] < -0.1).double().mean())
    assert left == pytest.approx(0.3, abs=0.06), "the share of the left component"
    assert torch.allclose(fitted.network.log_density(latents), own, atol=1e-3)


@pytest.mark.covers("28.2")
def test_without_an_energy_training_ends_at_the_prior():
    generator, rng = painted(), Randomness(0)
    network = InvertibleNetwork(2, blocks=3, hidden=16)
    with torch.no_grad():
        for block in network.blocks:  # far from the prior, in place and in volume
            block.log_scale.add_(0.4)
            block.shift.add_(0.5)
    optimizer = torch.optim.Adam(network.parameters(), 2e-2)
    draws = rng.generator("test")

    def divergence_from_prior():
        noise = torch.randn(4000, 2, generator=torch.Generator().manual_seed(3))
        with torch.no_grad():
            latents, log_determinant = network(noise)
            return float((standard_normal(noise) - log_determinant - standard_normal(latents)).mean())

    before = divergence_from_prior()
    for _ in range(250):
        noise = torch.randn(128, 2, generator=draws)
        latents, log_determinant = network(noise)
        energy = total_energy([], generator(latents), None, draws)
        reverse_kl(energy, latents, log_determinant).mean().backward()
        optimizer.step()
        optimizer.zero_grad()
    assert before > 1
    assert abs(divergence_from_prior()) < 0.02


@pytest.mark.covers("28.2")
def test_a_control_without_an_energy_changes_nothing():
    generator = painted()
    fitted = fit_control(generator, [], fit=QUICK, rng=Randomness(0))
    noise = torch.randn(2000, 2, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        latents, log_determinant = fitted.network(noise)
    assert float((standard_normal(noise) - log_determinant - standard_normal(latents)).mean()) == pytest.approx(
        0, abs=0.02
    )
    assert abs(fitted.variety.entropy) < 0.05
    assert fitted.variety.warning is None


@pytest.mark.covers("28.3")
def test_models_stay_frozen_and_gradients_flow_through_them():
    generator, classifier = painted(), threshold(1.0)
    networks = [generator.decoder, classifier.module]
    before = [value.clone() for one in networks for value in one.state_dict().values()]
    noise = torch.randn(8, 2, requires_grad=True)
    ClassEnergy(classifier, {"above": 1.0})(generator(noise), None, torch.Generator()).sum().backward()
    assert noise.grad is not None
    assert float(noise.grad[:, 0].abs().min()) > 0
    fit_control(
        generator,
        [Weighted(ClassEnergy(classifier, {"above": 1.0}))],
        fit=QUICK.model_copy(update={"steps": 3}),
        rng=Randomness(0),
    )
    after = [value for one in networks for value in one.state_dict().values()]
    assert all(torch.equal(one, other) for one, other in zip(before, after, strict=True))
    for one in networks:
        assert not one.training
        assert all(not weight.requires_grad and weight.grad is None for weight in one.parameters())


@pytest.mark.covers("28.3")
@pytest.mark.parametrize("energy", [ConditionEnergy, IdentityEnergy])
def test_a_module_of_the_caller_is_evaluated_and_left_as_it_came(energy):
    reader = nn.Sequential(nn.Dropout(0.5), nn.Flatten(), nn.Linear(3 * 16, 2))
    first = reader[2].weight.clone()
    images = torch.rand(4, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    pairing = Pairing(torch.zeros(4, 2), images.flip(0))
    values = [energy(reader)(images, pairing, torch.Generator()) for _ in range(2)]
    assert torch.equal(*values), "dropout is off"
    fit_control(
        painted(),
        [Weighted(energy(reader))],
        fit=QUICK.model_copy(update={"steps": 2}),
        rng=Randomness(0),
        conditions=lambda count, draws: torch.rand(count, 2, generator=draws),
    )
    assert all(one.training for one in reader.modules())
    assert all(weight.grad is None for weight in reader.parameters())
    assert torch.equal(reader[2].weight, first)


@pytest.mark.covers("28.4")
def test_energies_add_up_with_their_weights_for_each_sample():
    images = painted()(torch.randn(6, 2))
    classifier = threshold(0.0)
    first, second = ClassEnergy(classifier, {"above": 1.0}), ClassEnergy(classifier, {"below": 2.0})
    draws = torch.Generator()
    found = total_energy([Weighted(first, 3.0), Weighted(second, 0.5)], images, None, draws)
    probabilities = classifier.probabilities(classifier(images))
    by_hand = -3.0 * (probabilities[:, 1] + 1e-8).log() - 0.5 * 2.0 * (probabilities[:, 0] + 1e-8).log()
    assert torch.allclose(found.double(), by_hand, atol=1e-5)
    assert found.std() > 0.1, "one number for each sample"
    assert torch.allclose(
        total_energy([Weighted(first, 3.0)], images, None, draws, share=0.5), 1.5 * first(images, None, draws)
    )
    alone = torch.cat(
        [total_energy([Weighted(first, 3.0), Weighted(second, 0.5)], one, None, draws) for one in images.split(1)]
    )
    assert torch.allclose(found, alone, atol=1e-6)

    class Scalar(Constant):
        def __call__(self, images, pairing, draws):
            return images.mean()

    with pytest.raises(InputError, match="expected one number for each"):
        total_energy([Weighted(Scalar(1.0))], images, None, draws)


@pytest.fixture(scope="module")
def debiased():
    return control(painted(), classifier=threshold(1.0), shares="uniform", fit=QUICK, seed=1)


@pytest.mark.covers("28.6")
def test_shares_become_equal_and_variety_stays(debiased):
    assert debiased.figures["before.above"] == pytest.approx(0.16, abs=0.03)
    assert debiased.figures["after.above"] == pytest.approx(0.5, abs=0.08)
    assert debiased.figures["after.divergence"] < 0.03 < debiased.figures["before.divergence"]
    assert debiased.figures["nearest"] > 0.6
    assert debiased.figures["entropy"] > -0.3
    assert debiased.warnings == ()
    # The other latent is no business of the control: it stays standard normal.
    other = latents_in(debiased.images(4000))[:, 1]
    assert float(other.std()) == pytest.approx(1, abs=0.1)


@pytest.mark.covers("28.6")
def test_a_collapse_is_a_warning_of_the_result_and_never_silent():
    class Near(nn.Module):
        """Whether the latents lie within 1 of a place; surer the nearer, so that a strong weight leaves a point."""

        def forward(self, images):
            far = (latents_in(images) - 0.5).square().sum(1) - 1
            return torch.stack([far, -far], 1)

    near = Classifier(Near(), class_names=["far", "near"], preparation=Preprocessing(size=(SIDE, SIDE)), name="near")
    found = control(painted(), classifier=near, classes=["near"], weight=3000.0, fit=QUICK)
    assert found.figures["before.near"] < 0.6
    assert found.figures["after.near"] > 0.99, "the shares are all that could be wished"
    assert found.figures["entropy"] < -1
    assert found.figures["nearest"] < 0.4
    assert any("collapsed to few images" in one for one in found.warnings)


@pytest.mark.covers("28.7")
def test_a_second_control_fits_beta_under_the_composed_generator(debiased):
    composed = debiased.as_generator()
    classifier = threshold(1.0)
    own = moments_of(painted(), classifier, 4000, Randomness(2), 1.0).mean(0)
    after = moments_of(composed, classifier, 4000, Randomness(2), 1.0).mean(0)
    assert float(own[1]) == pytest.approx(0.16, abs=0.03)
    assert float(after[1]) == pytest.approx(0.5, abs=0.08)
    few = QUICK.model_copy(update={"steps": 2, "warm_up": 0.0})
    second = control(composed, classifier=classifier, shares={"above": 0.2, "below": 0.8}, fit=few, seed=3)
    beta = second.target["beta"]
    # From half to a fifth: log(0.2 / 0.8) over the two; from the generator's own sixth it would be above 0.
    assert beta[1] - beta[0] == pytest.approx(torch.tensor(0.25).log().item(), abs=0.6)
    unconditioned = control(painted(), classifier=classifier, shares={"above": 0.2, "below": 0.8}, fit=few, seed=3)
    assert unconditioned.target["beta"][1] - unconditioned.target["beta"][0] > 0


def test_truncation_of_a_composed_generator_is_that_of_the_generator_behind_the_control(debiased):
    noise = torch.randn(6, 2, generator=torch.Generator().manual_seed(0))
    composed = debiased.as_generator()
    half = composed.images(noise, 0.5)
    assert torch.equal(half, debiased.images_of(noise, truncation=0.5))
    assert not torch.allclose(half, composed.images(noise, 1.0))
    assert not torch.allclose(half, debiased.images_of(0.5 * noise)), "the noise in front of the control is whole"


@pytest.mark.covers("28.8")
def test_sampling_needs_no_control_model(tmp_path):
    classifier = threshold(1.0)
    made = control(painted(), classifier=classifier, classes=["above"], fit=QUICK.model_copy(update={"steps": 3}))
    gone = weakref.ref(classifier)
    before = made.images(5)
    made.save(tmp_path / "control")
    del classifier
    gc.collect()
    assert gone() is None, "the control holds the classifier"
    assert torch.equal(made.images(5), before)
    again = load_control(tmp_path / "control", painted())
    assert torch.equal(again.images(5), before)
    assert again.target["classes"] == {"above": 1.0}


def test_a_saved_control_belongs_to_one_generator(tmp_path):
    made = control(painted(), classifier=threshold(1.0), classes=["above"], fit=QUICK.model_copy(update={"steps": 2}))
    made.save(tmp_path / "control")
    assert {path.name for path in (tmp_path / "control").iterdir()} == {"card.json", "weights.safetensors"}
    other = Painted()
    with torch.no_grad():
        other.weight.mul_(2)
    with pytest.raises(InputError, match="other weights; a control belongs to one generator"):
        load_control(tmp_path / "control", LatentGenerator(other, 2, name="painted"))
    with pytest.raises(InputError, match="has 2 dimensions and wider has 3"):
        Control(
            LatentGenerator(nn.Sequential(nn.Linear(3, 48), nn.Unflatten(1, (3, 4, 4))), 3, name="wider"), made.network
        )
    with pytest.raises(InputError, match="names no folder"):
        open_generator("control:")
    plain = LatentGenerator(Painted(), 2, name="painted").decoder
    function = LatentGenerator(lambda latents: plain(latents), 2, name="function")
    Control(function, made.network).save(tmp_path / "plain")
    with pytest.raises(InputError, match="function is a plain function without an identity"):
        load_control(tmp_path / "plain", function)


@pytest.mark.covers("28.9")
def test_a_conditional_control_moves_with_its_condition_and_keeps_the_pair():
    # What is read is z_0; the identity is z_1. The pair is the image of the same noise at the neutral condition.
    seen = []

    def read(images):
        return latents_in(images)[:, :1]

    def features(images):
        own = latents_in(images)[:, 1:]
        seen.append(own.detach())
        return torch.cat([own, torch.ones_like(own)], 1)

    terms = [Weighted(ConditionEnergy(read, "place"), 20.0), Weighted(IdentityEnergy(features), 20.0)]
    fitted = fit_control(
        painted(),
        terms,
        fit=QUICK.model_copy(update={"steps": 500}),
        rng=Randomness(0),
        conditions=lambda count, draws: torch.rand(count, 1, generator=draws) * 2 - 1,
    )
    made = Control(painted(), fitted.network)
    noise = torch.randn(500, 2, generator=torch.Generator().manual_seed(7))
    at = {value: latents_in(made.images_of(noise, torch.full((500, 1), value))) for value in (-0.8, 0.0, 0.8)}
    for value, latents in at.items():
        assert float(latents[:, 0].mean()) == pytest.approx(value, abs=0.15)
    kept = (at[0.8][:, 1] - at[0.0][:, 1]).abs().mean()
    shuffled = (at[0.8][:, 1] - at[0.0][:, 1].roll(1)).abs().mean()
    assert float(kept) < 0.5 * float(shuffled), "the identity of the same noise is kept"
    with torch.no_grad():
        low, high = (fitted.network(noise, torch.full((500, 1), value))[1] for value in (-0.8, 0.8))
    assert not torch.allclose(low, high), "the log-determinant depends on the condition"


def test_the_neutral_image_is_that_of_the_same_noise():
    pairs = []

    class Watching(IdentityEnergy):
        def __call__(self, images, pairing, draws):
            pairs.append((images.detach(), pairing.neutral))
            return super().__call__(images, pairing, draws)

    energy = Watching(lambda images: images.mean((2, 3)))
    fit_control(
        painted(),
        [Weighted(energy)],
        fit=QUICK.model_copy(update={"steps": 1}),
        rng=Randomness(0),
        conditions=lambda count, draws: torch.zeros(count, 1),
    )
    assert pairs
    assert all(torch.equal(images, neutral) for images, neutral in pairs), (
        "at the neutral condition it is the same image"
    )


@pytest.mark.covers("28.11")
def test_probabilities_of_attributes_are_sigmoids_and_absent_ones_can_be_wanted():
    network = nn.Sequential(nn.Flatten(), nn.Linear(3 * SIDE**2, 2))
    faces = Classifier(
        network, class_names=["glasses", "young"], task="multilabel", preparation=Preprocessing(size=(SIDE, SIDE))
    )
    images = torch.rand(4, 3, SIDE, SIDE)
    found = ClassEnergy(faces, {"glasses": 1.0, "not young": 1.0})(images, None, torch.Generator())
    by_hand = network(images).double().sigmoid()
    assert torch.allclose(found.double(), -(by_hand[:, 0] + 1e-8).log() - (1 - by_hand[:, 1] + 1e-8).log(), atol=1e-5)
    with pytest.raises(InputError, match="hat"):
        ClassEnergy(faces, {"hat": 1.0})


class Towers:
    """Two towers whose image vector is the mean colour."""

    name, device, preparation = "towers", torch.device("cpu"), Preprocessing(size=(8, 8))

    def identity(self):
        return "towers"

    def __init__(self):
        self.texts, self.sizes = [], []

    def encode_texts(self, texts, **_):
        self.texts.append(list(texts))
        return torch.tensor([[1.0, 0.0, 0.0]])

    def encode_images(self, images, **_):
        self.sizes.append(len(images))
        return nn.functional.normalize(images.mean((2, 3)), dim=1)


def test_a_text_is_encoded_once_and_all_views_go_through_the_tower_together():
    tower = Towers()
    energy = TextEnergy(tower, "red", views=50)
    red, blue = torch.zeros(2, 3, 8, 8), torch.zeros(2, 3, 8, 8)
    red[:, 0], blue[:, 2] = 1, 1
    images = torch.cat([red, blue]).requires_grad_(True)
    values = energy(images, None, torch.Generator().manual_seed(0))
    energy(images, None, torch.Generator().manual_seed(1)).sum().backward()
    assert tower.texts == [["red"]]
    assert tower.sizes == [200, 200]
    assert float(values[:2].detach().max()) < float(values[2:].detach().min())
    assert float(images.grad.abs().sum()) > 0
    assert torch.equal(values, energy(images, None, torch.Generator().manual_seed(0)))
    views = changed_views(torch.full((20, 3, 16, 16), 0.6), torch.Generator().manual_seed(0))
    assert float(views.std(0).mean()) > 0.02, "each image is changed in its own way"
    assert 0 <= float(views.detach().min()) <= float(views.detach().max()) <= 1
    with pytest.raises(InputError, match="empty"):
        TextEnergy(tower, " ")


def test_warm_up_raises_the_weights_and_earlier_checks_are_not_kept():
    shares = []

    class Watching(Constant):
        def __call__(self, images, pairing, draws):
            return super().__call__(images, pairing, draws)

    numbers = QUICK.model_copy(update={"steps": 10, "check_every": 1, "warm_up": 0.5, "batch_size": 2, "checked": 2})
    import snellen.systems.distributional_control.fitting as fitting

    own = fitting.total_energy

    def watched(terms, images, pairing, draws, *, share=1.0):
        shares.append(share)
        return own(terms, images, pairing, draws, share=share)

    fitting.total_energy = watched
    try:
        fitted = fit_control(painted(), [Weighted(Watching(1.0))], fit=numbers, rng=Randomness(0))
    finally:
        fitting.total_energy = own
    trained = shares[::2]
    assert trained == [pytest.approx(v) for v in (0.2, 0.4, 0.6, 0.8, 1, 1, 1, 1, 1, 1)]
    assert all(a <= b for a, b in pairwise(trained))
    assert fitted.kept >= 5
    assert PRESETS["published"].batch_size * PRESETS["published"].accumulate == 32


def test_training_and_sampling_truncation_are_two_numbers_and_checks_use_that_of_sampling():
    seen = []

    class Watching(LatentGenerator):
        def __call__(self, latents, truncation=1.0):
            seen.append((latents.requires_grad, truncation))
            return super().__call__(latents, truncation)

    generator = Watching(Painted(), 2, name="painted")
    seen.clear()
    fit_control(
        generator,
        [],
        fit=QUICK.model_copy(update={"steps": 2, "check_every": 1, "truncation": 0.9}),
        rng=Randomness(0),
        sampling=0.7,
    )
    trained = {truncation for grad, truncation in seen[1:] if grad}
    checked = {truncation for grad, truncation in seen if not grad}
    assert trained == {0.9}
    assert checked == {0.7}
    flat = painted()(torch.tensor([[2.0, 0.0]]), 0.5)
    assert torch.allclose(flat, painted()(torch.tensor([[1.0, 0.0]])))


def test_progress_is_begun_advanced_and_finished():
    calls = []

    class Watching:
        def begin(self, task, total):
            calls.append(("begin", total))

        def advance(self, task, amount, note=""):
            calls.append(("advance", amount))

        def finish(self, task):
            calls.append(("finish", None))

    few = QUICK.model_copy(update={"steps": 3})
    fit_control(painted(), [], fit=few, rng=Randomness(0), progress=Watching())
    assert calls == [("begin", 3), ("advance", 1), ("advance", 1), ("advance", 1), ("finish", None)]


def test_two_runs_are_equal():
    numbers = QUICK.model_copy(update={"steps": 5})
    first, second = (
        control(painted(), classifier=threshold(1.0), shares="uniform", fit=numbers, seed=4) for _ in range(2)
    )
    assert torch.equal(first.images(7), second.images(7))
    assert torch.equal(first.images(7)[:3], first.images(3)), "the first of many are the few"


def test_what_cannot_be_controlled_is_refused():
    class Cut(nn.Module):
        def forward(self, latents):
            return Painted()(latents).detach()

    classifier = threshold(1.0)
    with pytest.raises(InputError, match="gives no gradients of its images"):
        control(LatentGenerator(Cut(), 2, name="cut"), classifier=classifier, classes=["above"], fit=QUICK)
    with pytest.raises(InputError, match="say what is wanted"):
        control(painted(), classifier=classifier)
    with pytest.raises(InputError, match="give one, then the other"):
        control(painted(), classifier=classifier, classes=["above"], shares="uniform")
    with pytest.raises(InputError, match="has no class 'middle'; it has below, above"):
        control(painted(), classifier=classifier, shares={"middle": 1.0})
    with pytest.raises(InputError, match="at least 0 and sum to 1"):
        control(painted(), classifier=classifier, shares={"above": 1.5})
    with pytest.raises(InputError, match="β has 3 entries for 2 classes"):
        MomentEnergy(classifier, [0.0, 1.0, 2.0])
    by_url = Classifier(lambda images: images.flatten(1)[:, :2], class_names=["a", "b"], name="by-url")
    with pytest.raises(UnsupportedError, match="by-url gives none"):
        control(painted(), classifier=by_url, classes=["a"])
    with pytest.raises(InputError, match="needs a conditional control"):
        fit_control(painted(), [Weighted(ConditionEnergy(lambda x: x, "pose"))], fit=QUICK, rng=Randomness(0))
    with pytest.raises(ModelError, match="not finite at step 1"):
        fit_control(painted(), [Weighted(Constant(float("nan")))], fit=QUICK, rng=Randomness(0))
    with pytest.raises(InputError, match="the condition is"):
        ConditionEnergy(lambda x: x.mean((2, 3)), "pose")(
            torch.rand(2, 3, 4, 4), Pairing(torch.zeros(2, 1)), torch.Generator()
        )
    with pytest.raises(InputError, match="weight of"):
        control(painted(), classifier=classifier, classes=["above"], weight=float("nan"))


def test_rivals_draw_from_the_same_target_and_count_what_they_spend():
    energy, generator, rng = MixtureEnergy(), painted(), Randomness(0)

    def weighted(images):
        return energy(images, None, torch.Generator())

    walked = by_langevin(generator, weighted, 1500, steps=200, size=0.05, rng=rng)
    assert float((walked.latents[:, 0] < -0.1).double().mean()) == pytest.approx(0.3, abs=0.15)
    assert float(walked.latents[:, 1].std()) == pytest.approx(0.76, abs=0.15)
    assert (walked.forward, walked.backward) == (1500 * 201, 1500 * 200)
    assert walked.calls == pytest.approx(601)
    sunk = by_descent(generator, weighted, 200, steps=150, rng=rng)
    assert float(sunk.latents[:, 1].std()) < 0.55, "it sinks to modes, and draws no sample"
    kept = by_rejection(generator, lambda images: latents_in(images)[:, 0] > 1.0, 100, rng=rng)
    assert len(kept.images) == len(kept.latents) == 100
    assert float(kept.latents[:, 0].min()) > 1.0
    assert kept.calls == pytest.approx(1 / 0.159, rel=0.35)
    with pytest.raises(InputError, match="0 of 5 wanted images came"):
        by_rejection(generator, lambda images: torch.zeros(len(images), dtype=torch.bool), 5, rng=rng, most=300)
    with pytest.raises(InputError, match="number above 0"):
        by_langevin(generator, weighted, 2, size=0.0, rng=rng)


def test_moments_of_two_classes_agree_with_the_energy():
    generator, classifier = painted(), threshold(1.0)
    gamma = moments_of(generator, classifier, 500, Randomness(0), 1.0)
    beta = fit_moments(gamma, torch.tensor([0.5, 0.5])).beta
    images = generator(torch.randn(4, 2))
    found = MomentEnergy(classifier, beta)(images, None, torch.Generator())
    probabilities = classifier.probabilities(classifier(images))
    assert torch.allclose(found.double(), -(probabilities @ torch.tensor(beta, dtype=torch.float64)), atol=1e-5)


def test_a_fit_whose_checks_give_no_number_is_an_error():
    class Unsure(Constant):
        def __call__(self, images, pairing, draws):
            found = super().__call__(images, pairing, draws)
            return found if torch.is_grad_enabled() else found * float("nan")

    few = QUICK.model_copy(update={"steps": 2, "check_every": 1})
    with pytest.raises(ModelError, match="no check of the fit gave a number"):
        fit_control(painted(), [Weighted(Unsure(1.0))], fit=few, rng=Randomness(0))


def test_a_condition_is_part_of_the_identity_of_a_composed_generator():
    made = Control(painted(), InvertibleNetwork(2, blocks=2, hidden=8, conditions=1))
    low, high, again = (made.as_generator(torch.tensor([value])).identity for value in (0.1, 0.9, 0.1))
    assert low == again
    assert low != high
