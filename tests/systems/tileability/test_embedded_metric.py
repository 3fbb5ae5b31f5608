"""The embedded metric sees seams and motifs that come back, on patterns that its training never showed."""

from __future__ import annotations

import pytest
import torch

from snellen.core.preprocessing import Preprocessing, to_unit
from snellen.data.worlds.textures.breaking import seam_energy_ratio
from snellen.data.worlds.textures.textures import Textures
from snellen.metrics.auroc import auroc
from snellen.reproduction.tileability.experiment import HELD_OUT
from snellen.systems.tileability.tileability import load_tileability
from snellen.training.students import StudentPlan, store_to_measure


@pytest.fixture(scope="module")
def metric():
    return load_tileability("bundled:tileability")


def areas(metric, failure):
    """Area under the ROC curve of the metric, and of the jump at the seams."""
    textures = Textures(count=120, size=64, generators=HELD_OUT, failures=(failure,), seed=41).images()
    held = store_to_measure(textures, StudentPlan(), preparation=Preprocessing(size=(64, 64)))
    pixels = held.read(torch.arange(len(held)))[0]
    with torch.no_grad():
        logits = metric.logits(to_unit(pixels)).double().numpy()
    jumps = seam_energy_ratio(pixels.permute(0, 2, 3, 1).numpy())
    return auroc(textures.labels, logits), auroc(textures.labels, -jumps)


@pytest.mark.covers("21.4")
def test_seams_and_spots_are_both_seen_and_the_jump_sees_seams_alone(metric):
    by_metric, by_jump = areas(metric, "blob")
    assert by_metric > 0.85
    assert by_jump < 0.65
    by_metric, by_jump = areas(metric, "crop")
    assert by_metric > 0.8
    assert by_jump > 0.8


@pytest.mark.covers("21.2", "21.3")
def test_a_roll_or_a_mirror_keeps_a_score_that_a_crop_lowers(metric):
    textures = Textures(count=40, size=64, generators=HELD_OUT, seed=43).images()
    held = store_to_measure(textures, StudentPlan(), preparation=Preprocessing(size=(64, 64)))
    whole = to_unit(held.read(torch.arange(0, 40, 2))[0])
    with torch.no_grad():
        own = metric.logits(whole)
        moved = metric.logits(whole.roll((17, 29), (2, 3)))
        mirrored = metric.logits(whole.flip(3))
        cropped = metric.logits(whole[:, :, :57, :57].contiguous())
    assert float((moved - own).abs().mean()) < float((cropped - own).abs().mean()) / 2
    assert float((mirrored - own).abs().mean()) < float((cropped - own).abs().mean()) / 2
    assert float((cropped < own).float().mean()) > 0.8
