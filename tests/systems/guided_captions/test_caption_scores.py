"""The arithmetic of guidance: equations, limits, and the identity between the two rules."""

import math

import pytest
import torch

from snellen.core.errors import InputError, ModelError
from snellen.models.diffusion.guidance import guidance_direction
from snellen.systems.guided_captions.caption_rules import (
    ClassifierFree,
    LanguageGuided,
    check_finite,
    classifier_free_scores,
    language_guided_scores,
    newline_tokens,
    newlines_end,
    plausible_only,
)


def sides(rows=4, words=7, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(rows, words, generator=generator).log_softmax(1) for _ in range(3)]


def test_it_is_the_published_equation():
    conditional, unconditional, _ = sides()
    scale = torch.tensor([0.5, 1.2, 2.0, 4.0])
    guided = classifier_free_scores(conditional, unconditional, scale)
    # Equation 2: p(x) · (p(x | y) / p(x))^γ, in probabilities.
    product = unconditional.exp() * (conditional.exp() / unconditional.exp()) ** scale[:, None]
    assert torch.allclose(guided.softmax(1), product / product.sum(1, keepdim=True), atol=1e-6)


def test_the_scale_is_that_of_guidance_everywhere():
    conditional, unconditional, _ = sides()
    scale = torch.tensor([0.5, 1.0, 2.0, 4.0])
    elsewhere = conditional + guidance_direction(conditional, unconditional, scale)
    assert torch.allclose(classifier_free_scores(conditional, unconditional, scale), elsewhere, atol=1e-5)


@pytest.mark.covers("39.1")
def test_one_and_nought_are_exact():
    conditional, unconditional, other = sides()
    assert torch.equal(classifier_free_scores(conditional, unconditional, torch.ones(4)), conditional)
    without = classifier_free_scores(conditional, unconditional, torch.zeros(4))
    assert torch.equal(without, unconditional)
    assert torch.equal(without, classifier_free_scores(other, unconditional, torch.zeros(4)))


def test_logits_and_log_probabilities_choose_alike():
    generator = torch.Generator().manual_seed(1)
    conditional, unconditional = torch.randn(2, 50, 9, generator=generator) * 3
    scale = torch.full((50,), 2.5)
    by_logits = classifier_free_scores(conditional, unconditional, scale)
    by_logs = classifier_free_scores(conditional.log_softmax(1), unconditional.log_softmax(1), scale)
    assert torch.equal(by_logits.argmax(1), by_logs.argmax(1))


@pytest.mark.covers("39.12")
@pytest.mark.parametrize("strength", [0.5, 1.0, 2.0, 4.0])
def test_with_the_captioner_as_language_model_it_is_classifier_free_guidance(strength):
    conditional, unconditional, _ = sides(rows=40)
    same = torch.full((40,), strength)
    guided = language_guided_scores(unconditional, conditional, unconditional, same, same)
    assert torch.allclose(guided, classifier_free_scores(conditional, unconditional, same), atol=1e-5)


@pytest.mark.covers("39.5")
def test_language_guidance_subtracts_the_captioner_without_the_image():
    conditional, unconditional, language = sides()
    alpha, beta = torch.full((4,), 5.0), torch.full((4,), 2.5)
    guided = language_guided_scores(language, conditional, unconditional, alpha, beta)
    assert torch.allclose(guided, language + 5 * conditional - 2.5 * unconditional)
    assert not torch.allclose(guided, language + 5 * conditional)


@pytest.mark.covers("39.5")
def test_newlines_give_their_mass_to_the_end_mark():
    scores, _, _ = sides(words=6)
    moved = newlines_end(scores, end=0, newlines=torch.tensor([2, 5]))
    assert torch.allclose(moved.exp().sum(1), torch.ones(4))
    assert torch.allclose(moved[:, 0].exp(), scores[:, [0, 2, 5]].exp().sum(1))
    assert bool((moved[:, [2, 5]] == -torch.inf).all())
    assert torch.equal(moved[:, [1, 3, 4]], scores[:, [1, 3, 4]])
    assert newlines_end(scores, end=0, newlines=torch.zeros(0, dtype=torch.long)) is scores


@pytest.mark.covers("39.5")
def test_the_rule_of_language_guidance_does_both():
    conditional, unconditional, language = sides()
    rule = LanguageGuided(torch.full((4,), 5.0), torch.full((4,), 2.5), 0, torch.tensor([3]))
    assert rule.needs_null
    assert rule.needs_language
    expected = language + 5 * conditional - 2.5 * unconditional
    assert torch.allclose(rule.scores(conditional, unconditional, language)[:, 0], expected[:, [0, 3]].logsumexp(1))


@pytest.mark.parametrize(
    ("piece", "is_one"), [("Ċ", True), ("\n\n", True), ("<0x0A>", True), ("", False), ("aĊ", False)]
)
def test_newlines_of_any_vocabulary_are_found(piece, is_one):
    assert newline_tokens(("word", piece)).tolist() == ([1] if is_one else [])


def test_implausible_words_are_left_out():
    conditional = torch.log(torch.tensor([[0.6, 0.3, 0.05, 0.05]]))
    scores = torch.tensor([[0.0, 1.0, 2.0, 3.0]])
    assert plausible_only(scores, conditional, 0.0) is scores
    assert plausible_only(scores, conditional, 0.1).tolist() == [[0.0, 1.0, -math.inf, -math.inf]]
    assert plausible_only(scores, conditional, 1.0).tolist() == [[0.0, -math.inf, -math.inf, -math.inf]]


def test_what_is_not_guided_asks_for_nothing():
    plain, guided = ClassifierFree(torch.ones(2)), ClassifierFree(torch.tensor([1.0, 2.0]))
    assert not plain.needs_null
    assert not plain.needs_language
    assert guided.needs_null
    assert not guided.select(torch.tensor([0])).needs_null
    by_language = ClassifierFree(torch.tensor([2.0]), "language_model")
    assert by_language.needs_language
    assert not by_language.needs_null


@pytest.mark.parametrize("scale", [-0.1, math.nan, math.inf])
def test_a_scale_that_is_none_is_refused(scale):
    with pytest.raises(InputError, match="finite number of at least 0"):
        ClassifierFree(torch.tensor([scale]))


@pytest.mark.parametrize(
    ("alpha", "beta", "said"), [(1.0, 2.0, "alpha ≥ beta"), (1.0, -1.0, "alpha ≥"), (0.0, 0.0, "image out")]
)
def test_weights_that_make_no_sense_are_refused(alpha, beta, said):
    with pytest.raises(InputError, match=said):
        LanguageGuided(torch.tensor([alpha]), torch.tensor([beta]), 0)


def test_logits_that_are_not_finite_are_reported_with_their_model():
    with pytest.raises(ModelError, match="demo gave logits that are not finite"):
        check_finite(torch.tensor([[0.0, math.nan]]), "demo")
