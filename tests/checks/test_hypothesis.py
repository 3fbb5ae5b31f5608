"""Which hypotheses become findings, and with which bounds."""

import numpy as np
import pytest

from snellen.checks.hypothesis import Hypothesis, confirmed
from snellen.core.finding import Finding


def hypothesis(p_value, harm=0.1):
    asked = []

    def bound(confidence):
        asked.append(confidence)
        return harm

    made = Hypothesis(
        p_value, bound, lambda found: Finding(kind="drift", harm=found, p_value=p_value, title=str(p_value))
    )
    return made, asked


def test_nothing_tested_is_nothing_reported():
    assert confirmed([]) == []


@pytest.mark.smoke
def test_benjamini_and_hochberg_choose_over_all_together():
    # 0.05 · 2/4 = 0.025 ≥ 0.02, so both small ones are told; alone, 0.02 would need 0.0125.
    tested = [hypothesis(p) for p in (0.02, 0.5, 0.005, 0.9)]
    told = confirmed([one for one, _ in tested])
    assert [finding is not None for finding in told] == [True, False, True, False]
    asked = [confidence for _, confidences in tested for confidence in confidences]
    assert asked == pytest.approx([1 - 0.05 * 2 / 4] * 2), "bounds at 1 − rate · chosen / tested"


@pytest.mark.parametrize(("bound", "harm"), [(-0.2, 0.0), (0.3, 0.3), (1.7, 1.0)])
def test_harm_stays_a_share(bound, harm):
    (finding,) = confirmed([hypothesis(1e-9, bound)[0]])
    assert finding.harm == harm


def test_true_hypotheses_are_seldom_reported():
    rng, told = np.random.default_rng(0), 0
    for _ in range(400):
        told += any(confirmed([hypothesis(p)[0] for p in rng.random(30)]))
    assert told <= 33, "5 % of 400 are 20, with a standard error of 4.4"
