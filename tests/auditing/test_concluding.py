"""What an audit says of checks that found nothing."""

from types import SimpleNamespace

import pytest

from snellen.auditing.concluding import judge, unseen
from snellen.auditing.report import Judged
from snellen.checks.check import CheckResult
from snellen.core.finding import Finding


def test_checks_that_found_nothing_say_what_they_would_have_found_at_the_first_level():
    found, silent, unable = (SimpleNamespace(name=name) for name in ("found", "silent", "unable"))
    levels = []

    def seen(level):
        levels.append(level)
        return "a loss of 3 points"

    conclusions = {
        "found": CheckResult(sight=[lambda level: "not said, for it found something"]),
        "silent": CheckResult(sight=[seen]),
        "unable": CheckResult(sight=[lambda level: None]),
    }
    tested = Judged(hypotheses=20, findings=1, rate=0.05)
    assert unseen([found, silent, unable], conclusions, {0: found}, tested) == ("a loss of 3 points",)
    assert levels == [pytest.approx(0.05 / 20)], "what the smallest p value of all must reach"


def test_the_command_that_treats_a_finding_stands_before_what_its_check_advises():
    def finding(kind, *words):
        return Finding(kind=kind, harm=0.1, title=kind, treatments=words)

    made = [finding("label_noise", "look through the list"), finding("duplicate", "one of each"), finding("leakage")]
    check = SimpleNamespace(name="any")
    findings, _, _ = judge([check], {"any": CheckResult(findings=made)}, trained=True)
    advised = {one.kind: one.treatments for one in findings}
    assert advised["label_noise"] == ("snellen treat . --finding label_noise --out treated", "look through the list")
    assert advised["duplicate"] == ("one of each",), "without a treatment, the words of the check stand alone"
    assert len(advised["leakage"]) == 1
