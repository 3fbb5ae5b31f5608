"""What methods and checks say, in Python, of values that they do not take."""

import pytest
from pydantic import Field, TypeAdapter, ValidationError

from snellen.attacks import PGD
from snellen.auditing.checks.calibration import Calibration
from snellen.core.errors import InputError
from snellen.core.parameters import Parameters
from snellen.scans import UnsafeContent


@pytest.mark.parametrize(
    ("made", "words"),
    [
        (
            lambda: PGD(epsilon=8),
            "PGD: epsilon 8 is above 1, but pixels lie in [0, 1]; write 8/255 for 8 levels of 255",
        ),
        (lambda: PGD(steps=0), "PGD: steps: expected at least 1, got 0"),
        (
            lambda: UnsafeContent(epsilon=8),
            "UnsafeContent: epsilon: expected at most 1, got 8 (pixels lie in [0, 1]: 8 levels of 255 are 8/255)",
        ),
        (lambda: Calibration(bins=1), "Calibration: bins: expected at least 2, got 1"),
    ],
)
def test_one_sentence_says_what_came_and_what_was_expected(made, words):
    with pytest.raises(InputError) as refused:
        made()
    assert str(refused.value) == words


def test_a_name_that_is_none_is_reported_with_those_that_are():
    with pytest.raises(InputError, match=r"^PGD: epsilom: is not known; did you mean 'epsilon' or .* Known: epsilon, "):
        PGD(epsilom=0.1)


def test_parts_are_refused_together_and_by_their_place():
    class Fade(Parameters):
        amount: float = Field(0.5, le=1)

    with pytest.raises(ValidationError) as refused:
        TypeAdapter(list[Fade]).validate_python([{"amount": 2}, {}, {"amount": 3}])
    assert [one["loc"] for one in refused.value.errors()] == [(0, "amount"), (2, "amount")]
