"""Backgrounds that are noised and denoised around an object, and pushed to be busy, plain or misleading."""

import math
from dataclasses import replace

import pytest
import torch
from torch import nn

from snellen.core.classifier import Classifier
from snellen.core.errors import InputError, UnsupportedError
from snellen.core.preprocessing import Preprocessing
from snellen.methods.edits.masked_object import widened
from snellen.models.diffusion.denoiser import to_x0
from snellen.models.diffusion.editor import Blending, covering_mask
from snellen.models.diffusion.loading import load_generator
from snellen.models.diffusion.sampler import Moment, Sampler, initial_noise, seeded
from snellen.reproduction.attribute_editing.materials import shown
from snellen.systems.attribute_editing.editor import (
    BackgroundEditor,
    CoarseToFine,
    EditLoss,
    Guides,
    complexity,
    loss_guidance,
)

COUNT = 4


@pytest.fixture(scope="module")
def generator():
    return load_generator("bundled:scene-diffusion")


@pytest.fixture(scope="module")
def scenes():
    return shown("test", COUNT, 3)


@pytest.fixture(scope="module")
def editor(generator):
    return BackgroundEditor(generator, steps=24, made=6)


@pytest.fixture(scope="module")
def edits(editor, scenes):
    """The control, a busy and a plain background, each in one batch with the others."""
    times = [part.repeat(3, 1, 1, 1) for part in (scenes.images, scenes.backgrounds)]
    guides = Guides(torch.tensor([0.0, 80.0, -80.0]).repeat_interleave(COUNT), torch.zeros(3 * COUNT))
    made = editor.edit(times[0], scenes.masks.repeat(3, 1, 1), times[1], list(range(COUNT)) * 3, guides)
    return made.split(COUNT)


@pytest.mark.covers("27.1", "27.2")
def test_the_object_stays_to_the_last_bit_and_the_background_is_drawn_anew(scenes, edits):
    at = scenes.masks[:, None].expand(-1, 3, -1, -1)
    for made in edits:
        assert torch.equal(made[at], scenes.images[at])
        assert float((made - scenes.backgrounds)[~at].abs().mean()) > 0.005
        assert bool(((made >= 0) & (made <= 1)).all())


@pytest.mark.covers("27.4")
def test_a_positive_weight_makes_backgrounds_busier_and_a_negative_one_plainer(edits):
    for constant in (True, False):
        control, busy, plain = (complexity(made, constant=constant) for made in edits)
        assert bool((busy > control).all())
        assert bool((plain < control).all())


def test_an_edit_does_not_depend_on_the_batch_or_on_the_guidance_of_others(editor, scenes, edits):
    rows = [2]
    alone = editor.edit(scenes.images[rows], scenes.masks[rows], scenes.backgrounds[rows], rows)
    torch.testing.assert_close(alone, edits[0][rows], atol=1e-5, rtol=0)
    other = editor.edit(scenes.images[rows], scenes.masks[rows], scenes.backgrounds[rows], [77])
    assert float((other - alone).abs().max()) > 0.01, "another seed, another background"


@pytest.fixture(scope="module")
def calls(editor, generator, scenes):
    """What the network is shown and what it says, at each step of one batch."""
    seen = []
    handle = generator.denoiser.network.register_forward_hook(
        lambda _, args, said: seen.append((args[0].clone(), said[0].clone()))
    )
    try:
        editor.edit(scenes.images, scenes.masks, scenes.backgrounds, list(range(COUNT)))
    finally:
        handle.remove()
    return seen


@pytest.fixture(scope="module")
def levels(editor, generator):
    """Alpha and sigma of these steps."""
    solver = Sampler(generator, steps=editor.steps, eta=1.0).new_solver()
    return [solver.level(editor.steps - editor.made + number) for number in range(editor.made)]


def start_noise(generator):
    return initial_noise(seeded(list(range(COUNT))), generator.latent_shape((32, 32)), generator)


def staying(generator, scenes):
    """Latents of which every pixel is the object's."""
    covered = covering_mask(~scenes.masks[:, None], generator.factor) == 0
    return covered.expand(-1, *generator.latent_shape((32, 32)))


@pytest.mark.covers("27.6")
def test_after_each_step_the_object_is_that_of_the_next_level(editor, generator, scenes, calls, levels):
    """What the network is shown at each step: the object's latents are the encoded ones at that step's noise."""
    assert len(calls) == editor.made
    objects = torch.where(scenes.masks[:, None], scenes.images, scenes.backgrounds)
    kept, noise, stays = generator.encode(objects), start_noise(generator), staying(generator, scenes)
    assert bool(stays.any())
    assert levels[0][1] > levels[-1][1]
    for (alpha, sigma), (latents, _) in zip(levels, calls, strict=True):
        torch.testing.assert_close(latents[stays], (alpha * kept + sigma * noise)[stays], atol=1e-5, rtol=1e-4)


