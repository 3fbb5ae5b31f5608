"""Several groups of each image: planted errors are found by value and pair, healthy sets give no alarm, and what cannot
be judged is never called right.
"""

import csv
import json
from dataclasses import replace

import numpy as np
import pytest

import snellen
from snellen.auditing.checks.group_gap import GroupGap
from snellen.auditing.concluding import judge
from snellen.auditing.factor_cells import judged_cells, pair_cells, pairs_of, single_cells
from snellen.auditing.factor_findings import FactorGaps
from snellen.checks.check import CheckInput
from snellen.checks.hypothesis import FALSE_DISCOVERY_RATE
from snellen.checks.per_image import PerImage
from snellen.core.evidence import Evidence
from snellen.core.randomness import Randomness
from snellen.metrics.power import detectable_drop
from tests.auditing.readings import reading

NAMES = ("cat", "dog", "owl")
PLANTED = "scanner=GE, age=60 or more"


def world(seed, n=600, unit=1, gap=0.0, tied=0.0, shared=0.3):
    """Decisions of a model that is right in nine of ten images of all groups but, by ``gap``, those of one pair."""
    rng = np.random.default_rng(seed)
    units = np.arange(n) // unit
    count = int(units.max()) + 1
    factors = {
        "site": rng.choice(list("ABC"), count, p=[0.5, 0.3, 0.2]),
        "scanner": rng.choice(["GE", "Siemens"], count),
        "age": rng.choice(["under 40", "40 to under 60", "60 or more"], count, p=[0.2, 0.4, 0.4]),
    }
    factors = {name: values[units] for name, values in factors.items()}
    labels = rng.choice(3, count, p=[0.5, 0.3, 0.2])[units]
    labels = np.where(rng.random(count)[units] < tied, (factors["scanner"] == "GE").astype(int), labels)
    error = np.full(n, 0.1)
    if unit > 1:
        within = (1 - shared) / shared
        error = rng.beta(0.1 * within, 0.9 * within, count)[units]
    error = np.where((factors["scanner"] == "GE") & (factors["age"] == "60 or more"), error + gap, error)
    wrong = rng.random(n) < error
    return PerImage(
        ids=tuple(f"{row:05d}" for row in range(n)), labels=labels, confidence=np.full(n, 0.9),
        predictions=np.where(wrong, (labels + rng.integers(1, 3, n)) % 3, labels),
        unit_ids=tuple(f"unit {one}" for one in units), units=None if unit == 1 else units,
        groups=tuple(map(str, factors["site"])),
        factors={name: tuple(map(str, values)) for name, values in factors.items()},
    )  # fmt: skip


def concluded(images, seed=0):
    empty = Evidence.merge([])
    base = reading(empty, Evidence.of(["x"], setting="clean", model="m", prediction=[0]), NAMES)
    check = GroupGap()
    found = check.conclude(CheckInput(evidence=empty, images=images, classifier=base.classifier, rng=Randomness(seed)))
    return found, judge([check], {check.name: found})[0]


def with_p_value(findings):
    return [finding for finding in findings if finding.p_value is not None]


@pytest.mark.parametrize("unit", [1, 4])
def test_a_planted_pair_is_found_with_and_without_units(unit):
    for seed in range(3):
        found, findings = concluded(world(seed, 1600, unit, gap=0.25), seed)
        by_subject = {finding.subject: finding for finding in with_p_value(findings)}
        assert PLANTED in by_subject
        one = by_subject[PLANTED]
        assert one.facts["accuracy"] < 0.75
        assert min(one.facts["accuracy_of_other_scanner=GE"], one.facts["accuracy_of_other_age=60 or more"]) > 0.82
        assert one.facts["units"] * unit == one.facts["images"]
        # What lies in the pair is said of its two groups, too.
        groups = [by_subject[name] for name in ("scanner=GE", "age=60 or more") if name in by_subject]
        assert groups
        assert all("without " in finding.title for finding in groups)
        # A pair that shares one group with it is only as bad as that: no more than chance finds it.
        others = [name for name in by_subject if ", " in name and name != PLANTED]
        assert len(others) <= 1
        assert one.harm <= 0.25 * one.facts["images"] / 1600
        assert found.metrics["group_gap.worst_pair_accuracy"].value == pytest.approx(one.facts["accuracy"])


def test_images_of_a_unit_count_as_one():
    """The same errors, once as images of their own and once as eight copies in a unit: copies make nothing certain."""
    base = world(7, 120, gap=0.3)
    rows = np.repeat(np.arange(120), 8)
    copied = base.select(rows)
    as_units = PerImage(
        ids=tuple(f"{row:05d}" for row in range(960)), labels=copied.labels, predictions=copied.predictions,
        unit_ids=tuple(f"unit {row}" for row in rows), units=rows, groups=copied.groups, factors=copied.factors,
        confidence=copied.confidence,
    )  # fmt: skip
    alone = replace(as_units, units=None, unit_ids=as_units.ids)
    smallest = [min(h.p_value for h in concluded(one)[0].hypotheses) for one in (base, as_units, alone)]
    assert smallest[2] < smallest[1] / 1e6
    assert smallest[1] > smallest[0] / 30


