"""What measures guided generation: balanced questions, independence of the judge, costs, figures, weak denoisers."""

from dataclasses import replace

import pytest
import torch

from snellen.core.errors import InputError
from snellen.core.randomness import Randomness
from snellen.data.worlds.optotypes.parser import parse
from snellen.data.worlds.optotypes.small_world import WORLD
from snellen.data.worlds.optotypes.small_world import scenes as world_scenes
from snellen.models.classifiers.factor_judge import load_judge
from snellen.models.classifiers.references import load_classifier
from snellen.models.diffusion.condition import Condition
from snellen.models.diffusion.generate import Steering
from snellen.models.diffusion.guidance import GradientGuidance, autoguidance, classifier_free
from snellen.reproduction.shared.guided_generation.harness import Arm, measure, real_figures
from snellen.reproduction.shared.guided_generation.judging import set_figures, thumbnail_judge
from snellen.reproduction.shared.guided_generation.seen_images import seen_scenes
from snellen.reproduction.shared.guided_generation.setups import small_scenes, thumbnails
from snellen.reproduction.shared.guided_generation.weak_denoiser import PLAN, narrower, weak_denoiser

STEPS, COUNT = 2, 12


@pytest.fixture(scope="module")
def scenes():
    made = small_scenes()
    return replace(made, steps=STEPS, real=made.real[:40], other_real=made.other_real[:40])


@pytest.fixture(scope="module")
def requested(scenes):
    return scenes.ask(COUNT, 3)


def unguided(requested):
    return lambda rows, rng: Steering()


def test_classes_take_turns_and_prompts_have_one_blank(scenes, requested):
    assert requested.classes.tolist() == [0, 1, 2, 3, 4, 5] * 2
    assert all(one.count("{}") == 1 for one in requested.templates)
    assert len(set(requested.seeds)) == COUNT
    again, other = scenes.ask(COUNT, 3), scenes.ask(COUNT, 4)
    assert (again.templates, again.seeds) == (requested.templates, requested.seeds)
    assert other.templates != requested.templates
    assert set(other.seeds).isdisjoint(requested.seeds)
    shapes = set(requested.class_names)
    assert not any(shapes & set(one.replace(",", " ").split()) for one in requested.templates)


def test_prompts_are_of_combinations_that_nothing_was_fitted_to(requested):
    world = WORLD.model_copy(update={"nuisance_share": 0.0})
    seen = {
        (one.shape, one.colour, one.texture, scene.background)
        for scene in world_scenes(world, "train", count=4000, seen=True)
        for one in scene.objects
    }
    for caption in requested.captions:
        said = parse(caption)
        one = said.objects[0]
        assert (one.shape, one.colour, one.texture, said.background) not in seen


def test_costs_are_counted_for_each_image(scenes, requested):
    null = requested.nothing
    weak = replace(scenes.generator.denoiser, network=narrower(scenes.generator.denoiser, 0).requires_grad_(False))

    def all_terms(requested):
        def score(latents, view):
            estimate = view.generator.decode(view.x0(view.evaluate(latents), latents))
            return scenes.guide(estimate).log_softmax(1)[:, 0]

        def steer(rows, rng):
            terms = [classifier_free(2.0, null.select(rows)), autoguidance(2.0, weak), GradientGuidance(score, 1.1)]
            return Steering(terms)

        return steer

    plain = measure(Arm("none", unguided), scenes, requested)
    full = measure(Arm("all", all_terms, guides=[scenes.guide], denoisers=[weak]), scenes, requested)
    costs = ("rows", "own_rows", "backward_rows", "guide_queries", "guide_gradients", "calls")
    assert [plain.figures[name] for name in costs] == [STEPS, STEPS, 0, 0, 0, STEPS]
    assert [full.figures[name] for name in costs] == [4 * STEPS, 3 * STEPS, STEPS, STEPS, STEPS, 3 * STEPS]
    assert full.images.shape == (COUNT, 3, 32, 32)
    assert full.clock["over_network"] > plain.clock["over_network"] >= 1
    with pytest.raises(InputError, match="rows of denoisers that it does not name"):
        measure(Arm("all", all_terms), scenes, requested)


