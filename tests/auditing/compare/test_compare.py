"""Two runs compared: what is planted is found, what is equal is the same, and what cannot be compared is said."""

import json

import numpy as np
import pytest

import snellen
from snellen.auditing.compare.compare import compare_records
from snellen.auditing.compare.page import render_comparison
from snellen.auditing.compare.run_record import RunRecord, report_from_json
from snellen.core.errors import InputError
from snellen.core.finding import Finding
from snellen.core.run import canonical_json
from tests.auditing.compare.simulated_runs import NAMES, run_of

FOG = Finding(kind="corruption", subject="fog", harm=0.2, title="Fog costs 20 points")


def outcomes(count=1000, seed=0, wrong=0.1):
    rng = np.random.default_rng(seed)
    right = rng.random(count) >= wrong
    under = {("corruption", f"fog.{severity}"): right & (rng.random(count) < 0.7) for severity in (1, 3)}
    return right, np.where(rng.random(count) < 0.5, 0.85, 0.95), under


def verdicts(comparison):
    return {figure.name: figure.verdict for figure in comparison.figures}


def finding(comparison, key="corruption:fog"):
    return {found.key: found for found in comparison.findings}[key]


def test_equal_runs_are_the_same_everywhere():
    run = run_of(*outcomes(), findings=[FOG, Finding(kind="slice", subject="1", harm=0.1, title="dark images")])
    found = compare_records(run, run, resamples=50)
    assert set(verdicts(found).values()) == {"same"}
    assert {one.verdict for one in found.findings} == {"same"}
    assert found.losses == found.gains == ()
    assert found.acuities[0].difference == 0


def test_five_percent_of_flipped_decisions_are_a_loss_and_the_other_way_a_gain():
    right, sure, under = outcomes()
    flipped = right.copy()
    flipped[np.random.default_rng(1).choice(np.flatnonzero(right), 50, replace=False)] = False
    before, after = run_of(right, sure, under), run_of(flipped, sure, under)
    found = compare_records(before, after, resamples=50)
    loss = {figure.name: figure for figure in found.losses}["clean.accuracy"]
    assert loss.difference == pytest.approx(-0.05)
    assert loss.low < -0.05 < loss.high < 0
    assert loss.paired
    assert verdicts(found)["corruption.fog.1.accuracy"] == "same"
    back = compare_records(after, before, resamples=50)
    assert "clean.accuracy" in {figure.name for figure in back.gains}
    assert not back.losses


def test_a_change_that_only_their_number_makes_unclear_is_said_to_be_one():
    right, sure, under = outcomes()
    flipped = right.copy()
    flipped[np.flatnonzero(right)[:6]] = False
    before, after = run_of(right, sure, under), run_of(flipped, sure, under)
    found = compare_records(before, after, resamples=50, margin=0)
    told = {figure.name: figure for figure in found.figures}
    assert (told["clean.accuracy"].verdict, told["clean.accuracy"].high < 0) == ("unclear", True)
    among = f"a change if tested alone, and not sure among the {found.tested['figures']} differences"
    assert told["clean.accuracy"].reason.startswith(among)
    assert told["class.owl.accuracy"].verdict == "unclear"
    assert told["class.owl.accuracy"].reason is None, "one image is no change by itself either"


def lossy(share, seed=0, count=1000, **more):
    """A run whose images are right clean, and right under fog with a probability."""
    rng = np.random.default_rng(seed)
    right, sure, _ = outcomes(count)
    under = {("corruption", f"fog.{s}"): right & (rng.random(count) < share) for s in (1, 3)}
    return run_of(right, sure, under, **more)


@pytest.mark.parametrize(
    ("before", "after", "told_before", "told_after", "verdict"),
    [
        (0.6, 0.95, True, False, "mended"),
        (0.6, 0.8, True, True, "better"),
        (0.8, 0.6, True, True, "worse"),
        (0.95, 0.6, False, True, "new"),
        (0.8, 0.8, True, True, "unclear"),  # other images are lost, as many: neither change nor sameness is shown
        (0.8, 0.8, True, False, "unclear"),  # no longer told, but not shown to be smaller
        (0.8, 0.8, False, True, "unclear"),
    ],
)
def test_a_finding_is_judged_by_its_quantity(before, after, told_before, told_after, verdict):
    runs = lossy(before, 1, findings=[FOG] * told_before), lossy(after, 2, findings=[FOG] * told_after)
    assert finding(compare_records(*runs, resamples=50)).verdict == verdict


