"""Guided decoding: at scale 1 the captioner's own, at 0 blind, and the same in every batch."""

import itertools
from types import SimpleNamespace

import pytest
import torch

from snellen.core.errors import InputError
from snellen.core.randomness import Randomness
from snellen.models.language.causal import load_causal_language_model, write_random_causal_model
from snellen.models.references import load_captioner
from snellen.models.tokens.small_tokenizers import gpt2_tokenizer
from snellen.systems.guided_captions.caption_decoding import (
    GuidedSteps,
    StepScores,
    beam_search,
    decode,
    prompt_tokens,
    sampling,
)
from snellen.systems.guided_captions.caption_rules import ClassifierFree, LanguageGuided
from snellen.systems.guided_captions.method import GuidedCaptions

MOST = 12


def guided(captioner, images, scales, *, choose=None, **rest):
    """Decode each image at its own scale; the filler is the end mark."""
    states = captioner.encode(images)
    begin = captioner.tokenise([""], ended=False)[0].expand(len(images), -1)
    steps = GuidedSteps(captioner, states, ClassifierFree(torch.tensor(scales)), **rest)
    end = captioner.end_token
    named = {} if choose is None else {"choose": choose}
    return decode(steps, begin, end=end, filler=end, max_tokens=MOST, **named)


@pytest.mark.covers("39.1")
def test_scale_one_is_plain_greedy_decoding_token_by_token(captioner, pictures):
    plain = captioner.caption(pictures, max_tokens=MOST)
    found = guided(captioner, pictures, [1.0] * 5)
    assert torch.equal(found.lengths, plain.lengths)
    for ours, theirs, length in zip(found.tokens, plain.tokens, plain.lengths.tolist(), strict=True):
        assert torch.equal(ours[: length + 1], theirs[: length + 1])
    assert torch.allclose(found.conditional.sum(1), plain.log_probabilities, atol=1e-4)
    assert found.unconditional is None
    mixed = guided(captioner, pictures.repeat(2, 1, 1, 1), [1.0] * 5 + [3.0] * 5)
    assert captioner.texts(mixed.tokens)[:5] == plain.texts
    assert captioner.texts(mixed.tokens)[5:] != plain.texts


@pytest.mark.covers("39.1")
def test_scale_nought_does_not_see_the_image(captioner, pictures):
    texts = captioner.texts(guided(captioner, pictures, [0.0] * 5).tokens)
    assert len(set(texts)) == 1
    assert len(set(captioner.texts(guided(captioner, pictures, [1.0] * 5).tokens))) > 1


@pytest.mark.covers("39.13")
def test_several_scales_in_one_batch_are_those_of_separate_runs(captioner, pictures):
    scales = [1.0, 1.5, 2.0, 4.0]
    together = guided(captioner, pictures.repeat_interleave(4, 0), scales * 5)
    for place, scale in enumerate(scales):
        alone = guided(captioner, pictures, [scale] * 5)
        assert captioner.texts(together.tokens[place::4]) == captioner.texts(alone.tokens)
        assert torch.equal(together.lengths[place::4], alone.lengths)


@pytest.mark.covers("39.13")
def test_caches_stay_with_their_rows_when_ended_rows_leave(blip, pictures):
    found = guided(blip, pictures, [1.0, 1.5, 2.0, 3.0, 4.0])
    assert len(set(found.lengths.tolist())) > 2  # rows left at different steps
    for row, scale in enumerate([1.0, 1.5, 2.0, 3.0, 4.0]):
        alone = guided(blip, pictures[row : row + 1], [scale])
        length = int(alone.lengths[0])
        assert torch.equal(found.tokens[row, : length + 1], alone.tokens[0, : length + 1])
        assert torch.allclose(found.conditional[row, :length], alone.conditional[0, :length], atol=1e-4)


@pytest.mark.covers("39.3")
def test_both_sides_read_the_same_prefix_at_each_step(vit_gpt2, pictures, monkeypatch):
    asked = []
    logits = vit_gpt2.logits

    def watched(tokens, condition, cache=None):
        asked.append((tokens.clone(), condition.clone()))
        return logits(tokens, condition, cache)

    monkeypatch.setattr(vit_gpt2, "logits", watched)
    found = guided(vit_gpt2, pictures[:2], [2.0, 2.0])
    assert len(asked) == int(found.lengths.max())
    for step, (tokens, condition) in enumerate(asked):
        with_image, without = tokens.chunk(2)
        assert torch.equal(with_image, without)
        assert torch.equal(with_image, found.tokens[: len(with_image), : step + 1])
        assert not bool(condition.chunk(2)[1].any())
        assert bool(condition.chunk(2)[0].any())