@pytest.mark.parametrize(("unit", "n"), [(1, 300), (4, 800)])
def test_healthy_sets_give_no_more_alarms_than_the_rate(unit, n):
    """60 sets here; 200 sets of each kind gave 6 (600 images) and 1 (300 units of 4) alarms."""
    alarms = sum(bool(with_p_value(concluded(world(seed, n, unit), seed)[1])) for seed in range(60))
    assert alarms <= 60 * FALSE_DISCOVERY_RATE + 2 * (60 * 0.05 * 0.95) ** 0.5


def test_the_drop_that_would_be_found_is_that_beside_the_harder_set_and_among_all_that_are_tested():
    images = world(0)
    single = single_cells(images)
    found = judged_cells(images, [*single, *pair_cells(single)], 0.05)
    tested = [one for one in found if one.gaps]
    assert len(tested) > 20
    for one in tested:
        assert one.alpha == 0.05 / len(tested)
        rests = [int((among & ~one.cell.member).sum()) for among in one.cell.among]
        drops = [
            detectable_drop(one.units, rest, 1 - gap.outside, one.alpha)
            for rest, gap in zip(rests, one.gaps, strict=True)
        ]
        assert one.drop == (None if None in drops else max(drops))
    pairs = [one.drop for one in tested if len(one.gaps) == 2]
    assert any(drop is not None for drop in pairs)


def test_what_would_have_been_seen_depends_on_the_level():
    gaps = FactorGaps.of(world(0), NAMES, 0)
    largest = max(gaps.singles, key=lambda one: one.units)
    drops = []
    for alpha in (0.05, 1e-6):
        drops.append(detectable_drop(largest.units, largest.rests[0], 1 - largest.gaps[0].outside, alpha))
        assert f"below that of the others by {100 * drops[-1]:.0f} points ({largest.cell.subject}" in gaps.sight(alpha)
    assert drops[1] > drops[0] + 0.05


def test_the_value_that_says_most_of_a_class_is_named_beside_all_other_images():
    images = world(1, 900, tied=0.8)
    one = next(finding for finding in concluded(images)[1] if finding.kind == "metadata_shortcut")
    factor = str(one.facts["strongest"])
    values = np.array(pairs_of(images)[factor])
    said = []
    for value in sorted(set(values)):
        member = values == value
        for label in range(3):
            inside, outside = ((images.labels[of] == label).mean() for of in (member, ~member))
            weight = abs(inside - outside) * min(member.mean(), 1 - member.mean()) ** 0.5
            words = f"; {inside:.0%} of {factor} {value} are {NAMES[label]}, {outside:.0%} of the others"
            said.append((weight, words))
    assert one.title.endswith(max(said)[1])


def test_every_value_and_pair_is_in_the_family():
    found, _ = concluded(world(0))
    assert len(found.hypotheses) == (3 + 2 + 3) + (3 * 2 + 3 * 3 + 2 * 3) + 1
    assert len(found.tables["groups"]) == 8 + 21


def test_what_is_empty_small_or_not_separable_is_named_and_never_called_judged():
    images = world(0, 400)
    site = np.array(images.factors["site"])
    scanner = np.where(site == "C", "Philips", np.array(images.factors["scanner"]))
    scanner[np.flatnonzero(site == "A")[:3]] = "Agfa"
    images = replace(images, factors={"site": tuple(site), "scanner": tuple(scanner)})
    found, findings = concluded(images)
    verdicts = {row["group"]: row["verdict"] for row in found.tables["groups"]}
    assert verdicts["site=B, scanner=Philips"] == "no images"
    assert verdicts["site=A, scanner=Agfa"] == "too few to judge"
    assert verdicts["site=C, scanner=Philips"].startswith("not separable: ")
    assert verdicts["site=A"] in ("judged", "too few to judge")
    coverage = next(finding for finding in findings if finding.kind == "coverage")
    assert coverage.p_value is None
    assert coverage.level == "note"
    assert coverage.facts["without_images"] == sum(one == "no images" for one in verdicts.values()) == 6
    assert "without images: " in coverage.title
    # Three images, all wrong: too few, and still not right.
    wrong = images.predictions.copy()
    chosen = np.flatnonzero(scanner == "Agfa")
    wrong[chosen] = (images.labels[chosen] + 1) % 3
    rows = concluded(replace(images, predictions=wrong))[0].tables["groups"]
    assert {row["group"]: row["verdict"] for row in rows}["site=A, scanner=Agfa"] == "too few to judge"


