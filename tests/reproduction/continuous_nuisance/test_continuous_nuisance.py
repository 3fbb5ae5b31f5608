"""The experiment of system 2: its figures, from readings and answers that are known, and one run of all stages."""

import re
from dataclasses import replace

import numpy as np
import pytest
import torch

from snellen.core.preprocessing import to_unit
from snellen.core.progress import Silent
from snellen.core.system import find_system
from snellen.data.worlds.optotypes.rendering import render
from snellen.data.worlds.optotypes.scene import Nuisances, Scene, SceneObject
from snellen.data.worlds.optotypes.small_world import SHAPES
from snellen.models.classifiers.factor_judge import load_judge
from snellen.reproduction.continuous_nuisance.answers import of_classifiers
from snellen.reproduction.continuous_nuisance.classifiers import ARMS, CLEAR, drawn, shifted
from snellen.reproduction.continuous_nuisance.experiment import _filtered, _Seen, continuous_nuisance
from snellen.reproduction.continuous_nuisance.oracle import Reading, read
from snellen.reproduction.continuous_nuisance.scales import SHIFTS, SMALL
from snellen.reproduction.sample import mean_of
from snellen.systems.continuous_nuisance.filtering import SCORES
from tests.systems.continuous_nuisance.answers import evidence_of

pytest.importorskip("diffusers")
pytest.importorskip("peft")


def trajectory(shape, **changes):
    """A scene under values of one factor, as an image of each."""
    (name, values), scenes = next(iter(changes.items())), []
    for value in values:
        thing = SceneObject(shape=shape, colour="red", texture=value if name == "texture" else "plain", x=0.1, y=-0.2)
        nuisances = Nuisances(**{name: value}) if name in ("fog", "blur") else Nuisances()
        background = value if name == "background" else "grass"
        scenes.append(Scene(objects=(thing,), background=background, nuisances=nuisances, seed=3))
    return to_unit(render(scenes, 32).pixels)[None]


def test_the_judge_reads_every_shift_of_scenes_that_are_drawn():
    judge = load_judge()
    drawn_under = {
        "fog": {"fog": (0.0, 1.5, 3.0)},
        "blur": {"blur": (0.0, 1.5, 3.0)},
        "stripes": {"texture": ("plain", "striped")},
        "bricks": {"background": ("grass", "brick")},
    }
    assert set(drawn_under) == set(SHIFTS)
    for name, changes in drawn_under.items():
        strengths = tuple(range(len(next(iter(changes.values())))))
        found = read(judge, trajectory("star", **changes), SHIFTS[name], ["star"])
        assert (found.spearman(strengths), found.rising()) == (1.0, 1.0), name
        assert found.right[:, 0].all()
        assert not read(judge, trajectory("star", **changes), SHIFTS[name], ["ring"]).right.any()
        assert found.places[0, 0] == pytest.approx([0.1, -0.2], abs=0.1)


def test_rates_of_the_filter_come_from_other_trajectories_than_they_are_measured_on():
    def seen(*rows):
        """One trajectory for each row of class scores; an image below 0.5 shows another class."""
        scores = np.array(rows)
        # Of four scores one tells nothing, three tell all: the single score is the one that does not.
        blind = np.linspace(0, 1, scores.size).reshape(scores.shape)
        found = {name: scores if name != "class" else blind for name in SCORES}
        return _Seen(Reading(scores, scores > 0.5, np.zeros((*scores.shape, 2))), found)

    labelled = {"fog": seen([0.9, 0.2], [0.8, 0.1])}
    test = {"fog": seen([0.9, 0.1], [0.9, 0.8], [0.9, 0.9], [0.7, 0.3])}
    kept, found = _filtered(labelled, test, replace(SMALL, strengths=(0.0, 2.5)))
    assert kept["fog"].trajectories.tolist() == [False, True, True, True]  # 0.3 exceeds the threshold of 0.2
    assert (found["filter.true_positives"], found["filter.false_positives"]) == (1.0, 0.5)
    assert found["single.true_positives"] == 1.0
    assert found["single.false_positives"] == 1.0  # to keep the first image it must keep them all
    assert (found["filter.kept"], found["filter.least_kept"]) == (0.75, 0.75)
    assert found["filter.wrong_before"].mean == 0.5
    assert found["filter.wrong_after"].values == (0.0, 0.0, 1.0)
    nothing = {"fog": seen([0.0, 0.0], [0.1, 0.1])}
    assert _filtered(labelled, nothing, replace(SMALL, strengths=(0.0, 2.5)))[1]["filter.wrong_after"] is None


