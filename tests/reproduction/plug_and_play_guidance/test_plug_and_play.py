"""System 12: every stage runs in the shapes of the published networks, and a tiny study gives every figure."""

from __future__ import annotations

import dataclasses
import math

import pytest
import torch

from snellen.core.progress import Silent
from snellen.core.randomness import Randomness
from snellen.core.system import find_system
from snellen.methods.generation.classifier_scores import off_the_shelf
from snellen.methods.generation.teachers import classifier_teacher
from snellen.models.classifiers.references import load_classifier
from snellen.reproduction.plug_and_play_guidance import experiment as module
from snellen.reproduction.plug_and_play_guidance.experiment import SMALL, WAYS, Sizes, plug_and_play, world_figures
from snellen.reproduction.plug_and_play_guidance.smoke import shape_figures
from snellen.reproduction.plug_and_play_guidance.ways import EVERY
from snellen.reproduction.sample import Sample, mean_of
from snellen.reproduction.shared.guided_generation import setups as worlds
from snellen.reproduction.shared.guided_generation.seen_images import seen_scenes
from snellen.reproduction.shared.guided_generation.setups import thumbnails
from snellen.reproduction.shared.guided_generation.unconditional import PLAN, without_condition
from snellen.systems.plug_and_play_guidance.expert_fitting import TransferFit

TINY = Sizes(
    fit=TransferFit(experts=2, rank=1, alpha=1, synthetic=6, synthetic_steps=2, iterations=1, batch_size=6),
    unlabelled=8,
    labelled=6,
    images=10,
    first=4,
    further=4,
    scales=(5.0, 9.0),
    steps=2,
)