def test_few_images_judge_nothing():
    found, _ = concluded(world(0, 40))
    assert found.metrics["group_gap.judged"].value == 0
    assert {row["verdict"] for row in found.tables["groups"]} <= {
        "no images", "too few to judge", "unclear", "worse",
    } | {row["verdict"] for row in found.tables["groups"] if row["verdict"].startswith("not separable")}  # fmt: skip


def test_labels_that_follow_from_the_scanner_are_a_shortcut_and_independent_ones_are_not():
    _, findings = concluded(world(0, 600, tied=0.5))
    found = next(finding for finding in findings if finding.kind == "metadata_shortcut")
    assert found.facts["strongest"].startswith("scanner") or "scanner" in found.facts["strongest"]
    assert found.facts["auroc_of_all_low"] > 0.6
    assert "separates the classes" in found.title
    assert not any(one.kind == "metadata_shortcut" for one in concluded(world(0, 600))[1])


def test_groups_that_only_images_without_a_label_have_are_no_comparison():
    images = world(0, 100)
    few = {name: (*values[:50], *[None] * 50) for name, values in images.factors.items()}
    found, findings = concluded(replace(images, labels=np.where(np.arange(100) < 50, -1, images.labels), factors=few))
    assert found.skipped == "no image with a label has a value of any group"
    assert not findings


PIXELS = np.random.default_rng(0).integers(0, 255, (240, 8, 8, 3)).astype(np.uint8)


def recorded(n=240, seed=0, **more):
    """Arguments of an audit of predictions, two classes, and the groups."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 2, n)
    site, scanner = rng.choice(list("AB"), n), rng.choice(["GE", "Siemens"], n)
    wrong = rng.random(n) < np.where((site == "A") & (scanner == "GE"), 0.55, 0.05)
    scores = np.full((n, 2), 0.1)
    scores[np.arange(n), np.where(wrong, 1 - labels, labels)] = 0.9
    return {"predictions": scores, "labels": labels, "groups": {"site": site, "scanner": scanner}, **more}


def test_from_python_with_tensors_to_files_and_a_comparison(tmp_path):
    bad = snellen.audit(**recorded(out=tmp_path / "bad"), checks=["clean", "group_gap"])
    assert "group_gap:site=A, scanner=GE" in {finding.key for finding in bad.findings}
    page = (tmp_path / "bad" / "report.html").read_text()
    assert "Accuracy by pair of groups" in page
    with (tmp_path / "bad" / "lists" / "groups.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert {row["group"] for row in rows} >= {"site=A", "scanner=GE", "site=A, scanner=GE"}
    good = recorded(out=tmp_path / "good")
    good["predictions"] = np.eye(2)[good["labels"]] * 0.8 + 0.1
    snellen.audit(**good, checks=["clean", "group_gap"])
    compared = snellen.compare(tmp_path / "bad", tmp_path / "good")
    words = {one.key: one.verdict for one in compared.findings}
    assert words["group_gap:site=A, scanner=GE"] == "mended"


def test_one_group_alone_is_reported_as_ever(tmp_path):
    given = recorded(out=tmp_path / "run")
    given["groups"] = {"site": given["groups"]["site"]}
    report = snellen.audit(**given, checks=["clean", "group_gap"])
    assert {finding.subject for finding in report.findings if finding.kind == "group_gap"} == {"A"}
    assert {name for name in report.metrics if name.startswith("group_gap")} == {"group_gap.worst_accuracy"}
    assert not any(finding.kind in ("coverage", "metadata_shortcut") for finding in report.findings)
    assert not (tmp_path / "run" / "lists" / "groups.csv").exists()


def test_another_grouping_is_another_plan(tmp_path):
    snellen.audit(**recorded(out=tmp_path / "run"), checks=["clean", "group_gap"])
    other = recorded(out=tmp_path / "run")
    other["groups"] = {"site": other["groups"]["site"][::-1], "scanner": other["groups"]["scanner"]}
    with pytest.raises(snellen.core.errors.RunConflictError):
        snellen.audit(**other, checks=["clean", "group_gap"])


def test_pseudonyms_leave_no_name_of_a_group(tmp_path):
    given = recorded(out=tmp_path / "run", pseudonyms=tmp_path / "key.json")
    given["groups"] = {"hospital": np.where(given["groups"]["site"] == "A", "StMary", "Charite"), **given["groups"]}
    snellen.audit(**given, checks=["clean", "group_gap"])
    held = b"".join(path.read_bytes() for path in sorted((tmp_path / "run").rglob("*")) if path.is_file())
    assert b"StMary" not in held
    assert b"Charite" not in held
    assert json.loads((tmp_path / "key.json").read_text())
