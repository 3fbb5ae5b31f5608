"""A generator as a classifier: paired draws, the filter, the two forms, and classes that leave the race."""

import math
from dataclasses import dataclass

import numpy as np
import pytest
import torch

import snellen
from snellen.core.errors import InputError
from snellen.data.files.arrays import load_arrays
from snellen.models.diffusion.denoiser import convert
from snellen.models.diffusion.loading import load_generator
from snellen.systems.trigger_amplification.diffusion_classifier import (
    ClassRace,
    class_losses,
    diffusion_classifier,
    kept_mean,
)
from snellen.systems.trigger_amplification.noise_forms import DdpmForm, EdmForm, as_edm
from snellen.training.class_denoising import new_class_generator

CLASSES = 4
COLOURS = torch.linspace(-0.8, 0.8, CLASSES)


@dataclass(frozen=True)
class Flat:
    """A form that knows that images of class k have the colour k, and whose loss depends on noise and level."""

    def levels(self, count, draws):
        return draws.uniform(0.2, 2.0, count).tolist()

    def losses(self, clean, level, noise, classes):
        guess = COLOURS[classes].view(-1, 1, 1, 1)
        return ((clean - guess + 0.5 * level * noise) ** 2).mean(1)


def flat(labels, side=6):
    return COLOURS[labels].view(-1, 1, 1, 1).expand(-1, 3, side, side).clone()


@pytest.fixture(scope="module")
def generator():
    architecture = {
        "sample_size": 8,
        "in_channels": 3,
        "out_channels": 3,
        "block_out_channels": [8, 16],
        "layers_per_block": 1,
        "down_block_types": ["DownBlock2D"] * 2,
        "up_block_types": ["UpBlock2D"] * 2,
        "norm_num_groups": 4,
        "add_attention": False,
    }
    schedule = {"num_train_timesteps": 50, "beta_schedule": "squaredcos_cap_v2", "prediction_type": "v_prediction"}
    return new_class_generator(architecture, schedule, ("a", "b", "c", "d"), seed=0)


@pytest.mark.covers("25.9")
def test_shared_draws_lower_the_variance_of_differences_between_classes():
    images = flat(torch.tensor([1]))
    spread = {}
    for paired in (True, False):
        each = class_losses(Flat(), images, CLASSES, ClassRace(draws=200, paired=paired)).each[0]
        spread[paired] = float((each[2] - each[1]).var())
    assert spread[True] < 0.5 * spread[False]


@pytest.mark.covers("25.9")
def test_all_classes_get_the_same_level_and_noise():
    seen = []

    class Watched(Flat):
        def losses(self, clean, level, noise, classes):
            seen.append((level, noise.clone(), classes.tolist()))
            return super().losses(clean, level, noise, classes)

    class_losses(Watched(), flat(torch.tensor([1, 2])), CLASSES, ClassRace(draws=3))
    assert len(seen) == 3, "all classes of all images run in one call"
    for _, noise, classes in seen:
        assert classes == [0, 1, 2, 3] * 2
        assert all(torch.equal(one, noise[0]) for one in noise)
    assert not torch.equal(seen[0][1], seen[1][1])
    assert len({level for level, _, _ in seen}) == 3


