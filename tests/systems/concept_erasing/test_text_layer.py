"""States of texts: the encoder's own, each different one once, padding marked, and layers that can be edited."""

import dataclasses

import pytest
import torch

from snellen.core.errors import InputError, SnellenError, UnsupportedError
from snellen.systems.concept_erasing.text_layer import distinct_states, text_layer
from tests.systems.concept_erasing.conftest import PROMPTS


def test_states_are_those_of_the_encoder(layer):
    ids, _ = layer.tower.tokens(PROMPTS[:3])
    with torch.no_grad():
        own = layer.network(ids, output_hidden_states=True).hidden_states[layer.index + 1]
    read = layer.states(PROMPTS[:3])
    assert torch.equal(read.states, own)
    assert torch.equal(read.ids, ids)


@pytest.mark.covers("34.4")
def test_counted_tokens_are_those_of_the_text_without_the_start(layer):
    read = layer.states(["a red star", ""])
    count = len(layer.tower.tokenizer("a red star").input_ids)
    assert read.counted[0].nonzero().flatten().tolist() == list(range(1, count))
    assert read.counted[1].nonzero().flatten().tolist() == [1], "of an empty prompt the end mark counts"


def test_a_state_depends_on_its_beginning_alone(layer):
    one, other = layer.states(["a red star on sand", "a red star in fog"]).states
    ids = layer.states(["a red star on sand", "a red star in fog"]).ids
    common = int((ids[0] != ids[1]).nonzero()[0])
    assert torch.allclose(one[:common], other[:common], atol=1e-6)
    assert not torch.allclose(one[common:], other[common:], atol=1e-3)


def test_each_different_state_is_kept_once(layer):
    prompts = ["a red star", "a red star", "a red ring"]
    examples = distinct_states(layer, prompts, most=10**6, seed=0)
    read = layer.states(prompts)
    beginnings = {tuple(row[: end + 1]) for row in read.ids.tolist() for end in range(len(row))}
    assert len(examples) == len(beginnings) < 2 * read.ids.shape[1]
    assert examples.split == "train"
    wanted = read.states[[0, 2]].flatten(0, 1)
    apart = (examples.images[:, None] - wanted).abs().amax(2)
    assert apart.amin(0).max() < 1e-5
    assert apart.amin(1).max() < 1e-5


def test_too_many_states_are_thinned_by_the_seed(layer):
    one, again, other = (distinct_states(layer, PROMPTS, most=50, seed=seed).images for seed in (0, 0, 1))
    assert len(one) == 50
    assert torch.equal(one, again)
    assert not torch.equal(one, other)


def test_the_default_layer_is_at_two_thirds_and_something_follows(generators):
    sd, xl = generators["stable-diffusion-1.5"], generators["stable-diffusion-xl"]
    assert text_layer(sd.text).index == 1, "of three layers"
    assert [text_layer(xl.text, tower).index for tower in (0, 1)] == [0, 0]
    assert text_layer(sd.text, index=2).index == 2
    assert text_layer(xl.text, 1).name == "text_model.encoder.layers.0"


def test_a_layer_that_the_denoiser_does_not_read_through_is_refused(xl):
    with pytest.raises(InputError, match="layers 0 to 0"):
        text_layer(xl.text, 0, 1)


def test_encoders_that_are_not_clip_are_refused(generators):
    with pytest.raises(UnsupportedError, match="T5"):
        text_layer(generators["pixart"].text)


def test_wrong_places_are_refused(sd, layer):
    with pytest.raises(InputError, match="towers 0 to 0"):
        text_layer(sd.text, 1)
    with pytest.raises(InputError, match="layers 0 to 2"):
        text_layer(sd.text, index=3)
    with pytest.raises(SnellenError, match=r"encoder\.layers\.9"):
        dataclasses.replace(layer, name="encoder.layers.9").states(["a"])


def test_prompts_are_never_cut(layer):
    with pytest.raises(InputError, match="shorten"):
        layer.states(["a red star " * 60])
    with pytest.raises(InputError, match="no prompt"):
        layer.states([])
