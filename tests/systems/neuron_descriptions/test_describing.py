"""Sentences of units: attention over exemplars, beams, and what weighing by p(d) changes."""

import pytest
import torch
from torch import nn

from snellen.core.errors import InputError
from snellen.systems.neuron_descriptions.beam_search import beam_search
from snellen.systems.neuron_descriptions.captioner import RegionCaptioner, Regions, caption_losses
from snellen.systems.neuron_descriptions.describing import describe_regions, weighed
from snellen.systems.neuron_descriptions.sentence_model import SentenceModel, sentence_scores
from snellen.systems.neuron_descriptions.vocabulary import Vocabulary

VOCABULARY = Vocabulary(["dots", "red", "shapes"])


@pytest.fixture(scope="module")
def models():
    torch.manual_seed(0)
    captioner = RegionCaptioner(6, len(VOCABULARY), embedding=4, hidden=8)
    language = SentenceModel(len(VOCABULARY), embedding=4, hidden=8)
    for network in (captioner, language):
        for parameter in network.parameters():  # far from uniform, so that sentences differ
            nn.init.normal_(parameter, std=1.0)
        network.eval().requires_grad_(False)
    return captioner, language


def regions(count=5, k=7, seed=1):
    vectors = torch.randn(count, k, 6, generator=torch.Generator().manual_seed(seed))
    return Regions(vectors, torch.ones(count, k, dtype=torch.bool))


@pytest.mark.covers("17.5")
def test_the_order_of_exemplars_and_absent_ones_change_nothing(models):
    seen = regions()
    rows = VOCABULARY.rows(["red dots"] * 5, length=5)
    scores, attention = models[0](seen, rows)
    order = torch.tensor([3, 0, 6, 2, 1, 5, 4])
    mixed, moved = models[0](Regions(seen.vectors[:, order], seen.present), rows)
    assert torch.allclose(mixed, scores, atol=1e-5)
    assert torch.allclose(moved, attention[:, :, order], atol=1e-5)
    assert attention.shape == (5, 3, 7)
    assert torch.allclose(attention.sum(2), torch.ones(5, 3), atol=1e-5)
    padded = Regions(
        torch.cat([seen.vectors, torch.full((5, 2, 6), 50.0)], 1),
        torch.cat([seen.present, torch.zeros(5, 2, dtype=torch.bool)], 1),
    )
    assert torch.allclose(models[0](padded, rows)[0], scores, atol=1e-5)
    said, again = (describe_regions(*models, VOCABULARY, one, width=6, length=5) for one in (seen, padded))
    assert [one.text for one in said] == [one.text for one in again]


def test_doubly_stochastic_attention_asks_for_each_exemplar_once():
    rows = torch.tensor([[3, 0, 4, 5]])
    log_probabilities = torch.zeros(1, 3, 7)
    present = torch.tensor([[True, True, False]])
    even = torch.tensor([[[1.0, 0, 0], [0, 1.0, 0], [7.0, 7.0, 7.0]]])  # the last step is padding and counts nowhere
    assert float(caption_losses(log_probabilities, even, rows, present, pad=5)) == 0.0
    one_sided = torch.tensor([[[1.0, 0, 0], [1.0, 0, 0], [0.0, 0, 0]]])
    assert float(caption_losses(log_probabilities, one_sided, rows, present, pad=5)) == 1.0
    assert float(caption_losses(log_probabilities, one_sided, rows, present, pad=5, weight=0.5)) == 0.5


def every_sentence(length):
    """All sentences of at most so many words, stop included, as token rows."""
    open_rows, found = [[]], []
    for _ in range(length - 1):
        open_rows = [[*row, word] for row in open_rows for word in range(3)]
        found += open_rows
    return [[], *found]


