"""Layers read and changed from outside: classifiers, text encoders and denoisers, and all of it undone."""

import collections
from contextlib import ExitStack

import pytest
import torch
from torch import nn

from snellen.core.classifier import Classifier, hash_tensors
from snellen.core.errors import UnknownNameError
from snellen.core.layer_hooks import is_edited
from snellen.models.layers.layer_edits import (
    add_vector,
    edited,
    find_layers,
    on_samples,
    on_tokens,
    reading,
    scale,
    token_states,
    zero_units,
)
from tests.models.small_networks import make_layers, make_text_encoder, make_unet, noise


@pytest.fixture(scope="module")
def network():
    return make_layers()


@pytest.fixture(scope="module")
def text_encoder():
    return make_text_encoder(layers=4)


@pytest.fixture(scope="module")
def unet():
    return make_unet()


def untouched(module):
    hooks = [hook for layer in module.modules() for hook in (layer._forward_hooks, layer._forward_pre_hooks)]
    return not any(hooks)


# -- oracle ----------------------------------------------------------------------------------------------------------


def test_what_is_read_is_what_the_layers_compute(network):
    images = noise(3, 3, 8, 8)
    with reading(network, ["stem", "body", "head"]) as read:
        scores = network(images)
    stem = network.stem(images)
    assert torch.equal(read["stem"][0], stem)
    assert torch.equal(read["body"][0], network.body(stem.relu()))
    assert torch.equal(read["head"][0], scores)


def test_a_layer_that_works_in_place_does_not_change_what_was_read(network):
    with reading(network, ["stem"]) as read:
        network(noise(2, 3, 8, 8))
    assert float(read["stem"][0].min()) < 0
    classifier = Classifier(network, class_names=list("abcde"))
    assert float(classifier.features(noise(2, 3, 8, 8).sigmoid(), "stem").min()) < 0


def test_hidden_states_are_those_that_the_library_returns(text_encoder):
    tokens = torch.arange(14).view(2, 7)
    with torch.no_grad():
        expected = text_encoder(tokens, output_hidden_states=True).hidden_states
        with reading(text_encoder, "*encoder.layers.?") as read:
            text_encoder(tokens)
    assert len(read) == 4
    for index, (name, states) in enumerate(read.items()):
        assert name.endswith(f"layers.{index}")
        assert torch.equal(states[0], expected[index + 1])


def test_states_at_positions_of_the_tokens(text_encoder):
    tokens = torch.arange(14).view(2, 7)
    with torch.no_grad():
        expected = text_encoder(tokens, output_hidden_states=True).hidden_states[2]
        with reading(text_encoder, "*encoder.layers.1", reduce=token_states([6, 3])) as read:
            text_encoder(tokens)
    (states,) = read.values()
    assert torch.equal(states[0], torch.stack([expected[0, 6], expected[1, 3]]))


def test_zeroed_units_are_those_of_a_network_with_zero_weights(network):
    images = noise(3, 3, 8, 8)
    with edited(network, "body.0", zero_units([1, 4])):
        zeroed = network(images)
    pruned = nn.Conv2d(8, 6, 3)
    pruned.load_state_dict(network.body[0].state_dict())
    with torch.no_grad():
        pruned.weight[[1, 4]] = 0
        pruned.bias[[1, 4]] = 0
    hidden = pruned(network.stem(images).relu()).relu()
    assert torch.allclose(zeroed, network.head(hidden.flatten(1)), atol=1e-6)
    assert not torch.allclose(zeroed, network(images), atol=1e-3)


@pytest.mark.parametrize("library", ["attn1", "attn2"])
def test_blocks_of_attention_that_give_zero_equal_blocks_with_zero_projections(unet, library):
    latents, text = noise(2, 4, 8, 8), noise(2, 5, 16)
    with torch.no_grad():
        plain = unet(latents, 3, text).sample
        with edited(unet, f"*.{library}", torch.zeros_like):
            ours = unet(latents, 3, text).sample
        layers = find_layers(unet, f"*.{library}.to_out.0")
        kept = {name: [p.clone() for p in layer.parameters()] for name, layer in layers.items()}
        for layer in layers.values():
            for parameter in layer.parameters():
                parameter.zero_()
        theirs = unet(latents, 3, text).sample
        for name, layer in layers.items():
            for parameter, values in zip(layer.parameters(), kept[name], strict=True):
                parameter.copy_(values)
    assert torch.equal(ours, theirs)
    assert not torch.equal(ours, plain)


