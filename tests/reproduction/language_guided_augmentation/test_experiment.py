"""The experiment's parts: what is planted and what is not, every figure of every claim, and the full run's parts."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

import snellen
from snellen.core.errors import InputError
from snellen.core.progress import Silent
from snellen.core.system import find_system
from snellen.methods.synthesis.manifest_rows import Source
from snellen.reproduction.language_guided_augmentation import full as module
from snellen.reproduction.language_guided_augmentation.experiment import (
    GENERATED,
    SMALL,
    SMOKE,
    Experiment,
    language_guided_augmentation,
    pairs,
    world,
)
from snellen.reproduction.language_guided_augmentation.full import full
from snellen.reproduction.sample import Sample
from snellen.systems.language_guided_augmentation.augmenting import Looked
from snellen.systems.language_guided_augmentation.discovery import EditRow
from snellen.systems.language_guided_augmentation.examining import Examined
from snellen.systems.language_guided_augmentation.flips import Lean
from snellen.systems.language_guided_augmentation.personalising import SMALL as SMALL_TOKENS
from snellen.training.students import StudentPlan
from tests.models.detectors.small_detectors import owl


class Strict(Silent):
    """Fails, as a terminal does, where a task goes on that was not begun."""

    def __init__(self):
        self.begun = set()

    def begin(self, task, total):
        self.begun.add(task)

    def advance(self, task, amount, note=""):
        assert task in self.begun

    def finish(self, task):
        self.begun.remove(task)


@pytest.fixture(scope="module")
def figures():
    return language_guided_augmentation("smoke", 0, Strict())


def test_the_background_follows_the_class_and_the_circle_does_not():
    images = world("train", 200, 0.95, 0)
    assert images.class_names == ("star", "ring")
    groups = np.bincount(pairs(images), minlength=4)
    assert (groups[[0, 3]].sum() > 0.9 * 200) & (groups[[1, 2]].sum() > 0)
    records = [json.loads(str(one)) for one in images.column("attributes")]
    circles = np.array([
        next((one["colour"] for one in record["objects"] if one["shape"] == "circle"), "none") for record in records
    ])  # fmt: skip
    assert set(circles) == {"white", "purple", "none"}
    for label in (0, 1):
        own = circles[images.labels == label]
        assert 0.35 < (own == "none").mean() < 0.65, "as many without: its absence is no sign of a generated image"
        assert 0.15 < (own == "white").mean() < 0.35
    test = np.bincount(pairs(world("val", 400, 0.5, 7)), minlength=4) / 400
    assert (np.abs(test - 0.25) < 0.07).all()


def test_a_smoke_run_has_every_figure_of_every_claim(figures):
    system = find_system("language_guided_augmentation")
    wanted = {gate.metric for gate in system.gates}
    for claim in system.claims:
        if "small" in claim.scales:
            wanted |= {claim.metric, *claim.controls} | ({claim.baseline} if claim.baseline else set())
    assert wanted <= set(figures)
    assert len(figures["drawn"].values) == 4
    assert isinstance(figures["generated.conflicting"], Sample)


def test_the_worst_group_is_the_one_of_fewest_right_decisions(tmp_path):
    one = Experiment(SMOKE, 0, tmp_path, Silent())
    right = torch.ones(len(one.groups), dtype=torch.bool)
    right[one.groups == 2] = False
    found = one.judged("x", right)
    assert (found["x.worst"], found["x.mean"]) == (0.0, 0.75)
    assert found["x.conflicting"].mean == pytest.approx(float((one.groups == 1).sum() / (one.groups % 3 > 0).sum()))


def test_random_images_are_as_many_and_of_the_training_images(tmp_path, monkeypatch):
    from snellen.reproduction.language_guided_augmentation import experiment

    seen = []
    monkeypatch.setattr(experiment, "train_student", lambda store, *_: seen.append(store))
    one = Experiment(SMOKE, 0, tmp_path, Silent())
    one.student(one.train, again=7)
    (store,) = seen
    assert len(store) == len(one.train) + 7
    assert torch.equal(store.images[:-7], one.store(one.train).images)


def test_the_full_experiment_says_what_it_needs(monkeypatch):
    for name in (*module.NEEDED, *module.OPTIONAL):
        monkeypatch.delenv(f"SNELLEN_SHORTCUTS_{name}", raising=False)
    with pytest.raises(InputError, match=r"SNELLEN_SHORTCUTS_DATA, SNELLEN_SHORTCUTS_DETECTOR"):
        full(0, Silent())


def test_the_full_experiment_runs_with_small_parts(tmp_path, monkeypatch):
    """A detector of random weights finds anything; what its edits flip depends on chance, so all of them are kept."""
    for split, count, strength in (("train", 60, 1.0), ("test", 24, 0.5)):
        snellen.write_images(world(split, count, strength, 3), tmp_path / split)
    rows = []
    for split in ("train", "test"):
        head, *lines = (tmp_path / split / "manifest.csv").read_text().splitlines()
        rows += [line.replace("images/", f"{split}/images/", 1) for line in lines]
    (tmp_path / "all.csv").write_text("\n".join([head, *rows]) + "\n")
    given = {"DATA": tmp_path / "all.csv", "DETECTOR": f"hf:{owl(tmp_path / 'owl')}", "FOLDER": tmp_path / "out"}
    for name, value in {**given, "GENERATOR": "bundled:scene-diffusion"}.items():
        monkeypatch.setenv(f"SNELLEN_SHORTCUTS_{name}", str(value))
    students = StudentPlan(amount=40, batch_size=16, widths=(8, 16, 16))
    fit = SMALL_TOKENS.model_copy(update={"steps": 1, "batch_size": 2, "crops": 1})
    check = {"threshold": 0.0, "dilate": 1, "support": 1, "most": None}
    monkeypatch.setattr("snellen.systems.language_guided_augmentation.augmenting.FEWEST", 1)
    figures = full(0, Silent(), students=students, check=check, fit=fit, steps=1, count=2)
    claims = [one for one in find_system("language_guided_augmentation").claims if "full" in one.scales]
    for claim in claims:
        assert {claim.metric, claim.baseline, *claim.controls} <= set(figures)
    assert len(figures["generated.right"].values) == 24


def test_the_background_must_come_first_and_harmless_objects_behind_it(tmp_path):
    """The other class's background is neither: it is rare, and ranks anywhere."""
    one = Experiment(SMOKE, 0, tmp_path, Silent())

    def lean(label, phrase, flips, images=6):
        kind = ("object", phrase, None, "test")
        after = [1 - label if row < flips else label for row in range(images)]
        rows = [EditRow(f"{row}", label, *kind, after=decision, control=label) for row, decision in enumerate(after)]
        return Lean(label, phrase, tuple(rows))

    def figures(star, ring):
        found = Examined((), (), {0: star, 1: ring}, (), None)
        return one.discovered(Looked(one.train, found, {}))

    circle, other = lean(0, "white circle", 0), lean(0, "sand", 0)
    ring = [lean(1, "sand", 3), lean(1, "purple circle", 0)]
    good = figures([lean(0, "grass", 6), circle, other], ring)
    assert (good["first"], good["last"]) == (1.0, 1.0)
    assert (good["shortcut.beyond"].mean, good["harmless.beyond"].mean) == (9 / 12, 0.0)
    bad = figures([circle, lean(0, "grass", 6)], ring)
    assert (bad["first"], bad["last"]) == (0.5, 0.5)
    behind_other = figures([other, lean(0, "grass", 6), circle], ring)
    assert (behind_other["first"], behind_other["last"]) == (0.5, 1.0)
    alone = figures([lean(0, "grass", 6)], ring)
    assert (alone["first"], alone["last"]) == (1.0, None), "no harmless object was examined in one class"
    assert one.significant(Looked(one.train, Examined((), (), {0: [lean(0, "grass", 6)]}, (), None), {})) == 1.0
    assert one.significant(Looked(one.train, Examined((), (), {0: [lean(0, "grass", 2, 2)]}, (), None), {})) is None
    none = one.discovered(Looked(one.train, None, {}))
    assert one.significant(Looked(one.train, None, {})) is None
    assert set(none.values()) == {None}


