"""Equal and effective sizes: closed forms; nothing beyond what was measured."""

import numpy as np
import pytest

from snellen.core.errors import InputError
from snellen.systems.scaling_laws.equivalence import crossover, effective_size
from snellen.systems.scaling_laws.power_law import fit_power_law
from tests.systems.scaling_laws.scaled_runs import runs


def law(k, a=2.0, **options):
    return fit_power_law(runs(k, a, **options), rng=np.random.default_rng(0))


def test_equal_sizes_solve_the_two_laws():
    real, made = law(0.5), law(0.25)
    (found,) = crossover(made, real, [8])
    assert found.synthetic == pytest.approx(8**2)
    assert made.loss(found.synthetic) == pytest.approx(real.loss(8))


def test_there_is_no_answer_outside_of_what_was_measured_unless_it_is_requested():
    real, made = law(0.5), law(0.25)
    assert [one.synthetic for one in crossover(made, real, [64, 4])] == [None, None]
    assert [one.why_not for one in crossover(made, real, [64, 4])] == [
        "none in range: more than 256 synthetic images",
        "none in range: no real set of this size was measured",
    ]
    assert crossover(made, real, [64], extrapolate=True)[0].synthetic == pytest.approx(64**2)
    flat = law(-0.1)
    assert "does not fall" in crossover(flat, real, [8])[0].why_not
    better = law(0.5, a=0.2)
    assert crossover(better, real, [8])[0].why_not == "none in range: fewer than 8 synthetic images"


def test_an_exponent_that_is_nearly_zero_gives_no_size_instead_of_an_overflow():
    real, made = law(0.5), law(1e-5, a=8.0)
    assert crossover(made, real, [16])[0].why_not == "none in range: more than 256 synthetic images"
    assert "hardly falls" in crossover(made, real, [16], extrapolate=True)[0].why_not
    assert effective_size(0.1, made, 64, 72, extrapolate=True).size is None
    assert effective_size(0.1, made, 64, 72).value is None


def test_the_effective_size_inverts_the_law_of_real_images():
    real = law(0.5)
    found = effective_size(real.loss(100), real, real_size=64, synthetic_size=72)
    assert found.size == pytest.approx(100)
    assert found.value == pytest.approx(0.5)
    assert effective_size(real.loss(1000), real, 64, 72).size is None
    assert effective_size(real.loss(1000), real, 64, 72, extrapolate=True).size == pytest.approx(1000)
    with pytest.raises(InputError, match="a positive loss and synthetic images"):
        effective_size(0.0, real, 64, 72)
