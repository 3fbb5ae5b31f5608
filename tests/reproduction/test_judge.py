"""The judge against simulations whose truth is known, and the rules of its verdicts."""

import numpy as np
import pytest

from snellen.core.errors import SnellenError
from snellen.core.system import Claim, Gate
from snellen.metrics.intervals import clopper_pearson, mean_interval
from snellen.reproduction import judge as judging
from snellen.reproduction.judge import judge_claim, judge_gate
from snellen.reproduction.sample import Sample


def claim(**changes):
    fields = {"id": "c", "statement": "s", "source": "t", "metric": "m", "direction": ">", "threshold": 0.0}
    return Claim(**{**fields, **changes})


def runs(values, baseline=None):
    """Figures of each seed."""
    if baseline is None:
        return [{"m": value} for value in values]
    return [{"m": value, "b": other} for value, other in zip(values, baseline, strict=True)]


def flips(rng, share, count):
    return Sample.of(rng.random(count) < share)


@pytest.mark.parametrize(
    ("seeds", "images", "spread"),
    [(5, 100, 0.0), (5, 100, 0.03), (5, 100, 0.1), (8, 60, 0.1), (5, 200, 0.2), (6, 600, 0.2)],
)
def test_the_interval_covers_the_truth(monkeypatch, seeds, images, spread):
    """Whether images or seeds make the noise: one trained network a seed is the last rows."""
    monkeypatch.setattr(judging, "REPLICATES", 500)
    rng, truth, covered, trials = np.random.default_rng(7), 0.5, 0, 200
    for trial in range(trials):
        shares = np.clip(truth + spread * rng.standard_normal(seeds), 0.0, 1.0)
        found = judge_claim(claim(id=f"c{trial}"), runs([flips(rng, share, images) for share in shares]))
        covered += found.low <= truth <= found.high
    assert covered / trials >= 0.93


@pytest.mark.parametrize(("spread", "images"), [(0.0, 60), (0.15, 200)])
def test_a_difference_that_is_none_is_seldom_decided(monkeypatch, spread, images):
    monkeypatch.setattr(judging, "REPLICATES", 500)
    rng, decided, trials = np.random.default_rng(11), 0, 200
    for trial in range(trials):
        ours = [flips(rng, np.clip(0.5 + spread * rng.standard_normal(), 0, 1), images) for _ in range(6)]
        theirs = [flips(rng, np.clip(0.5 + spread * rng.standard_normal(), 0, 1), images) for _ in range(6)]
        decided += judge_claim(claim(id=f"n{trial}", baseline="b"), runs(ours, theirs)).verdict != "undecided"
    assert decided / trials <= 0.075


def test_few_pairs_of_right_and_wrong_decide_little():
    """Six seeds of three pairs that all gained: eighteen events do not show a gain above nine tenths."""
    ours, theirs = [Sample((1, 1, 1))] * 6, [Sample((0, 0, 0))] * 6
    found = judge_claim(claim(baseline="b", threshold=0.9), runs(ours, theirs))
    assert found.verdict == "undecided"
    assert 0.5 < found.low < 0.9
    assert judge_claim(claim(baseline="b", threshold=0.0), runs(ours, theirs)).verdict == "holds"


@pytest.mark.smoke
def test_a_value_outside_of_the_natural_range_is_an_error():
    with pytest.raises(SnellenError, match=r"claim c is about values in \[0\.0, 1\.0\], and a seed gave 1\.98"):
        judge_claim(claim(range=(0.0, 1.0)), runs([0.5, 1.98, 0.6]))


def test_pairs_are_drawn_together():
    """Two figures that differ by a constant image by image: the images' own spread must not count."""
    rng = np.random.default_rng(1)
    first = [Sample.of(rng.normal(0, 10, 200)) for _ in range(5)]
    second = [Sample.of(np.array(one.values) - 0.5 - 0.01 * rng.random(200)) for one in first]
    found = judge_claim(claim(baseline="b"), runs(first, second))
    assert (found.verdict, found.high - found.low < 0.01) == ("holds", True)
    apart = [Sample.of(rng.permutation(one.values)[:-1]) for one in second]
    loose = judge_claim(claim(baseline="b"), runs(first, apart))
    assert loose.verdict == "undecided", "sets of other sizes are no pairs"
    assert loose.high - loose.low > 1


def test_more_images_within_seeds_give_a_narrower_interval_and_seeds_of_their_own_do_not():
    rng = np.random.default_rng(2)
    narrow, wide = (judge_claim(claim(), runs([flips(rng, 0.5, count) for _ in range(5)])) for count in (2_000, 50))
    assert narrow.high - narrow.low < 0.5 * (wide.high - wide.low)
    far = judge_claim(claim(), runs([Sample((value,) * 2_000) for value in (0.1, 0.3, 0.5, 0.7, 0.9)]))
    assert far.high - far.low > 0.4, "seeds that disagree stay apart however many images they have"