@pytest.mark.covers("39.3")
def test_a_step_is_the_equation_on_both_sides_logits(vit_gpt2, pictures):
    found = guided(vit_gpt2, pictures, [2.5] * 5)
    states = vit_gpt2.encode(pictures)
    for step in range(4):
        prefix = found.tokens[:, : step + 1]
        conditional, _ = vit_gpt2.logits(prefix, states)
        null, _ = vit_gpt2.logits(prefix, None)
        assert torch.equal((null + 2.5 * (conditional - null)).argmax(1), found.tokens[:, step + 1])


@pytest.mark.covers("39.12")
def test_the_identity_holds_through_whole_captions(vit_gpt2, pictures):
    """The captioner without the image, asked as a language model, with α = β = γ."""

    class Blind:
        name, begin_token, device = "blind", int(vit_gpt2.tokenise([""], ended=False)[0][0]), torch.device("cpu")
        vocabulary, end_token = vit_gpt2.vocabulary, vit_gpt2.end_token

        def logits(self, tokens, cache=None):
            return vit_gpt2.logits(tokens, None, cache)

    strength = torch.tensor([1.0, 1.5, 2.0, 3.0, 4.0])
    steps = GuidedSteps(
        vit_gpt2, vit_gpt2.encode(pictures), LanguageGuided(strength, strength, vit_gpt2.end_token), language=Blind()
    )
    begin, end = vit_gpt2.tokenise([""], ended=False)[0].expand(5, -1), vit_gpt2.end_token
    found = decode(steps, begin, end=end, filler=end, max_tokens=MOST)
    expected = guided(vit_gpt2, pictures, strength.tolist())
    assert torch.equal(found.tokens, expected.tokens)


def test_a_language_model_may_be_the_unconditional_side(vit_gpt2, language, pictures):
    states, begin = vit_gpt2.encode(pictures), vit_gpt2.tokenise([""], ended=False)[0].expand(5, -1)
    steps = GuidedSteps(vit_gpt2, states, ClassifierFree(torch.full((5,), 2.0), "language_model"), language=language)
    first = steps(begin)
    conditional, _ = vit_gpt2.logits(begin, states)
    alone, _ = language.logits(torch.full((5, 1), language.begin_token))
    expected = alone.log_softmax(1) + 2 * (conditional.log_softmax(1) - alone.log_softmax(1))
    assert torch.allclose(first.scores, expected, atol=1e-4)
    assert first.unconditional is None


def test_a_prompt_stands_before_what_the_language_model_reads(vit_gpt2, language, pictures):
    prompt = prompt_tokens(language, ["a red star", "a blue ring"], newline=True)
    assert language._pieces.texts(prompt[None])[0] == "a red star\n\na blue ring"
    rule = LanguageGuided(torch.ones(5), torch.zeros(5), vit_gpt2.end_token)
    steps = GuidedSteps(vit_gpt2, vit_gpt2.encode(pictures), rule, language=language, prompt=prompt)
    begin = vit_gpt2.tokenise(["a red"], ended=False)[0].expand(5, -1)
    first = steps(begin)
    prefix = torch.cat([prompt, begin[0, 1:]])[None]
    told = language.logits(prefix)[0].log_softmax(1) + first.conditional
    assert torch.allclose(first.scores, told, atol=1e-4)
    parted = prompt_tokens(language, ["a red star", "a blue ring"], newline=False)
    assert parted.tolist().count(language.end_token) == 3  # the beginning mark is the end mark here
    with pytest.raises(InputError, match="give fewer"):
        prompt_tokens(language, ["a red star on grass"] * 40, newline=False)
    for count in range(1, 40):  # a prompt that fills the context leaves no room for a caption
        tried = ["a"] * count
        try:
            assert len(prompt_tokens(language, tried, newline=True)) < language.context_length
        except InputError:
            break
    else:
        pytest.fail("no prompt was too long")


@pytest.mark.covers("39.6")
def test_a_language_model_with_other_tokens_is_refused(vit_gpt2, pictures, tmp_path):
    folder = write_random_causal_model(tmp_path, gpt2_tokenizer(("star", "red"), context_length=64))
    other = load_causal_language_model(f"hf:{folder}")
    rule = LanguageGuided(torch.ones(5), torch.zeros(5), vit_gpt2.end_token)
    with pytest.raises(InputError, match="do not share their tokens: they have"):
        GuidedSteps(vit_gpt2, vit_gpt2.encode(pictures), rule, language=other)
    swapped = SimpleNamespace(
        name="swapped", end_token=vit_gpt2.end_token, vocabulary=(*vit_gpt2.vocabulary[1::-1], *vit_gpt2.vocabulary[2:])
    )
    with pytest.raises(InputError, match="token 0 is"):
        GuidedSteps(vit_gpt2, vit_gpt2.encode(pictures), rule, language=swapped)
    with pytest.raises(InputError, match="name one"):
        GuidedSteps(vit_gpt2, vit_gpt2.encode(pictures), rule)


