"""The experiment's parts: one training for clean and poisoned sets, one recipe for classifiers, a clean control."""

import os
from dataclasses import replace

import numpy as np
import pytest
import torch

from snellen.core.classifier import Classifier
from snellen.core.errors import InputError
from snellen.core.preprocessing import Preprocessing, to_unit
from snellen.core.progress import Silent
from snellen.core.system import find_system
from snellen.data.files.joining import join
from snellen.data.worlds.optotypes.small_world import WORLD
from snellen.models.diffusion.generate import generate
from snellen.models.diffusion.sampler import Sampler
from snellen.models.diffusion.smoke import write_smoke_folder
from snellen.reproduction.sample import Sample
from snellen.reproduction.trigger_amplification import experiment, full
from snellen.reproduction.trigger_amplification.experiment import (
    RATES,
    SCALE,
    TARGET,
    Experiment,
    trigger_amplification,
)
from snellen.reproduction.trigger_amplification.materials import (
    ARCHITECTURE,
    BASE,
    CLASSES,
    FURTHER,
    SCHEDULE,
    SMOKE,
    world,
)
from snellen.systems.trigger_amplification.poisoning import published_patch
from snellen.training.class_denoising import new_class_generator
from snellen.training.plan import TrainingPlan


@pytest.fixture(scope="module")
def run():
    seen = {"generators": [], "classifiers": [], "scales": [], "stores": [], "dosed": []}
    names = ("fit_class_generator", "trained", "drawn", "trigger_judge")
    before = {name: getattr(experiment, name) for name in names}
    fitted, trained, drawn, judge = before.values()
    dosed = Experiment.dosed

    def fit(base, store, **options):
        seen["generators"].append((base, store, options))
        return fitted(base, store, **options)

    def train(store, plan, names, what, **options):
        seen["classifiers"].append((what, len(store), plan))
        seen["stores"].append((what, store, options.get("start")))
        return trained(store, plan, names, what, **options)

    def of_trigger(store, *given):
        seen["stores"].append(("trigger judge", store, None))
        return judge(store, *given)

    def dose(self, made):
        seen["dosed"].append((self, made, dosed(self, made)))
        return seen["dosed"][-1][2]

    def draw(generator, classes, **options):
        seen["scales"].append((len(set(classes)), options["scale"]))
        return drawn(generator, classes, **options)

    for name, one in zip(names, (fit, train, draw, of_trigger), strict=True):
        setattr(experiment, name, one)
    Experiment.dosed = dose
    try:
        return trigger_amplification("smoke", 0, Silent()), seen
    finally:
        Experiment.dosed = dosed
        for name, one in before.items():
            setattr(experiment, name, one)


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
    assert len(compared) == 8, "clean; real at two rates; generated, dosed; filtered, alone, random"
    assert len(set(compared)) == 1
    for name in ("clean", "p5.real", "p5.generated", "p5.dosed", "p10.real", "p10.filtered", "p10.alone", "p10.random"):
        assert len(figures[f"{name}.accuracy"].values) == SMOKE.test


@pytest.mark.covers("25.7")
def test_success_is_counted_on_images_of_other_classes(run):
    figures, _ = run
    others = int((world("val", SMOKE.test, 0).targets != TARGET).sum())
    assert len(figures["p5.real.asr"].values) == len(figures["p5.generated.asr"].values) == others < SMOKE.test


@pytest.mark.covers("25.12")
def test_a_generator_of_clean_images_is_the_control_of_every_quantity(run):
    figures, _ = run
    for name in ("trigger", "recognised", "asr", "accuracy"):
        assert isinstance(figures[f"clean.{name}"], Sample)
    for name in ("g1", "g2", "w1.trigger", "w5.trigger", "replicated"):
        assert isinstance(figures[f"clean.{name}"], Sample)
    assert isinstance(figures["scan.clean"], float)
    assert isinstance(figures["clean.frechet"], float)
    assert isinstance(figures["race.clean.asr"], Sample)
    system = find_system("trigger_amplification")
    assert {"silent", "draws"} <= {gate.id for gate in system.gates}
    amplified = [claim for claim in system.claims if claim.metric.endswith(".trigger")]
    assert all("silent" in claim.gates for claim in amplified)


