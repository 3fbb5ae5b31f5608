"""Prompts: the class stays, words come from a prior, the gradient ranks them, and fresh latents confirm."""

import dataclasses

import pytest
import torch

from snellen.core.errors import InputError
from snellen.core.randomness import Randomness
from snellen.models.language.causal import load_causal_language_model, write_random_causal_model
from snellen.models.language.listed_answers import ListedAnswers
from snellen.systems.generator_failure.drawing import as_image
from snellen.systems.generator_failure.embedded_words import watched
from snellen.systems.generator_failure.language_prior import (
    END,
    CausalPrior,
    ServerPrior,
    TrigramPrior,
    complete,
    load_prior,
    perplexity,
    words_of,
)
from snellen.systems.generator_failure.prompt_search import PromptFind, PromptSearch, PromptSearcher
from snellen.systems.generator_failure.synonyms import read_synonyms
from tests.systems.generator_failure.parts import SHAPES, Stub, discriminator, drawing, scene_generator

PROMPTS = ["a red star", "a blue star on sand", "a red ring on grass", "a blue heart", "a star in fog"]


@pytest.fixture(scope="module")
def prior():
    return TrigramPrior(PROMPTS, name="few")


def searcher(prior, stub=None, one=None, numbers=None, banned=frozenset(), name="star"):
    given = numbers or PromptSearch(latents=2, checked=3, gradient_latents=1, beam=2, calls=24, perplexity_ratio=1e4)
    return PromptSearcher(one or drawing(), stub or Stub(lambda image, name: False), prior, name, "a {}", given, banned)


@pytest.mark.covers("7.6")
def test_the_class_stays_and_no_other_is_named(prior):
    one = searcher(prior, banned=frozenset({"hoop"}))
    kept = {
        "a red star": True, "a ring": False, "a star and a ring": False, "a star hoop": False, "no star": False,
        "a picture without a star": False, "a star star": False, "a starry sky": False,
    }  # fmt: skip
    assert {text: one.keeps_class(words_of(text)) for text in kept} == kept


@pytest.mark.covers("7.6")
@pytest.mark.parametrize("rule", ["gradient", "likely", "random"])
def test_every_tried_prompt_is_made_of_words_of_the_prior_around_the_class(prior, rule):
    numbers = PromptSearch(rule=rule, latents=2, checked=4, gradient_latents=1, calls=16, perplexity_ratio=1e4)
    find = searcher(prior, numbers=numbers).search(Randomness(0))
    vocabulary = {word for prompt in PROMPTS for word in words_of(prompt)}
    assert find.tried
    for prompt in find.tried:
        words = words_of(prompt)
        assert words.count("star") == 1
        assert set(words) <= vocabulary
        assert not {"ring", "heart"} & set(words)
        assert perplexity(prior, words) <= 500


@pytest.mark.covers("7.3")
def test_unlikely_prompts_are_left_out_and_the_perplexity_is_reported(prior):
    ratio = 5.0 / perplexity(prior, ("a", "star"))
    strict = PromptSearch(latents=2, checked=4, gradient_latents=1, calls=30, perplexity_ratio=ratio)
    find = searcher(prior, Stub(lambda image, name: True, spared=1), numbers=strict).search(Randomness(0))
    assert find.mode == 1
    assert find.perplexity == pytest.approx(perplexity(prior, words_of(find.prompt)))
    assert find.perplexity <= 5.0


@pytest.mark.covers("7.5")
def test_latents_that_confirm_are_none_that_the_search_has_drawn(prior):
    class Watching(type(drawing())):
        def draw(self, latents, condition):
            seen.append(latents)
            return super().draw(latents, condition)

    seen = []
    one = Watching(scene_generator(), steps=2, guidance_scale=1.0)
    find = searcher(prior, Stub(lambda image, name: True, spared=1), one).search(Randomness(0))
    assert find.mode == 1
    assert torch.equal(seen[-1], find.latents)
    before = torch.cat(seen[:-1]).flatten(1)
    assert not any(torch.equal(fresh, used) for fresh in find.latents.flatten(1) for used in before)
    assert torch.equal(one.draw(find.latents, one.condition([find.prompt] * 2)), find.images)


@pytest.mark.covers("7.5")
def test_a_prompt_that_fails_on_searched_latents_alone_is_no_success(prior):
    """Checks fail, and the first prompt and confirmations do not: calls of the discriminator alternate."""
    calls = []

    class Alternating(Stub):
        def verdict(self, images, name):
            calls.append(len(images))
            self.fails = lambda image, name: len(calls) % 2 == 0
            return super().verdict(images, name)

    find = searcher(prior, Alternating(None)).search(Randomness(0))
    assert find.mode is None
    assert find.share == 0.0
    assert find.calls <= 24


