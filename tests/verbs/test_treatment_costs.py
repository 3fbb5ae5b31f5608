"""Where errors do not cost alike, treatments are measured, limited and chosen by what decisions cost."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

import snellen
from snellen.auditing.compare.finding_differences import compare_quantities
from snellen.auditing.compare.pairing import pair_runs
from snellen.auditing.compare.run_record import RunRecord
from snellen.core.classifier import Classifier
from snellen.core.finding import Finding
from snellen.core.preprocessing import Preprocessing
from snellen.verbs.treat import _chosen
from snellen.verbs.treatment_costs import clean_costs, measured_in_costs
from snellen.verbs.treatment_trials import Trial, judged

COSTS = {"harmless": {"harmless": 0, "cancer": 1}, "cancer": {"harmless": 20, "cancer": 0}}
ALIKE = {"harmless": {"harmless": 0, "cancer": 3}, "cancer": {"harmless": 3, "cancer": 0}}
LABELS = np.arange(200) % 2
GROUPS = {
    "hospital": np.where(np.arange(200) < 100, "east", "west"),
    "ward": np.where(np.arange(200) // 2 % 2 == 0, "a", "b"),
}
CANCER = Finding(kind="worst_class", subject="cancer", harm=0.1, title="Cancer is missed")


class ByChannel(nn.Module):
    """Decides by one channel: each holds the decisions of another model."""

    def __init__(self, channel: int) -> None:
        super().__init__()
        self.channel = channel

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        sure = 20 * (images[:, self.channel].mean((1, 2)) - 0.5)
        return torch.stack([-sure, sure], 1)


def wrong(harmless: int, cancer: int) -> np.ndarray:
    """Decisions with so many errors on each of the classes of 100 images."""
    decided = LABELS.copy()
    for label, count in enumerate((harmless, cancer)):
        decided[np.flatnonzero(label == LABELS)[:count]] = 1 - label
    return decided


#: As it was; one that misses no cancer any more; and one that is as often right, and misses more.
DECISIONS = (wrong(20, 20), wrong(36, 0), wrong(0, 36))


def runs(folder: Path, costs: object, checks: list) -> list[RunRecord]:
    noise = np.random.default_rng(0).integers(-20, 21, (200, 8, 8, 3))
    pixels = (np.stack(DECISIONS, -1)[:, None, None] * 120 + 67 + noise).clip(0, 255).astype(np.uint8)
    found = []
    for channel in range(3):
        model = Classifier(
            ByChannel(channel),
            class_names=["harmless", "cancer"],
            preparation=Preprocessing(size=(8, 8)),
            name=str(channel),
        )
        images = snellen.load_images((pixels, LABELS), class_names=["harmless", "cancer"], groups=GROUPS)
        snellen.audit(model, images, checks=checks, costs=costs, out=folder / str(channel))
        found.append(RunRecord.read(folder / str(channel)))
    return found


@pytest.fixture(scope="module")
def priced(tmp_path_factory):
    return runs(tmp_path_factory.mktemp("priced"), COSTS, ["clean"])


def trial(before: RunRecord, after: RunRecord, name: str) -> Trial:
    quantities, mended = judged([CANCER], before, after)
    prices = clean_costs(before, after)
    lost = before.report.metrics["clean.accuracy"].value - after.report.metrics["clean.accuracy"].value
    if prices is None:
        return Trial((SimpleNamespace(words=name),), name, quantities, mended, lost, 1.0)
    return Trial((SimpleNamespace(words=name),), name, quantities, mended, prices[1] - prices[0], 1.0, lost=lost)


def test_equal_accuracies_are_parted_by_what_their_errors_cost(priced):
    before, saves, misses = priced
    assert clean_costs(before, saves) == pytest.approx(((20 / 20 + 20) / 200, 36 / 20 / 200))
    assert clean_costs(before, misses)[1] == pytest.approx(36 / 200)
    trials = [trial(before, after, name) for after, name in ((misses, "misses"), (saves, "saves"))]
    assert [one.lost for one in trials] == pytest.approx([-0.02, -0.02])
    plan = SimpleNamespace(treated=[CANCER])
    assert _chosen(trials, plan, 0.01).classifier == "saves"
    assert _chosen(trials[:1], plan, 0.01) is None, "right more often, and dearer by more than is allowed"
    assert "a decision costs -0.096 of the costliest error, accuracy +0.020" in trials[1].words


def test_of_two_that_mend_alike_the_one_whose_other_decisions_cost_less_is_taken():
    other = Finding(kind="calibration", harm=0.05, title="unsure")
    gained = {CANCER.key: (0.1, 0.02), other.key: (0.1, 0.02)}
    dear, cheap = (
        Trial((), name, gained, frozenset(), cost, 1.0, lost=0.0) for name, cost in (("dear", 0.009), ("cheap", -0.02))
    )
    plan = SimpleNamespace(treated=[CANCER, other])
    assert _chosen([dear, cheap], plan, 0.01).classifier == "cheap"
    assert cheap.worth(plan.treated) - dear.worth(plan.treated) == pytest.approx(0.029)


def test_what_a_mended_class_saves_counts_once():
    noise = Finding(kind="corruption", subject="gaussian_noise", harm=0.15, title="noise")
    saving_the_class = Trial(
        (), "class", {CANCER.key: (0.2, 0.0), noise.key: (0.3, 0.3)}, frozenset(), -0.1, 1.0, lost=0.0
    )
    saving_under_noise = Trial(
        (), "noise", {CANCER.key: (0.2, 0.2), noise.key: (0.3, 0.0)}, frozenset(), 0.0, 1.0, lost=0.0
    )
    plan = SimpleNamespace(treated=[CANCER, noise])
    assert saving_the_class.worth(plan.treated) == pytest.approx(0.1)
    assert _chosen([saving_the_class, saving_under_noise], plan, 0.01).classifier == "noise"


def test_without_costs_errors_count_as_ever(tmp_path):
    before, saves, _ = runs(tmp_path, None, ["clean"])
    assert clean_costs(before, saves) is None
    assert measured_in_costs(before, saves, [CANCER]) == {}
    assert trial(before, saves, "saves").lost is None


def test_costs_that_are_alike_give_the_quantities_of_the_comparison(tmp_path):
    checks = [
        "clean",
        "group_gap",
        {"check": "corruption", "kinds": ["contrast", "gaussian_noise"], "severities": [1, 5]},
        {"check": "adversarial", "threats": ["linf:60/255"], "most": None},
    ]
    before, after, dearer = runs(tmp_path, ALIKE, checks)
    # And the choice among treatments is the one that there would be without any.
    assert clean_costs(before, after) is None
    assert trial(before, dearer, "misses").lost is None
    known = compare_quantities(pair_runs(before, after), resamples=5)
    keys = [
        key
        for key in known
        if key.split(":")[0] in ("worst_class", "group_gap", "corruption", "adversarial", "accuracy")
    ]
    assert {key.split(":")[0] for key in keys} == {"worst_class", "group_gap", "corruption", "adversarial", "accuracy"}
    findings = [
        Finding(kind=kind, subject=subject, harm=0.1, title=key)
        for key in keys
        for kind, _, subject in [key.partition(":")]
    ]
    assert "group_gap:hospital=east, ward=a" in keys
    found = measured_in_costs(before, after, findings)
    assert found.keys() == set(keys)
    for key in keys:
        assert found[key] == pytest.approx((known[key].first, known[key].second), abs=1e-9), key


def test_a_class_is_measured_by_what_its_decisions_cost(priced):
    before, saves, misses = priced
    found = [measured_in_costs(before, after, [CANCER])[CANCER.key] for after in (saves, misses)]
    assert found[0] == pytest.approx((0.2 - 0.01, -0.018))
    assert found[1][1] == pytest.approx(0.36)