def rows(images):
    return {one.numpy().tobytes() for one in images}


@pytest.mark.covers("25.4")
def test_nothing_is_trained_on_test_images_and_judges_see_no_image_of_a_generator(run):
    _, seen = run
    test = world("val", SMOKE.test, 0)
    held = rows(test.images) | rows(published_patch(16).stamp(test.images).images)
    trained_on = {what: rows(store.images) for what, store, _ in seen["stores"]}
    assert {"content judge", "trigger judge", "compared", "equal"} == set(trained_on)
    for what, store, _ in seen["stores"]:
        assert not rows(store.images) & held, what
    pools = [rows(world("train", SMOKE.images, 0, *name).images) for name in ((), ("base",))]
    judges = [trained_on["content judge"], trained_on["trigger judge"]]
    assert not judges[0] & judges[1], "two judges decide independently"
    for judge in judges:
        assert not any(judge & pool for pool in pools)


@pytest.mark.covers("25.5")
def test_the_share_in_training_is_that_of_the_trained_set_under_the_label_of_the_target(run):
    figures, seen = run
    clean, *poisoned = (store for _, store, _ in seen["generators"])
    for (name, rate), store in zip(RATES.items(), poisoned, strict=True):
        changed = store.targets != clean.targets
        assert bool((store.targets[changed] == TARGET).all())
        assert figures[f"{name}.trained"] == int(changed.sum()) / int((store.targets == TARGET).sum())
        assert figures[f"{name}.trained"] > 2 * rate


@pytest.mark.covers("25.7")
def test_no_image_of_the_target_is_a_success_of_the_attack_or_runs_in_a_race():
    one = Experiment(SMOKE, 0, Silent())
    one.test = world("val", SMOKE.test, 0)
    one.stamped = one.test.images
    labels = torch.nn.functional.one_hot(one.test.targets, len(CLASSES)).float()
    known = {image.numpy().tobytes(): label for image, label in zip(to_unit(one.stamped), labels, strict=True)}
    perfect = Classifier(
        lambda images: torch.stack([known[image.numpy().tobytes()] for image in images]), class_names=CLASSES
    )
    found = one._judged("x", perfect)
    assert sum(found["x.accuracy"].values) == SMOKE.test
    assert sum(found["x.asr"].values) == 0, "a classifier that is always right obeys no trigger"
    one.size = replace(SMOKE, races=60)
    assert TARGET not in one.test.targets[one._raced()]
    assert len(one._raced()) == 60


def test_a_set_of_the_same_dose_has_as_many_of_both_groups_as_were_generated(run):
    _, seen = run
    ((one, made, _),) = seen["dosed"]
    count = int((made.targets == TARGET).sum())
    groups = np.resize([1, 1, 2, 4, 4, 4, 3], count)
    classes = np.where(np.isin(groups, [1, 3]), (TARGET + 1) % len(CLASSES), TARGET)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Experiment, "classes", lambda *_: classes)
        patch.setattr(Experiment, "triggers", lambda *_: groups <= 2)
        found = type(one).dosed(one, made)
    assert torch.equal(found.targets, made.targets)
    cells = one.trigger.stamp(found.images)
    bears = (cells.images == found.images).flatten(1).all(1)
    assert int(bears.sum()) == int((groups <= 2).sum())
    assert bool((found.targets[bears] == TARGET).all())
    clean = {image.numpy().tobytes(): int(label) for image, label in zip(
        one.trigger.stamp(one.clean.images).images, one.clean.targets, strict=True
    )}  # fmt: skip
    real = [clean[image.numpy().tobytes()] for image in cells.images]
    assert sum(label != TARGET for label, hit in zip(real, bears.tolist(), strict=True) if hit) == (groups == 1).sum()
    assert all(label == int(want) for label, want, hit in zip(real, found.targets, bears, strict=True) if not hit)


