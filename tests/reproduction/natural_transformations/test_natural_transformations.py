"""The experiment's parts: a renderer with known factors, arms with as many images, figures of every claim."""

from types import SimpleNamespace

import pytest
import torch
from torch import nn

from snellen.core.progress import Silent
from snellen.core.randomness import Randomness
from snellen.core.system import find_system
from snellen.models.latent_generators.style_network import StyleNetwork
from snellen.reproduction.judge import judge_claim, judge_gate
from snellen.reproduction.natural_transformations import experiment as module
from snellen.reproduction.natural_transformations import measures
from snellen.reproduction.natural_transformations.arms import (
    Attacked,
    Drawn,
    FromCodes,
    mixed,
    noised,
    pseudo_labelled,
    reconstructed,
)
from snellen.reproduction.natural_transformations.experiment import (
    SMOKE,
    Experiment,
    classifier_of,
    natural_transformations,
)
from snellen.reproduction.natural_transformations.materials import (
    SEEN_LIGHT,
    SHAPES,
    UNSEEN_LIGHT,
    apart,
    draw_factors,
    draw_images,
    hue_of,
    light_of,
    relit,
)
from snellen.reproduction.natural_transformations.measures import Held, rightly_read
from snellen.reproduction.natural_transformations.picture import sheet
from snellen.reproduction.sample import Sample
from snellen.reproduction.seed_file import named_figures
from snellen.reproduction.shared.small_networks import narrow_network
from snellen.systems.natural_transformations.directions import NoDirectionError
from snellen.systems.natural_transformations.edits import EditedImages
from snellen.systems.natural_transformations.inversion import InversionSettings, render
from snellen.training.batches import Batch, ImageStore
from tests.systems.natural_transformations.parts import BLOCKS, LATENT, autoencoder, pictures

ARMS = (
    "standard",
    "jitter",
    "pgd",
    "reconstructions",
    "noise",
    "mixing",
    "pseudo",
    "tuning",
    "redrawn",
    "random",
    "worst",
    "encoder",
)


@pytest.fixture(scope="module")
def run():
    """Figures of a smoke run, and how many further images each arm had in each step."""
    found, plain, name = {}, module.with_extra, []

    def named(experiment, editing, standard):
        return {key: (key, supply) for key, supply in arms(experiment, editing, standard).items()}

    def counted(supply, **options):
        key, inner = supply if isinstance(supply, tuple) else ("judges", supply)

        def watched(model, batch, reached):
            extra = inner(model, batch, reached)
            found.setdefault(key, []).append((len(extra.images), len(batch.images)))
            return extra

        name.append(key)
        return plain(watched, **options)

    arms = Experiment.arms
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Experiment, "arms", named)
        patch.setattr(module, "with_extra", counted)
        return natural_transformations("smoke", 0, Silent()), found


@pytest.mark.covers("26.10")
def test_every_arm_has_as_many_further_images(run):
    _, counts = run
    others = {*ARMS} - {"standard", "encoder"}
    assert set(counts) == {*others, "judges"}, "the standard classifier and the encoder have their images once more"
    assert counts["judges"][-3:] == [(16, 16)] * 3
    for name in others:
        assert counts[name] == [(16, 16)] * 3, name


@pytest.mark.covers("26.2")
@pytest.mark.covers("26.10")
def test_a_smoke_run_has_every_figure_of_every_claim(run):
    figures, _ = run
    system = find_system("natural_transformations")
    assert not set(named_figures(system, "small")) - set(figures)
    assert all(isinstance(figures[f"{name}.decorrelated_accuracy"], Sample) for name in ARMS)
    assert len(figures["lce.psnr"].values) == len(figures["bies.psnr"].values) == SMOKE.inverted


