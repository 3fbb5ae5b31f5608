"""Findings: kinds, levels of harm, order."""

import itertools
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from snellen.core.finding import KINDS, LEVELS, Finding, FindingExample, rank


def test_kinds_are_the_published_list_and_each_is_explained():
    assert ", ".join(sorted(KINDS)) == (
        "accuracy, adversarial, aliasing, attribute, backdoor, background_sensitivity, background_shortcut, "
        "bag_accuracy, bag_contradiction, bag_evidence, bag_false_alarms, bag_group_gap, "
        "calibration, class_order, corruption, costly_decisions, coverage, "
        "data_quality, drift, duplicate, generated_content, generator_failure, gradient_masking, group_gap, "
        "in_sample, label_noise, leakage, manipulated_region, membership, memorisation, metadata_shortcut, "
        "missed_bags, multi_label, natural_shift, nuisance, out_of_distribution, shortcut, slice, temporal, "
        "texture_seam, threshold, unanswered_classes, unforgotten, unsafe_content, viewpoint, worst_class"
    )
    assert all(text and not text.endswith(".") for text in KINDS.values())


@pytest.mark.parametrize(
    ("harm", "level"),
    [
        (0.0, "note"),
        (0.004999, "note"),
        (0.005, "mild"),
        (0.04999, "mild"),
        (0.05, "moderate"),
        (0.19999, "moderate"),
        (0.2, "severe"),
        (1.0, "severe"),
    ],
)
def test_levels_begin_at_their_bounds(harm, level):
    assert Finding(kind="slice", harm=harm, title="t").level == level


@given(st.floats(0, 1), st.floats(0, 1))
def test_more_harm_is_never_a_lower_level(first, second):
    order = list(LEVELS)
    low, high = (Finding(kind="drift", harm=h, title="t").level for h in sorted((first, second)))
    assert order.index(high) <= order.index(low)


def test_an_unknown_kind_is_refused_with_near_names():
    with pytest.raises(ValidationError, match=r"unknown kind of finding 'corruptions'; did you mean 'corruption'"):
        Finding(kind="corruptions", harm=0.1, title="t")
    assert Finding(kind="x-glare", harm=0.1, title="of a plugin").kind == "x-glare"


@pytest.mark.parametrize("harm", [-0.01, 1.01, math.nan, math.inf])
def test_harm_is_a_share(harm):
    with pytest.raises(ValidationError):
        Finding(kind="drift", harm=harm, title="t")


def test_findings_are_closed_and_frozen():
    with pytest.raises(ValidationError):
        Finding(kind="drift", harm=0.1, title="t", severity=3)
    with pytest.raises(ValidationError):
        Finding(kind="drift", harm=0.1, title="t").harm = 0.9
    with pytest.raises(ValidationError):
        FindingExample(example_id="a", before="b")


def test_ranked_by_harm_then_kind_then_title_whatever_the_order():
    expected = [
        Finding(kind="slice", harm=0.3, title="z"),
        Finding(kind="accuracy", harm=0.1, title="b"),
        Finding(kind="drift", harm=0.1, title="a"),
        Finding(kind="drift", harm=0.1, title="b"),
    ]
    for order in itertools.permutations(expected):
        assert rank(order) == expected


def test_a_finding_survives_json():
    finding = Finding(
        kind="corruption",
        harm=0.25,
        title="Blur",
        facts={"accuracy": 0.5, "n": 7, "worst": "blur"},
        examples=(FindingExample(example_id="a", image="1f", after="2e"),),
        treatments=("snellen train",),
    )
    again = Finding.model_validate_json(finding.model_dump_json())
    assert again == finding
    assert [type(value) for value in again.facts.values()] == [float, int, str]


def test_defects_come_before_stress_and_notes_last():
    fog = Finding(kind="corruption", harm=0.6, title="fog")
    usual = Finding(kind="corruption", harm=0.5, usual=0.5, title="contrast")
    dead = Finding(kind="worst_class", harm=0.1, title="a dead class")
    masked = Finding(kind="gradient_masking", harm=0.0, title="no gradients")
    copies = Finding(kind="duplicate", harm=0.001, title="two copies")
    order = Finding(kind="class_order", harm=0.0, title="another order")
    found = rank([copies, usual, fog, masked, dead, order])
    assert [finding.title for finding in found] == [
        "another order", "a dead class", "no gradients", "fog", "two copies", "contrast",
    ]  # fmt: skip


def test_the_level_is_that_of_the_harm_beyond_the_usual():
    assert Finding(kind="corruption", harm=0.3, usual=0.28, title="fog").level == "mild"
    assert Finding(kind="corruption", harm=0.3, usual=0.4, title="fog").excess == 0