def test_a_wide_beam_finds_the_likeliest_of_all_sentences(models):
    captioner, language = models
    seen, sentences = regions(3), every_sentence(4)
    said = describe_regions(captioner, language, VOCABULARY, seen, objective="likelihood", width=60, length=4)
    texts = [" ".join(VOCABULARY.words[word] for word in row) for row in sentences]
    for unit in range(3):
        own = seen.of([unit] * len(texts))
        rows = VOCABULARY.rows(texts, length=4)
        scores = captioner(own, rows)[0].gather(2, rows[:, 1:, None])[:, :, 0]
        sums = (scores * (rows[:, 1:] != VOCABULARY.pad)).sum(1)
        assert said[unit].likelihood == pytest.approx(float(sums.max()), abs=1e-4)
        assert said[unit].text == texts[int(sums.argmax())]
    greedy = describe_regions(captioner, language, VOCABULARY, seen, objective="likelihood", width=1, length=4)
    assert all(one.likelihood <= best.likelihood + 1e-5 for one, best in zip(greedy, said, strict=True))


@pytest.mark.covers("17.6")
def test_weight_zero_is_the_likeliest_sentence_and_a_large_weight_prefers_rare_ones(models):
    seen = regions(12, seed=4)

    def described(**options):
        return describe_regions(*models, VOCABULARY, seen, width=20, length=5, **options)

    plain = described(objective="likelihood")
    assert [one.text for one in described(weight=0.0)] == [one.text for one in plain]
    assert [one.text for one in described(objective="stepwise", weight=0.0)] == [one.text for one in plain]
    strong = described(weight=5.0)
    assert sum(one.prior for one in strong) < sum(one.prior for one in plain) - 1.0
    for one in strong:
        assert one.score == pytest.approx(one.likelihood - 5.0 * one.prior, abs=1e-3)
    priors = sentence_scores(models[1], VOCABULARY.rows([one.text for one in strong], length=5), VOCABULARY)
    assert priors.tolist() == pytest.approx([one.prior for one in strong], abs=1e-4)
    stepwise = described(objective="stepwise", weight=0.2)
    assert [one.score for one in stepwise] == pytest.approx(
        [one.likelihood - 0.2 * one.prior for one in stepwise], abs=1e-3
    )
    assert weighed(torch.tensor([-torch.inf]), torch.tensor([-9.0]), 1.0).tolist() == [-torch.inf]


def test_what_stands_behind_the_first_stop_has_no_prior(models):
    rows = VOCABULARY.rows(["red", "red"], length=4)
    longer = torch.cat([rows, torch.tensor([[VOCABULARY.pad], [0]])], 1)
    found = sentence_scores(models[1], longer, VOCABULARY)
    assert float(found[0]) == pytest.approx(float(found[1]), abs=1e-6)
    scores = models[1](rows)[0]
    assert float(found[0]) == pytest.approx(float(scores[0, 1] + scores[1, VOCABULARY.stop]), abs=1e-5)


def test_units_side_by_side_are_described_as_alone_and_marks_are_never_said(models):
    seen = regions(70, seed=9)  # more than are decoded together
    together = describe_regions(*models, VOCABULARY, seen, width=5, length=6)
    for unit in (0, 63, 64, 69):
        alone = describe_regions(*models, VOCABULARY, seen.of([unit]), width=5, length=6)[0]
        assert alone.text == together[unit].text
        assert alone.score == pytest.approx(together[unit].score, abs=1e-4)
    assert not any("<" in one.text for one in together)

    def only_marks(tokens, _):
        scores = torch.full((len(tokens), len(VOCABULARY)), -5.0)
        scores[:, [VOCABULARY.start, VOCABULARY.pad, VOCABULARY.unknown]] = 0.0
        return scores

    beams = beam_search(only_marks, 1, width=4, length=3, vocabulary=VOCABULARY)
    assert not bool(torch.isin(beams.tokens[:, :, 1:2], torch.tensor([VOCABULARY.start, VOCABULARY.unknown])).any())
    assert beams.tokens[0, 0, :2].tolist() == [VOCABULARY.start, VOCABULARY.stop]
    assert set(beams.tokens[0, 0, 2:].tolist()) <= {VOCABULARY.pad}


def test_wrong_numbers_are_reported(models):
    with pytest.raises(InputError, match="weight is at least 0"):
        describe_regions(*models, VOCABULARY, regions(), weight=-1)