def test_another_text_can_be_put_into_single_layers(unet):
    latents, text, other = noise(2, 4, 8, 8), noise(2, 5, 16), noise(2, 5, 16, seed=1)
    with torch.no_grad():
        expected = unet(latents, 3, other).sample
        with edited(unet, "*.attn2", lambda _: other, where="encoder_hidden_states"):
            assert torch.equal(unet(latents, 3, text).sample, expected)
        with edited(unet, "mid_block*.attn2", lambda _: other, where="encoder_hidden_states"):
            assert not torch.equal(unet(latents, 3, text).sample, expected)


def test_inputs_are_changed_before_the_layer(network):
    images = noise(3, 3, 8, 8)
    with edited(network, "stem", scale(2.0), where="input"), reading(network, "stem", where="input") as read:
        scores = network(images)
    assert torch.equal(scores, network(2 * images))
    assert torch.equal(read["stem"][0], 2 * images)


@pytest.mark.parametrize("form", [tuple, list, collections.namedtuple("Pair", "first second"), dict])
def test_outputs_of_several_objects_keep_their_form(form):
    class Several(nn.Module):
        def forward(self, values):
            if form is dict:
                return {"none": None, "first": values, "second": -values}
            return form(values, -values) if hasattr(form, "_fields") else form([values, -values])

    module = nn.Sequential(Several())
    with edited(module, "0", scale(3.0)):
        given = module(torch.ones(2, 2))
    assert type(given) is form
    first, second = [value for value in (given.values() if form is dict else given) if value is not None]
    assert torch.equal(first, torch.full((2, 2), 3.0))
    assert torch.equal(second, torch.full((2, 2), -1.0))


def test_model_outputs_of_the_libraries_are_edited(text_encoder):
    tokens = torch.arange(14).view(2, 7)
    outer = nn.ModuleDict({"text": text_encoder})
    with torch.no_grad():
        plain = outer["text"](tokens)
        with edited(outer, "text", scale(2.0)):
            doubled = outer["text"](tokens)
    assert type(doubled) is type(plain)
    assert torch.equal(doubled.last_hidden_state, 2 * plain.last_hidden_state)
    assert torch.equal(doubled[0], doubled.last_hidden_state)
    assert torch.equal(doubled.pooler_output, plain.pooler_output)


# -- properties ------------------------------------------------------------------------------------------------------


def test_everything_is_as_it_was_afterwards(network):
    images = noise(3, 3, 8, 8)
    before, weights = network(images), hash_tensors(network.state_dict())
    with edited(network, "*", scale(1.5)), reading(network, "*", where="input"):
        assert not torch.equal(network(images), before)
        assert is_edited(network)
    assert untouched(network)
    assert torch.equal(network(images), before)
    assert hash_tensors(network.state_dict()) == weights


def test_an_exception_undoes_it_too(network):
    images = noise(3, 3, 8, 8)
    before = network(images)

    def stumble(_):
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError), edited(network, ["stem", "head"], stumble):
        network(images)
    with pytest.raises(UnknownNameError), edited(network, "stem", scale(2.0), where="inputt"):
        pass
    assert untouched(network)
    assert torch.equal(network(images), before)


def test_blocks_end_in_any_order(network):
    images = noise(3, 3, 8, 8)
    with edited(network, "head", scale(3.0)):
        tripled = network(images)
    first, second = ExitStack(), ExitStack()
    first.enter_context(edited(network, "head", add_vector(torch.ones(5))))
    second.enter_context(edited(network, "head", scale(3.0)))
    assert torch.allclose(network(images), tripled + 3, atol=1e-5), "edits act in the order in which they were entered"
    first.close()
    assert torch.equal(network(images), tripled)
    second.close()
    assert untouched(network)


