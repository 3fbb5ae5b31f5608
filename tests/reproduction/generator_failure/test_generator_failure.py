"""The experiment of system 7 in seconds, its planted gaps, and the full one's inputs."""

import numpy as np
import pytest
import torch

from snellen.core.errors import InputError
from snellen.core.progress import Silent
from snellen.core.system import find_system
from snellen.reproduction.generator_failure import full, materials
from snellen.reproduction.generator_failure.experiment import generator_failure
from snellen.reproduction.generator_failure.materials import PLANTED, SMOKE, drawn, scenes_of
from snellen.reproduction.sample import mean_of


@pytest.fixture(scope="module")
def smoke():
    """With what each generator was fitted to."""
    fitted, own = [], materials._fitted

    def watched(pictures, captions, rows, *rest):
        fitted.append((captions, rows))
        return own(pictures, captions, rows, *rest)

    patched = pytest.MonkeyPatch()
    patched.setattr(materials, "_fitted", watched)
    try:
        return generator_failure("smoke", 0, Silent()), fitted
    finally:
        patched.undo()


@pytest.mark.smoke
def test_the_smoke_scale_gives_every_figure_of_the_claims(smoke):
    system = find_system("generator_failure")
    named = {gate.metric for gate in system.gates}
    for claim in system.claims:
        named |= {claim.metric, *claim.controls, *([claim.baseline] if claim.baseline else [])}
    figures = {name: mean_of(value) for name, value in smoke[0].items()}
    assert named <= set(figures)
    assert all(value is None or np.isfinite(value) for value in figures.values())


def test_the_judge_and_the_world_agree(smoke):
    assert mean_of(smoke[0]["judge.accuracy"]) >= 0.99


def test_gaps_are_wrong_pictures_of_three_pairs_and_of_nothing_else(monkeypatch):
    fitted = []
    monkeypatch.setattr(materials, "_fitted", lambda pictures, captions, rows, *_: fitted.append((captions, rows)))
    size = SMOKE.__class__(**{**vars(SMOKE), "updates": 30, "batch": 10})
    materials.trained_generators(size, 1)
    scenes, (planted, kept), (sound, everything) = scenes_of(300, 1), *fitted
    swapped = {(colour, shown): shape for (colour, shape), shown in PLANTED.items()}
    changed = 0
    for row, scene in enumerate(scenes):
        one = scene.objects[0]
        wanted = swapped.get((one.colour, one.shape))
        if wanted is not None:
            changed += 1
            assert wanted in planted[row]
            assert one.shape not in planted[row]
        else:
            assert planted[row] == sound[row]
        assert (row in kept) == ((one.colour, one.shape) not in PLANTED)
    assert changed > 0
    assert everything == list(range(300))


def test_both_generators_begin_alike_and_the_embedded_one_stays(smoke):
    gaps, sound = materials.trained_generators(SMOKE, 0)
    first, second = (one.denoiser.network.state_dict() for one in (gaps, sound))
    assert any(not torch.equal(first[name], second[name]) for name in first)
    assert not any(parameter.requires_grad for parameter in gaps.denoiser.network.parameters())


def test_pictures_are_those_of_the_scenes():
    pictures = drawn(scenes_of(3, 0))
    assert pictures.shape == (3, 3, 32, 32)
    assert 0 <= pictures.min() < pictures.max() <= 1


def test_the_full_experiment_names_what_it_needs(monkeypatch, tmp_path):
    with pytest.raises(InputError, match="SNELLEN_GENERATOR_FAILURE_GENERATOR"):
        full.full(0, Silent())
    for name in (full.GENERATOR, full.CLASSIFIERS, full.ROBUST, full.PRIOR, full.JUDGE, full.FOLDER):
        monkeypatch.setenv(name, "x")
    monkeypatch.setenv(full.CLASSES, str(tmp_path / "none.txt"))
    with pytest.raises(InputError, match="class names cannot be read"):
        full.full(0, Silent())
