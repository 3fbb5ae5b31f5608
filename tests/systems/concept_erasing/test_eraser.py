"""The eraser: the paper's formula, its correction, one score for calibration and use, padding, further concepts."""

import dataclasses

import pytest
import torch

from snellen.core.classifier import hash_tensors
from snellen.core.errors import InputError
from snellen.systems.concept_erasing.eraser import concept_eraser, correction, mean_error
from snellen.systems.concept_erasing.text_layer import PromptStates
from tests.systems.concept_erasing.conftest import OTHERS, RED, states

GREEN = [prompt for prompt in OTHERS if "green" in prompt]
NEITHER = [prompt for prompt in OTHERS if "green" not in prompt]


def by_hand(eraser, tokens):
    """s' = τ s on the features, e' = W_dec s' + b, dense."""
    own = eraser.autoencoder
    codes = own.encode(tokens).dense(own.latents)
    codes[:, eraser.features] *= eraser.factor
    return codes @ own.decoder + own.centre


def test_the_replacement_is_the_formula(eraser, layer):
    read = layer.states(RED[:3])
    found = eraser.replacement(read.states)
    for row in range(3):
        assert torch.allclose(found[row, 1:], by_hand(eraser, read.states[row, 1:]), atol=1e-4)


def test_the_correction_has_the_rank_of_the_features(eraser, layer):
    tokens = layer.states(RED).states[:, 1:].flatten(0, 1)
    own = eraser.autoencoder
    codes = own.encode(tokens)
    change = correction(codes, own.decoder, eraser.features[codes.indices], eraser.factor)
    assert torch.allclose(own.decode(codes) + own.centre + change, by_hand(eraser, tokens), atol=1e-4)
    assert torch.linalg.matrix_rank(change, rtol=1e-4) <= int(eraser.features.sum())
    assert change.abs().max() > 0.1


@pytest.mark.covers("34.4")
def test_the_start_mark_is_never_edited(eraser, layer):
    read = layer.states(RED)
    assert torch.equal(eraser.replacement(read.states)[:, 0], read.states[:, 0])
    moved = read.states.clone()
    moved[:, 0] += 100
    assert torch.equal(eraser.scores(read._replace(states=moved)), eraser.scores(read))


@pytest.mark.covers("34.6")
def test_calibration_and_use_share_one_score(eraser, layer):
    assert eraser.threshold == 0.99 * float(eraser.scores(layer.states(RED)).min())
    assert eraser.flags(eraser.score_prompts(RED)).all()
    read = layer.states(RED)
    single = torch.cat([eraser.scores(layer.states([prompt])) for prompt in RED])
    assert torch.allclose(eraser.scores(read), single, rtol=1e-6)
    own = read.counted[0]
    by_token = (eraser.replacement(read.states)[0] - read.states[0]).double().square().mean(1)
    assert eraser.scores(read)[0].item() == pytest.approx(by_token[own].mean().item())


@pytest.mark.covers("34.7")
def test_only_target_prompts_set_the_threshold(eraser, layer, autoencoder):
    # Prompts to keep decide features alone: with these features, no other of them moves the threshold.
    other = concept_eraser(layer, autoencoder, {"red": RED}, OTHERS * 2, selected=32)
    assert torch.equal(other.features, eraser.features)
    assert other.threshold == eraser.threshold
    wider = concept_eraser(layer, autoencoder, {"red": RED}, [*OTHERS, "a", "a star"], selected=32)
    assert wider.threshold == pytest.approx(0.99 * float(wider.score_prompts(RED).min()))
    half = concept_eraser(layer, autoencoder, {"red": RED[:4]}, OTHERS, selected=32)
    assert half.threshold == pytest.approx(0.99 * float(half.score_prompts(RED[:4]).min()))


@pytest.mark.covers("34.11")
def test_a_score_does_not_depend_on_padding(eraser, layer):
    read = layer.states(["a red star"])
    length = int(read.real.sum())
    for kept in (length, length + 1, length + 9):
        cut = PromptStates(*(part[:, :kept] for part in read))
        assert torch.allclose(eraser.scores(cut), eraser.scores(read), rtol=1e-5)
    spoilt = torch.where(read.real[..., None], read.states, torch.full_like(read.states, 77.0))
    assert torch.equal(eraser.scores(read._replace(states=spoilt)), eraser.scores(read))
    among = layer.states(["a red star", "a small green heart on sand in fog with stripes at the top"])
    assert torch.allclose(eraser.scores(among)[:1], eraser.scores(read), rtol=1e-5)


@pytest.mark.covers("34.8")
def test_a_further_concept_trains_nothing_and_keeps_the_first(layer, autoencoder):
    first = concept_eraser(layer, autoencoder, {"red": RED}, NEITHER, selected=32)
    before = hash_tensors(dict(autoencoder.state_dict()))
    both = first.adding({"green": GREEN})
    assert both.autoencoder is autoencoder
    assert hash_tensors(dict(autoencoder.state_dict())) == before
    assert list(both.concepts) == ["red", "green"]
    assert torch.equal(both.concepts["red"].features, first.concepts["red"].features)
    assert torch.equal(both.kept, first.kept)
    assert both.flags(both.score_prompts(RED + GREEN)).all()
    assert list(first.concepts) == ["red"], "the first eraser stays as it is"
    together = concept_eraser(layer, autoencoder, {"red": RED, "green": GREEN}, NEITHER, selected=32)
    assert together.threshold == both.threshold
    assert torch.equal(together.features, both.features)


def test_prompts_of_the_concept_score_higher_than_others(eraser):
    assert eraser.score_prompts(RED).min() > eraser.score_prompts(OTHERS).max()
    assert not eraser.flags(eraser.score_prompts(OTHERS)).any()


def test_without_a_threshold_every_prompt_is_edited(eraser):
    always = eraser.always()
    assert always.flags(always.score_prompts(OTHERS)).all()
    assert eraser.threshold is not None


def test_a_factor_of_one_changes_nothing_but_the_error_of_the_code(eraser, layer):
    same = dataclasses.replace(eraser, factor=1.0)
    tokens = layer.states(RED[:2]).states
    own = same.autoencoder
    flat = tokens[:, 1:].flatten(0, 1)
    assert torch.allclose(same.replacement(tokens)[:, 1:].flatten(0, 1), own(flat)[0], atol=1e-5)


def test_an_error_needs_a_token():
    with pytest.raises(InputError, match="no token"):
        mean_error(states(0, 2), states(0, 2), torch.zeros(1, 3, dtype=torch.bool))


@pytest.mark.parametrize(
    ("concepts", "keep", "said"),
    [
        ({}, OTHERS, "at least one of each"),
        ({"red": RED}, [], "at least one of each"),
        ({"red": "a red star"}, OTHERS, "list of prompts"),
        ({"red": []}, OTHERS, "list of prompts"),
        ({"red": RED}, RED, "retained prompts activate all"),
    ],
)
def test_what_cannot_be_erased_is_refused(layer, autoencoder, concepts, keep, said):
    with pytest.raises(InputError, match=said):
        concept_eraser(layer, autoencoder, concepts, keep, selected=32)


def test_a_concept_is_added_once(eraser):
    with pytest.raises(InputError, match="erased already"):
        eraser.adding({"red": RED})


def test_an_autoencoder_of_another_width_is_refused(xl, autoencoder, layer):
    class Wide:
        width = 99

    with pytest.raises(InputError, match="width"):
        concept_eraser(Wide(), autoencoder, {"red": RED}, OTHERS)
