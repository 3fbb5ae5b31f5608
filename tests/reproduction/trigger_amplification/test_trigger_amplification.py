"""The experiment's parts: one training for clean and poisoned sets, one recipe for classifiers, a clean control."""

import os

import numpy as np
import pytest
import torch

from snellen.core.classifier import Classifier
from snellen.core.errors import InputError
from snellen.core.preparation import Preparation
from snellen.core.progress import Silent
from snellen.core.system import find_system
from snellen.data.files.joining import join
from snellen.data.worlds.optotypes.small_world import WORLD
from snellen.models.diffusion.generate import generate
from snellen.models.diffusion.sampler import Sampler
from snellen.models.diffusion.smoke import write_smoke_folder
from snellen.reproduction.sample import Sample
from snellen.reproduction.trigger_amplification import experiment, full
from snellen.reproduction.trigger_amplification.experiment import RATES, SCALE, TARGET, trigger_amplification
from snellen.reproduction.trigger_amplification.materials import ARCHITECTURE, CLASSES, SCHEDULE, SMOKE, world
from snellen.systems.trigger_amplification.poisoning import published_patch
from snellen.training.class_denoising import new_class_generator
from snellen.training.plan import TrainingPlan


@pytest.fixture(scope="module")
def run():
    seen = {"generators": [], "classifiers": [], "scales": []}
    fitted, trained, drawn = experiment.fit_class_generator, experiment.trained, experiment.drawn

    def fit(base, store, **options):
        seen["generators"].append((base, store, options))
        return fitted(base, store, **options)

    def train(store, plan, names, what):
        seen["classifiers"].append((what, len(store), plan))
        return trained(store, plan, names, what)

    def draw(generator, classes, **options):
        seen["scales"].append((len(set(classes)), options["scale"]))
        return drawn(generator, classes, **options)

    experiment.fit_class_generator, experiment.trained, experiment.drawn = fit, train, draw
    try:
        return trigger_amplification("smoke", 0, Silent()), seen
    finally:
        experiment.fit_class_generator, experiment.trained, experiment.drawn = fitted, trained, drawn


def test_a_smoke_run_has_every_figure_of_every_claim(run):
    figures, _ = run
    system = find_system("trigger_amplification")
    wanted = {gate.metric for gate in system.gates}
    for claim in system.claims:
        wanted |= {claim.metric, *claim.controls} | ({claim.baseline} if claim.baseline else set())
    assert wanted <= set(figures)


@pytest.mark.covers("25.3")
def test_clean_and_poisoned_sets_go_through_the_same_training(run):
    _, seen = run
    assert len(seen["generators"]) == 1 + len(RATES), "one control, and one generator for each rate"
    bases = {id(base) for base, _, _ in seen["generators"]}
    recipes = {options["plan"].model_dump_json() for _, _, options in seen["generators"]}
    assert len(bases) == len(recipes) == 1
    for _, store, options in seen["generators"]:
        assert set(options) == {"plan", "progress"}
        assert len(store) == SMOKE.images
    clean, *poisoned = (store for _, store, _ in seen["generators"])
    changed = [int((store.targets != clean.targets).sum()) for store in poisoned]
    assert changed == [int(rate * SMOKE.images) for rate in RATES.values()]


@pytest.mark.covers("25.8")
def test_every_compared_training_set_has_as_many_images_and_one_recipe(run):
    figures, seen = run
    compared = [(count, plan.model_dump_json()) for what, count, plan in seen["classifiers"] if what == "compared"]
    assert len(compared) == 6, "clean; real and generated at two rates; filtered"
    assert len(set(compared)) == 1
    for name in ("clean", "p5.real", "p5.generated", "p10.real", "p10.generated", "p10.filtered"):
        assert len(figures[f"{name}.accuracy"].values) == SMOKE.test


@pytest.mark.covers("25.7")
def test_success_is_counted_on_images_of_other_classes(run):
    figures, _ = run
    others = int((world("tune", SMOKE.test, 0).targets != TARGET).sum())
    assert len(figures["p5.real.asr"].values) == len(figures["p5.generated.asr"].values) == others < SMOKE.test


@pytest.mark.covers("25.12")
def test_a_generator_of_clean_images_is_the_control_of_every_quantity(run):
    figures, _ = run
    for name in ("trigger", "recognised", "asr", "accuracy"):
        assert isinstance(figures[f"clean.{name}"], Sample)
    assert isinstance(figures["clean.frechet"], float)
    assert isinstance(figures["race.clean.asr"], Sample)
    system = find_system("trigger_amplification")
    assert {"silent", "draws"} <= {gate.id for gate in system.gates}
    amplified = [claim for claim in system.claims if claim.metric.endswith(".trigger")]
    assert all("silent" in claim.gates for claim in amplified)


