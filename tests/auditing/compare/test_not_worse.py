"""Margins to a baseline: parsed, judged on real runs and simulated ones, and what a gate makes of them."""

import dataclasses

import numpy as np
import pytest

import snellen
from snellen.auditing.compare.compare import compare_records
from snellen.auditing.compare.gate import gate, junit_xml
from snellen.auditing.compare.margins import parse_margins
from snellen.auditing.report import CheckStatus
from snellen.core.errors import InputError
from tests.auditing.compare.simulated_runs import run_of


def pair_of(rng, count, worse, better, *, units=None, other=False):
    """Two runs of which the second loses and gains shares of the images."""
    draw = rng.random(count)
    first, second = draw < 0.9, (draw < 0.9 - worse) | (draw > 1 - better)
    sure = np.full(count, 0.9)
    more = {"units": units}
    runs = [run_of(first, sure, {}, **more), run_of(second, sure, {}, **more)]
    if other:
        runs[0] = run_of(rng.random(count) < 0.9, sure, {}, fingerprint="other", **more)
    return runs


def judged(runs, margins, resamples=10):
    return compare_records(*runs, resamples=resamples, not_worse_than=margins)


def test_forms_of_margins():
    assert parse_margins(["1pt", "discrimination.auroc=0.02"]) == {"": 0.01, "discrimination.auroc": 0.02}
    assert parse_margins({"clean.accuracy": "2 points"}) == {"clean.accuracy": 0.02}
    assert parse_margins(0.03) == {"": 0.03}
    assert parse_margins(None) == {}
    for text, message in (
        ("1%", "expected points such as 1pt.*percentage"),
        ("0", "more than zero"),
        ("-1pt", "expected points"),
        ("5", "is 5: write 1pt for one point"),
    ):
        with pytest.raises(InputError, match=message):
            parse_margins(text)
    for number in (1, 5.0, float("nan"), float("inf")):
        with pytest.raises(InputError, match=r"more than zero|write 1pt for one point"):
            parse_margins(number)
    assert parse_margins(["class.Ankle boot.accuracy = 2pt"]) == {"class.Ankle boot.accuracy": 0.02}
    with pytest.raises(InputError, match="two margins came for the accuracy"):
        parse_margins(["1pt", "2pt"])


def test_verdicts():
    rng = np.random.default_rng(0)
    equal, lost = pair_of(rng, 3000, 0.01, 0.01), pair_of(rng, 3000, 0.08, 0.01)
    few = pair_of(rng, 60, 0.02, 0.02)
    assert judged(equal, {"": 0.02}).not_worse[0].verdict == "met"
    assert judged(lost, {"": 0.02}).not_worse[0].verdict == "not met"
    assert judged(few, {"": 0.02}).not_worse[0].verdict == "undecided"
    beyond = judged(pair_of(np.random.default_rng(0), 3000, 0.05, 0.01), {"": 0.025}).not_worse[0]
    assert (beyond.verdict, 0.025 <= beyond.low < 0.05) == ("not met", True), "the margin itself decides"
    advice = [
        judged(runs, {"": 0.02}).not_worse[0].words.endswith("; more images narrow the interval")
        for runs in (equal, few, lost)
    ]
    assert advice == [False, True, False]
    one = judged(equal, {"": 0.02}).not_worse[0]
    assert one.name == "clean.accuracy"
    assert one.paired
    assert one.p_value < 0.025
    assert one.low <= one.loss <= one.high < 0.02
    assert not judged(pair_of(rng, 3000, 0.01, 0.01, other=True), {"": 0.02}).not_worse[0].paired