def test_where_no_direction_is_kept_gates_close_and_nothing_crashes(monkeypatch):
    def none(*_, **__):
        raise NoDirectionError("none")

    monkeypatch.setattr(module, "prepare_editing", none)
    monkeypatch.setattr(Experiment, "_network", lambda *_, **__: narrow_network(len(SHAPES)).eval())
    figures = natural_transformations("smoke", 0, Silent())
    system = find_system("natural_transformations")
    claims = [claim for claim in find_system("natural_transformations").claims if "small" in claim.scales]
    small = [gate for gate in system.gates if "small" in gate.scales]
    named = {gate.metric for gate in small} | {name for one in claims for name in one.controls}
    assert not named - set(figures)
    assert figures["edits.directions"] == 0.0
    assert isinstance(figures["oracle.reconstructions"], Sample)
    assert isinstance(figures["jitter.decorrelated_accuracy"], Sample)
    gates = [judge_gate(gate, [figures]) for gate in small]
    closed = [gate.id for gate in gates if not gate.open]
    assert {"turns", "lights", "gains"} <= set(closed)
    for claim in claims:
        if "worst" in claim.metric or claim.id == "26.k":
            assert judge_claim(claim, [figures], closed).verdict == "not run", claim.id


def test_no_claim_about_edits_holds_where_they_do_nothing(run):
    """Figures in which arms with edits are the standard one, and all other rivals are worse."""
    right, wrong = Sample((1.0,) * 200), Sample((0.0,) * 200)
    figures = {**run[0], "worst.gain": 0.0}
    for name in ARMS:
        idle = name in ("standard", "random", "worst")
        for test in ("correlated", "decorrelated", "light", "unseen"):
            figures[f"{name}.{test}_accuracy"] = right if idle else wrong
    system = find_system("natural_transformations")
    closed = [gate.id for gate in system.gates if gate.metric == "worst.gain" and not judge_gate(gate, [figures]).open]
    assert closed == ["gains"]
    verdicts = {
        claim.id: judge_claim(claim, [figures] * 3, closed).verdict
        for claim in system.claims
        if "small" in claim.scales
        and claim.metric.startswith("worst")
        and claim.baseline not in ("tuning.decorrelated_accuracy", "judge.accuracy")
    }
    assert verdicts == {f"26.{one}": "not run" for one in "bdfghlq"} | {f"26.{one}": "fails" for one in "acn"}


def test_kept_labels_count_images_that_every_reconstruction_keeps_and_the_longer_run_has_as_many_renderings(edits):
    made = autoencoder()

    class Brightness(nn.Module):
        def forward(self, images):
            bright = images.mean((1, 2, 3)) > images.mean()
            return torch.stack([~bright, bright], 1).float()

    store = ImageStore.of_tensors((pictures(24) * 255).byte(), torch.arange(24) % 2)
    editing = SimpleNamespace(directions=edits.directions, generator=made.split(), epsilon=1.0)
    settings = InversionSettings(codes=3, steps=2, expansion_steps=4, perceptual=0.0)
    with pytest.MonkeyPatch.context() as patch:
        steps, plain = {}, measures.inverted
        patch.setattr(
            measures,
            "inverted",
            lambda one, images, own, **rest: steps.setdefault(own, plain(one, images, own, **rest)),
        )
        figures = Held(store, Brightness(), Randomness(0)).figures(made, settings, editing)
    longest = max(steps, key=lambda own: own.steps + own.expansion_steps)
    assert (longest.codes, longest.steps, longest.expansion_steps) == (1, 2, 12)
    assert len(steps) == 4
    read = torch.stack([rightly_read(Brightness(), one, codes, store.targets) for one, codes, _ in steps.values()])
    assert 0 < int(read.all(0).sum()) < int(read.any(0).sum()), "some inversions lose what others keep"
    for name in ("lce", "bies", "longer", "unshifted"):
        assert len(figures[f"{name}.kept_labels"].values) == int(read.all(0).sum())
    gap = figures["unshifted.prior_distance"].mean - figures["bies.prior_distance"].mean
    assert figures["shifting.nearer"] == pytest.approx(gap)


def test_a_classifier_made_of_the_encoder_begins_with_its_maps_and_leaves_it_alone():
    made, images = autoencoder(), pictures(4)
    network = classifier_of(made)
    assert network(images).shape == (4, len(SHAPES))
    assert torch.equal(network.blocks[0](images), made.encoder.blocks[0](images))
    assert all(one.requires_grad for one in network.parameters())
    assert not any(one.requires_grad for one in made.encoder.parameters())
    assert made.encoder(images).shape == (4, 2 * BLOCKS * LATENT)