def test_a_share_of_few_events_gets_its_exact_interval():
    """48 attacks without a success are not an interval of no width."""
    rows = [Sample((0.0,) * 12) for _ in range(4)]
    found = judge_claim(claim(direction="<", threshold=0.05), runs(rows))
    assert (found.low, found.high) == pytest.approx((0.0, clopper_pearson(0, 48).high))
    assert found.verdict == "undecided"
    many = [Sample((0.0,) * 100) for _ in range(5)]
    assert judge_claim(claim(direction="<", threshold=0.05), runs(many)).verdict == "holds"


def test_numbers_of_seeds_get_the_interval_of_student():
    values = [0.2, 0.25, 0.3, 0.22, 0.28]
    found = judge_claim(claim(), runs(values))
    assert (found.low, found.high) == pytest.approx(tuple(mean_interval(values)))
    assert found.images == (0, 0, 0, 0, 0)


def test_intervals_end_at_the_natural_range():
    values = [0.9, 0.99, 0.7, 0.95, 1.0]
    open_ended = judge_claim(claim(), runs(values))
    clipped = judge_claim(claim(range=(0.0, 1.0)), runs(values))
    assert open_ended.high > 1
    assert (clipped.low, clipped.high) == (open_ended.low, 1.0)


@pytest.mark.parametrize(
    ("values", "verdict"),
    [([1.0] * 6, "holds"), ([1.0] * 5, "undecided"), ([-1.0] * 6, "fails"), ([0.0] * 6, "fails")],
)
def test_values_that_do_not_vary_are_judged_by_their_signs(values, verdict):
    found = judge_claim(claim(), runs(values))
    assert (found.verdict, found.low, found.high) == (verdict, None, None)
    assert "do not vary" in found.reason


@pytest.mark.parametrize(
    ("direction", "values", "verdict"),
    [
        (">", [1.0, 1.1, 0.9, 1.0, 1.2], "holds"),
        (">", [-1.0, -1.1, -0.9, -1.0, -1.2], "fails"),
        (">", [0.1, -0.1, 0.2, -0.2, 0.05], "undecided"),
        ("<", [-1.0, -1.1, -0.9, -1.0, -1.2], "holds"),
        ("<", [1.0, 1.1, 0.9, 1.0, 1.2], "fails"),
    ],
)
def test_a_claim_fails_only_when_the_whole_interval_lies_on_the_other_side(direction, values, verdict):
    assert judge_claim(claim(direction=direction), runs(values)).verdict == verdict


def test_one_seed_decides_nothing():
    found = judge_claim(claim(), runs([Sample((1.0,) * 100)]))
    assert (found.verdict, found.low) == ("undecided", None)


def test_what_is_missing_stays_missing():
    found = judge_claim(claim(baseline="b"), runs([0.5, None, 0.6], [0.1, 0.1, None]))
    assert (found.verdict, found.ours, found.baseline, found.low) == ("missing", None, None, None)
    assert found.values == (0.5, None, 0.6)
    assert found.reason == "2 of the values could not be measured"


def test_behind_a_closed_gate_nothing_holds_and_nothing_fails():
    gate = Gate(id="lit", statement="the lamp burns", metric="m", direction=">", threshold=0.5)
    assert judge_gate(gate, runs([0.6, 0.7])).open
    shut = judge_gate(gate, runs([0.6, 0.1]))
    assert (shut.open, shut.value) == (False, pytest.approx(0.35))
    assert not judge_gate(gate, runs([0.9, None])).open, "what could not be measured opens no gate"
    for values in ([1.0, 1.1, 0.9], [-1.0, -1.1, -0.9], [None, 1.0, 1.0]):
        found = judge_claim(claim(gates=("lit",)), runs(values), closed=["lit"])
        assert (found.verdict, found.reason) == ("not run", "closed: lit")
    assert judge_claim(claim(gates=("other",)), runs([1.0, 1.1, 0.9, 1.0]), closed=["lit"]).verdict == "holds"


def test_the_same_figures_give_the_same_interval():
    rows = runs([flips(np.random.default_rng(seed), 0.5, 50) for seed in range(5)])
    one, again = judge_claim(claim(), rows), judge_claim(claim(), rows)
    assert (one.low, one.high) == (again.low, again.high)


@pytest.mark.parametrize("values", [(), (float("nan"),), (1.0, float("inf"))])
def test_a_sample_has_finite_values(values):
    with pytest.raises(SnellenError, match="return None if missing"):
        Sample(values)
