"""Rescaled guidance: the formula beside that of the library, what leaves it as it is, and what it refuses."""

import pytest
import torch
from diffusers.pipelines.stable_diffusion.pipeline_stable_diffusion import rescale_noise_cfg

from snellen.core.errors import InputError
from snellen.models.diffusion.guidance import Rescaled, classifier_free, rescaled
from snellen.models.diffusion.sampler import Sampler, seeded


@pytest.fixture(scope="module")
def sample(smoke):
    sampler = Sampler(smoke("stable-diffusion-2.1"), steps=3)
    condition = sampler.generator.encode_prompts(["a dog", "a cat"])

    def run(*terms):
        return sampler.run(sampler.start(seeded([1, 2])), condition, guidance=terms).latents

    return run


@pytest.fixture(scope="module")
def null(smoke):
    return smoke("stable-diffusion-2.1").null(2)


@pytest.mark.parametrize("share", [0.3, 0.7, 1.0])
def test_the_formula_is_the_librarys(share):
    guided, conditional = torch.randn(2, 5, 4, 8, 8, generator=torch.Generator().manual_seed(0)).unbind()
    guided = 3 * guided + 0.5
    found = rescaled(guided, conditional, share)
    torch.testing.assert_close(found, rescale_noise_cfg(guided, conditional, share))


def test_the_whole_share_brings_the_deviation_back():
    guided, conditional = torch.randn(2, 5, 4, 8, 8, generator=torch.Generator().manual_seed(1)).unbind()
    found = rescaled(4 * guided, conditional, 1.0)
    torch.testing.assert_close(found.flatten(1).std(1), conditional.flatten(1).std(1))


def test_no_guidance_and_no_share_change_nothing(sample, null):
    strong = classifier_free(6.0, null)
    assert torch.equal(sample(Rescaled([strong], 0.0)), sample(strong))
    assert torch.equal(sample(Rescaled([classifier_free(1.0, null)], 0.7)), sample())
    mixed = sample(Rescaled([classifier_free([1.0, 6.0], null)], 0.7))
    torch.testing.assert_close(mixed[0], sample()[0], atol=1e-5, rtol=0)
    assert not torch.allclose(mixed[1], sample(strong)[1], atol=1e-3)


def test_terms_add_up_before_they_are_rescaled(sample, null):
    halves = [classifier_free(3.0, null), classifier_free(4.0, null)]
    whole = sample(Rescaled([classifier_free(6.0, null)], 0.7))
    torch.testing.assert_close(sample(Rescaled(halves, 0.7)), whole, atol=1e-4, rtol=0)


def test_a_flat_prediction_stays_finite():
    assert torch.equal(rescaled(torch.ones(1, 1, 2, 2), torch.randn(1, 1, 2, 2), 1.0), torch.ones(1, 1, 2, 2))


@pytest.mark.parametrize("share", [-0.1, 1.1, float("nan")])
def test_shares_outside_are_refused(share):
    with pytest.raises(InputError, match="a share from 0 to 1; got"):
        Rescaled([], share)
