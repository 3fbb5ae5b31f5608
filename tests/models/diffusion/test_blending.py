"""Outside the mask the latents are the reference, noised to the level of each step."""

import pytest
import torch

from snellen.core.errors import InputError
from snellen.models.diffusion.editor import Blending
from snellen.models.diffusion.sampler import LatentHook, Sampler, initial_noise, seeded


@pytest.fixture(scope="module")
def parts(smoke):
    generator = smoke("class-unet")
    reference = seeded([1, 2]).uniform("reference", (3, 32, 32), -0.9, 0.9)
    mask = torch.zeros(2, 1, 32, 32)
    mask[:, :, :, 16:] = 1
    return (
        generator,
        generator.encode_classes([3, 1]),
        reference,
        mask,
        initial_noise(seeded([1, 2]), (3, 32, 32), generator),
    )


class Watch(LatentHook):
    def __init__(self):
        self.moments = []

    def before(self, moment):
        self.moments.append(moment)


@pytest.mark.parametrize("solver", ["ddim", "euler", "dpm-solver++"])
def test_the_reference_stays_outside_the_mask_at_every_level(parts, solver):
    generator, condition, reference, mask, noise = parts
    sampler = Sampler(generator, steps=4, solver=solver)
    watch = Watch()
    state = sampler.run(sampler.start(seeded([1, 2])), condition, hooks=[Blending(reference, mask, noise), watch])
    for moment in watch.moments:
        expected = moment.alpha * reference + moment.sigma * noise
        torch.testing.assert_close(moment.latents[..., :16], expected[..., :16], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(state.latents[..., :16], reference[..., :16], atol=1e-6, rtol=0)
    assert float((state.latents - reference)[..., 16:].abs().max()) > 0.1
    plain = sampler.run(sampler.start(seeded([1, 2])), condition)
    assert float((state.latents - plain.latents)[..., 16:].abs().max()) > 1e-3  # the outside is seen from the inside


def test_a_full_mask_changes_nothing_and_an_empty_one_gives_the_reference(parts):
    generator, condition, reference, mask, noise = parts
    sampler = Sampler(generator, steps=3)
    start = sampler.start(seeded([1, 2]))
    full = sampler.run(start, condition, hooks=[Blending(reference, torch.ones_like(mask[:1]), noise)])
    torch.testing.assert_close(full.latents, sampler.run(start, condition).latents, atol=1e-6, rtol=0)
    empty = sampler.run(start, condition, hooks=[Blending(reference, torch.zeros_like(mask), noise)])
    assert torch.equal(empty.latents, reference)


def test_a_run_in_two_parts_is_the_run_in_one(parts):
    generator, condition, reference, mask, noise = parts
    sampler = Sampler(generator, steps=4, solver="dpm-solver++")
    start, hooks = sampler.start(seeded([1, 2])), [Blending(reference, mask, noise)]
    prefix = sampler.run(start, condition, hooks=hooks, until=2)
    parted = sampler.run(prefix, condition, hooks=hooks)
    assert torch.equal(parted.latents, sampler.run(start, condition, hooks=hooks).latents)


def test_what_does_not_fit_is_refused(parts):
    _, _, reference, mask, noise = parts
    for arguments, message in (
        ((reference, mask[:, :, :16], noise), r"has shape \(2, 1, 32, 32\); got \(2, 1, 16, 32\)"),
        ((reference, mask[:, 0], noise), r"got \(2, 32, 32\)"),
        ((reference, mask * 2, noise), r"a mask is in \[0, 1\]; got 0 to 2"),
        ((reference, mask, noise[:1]), "differ in shape"),
    ):
        with pytest.raises(InputError, match=message):
            Blending(*arguments)
