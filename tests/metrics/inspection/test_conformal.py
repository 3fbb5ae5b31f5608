"""Foreign images: uniform p values of known ones, names at a false discovery rate, and a share that covers."""

import numpy as np
import pytest

from snellen.core.errors import InputError
from snellen.metrics.inspection.conformal import foreign_images


def drawn(rng, count, unit=1):
    within = rng.normal(size=(count // unit, 5))[np.repeat(np.arange(count // unit), unit)]
    return within + 0.5 * rng.normal(size=(count, 5))


@pytest.mark.parametrize("unit", [1, 4])
def test_known_images_have_uniform_p_values_and_are_seldom_named(unit):
    shares, named, covered, refused = [], 0, 0, 0
    for seed in range(100):
        rng = np.random.default_rng(seed)
        known, images = drawn(rng, 400 * unit, unit), drawn(rng, 80 * unit, unit)
        codes = [None if unit == 1 else np.repeat(np.arange(len(one) // unit), unit) for one in (known, images)]
        found = foreign_images(known, images, known_units=codes[0], units=codes[1], seed=seed)
        shares.append([(found.p_values <= level).mean() for level in (0.05, 0.2, 0.5)])
        named += len(found.named) > 0
        covered += found.interval.low == 0
        refused += found.p_value <= 0.05
    assert np.mean(shares, axis=0) == pytest.approx([0.05, 0.2, 0.5], abs=0.02)
    assert named <= 5 + 3 * 2.2  # 5 % of 100 and three standard errors
    assert covered >= 93
    assert refused <= 5 + 3 * 2.2


def test_planted_images_are_named_at_the_rate_and_their_share_is_covered():
    wrong, found_share, covered = [], [], 0
    for seed in range(60):
        rng = np.random.default_rng(seed)
        images = drawn(rng, 300)
        images[:15] += 5.0
        found = foreign_images(drawn(rng, 1200), images, seed=seed)
        wrong.append((found.named >= 15).sum() / max(len(found.named), 1))
        found_share.append((found.named < 15).mean() if len(found.named) else 0)
        covered += found.interval.low <= 0.05 <= found.interval.high
        assert set(range(15)) <= set(found.named.tolist())
        assert found.named[0] < 15
        assert found.p_value < 1e-4  # among a hundred hypotheses of an audit, this is still one
    assert np.mean(wrong) <= 0.05 + 3 * np.std(wrong) / 60**0.5
    assert covered >= 55


def test_a_few_known_images_can_name_only_many_and_say_how_many():
    rng = np.random.default_rng(0)
    images = drawn(rng, 200)
    images[0] += 20.0
    found = foreign_images(drawn(rng, 120), images)
    assert not len(found.named)
    assert found.smallest_group == int(np.ceil(200 / (0.05 * 81)))
    assert foreign_images(drawn(rng, 120), images, rate=0.2).smallest_group == int(np.ceil(200 / (0.2 * 81)))
    images[: found.smallest_group] += 20.0
    assert len(foreign_images(drawn(rng, 120), images).named) >= found.smallest_group


@pytest.mark.parametrize(
    ("known", "images", "message"),
    [
        (np.zeros((100, 3)), np.zeros((5, 4)), "one d and n > 0"),
        (np.zeros((100, 3)), np.full((5, 3), np.nan), "finite"),
        (np.zeros((10, 3)), np.zeros((5, 3)), "needs 50 known images or units, got 10"),
    ],
)
def test_what_cannot_be_compared_is_refused(known, images, message):
    with pytest.raises(InputError, match=message):
        foreign_images(known, images)


def test_constant_features_are_no_error():
    assert not len(foreign_images(np.zeros((100, 3)), np.zeros((50, 3))).named)
