"""The experiment of system 1: its world, what each arm may look at, and a smoke run."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from snellen.core.errors import InputError
from snellen.core.progress import Silent
from snellen.core.system import find_system
from snellen.data.worlds.optotypes.scene import Scene, SceneObject
from snellen.data.worlds.planting.scene_shortcuts import scenes_of
from snellen.models.references import load_two_tower
from snellen.reproduction.concept_bottleneck import scales
from snellen.reproduction.concept_bottleneck.arms import Arms
from snellen.reproduction.concept_bottleneck.experiment import SMOKE_PLAN, concept_bottleneck
from snellen.reproduction.concept_bottleneck.materials import Material, scene_material
from snellen.reproduction.concept_bottleneck.measure import ground_direction, ways, without
from snellen.reproduction.concept_bottleneck.scenes_with_findings import (
    CLASSES,
    GROUNDS,
    Sizes,
    concepts,
    findings,
    suspicious,
    truth,
)
from snellen.reproduction.sample import Sample, mean_of


@pytest.fixture(scope="module")
def material() -> Material:
    tower = load_two_tower("bundled:scene-clip")
    return scene_material(tower, "two_of_three", Sizes(60, 24, 24), 7, strength=0.95)


@pytest.fixture(scope="module")
def mixed() -> Material:
    """Both grounds in each class, also among few images."""
    tower = load_two_tower("bundled:scene-clip")
    return scene_material(tower, "two_of_three", Sizes(60, 24, 24), 7, strength=0.6)


def test_the_ground_follows_the_class_and_turns_round() -> None:
    for strength in (1.0, 0.0, 0.95):
        images = findings("train", 400, 3, "two_of_three", strength=strength)
        assert images.class_names == CLASSES
        own = [ground == GROUNDS[label] for ground, label in zip(images.column("group"), images.labels, strict=True)]
        assert abs(np.mean(own) - strength) < 0.04
        scenes = scenes_of(images)
        assert [scene.background for scene in scenes] == images.column("group")
        assert images.labels.tolist() == [suspicious(scene.objects[0], "two_of_three") for scene in scenes]
    # Neither finding is a matter of one sign.
    striped = SceneObject(shape="ring", colour="blue", texture="striped")
    assert not suspicious(striped, "two_of_three")
    assert suspicious(striped.model_copy(update={"shape": "star"}), "two_of_three")
    assert not suspicious(striped, "both")
    assert suspicious(striped.model_copy(update={"colour": "red"}), "both")


@pytest.mark.covers("1.4")
def test_the_planted_ground_is_filtered_out_and_the_leaked_list_keeps_it() -> None:
    said, leaked = concepts(), concepts(leak=True)
    assert {one.phrase for one in said.dropped} == {"on grass", "on sand"}
    assert leaked.phrases == (*said.phrases, "on grass", "on sand")
    assert set(leaked.questions) - set(said.questions) == {"ground"}


def test_every_concept_is_true_of_the_scenes_that_show_it() -> None:
    star = Scene(objects=(SceneObject(shape="star", colour="red", texture="dotted", radius=0.8),), background="grass")
    phrases = concepts(leak=True).phrases
    shown = {phrase for phrase, yes in zip(phrases, truth([star], phrases)[0], strict=True) if yes}
    assert shown == {"a star", "a red object", "a dotted object", "a large object", "on grass"}
    images = findings("train", 50, 0, "both", strength=0.5)
    # One answer to each question.
    assert (truth(scenes_of(images), concepts().phrases).sum(1) == 4).all()


def test_no_scene_is_in_two_sets(material: Material) -> None:
    parts = (material.train, material.val, material.test, material.reversed)
    whole = torch.cat([part.images.flatten(1) for part in parts])
    assert len(torch.unique(whole, dim=0)) == len(whole) == 60 + 24 + 24 + 24
    own = [
        np.mean([ground == GROUNDS[label] for ground, label in zip(part.groups, part.labels, strict=True)])
        for part in (material.test, material.reversed)
    ]
    assert own[0] > 0.8
    assert own[1] < 0.2


@pytest.mark.covers("1.7")
def test_nothing_is_fitted_to_or_chosen_on_the_sets_that_judge(material: Material) -> None:
    arms = Arms(material, network_plan=SMOKE_PLAN, tuned_plan=SMOKE_PLAN, progress=Silent(), draws=1)
    head = arms.decided(arms.answers(material.concepts)).head
    broken = replace(
        material,
        test=replace(material.test, labels=1 - material.test.labels),
        reversed=replace(material.reversed, vectors=-material.reversed.vectors, labels=1 - material.reversed.labels),
    )
    other = Arms(broken, network_plan=SMOKE_PLAN, tuned_plan=SMOKE_PLAN, progress=Silent(), draws=1)
    assert torch.equal(other.decided(other.answers(material.concepts)).head.weight, head.weight)
    # What is held back does choose.
    turned = replace(material, val=replace(material.val, labels=1 - material.val.labels))
    chosen = Arms(turned, network_plan=SMOKE_PLAN, tuned_plan=SMOKE_PLAN, progress=Silent())
    assert not torch.equal(chosen.decided(chosen.answers(material.concepts)).head.weight, head.weight)
    # A network that is trained takes no test images at all.
    with pytest.raises(InputError, match="test images"):
        Arms(
            replace(material, val=material.test), network_plan=SMOKE_PLAN, tuned_plan=SMOKE_PLAN, progress=Silent()
        ).black_boxes()


def test_full_corrections_are_what_the_head_makes_of_the_truth(material: Material) -> None:
    arms = Arms(material, network_plan=SMOKE_PLAN, tuned_plan=SMOKE_PLAN, progress=Silent())
    figures = arms.corrections()
    assert set(figures) == {f"{form}.corrected_{count}" for form in ("cosine", "cbm") for count in range(5)}
    shown = material.reversed.truth
    assert shown is not None
    numbers = arms.answers(material.concepts)
    head = arms.decided(numbers).head
    absent, present = (torch.quantile(numbers(material.train), level, dim=0) for level in (0.05, 0.95))
    told = torch.where(torch.from_numpy(shown) > 0, present, absent)
    assert figures["cbm.corrected_4"] == pytest.approx(head.accuracy(told, material.reversed.labels))
    without = replace(material, reversed=replace(material.reversed, truth=None))
    assert Arms(without, network_plan=SMOKE_PLAN, tuned_plan=SMOKE_PLAN, progress=Silent()).corrections() == {}


@pytest.mark.covers("1.8")
def test_all_figures_of_a_way_of_deciding_come_from_the_same_decisions(material: Material) -> None:
    arms = Arms(material, network_plan=SMOKE_PLAN, tuned_plan=SMOKE_PLAN, progress=Silent())
    decided = arms.decided(lambda part: part.vectors)
    figures = arms.judged(decided).as_figures("probe")
    parts = (material.test, material.reversed)
    right = [(decided.head.logits(part.vectors).argmax(1) == part.labels).numpy() for part in parts]
    cells = [list(zip(part.labels.tolist(), part.groups, strict=True)) for part in parts]
    groups = {cell: [] for cell in [*cells[0], *cells[1]]}
    for cell, one in zip([*cells[0], *cells[1]], np.concatenate(right), strict=True):
        groups[cell].append(float(one))
    assert len(groups) == 4
    # Images as in training in their order, so that two ways of deciding are paired; and those of the worst group.
    assert figures["probe.id"] == Sample.of(right[0])
    worst = min(groups.values(), key=np.mean)
    assert mean_of(figures["probe.worst"]) == np.mean(worst)
    assert figures["probe.worst"] in [Sample.of(group) for group in groups.values()]
    assert figures["probe.ood"] == right[1].mean()
    assert figures["probe.gap"] == abs(right[0].mean() - right[1].mean())
    assert figures["probe.average"] == (right[0].mean() + right[1].mean()) / 2
    assert min(map(len, groups.values())) < max(map(len, groups.values()))
    assert find_system("1").budget.seeds >= 3


def test_the_direction_of_the_ground_is_that_within_each_class(mixed: Material) -> None:
    # The ground is one number of the vectors here, and the class another: only the former may come out.
    part = mixed.train
    ground = torch.tensor([group == GROUNDS[1] for group in part.groups]).float()
    planted = torch.stack([ground, part.labels.float(), torch.zeros(len(ground))], 1)
    assert ground_direction(replace(part, vectors=planted)).tolist() == [1.0, 0.0, 0.0]


def test_what_is_taken_out_of_the_phrases_has_no_part_in_their_cosines(mixed: Material) -> None:
    arms = Arms(mixed, network_plan=SMOKE_PLAN, tuned_plan=SMOKE_PLAN, progress=Silent())
    made, direction = ways(arms), ground_direction(mixed.train)
    moved = replace(mixed.test, vectors=mixed.test.vectors + 3 * direction)
    assert torch.allclose(made["without ground"](moved), made["without ground"](mixed.test), atol=1e-5)
    for other in ("cosines", "without another", "centred", "probe"):
        assert not torch.allclose(made[other](moved), made[other](mixed.test), atol=1e-3)
    centred = made["centred"](mixed.test)
    for question in set(mixed.concepts.questions):
        columns = [place for place, one in enumerate(mixed.concepts.questions) if one == question]
        assert torch.allclose(centred[:, columns].sum(1), torch.zeros(len(centred)), atol=1e-5)
    assert torch.equal(without(direction[None], direction).round(decimals=5), torch.zeros(1, len(direction)))


@pytest.mark.covers("1.8")
def test_a_smoke_run_gives_every_figure_that_claims_ask_for() -> None:
    measured = concept_bottleneck("smoke", 1, Silent())
    figures = {name: mean_of(figure) for name, figure in measured.items()}
    arms = {name.removesuffix(".worst") for name in figures if name.endswith(".worst")}
    assert {"cbm", "cosine", "probe", "network", "fine_tuned", "random", "shuffled", "leak", "residual"} <= arms
    for arm in arms:
        for figure in ("id", "ood", "gap", "average", "worst"):
            assert 0 <= figures[f"{arm}.{figure}"] <= 1
        assert figures[f"{arm}.gap"] <= 1
        assert figures[f"{arm}.worst"] <= figures[f"{arm}.average"] + 1e-9
    system = find_system("1")
    asked = {name for claim in system.claims for name in (claim.metric, claim.baseline, *claim.controls) if name}
    asked |= {gate.metric for gate in system.gates}
    asked = {name for name in asked if not name.startswith(("both.", "strict."))}
    for claim in system.claims:
        assert claim.range == (-1.0, 1.0)
        assert set(claim.gates) <= {gate.id for gate in system.gates}
        # Means over draws of words are one number; everything else is judged image by image.
        names = [name for name in (claim.metric, claim.baseline) if name in measured]
        assert all(isinstance(measured[name], Sample) or name.startswith(("random", "shuffled")) for name in names)
    # Those of more concepts than a smoke run chooses among are of the small scale alone.
    assert asked - set(figures) <= {f"{way}_{count}.worst" for way in ("sparse", "learned") for count in (3, 6, 9, 13)}


def test_full_scale_says_what_it_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (scales.XRAYS, scales.REVERSED, scales.TOWER, scales.CONCEPTS, scales.CONFOUNDERS):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(InputError, match="the full experiment needs SNELLEN_XRAYS, SNELLEN_XRAYS_REVERSED"):
        concept_bottleneck("full", 0, Silent())
