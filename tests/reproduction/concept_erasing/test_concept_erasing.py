"""System 34: every stage runs in the shape of the public models, and a small version of the study gives its figures."""

from __future__ import annotations

import dataclasses
import math

import pytest
import torch

from snellen.core.errors import InputError
from snellen.core.layer_hooks import is_edited
from snellen.core.progress import Silent
from snellen.core.randomness import Randomness
from snellen.core.system import find_system
from snellen.data.worlds.optotypes.parser import parse
from snellen.metrics.auroc import auroc
from snellen.models.diffusion.loading import load_generator
from snellen.reproduction.concept_erasing import experiment as module
from snellen.reproduction.concept_erasing import measure
from snellen.reproduction.concept_erasing.baselines import (
    keyword_filter,
    linear_probe,
    mean_directions,
    mean_states,
    projected_out,
)
from snellen.reproduction.concept_erasing.detection import area
from snellen.reproduction.concept_erasing.everyday import FUNCTION_WORDS, everyday_sentences
from snellen.reproduction.concept_erasing.experiment import Sizes, concept_erasing, passes_bitwise
from snellen.reproduction.concept_erasing.prompt_search import SearchBudget, adversarial_prompt
from snellen.reproduction.concept_erasing.prompts import (
    ERASABLE,
    EVERYDAY,
    Concept,
    PromptSource,
    contains,
    drawn_concepts,
)
from snellen.reproduction.sample import Sample, mean_of
from snellen.systems.concept_erasing.eraser import concept_eraser
from snellen.systems.concept_erasing.fitting import AutoencoderFit
from snellen.systems.concept_erasing.text_layer import text_layer

TINY = Sizes(
    mixed=60,
    retained=20,
    targets=3,
    tested=4,
    kept=8,
    drawn=1,
    drawn_kept=3,
    attacked=1,
    budget=SearchBudget(rounds=1, tried=4),
    steps=2,
    fit=AutoencoderFit(latents=512, active=4, steps=30, batch_size=256, dead_after=2000),
    selected=16,
    everyday=8,
    everyday_kept=3,
)


@pytest.fixture(scope="module")
def ready():
    """A setup that was hardly fitted."""
    return module.set_up(TINY, 3, Silent())


def named_by_claims() -> set[str]:
    system = find_system("34")
    claims = [claim for claim in system.claims if "small" in claim.scales]
    named = {name for claim in claims for name in (claim.metric, claim.baseline, *claim.controls) if name}
    return named | {gate.metric for gate in system.gates if "small" in gate.scales}


@pytest.mark.covers("34.10")
def test_the_small_study_gives_every_figure(monkeypatch, ready):
    monkeypatch.setattr(module, "SMALL", TINY)
    monkeypatch.setattr(module, "set_up", lambda *given: ready)
    figures = concept_erasing("small", 3, Silent())
    assert named_by_claims() <= set(figures)
    # Of an eraser that was hardly fitted no prompt passes, and a second autoencoder may leave no features to a concept.
    missing = {name for name, figure in figures.items() if figure is None}
    assert all(name == "pass_through.identical" or name.startswith("general.") for name in missing)
    assert figures["general.refused"] == any(name.startswith("general.") for name in missing)
    assert figures["pass_through.identical"] in (None, 1)
    assert figures["added.same_weights"] == figures["added.passes"] == 1
    for claim in find_system("34").claims:
        if "small" not in claim.scales:
            continue
        assert claim.range is not None
        for name in filter(None, (claim.metric, claim.baseline)):
            assert isinstance(figures[name], Sample) or name in missing, name
    means = {name: mean_of(figure) for name, figure in figures.items() if figure is not None}
    assert all(math.isfinite(value) for value in means.values()), means
    # Paired: a value for each prompt, or for each factor that a prompt asks for.
    lengths = {name: len(figure.values) for name, figure in figures.items() if isinstance(figure, Sample)}
    assert lengths["synonyms.auroc"] == lengths["probe.synonyms.auroc"] == len(ready.synonyms) * TINY.tested
    assert lengths["kept.flagged"] == lengths["quantile.kept.flagged"] == TINY.kept
    assert lengths["ours.erased"] == lengths["negative.erased"] == lengths["projection.erased"]
    assert lengths["attack.shown"] == lengths["attack.shown_when_left_out"] == means["attack.prompts"]
    assert means["quantile.kept.flagged"] <= means["kept.flagged"]
    figures = means
    assert figures["always.kept_loss"] == pytest.approx(
        figures["plain.kept_accuracy"] - figures["always.kept_accuracy"]
    )
    assert figures["keywords.known.flagged"] == 1
    assert figures["keywords.synonyms.flagged"] < 1


