"""Frozen parameters that refuse what they cannot be in words of their own."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal, get_args, get_origin

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


def holds_text(parameters: Parameters) -> bool:
    """Whether a field holds free text, as references are written, and not one of some words.

    >>> class Blur(Parameters):
    ...     border: Literal["zero", "mirror"] = "zero"
    ...     network: str | None = None
    >>> holds_text(Blur()), holds_text(Blur(network="bundled:fashion-cnn"))
    (False, True)
    """
    given = ((getattr(parameters, name), field.annotation) for name, field in type(parameters).model_fields.items())
    return any(
        holds_text(value) if isinstance(value, Parameters) else bool(value) and _takes_text(annotation)
        for value, annotation in given
    )


def _takes_text(annotation: object) -> bool:
    if get_origin(annotation) is Literal:
        return False
    return annotation in (str, Path) or any(_takes_text(one) for one in get_args(annotation))
