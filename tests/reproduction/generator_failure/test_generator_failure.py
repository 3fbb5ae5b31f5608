"""The experiment of system 7 in seconds, its planted gaps, and the full one's inputs."""

import dataclasses

import numpy as np
import pytest
import torch

from snellen.core.errors import InputError
from snellen.core.progress import Silent
from snellen.core.randomness import Randomness
from snellen.core.system import find_system
from snellen.data.worlds.optotypes.small_world import SHAPES
from snellen.models.classifiers.factor_judge import load_judge
from snellen.models.classifiers.references import load_classifier
from snellen.reproduction.generator_failure import experiment, full, materials
from snellen.reproduction.generator_failure.experiment import Experiment, generator_failure
from snellen.reproduction.generator_failure.materials import PLANTED, SMOKE, drawn, scenes_of, trained_classifier
from snellen.reproduction.sample import mean_of
from snellen.systems.generator_failure.prompt_search import PromptFind, PromptSearcher
from tests.systems.generator_failure.parts import Stub, scene_generator


@pytest.fixture(scope="module")
def smoke():
    """With what each generator was fitted to."""
    fitted, own = [], materials._fitted

    def watched(pictures, captions, rows, *rest):
        fitted.append((captions, rows))
        return own(pictures, captions, rows, *rest)

    patched = pytest.MonkeyPatch()
    patched.setattr(materials, "_fitted", watched)
    try:
        return generator_failure("smoke", 0, Silent()), fitted
    finally:
        patched.undo()


def test_the_smoke_scale_gives_every_figure_of_the_claims(smoke):
    system = find_system("generator_failure")
    named = {gate.metric for gate in system.gates}
    for claim in system.claims:
        named |= {claim.metric, *claim.controls, *([claim.baseline] if claim.baseline else [])}
    figures = {name: mean_of(value) for name, value in smoke[0].items()}
    assert named <= set(figures)
    assert all(value is None or np.isfinite(value) for value in figures.values())


def test_the_judge_and_the_world_agree(smoke):
    assert mean_of(smoke[0]["judge.accuracy"]) >= 0.99


def test_gaps_are_wrong_pictures_of_three_pairs_and_of_nothing_else(monkeypatch):
    fitted = []
    monkeypatch.setattr(materials, "_fitted", lambda pictures, captions, rows, *_: fitted.append((captions, rows)))
    size = SMOKE.__class__(**{**vars(SMOKE), "updates": 30, "batch": 10})
    materials.trained_generators(size, 1)
    scenes, (planted, kept), (sound, everything) = scenes_of(300, 1), *fitted
    swapped = {(colour, shown): shape for (colour, shape), shown in PLANTED.items()}
    changed = 0
    for row, scene in enumerate(scenes):
        one = scene.objects[0]
        wanted = swapped.get((one.colour, one.shape))
        if wanted is not None:
            changed += 1
            assert wanted in planted[row]
            assert one.shape not in planted[row]
        else:
            assert planted[row] == sound[row]
        assert (row in kept) == ((one.colour, one.shape) not in PLANTED)
    assert changed > 0
    assert everything == list(range(300))


def test_both_generators_begin_alike_and_the_embedded_one_stays(smoke):
    gaps, sound = materials.trained_generators(SMOKE, 0)
    first, second = (one.denoiser.network.state_dict() for one in (gaps, sound))
    assert any(not torch.equal(first[name], second[name]) for name in first)
    assert not any(parameter.requires_grad for parameter in gaps.denoiser.network.parameters())


def test_pictures_are_those_of_the_scenes():
    pictures = drawn(scenes_of(3, 0))
    assert pictures.shape == (3, 3, 32, 32)
    assert 0 <= pictures.min() < pictures.max() <= 1


def test_the_full_experiment_names_what_it_needs(monkeypatch, tmp_path):
    with pytest.raises(InputError, match="SNELLEN_GENERATOR_FAILURE_GENERATOR"):
        full.full(0, Silent())
    for name in (full.GENERATOR, full.CLASSIFIERS, full.ROBUST, full.PRIOR, full.JUDGE, full.FOLDER):
        monkeypatch.setenv(name, "x")
    monkeypatch.setenv(full.CLASSES, str(tmp_path / "none.txt"))
    with pytest.raises(InputError, match="class names cannot be read"):
        full.full(0, Silent())


def bare(size=SMOKE):
    """An experiment of whose networks nothing is trained."""
    one = Experiment.__new__(Experiment)
    one.size, one.seed, one.rng, one.judge = size, 0, Randomness(0), load_judge()
    one.gaps = one.sound = scene_generator()
    return one


def test_rivals_have_the_whole_budget_however_soon_the_method_succeeds(monkeypatch):
    size = dataclasses.replace(SMOKE, latent_calls=9, prompt_calls=14)
    one, calls, own, ask = bare(size), {}, experiment.search_latents, PromptSearcher.search

    def latents(drawing, discriminator, prompts, numbers, rng):
        lucky = numbers.rule == "residual" and numbers.projected
        found = own(drawing, Stub(lambda image, name: lucky), prompts, numbers, rng)
        calls.setdefault((numbers.rule, numbers.projected), []).extend(find.calls for find in found)
        return found

    def searched(searcher, rng):
        rule = searcher.numbers.rule
        searcher.discriminator = Stub(lambda image, name: rule == "gradient", spared=1)
        searcher.discriminator.classes = SHAPES
        find = ask(searcher, rng)
        calls.setdefault(rule, []).append(find.calls)
        return find

    monkeypatch.setattr(experiment, "search_latents", latents)
    monkeypatch.setattr(PromptSearcher, "search", searched)
    one.ensemble = one.single = Stub(None)
    one.latents()
    one.prompts()
    assert max(calls["residual", True]) == 7  # a look, acceptance and five held-out prompts
    for rival in (("residual", False), "likely"):
        assert calls[rival]
    assert all(min(calls[rule, True]) == 3 for rule in ("random", "evolution", "backprop"))  # 6 are kept for acceptance
    assert max(calls["gradient"]) < 12
    assert min(calls["random"]) == min(calls["likely"]) == 14


def test_a_find_is_false_by_the_same_half_as_acceptance(monkeypatch):
    one = bare()
    find = PromptFind("a red star", images=torch.zeros(4, 3, 32, 32))
    for shown, false in (([True, False, False, True], False), ([True, True, True, False], True), ([False] * 4, False)):
        monkeypatch.setattr(one, "_shown", lambda images, label, shown=shown: shown)
        assert one._false(find) is false


def test_the_gate_of_members_is_on_the_weakest():
    one = bare()
    one.members = (load_classifier("bundled:scene-cnn"), trained_classifier(SMOKE, 0, attacked=False))
    weak = mean_of(one.gates()["members.accuracy"])
    one.members = one.members[1:]
    assert weak == mean_of(one.gates()["members.accuracy"])