def test_the_background_alone_is_what_is_noised_and_its_steps_are_those_of_ddpm(generator, scenes, calls, levels):
    (alpha, sigma), (later, less) = levels[:2]
    free = ~staying(generator, scenes)
    (first, prediction), (second, _) = calls[:2]
    start = alpha * generator.encode(scenes.backgrounds) + sigma * start_noise(generator)
    torch.testing.assert_close(first[free], start[free], atol=1e-5, rtol=1e-4)
    kind = generator.denoiser.prediction
    x0 = to_x0(prediction, kind, first, alpha, sigma)
    noise = (first - alpha * x0) / sigma
    spread = less / sigma * math.sqrt(1 - (alpha / later) ** 2)
    left = (second - later * x0 - math.sqrt(less**2 - spread**2) * noise)[free]
    assert abs(float(left.std()) / spread - 1) < 0.1
    assert abs(float(left.mean())) < 0.1 * spread


def test_without_a_weight_there_is_no_backward_pass(editor, generator, scenes):
    wanted = []
    handle = generator.denoiser.network.register_forward_pre_hook(
        lambda _, args: wanted.append((torch.is_grad_enabled() and args[0].requires_grad, len(args[0])))
    )
    try:
        short = replace(editor, made=1)
        parts = scenes.images[:3], scenes.masks[:3], scenes.backgrounds[:3]
        short.edit(*parts, [0, 1, 2])
        assert wanted == [(False, 3)]
        wanted.clear()
        short.edit(*parts, [0, 1, 2], Guides(torch.tensor([0.0, 5.0, 0.0]), torch.zeros(3)))
        assert wanted == [(False, 2), (False, 1), (True, 1)], "the guided picture alone pays for guidance"
    finally:
        handle.remove()


@pytest.mark.covers("27.5")
def test_the_gradient_goes_through_the_denoiser():
    """With a denoiser whose noise is 3 x, the estimate x − 3 x / 2 has the derivative −1/2 and not 1."""

    class View:
        timestep, alpha, sigma, ids = 10.0, 1.0, 0.5, ("a",)
        latents = torch.rand(1, 3, 8, 8)

        def __len__(self):
            return 1

        def evaluate(self, latents):
            return 3 * latents

        def x0(self, prediction, latents):
            return latents - self.sigma * prediction

        def direction(self, difference, kind):
            assert kind == "epsilon"
            return difference

    view = View()
    loss = EditLoss(torch.tensor([7.0]), torch.zeros(1))
    guidance = loss_guidance(loss, lambda latents: latents / 2 + 0.5)
    estimate = (-view.latents / 2).requires_grad_(True)
    (gradient,) = torch.autograd.grad(-loss(estimate / 2 + 0.5).sum(), estimate)
    # eps' = eps − sigma g with w − 1 = 1.
    torch.testing.assert_close(guidance.direction(view), -0.5 * (-0.5 * gradient))
    assert loss_guidance(EditLoss(torch.zeros(2), torch.zeros(2)), lambda latents: latents) is None


def test_complexity_is_the_mean_of_the_spectrum():
    images = torch.rand(2, 3, 6, 8)
    expected = torch.stack([torch.fft.fft2(one, norm="backward").abs().mean() for one in images])
    torch.testing.assert_close(complexity(images), expected)
    brighter = images * 0.5 + 0.5
    torch.testing.assert_close(complexity(brighter, constant=False), complexity(images, constant=False) / 2)
    assert bool((complexity(brighter) - complexity(images) / 2 > 0.1).all()), "with the constant, light counts"


def test_values_outside_of_the_range_cost():
    loss = EditLoss(torch.zeros(2), torch.zeros(2))
    images = torch.stack([torch.full((3, 4, 4), 0.5), torch.full((3, 4, 4), 1.5)])
    # 1.5 is 2 in [−1, 1]: one beyond the end.
    torch.testing.assert_close(loss(images), torch.tensor([0.0, 50.0]))


class Bluish(nn.Module):
    """Two classes: whether the image is blue."""

    def forward(self, images):
        blue = (images[:, 2] - images[:, 0]).mean((1, 2)) * 8
        return torch.stack([blue, -blue], 1)


