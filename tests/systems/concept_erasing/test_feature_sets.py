"""Features of concepts: set difference, maxima over counted tokens, activations above 0, nothing left is an error."""

import pytest
import torch

from snellen.core.errors import InputError
from snellen.systems.concept_erasing.feature_sets import chosen, features_of, own_features, strongest, top_prompts
from tests.systems.concept_erasing.conftest import OTHERS, PROMPTS, RED


@pytest.mark.covers("34.4")
def test_strongest_are_maxima_over_the_text_without_the_start(layer, autoencoder):
    read = layer.states(["a red star", "a green ring on sand"])
    found = strongest(autoencoder, read)
    for row in range(2):
        tokens = read.states[row][1 : int(read.real[row].sum())]
        wanted = autoencoder.encode(tokens).dense(autoencoder.latents).amax(0)
        assert torch.allclose(found[row], wanted, atol=1e-6)
    whole = autoencoder.encode(read.states[0]).dense(autoencoder.latents).amax(0)
    assert not torch.allclose(found[0], whole), "the start mark and padding have features of their own"


@pytest.mark.covers("34.3")
def test_features_are_a_difference_of_sets_and_not_the_largest(layer, autoencoder):
    target, kept = (features_of(autoencoder, layer, prompts, 32) for prompts in (RED, OTHERS))
    own = own_features({"red": target}, kept)["red"]
    assert torch.equal(own, target & ~kept)
    assert 0 < own.sum() < target.sum()
    strength = strongest(autoencoder, layer.states(RED)).mean(0)
    largest = strength.topk(int(own.sum())).indices
    assert bool(kept[largest].any()), "among the largest are features that other prompts have too"


@pytest.mark.covers("34.3")
def test_what_is_erased_shares_nothing_with_what_is_kept(layer, autoencoder):
    kept = features_of(autoencoder, layer, OTHERS, 32)
    own = own_features({"red": features_of(autoencoder, layer, RED, 32)}, kept)["red"]
    assert not chosen(strongest(autoencoder, layer.states(OTHERS)), 32)[:, own].any()


def test_a_concept_without_features_of_its_own_is_an_error(layer, autoencoder):
    everything = features_of(autoencoder, layer, PROMPTS, 32)
    with pytest.raises(InputError, match=r"'red'.*retained prompts"):
        own_features({"red": features_of(autoencoder, layer, RED, 32)}, everything)


def test_zero_activations_are_never_chosen(layer, autoencoder):
    found = strongest(autoencoder, layer.states(["a"]))
    assert chosen(found, autoencoder.latents).sum() == (found > 0).sum() < autoencoder.latents


def test_one_prompt_at_a_time_is_the_same(layer, autoencoder):
    together = features_of(autoencoder, layer, RED, 4)
    single = torch.stack([features_of(autoencoder, layer, [prompt], 4) for prompt in RED]).any(0)
    assert torch.equal(together, single)
    assert features_of(autoencoder, layer, RED[:1], 1).sum() == 1
    with pytest.raises(InputError, match="at least one feature"):
        features_of(autoencoder, layer, RED, 0)


def test_top_prompts_are_those_that_activate_a_feature_most(layer, autoencoder):
    told = top_prompts(autoencoder, layer, PROMPTS, features=5, count=2)
    found = strongest(autoencoder, layer.states(PROMPTS))
    assert len(told) == 5
    for feature, prompts in told.items():
        own = found[:, int(feature)]
        assert own[PROMPTS.index(prompts[0])] == pytest.approx(own.max().item(), rel=1e-5)
        assert len(prompts) == 2
