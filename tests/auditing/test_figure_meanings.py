"""Every figure of an audit is described, and what describes it is true of the code."""

import importlib
import json
import re
from pathlib import Path

import pytest

from snellen.auditing.by_label import figure_names_by_label
from snellen.auditing.checks import CHECKS, build_check
from snellen.auditing.compare.better_side import direction
from snellen.auditing.figure_meanings import interval_kinds, meaning_of, meanings, meanings_of
from snellen.core import index

ROOT = Path(__file__).parents[2]

#: Parameters that make checks give figures which they give on request alone.
ON_REQUEST = {
    "corruption": {"benchmark": "imagenet-c", "reference": "alexnet/imagenet-c"},
    "adversarial": {"threats": ["linf:8/255"]},
    "masking": {"surrogate": "bundled:fashion-cnn"},
}

#: Checks whose figures bear names that only the data know.
OPEN = {"labels", "segmentation", "nuisance", "shortcuts", "backdoor"}


def known_figures():
    for name in CHECKS:
        found = build_check(name, {}).figure_names()
        if found is not None:
            yield from found


def test_every_figure_that_a_check_may_give_is_described():
    assert {name for name in CHECKS if build_check(name, {}).figure_names() is None} == OPEN
    names = set(known_figures())
    for check, parameters in ON_REQUEST.items():
        names |= build_check(check, parameters).figure_names()
    assert len(names) > 150
    assert not {name for name in names if meaning_of(name) is None}


def test_no_figure_is_described_that_no_check_gives():
    names = set(known_figures()) | build_check("corruption", ON_REQUEST["corruption"]).figure_names()
    names |= figure_names_by_label(build_check("labels", {}), ("effusion", "a.b"))
    closed = index.checks().keys() - OPEN | {"labels"}
    described = {one.name for one in meanings().values() if one.check in closed}
    assert described == {one.name for one in meanings_of(names)}


@pytest.mark.parametrize("check", ["calibration", "corruption", "label_noise", "discrimination"])
def test_figures_of_labels_mean_what_those_of_classes_do(check):
    plain = build_check(check, {})
    for name in figure_names_by_label(plain, ("effusion",)):
        found = meaning_of(name)
        assert found is not None, name
        assert found.name.rpartition(".")[2] == name.rpartition(".")[2]


def test_figures_of_a_kept_report_are_described():
    reports = sorted((ROOT / "tests" / "formats").rglob("report.json"))
    assert reports
    for path in reports:
        names = json.loads(path.read_text(encoding="utf-8"))["metrics"]
        assert not [name for name in names if meaning_of(name) is None], path


def test_code_that_is_named_exists():
    for one in (*meanings().values(), *interval_kinds().values()):
        if one.function is not None:
            module, _, name = one.function.rpartition(".")
            assert hasattr(importlib.import_module(module), name), one.function


def test_better_sides_are_those_that_a_comparison_judges_by():
    for one in meanings().values():
        judged = direction(one.name)
        assert not judged or judged == {"more": 1, "less": -1, "neither": 0}[one.better], one.name


def test_every_kind_of_interval_is_used_and_no_other():
    assert {one.interval for one in meanings().values()} == set(interval_kinds())


def test_sentences_are_short():
    for one in (*(found.meaning for found in meanings().values()), *(kind.text for kind in interval_kinds().values())):
        for sentence in re.split(r"[.:;] ", one):
            assert len(sentence.split()) <= 25, sentence
        assert one.endswith("."), one


def test_the_most_literal_name_is_meant():
    assert meaning_of("adversarial.linf:8/255.fgsm.accuracy").name == "adversarial.THREAT.fgsm.accuracy"
    assert meaning_of("corruption.fog.0.5.accuracy").name == "corruption.KIND.SEVERITY.accuracy"
    assert meaning_of("motion.generated.flips").name == "motion.generated.flips"
    assert meaning_of("x.y") is None


@pytest.mark.parametrize(
    "name", ["clean.cats.accuracy", "class.cats.lost.accuracy.x", "duplicates.cats.share", "bags.a.auroc"]
)
def test_checks_without_figures_of_labels_have_none(name):
    assert meaning_of(name) is None
