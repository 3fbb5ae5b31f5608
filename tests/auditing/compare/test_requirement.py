"""Requirements: how they are written, which end of the interval decides, and that nothing passes unmeasured."""

import numpy as np
import pytest
from scipy.stats import binom

from snellen.auditing.checks import resolve_checks
from snellen.auditing.compare.requirement import at_level, check_names, judge, parse_requirement
from snellen.auditing.report import AuditReport, CheckStatus, Judged
from snellen.checks.check import CheckFigure
from snellen.checks.eye_chart import Acuity, Cell, Column, EyeChart
from snellen.core.errors import InputError
from snellen.core.finding import Finding
from snellen.metrics.clustered import clustered_share


def report(**changes):
    fields = {
        "model": {"name": "m"},
        "data": {"name": "d"},
        "metrics": {
            "clean.accuracy": CheckFigure(value=0.92, low=0.89, high=0.94, n=300),
            "calibration.ece": CheckFigure(value=0.04, low=0.02, high=0.07, n=300),
        },
        "findings": (
            Finding(kind="corruption", subject="fog", harm=0.3, title="fog"),
            Finding(kind="corruption", subject="snow", harm=0.1, title="snow"),
            Finding(kind="calibration", harm=0.0, title="sure"),
        ),
        "tested": Judged(hypotheses=3, findings=3, rate=0.05),
        "checks": (
            CheckStatus(name="clean", status="done"),
            CheckStatus(name="calibration", status="done"),
            CheckStatus(name="adversarial", status="skipped", reason="needs gradients"),
        ),
    }
    return AuditReport(**{**fields, **changes})


def met(text, **changes):
    return judge([parse_requirement(text)], report(**changes))[0]


@pytest.mark.parametrize(
    ("text", "holds"),
    [
        ("clean.accuracy>=0.89", True),
        ("clean.accuracy>=0.9", False),  # the estimate would do, the lower end does not
        ("clean.accuracy.value>=0.9", True),
        ("clean.accuracy > 0.89", False),
        ("clean.accuracy<=0.95", True),
        ("clean.accuracy<0.93", False),
        ("calibration.ece<=0.05", False),
        ("calibration.ece.value<=0.05", True),
        ("calibration.ece<=7e-2", True),
        ("findings.severe<=1", True),
        ("findings.severe<=0", False),
        ("findings.moderate<=1", False),  # of this level or worse
        ("findings.moderate<=2", True),
        ("findings.note<3", False),
        ("findings.note>=3", True),
    ],
)
def test_the_harder_end_of_the_interval_decides(text, holds):
    assert met(text).met is holds


def test_the_reason_says_what_was_seen_and_what_would_help():
    told = met("clean.accuracy>=0.9").reason
    assert "lower end 0.8900 of 0.9200" in told
    assert "more images narrow the interval" in told
    assert "the estimate is 0.9200" in met("clean.accuracy.value>=0.9").reason
    assert "corruption:fog; corruption:snow" in met("findings.moderate<=1").reason


def test_what_was_not_measured_fails_with_the_reason():
    for text in ("adversarial.linf.8.accuracy>=0", "adversarial.linf.8.accuracy<=1"):
        judged = met(text)
        assert (judged.met, judged.reason) == (
            False,
            "not measured: the check adversarial was skipped, because it needs gradients",
        )
    assert met("drift.auroc<=1").reason == "not measured: the check drift did not run"
    assert "gave no figure of this name (clean.accuracy)" in met("clean.auroc>=0").reason
    assert not met("acuity.fog>=0").met
    assert not met("findings.sever<=9").met


FINDINGS = ("findings.severe<=5", "findings.note<=9", "findings.note>=0")


@pytest.mark.parametrize("text", FINDINGS)
def test_a_check_that_failed_meets_no_requirement_on_findings(text):
    assert met(text).met
    failed = (
        CheckStatus(name="clean", status="done"),
        CheckStatus(name="drift", status="failed", reason="no features"),
    )
    judged = met(text, checks=failed)
    assert not judged.met
    assert "not known, because checks failed: drift (no features)" in judged.reason
    assert met("drift.auroc<=1", checks=failed).reason == "not measured: the check drift failed: no features"
    assert met("clean.accuracy>=0.5", checks=failed).met


@pytest.mark.parametrize("text", FINDINGS)
def test_where_no_labelled_image_was_judged_no_number_of_findings_is_met(text):
    judged = met(text, metrics={}, findings=())
    assert not judged.met
    assert "no labelled image was judged" in judged.reason


def test_checks_that_were_skipped_are_named_beside_the_number_of_findings():
    judged = met("findings.severe<=5")
    assert judged.met
    assert judged.reason.endswith("; skipped: adversarial")


def test_a_gate_counts_all_harm_also_what_healthy_classifiers_lose():
    usual = (Finding(kind="corruption", subject="fog", harm=0.3, usual=0.4, title="fog"),)
    assert usual[0].level == "note"
    assert not met("findings.severe<=0", findings=usual).met
    assert met("findings.severe<=0", findings=(usual[0].model_copy(update={"harm": 0.1}),)).met


