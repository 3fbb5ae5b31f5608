"""Known groups: kept in the evidence, and compared image by image."""

from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

import snellen
from snellen.auditing.audit import audit
from snellen.auditing.compare.compare import compare_records
from snellen.auditing.compare.run_record import RunRecord
from snellen.core.finding import Finding
from snellen.data.references import load_images
from snellen.testing.conformance import small_problem
from tests.auditing.compare.simulated_runs import run_of
from tests.auditing.compare.test_compare import finding, outcomes


def in_groups(south_right, *, told=(), groups=None, seed=0, **more):
    """A run of 800 images, half in the north, where nine in ten are right, half in the south."""
    names = np.array(["north", "south"])[np.arange(800) % 2] if groups is None else groups
    right = np.random.default_rng(seed).random(800) < np.where(np.arange(800) % 2 == 0, 0.9, south_right)
    findings = [Finding(kind="group_gap", subject=name, harm=0.1, title=name) for name in told]
    return run_of(right, np.full(800, 0.8), {}, groups=list(names), findings=findings, **more)


def test_gaps_of_groups_are_paired_by_the_groups_of_the_evidence():
    even, apart = in_groups(0.9), in_groups(0.6, told=["south"], seed=1)
    grown = compare_records(even, apart, resamples=50)
    south = finding(grown, "group_gap:south")
    assert (south.verdict, south.paired, south.reason) == ("new", True, None)
    assert south.difference == pytest.approx(0.3, abs=0.05)
    assert 0.2 < south.low < south.difference < south.high < 0.5
    assert "group_gap.worst_accuracy" in {figure.name for figure in grown.losses}
    shrunk = compare_records(in_groups(0.6, told=["south"], seed=1), in_groups(0.9), resamples=50)
    assert finding(shrunk, "group_gap:south").verdict == "mended"
    same = compare_records(apart, apart, resamples=50)
    assert finding(same, "group_gap:south").verdict == "same"
    # On other images nothing is paired, and the interval is wider.
    other = compare_records(even, in_groups(0.6, told=["south"], seed=1, fingerprint="other"), resamples=50)
    unpaired = finding(other, "group_gap:south")
    assert (unpaired.verdict, unpaired.paired) == ("new", False)


def test_pairing_groups_finds_what_two_intervals_do_not():
    """Ten of four hundred images are lost, and all others are right or wrong in both."""
    before = np.random.default_rng(0).random(800) < 0.7
    after = before.copy()
    after[np.flatnonzero(before & (np.arange(800) % 2 == 1))[:14]] = False
    names = list(np.array(["north", "south"])[np.arange(800) % 2])
    told = [Finding(kind="group_gap", subject="south", harm=0.1, title="south")]
    runs = [run_of(right, np.full(800, 0.8), {}, groups=names, findings=told) for right in (before, after)]
    assert finding(compare_records(*runs, resamples=50), "group_gap:south").verdict == "worse"
    apart = replace(runs[1], plan={**runs[1].plan, "data": {"fingerprint": "other"}})
    assert finding(compare_records(runs[0], apart, resamples=50), "group_gap:south").verdict == "unclear"


def test_groups_that_changed_are_not_paired_and_said_so():
    turned = list(np.array(["south", "north"])[np.arange(800) % 2])
    found = compare_records(in_groups(0.6, told=["south"]), in_groups(0.6, told=["south"], groups=turned), resamples=50)
    south = finding(found, "group_gap:south")
    assert (south.paired, south.reason) == (False, "not paired: other images belong to it in the second run")
    worst = next(figure for figure in found.figures if figure.name == "group_gap.worst_accuracy")
    assert (worst.verdict, worst.reason) == ("not compared", "images belong to other groups in the second run")
    # Evidence of an audit without groups: no verdict, and the reason.
    bare = run_of(*outcomes(800), findings=[Finding(kind="group_gap", subject="south", harm=0.1, title="south")])
    missing = finding(compare_records(bare, in_groups(0.6), resamples=50), "group_gap:south")
    assert missing.verdict == "unclear"
    assert "no such group" in missing.reason


def test_audits_keep_the_groups_of_their_images(tmp_path):
    """Groups of a manifest, some unknown, are in the evidence of every shard, and the figure is that of the check."""
    classifier, images, labels = small_problem(count=60, size=8)
    rng = np.random.default_rng(0)
    rows = ["path,label,group"]
    for index, (image, label) in enumerate(zip(images, labels.tolist(), strict=True)):
        pixels = (image.permute(1, 2, 0).numpy() * 255).round().astype(np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"{index}.png")
        rows.append(f"{index}.png,{classifier.class_names[label]},{rng.choice(['north', 'south', ''])}")
    (tmp_path / "images.csv").write_text("\n".join(rows) + "\n")
    given = load_images(tmp_path / "images.csv")
    for name in ("a", "b"):
        report = audit(classifier, given, out=tmp_path / name, checks=["clean", "group_gap"], batch_size=4)
    record = RunRecord.read(tmp_path / "a")
    known = dict(zip(given.ids, given.column("group"), strict=True))
    assert record.images.groups == tuple(known[key] or None for key in record.images.ids)
    assert {"north", "south", None} == set(record.images.groups)
    found = snellen.compare(tmp_path / "a", tmp_path / "b")
    worst = next(figure for figure in found.figures if figure.name == "group_gap.worst_accuracy")
    assert (worst.verdict, worst.paired) == ("same", True)
    assert worst.first == pytest.approx(report.metrics["group_gap.worst_accuracy"].value)
