"""Transfer above chance, of images that both models get right."""

import numpy as np
import pytest

from snellen.core.errors import InputError
from snellen.metrics.transfer_rates import LEAST_COMMON, TransferPair, mean_tau, transfer_rates


def pair(count=200, *, common=0.9, source=0.95, target=0.5, floor=0.1, names=("a", "b"), seed=0):
    """Outcomes drawn with these shares."""
    rng = np.random.default_rng(seed)
    on_source, on_target = rng.random(count) < source, rng.random(count) < target
    return TransferPair(
        *names,
        rng.random(count) < common,
        on_source,
        on_target,
        rng.random((5, count)) < floor,
        rng.random((5, count)) < floor,
        on_source & on_target & (rng.random(count) < 0.5),
    )


@pytest.mark.covers("16.6", "16.5")
def test_the_shares_are_those_of_the_common_images():
    given = pair()
    rates, chosen = transfer_rates(given), given.common
    assert rates.count == chosen.sum()
    assert rates.source == pytest.approx(given.on_source[chosen].mean())
    assert rates.target == pytest.approx(given.on_target[chosen].mean())
    assert rates.random_target == pytest.approx(given.random_on_target[:, chosen].mean())
    assert rates.same_class == pytest.approx(given.same_class[chosen].mean())
    expected = (rates.target - rates.random_target) / (rates.source - rates.random_source)
    assert rates.tau == pytest.approx(expected)
    # What happens on other images changes nothing.
    other = TransferPair(**{**vars(given), "on_target": np.where(chosen, given.on_target, ~given.on_target)})
    assert transfer_rates(other) == rates


def test_transfer_is_one_for_the_same_outcomes_and_zero_for_the_floor():
    given = pair()
    same = TransferPair(**{**vars(given), "on_target": given.on_source, "random_on_target": given.random_on_source})
    assert transfer_rates(same).tau == pytest.approx(1)
    chance = TransferPair(**{**vars(given), "on_target": given.random_on_target[0]})
    assert transfer_rates(chance).tau == pytest.approx(0, abs=0.08)


@pytest.mark.covers("16.6")
def test_too_few_common_images_are_refused():
    assert LEAST_COMMON == 50
    few = pair(60, common=0.5)
    with pytest.raises(InputError, match=rf"classify {few.count} images correctly.*at least 50"):
        transfer_rates(few)
    with pytest.raises(InputError, match="at least 50"):
        mean_tau([pair(), few])


def test_a_weak_attack_has_no_transfer_to_tell():
    weak = pair(source=0.25, floor=0.1)
    assert transfer_rates(weak).tau is None
    with pytest.raises(InputError, match=r"none of 1 pairs has a source success 0\.2 above chance"):
        mean_tau([weak])
    value, _, defined = mean_tau([weak, pair(seed=1)])
    assert defined == 1
    assert value == pytest.approx(transfer_rates(pair(seed=1)).tau)


@pytest.mark.covers("16.7")
def test_the_mean_is_off_the_diagonal():
    with pytest.raises(InputError, match="two different models"):
        mean_tau([pair(names=("a", "a"))])
    with pytest.raises(InputError, match="at least one"):
        mean_tau([])


def test_the_interval_covers_the_truth_about_as_often_as_it_says():
    truth, hits = (0.5 - 0.1) / (0.95 - 0.1), 0
    for seed in range(60):
        pairs = [pair(150, common=1.0, seed=100 * seed + n, names=("a", str(n))) for n in range(6)]
        _, (low, high), _ = mean_tau(pairs, resamples=200, seed=seed)
        hits += low <= truth <= high
    assert hits >= 52


def test_the_same_seed_gives_the_same_interval_and_more_images_a_narrower_one():
    assert mean_tau([pair()]) == mean_tau([pair()])
    widths = []
    for count in (100, 1600):
        _, (low, high), _ = mean_tau([pair(count, seed=n, names=("a", str(n))) for n in range(4)])
        widths.append(high - low)
    assert widths[1] < 0.5 * widths[0]