def test_without_edits_what_depends_on_them_is_not_measured(tmp_path, monkeypatch):
    assert SMALL.stand_ins == 0, "raw images with the shortcut stand for edits in a smoke run alone"
    monkeypatch.setattr(Experiment, "both", lambda *_: pytest.fail("nothing is generated"))
    one = Experiment(replace(SMOKE, stand_ins=0), 0, tmp_path, Silent())
    monkeypatch.setattr(one, "looked", lambda _: Looked(one.train, None, {}))
    found = one.figures()
    for name in GENERATED:
        assert {found[f"{name}.{kind}"] for kind in ("worst", "mean", "conflicting")} == {None}
    assert {found[name] for name in ("drawn", "generated.off_ground", "erm.found", "oracle.found")} == {None}
    assert all(found[f"{name}.worst"] is not None for name in ("erm", "oracle", "group_dro", "jtt", "dfr"))


def test_images_from_names_differ_from_those_of_tokens_by_the_word_alone(tmp_path, monkeypatch):
    from snellen.reproduction.language_guided_augmentation import experiment

    calls, plain = [], experiment.generated
    monkeypatch.setattr(
        experiment,
        "generated",
        lambda method, rows, *rest: (calls.append((method, rows)), plain(method, rows, *rest))[1],
    )
    one = Experiment(SMOKE, 0, tmp_path, Silent())
    taught = Source.of_images(one.train.select(range(10)))
    made, named = one.both(taught, [])
    assert (len(made), len(named)) == (4, 4)
    (of_tokens, rows), (of_names, others) = calls
    assert [row["prompt"].replace("<", "").replace(">", "") for row in rows] == [row["prompt"] for row in others]
    assert [row["prompt"] for row in rows] != [row["prompt"] for row in others]
    assert [(row["seed"], row["label"]) for row in rows] == [(row["seed"], row["label"]) for row in others]
    same = ("generator", "guidance_scale", "steps", "solver", "templates")
    assert all(getattr(of_tokens, name) == getattr(of_names, name) for name in same)
    assert (of_names.adapter, of_tokens.guidance_scale) == (None, SMOKE.fit.guidance)


def test_a_judge_of_backgrounds_says_which_images_lack_the_shortcut(tmp_path):
    one = Experiment(replace(SMOKE, train=500, updates=150), 0, tmp_path, Silent())
    with_it, without = (one.bare(world("train", 60, strength, 30)) for strength in (1.0, 0.0))
    plain = one.bare(world("train", 60, 0.0, 31, ("grey", "brick")))
    found = one.grounds({"with": with_it, "without": without, "elsewhere": plain})
    assert found["probe.right"].mean > 0.85
    assert found["with.off_ground"].mean < 0.25
    assert min(found["without.off_ground"].mean, found["elsewhere.off_ground"].mean) > 0.75


def test_generated_images_are_a_group_of_their_own_and_edits_of_few_go_into_both(tmp_path):
    one = Experiment(SMOKE, 0, tmp_path, Silent())
    added = one.bare(world("train", 3, 1.0, 40), "made/")
    found = one.with_train(added, added.select([]))
    assert len(found) == SMOKE.train + 3
    assert found.column("group")[-3:] == ["generated"] * 3
    assert set(found.column("group")[:-3]) <= {"grass", "sand"}