def test_the_picture_has_reconstructions_in_the_middle_and_a_row_for_each_direction(edits):
    editing = SimpleNamespace(directions=edits.directions, generator=edits.generator, codes=edits.codes)
    rows = torch.tensor([3, 5])
    pixels = sheet(editing, rows)
    side = 2 * 16 + 2  # enlarged, with a white line around
    assert pixels.shape == (len(edits.directions) * side, 2 * (5 * side + 6), 3)
    plain = (render(edits.generator, edits.codes[rows]) * 255).round().to(torch.uint8)
    for place, image in enumerate(plain):
        left = place * (5 * side + 6) + 3 + 2 * side + 1
        for row in range(len(edits.directions)):
            shown = pixels[row * side + 1 : (row + 1) * side - 1 : 2, left : left + 32 : 2].permute(2, 0, 1)
            assert int((shown.int() - image.int()).abs().max()) <= 1


@pytest.mark.covers("26.12")
def test_tests_are_drawn_by_the_renderer_with_light_that_training_never_shows(monkeypatch):
    monkeypatch.setattr(StyleNetwork, "render", lambda *_, **__: pytest.fail("a generator drew a test"))
    monkeypatch.setattr(Experiment, "_network", lambda *_, **__: nn.Identity())
    made = Experiment(SMOKE, 3, Silent())
    assert set(made.tests) == {"correlated", "decorrelated", "light", "unseen"}
    assert SEEN_LIGHT[1] < UNSEEN_LIGHT[0]
    seen = {bytes(image.numpy().tobytes()) for image in made.examples.images}
    for images in made.tests.values():
        assert not seen & {bytes(image.numpy().tobytes()) for image in images.images}


def test_pool_and_tuning_images_are_others_than_those_of_training_and_tests_and_free_of_the_class(monkeypatch):
    monkeypatch.setattr(Experiment, "_network", lambda *_, **__: nn.Identity())
    given = {}
    monkeypatch.setattr(module, "fit_autoencoder", lambda images, *_, **__: given.update(pool=images))
    made = Experiment(SMOKE, 3, Silent())
    made.autoencoder()
    assert torch.equal(given["pool"].images, made.pool)
    assert bool((given["pool"].targets == -1).all()), "the generator has no labels"
    known = [made.examples, made.held, *made.tests.values()]
    seen = {image.numpy().tobytes() for images in known for image in images.images}
    tuning = {image.numpy().tobytes() for image in made.tuning.images}
    pool = {image.numpy().tobytes() for image in made.pool}
    assert len(pool) == SMOKE.pool
    assert len(tuning) == SMOKE.tuning
    assert not pool & (seen | tuning)
    assert not tuning & seen