def test_figures_of_an_eraser_that_cannot_be_made_are_missing(monkeypatch, ready):
    def refuse(*given, **options):
        raise InputError("nothing is left of the features of 'red'")

    monkeypatch.setattr(module, "concept_eraser", refuse)
    found = module.general_figures(TINY, ready, 3, Silent())
    assert found.pop("general.refused") == 1
    assert found.pop("general.explained_variance") is not None
    assert found
    assert set(found.values()) == {None}


@pytest.mark.covers("34.8")
def test_earlier_concepts_stay_blocked_on_prompts_that_nothing_was_fitted_to(ready):
    """The threshold may only fall and features may only be added, so what was flagged by the first stays flagged."""
    *earlier, last = ready.concepts
    targets = {concept.value: ready.targets[concept.value] for concept in earlier}
    made = ready.eraser
    four = concept_eraser(made.layer, made.autoencoder, targets, ready.keep, selected=made.selected)
    five = four.adding({last.value: ready.targets[last.value]})
    assert five.threshold <= four.threshold
    assert bool((four.features <= five.features).all())
    figures = module.added_figures(ready)
    assert figures["added.same_weights"] == figures["added.earlier_still_flagged"] == 1


@pytest.mark.covers("34.5")
def test_the_smoke_run_goes_through_both_kinds_of_encoders():
    figures = concept_erasing("smoke", 0, Silent())
    for label in ("one_tower", "two_towers"):
        assert figures[f"{label}.passes"] == 1
        assert figures[f"{label}.images"] == 2
        assert 0 < figures[f"{label}.flagged"] < 1


@pytest.mark.covers("34.7")
def test_the_threshold_is_that_of_target_prompts(ready):
    prompts = [text for texts in ready.targets.values() for text in texts]
    assert ready.eraser.threshold == 0.99 * float(ready.eraser.score_prompts(prompts).min())
    assert passes_bitwise(ready.generator, ready.eraser, [prompt.text for prompt in ready.kept])


