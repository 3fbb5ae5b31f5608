"""What healthy classifiers lose under stress: looked up by size and colours, and taken off the level of a finding."""

import numpy as np
import pytest

import snellen
from snellen.checks import usual_losses
from snellen.checks.usual_losses import colours_of
from snellen.core.finding import Finding
from snellen.methods.corruptions.benchmarks import same_strengths

ROWS = [
    {"colours": "grey", "side": 28, "classifiers": 20, "losses": {"fog": [0.3, 0.5]}},
    {"colours": "colour", "side": 32, "classifiers": 12, "losses": {"fog": [0.1, 0.2]}},
    {"colours": "colour", "side": 64, "classifiers": 12, "losses": {"fog": [0.05, 0.15]}},
]


@pytest.fixture
def table(monkeypatch):
    monkeypatch.setattr(usual_losses, "_table", lambda: ROWS)


@pytest.mark.parametrize(
    ("side", "colours", "high"),
    [
        (28, "grey", 0.5),
        (33, "grey", 0.5),
        (36, "colour", 0.2),
        (60, "colour", 0.15),
        (96, "colour", 0.15),
        (97, "colour", None),
    ],
)
def test_the_nearest_size_of_like_colours(table, monkeypatch, side, colours, high):
    monkeypatch.setattr(usual_losses, "colours_of", lambda images: colours)
    found = usual_losses.usual_losses(side, None)
    assert (found["fog"].high if found else None) == high
    assert "rain" not in found


def test_no_image_is_read_where_no_size_is_near(table):
    assert usual_losses.usual_losses(224, None) == {}


def test_the_table_of_the_package_is_sound():
    rows = usual_losses._table()
    assert isinstance(rows, list)
    for row in rows:
        assert row["colours"] in ("grey", "colour")
        assert row["classifiers"] >= 8
        assert all(0 <= low <= high <= 1 for low, high in row["losses"].values())


def test_colours():
    assert colours_of(snellen.load_images("bundled:fashion-mnist").limit(40)) == "grey"
    assert colours_of(snellen.load_images("optotypes:scenes?count=20&size=16")) == "colour"
    one_red = np.zeros((3, 8, 8, 3), dtype=np.uint8)
    one_red[1, 0, 0, 0] = 200
    assert colours_of(snellen.load_images(one_red)) == "colour"


def test_only_what_is_more_than_usual_has_a_level():
    assert Finding(kind="corruption", harm=0.45, usual=0.5, title="fog").level == "note"
    assert Finding(kind="corruption", harm=0.75, usual=0.5, title="fog").level == "severe"


def test_the_corruption_check_says_what_is_usual(monkeypatch):
    kinds = ("fog", "pixelate")
    rows = [{"colours": "grey", "side": 28, "classifiers": 20, "losses": {"fog": [0.4, 0.7]}}]
    monkeypatch.setattr(usual_losses, "_table", lambda: rows)
    report = snellen.audit(
        "bundled:fashion-cnn",
        "bundled:fashion-mnist",
        checks=["clean", {"check": "corruption", "kinds": kinds, "families": False}],
        limit=150,
        progress=False,
    )
    fog = next(finding for finding in report.findings if finding.subject == "fog")
    assert fog.usual == 0.7
    assert fog.harm > 0.3
    assert fog.level == "note"
    assert "(healthy classifiers: 40 to 70)" in fog.title
    assert all(finding.usual == 0 for finding in report.findings if finding.subject == "pixelate")
    (note,) = [one for one in report.notes if one.startswith("It is not known what healthy classifiers")]
    assert "lose under pixelate at these strengths" in note


@pytest.fixture(scope="module")
def damaged():
    """Two kinds with strengths of our own, and what is known of each where rows are given."""

    def audit(monkeypatch, rows, **check):
        monkeypatch.setattr(usual_losses, "_table", lambda: rows)
        checks = ["clean", {"check": "corruption", "kinds": ["defocus_blur", "motion_blur"], **check}]
        return snellen.audit("bundled:fashion-cnn", "bundled:fashion-mnist", checks=checks, limit=150, progress=False)

    return audit


def grey(losses, **more):
    return {"colours": "grey", "side": 28, "classifiers": 20, "losses": losses, **more}


