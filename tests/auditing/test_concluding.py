"""What an audit says of checks that found nothing."""

from types import SimpleNamespace

import pytest

from snellen.auditing.concluding import unseen
from snellen.auditing.report import Judged
from snellen.checks.check import Conclusion


def test_checks_that_found_nothing_say_what_they_would_have_found_at_the_first_level():
    found, silent, unable = (SimpleNamespace(name=name) for name in ("found", "silent", "unable"))
    levels = []

    def seen(level):
        levels.append(level)
        return "a loss of 3 points"

    conclusions = {
        "found": Conclusion(sight=[lambda level: "not said, for it found something"]),
        "silent": Conclusion(sight=[seen]),
        "unable": Conclusion(sight=[lambda level: None]),
    }
    tested = Judged(hypotheses=20, findings=1, rate=0.05)
    assert unseen([found, silent, unable], conclusions, {0: found}, tested) == ("a loss of 3 points",)
    assert levels == [pytest.approx(0.05 / 20)], "what the smallest p value of all must reach"
