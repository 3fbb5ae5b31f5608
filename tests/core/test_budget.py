"""What was spent adds up; what may be spent names the limit that was passed."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from snellen.core.budget import Budget, Spent, seconds_of, time_words
from snellen.core.errors import InputError

count = st.integers(0, 10**12)
spent = st.builds(
    Spent, queries=count, gradients=count, generator_calls=count, tokens=count, seconds=st.integers(0, 2**20).map(float)
)


@given(spent, spent, spent)
def test_spending_adds_up_in_any_order(first, second, third):
    assert first + second == second + first
    assert (first + second) + third == first + (second + third)
    assert first + Spent() == first
    for name in Spent.model_fields:
        assert getattr(first + second, name) == getattr(first, name) + getattr(second, name)


def test_counts_leave_the_clock_out():
    assert set(Spent(queries=1, seconds=2.5).counts()) == set(Spent.model_fields) - {"seconds"}
    assert Spent(queries=1, seconds=2.5).counts()["queries"] == 1


@given(spent)
def test_no_limit_is_never_passed_and_an_exact_one_holds(used):
    assert Budget().exceeded(used) == []
    assert Budget(**used.model_dump()).exceeded(used) == []


@pytest.mark.parametrize("name", list(Budget.model_fields))
def test_each_limit_that_was_passed_is_named(name):
    used = Spent(**dict.fromkeys(Spent.model_fields, 8))
    (told,) = Budget(**{name: 7}).exceeded(used)
    assert told.startswith(f"{name}: 8")
    assert told.endswith(("7 allowed", "7.0 allowed"))
    assert len(Budget(**dict.fromkeys(Budget.model_fields, 0)).exceeded(used)) == len(Budget.model_fields)


def test_budget_and_spending_are_about_the_same_quantities():
    assert list(Budget.model_fields) == list(Spent.model_fields)


def test_wrong_values_are_refused():
    for kind in (Spent, Budget):
        for wrong in ({"queries": -1}, {"seconds": -0.1}, {"queries": 1.5}, {"images": 3}):
            with pytest.raises(ValidationError):
                kind(**wrong)
    with pytest.raises(ValidationError):
        Spent().queries = 3


@pytest.mark.parametrize(
    ("written", "seconds"),
    [("90s", 90), ("5m", 300), ("2h", 7200), ("1.5h", 5400), (".5m", 30), (" 5 m ", 300), (20, 20), (0.5, 0.5)],
)
def test_times_are_read_as_people_write_them(written, seconds):
    assert seconds_of(written) == seconds


@pytest.mark.parametrize("written", ["5", "5min", "m", "", "-5m", "5 m m", "1e3s", "٥m", "5M", "1h30m"])
def test_other_texts_are_no_times(written):
    with pytest.raises(InputError, match=r"is no time; write a number with its unit: 90s, 5m or 2h"):
        seconds_of(written)


@pytest.mark.parametrize("given", ["0s", "0.0h", 0, -1, float("nan"), float("inf"), "9" * 400 + "h"])
def test_a_budget_is_above_zero_and_ends(given):
    with pytest.raises(InputError, match="a budget must be a time above zero"):
        seconds_of(given)


@given(st.floats(0.01, 1e6))
def test_times_in_words_are_near(seconds):
    number, unit = time_words(seconds).split()
    assert float(number) * {"s": 1, "min": 60, "h": 3600}[unit] == pytest.approx(seconds, rel=0.051)