def test_at_the_margin_models_pass_in_at_most_the_level_and_paired_beats_unpaired():
    from snellen.auditing.compare.not_worse import not_worse
    from snellen.auditing.compare.pairing import pair_runs

    rng, passed = np.random.default_rng(1), {"paired": 0, "apart": 0, "equal paired": 0, "equal apart": 0}
    for _ in range(50):
        for name, worse, other in (
            ("paired", 0.05, False), ("apart", 0.05, True), ("equal paired", 0.02, False), ("equal apart", 0.02, True)
        ):  # fmt: skip
            pair = pair_runs(*pair_of(rng, 600, worse, 0.02, other=other))
            passed[name] += not_worse(pair, {"": 0.03}, resamples=10)[0].verdict == "met"
    # 50 draws at 2.5 %: more than 4 in less than 1 in 100 simulations; the level itself is tested with the metric.
    assert passed["paired"] <= 4
    assert passed["apart"] <= 4
    assert passed["equal paired"] >= 40
    assert passed["equal paired"] > 1.5 * passed["equal apart"]


def test_figures_that_are_no_shares_and_units_and_classes():
    rng = np.random.default_rng(2)
    runs = pair_of(rng, 800, 0.005, 0.005, units=np.arange(800) // 8)
    found = judged(runs, {"calibration.brier": 0.1, "class.cat.accuracy": 0.2, "clean.balanced_accuracy": 0.1}, 30)
    assert [one.verdict for one in found.not_worse] == ["met", "met", "met"]
    assert found.not_worse[0].loss <= found.not_worse[0].high
    with pytest.raises(InputError, match="no better side"):
        judged(runs, {"label_noise.share": 0.1})
    with pytest.raises(InputError, match="neither run has a figure of this name; these are: "):
        judged(runs, {"corruption.rain.accuracy": 0.1})


def test_few_images_on_which_nothing_differs_show_little():
    rng = np.random.default_rng(4)
    for count, units, verdict in (
        (60, None, "undecided"),
        (2000, None, "met"),
        (2000, np.arange(2000) // 40, "undecided"),
    ):
        runs = pair_of(rng, count, 0, 0, units=units)
        (found,) = judged(runs, {"calibration.ece": 0.01}).not_worse
        assert (found.loss, found.verdict) == (0, verdict)
        assert found.low < 0 < found.high


def test_a_check_that_did_not_run_leaves_its_margin_not_measured():
    runs = pair_of(np.random.default_rng(3), 100, 0.01, 0.01)
    skipped = CheckStatus(name="discrimination", status="skipped", reason="has no training images")
    report = runs[1].report.model_copy(update={"checks": (*runs[1].report.checks, skipped)})
    changed = dataclasses.replace(runs[1], report=report)
    (found,) = judged([runs[0], changed], {"discrimination.auroc": 0.1}).not_worse
    assert (found.verdict, found.reason) == (
        "not measured", "the check discrimination was skipped in the second run: it has no training images"
    )  # fmt: skip
    assert not gate(changed.report, [], judged([runs[0], changed], {"discrimination.auroc": 0.1})).passes
    with pytest.raises(InputError, match=r"these are: class\.cat\.accuracy, class\.dog\.accuracy"):
        judged(runs, {"class.cow.accuracy": 0.1})


def test_a_gate_judges_margins_in_place_of_losses(audits):
    plain = snellen.compare(audits / "a", audits / "constant")
    assert plain.losses
    assert plain.to_json()["not_worse"] == []
    wide = snellen.compare(audits / "a", audits / "constant", not_worse_than=0.95)
    report = snellen.open_report(audits / "constant")
    assert not gate(report, [], plain).passes
    assert gate(report, [], wide).passes, "within the margin that was agreed on"
    assert b'failures="0"' in junit_xml(report, gate(report, [], wide))
    narrow = snellen.compare(audits / "a", audits / "constant", not_worse_than="1pt")
    failed = gate(report, [], narrow)
    assert [one.split(":")[0] for one in failed.failures] == ["clean.accuracy less than 0.01 worse than the baseline"]
    assert b'failures="1"' in junit_xml(report, failed)
    assert narrow.to_json()["not_worse"][0]["verdict"] == "not met"