def test_a_background_misleads_the_classifier_that_is_named(editor, scenes, edits):
    classifier = Classifier(Bluish(), class_names=["blue", "red"], preparation=Preprocessing(size=(32, 32)))
    before = classifier(edits[0]).log_softmax(1)[:, 0]
    guides = Guides(torch.zeros(COUNT), torch.full((COUNT,), 60.0), classifier, torch.zeros(COUNT, dtype=torch.int64))
    made = editor.edit(scenes.images, scenes.masks, scenes.backgrounds, list(range(COUNT)), guides)
    assert bool((classifier(made).log_softmax(1)[:, 0] < before - 0.01).all())
    with pytest.raises(InputError, match="labels"):
        editor.edit(scenes.images, scenes.masks, scenes.backgrounds, list(range(COUNT)), replace(guides, labels=None))
    several = Classifier(Bluish(), class_names=["blue", "red"], task="multilabel")
    with pytest.raises(UnsupportedError, match="several classes at once"):
        editor.edit(
            scenes.images, scenes.masks, scenes.backgrounds, list(range(COUNT)), replace(guides, classifier=several)
        )
    blind = Classifier(lambda images: images.flatten(1)[:, :2], class_names=["a", "b"])
    with pytest.raises(UnsupportedError, match="no gradients"):
        editor.edit(
            scenes.images, scenes.masks, scenes.backgrounds, list(range(COUNT)), replace(guides, classifier=blind)
        )


def test_weights_that_are_no_numbers_are_refused(editor, scenes):
    for weights in (torch.tensor([1.0]), torch.full((COUNT,), float("nan"))):
        with pytest.raises(InputError, match="weights"):
            editor.edit(
                scenes.images, scenes.masks, scenes.backgrounds, [0] * COUNT, Guides(weights, torch.zeros(COUNT))
            )
    with pytest.raises(InputError, match="of 10 steps"):
        replace(editor, steps=10, made=11)


def test_coarse_to_fine_keeps_a_ring_that_shrinks():
    reference, noise = torch.ones(1, 2, 64, 64), torch.zeros(1, 2, 64, 64)
    mask = torch.zeros(1, 1, 64, 64, dtype=torch.bool)
    mask[:, :, 30:34, 30:34] = True
    hook = CoarseToFine(reference, mask, noise, 1)

    def kept(left):
        moment = Moment(100 - left - 1, 100, 5.0, torch.zeros(1, 2, 64, 64), 1.0, 0.5, ("a",), False)
        found = hook.after(moment)
        return 0 if found is None else int(found[0, 0].sum())

    # 51 and 31 pixels of a picture of 256 are 13 and 9 of one of 64: 6 and 4 to each side.
    assert [kept(left) for left in (60, 51, 50, 36, 35, 0)] == [256, 256, 144, 144, 0, 0]
    assert isinstance(hook._stages[0][1], Blending)


def test_the_ring_of_a_picture_of_256_is_that_of_the_published_window():
    mask = torch.zeros(1, 1, 256, 256, dtype=torch.bool)
    mask[:, :, 128, 128] = True
    hook = CoarseToFine(torch.ones(1, 1, 256, 256), mask, torch.zeros(1, 1, 256, 256), 1)
    for left, window in ((60, 51), (40, 31)):
        moment = Moment(100 - left - 1, 100, 5.0, torch.zeros(1, 1, 256, 256), 1.0, 0.5, ("a",), False)
        assert torch.equal(hook.after(moment), torch.nn.functional.max_pool2d(mask.float(), window, 1, window // 2))


def test_the_ring_stays_where_requested(editor, scenes, monkeypatch):
    monkeypatch.setattr("snellen.systems.attribute_editing.editor.WINDOWS", ((-1, 129),))
    short = replace(editor, made=2, coarse_to_fine=True)
    rows = slice(0, 1)
    parts = scenes.images[rows], scenes.masks[rows], scenes.backgrounds[rows]
    # With a ring of 8 pixels that stays until the end, what is near the object is what the decoder makes of it.
    near = widened(scenes.masks[rows], 4) & ~scenes.masks[rows]
    decoded = editor.generator.decode(editor.generator.encode(torch.where(parts[1][:, None], parts[0], parts[2])))
    ring, free = short.edit(*parts, [0]), replace(short, coarse_to_fine=False).edit(*parts, [0])
    errors = [float((made - decoded)[0][:, near[0]].abs().mean()) for made in (ring, free)]
    assert errors[0] < errors[1] / 2
    assert torch.equal(ring[0][:, scenes.masks[0]], scenes.images[0][:, scenes.masks[0]])
