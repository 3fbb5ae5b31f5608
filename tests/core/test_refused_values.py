"""What a model of parameters refuses, in words."""

from typing import Literal

import pytest
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from snellen.core.refused_values import refused_values


class Fade(BaseModel):
    model_config = ConfigDict(extra="forbid")

    amount: float = Field(0.5, ge=0, le=1)
    steps: int
    mode: Literal["in", "out"] = "in"

    @model_validator(mode="after")
    def _not_all(self):
        if self.amount == 1 and self.steps == 1:
            raise ValueError("nothing is left after one step; take more steps")
        return self


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"steps": 1, "amount": 2}, "amount: expected at most 1, got 2 (2 % is 0.02)"),
        ({"steps": 1, "amount": 200}, "amount: expected at most 1, got 200"),
        ({"steps": 1, "amount": -0.5}, "amount: expected at least 0, got -0.5"),
        ({"steps": "few"}, "steps: expected a whole number, got 'few'"),
        ({}, "steps: is missing"),
        ({"steps": 1, "speed": 3}, "speed: is not known"),
        ({"steps": 1, "mode": "off"}, "mode: expected 'in' or 'out', got 'off'"),
        ({"steps": 1, "amount": 1}, "fade: nothing is left after one step; take more steps"),
        (
            {"steps": "few", "amount": 2},
            "amount: expected at most 1, got 2 (2 % is 0.02); steps: expected a whole number, got 'few'",
        ),
    ],
)
def test_each_value_is_named_with_what_was_expected_and_what_came(given, words):
    with pytest.raises(ValidationError) as refused:
        Fade(**given)
    assert refused_values(refused.value, "fade") == words


def test_long_and_secret_values_are_not_shown_and_many_are_cut():
    with pytest.raises(ValidationError) as refused:
        Fade(steps="x" * 500)
    assert refused_values(refused.value) == f"steps: expected a whole number, got '{'x' * 79}…"
    assert refused_values(refused.value, values=False) == "steps: expected a whole number"
    with pytest.raises(ValidationError) as refused:
        Fade(steps="few", amount=2, mode="off")
    assert refused_values(refused.value, most=1) == "amount: expected at most 1, got 2 (2 % is 0.02)"
