"""System 12: every stage runs in the shapes of the published networks, and a tiny study gives every figure."""

from __future__ import annotations

import dataclasses
import math

import pytest
import torch

from snellen.core.progress import Silent
from snellen.core.system import find_system
from snellen.reproduction.plug_and_play_guidance import experiment as module
from snellen.reproduction.plug_and_play_guidance.experiment import EVERY, SMALL, Sizes, plug_and_play, world_figures
from snellen.reproduction.plug_and_play_guidance.smoke import shape_figures
from snellen.reproduction.shared.guided_generation import setups as worlds
from snellen.reproduction.shared.guided_generation.seen_images import seen_scenes
from snellen.reproduction.shared.guided_generation.setups import small_scenes, thumbnails
from snellen.systems.plug_and_play_guidance.expert_fitting import TransferFit

TINY = TransferFit(experts=2, rank=1, alpha=1, synthetic=6, synthetic_steps=2, iterations=1, batch_size=6)


def tiny(world: str) -> Sizes:
    ways = SMALL[world].ways
    return Sizes(ways, TINY, labelled=6, images=10, tried=10, scales=(9.0,), steps=2)


@pytest.fixture(scope="module")
def setups():
    """Both worlds with few real images, and labelled images that need no installed data set."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(worlds, "REAL", 40)
        made = {"thumbnails": thumbnails(), "scenes": small_scenes()}
    seen = seen_scenes(6, 0)
    small = seen.images[:, :, :28, :28]
    labelled = {
        "thumbnails": lambda count, seed: dataclasses.replace(seen, images=small),
        "scenes": lambda count, seed: seen,
    }
    return {name: dataclasses.replace(setup, seen=labelled[name]) for name, setup in made.items()}


def named_by_claims() -> set[str]:
    claims = [claim for claim in find_system("12").claims if "small" in claim.scales]
    return {name for claim in claims for name in (claim.metric, claim.baseline, *claim.controls) if name}


@pytest.mark.covers("12.12")
def test_the_small_study_gives_every_figure(monkeypatch, setups):
    monkeypatch.setattr(module, "SMALL", {world: tiny(world) for world in SMALL})
    monkeypatch.setattr(module, "WORLDS", {world: lambda world=world: setups[world] for world in SMALL})
    figures = plug_and_play("small", 3, Silent())
    assert named_by_claims() <= set(figures)
    assert all(math.isfinite(value) for value in figures.values()), figures
    assert figures["thumbnails.experts.calls"] == figures["thumbnails.off_the_shelf.calls"] == 2
    assert figures["thumbnails.through.calls"] == 4, "the gradient through the denoiser costs a second call"
    for world in SMALL:
        setups[world].judge.check_independent([setups[world].guide])


def test_each_scale_is_chosen_on_other_noise_by_the_judge(monkeypatch, setups):
    """The highest accuracy wins, of equal ones the smallest scale; what is judged has seeds of its own."""
    asked, accuracy = [], {3.0: 0.25, 9.0: 0.75, 21.0: 0.75}
    real = module.measure

    def watched(arm, setup, given, progress=None):
        scale = float(arm.name.removeprefix("scale "))
        asked.append((scale, given.seeds))
        found = real(arm, setup, given, progress)
        return dataclasses.replace(found, figures={**found.figures, "accuracy": accuracy.get(scale, 0.1)})

    monkeypatch.setattr(module, "measure", watched)
    sizes = dataclasses.replace(tiny("thumbnails"), ways=("off_the_shelf",), scales=(3.0, 9.0, 21.0))
    with pytest.raises(KeyError, match="estimate"):  # the comparison of two ways that this run leaves out
        world_figures(setups["thumbnails"], sizes, 5, Silent())
    assert [scale for scale, _ in asked] == [1.0, 3.0, 9.0, 21.0, 9.0]
    assert asked[0][1] == asked[4][1] != asked[1][1] == asked[2][1]
    assert not set(asked[0][1]) & set(asked[1][1])


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


def test_every_way_of_the_claims_is_measured():
    assert set(SMALL["thumbnails"].ways) == set(EVERY)
    assert torch.isfinite(torch.tensor(SMALL["scenes"].scales)).all()
