"""Checks that measure a sample of many images: which are drawn, what is said of it, and when all are measured."""

from __future__ import annotations

import numpy as np
import pytest

import snellen
from snellen.auditing.checks.adversarial import Adversarial
from snellen.auditing.checks.corruption import CommonCorruptions
from snellen.auditing.checks.masking import Masking
from snellen.auditing.compare.run_record import RunRecord
from snellen.auditing.effort import checks_at
from snellen.core.classifier import Classifier
from snellen.core.images import ImageSet
from snellen.testing.conformance import small_problem

COUNT = 240
BLUR = {"kinds": ("gaussian_noise",), "severities": (3,)}


@pytest.fixture(scope="module")
def problem() -> tuple[Classifier, ImageSet]:
    classifier, images, _ = small_problem(count=COUNT, size=12)
    pixels = (images * 255).round().byte()
    labels = classifier(pixels / 255).argmax(1)
    return classifier, snellen.load_images((pixels.permute(0, 2, 3, 1).numpy(), labels.numpy()))


def drawn(folder, check: str) -> set[str]:
    return set(RunRecord.read(folder).evidence[check].table["example_id"].to_pylist())


def test_the_bound_sets_the_share_and_small_sets_are_measured_whole():
    check = CommonCorruptions(most=100)
    assert check.sized(100) is check, "no more images than the bound"
    assert check.sized(400).share == 0.25
    assert check.sized(400).cost() == check.cost() / 4
    assert CommonCorruptions().unbounded().sized(10**6).share == 1.0
    assert CommonCorruptions(most=100, share=0.1).sized(400).share == 0.1, "a smaller share stays"


def test_square_has_a_bound_of_its_own():
    sized = Masking(most=100, share=0.5, square_most=20).sized(1_000)
    assert (sized.share, sized.square_share) == (0.1, 0.2)
    whole = Masking().unbounded().sized(10**6)
    assert (whole.share, whole.square_share) == (Masking().share, 1.0)


def test_under_declared_threats_all_images_are_attacked():
    assert Adversarial(most=100).sized(400).share == 0.25
    assert Adversarial(most=100, declared=("linf:8/255",)).sized(400).share == 1.0


def test_the_sample_is_the_same_in_any_shards_and_lies_in_larger_ones(problem, tmp_path):
    check = {"check": "corruption", "most": 60, **BLUR}
    one = snellen.audit(*problem, checks=[check], out=tmp_path / "one", batch_size=16, shards=1)
    many = snellen.audit(*problem, checks=[check], out=tmp_path / "many", batch_size=7, shards=9)
    few = drawn(tmp_path / "one", "corruption")
    assert few == drawn(tmp_path / "many", "corruption")
    assert one.metrics == many.metrics
    assert 30 < len(few) < 90
    snellen.audit(*problem, checks=[{**check, "most": 150}], out=tmp_path / "more")
    more = drawn(tmp_path / "more", "corruption")
    assert few < more
    assert len(more) < COUNT


def test_a_sample_gives_what_all_images_give_for_the_drawn_ones(problem, tmp_path):
    snellen.audit(*problem, checks=[{"check": "corruption", "most": 60, **BLUR}], out=tmp_path / "few")
    snellen.audit(*problem, checks=[{"check": "corruption", **BLUR}], out=tmp_path / "all")
    few, whole = (RunRecord.read(tmp_path / name).evidence["corruption"].table for name in ("few", "all"))
    rows = {(row["setting"], row["example_id"]): row for row in whole.to_pylist()}
    assert len(whole) == COUNT * len(set(whole["setting"].to_pylist()))
    assert all(rows[row["setting"], row["example_id"]] == row for row in few.to_pylist())


def test_the_report_says_that_a_sample_was_measured(problem):
    report = snellen.audit(*problem, checks=[{"check": "corruption", "most": 60, **BLUR}])
    (note,) = (note for note in report.notes if "drawn by their ids" in note)
    figure = report.metrics["corruption.error"]
    assert note.startswith(f"Corruption: {figure.n} of {COUNT} labelled images were measured")
    assert report.metrics["corruption.clean_error"].n == figure.n
    whole = snellen.audit(*problem, checks=[{"check": "corruption", **BLUR}])
    assert whole.metrics["corruption.error"].n == COUNT
    assert not [note for note in whole.notes if "drawn by their ids" in note]


@pytest.mark.parametrize("check", [{"check": "masking", "share": 0.2}, {"check": "adversarial", "most": 50}])
def test_every_check_says_so(problem, check):
    report = snellen.audit(*problem, checks=[{**check, "steps": 2}])
    name = str(check["check"])
    assert [note for note in report.notes if note.startswith(f"{name.capitalize()}: ") and "drawn by" in note]


def test_full_effort_sets_no_bound_but_leaves_one_that_somebody_set(problem):
    others = [f"-{name}" for name in checks_at("full") if name not in ("clean", "corruption")]
    small = {**BLUR, "check": "+corruption"}

    def measured(effort: str | None, check: dict[str, object]) -> int:
        named = [*others, check] if effort else [{**check, "check": "corruption"}]
        return snellen.audit(*problem, effort=effort, checks=named).metrics["corruption.error"].n

    assert measured("full", small) == COUNT
    assert measured("full", {**small, "most": 60}) < COUNT
    assert CommonCorruptions().unbounded().most is None
    assert CommonCorruptions(most=60).unbounded().most == 60
    assert Masking(square_most=7).unbounded().square_most == 7


def test_the_bound_counts_labelled_images(problem):
    classifier, images = problem
    labels = images.labels.copy()
    labels[40:] = -1
    few = snellen.load_images((np.stack([np.asarray(images.read(row)) for row in range(COUNT)]), labels))
    report = snellen.audit(classifier, few, checks=[{"check": "corruption", "most": 60, **BLUR}])
    assert report.metrics["corruption.error"].n == 40
