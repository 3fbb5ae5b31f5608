"""The conformance suite refuses a method of any area for each promise that it breaks."""

from typing import ClassVar

import pytest
from pydantic import ConfigDict, Field, ValidationError, field_serializer

from snellen.core import index
from snellen.core.index import MethodEntry
from snellen.core.method import Method
from snellen.testing import check_method


class Good(Method):
    """A shift that keeps every promise."""

    name: ClassVar[str] = "good"

    amount: float = Field(0.5, description="how much")

    def shift(self, images, severity, *, rng):
        return images


class Misnamed(Good):
    """Calls itself something else."""

    name: ClassVar[str] = "other"


class Undescribed(Good):
    """A field without a description."""

    depth: int = 3


class Demanding(Good):
    """A field without a default."""

    depth: int = Field(description="how deep")


class Silent(Good):
    __doc__ = None


class Terse(Good):
    """Does something"""


class Verbless(Method):
    """No verb."""

    name: ClassVar[str] = "good"


class Inventive(Good):
    """Finds what nobody knows."""

    finds: ClassVar[tuple[str, ...]] = ("corruptions",)


class Open(Good):
    """Takes any parameter."""

    model_config = ConfigDict(extra="ignore")


class Mutable(Good):
    """Can be changed."""

    model_config = ConfigDict(frozen=False)


class Lossy(Good):
    """Its record tells less than it holds."""

    amount: float = Field(0.123456, description="how much")

    @field_serializer("amount")
    def _short(self, amount):
        return round(amount, 2)


class NoMethod:
    """Not even a method."""


@pytest.fixture
def entry(monkeypatch):
    def make(cls, summary="Does something."):
        row = MethodEntry(name="good", area="shifts", target=f"{__name__}:{cls.__name__}", summary=summary)
        monkeypatch.setattr(index, "methods", lambda area: {"good": row})
        return row

    return make


def test_a_right_method_passes(entry):
    check_method(entry(Good))


@pytest.mark.parametrize(
    ("cls", "told"),
    [
        (NoMethod, "is not a Method"),
        (Misnamed, "calls itself 'other'"),
        (Undescribed, "field 'depth' has no description"),
        (Silent, "has no docstring"),
        (Verbless, "lacks the verb 'shift'"),
        (Inventive, "unknown kind of finding 'corruptions'"),
        (Open, "accepts unknown parameters"),
        (Mutable, "can be changed after construction"),
        (Lossy, "record does not rebuild it"),
    ],
)
def test_a_false_method_is_refused(entry, cls, told):
    with pytest.raises(AssertionError, match=told):
        check_method(entry(cls))


def test_a_field_without_a_default_is_refused(entry):
    with pytest.raises((AssertionError, ValidationError), match="depth"):
        check_method(entry(Demanding))


def test_a_method_without_a_sentence_about_it_is_refused(entry):
    check_method(entry(Good, summary=""))  # the docstring has one
    for cls, summary in ((Good, "Does something"), (Terse, "")):
        with pytest.raises(AssertionError, match="one sentence with a full stop"):
            check_method(entry(cls, summary))