@pytest.mark.covers("7.9")
def test_random_natural_prompts_have_the_same_budget_and_the_same_confirmation(prior):
    numbers = PromptSearch(rule="random", latents=2, checked=2, calls=9, perplexity_ratio=1e4)
    find = searcher(prior, numbers=numbers).search(Randomness(1))
    assert (find.mode, find.calls) == (None, 8)
    sure = searcher(prior, Stub(lambda image, name: True, spared=1), numbers=numbers).search(Randomness(1))
    assert (sure.mode, sure.calls) == (1, 6)  # the first prompt, a check and a confirmation


def test_a_prompt_counts_only_when_it_fails_clearly_more_often_than_the_first(prior):
    """Of 4 latents each, one fails with the first prompt: three do not exceed it clearly, and four do."""

    def counting(failing):
        class Counting(Stub):
            def verdict(self, images, name):
                found = super().verdict(images, name)
                most = 1 if len(self.looked) == 1 else failing
                return dataclasses.replace(found, failed=torch.arange(len(images)) < most)

        numbers = PromptSearch(latents=4, gradient_latents=1, calls=40, perplexity_ratio=1e4)
        return searcher(prior, Counting(lambda image, name: True), numbers=numbers).search(Randomness(0))

    close, clear = counting(3), counting(4)
    assert (close.mode, close.first_share, close.share) == (None, 0.25, 0.75)
    assert close.above < 0
    assert (clear.mode, clear.first_share, clear.share) == (1, 0.25, 1.0)
    assert 0 < clear.above < 0.75


def test_where_the_first_prompt_fails_nothing_is_searched(prior):
    find = searcher(prior, Stub(lambda image, name: True)).search(Randomness(0))
    assert (find.mode, find.class_fails, find.first_share, find.calls, find.tried) == (None, True, 1.0, 2, [])
    assert "the class as such fails: 'a star' loses it on 100% of 2 latents" in find.reason


def test_a_search_without_a_candidate_or_calls_says_so(prior):
    narrow = PromptSearch(latents=2, gradient_latents=1, perplexity_ratio=0.01)
    find = searcher(prior, Stub(lambda image, name: True, spared=1), numbers=narrow).search(Randomness(0))
    assert (find.mode, find.tried) == (None, [])
    assert "few proposes no prompt, of a perplexity of" in find.reason
    short = searcher(prior, numbers=narrow.model_copy(update={"calls": 6})).search(Randomness(0))
    assert (short.calls, short.mode) == (0, None)
    assert "6 calls are too few" in short.reason
    assert "take 7" in short.reason


def test_the_limit_of_perplexity_is_relative_to_the_first_prompt(tmp_path):
    """A model that is sure of nothing gives every prompt a large perplexity, and is searched all the same."""
    folder = write_random_causal_model(tmp_path / "model", scene_generator().text.towers[0].tokenizer)
    model = CausalPrior(load_causal_language_model(f"hf:{folder}"))
    assert perplexity(model, ("a", "star")) > 100
    numbers = PromptSearch(latents=2, gradient_latents=1, calls=16)
    find = searcher(model, numbers=numbers).search(Randomness(0))
    assert find.tried
    assert not find.reason
    limit = numbers.perplexity_ratio * perplexity(model, ("a", "star"))
    assert all(perplexity(model, words_of(prompt)) <= limit for prompt in find.tried)


def test_templates_stay_as_they_are_written_and_words_may_hold_other_letters_and_digits(prior):
    """The generator gets marks and capitals of the template; the prior gets plain words."""
    assert words_of("Ein Café, 4k: T-shirt 7") == ("ein", "café", "4k", "t-shirt", "7")
    numbers = PromptSearch(latents=2, checked=3, gradient_latents=1, calls=24, perplexity_ratio=1e4)
    for name in ("star", "café", "7", "T-shirt"):
        stub = Stub(lambda image, name: False)
        stub.classes = (name, "ring")
        one = PromptSearcher(drawing(2), stub, prior, name, "A photo, 4K, of a {}", numbers)
        assert " ".join(one.first) == f"A photo, 4K, of a {name}"
    find = one.search(Randomness(0))
    assert find.tried
    assert all(prompt.startswith("A photo, 4K, of a ") and "T-shirt" in prompt.split() for prompt in find.tried)
    with pytest.raises(InputError, match="'&' of the prompt 'a star & more' is not one word"):
        PromptSearcher(drawing(2), Stub(None), prior, "star", "a {} & more", numbers)
    with pytest.raises(InputError, match=r"'a/b' of the prompt 'a/b star' is not one word"):
        PromptSearcher(drawing(2), Stub(None), prior, "star", "a/b {}", numbers)