def test_edits_of_single_samples_equal_edits_of_single_images(network):
    images, strengths = noise(3, 3, 8, 8), torch.tensor([0.0, 1.0, -2.5])
    vector = torch.arange(8.0)
    with edited(network, "stem", add_vector(vector, strength=strengths)):
        together = network(images)
    assert torch.equal(together[0], network(images)[0])
    for row in (1, 2):
        with edited(network, "stem", add_vector(vector, strength=float(strengths[row]))):
            assert torch.allclose(together[row], network(images)[row], atol=1e-6)


def test_samples_that_are_not_chosen_stay_bit_for_bit(text_encoder):
    tokens, chosen = torch.arange(21).view(3, 7), torch.tensor([False, True, False])
    with torch.no_grad():
        plain = text_encoder(tokens).last_hidden_state
        with edited(text_encoder, "*layers.2", on_samples(chosen, lambda states: states * torch.nan)):
            changed = text_encoder(tokens).last_hidden_state
        with edited(text_encoder, "*layers.2", on_samples(torch.zeros(3, dtype=torch.bool), scale(torch.nan))):
            assert torch.equal(text_encoder(tokens).last_hidden_state, plain)
    assert torch.equal(changed[~chosen], plain[~chosen])
    assert bool(changed[1].isnan().all())


def test_tokens_that_are_not_chosen_stay_bit_for_bit(text_encoder):
    tokens = torch.arange(14).view(2, 7)
    mask = torch.tensor([[False] * 3 + [True] * 4, [False] * 7])
    with torch.no_grad(), reading(text_encoder, "*layers.3") as before:
        text_encoder(tokens)
    erase = on_tokens(mask, torch.zeros_like)
    with torch.no_grad(), edited(text_encoder, "*layers.3", erase), reading(text_encoder, "*layers.3") as after:
        text_encoder(tokens)
    (plain,), (changed,) = (*before.values(),), (*after.values(),)
    assert torch.equal(changed[0][~mask], plain[0][~mask])
    assert not changed[0][mask].any()


def test_gradients_flow_through_what_is_read_and_changed(network):
    images = noise(2, 3, 8, 8).requires_grad_()
    with (
        edited(network, "stem", zero_units([0])),
        reading(network, "stem", reduce=lambda maps: maps.mean((2, 3))) as read,
    ):
        network(images)
    (gradient,) = torch.autograd.grad(read["stem"][0][:, 1:].sum(), images, retain_graph=True)
    assert float(gradient.abs().sum()) > 0
    (gradient,) = torch.autograd.grad(read["stem"][0][:, 0].sum(), images)
    assert not gradient.any()


def test_a_small_part_does_not_keep_the_large_activation(network):
    with torch.no_grad(), reading(network, "stem", reduce=lambda maps: maps[:, :1, 0, 0]) as read:
        network(noise(2, 3, 8, 8))
    assert read["stem"][0].untyped_storage().nbytes() == 2 * 4


def test_every_call_of_a_layer_is_read(network):
    with reading(network, "head") as read:
        network(noise(2, 3, 8, 8))
        network(noise(3, 3, 8, 8))
    assert [len(scores) for scores in read["head"]] == [2, 3]


def test_edits_act_in_training_mode_and_on_half_precision(network):
    half = nn.Sequential(nn.Linear(4, 3), nn.Linear(3, 2)).to(torch.bfloat16).train()
    with edited(half, "0", add_vector(torch.ones(3), strength=torch.tensor([0.0, 2.0]))):
        assert half(torch.ones(2, 4, dtype=torch.bfloat16)).dtype == torch.bfloat16


def test_an_edited_classifier_has_no_fingerprint(network):
    classifier = Classifier(network, class_names=list("abcde"))
    before = classifier.fingerprint()
    with reading(classifier.module, "head"):
        assert classifier.fingerprint() == before
    for where in ("output", "input"):
        with edited(classifier.module, "head", scale(2.0), where=where):
            assert classifier.fingerprint() is None
    with classifier.edit("head", torch.neg):
        assert classifier.fingerprint() is None
    assert classifier.fingerprint() == before


def test_layers_that_were_found_before_can_be_given(network):
    images, layers = noise(2, 3, 8, 8), find_layers(network, "head")
    plain = network(images)
    with edited(network, "head", scale(2.0), layers=layers):
        assert torch.equal(network(images), 2 * plain)
