"""Frozen parameters that refuse what they cannot be in words of their own."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from snellen.core.errors import InputError
from snellen.core.refused_values import refused_values


class Parameters(BaseModel):
    """Base of everything that is made of parameters: methods and checks.

    >>> from pydantic import Field
    >>> class Fade(Parameters):
    ...     amount: float = Field(0.5, le=1)
    >>> Fade(amount=8)
    Traceback (most recent call last):
    snellen.core.errors.InputError: Fade: amount: expected at most 1, got 8 (8 % is 0.08)
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    def __init__(self, /, **data: Any) -> None:  # noqa: ANN401 - checked by the fields
        try:
            super().__init__(**data)
        except ValidationError as error:
            raise InputError(
                f"{type(self).__name__}: {refused_values(error, known=type(self).model_fields)}"
            ) from error

    # Where parameters are part of others, pydantic collects all that is refused, as without this constructor.
    __init__.__pydantic_base_init__ = True  # type: ignore[attr-defined]