def test_of_a_finding_too_that_only_the_number_of_them_makes_unclear():
    found = compare_records(lossy(0.8, 1, findings=[FOG]), lossy(0.77, 2, findings=[FOG]), resamples=50)
    assert finding(found).p_value < 0.05
    assert (finding(found).verdict, found.tested["findings"]) == ("unclear", 7)
    assert "not sure among the 7 differences" in finding(found).reason


def test_a_finding_that_vanishes_with_most_images_is_unclear():
    many, few = lossy(0.7, 1, findings=[FOG]), lossy(0.7, 1, 40, fingerprint="fewer")
    found = compare_records(many, few, resamples=50)
    assert not found.paired
    assert finding(found).verdict == "unclear"
    assert finding(found).second_harm is None
    assert any("nothing is paired" in note for note in found.notes)


def test_a_finding_that_is_no_longer_reported_is_unclear_though_not_one_image_differs():
    found = finding(compare_records(lossy(0.7, 1, findings=[FOG]), lossy(0.7, 1), resamples=50))
    assert (found.verdict, found.difference) == ("unclear", 0.0)


def test_a_gap_that_grows_because_the_others_improve_is_reported_as_such():
    labels = np.arange(1000) % 4
    rng = np.random.default_rng(0)
    before = rng.random(1000) < 0.6
    after = before | ((labels != 2) & (rng.random(1000) < 0.9))
    told = Finding(kind="worst_class", subject="owl", harm=0.1, title="owl")
    sure = np.full(1000, 0.8)
    found = compare_records(run_of(before, sure, {}), run_of(after, sure, {}, findings=[told]), resamples=50)
    assert finding(found, "worst_class:owl").verdict == "new"
    assert verdicts(found)["class.owl.accuracy"] == "same"
    assert not found.losses, "nothing was lost: a gate passes"


def test_units_count_and_not_their_images():
    rng = np.random.default_rng(0)
    codes = np.repeat(np.arange(60), 8)
    before = np.ones(480, dtype=bool)
    after = ~np.isin(codes, rng.choice(60, 4, replace=False))
    sure = np.full(480, 0.9)
    images = compare_records(run_of(before, sure, {}), run_of(after, sure, {}), resamples=50)
    units = compare_records(run_of(before, sure, {}, units=codes), run_of(after, sure, {}, units=codes), resamples=50)
    assert (images.units, units.units) == (480, 60)
    assert verdicts(images)["clean.accuracy"] == "worse"
    assert verdicts(units)["clean.accuracy"] == "unclear", "four of sixty patients prove little"


def test_images_are_matched_by_id_whatever_their_order():
    right, sure, under = outcomes(200)
    ids = [f"image {row:06d}" for row in range(200)]
    labels = np.arange(200) % 4
    mixed = np.random.default_rng(3).permutation(200)[:150]
    first = run_of(right, sure, under, ids=ids, labels=labels)
    second = run_of(
        right[mixed],
        sure[mixed],
        {key: values[mixed] for key, values in under.items()},
        ids=[ids[row] for row in mixed],
        labels=labels[mixed],
    )
    found = compare_records(first, second, resamples=50)
    assert found.shared == 150
    assert set(verdicts(found).values()) == {"same"}
    assert any("50 were used in the first alone" in note for note in found.notes)


def test_classes_in_another_order_are_matched_by_name():
    right, sure, under = outcomes(200)
    labels = np.arange(200) % 4
    turned = tuple(NAMES[::-1])
    first = run_of(right, sure, under, labels=labels)
    second = run_of(right, sure, under, labels=3 - labels, model={"class_names": list(turned)})
    assert set(verdicts(compare_records(first, second, resamples=50)).values()) == {"same"}


def test_runs_that_have_another_meaning_are_refused():
    run = run_of(*outcomes(100))
    other = run_of(*outcomes(100), model={"class_names": ["cat", "dog", "owl", "cow"]})
    with pytest.raises(InputError, match="other classes") as told:
        compare_records(run, other)
    assert "fox only in the first run; cow only in the second run" in str(told.value)
    unlabelled = run_of(*outcomes(100), labels=np.arange(100) % 4)
    empty = RunRecord(unlabelled.report, unlabelled.plan, {"clean": unlabelled.evidence["clean"].where(label=7)})
    with pytest.raises(InputError, match="the second run measured no labelled image"):
        compare_records(run, empty)
    elsewhere = run_of(*outcomes(100), ids=[f"other {row}" for row in range(100)])
    with pytest.raises(InputError, match="not one image could be used in both"):
        compare_records(run, elsewhere)
    with pytest.raises(InputError, match="margin"):
        compare_records(run, run, margin=-1)