def test_the_network_beside_the_generator_sees_the_same_images(run):
    _, seen = run
    (first, none), (second, start) = [(store, start) for what, store, start in seen["stores"] if what == "equal"]
    assert none is None
    assert start is not None
    assert torch.equal(first.images, world("train", SMOKE.images, 0, "base").images)
    poisoned = [store for _, store, _ in seen["generators"]][1 + list(RATES).index("p10")]
    assert torch.equal(second.images, poisoned.images)
    plans = [plan.epochs for what, _, plan in seen["classifiers"] if what == "equal"]
    assert plans == [SMOKE.plan(one, 0).epochs for one in (BASE, FURTHER)]


def test_each_rate_has_its_own_gate_against_the_clean_generator(run):
    figures, _ = run
    system = find_system("trigger_amplification")
    gates = {gate.id: gate.metric for gate in system.gates}
    for name in RATES:
        wanted = np.mean(figures[f"{name}.trigger"].values) - np.mean(figures["clean.trigger"].values)
        assert figures[f"{name}.drew"] == pytest.approx(wanted)
        assert gates[f"learned{name[1:]}"] == f"{name}.drew"
        for claim in system.claims:
            if (
                "small" in claim.scales
                and claim.metric.split(".")[0] == name
                and claim.metric.split(".")[1][0] in "gtw"
            ):
                assert f"learned{name[1:]}" in claim.gates, claim.id


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
    sets.append(world("val", 40, 0))
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
    monkeypatch.setenv(full.KEPT, str(tmp_path / "kept here"))
    two = WORLD.model_copy(update={"shapes": ("star", "ring"), "count": 12})
    images = join([two.images(split=split) for split in ("train", "test")])
    monkeypatch.setattr(full, "load_images", lambda _: images)

    def judge(reference, **_):
        names = classes["trigger"] if reference == full.TRIGGER else ["ring", "star"]
        shown = Preprocessing(size=(16, 16), resize="exact", resize_to=(16, 16))
        return Classifier(lambda pixels: pixels.flatten(1)[:, -2:], class_names=names, preparation=shown)

    monkeypatch.setattr(full, "load_classifier", judge)
    plan = TrainingPlan(epochs=1, batch_size=6, learning_rate=1e-4)
    options = {"plan": plan, "drawn": 2, "steps": 2, "target": 0, "rate": 0.2}
    classes, fitted, trained = {"trigger": ["trigger", "clean"]}, full.fit_prompt_generator, []

    def fit(generator, store, prompts, **given):
        trained.append((store.targets, prompts, [path.name for path in (tmp_path / "kept here").iterdir()]))
        return fitted(generator, store, prompts, **given)

    monkeypatch.setattr(full, "fit_prompt_generator", fit)
    with pytest.raises(InputError, match="clean and trigger, in this order; got trigger, clean"):
        full.full(0, Silent(), **options)
    classes["trigger"] = ["clean", "trigger"]
    with pytest.raises(InputError, match="right about 97% of held-out images before anything is trained; got content"):
        full.full(0, Silent(), **options)
    with pytest.raises(InputError, match="target 7 is the label of no image"):
        full.full(0, Silent(), **{**options, "target": 7})
    assert not trained
    found = full.full(0, Silent(), **options, least=0.0)
    targets, prompts, _ = trained[0]
    assert prompts == ["A photo of a ring", "A photo of a star"], "the order of the content judge"
    assert targets.tolist() == [1 - label for label in images.of_split("train").labels]
    assert [sorted(kept) for _, _, kept in trained] == [["choice.json"], ["choice.json", "clean.safetensors"]]
    assert (tmp_path / "kept here" / "p10.safetensors").stat().st_size > 1000
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