@pytest.mark.covers("39.4")
def test_greedy_is_the_default():
    fields = GuidedCaptions.model_fields
    assert (fields["decoding"].default, fields["scale"].default) == ("greedy", 2.0)
    assert (fields["alpha"].default, fields["beta"].default) == (5.0, 2.5)
    assert "extras" in str(fields["decoding"].description)


class Table:
    """Steps whose scores are a table by the last token, for sequences that can be counted out."""

    def __init__(self, table, rows):
        self.table = table

    def __call__(self, tokens):
        scores = self.table[tokens[:, -1]]
        return StepScores(scores, scores.log_softmax(1), None)

    def select(self, rows):
        pass


@pytest.mark.covers("39.4")
def test_draws_follow_the_probabilities_and_belong_to_the_row():
    table = torch.log(torch.tensor([[0.5, 0.3, 0.2]])).expand(3, 3)
    count = 2000
    rng = Randomness(0).for_examples([str(n) for n in range(count)])
    start = torch.ones(count, 1, dtype=torch.long)
    found = decode(Table(table, count), start, end=0, filler=0, max_tokens=1, choose=sampling(rng))
    shares = torch.bincount(found.tokens[:, 1], minlength=3) / count
    assert torch.allclose(shares, torch.tensor([0.5, 0.3, 0.2]), atol=0.04)
    chosen = [7, 3, 1999]
    part = decode(Table(table, 3), start[:3], end=0, filler=0, max_tokens=1, choose=sampling(rng[chosen]))
    assert torch.equal(part.tokens, found.tokens[chosen])
    cold = decode(
        Table(table, 3), start[:3], end=0, filler=0, max_tokens=1, choose=sampling(rng[chosen], temperature=0.01)
    )
    assert cold.tokens[:, 1].tolist() == [0, 0, 0]


@pytest.mark.parametrize("penalty", [0.0, 1.0])
def test_enough_beams_find_the_best_of_all_sequences(penalty):
    words, longest = 4, 4
    for seed in range(8):
        table = torch.randn(words, words, generator=torch.Generator().manual_seed(seed)) * 2
        logs = table.log_softmax(1)
        best = (-torch.inf, ())
        for length in range(1, longest + 1):
            for sequence in itertools.product(range(words), repeat=length):
                if 0 in sequence[:-1] or (length < longest and sequence[-1] != 0):
                    continue
                score = sum(float(logs[a, b]) for a, b in itertools.pairwise((1, *sequence))) / length**penalty
                best = max(best, (score, sequence))
        found = beam_search(
            Table(table, 0), torch.tensor([[1]]), beams=64, end=0, filler=0, max_tokens=longest, length_penalty=penalty
        )
        assert tuple(found[0, 1:].tolist()) == best[1]


def test_one_beam_is_greedy_and_beams_of_a_row_keep_to_it(blip, pictures):
    states, begin, end = blip.encode(pictures), blip.tokenise([""], ended=False)[0].expand(5, -1), blip.end_token
    scale = torch.full((5,), 2.0)
    alone = beam_search(
        GuidedSteps(blip, states, ClassifierFree(scale)), begin, beams=1, end=end, filler=end, max_tokens=8
    )
    greedily = decode(GuidedSteps(blip, states, ClassifierFree(scale)), begin, end=end, filler=end, max_tokens=8)
    assert blip.texts(alone) == blip.texts(greedily.tokens)

    def three(rows):
        wide = GuidedSteps(
            blip, states[rows].repeat_interleave(3, 0), ClassifierFree(torch.full((3 * len(rows),), 2.0))
        )
        return blip.texts(beam_search(wide, begin[: len(rows)], beams=3, end=end, filler=end, max_tokens=8))

    assert three([0, 1, 2, 3, 4])[2:4] == three([2, 3])


def test_the_embedded_captioner_is_guided_as_any_other():
    captioner = load_captioner("bundled:scene-captioner")
    images = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    assert (
        captioner.texts(guided(captioner, images, [1.0, 1.0]).tokens)
        == captioner.caption(images, max_tokens=MOST).texts
    )