@pytest.mark.parametrize(
    ("place", "filler", "other"),
    [
        (1, ("red",), ("blue",)),
        (1, ("red",), ("green",)),
        (1, ("silver",), ("red",)),  # "silver" is several tokens
        (2, ("on", "sand"), ("in", "fog")),
        (2, ("on", "sand"), ("on", "plain")),
    ],
)
def test_slopes_of_words_have_the_sign_of_the_change_of_drawn_images(prior, monkeypatch, place, filler, other):
    """A tenth of the way from one word to another: the images of the sampler change as the slope says."""
    one, tower = drawing(steps=4), scene_generator().text.towers[0]
    latents = one.latents(range(16))
    numbers = PromptSearch(gradient_latents=16)
    own = searcher(prior, discriminator(), one, numbers)
    monkeypatch.setattr(own, "_latents", lambda rng, count: latents)
    first = ("a", "star")
    offers = [(*first[:place], *part, *first[place:]) for part in (filler, other)]
    slopes = own._slopes(first, place, offers, PromptFind(""), Randomness(0))
    table = tower.network.get_input_embeddings()
    rows = [
        table.weight[tower.tokenizer(" ".join(part), add_special_tokens=False).input_ids] for part in (filler, other)
    ]
    begin = 1 + place  # a mark, and a token for each word of "a star"
    move = (rows[1] if len(rows[0]) == len(rows[1]) else rows[1].mean(0, keepdim=True)) - rows[0]
    losses = []
    for share in (-0.1, 0.1):

        def add(_, __, made, share=share):
            made = made.clone()
            made[:, begin : begin + len(move)] += share * move
            return made

        handle = table.register_forward_hook(add)
        try:
            made = one.draw(latents, one.condition([" ".join(offers[0])] * 16))
        finally:
            handle.remove()
        losses.append(discriminator().log_probabilities(made, "star").mean().item())
    assert slopes[offers[0]] == pytest.approx(0.0, abs=1e-6)
    assert slopes[offers[1]] * (losses[1] - losses[0]) > 0


def test_a_step_along_the_gradient_of_an_embedding_changes_what_the_sampler_draws_as_promised():
    """The surrogate is no derivative of the sampler, but its direction holds: one way the class is lost."""
    one, generator = drawing(steps=4), scene_generator()
    latents = one.latents(range(8))
    with torch.enable_grad(), watched(generator) as deltas:
        condition = generator.encode_prompts(["a red star"], gradients=True).select([0] * 8)
        loss = discriminator().loss(as_image(one.conditioned(latents, condition)), "star", Randomness(0)).mean()
        (gradient,) = torch.autograd.grad(loss, [deltas[0][0]])
    table = generator.text.towers[0].network.get_input_embeddings()
    found = []
    for move in (-0.1, 0.0, 0.1):
        handle = table.register_forward_hook(lambda _, __, made, move=move: made + move * gradient / gradient.norm())
        try:
            made = one.draw(latents, one.condition(["a red star"] * 8))
        finally:
            handle.remove()
        found.append(discriminator().log_probabilities(made, "star").mean().item())
    assert found[0] < found[1] - 0.05
    assert found[1] + 0.05 < found[2]


@pytest.mark.covers("7.6")
def test_slopes_and_the_prior_order_the_prompts_that_are_drawn(prior, monkeypatch):
    """score = slope − λ log p: the gradient decides among words that are equally likely, and the prior among others."""
    numbers = PromptSearch(latents=2, checked=1, gradient_latents=1, calls=7, perplexity_ratio=1e4, likelihood=0.1)
    for wanted in ("red", "blue"):
        one = searcher(prior, numbers=numbers)
        monkeypatch.setattr(one, "_slopes", lambda words, place, offers, find, rng, wanted=wanted: {
            offer: -1.0 if wanted in offer else 0.0 for offer in offers
        })  # fmt: skip
        assert wanted in one.search(Randomness(0)).tried[0]
    unguided = searcher(prior, numbers=numbers.model_copy(update={"rule": "likely"}))
    assert unguided.search(Randomness(0)).tried[0] == "a star in fog"  # what else follows "a star" is rare


