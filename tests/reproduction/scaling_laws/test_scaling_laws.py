"""The experiment's parts: what the generator never saw, nested sets of the world, and figures of every claim."""

from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from snellen.core.errors import InputError
from snellen.core.progress import Silent
from snellen.core.system import find_system
from snellen.data.worlds.optotypes.small_world import BACKGROUNDS, SHAPES
from snellen.models.diffusion.smoke import write_smoke_folder
from snellen.reproduction.sample import Sample
from snellen.reproduction.scaling_laws import experiment, full
from snellen.reproduction.scaling_laws.experiment import scaling_laws
from snellen.reproduction.scaling_laws.materials import UNKNOWN, shapes
from snellen.training import students
from snellen.training.parts import StreamedImages
from snellen.training.students import StudentPlan


@pytest.fixture(scope="module")
def figures():
    return scaling_laws("smoke", 0, Silent())


def test_the_world_has_as_many_of_each_class_and_of_two_that_the_generator_never_saw():
    images = shapes("train", 5)
    assert images.class_names == (*SHAPES, *UNKNOWN)
    assert not set(SHAPES) & set(UNKNOWN)
    assert np.bincount(images.labels).tolist() == [5] * 8
    assert shapes("train", 3).ids == images.ids[:24]
    for name, text in zip(
        (images.class_names[label] for label in images.labels), images.column("caption"), strict=True
    ):
        assert isinstance(text, str)
        assert text
        assert name in images.class_names


def test_the_shifted_test_set_shows_other_backgrounds():
    texts = " ".join(map(str, shapes("val", 5, shifted=True).column("attributes")))
    assert '"water"' in texts or '"night"' in texts
    assert not any(f'"background":"{name}"' in texts.replace(" ", "") for name in BACKGROUNDS)


def test_a_smoke_run_has_every_figure_of_every_claim(figures):
    system = find_system("scaling_laws")
    wanted = {gate.metric for gate in system.gates}
    for claim in system.claims:
        wanted |= {claim.metric, *claim.controls} | ({claim.baseline} if claim.baseline else set())
    assert wanted <= set(figures)
    for name in ("guided.loss", "captioned.loss", "oracle.loss", "few.mixed.loss", "few.augmented.loss"):
        assert isinstance(figures[name], Sample)
        assert len(figures[name].values) == len(figures["real.loss"].values) == 24, "paired, image by image"


def test_the_full_scale_says_what_it_takes(monkeypatch):
    for name in (full.DATA, full.GENERATOR):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(InputError, match="needs SNELLEN_IMAGENET_100 and SNELLEN_STABLE_DIFFUSION"):
        scaling_laws("full", 0, Silent())


@pytest.fixture
def at_full_scale(monkeypatch, tmp_path):
    """Manifests of two classes, and Stable Diffusion 1.5 with random weights: the classes and files of the real one."""
    data = tmp_path / "data"
    for name, count in ((full.TRAIN, 7), (full.VALIDATION, 3), (full.SHIFTED, 2)):
        (data / name[:-4]).mkdir(parents=True)
        rows = ["path,label,caption"]
        for number in range(2 * count):
            path = f"{name[:-4]}/{number}.png"
            pixels = np.random.default_rng(number).integers(0, 256, (40, 50, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(data / path)
            rows.append(f"{path},{('ring', 'star')[number % 2]},a picture of number {number}")
        (data / name).write_text("\n".join(rows))
    monkeypatch.setenv(full.DATA, str(data))
    monkeypatch.setenv(full.GENERATOR, str(write_smoke_folder("stable-diffusion-1.5", tmp_path / "generator")))
    monkeypatch.setenv("SNELLEN_CACHE", str(tmp_path / "cache"))
    tiny = StudentPlan(architecture="timm:test_vit", side=160, amount=1, batch_size=2)
    size = replace(full.full_size(), made=4, real=4, few=2, test=2, scorer_amount=1, steps=1, students=tiny)
    monkeypatch.setattr(experiment, "full_size", lambda: size)


def test_the_full_experiment_runs_with_the_classes_of_the_real_generator_and_streams_its_images(
    at_full_scale, monkeypatch, figures
):
    monkeypatch.setattr(students, "MOST_BYTES", 0)
    read, own = [], StreamedImages._pixels
    monkeypatch.setattr(StreamedImages, "_pixels", lambda self, row: read.append(row) or own(self, row))
    found = scaling_laws("full", 0, Silent())
    assert set(found) == set(figures)
    assert read
    assert len(found["guided.loss"].values) == len(found["shifted.gap"].values) == 4
    assert found["guided.unknown_recognised"] is None, "nobody knows beforehand what it cannot draw"


def test_every_claim_but_that_of_planted_gaps_is_made_at_full_scale():
    assert {claim.id for claim in find_system("scaling_laws").claims if "full" not in claim.scales} == {"14.d"}