@pytest.fixture(scope="module")
def setup():
    """Thumbnails with few real images, and labelled images that need no installed data set."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(worlds, "REAL", 40)
        made = thumbnails()
    seen = seen_scenes(8, 0)
    small = dataclasses.replace(seen, images=seen.images[:, :, :28, :28].contiguous(), prompts=None)
    return dataclasses.replace(made, seen=lambda count, seed: small)


def named_by_claims() -> set[str]:
    system = find_system("12")
    claims = [claim for claim in system.claims if "small" in claim.scales]
    named = {name for claim in claims for name in (claim.metric, claim.baseline, *claim.controls) if name}
    return named | {gate.metric for gate in system.gates}


@pytest.mark.covers("12.12")
def test_the_small_study_gives_every_figure(monkeypatch, setup):
    monkeypatch.setattr(module, "SMALL", TINY)
    monkeypatch.setattr(module, "thumbnails", lambda: setup)
    short = PLAN.model_copy(update={"batch_size": 4, "warmup_steps": 0, "mixed_precision": None})
    trained = []

    def tuned(world, rng, **options):
        trained.append(without_condition(world, rng, plan=short, **options))
        return trained[-1]

    monkeypatch.setattr(module, "without_condition", tuned)
    figures = plug_and_play("small", 3, Silent())
    assert named_by_claims() <= set(figures)
    assert all(math.isfinite(mean_of(value)) for value in figures.values()), figures
    assert figures["thumbnails.experts.calls"] == figures["thumbnails.off_the_shelf.calls"] == 2
    for way in ("none", *WAYS):
        accuracy = figures[f"thumbnails.{way}.accuracy"]
        assert isinstance(accuracy, Sample)
        assert len(accuracy.values) == 10, "paired, image by image"
    best = max(mean_of(figures[f"thumbnails.{way}.accuracy"]) for way in ("noise_aware", "supervised"))
    assert figures["thumbnails.room"] == pytest.approx(best - mean_of(figures["thumbnails.none.accuracy"]))
    setup.judge.check_independent([setup.guide])
    (world,) = trained
    assert torch.equal(world.real, setup.seen(8, 0).images), "beside what the generator was trained on"


def test_the_generator_is_trained_on_without_any_label(setup):
    """Whatever the labels are, the same generator comes out; the embedded one stays as it is."""
    before = {name: part.clone() for name, part in setup.generator.denoiser.network.state_dict().items()}
    plan = PLAN.model_copy(update={"batch_size": 4, "warmup_steps": 0, "mixed_precision": None})
    seen = setup.seen(8, 0)
    other = dataclasses.replace(seen, classes=(seen.classes + 1) % 6)
    worlds_of = [dataclasses.replace(setup, seen=lambda count, seed, one=one: one) for one in (seen, other)]
    first, second = (without_condition(one, Randomness(1), count=8, plan=plan).generator for one in worlds_of)
    weights, others = (one.denoiser.network.state_dict() for one in (first, second))
    assert all(torch.equal(part, others[name]) for name, part in weights.items())
    assert not all(torch.equal(part, before[name]) for name, part in weights.items())
    assert all(torch.equal(part, before[name]) for name, part in setup.generator.denoiser.network.state_dict().items())
    assert first.name != setup.generator.name


def test_each_scale_is_chosen_on_other_noise_by_the_judge(monkeypatch, setup):
    """Every scale on the first images, the two best on others; of equal ones the smaller; what is judged is apart."""
    asked, accuracy = [], {3.0: (0.25, 1.0), 5.0: (0.75, 0.5), 9.0: (0.75, 0.5), 21.0: (0.5, 1.0)}
    real = module.measure

    def watched(arm, world, given, progress=None):
        scale = float(arm.name.removeprefix("scale "))
        asked.append((scale, given.seeds))
        found = real(arm, world, given, progress)
        turn = sum(one == scale for one, _ in asked) - 1
        figures = {**found.figures, "accuracy": accuracy[scale][min(turn, 1)] if scale in accuracy else 0.1}
        return dataclasses.replace(found, figures=figures)

    monkeypatch.setattr(module, "measure", watched)
    sizes = dataclasses.replace(TINY, ways=("off_the_shelf",), scales=(3.0, 5.0, 9.0, 21.0))
    reading = off_the_shelf(classifier_teacher(setup.guide))
    monkeypatch.setattr(module, "readings", lambda *_: {"noise_aware": reading})
    figures = world_figures(setup, sizes, 5, Silent())
    assert [scale for scale, _ in asked] == [1.0, 3.0, 5.0, 9.0, 21.0, 5.0, 9.0, 5.0]
    assert figures["noise_aware.scale"] == 5.0
    judged, first, further = asked[0][1], asked[1][1], asked[5][1]
    assert asked[7][1] == judged
    assert asked[4][1] == first != further == asked[6][1]
    assert len({*judged, *first, *further}) == len(judged) + len(first) + len(further)


def test_agreement_counts_images_that_both_call_the_same(setup):
    images = setup.real[:20]
    guide = load_classifier("bundled:fashion-cnn")
    with torch.no_grad():
        said = [guide.class_names[index] for index in guide(images).argmax(1).tolist()]
    same = sum(one == other for one, other in zip(said, setup.judge.answers(images), strict=True))
    assert module.agreement(setup, images) == same / 20 > 0.6


@pytest.mark.covers("12.5")
def test_the_published_networks_grow_by_what_the_claims_say():
    figures = shape_figures()
    assert figures["resnet50.parameters"] == 1_410_352 + 53_120
    assert figures["deit_small.parameters"] == 442_368 + 51_456
    assert 1 < figures["resnet50.memory"] < figures["resnet50.memory_in_use"] < 2


def test_the_smoke_run_goes_through_the_shapes_of_the_paper():
    figures = plug_and_play("smoke", 0, Silent())
    assert (figures["images"], figures["finite"], figures["moved"]) == (2, 1, 1)
    assert figures["loss"] > 0


def test_the_ways_are_known_and_scales_are_tried_on_three_hundred_images():
    assert set(WAYS) <= set(EVERY)
    assert SMALL.ways == WAYS
    assert SMALL.scales == (2.0, 3.0, 5.0, 7.0, 9.0, 13.0, 21.0)
    assert SMALL.first + SMALL.further == 300
    assert SMALL.fit.synthetic >= 5000