def test_gradients_reach_embeddings_inside_the_block_alone():
    generator = scene_generator()
    with torch.enable_grad(), watched(generator) as deltas:
        condition = generator.encode_prompts(["a star"], gradients=True)
        (gradient,) = torch.autograd.grad(condition.text.sum(), [deltas[0][0]])
    assert gradient.abs().sum() > 0
    assert torch.equal(condition.text.detach(), generator.encode_prompts(["a star"]).text)
    assert not generator.encode_prompts(["a star"], gradients=True).text.requires_grad


def test_half_of_the_images_broken_is_invalid(prior):
    class Broken(Stub):
        def verdict(self, images, name):
            return super().verdict(torch.full_like(images, torch.nan), name)

    find = searcher(prior, Broken(lambda image, name: True)).search(Randomness(0))
    assert (find.invalid, find.mode) == (True, None)


def test_a_prior_without_words_and_a_template_of_another_class(prior):
    class Silent(TrigramPrior):
        def propose(self, prefix, count):
            return [(END, 0.0)]

    find = searcher(Silent(PROMPTS, name="silent")).search(Randomness(0))
    assert "silent proposes no prompt" in find.reason
    with pytest.raises(InputError, match="does not ask for 'star' alone"):
        PromptSearcher(drawing(), Stub(None), prior, "star", "a ring and a {}", PromptSearch())
    with pytest.raises(InputError, match="holds no words"):
        TrigramPrior(["", "..."], name="marks")


# -- priors -------------------------------------------------------------------------------------------------------


def test_trigrams_are_probabilities_and_know_where_prompts_end(prior):
    words = {word for prompt in PROMPTS for word in words_of(prompt)} | {END}
    total = sum(prior.probability(word, ("a", "red")) for word in words)
    assert total == pytest.approx(1.0, abs=0.011)
    assert complete(prior, ("a", "red", "star")) == ("a", "red", "star")
    assert complete(prior, ("a", "star", "in")) == ("a", "star", "in", "fog")
    assert perplexity(prior, words_of("a red star")) < perplexity(prior, words_of("star red a"))


def test_a_causal_model_proposes_whole_words(tmp_path):
    tokenizer = scene_generator().text.towers[0].tokenizer
    folder = write_random_causal_model(tmp_path / "model", tokenizer)
    prior = CausalPrior(load_causal_language_model(f"hf:{folder}"))
    proposed = prior.propose(("a", "red"), 20)
    assert len(proposed) == 20
    assert all(word == END or word.isalnum() for word, _ in proposed)
    assert [likely for _, likely in proposed] == sorted((likely for _, likely in proposed), reverse=True)
    assert prior.log_probability(("a", "red", "star")) < 0
    assert prior.propose((), 3)


def test_a_server_gives_an_order_and_no_probabilities():
    prior = ServerPrior(ListedAnswers(["Red", "<script>", "very blue", "7"], name="server"))
    assert [word for word, _ in prior.propose(("a",), 5)] == [END, "red", "script", "very", "7"]
    assert perplexity(prior, ("a", "star")) is None
    find = searcher(
        ServerPrior(ListedAnswers(["red", "blue"], name="s")), Stub(lambda image, name: True, spared=1)
    ).search(Randomness(0))
    assert (find.mode, find.perplexity) == (1, None)


def test_priors_by_reference(tmp_path):
    (tmp_path / "my prompts.txt").write_text("a red star\na blue star\n", encoding="utf-8")
    assert load_prior(f"file:{tmp_path / 'my prompts.txt'}").propose(("a",), 2)
    assert load_prior("captions").name == "captions"
    for reference, fault in (
        ("file:none.txt", "cannot be read"),
        ("words", "a language prior is captions"),
        ("hf:", "is"),
    ):
        with pytest.raises(InputError, match=fault):
            load_prior(reference)


def test_synonyms_of_other_classes_are_left_out(tmp_path):
    (tmp_path / "words.toml").write_text('star = ["pentagram"]\nring = ["hoop", "circle"]\n', encoding="utf-8")
    found = read_synonyms(f"file:{tmp_path / 'words.toml'}", SHAPES, world=False)
    assert found["star"] == ("circle", "hoop")
    assert found["ring"] == ("pentagram",)
    assert "hoop" in read_synonyms(None, SHAPES, world=True)["star"]
    assert read_synonyms(None, SHAPES, world=False)["star"] == ()
    (tmp_path / "other.toml").write_text('dog = ["puppy"]\n', encoding="utf-8")
    with pytest.raises(InputError, match="class of the synonyms"):
        read_synonyms(f"file:{tmp_path / 'other.toml'}", SHAPES, world=False)
    with pytest.raises(InputError, match="synonyms are file:FILE"):
        read_synonyms("words.toml", SHAPES, world=False)