@pytest.mark.covers("25.10")
def test_the_filter_keeps_the_smallest_losses_and_one_is_no_filter():
    losses = torch.rand(5, 7, 9, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(kept_mean(losses, 1.0), losses.flatten(1).mean(1), rtol=0, atol=0)
    for share in (0.9, 0.5, 0.01):
        count = max(int(share * 63), 1)
        wanted = losses.flatten(1).sort(1).values[:, :count].mean(1)
        torch.testing.assert_close(kept_mean(losses, share), wanted)


@pytest.mark.covers("25.10")
def test_the_filter_works_on_each_image_and_draw_by_itself():
    images = flat(torch.tensor([1, 2]))
    images[0, :, 0, 0] = 40.0  # one pixel that no class explains
    plain = class_losses(Flat(), images, CLASSES, ClassRace(draws=4))
    filtered = class_losses(Flat(), images, CLASSES, ClassRace(draws=4, kept=0.95))
    alone = class_losses(Flat(), images[:1], CLASSES, ClassRace(draws=4, kept=0.95))
    assert torch.equal(filtered.each[:1], alone.each)
    assert float(plain.mean[0].min()) > 40
    assert float(filtered.mean[0].min()) < 2
    assert filtered.predicted.tolist() == [1, 2]


def test_a_race_is_decided_by_the_class_that_explains_the_image():
    labels = torch.arange(CLASSES).repeat(3)
    found = class_losses(Flat(), flat(labels), CLASSES, ClassRace(draws=12))
    assert torch.equal(found.predicted, labels)
    assert found.calls == len(labels) * CLASSES * 12


def test_classes_that_lose_leave_and_the_winner_stays_the_same():
    labels = torch.arange(CLASSES).repeat(4)
    whole = class_losses(Flat(), flat(labels), CLASSES, ClassRace(draws=40))
    early = class_losses(Flat(), flat(labels), CLASSES, ClassRace(draws=40, stop_after=10))
    assert torch.equal(early.predicted, whole.predicted)
    assert early.calls < 0.6 * whole.calls
    assert bool(torch.isfinite(early.mean).all())
    ran = ~early.each.isnan()
    assert torch.equal(early.each[ran], whole.each[ran])
    assert bool(ran[torch.arange(len(labels)), labels].all()), "the winner gets every draw"


def test_a_class_that_is_as_good_as_the_best_does_not_leave_by_chance():
    """Losses of a class differ by noise alone, in 300 images: after two draws 4 standard errors are chance."""

    class Noisy(Flat):
        def losses(self, clean, level, noise, classes):
            draws = torch.Generator().manual_seed(int(level * 1e6))
            table = torch.randn(300, CLASSES, generator=draws) + 0.3 * (torch.arange(CLASSES) != 2)
            return table[clean[:, 0, 0, 0].long(), classes].view(-1, 1, 1).expand(-1, 6, 6)

    images = torch.arange(300.0).view(-1, 1, 1, 1).expand(-1, 3, 6, 6).clone()
    whole = class_losses(Noisy(), images, CLASSES, ClassRace(draws=60))
    early = class_losses(Noisy(), images, CLASSES, ClassRace(draws=60, stop_after=10))
    lost = early.each[:, 2].isnan().any(1)
    assert int(lost.sum()) <= 2, "the true class is thrown out of at most a thousandth of races, each of 300"
    assert (early.predicted == whole.predicted).float().mean() > 0.99
    assert early.calls <= whole.calls


def test_an_image_alone_gives_what_it_gives_in_a_batch():
    images = flat(torch.arange(CLASSES))
    together = class_losses(Flat(), images, CLASSES, ClassRace(draws=14, stop_after=10))
    for row in range(CLASSES):
        alone = class_losses(Flat(), images[row : row + 1], CLASSES, ClassRace(draws=14, stop_after=10))
        assert torch.equal(alone.mean[0], together.mean[row])


def test_the_published_form_weighs_errors_of_the_denoised_image():
    clean = torch.rand(3, 2, 4, 4) * 2 - 1
    noise, sigma = torch.randn(3, 2, 4, 4), 0.7
    form = EdmForm(lambda noisy, level, classes: noisy * 0.5)
    wanted = ((0.5 * (clean + sigma * noise) - clean) ** 2).mean(1) * (sigma**2 + 0.25) / (0.5 * sigma) ** 2
    torch.testing.assert_close(form.losses(clean, sigma, noise, torch.zeros(3, dtype=torch.int64)), wanted)
    levels = np.log(form.levels(20_000, np.random.default_rng(0)))
    assert levels.mean() == pytest.approx(-1.2, abs=0.03)
    assert levels.std() == pytest.approx(1.2, abs=0.03)


def test_the_form_of_the_library_predicts_the_noise_of_each_class(generator):
    clean, noise = torch.rand(3, 3, 8, 8) * 2 - 1, torch.randn(3, 3, 8, 8)
    classes, timestep = torch.tensor([0, 1, 3]), 20
    kept = float(generator.denoiser.alphas_cumprod[timestep])
    noisy = kept**0.5 * clean + (1 - kept) ** 0.5 * noise
    with torch.no_grad():
        predicted = generator.denoiser(noisy, torch.full((3,), 20), generator.encode_classes([0, 1, 3]))
        found = DdpmForm(generator).losses(clean, timestep, noise, classes)
    wanted = convert(predicted, "v_prediction", "epsilon", noisy, kept**0.5, (1 - kept) ** 0.5)
    torch.testing.assert_close(found, (wanted - noise).square().mean(1))
    levels = DdpmForm(generator).levels(10, np.random.default_rng(0))
    assert sorted(int(level) // 5 for level in levels) == list(range(10)), "one time in each tenth"


def test_both_forms_agree_where_their_levels_do(generator):
    """At the same noise both losses are the same error, in units of the image and of the noise."""
    clean, noise, classes = torch.rand(2, 3, 8, 8) * 2 - 1, torch.randn(2, 3, 8, 8), torch.tensor([0, 2])
    kept = float(generator.denoiser.alphas_cumprod[25])
    sigma = math.sqrt((1 - kept) / kept)
    with torch.no_grad():
        edm = as_edm(generator).losses(clean, sigma, noise, classes)
        ddpm = DdpmForm(generator).losses(clean, 25, noise, classes)
    # x0 error = sigma * noise error, so the EDM loss is ddpm * sigma² * weight.
    torch.testing.assert_close(edm, ddpm * sigma**2 * (sigma**2 + 0.25) / (0.5 * sigma) ** 2, rtol=1e-3, atol=1e-5)


def test_it_is_a_classifier_that_verbs_take(generator):
    classifier = diffusion_classifier(generator, race=ClassRace(draws=2, kept=0.95))
    assert classifier.class_names == ("a", "b", "c", "d")
    images = load_arrays(
        torch.randint(0, 256, (6, 3, 8, 8), generator=torch.Generator().manual_seed(0), dtype=torch.uint8),
        np.arange(6) % 4,
        class_names=["a", "b", "c", "d"],
    )
    found = snellen.scan(classifier, images, "strip")
    assert found.settings["strip"].figures["images"] == 6
    assert not any(one.training for one in generator.denoiser.network.modules())
    other = diffusion_classifier(generator, race=ClassRace(draws=3))
    assert other.identity != classifier.identity


def test_one_that_takes_grey_images_sees_grey_ones():
    classifier = diffusion_classifier(load_generator("bundled:fashion-diffusion"), race=ClassRace(draws=1))
    assert classifier(torch.rand(1, 3, 28, 28)).shape == (1, 10)


def test_what_cannot_be_raced_is_refused(generator):
    with pytest.raises(InputError, match="one draw at least"):
        ClassRace(kept=0)
    with pytest.raises(InputError, match="draws must be shared"):
        ClassRace(stop_after=10, paired=False)
    for draws in (1, 2, 9):
        with pytest.raises(InputError, match=f"needs 10 draws at least; got stop_after={draws}"):
            ClassRace(stop_after=draws)
    with pytest.raises(InputError, match="a risk in"):
        ClassRace(risk=0)
    with pytest.raises(InputError, match="takes prompts, not classes"):
        diffusion_classifier(load_generator("bundled:scene-diffusion"))
    with pytest.raises(InputError, match="not one of ddpm, edm"):
        diffusion_classifier(generator, form="ode")
    with pytest.raises(InputError, match="4 classes; got 2 names"):
        diffusion_classifier(generator, class_names=["a", "b"])
