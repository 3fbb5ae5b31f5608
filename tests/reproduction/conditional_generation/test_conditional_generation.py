"""The experiment's parts: what the generator knows and the real images lack, and figures of every claim."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

import snellen
from snellen.core.errors import InputError
from snellen.core.progress import Silent
from snellen.core.system import find_system
from snellen.data.worlds.optotypes.small_world import BACKGROUNDS, SHAPES, TEXTURES
from snellen.models.diffusion.smoke import write_smoke_folder
from snellen.reproduction.conditional_generation import experiment, full
from snellen.reproduction.conditional_generation.experiment import conditional_generation
from snellen.reproduction.conditional_generation.finetuning import trained_on
from snellen.reproduction.conditional_generation.materials import ALIKE, LOOKS, SHIFTS, UNKNOWN, scenes, shifts
from snellen.reproduction.sample import Sample
from snellen.systems.conditional_generation.reading import IN_DISTRIBUTION
from snellen.systems.conditional_generation.study import PUBLISHED


@pytest.fixture(scope="module")
def figures():
    return conditional_generation("smoke", 0, Silent())


def looks(images):
    """Textures, backgrounds and styles that occur in the attributes of a set."""
    texts = " ".join(map(str, images.column("attributes"))).replace(" ", "")
    return {name for name in (*TEXTURES, *BACKGROUNDS, "water", "night", "line") if f'"{name}"' in texts}


def test_real_images_have_one_look_and_each_shift_another_one():
    sets = shifts(4)
    assert list(sets) == [IN_DISTRIBUTION, *SHIFTS, UNKNOWN]
    real = scenes("train", 4, seed=0)
    assert looks(real) == looks(sets[IN_DISTRIBUTION]) == {"plain", "grey"}
    assert looks(sets["backgrounds"]) <= {"plain", "grass", "sand", "brick"}
    assert "grey" not in looks(sets["backgrounds"])
    assert looks(sets["textures"]) <= {"grey", "striped", "dotted"}
    assert "plain" not in looks(sets["textures"])
    assert "line" in looks(sets[UNKNOWN])
    for one in (real, *sets.values()):
        assert one.class_names == SHAPES
        assert np.bincount(one.labels).tolist() == [4] * 6


def test_the_generator_reads_all_words_of_the_templates():
    generator = snellen.load_generator("bundled:scene-diffusion")
    assert len(set(LOOKS)) == 24
    prompts = [template.replace("{}", "star") for template in (*LOOKS, *ALIKE)]
    assert len(generator.encode_prompts(prompts)) == 26
    tokenizer = generator.text.towers[0].tokenizer
    known = {prompt: tokenizer.tokenize(prompt) for prompt in prompts}
    assert all(len(tokens) == len(prompt.split()) for prompt, tokens in known.items()), "a token for each word"


def test_a_smoke_run_has_every_figure_of_every_claim(figures):
    system = find_system("conditional_generation")
    wanted = {gate.metric for gate in system.gates}
    for claim in system.claims:
        wanted |= {claim.metric, *claim.controls} | ({claim.baseline} if claim.baseline else set())
    assert wanted <= set(figures)
    for name in ("matched", "real", "generated", "single", "alike", "finetuned", "augmix", "rand_augment"):
        assert isinstance(figures[f"{name}.shifted"], Sample)
        assert len(figures[f"{name}.shifted"].values) == 3 * 18, "all shifts that the generator knows, image by image"
        assert len(figures[f"{name}.in_distribution"].values) == 18


def test_training_a_generator_on_moves_its_weights_and_leaves_the_given_ones():
    generator = snellen.load_generator("bundled:scene-diffusion")
    before = {name: value.clone() for name, value in generator.denoiser.network.state_dict().items()}
    network = trained_on(generator, scenes("train", 2, seed=0), 2, Silent())
    assert all(torch.equal(value, before[name]) for name, value in generator.denoiser.network.state_dict().items())
    moved = [float((value - before[name]).abs().max()) for name, value in network.state_dict().items()]
    assert max(moved) > 0
    assert np.isfinite(moved).all()


def test_the_full_scale_says_what_it_takes(monkeypatch):
    for name in (full.DATA, full.GENERATOR, full.TUNED):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(InputError, match="needs SNELLEN_IMAGENET_100 and SNELLEN_STABLE_DIFFUSION and"):
        conditional_generation("full", 0, Silent())


@pytest.fixture
def at_full_scale(monkeypatch, tmp_path):
    """Manifests of three classes, and two Stable Diffusions 1.5 with random weights: classes and files of the real one.

    One of the shifted sets has two of the three classes.
    """
    data, classes = tmp_path / "data", ("ring", "star", "heart")
    counts = {full.TRAIN: 6, full.VALIDATION: 3, **{f"{name}.csv": 3 for name in full.SHIFTED}}
    for number, (name, count) in enumerate(counts.items()):
        (data / name[:-4]).mkdir(parents=True)
        rows, own = ["path,label"], classes[:2] if name == "objectnet.csv" else classes
        for row in range(count):
            path = f"{name[:-4]}/{row}.png"
            pixels = np.random.default_rng([number, row]).integers(0, 256, (40, 50, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(data / path)
            rows.append(f"{path},{own[row % len(own)]}")
        (data / name).write_text("\n".join(rows))
    monkeypatch.setenv(full.DATA, str(data))
    for seed, name in enumerate((full.GENERATOR, full.TUNED)):
        folder = write_smoke_folder("stable-diffusion-1.5", tmp_path / f"generator-{seed}", seed=seed)
        monkeypatch.setenv(name, str(folder))
    monkeypatch.setenv("SNELLEN_CACHE", str(tmp_path / "cache"))
    tiny = PUBLISHED.model_copy(update={"architecture": "timm:resnet10t", "side": 32, "amount": 1, "batch_size": 4})
    # Of the 80 templates, the smoke folder's tokenizer of a few words reads these.
    size = replace(
        full.full_size(), real=2, test=1, steps=1, students=tiny, diverse=("a {}", "the {}"), single=("a {}",)
    )
    monkeypatch.setattr(experiment, "full_size", lambda: size)


def test_the_full_experiment_runs_with_the_classes_of_the_real_generator(at_full_scale, figures):
    found = conditional_generation("full", 0, Silent())
    small = {"oracle", "alike", "drawings", "backgrounds", "textures", "weather"}
    assert {name for name in figures if not set(name.split(".")) & small} <= set(found)
    assert len(found["matched.shifted"].values) == 3 * 3 + 2, "three sets of three classes, and one of two"
    assert found["gain.unknown"] is None


def test_claims_that_need_a_planted_gap_are_not_made_at_full_scale():
    left_out = {claim.id for claim in find_system("conditional_generation").claims if "full" not in claim.scales}
    assert left_out == {"6.i", "6.k", "6.l"}


def test_the_judge_of_generated_images_learns_from_many_real_ones_of_all_looks(monkeypatch):
    trained, real = [], experiment.train_student
    monkeypatch.setattr(
        experiment, "train_student", lambda store, *rest: trained.append((store, rest[-1])) or real(store, *rest)
    )
    with experiment.small_material(experiment.SMOKE, Silent()) as material:
        found = experiment.Experiment(material, experiment.SMOKE, 0)._recognised()
        ((store, name),) = trained
        assert name == "judge"
        plan = experiment.SMOKE.students
        assert torch.equal(store.images, experiment.store_of(material.judging, plan).images)
        assert not torch.equal(store.images, experiment.store_of(material.real, plan).images)
        looks = [one for one in material.tests if one not in ("in distribution", "drawings")]
        assert len(found["judge.accuracy"].values) == sum(len(material.tests[one]) for one in looks)
