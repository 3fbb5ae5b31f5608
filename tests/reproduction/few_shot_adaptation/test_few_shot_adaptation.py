"""The experiment's parts: classes that the generator never saw, arms of one recipe, figures of every claim."""

import os

import pytest
import torch

from snellen.core.errors import InputError
from snellen.core.progress import Silent
from snellen.core.system import find_system
from snellen.data.files.joining import join
from snellen.data.worlds.optotypes.small_world import SHAPES, WORLD
from snellen.models.diffusion.smoke import write_smoke_folder
from snellen.models.random_folders import write_random_clip
from snellen.reproduction.few_shot_adaptation import experiment, full
from snellen.reproduction.few_shot_adaptation.experiment import KNOWN, NEW, few_shot_adaptation, world
from snellen.reproduction.sample import Sample
from snellen.systems.few_shot_adaptation.adapting import AdapterFit


@pytest.fixture(scope="module")
def run():
    plans = []
    plain = experiment.adapt_towers

    def watched(network, examples, flags, **options):
        plans.append((options["plan"], len(examples), bool(flags.any()), bool((~flags).any())))
        return plain(network, examples, flags, **options)

    experiment.adapt_towers = watched
    try:
        return few_shot_adaptation("smoke", 0, Silent()), plans
    finally:
        experiment.adapt_towers = plain


def test_four_classes_are_new_to_the_generator_and_two_are_not():
    assert not set(NEW) & set(SHAPES)
    assert set(KNOWN) <= set(SHAPES)
    assert set(world("train", 3, 0).class_names) == {*NEW, *KNOWN}


@pytest.mark.covers("8.10")
@pytest.mark.covers("8.11")
def test_every_training_set_has_the_same_recipe_and_is_reported_by_itself(run):
    figures, plans = run
    assert len({(plan.model_dump_json(), count) for plan, count, _, _ in plans}) == 1, "as many updates, one recipe"
    made = ("unadapted", "varied", "variation", "class", "set")
    for name in ("zero_shot", "real", *made, *(f"{one}_real" for one in made)):
        assert isinstance(figures[f"{name}.accuracy"], Sample)
        assert len(figures[f"{name}.accuracy"].values) == 18, "paired, image by image"
    kinds = {(synthetic, real) for _, _, synthetic, real in plans}
    assert kinds == {(True, False), (False, True), (True, True)}


def test_a_smoke_run_has_every_figure_of_every_claim(run):
    figures, _ = run
    system = find_system("few_shot_adaptation")
    wanted = {gate.metric for gate in system.gates}
    for claim in system.claims:
        wanted |= {claim.metric, *claim.controls} | ({claim.baseline} if claim.baseline else set())
    assert wanted <= set(figures)


def test_the_full_scale_runs_on_the_classes_of_the_paper(tmp_path, monkeypatch):
    for name in [name for name in os.environ if name.startswith("SNELLEN_FEW_SHOT")]:
        monkeypatch.delenv(name)
    with pytest.raises(InputError, match="needs SNELLEN_FEW_SHOT_DATA, SNELLEN_FEW_SHOT_GENERATOR"):
        few_shot_adaptation("full", 0, Silent())
    monkeypatch.setenv(full.DATA, "mine")
    monkeypatch.setenv(full.GENERATOR, f"diffusers:{write_smoke_folder('stable-diffusion-2.1', tmp_path / 'sd')}")
    monkeypatch.setenv(full.TOWER, f"hf:{write_random_clip(tmp_path / 'clip')}")
    monkeypatch.setenv(full.FOLDER, str(tmp_path / "out"))
    two = WORLD.model_copy(update={"shapes": ("star", "ring"), "count": 8})
    images = join([two.images(split=split) for split in ("train", "val", "test")])
    monkeypatch.setattr(full, "load_images", lambda _: images)
    fit = AdapterFit(rank=2, alpha=2, most_steps=1, batch_size=1, crops=1, check_every=0)
    found = full.full(0, Silent(), fit=fit, shots=1, count=1, steps=2, plan={"epochs": 1})
    made = ("unadapted", "variation", "class", "set")
    assert {name for name in found if name.endswith("accuracy")} == {
        f"{name}.accuracy" for name in ("zero_shot", "real", *made, *(f"{one}_real" for one in made))
    }
    assert {name for name in found if name.endswith("copies")} == {f"{name}.copies" for name in made}
    assert len(found["class_real.accuracy"].values) == 8, "test images alone"
    assert torch.isfinite(torch.tensor(found["class.accuracy"].values)).all()