def test_how_often_a_share_passes_that_just_misses_its_bound():
    """By the binomial distribution: the bound is where the lower end of k right of n lies, the worst there is."""
    worst = {0.5: 0.0, 0.8: 0.0, 0.9: 0.0}
    for n in (10, 20, 40, 50, 100, 300, 1000):
        for k in range(1, n + 1):
            bound = clustered_share(np.arange(n) < k).low
            passes = float(binom.sf(k - 1, n, bound))
            for least in worst:
                if bound >= least:
                    worst[least] = max(worst[least], passes)
    assert worst[0.9] <= 0.027
    assert worst[0.8] <= 0.030
    assert 0.04 < worst[0.5] <= 0.044


def acuity(value, low, high, censored):
    cell = Cell(severity=5.0, retained=0.9, low=0.8, high=1.0, n=9)
    found = Acuity(value=value, low=low, high=high, censored=censored)
    columns = (
        Column(name="fog", check="corruption", cells=(cell,), acuity=found),
        Column(name="linf.8", check="adversarial", cells=(cell,)),
    )
    return {"eye_chart": EyeChart(clean_accuracy=0.9, chance=0.1, columns=columns)}


def test_acuity_by_its_harder_end_and_not_beyond_the_last_line():
    chart = acuity(2.5, 1.8, 3.0, False)
    assert met("acuity.fog>=1.8", **chart).met
    assert not met("acuity.fog>=2", **chart).met
    assert met("acuity.fog.value>=2", **chart).met
    assert not met("acuity.linf.8>=0", **chart).met, "a threat has one size and no acuity"
    reads_all = acuity(5.0, 4.0, 5.0, True)
    assert met("acuity.fog>=4", **reads_all).met
    assert not met("acuity.fog<=5", **reads_all).met, "how much further it reads nobody looked"
    assert not met("acuity.fog.value<=5", **reads_all).met
    for text in ("acuity.fog<=5", "acuity.fog.value<=5"):
        assert met(text, **reads_all).reason == "nothing bounds it: 4.0000 or more"
    assert met("acuity.fog>=4", **reads_all).reason == "lower end 4.0000 of 5.0000 (4.0000 or more)"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("clean.accuracy", "expected METRIC>=VALUE"),
        ("clean.accuracy==0.9", "expected METRIC>=VALUE"),
        ("clean.accuracy=>0.9", "expected METRIC>=VALUE"),
        (">=0.9", "expected METRIC>=VALUE"),
        ("clean.accuracy>=", "expected METRIC>=VALUE"),
        ("clean.accuracy>=90%", "'90%' is no finite number"),
        ("clean.accuracy>=nan", "no finite number"),
        ("clean.accuracy<=inf", "no finite number"),
        ("findings.severe.value<=0", "leave .value out: findings.severe<=0"),
    ],
)
def test_other_forms_are_refused(text, message):
    with pytest.raises(InputError, match="requirement") as told:
        parse_requirement(text)
    assert message in str(told.value)


def test_a_requirement_reads_as_it_is_written():
    for text in ("clean.accuracy>=0.9", "calibration.ece.value<0.05", "findings.severe<=0"):
        assert str(parse_requirement(text)) == text
        assert parse_requirement(str(parse_requirement(text))) == parse_requirement(text)
    assert str(at_level("moderate")) == "findings.moderate<=0"


def test_names_are_checked_before_the_audit():
    checks = resolve_checks(["clean", {"check": "corruption", "kinds": ["fog"], "severities": [2]}])
    good = ["clean.accuracy>=0", "corruption.fog.2.accuracy>=0", "acuity.fog>=1", "findings.severe<=0"]
    check_names([parse_requirement(text) for text in good], checks)
    for text, message in (
        ("clean.acuracy>=0", "did you mean 'clean.accuracy'"),
        ("corruption.fog.3.accuracy>=0", "'corruption.fog.2.accuracy'"),
        ("acuity.fogg>=1", "did you mean 'acuity.fog'"),
        ("findings.sever<=0", "'findings.severe'"),
        ("adversarial.linf.8.accuracy>=0", "the check adversarial does not run in this audit"),
        ("zzzzzz>=1", "these are: acuity.fog"),
    ):
        with pytest.raises(InputError) as told:
            check_names([parse_requirement(text)], checks)
        assert message in str(told.value)


def test_of_a_check_that_does_not_know_its_names_their_form_must_fit():
    checks = resolve_checks(["segmentation"])
    assert checks[-1].figure_names() is None
    check_names([parse_requirement("segmentation.class.road.iou>=0.6")], checks)
    with pytest.raises(InputError, match=r"did you mean 'segmentation\.miou'"):
        check_names([parse_requirement("segmentation.miouu>=0.6")], checks)
    with pytest.raises(InputError, match=r"calibration\.edema\.eece"):
        check_names([parse_requirement("calibration.edema.eece<=0.6")], resolve_checks(["calibration"]), "multilabel")


def test_the_names_are_those_that_audits_give(audits):
    """Every figure of a real audit was known before it ran, check by check."""
    from snellen.auditing.checks import build_check
    from snellen.auditing.compare.run_record import RunRecord

    record = RunRecord.read(audits / "a")
    known = {}
    for parameters in record.plan["checks"]:
        rest = {name: value for name, value in parameters.items() if name != "check"}
        known[parameters["check"]] = build_check(parameters["check"], rest).figure_names()
    for name in record.report.metrics:
        assert name in known[name.partition(".")[0]], name
    of_costs = {"clean.cost", "clean.cost_saved"}  # measured where costs are given
    assert set(record.report.metrics) >= (known["clean"] - of_costs) | known["corruption"]