def test_checks_with_other_parameters_are_not_compared():
    run = run_of(*outcomes(100), findings=[FOG])
    changed = json.loads(json.dumps([dict(check) for check in run.plan["checks"]]))
    changed[-2]["benchmark"], changed[1]["bins"] = "bloodmnist", 10
    found = compare_records(run, run_of(*outcomes(100), findings=[], checks=changed), resamples=50)
    told = {figure.name: figure for figure in found.figures}
    assert told["corruption.fog.1.accuracy"].verdict == "not compared"
    assert "benchmark imagenet-c and bloodmnist" in told["corruption.fog.1.accuracy"].reason
    assert told["calibration.ece"].verdict == "not compared"
    assert told["clean.accuracy"].verdict == "same"
    assert finding(found).verdict == "unclear"
    assert "other parameters" in finding(found).reason


def test_means_over_other_severities_are_not_compared_but_common_severities_are():
    run = run_of(*outcomes(100))
    changed = [dict(check) for check in run.plan["checks"]]
    changed[-2]["severities"] = [1.0]
    found = verdicts(compare_records(run, run_of(*outcomes(100), checks=changed), resamples=50))
    assert found["corruption.fog.error"] == "not compared"
    assert found["corruption.fog.1.accuracy"] == "same"


# -- from files --------------------------------------------------------------------------------------------------------


def test_figures_are_those_of_the_reports(audits):
    found = snellen.compare(audits / "a", str(audits / "constant"))
    for which in ("first", "second"):
        metrics = RunRecord.read(audits / ("a" if which == "first" else "constant")).report.metrics
        compared = {one.name: getattr(one, which) for one in found.figures if one.difference is not None}
        assert compared.keys() >= {"clean.accuracy", "clean.balanced_accuracy", "calibration.brier", "selective.aurc"}
        assert "calibration.ece_with_temperature" in compared
        for name in compared.keys() & metrics.keys():
            assert compared[name] == pytest.approx(metrics[name].value, abs=1e-9), name


def test_two_audits_from_disk(audits):
    same = snellen.compare(audits / "a", audits / "again")
    assert {one.verdict for one in (*same.figures, *same.findings)} == {"same"}
    worse = snellen.compare(audits / "a", audits / "constant")
    assert "clean.accuracy" in {figure.name for figure in worse.losses}
    assert canonical_json(worse.to_json()) == canonical_json(
        snellen.compare(audits / "a", audits / "constant").to_json()
    )
    assert "60 images, paired" in repr(worse)
    assert "<b>" not in worse._repr_html_()


def test_the_page_is_one_file_and_names_are_data(audits):
    records = [RunRecord.read(audits / name) for name in ("a", "constant")]
    page = render_comparison(compare_records(*records), *(record.report for record in records))
    assert "<b>" not in page.split("<main>")[0]
    assert "&lt;b&gt;" in page
    assert "eye-chart" in page
    assert "default-src 'none'" in page
    assert "http" not in page.replace("http-equiv", "").replace("http://www.w3.org", "")


def test_what_is_no_finished_audit_is_refused_with_the_reason(audits, tmp_path):
    for folder, message in ((tmp_path / "none", "no such folder"), (tmp_path, "it is no run directory")):
        with pytest.raises(InputError, match=message):
            snellen.compare(folder, audits / "a")
    (tmp_path / "manifest.json").write_text('{"kind": "audit"}')
    with pytest.raises(InputError, match="not finished"):
        snellen.compare(tmp_path, audits / "a")
    (tmp_path / "report.json").write_text("{}")
    (tmp_path / "manifest.json").write_text('{"kind": "shift"}')
    with pytest.raises(InputError, match="only audits can be compared"):
        snellen.compare(tmp_path, audits / "a")
    (tmp_path / "manifest.json").write_text('{"kind": "audit", "companions": {"tune": {"fingerprint": "a"}}}')
    with pytest.raises(InputError, match="audit again, with --val"):
        snellen.compare(tmp_path, audits / "a")
    (tmp_path / "manifest.json").write_text("[1]")
    with pytest.raises(InputError, match="not that of an audit"):
        snellen.compare(tmp_path, audits / "a")
    (tmp_path / "manifest.json").write_text("{")
    with pytest.raises(InputError, match="cannot be read as JSON"):
        snellen.compare(tmp_path, audits / "a")
    with pytest.raises(InputError, match="not the report of an audit"):
        report_from_json({"findings": []}, "here")
    report = RunRecord.read(audits / "a").report
    with pytest.raises(InputError, match="the first report kept no run directory"):
        snellen.compare(report, audits / "a")
    kept = report.model_copy(update={"folder": audits / "a"})
    assert not snellen.compare(kept, kept).losses