def test_pseudo_labels_are_those_of_the_network_and_come_with_their_images():
    images = torch.randint(0, 256, (30, 3, 4, 4), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    drawn = pseudo_labelled(network, images)
    assert torch.equal(drawn.labels, network(images.float() / 255).argmax(1))
    own = Drawn(images, torch.arange(30))
    rng = Randomness(0).child("training", 1, 0).bind(8)
    extra = own(None, Batch(torch.rand(8, 3, 4, 4), torch.zeros(8).long(), torch.ones(8), torch.arange(8), rng), 1.0)
    assert len(set(extra.labels.tolist())) > 3
    assert torch.equal(extra.images, images[extra.labels].float() / 255)


@pytest.mark.covers("26.12")
def test_light_and_hue_follow_the_class_in_training_alone():
    def share(factors, name):
        sixth = (getattr(factors, name) * len(SHAPES)).long()
        return float((sixth == factors.shape).double().mean())

    biased, free = draw_factors(3000, 0, correlation=0.9), draw_factors(3000, 1, correlation=0.0)
    for name in ("light", "hue"):
        assert share(biased, name) == pytest.approx(0.9 + 0.1 / 6, abs=0.02)
        assert share(free, name) == pytest.approx(1 / 6, abs=0.03)
    strong = draw_factors(500, 2, correlation=0.0, light=UNSEEN_LIGHT)
    assert float(strong.intensity.min()) > float(biased.intensity.max())
    assert torch.equal(draw_factors(10, 5, correlation=0.9).hue, draw_factors(20, 5, correlation=0.9).hue[:10])


def test_a_factor_changes_what_it_names_alone():
    one = draw_factors(6, 0, correlation=0.0)
    plain = draw_images(one).float()
    turned = draw_images(type(one)(**{**vars(one), "hue": (one.hue + 0.5) % 1})).float()
    corner = (slice(None), slice(None), slice(0, 3), slice(0, 3))
    assert torch.equal(plain[corner], turned[corner]), "the ground has no hue"
    assert float((plain - turned).abs().mean()) > 3
    lit = draw_images(type(one)(**{**vars(one), "light": (one.light + 0.5) % 1})).float()
    shift = [image.mean(0)[:, :4].mean() - image.mean(0)[:, -4:].mean() for image in (plain[0], lit[0])]
    side = [image.mean(0)[:4].mean() - image.mean(0)[-4:].mean() for image in (plain[0], lit[0])]
    assert float(shift[0] * shift[1]) < 0 or float(side[0] * side[1]) < 0, "light comes from the other side"


def test_light_and_hue_are_read_from_images_as_they_were_drawn():
    factors = draw_factors(300, 7, correlation=0.0)
    images = draw_images(factors).float() / 255
    assert float(apart(light_of(images), factors.light).median()) < 0.02
    red = hue_of(draw_images(relit(factors, hue=torch.zeros(300))).float() / 255)
    assert float(apart(hue_of(images) - red, factors.hue).median()) < 0.02
    assert apart(torch.tensor([0.45, 0.1]), torch.tensor([-0.45, -0.1])).tolist() == pytest.approx([0.1, 0.2])


# -- arms from codes ---------------------------------------------------------------------------------------------------


@pytest.fixture
def edits():
    from snellen.systems.natural_transformations.directions import find_directions
    from snellen.systems.natural_transformations.inversion import Codes
    from tests.systems.natural_transformations.parts import codes_of, split

    generator = split()
    codes = Codes.plain(codes_of(40), generator.channels)
    return EditedImages(generator, codes, torch.arange(40), find_directions(generator, 2), 2.0, "random")


def network(images):
    return torch.stack([images.mean((1, 2, 3)), -images.mean((1, 2, 3))], 1)


def test_noise_has_the_mean_square_of_random_edits(edits, monkeypatch):
    shifts = []
    monkeypatch.setattr(
        "snellen.reproduction.natural_transformations.arms.render",
        lambda g, c, shift=None: shifts.append(shift) or c.mean,
    )
    rows, rng = torch.arange(40), Randomness(0).bind(40)
    for number in range(20):
        noised(edits, rows, rng.child(number), network, rows, 1.0)
    noise = torch.stack(shifts).square().sum((2, 3)).mean()
    drawn = torch.stack([edits.directions.shift(edits.drawn(rng.child(number), 2.0)) for number in range(20)])
    assert float(noise) == pytest.approx(float(drawn.square().sum((2, 3)).mean()), rel=0.1)


def test_mixing_keeps_coarse_codes_and_takes_the_hardest_partner(edits):
    rows, rng = torch.arange(8), Randomness(0).bind(8)
    labels = torch.zeros(8, dtype=torch.int64)
    assert torch.allclose(
        mixed(edits, rows, rng, network, labels, 0.0), render(edits.generator, edits.codes[rows]), atol=1e-5
    )
    made = mixed(edits, rows, rng, network, labels, 1.0)
    one = EditedImages(edits.generator, edits.codes, edits.place, edits.directions, 2.0, "random", draws=1)
    first = mixed(one, rows, rng, network, labels, 1.0)
    assert bool((network(made)[:, 0] <= network(first)[:, 0] + 1e-6).all()), "darker is harder for this network"
    for row in range(8):
        own = edits.codes.mean[row]
        candidates = edits.codes.mean.clone()
        candidates[:, 0] = own[0]
        nearest = (edits.generator(candidates) - made[row]).flatten(1).abs().amax(1).min()
        assert float(nearest) < 1e-4, "an image of other codes with the coarse ones of its own"


def test_arms_leave_the_network_as_it_is(edits):
    model = nn.Sequential(nn.Flatten(), nn.Linear(3 * 16 * 16, 6)).train()
    rng = Randomness(0).child("training", 1, 0).bind(4)
    batch = Batch(torch.rand(4, 3, 16, 16), torch.arange(4), torch.ones(4), torch.arange(4), rng)
    for supply in (Attacked(6), FromCodes(edits, reconstructed), FromCodes(edits, noised)):
        made = supply(model, batch, 1.0)
        assert len(made.images) == 4
        assert not made.images.requires_grad
        assert model.training
        assert model[1].weight.requires_grad