def test_an_arm_may_have_another_base(scenes, requested):
    seen = []

    def base(requested):
        seen.append(requested)
        return requested.nothing

    nothing = measure(Arm("nothing", unguided, base), scenes, requested)
    assert seen == [requested]
    assert isinstance(requested.nothing, Condition)
    assert not torch.allclose(nothing.images, measure(Arm("own", unguided), scenes, requested).images, atol=1e-3)


def test_who_guided_does_not_judge(scenes, requested):
    own = load_judge().classifier("shape")  # the judge of scenes as a classifier, which has another identity
    with pytest.raises(InputError, match="guided these images, so it cannot judge them"):
        measure(Arm("own judge", unguided, guides=[own]), scenes, requested)
    judge = load_classifier("bundled:fashion-judge")
    renamed = load_classifier(judge.module, judge.class_names, preparation=judge.preparation, name="another")
    with pytest.raises(InputError, match="guided these images, so it cannot judge them"):
        thumbnail_judge().check_independent([renamed])
    scenes.judge.check_independent([scenes.guide, renamed])
    nobody = load_classifier(lambda images: images.mean((2, 3)), ["a", "b", "c"])
    with pytest.raises(InputError, match="has no identity"):
        scenes.judge.check_independent([nobody])


def test_real_images_are_judged_right_and_wrong_questions_show(scenes):
    seen = seen_scenes(24, 0)
    names = [scenes.guide.class_names[index] for index in seen.classes.tolist()]
    features = scenes.judge.seen(scenes.real)
    figures = set_figures(scenes.judge, features, seen.images, names)
    assert figures["accuracy"] == 1.0
    assert figures["diversity"] > 0
    shifted = set_figures(scenes.judge, features, seen.images, [*names[1:], names[0]])
    assert shifted["accuracy"] < 0.6
    same = set_figures(scenes.judge, features, scenes.real, ["none of them"] * len(scenes.real))
    assert (same["precision"], same["recall"], same["coverage"]) == (1.0, 1.0, 1.0)
    assert same["frechet"] == pytest.approx(0, abs=1e-6)
    assert (same["accuracy"], same["diversity"]) == (0.0, 0.0)
    assert set(real_figures(scenes, 30)) == {"frechet", "precision", "recall", "density", "coverage"}


def test_a_weak_denoiser_is_narrower_seeded_and_kept(scenes):
    plan = PLAN.model_copy(update={"epochs": 1, "batch_size": 8, "warmup_steps": 0})
    weak = weak_denoiser(scenes, Randomness(5), count=16, plan=plan)
    assert weak_denoiser(scenes, Randomness(5), count=16, plan=plan) is weak
    own = sum(parameter.numel() for parameter in scenes.generator.denoiser.network.parameters())
    assert sum(parameter.numel() for parameter in weak.network.parameters()) < own / 3
    assert not any(parameter.requires_grad for parameter in weak.network.parameters())
    start = dict(narrower(scenes.generator.denoiser, plan.seed).named_parameters())
    other = weak_denoiser(scenes, Randomness(6), count=16, plan=plan)
    name = next(iter(start))
    assert not torch.equal(dict(weak.network.named_parameters())[name], dict(other.network.named_parameters())[name])


def test_thumbnails_are_of_the_test_split_in_two_parts():
    made = thumbnails()
    assert made.real.shape == made.other_real.shape == (1000, 3, 28, 28)
    assert not any(torch.equal(made.other_real[0], one) for one in made.real)
    requested = made.ask(10, 0)
    assert requested.captions == made.guide.class_names
    made.judge.check_independent([made.guide])
    right = [said == name for said, name in zip(made.judge.answers(made.real), ["Bag"] * 1000, strict=True)]
    assert 60 < sum(right) < 140