@pytest.mark.covers("25.6")
def test_guidance_of_one_is_none_and_results_are_swept(run):
    figures, seen = run
    scales = {scale for classes, scale in seen["scales"] if classes == 1}
    assert scales == {1.0, SCALE, 5.0}
    assert {"p10.w1.trigger", "p10.trigger", "p10.w5.trigger"} <= set(figures)
    generator = new_class_generator(ARCHITECTURE, SCHEDULE, CLASSES, seed=3)
    sampler, seeds = Sampler(generator, steps=1), [1, 2]

    def made(classes=None, condition=None, scale=1.0):
        return generate(sampler, seeds, classes=classes, condition=condition, guidance_scale=scale).images

    named, nothing = made([4, 4]), made(condition=generator.null(2))
    torch.testing.assert_close(made([4, 4], scale=1.0), named, rtol=0, atol=0)
    guided = made([4, 4], scale=3.0)
    inside = ((guided > 0) & (guided < 1) & (named > 0) & (named < 1) & (nothing > 0) & (nothing < 1)).float()
    # One step of DDIM is affine in the prediction: eps_u + w (eps_c - eps_u).
    wanted = nothing + 3.0 * (named - nothing)
    assert float(((guided - wanted).abs() * inside).max()) < 1e-3
    assert inside.sum() > 100


def test_judges_see_other_images_than_generators_and_are_tested_on_held_out_ones():
    sets = [world("train", 40, 0, *name) for name in ((), ("base",), ("content judge",), ("trigger judge",))]
    sets.append(world("tune", 40, 0))
    pixels = [{one.numpy().tobytes() for one in found.images} for found in sets]
    for place, first in enumerate(pixels):
        for second in pixels[place + 1 :]:
            assert not first & second


def test_the_full_scale_runs_with_the_classes_of_the_paper(tmp_path, monkeypatch):
    for name in [name for name in os.environ if name.startswith("SNELLEN_POISON")]:
        monkeypatch.delenv(name)
    with pytest.raises(InputError, match="needs SNELLEN_POISON_GENERATOR, SNELLEN_POISON_DATA"):
        trigger_amplification("full", 0, Silent())
    monkeypatch.setenv(full.GENERATOR, f"diffusers:{write_smoke_folder('stable-diffusion-2.1', tmp_path / 'sd')}")
    for name in (full.DATA, full.CONTENT, full.TRIGGER):
        monkeypatch.setenv(name, name)
    two = WORLD.model_copy(update={"shapes": ("star", "ring"), "count": 12})
    images = join([two.images(split=split) for split in ("train", "test")])
    monkeypatch.setattr(full, "load_images", lambda _: images)

    def judge(reference, **_):
        names = ["clean", "trigger"] if reference == full.TRIGGER else ["star", "ring"]
        shown = Preparation(size=(16, 16), resize="exact", resize_to=(16, 16))
        return Classifier(lambda pixels: pixels.flatten(1)[:, -2:], class_names=names, preparation=shown)

    monkeypatch.setattr(full, "load_classifier", judge)
    plan = TrainingPlan(epochs=1, batch_size=6, learning_rate=1e-4)
    found = full.full(0, Silent(), plan=plan, drawn=2, steps=2, target=0, rate=0.2)
    assert found["p10.trained"] == pytest.approx(2 / (2 + int((images.of_split("train").labels == 0).sum())))
    for name in ("clean", "p10"):
        assert {len(found[f"{name}.{key}"].values) for key in ("trigger", "g1", "g2", "recognised")} == {2}
    assert {"judge.content", "judge.clean", "judge.stamped"} <= set(found)


def test_full_images_are_stamped_where_they_were_chosen():
    images = WORLD.model_copy(update={"shapes": ("star", "ring"), "count": 20}).images(split="train")
    hit = np.arange(20) % 3 == 0
    patch = published_patch(32)
    clean = torch.cat(list(full.squares(images, 32, patch, np.zeros(20, dtype=bool))))
    found = torch.cat(list(full.squares(images, 32, patch, hit)))
    rows = torch.from_numpy(hit)
    assert torch.equal(found[~rows], clean[~rows])
    assert torch.equal(found[rows], patch.stamp(clean[rows]).images)