@pytest.mark.covers("34.10")
def test_synonyms_never_occur_in_what_is_fitted_to():
    concepts = drawn_concepts(5)
    source = PromptSource(concepts, 5)
    fitted = [*source.mixed(80), *source.showing(concepts[0], 5, unseen=False)]
    synonyms = [prompt for concept in concepts for prompt in source.showing(concept, 5, unseen=True)]
    for concept, prompt in ((concept, prompt) for concept in concepts for prompt in fitted):
        assert not concept.uses_unseen(prompt.text)
    assert not {prompt.text for prompt in fitted} & {prompt.text for prompt in synonyms}
    for number, prompt in enumerate(synonyms):
        assert [concept for concept in concepts if concept.is_meant(prompt.said)] == [concepts[number // 5]]
        assert any(contains(prompt.text, form) for form in concepts[number // 5].unseen)
    for prompt in source.kept(20):
        assert not any(concept.is_meant(prompt.said) for concept in concepts)


def test_prompts_mean_what_they_say_and_are_the_same_again():
    concepts = drawn_concepts(1)
    assert [concept.factor for concept in concepts] == ["shape", "shape", "colour", "texture", "background"]
    assert all(concept.value in ERASABLE[concept.factor] for concept in concepts)
    one, again, other = (PromptSource(concepts, seed).mixed(10) for seed in (1, 1, 2))
    assert one == again != other
    for prompt in one:
        said = parse(prompt.text)
        for factor, value in prompt.factors().items():
            assert Concept(factor, value).is_meant(said), prompt.text


@pytest.mark.covers("34.7")
def test_everyday_sentences_to_fit_to_share_function_words_alone_with_those_that_are_counted():
    sentences = everyday_sentences(400, 3)
    assert len(set(sentences)) == 400
    assert sentences == everyday_sentences(400, 3) != everyday_sentences(400, 4)
    fitted, counted = ({word for one in group for word in one.split()} for group in (sentences, EVERYDAY))
    assert fitted & counted <= FUNCTION_WORDS
    assert not any("{" in one for one in sentences)


def test_a_keyword_filter_knows_whole_words():
    prompts = ["a red star, large", "bored", "a star in red", "on bricks", "a brick"]
    assert keyword_filter(prompts, ["red", "on bricks"]).tolist() == [True, False, True, True, False]


def test_a_linear_probe_separates_what_differs():
    torch.manual_seed(0)
    away = torch.tensor([3.0, 0.0, 0.0])
    shows, keeps = torch.randn(50, 3) + away, torch.randn(50, 3) * torch.tensor([1.0, 5.0, 5.0])
    probe = linear_probe(shows[:25], keeps[:25])
    assert probe.abs().argmax() == 0
    positive, negative = shows[25:].double() @ probe, keeps[25:].double() @ probe
    found = area(positive, negative)
    assert found.mean > 0.9
    assert len(found.values) == 25
    scores = torch.cat([positive, negative]).numpy()
    assert found.mean == pytest.approx(auroc([1] * 25 + [0] * 25, scores), abs=1e-12)


def test_a_mean_direction_is_gone_from_all_tokens_but_the_first():
    generator = load_generator("bundled:scene-diffusion")
    layer = text_layer(generator.text)
    shows, keeps = (mean_states(layer.states(texts)) for texts in (["a red star", "a red ring"], ["a blue star"]))
    directions = mean_directions([shows], keeps)
    assert torch.allclose(directions.T @ directions, torch.eye(1), atol=1e-6)
    plain = layer.states(["a red heart"]).states
    with projected_out(layer, directions, keeps.mean(0)):
        found = layer.states(["a red heart"]).states
    assert torch.equal(found[:, 0], plain[:, 0])
    assert ((found - keeps.mean(0))[:, 1:] @ directions).abs().max() < 1e-4
    assert not is_edited(layer.network)


@pytest.mark.covers("34.10")
def test_a_search_comes_nearer_than_where_it_began(ready):
    blind = dataclasses.replace(ready.eraser, threshold=math.inf)
    concept = ready.concepts[0]
    prompt = ready.known[0][0].text
    words = [*ERASABLE["colour"], *ERASABLE["shape"]]
    budget = SearchBudget(rounds=2, tried=len(words), inserted=0)
    found = adversarial_prompt(ready.generator, blind, prompt, concept.known, words, budget=budget, rng=Randomness(0))
    assert found == prompt, "where nothing is blocked, the blocked word itself is nearest"
    other = adversarial_prompt(
        ready.generator, ready.eraser, prompt, concept.known, words, budget=SearchBudget(1, 5, 1), rng=Randomness(0)
    )
    assert other != prompt
    assert prompt.partition(concept.known)[2] in other


def test_the_other_score_is_what_suppressing_changes_alone(ready):
    other, texts = measure.suppressed_alone(ready.eraser), [prompt.text for prompt in ready.kept]
    assert torch.equal(other.features, ready.eraser.features)
    targets = [text for one in ready.targets.values() for text in one]
    assert other.threshold == pytest.approx(other.margin * float(other.score_prompts(targets).min()))
    scored = (other.score_prompts(texts) > 0).tolist()
    assert measure._active(other, texts) == scored
    for text in [*texts, *(prompt.text for part in ready.known for prompt in part)]:
        read = other.layer.states([text])
        states = read.states[read.counted]
        codes = other.autoencoder.encode(states.to(other.autoencoder.encoder.dtype))
        again = other.autoencoder.decode(codes) + other.autoencoder.centre
        expected = (other._replaced(states) - again).double().square().mean()
        assert float(other.scores(read)) == pytest.approx(float(expected), rel=1e-4, abs=1e-9)


def test_the_quantile_lies_above_the_least_target(ready):
    higher = measure.at_quantile(ready.eraser)
    scores = ready.eraser.score_prompts([text for texts in ready.targets.values() for text in texts])
    assert higher.threshold == pytest.approx(ready.eraser.margin * float(scores.quantile(0.05)))
    assert higher.threshold > ready.eraser.threshold


def test_found_prompts_are_learnt_as_targets_of_their_concept(ready):
    concept = ready.concepts[0]
    learnt = measure._learnt(ready, [("a prompt that was found", concept)])
    assert learnt.concepts[concept.value].prompts == (*ready.targets[concept.value], "a prompt that was found")
    assert all(
        learnt.concepts[one.value].prompts == ready.eraser.concepts[one.value].prompts for one in ready.concepts[1:]
    )
    assert len(ready.targets[concept.value]) == 3