def test_a_shift_of_which_hardly_anything_is_kept_is_seen_beside_the_others():
    right = np.ones((4, 2), dtype=bool)

    def seen(kept):
        scores = np.where(np.arange(4)[:, None] < kept, 0.9, 0.1) * np.ones((4, 2))
        return _Seen(Reading(scores, right, np.zeros((4, 2, 2))), dict.fromkeys(SCORES, scores))

    labelled = {"fog": _Seen(Reading(right * 1.0, np.array([[True, False]]), np.zeros((1, 2, 2))), dict.fromkeys(
        SCORES, np.array([[0.9, 0.5]])
    ))}  # fmt: skip
    found = _filtered(labelled, {"fog": seen(1), "blur": seen(4)}, replace(SMALL, strengths=(0.0, 5.0)))[1]
    assert (found["filter.fog.kept"], found["filter.blur.kept"]) == (0.25, 1.0)
    assert (found["filter.kept"], found["filter.least_kept"]) == (0.625, 0.25)


def test_the_record_goes_to_strength_5_and_pools_at_least_a_thousand_trajectories_under_each_shift():
    assert SMALL.strengths[-1] == 5.0
    assert SMALL.labelled[: len(SMALL.strengths)] == SMALL.strengths
    assert SMALL.labelled[-1] == 10.0
    assert SMALL.objects * len(SHAPES) * find_system("2").budget.seeds >= 1000


def test_classifiers_differ_in_family_or_in_shifts_alone():
    assert [ARMS[name] for name in ("plain", "plain_augmented")] == [("plain", False), ("plain", True)]
    assert len({family for family, _ in ARMS.values()}) == 3
    (clear, names), (known, same) = (drawn(40, 0, augmented=augmented) for augmented in (False, True))
    assert torch.equal(names, same)
    apart = (clear != known).flatten(1).any(1)
    assert apart.tolist() == [row % 2 == 1 for row in range(40)]
    scenes = CLEAR.model_copy(update={"count": 40}).scenes("train")
    values = [{scene.objects[0].texture, scene.background} & {"striped", "brick"} for scene in shifted(scenes, 0)]
    assert [len(one) for one in values] == [row % 2 for row in range(40)], "one value, in every second scene"
    assert set.union(*values) == {"striped", "brick"}


@pytest.fixture(scope="module")
def smoke():
    return continuous_nuisance("smoke", 100, Silent())


def test_every_figure_that_a_claim_names_is_measured(smoke):
    assert all(value is None or np.isfinite(mean_of(value)) for value in smoke.values())
    one_shift = {name.removeprefix("smoke.") for name in smoke}
    system = find_system("2")
    assert {gate.metric for gate in system.gates if "small" in gate.scales} <= one_shift
    for claim in system.claims:
        if claim.scales == ("full",):
            continue
        for name in (claim.metric, claim.baseline, *claim.controls):
            # The smoke run has one shift; the figures of the others are called alike.
            alike = "" if name is None else re.sub(r"\b(blur|stripes|bricks)\b", "fog", name)
            assert name is None or alike in one_shift, name


@pytest.mark.covers("2.1", "2.2", "2.17")
def test_strength_0_and_the_gate_are_exact_also_in_the_experiment(smoke):
    assert smoke["smoke.neutral.difference"] == 0.0
    assert smoke["smoke.gate.difference"] == 0.0
    assert smoke["smoke.gate.opened"] > 0.0
    assert smoke["smoke.alone.difference"] < 0.02
    assert smoke["smoke.cost.rows"] < 1.0


def test_losses_are_paired_and_what_is_not_measured_is_missing():
    right = {"plain": [[1, 1, 0], [1, 0, 0]], "plain_augmented": [[1, 1, 1], [0, 0, 0]]}
    evidence = evidence_of({"fog": right}, (0.0, 1.0, 2.0))
    found = of_classifiers(
        evidence,
        ["fog", "bricks"],
        ["fog"],
        list(right),
        (0.0, 1.0, 2.0),
        reference="plain",
        group=("known", ["fog"]),
    )
    assert found["known.loss.plain"].values == (0.5, 1.0)
    # Never failing counts one step beyond the grid, whatever grid it is.
    assert (found["fog.plain.failure"], found["fog.plain_augmented.failure"]) == (1.5, 1.5)
    assert found["known.loss.plain_augmented"].values == (0.0, 0.0)
    assert found["known.rce.plain_augmented"] == 0.0
    assert found["bricks.plain.drop"] is found["bricks.plain_augmented.failure"] is None
    nothing = of_classifiers(
        evidence, ["fog"], [], list(right), (0.0, 1.0, 2.0), reference="plain", group=("known", ["fog"])
    )
    assert set(nothing.values()) == {None}, "no figure is 0 or 1 because nothing was measured"