def test_losses_under_other_strengths_are_not_taken(damaged, monkeypatch):
    rows = [grey({"defocus_blur": [0.4, 0.9], "motion_blur": [0.0, 0.02]})]
    report = damaged(monkeypatch, rows, families=False)
    defocus = next(finding for finding in report.findings if finding.subject == "defocus_blur")
    assert defocus.usual == 0
    assert "(no healthy classifiers to compare with)" in defocus.title
    assert defocus.facts["healthy_classifiers"] == "none to compare with"
    motion = next(finding for finding in report.findings if finding.subject == "motion_blur")
    assert motion.usual == 0.02
    assert motion.facts["healthy_classifiers"] == "0 to 2 points"
    (note,) = [one for one in report.notes if one.startswith("It is not known what healthy classifiers")]
    assert "lose under defocus_blur at these strengths" in note


def test_losses_over_other_severities_are_not_taken(damaged, monkeypatch):
    rows = [grey({"defocus_blur": [0.4, 0.9]}, benchmark="sized")]
    report = damaged(monkeypatch, rows, families=False, kinds=["defocus_blur"], severities=[4, 5])
    (defocus,) = [finding for finding in report.findings if finding.subject == "defocus_blur"]
    assert defocus.usual == 0
    assert "(no healthy classifiers to compare with)" in defocus.title


def test_a_family_whose_worst_kind_is_not_compared_says_so(damaged, monkeypatch):
    (family,) = [one for one in damaged(monkeypatch, [grey({"defocus_blur": [0.4, 0.9]})]).findings if one.subject]
    assert family.key == "corruption:blur"
    assert family.facts["corruption"] == "defocus_blur"
    assert "(no healthy classifiers to compare with)" in family.title


def test_losses_under_the_same_strengths_are_taken(damaged, monkeypatch):
    rows = [grey({"defocus_blur": [0.0, 0.0]}), grey({"defocus_blur": [0.4, 0.9]}, benchmark="sized")]
    report = damaged(monkeypatch, rows, families=False, kinds=["defocus_blur"])
    (defocus,) = [finding for finding in report.findings if finding.subject == "defocus_blur"]
    assert defocus.usual == 0.9
    assert "(healthy classifiers: 40 to 90)" in defocus.title
    assert not any(one.startswith("It is not known what healthy classifiers") for one in report.notes)


def test_strengths_of_small_images_are_not_those_of_large_ones():
    assert "fog" in same_strengths("imagenet-c", 64, "imagenet-c", 95)
    assert not same_strengths("imagenet-c", 96, "imagenet-c", 64) & {"gaussian_noise", "motion_blur"}
    assert "gaussian_blur" in same_strengths("sized", 64, "sized", 32)
    assert "low_resolution" not in same_strengths("sized", 96, "sized", 64)


def of_nuisances(monkeypatch, **check):
    """Findings of nuisances of a small network of scenes, where snow is known to cost much."""
    row = {"colours": "colour", "side": 32, "classifiers": 16, "benchmark": "nuisance", "losses": {"snow": [0.2, 1.0]}}
    monkeypatch.setattr(usual_losses, "_table", lambda: [row])
    scenes = snellen.load_images("optotypes:scenes?count=120&shapes=star,ring,heart#test")
    checks = ["clean", {"check": "nuisance", "share": 1.0, **check}]
    report = snellen.audit("bundled:scene-cnn", scenes, checks=checks, progress=False)
    return {finding.key: finding for finding in report.findings}


def test_nuisances_are_compared_with_healthy_classifiers(monkeypatch):
    found = of_nuisances(monkeypatch)
    snow, blur = found["nuisance:snow"], found["nuisance:blur"]
    assert snow.harm > 0.05
    assert (snow.usual, snow.level) == (1.0, "note")
    assert snow.title.endswith("(healthy classifiers: 20 to 100)")
    assert snow.facts["healthy_classifiers"] == "20 to 100 points"
    assert blur.usual == 0, "of blur nothing is known here"
    assert blur.level != "note"


def test_other_strengths_of_a_nuisance_are_not_compared(monkeypatch):
    snow = of_nuisances(monkeypatch, nuisances=["snow"], strengths=[4, 5])["nuisance:snow"]
    assert snow.usual == 0
    assert snow.title.endswith("(no healthy classifiers to compare with)")
